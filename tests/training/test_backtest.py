"""Walking forward: each day is asked of what was known that morning, and of models fitted before it."""

from __future__ import annotations

import datetime as dt
import json

import msgspec
import numpy as np
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.domain.orders import FALLBACK_LEVELS
from preptime.errors import UsageError
from preptime.evaluation.evaluated_orders import EvaluatedOrders, build_backtest_document
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.backtest import backtest, evaluate_graph, select_days
from preptime.training.fitting import FittedWindow, fit_window
from preptime.training.train import train_challenger
from preptime.training.training_data import day_number
from tests.training.factories import SyntheticData, june, quick_plan, full_plan


@pytest.fixture(scope="module")
def walked(data: SyntheticData) -> EvaluatedOrders:
    return backtest(data.training_data, june(11), june(14), quick_plan())


def asked(data: SyntheticData, first: dt.date, last: dt.date) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    days = data.training_data.acknowledged_day
    return (days >= day_number(first)) & (days <= day_number(last)) & data.training_data.is_evaluation


def test_backtest_predicts_every_labelled_order_as_of_its_day(
    data: SyntheticData, days: FeatureMatrix, walked: EvaluatedOrders, fitted: FittedWindow
) -> None:
    rows = asked(data, june(11), june(14))
    assert np.array_equal(walked.actual, data.training_data.labels[rows])
    assert walked.up_to_3h.all()
    assert np.array_equal(walked.within_label_limit, walked.actual <= fitted.label_limit_seconds)
    # Fitted on what was known on the morning of the 11th, and each day with its own morning's history.
    points, quantiles = fitted.load_graph(days.X.shape[1]).run(days.X[rows])
    assert np.array_equal(walked.quantiles, quantiles)
    assert np.array_equal(walked.point_predictions["rf"], points["rf"].astype(np.float64))
    assert np.array_equal(walked.baseline_predictions["restaurant_lookup"], days.lookup_seconds[rows])
    assert np.array_equal(walked.baseline_predictions["global_median"], days.global_median_seconds[rows])
    assert np.array_equal(walked.segment_columns.fallback_level, days.fallback_level[rows])


def test_backtest_retraining_every_two_days_equals_two_backtests(data: SyntheticData, walked: EvaluatedOrders) -> None:
    anew = backtest(data.training_data, june(11), june(14), quick_plan(), retrain_every=2)
    one, two = (backtest(data.training_data, june(day), june(day + 1), quick_plan()) for day in (11, 13))
    assert np.array_equal(anew.quantiles, np.concatenate([one.quantiles, two.quantiles]))
    assert np.array_equal(anew.within_label_limit, np.concatenate([one.within_label_limit, two.within_label_limit]))
    assert np.array_equal(anew.actual, walked.actual)
    assert not np.array_equal(anew.quantiles, walked.quantiles)


@pytest.mark.parametrize(("every", "fits"), [(None, 1), (4, 1), (3, 2), (1, 4), (99, 1)])
def test_backtest_last_retraining_window_can_be_shorter(data: SyntheticData, every: int | None, fits: int) -> None:
    stages: list[str] = []
    backtest(data.training_data, june(11), june(14), quick_plan(), retrain_every=every,
             progress=lambda stage, _: stages.append(stage))  # fmt: skip
    assert stages.count("Models: rf fitted") == fits


def test_backtest_equals_predictions_of_trained_bundle(
    data: SyntheticData, walked: EvaluatedOrders, folder_store: Store
) -> None:
    """`train` on the 15th holds out three days, so it too is fitted on what was known on the morning of the 12th."""
    known = data.as_of(june(15))
    challenger = train_challenger(
        known.audited, known.training_data, june(15), folder_store, plan=quick_plan(), with_report=False
    )
    mine = backtest(known.training_data, june(12), june(14), quick_plan())
    assert np.array_equal(challenger.evaluated.quantiles, mine.quantiles)
    bundle = Bundle.load(folder_store.fetch(challenger.manifest.id))
    rows = select_days(build_feature_matrix(known.training_data, june(1), june(14)), june(12), june(14))
    again = evaluate_graph(rows, bundle.graph, challenger.fitted.label_limit_seconds)
    assert np.array_equal(again.quantiles, mine.quantiles)
    assert np.array_equal(again.point_predictions["rf"], mine.point_predictions["rf"])


def test_select_days_equals_matrix_built_for_those_days(data: SyntheticData, days: FeatureMatrix) -> None:
    part, alone = select_days(days, june(4), june(6)), build_feature_matrix(data.training_data, june(4), june(6))
    assert part.rows == alone.rows
    assert np.array_equal(part.X, alone.X)
    assert np.array_equal(part.lookup_seconds, alone.lookup_seconds)
    assert len(select_days(days, june(20), june(22))) == 0


def test_backtest_document_has_documented_fields(data: SyntheticData, days: FeatureMatrix) -> None:
    fitted = fit_window(days, june(10), full_plan())
    orders = evaluate_graph(
        select_days(days, june(11), june(12)), fitted.load_graph(days.X.shape[1]), fitted.label_limit_seconds
    )
    document = json.loads(msgspec.json.encode(build_backtest_document(orders, "2015-06-11", "2015-06-12")))
    assert list(document) == ["from", "to", "default_model", "scores", "interval", "quantiles", "segments"]
    assert (document["from"], document["to"], document["default_model"]) == ("2015-06-11", "2015-06-12", "quantile")
    models, baselines = ["quantile", "rf", "gbr", "cat", "xgb", "stacking"], ["restaurant_lookup", "global_median"]
    assert [(row["name"], row["kind"], row["labels"]) for row in document["scores"]] == [
        (name, kind, labels)
        for labels in ("up_to_3h", "within_label_limit")
        for kind, names in (("model", models), ("baseline", baselines))
        for name in names
    ]
    for row in document["scores"]:
        assert list(row) == ["name", "kind", "labels", "n", "mae", "median_ae", "rmse", "r2", "bias", "within_5_min"]
    assert document["scores"][0]["n"] == asked(data, june(11), june(12)).sum()
    assert document["interval"].keys() == {"level", "coverage", "median_width_seconds"}
    assert document["interval"]["level"] == 0.8
    assert [row["p"] for row in document["quantiles"]] == [0.1, 0.5, 0.8, 0.9]
    assert all(row.keys() == {"p", "coverage", "pinball"} for row in document["quantiles"])
    assert {row["segment"] for row in document["segments"]} == {
        "overall", "city", "type_of_food", "hour", "items", "fallback_level",
    }  # fmt: skip
    assert {row["value"] for row in document["segments"] if row["segment"] == "fallback_level"} <= set(FALLBACK_LEVELS)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (1, 5, "orders reach from 2015-06-01"),
        (12, 16, "to 2015-06-15"),
        (12, 11, "asked from 2015-06-12 to 2015-06-11"),
    ],
)
def test_backtest_rejects_days_outside_the_data(data: SyntheticData, first: int, last: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        backtest(data.training_data, june(first), june(last), quick_plan())


@pytest.mark.parametrize("every", [0, -1])
def test_backtest_rejects_retraining_interval_below_one_day(data: SyntheticData, every: int) -> None:
    with pytest.raises(UsageError, match=f"every {every} days"):
        backtest(data.training_data, june(12), june(13), quick_plan(), retrain_every=every)
