"""Tests of the backtest: each day is predicted as of that day, by models fitted before it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import NoReturn

import msgspec
import numpy as np
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.domain.orders import FALLBACK_LEVELS
from preptime.errors import DataError, UsageError
from preptime.evaluation.evaluated_orders import EvaluatedOrders, build_backtest_document
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.backtest import backtest, concatenate_evaluated, evaluate_graphs, select_days
from preptime.training.fitting import FittedWindow, fit_window
from preptime.training.training_data import day_number
from tests.training.factories import SyntheticData, full_plan, june, make_challenger, quick_plan


@pytest.fixture(scope="module")
def evaluated(data: SyntheticData) -> EvaluatedOrders:
    return backtest(data.training_data, june(11), june(14), quick_plan())


def evaluated_rows(data: SyntheticData, first: dt.date, last: dt.date) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    days = data.training_data.acknowledged_day
    return (days >= day_number(first)) & (days <= day_number(last)) & data.training_data.is_evaluation


def test_backtest_predicts_every_labelled_order_as_of_its_day(
    data: SyntheticData, features: FeatureMatrix, evaluated: EvaluatedOrders, fitted: FittedWindow
) -> None:
    rows = evaluated_rows(data, june(11), june(14))
    assert np.array_equal(evaluated.actual, data.training_data.labels[rows])
    assert evaluated.up_to_3h.all()
    assert np.array_equal(evaluated.within_label_limit, evaluated.actual <= fitted.label_limit_seconds)
    # The models are fitted as of the 11th, and the history is as of each day.
    points, quantiles = fitted.load_graphs().models.run(features.X[rows])
    assert np.array_equal(evaluated.quantiles, quantiles)
    assert np.array_equal(evaluated.point_predictions["rf"], points["rf"].astype(np.float64))
    assert np.array_equal(evaluated.baseline_predictions["restaurant_lookup"], features.lookup_seconds[rows])
    assert np.array_equal(evaluated.baseline_predictions["global_median"], features.global_median_seconds[rows])
    assert np.array_equal(evaluated.segment_columns.fallback_level, features.fallback_level[rows])


def test_backtest_with_retraining_equals_two_backtests(data: SyntheticData, evaluated: EvaluatedOrders) -> None:
    retrained = backtest(data.training_data, june(11), june(14), quick_plan(), retrain_every=2)
    first, second = (backtest(data.training_data, june(day), june(day + 1), quick_plan()) for day in (11, 13))
    assert np.array_equal(retrained.quantiles, np.concatenate([first.quantiles, second.quantiles]))
    assert np.array_equal(
        retrained.within_label_limit, np.concatenate([first.within_label_limit, second.within_label_limit])
    )
    assert np.array_equal(retrained.actual, evaluated.actual)
    assert not np.array_equal(retrained.quantiles, evaluated.quantiles)


def test_concatenated_windows_have_common_point_models(evaluated: EvaluatedOrders) -> None:
    """The champions of one week can have different point models."""
    rf = evaluated.point_predictions["rf"]
    first = replace(evaluated, point_predictions={"stacking": rf + 3, "xgb": rf + 2, "rf": rf})
    second = replace(evaluated, point_predictions={"rf": rf + 1, "catboost": rf, "stacking": rf + 4})
    whole = concatenate_evaluated([first, second])
    assert list(whole.point_predictions) == ["stacking", "rf"]
    assert np.array_equal(whole.point_predictions["rf"], np.concatenate([rf, rf + 1]))
    assert np.array_equal(whole.quantiles, np.concatenate([evaluated.quantiles, evaluated.quantiles]))
    assert concatenate_evaluated([first, replace(evaluated, point_predictions={})]).point_predictions == {}


@pytest.mark.parametrize(("every", "fits"), [(None, 1), (4, 1), (3, 2), (1, 4), (99, 1)])
def test_backtest_last_retraining_window_can_be_shorter(data: SyntheticData, every: int | None, fits: int) -> None:
    stages: list[str] = []
    backtest(data.training_data, june(11), june(14), quick_plan(), retrain_every=every,
             progress=lambda stage, _: stages.append(stage))  # fmt: skip
    assert stages.count("Models: rf fitted") == fits


def test_backtest_equals_predictions_of_trained_bundle(
    data: SyntheticData, evaluated: EvaluatedOrders, folder_store: Store
) -> None:
    """`train` for the 15th is fitted on all days through the 14th, like a backtest of the 15th."""
    known, plan = data.as_of(june(15)), quick_plan(with_live_model=True)
    challenger = make_challenger(known.audited, known.training_data, june(15), folder_store, plan, with_gate=False)
    expected = backtest(data.training_data, june(15), june(15), plan)
    bundle = Bundle.load(folder_store.fetch(challenger.manifest.id))
    rows = select_days(build_feature_matrix(data.training_data, june(1), june(15)), june(15), june(15))
    reevaluated = evaluate_graphs(rows, bundle.graphs, challenger.fitted.label_limit_seconds)
    assert np.array_equal(reevaluated.quantiles, expected.quantiles)
    assert reevaluated.live_quantiles is not None
    assert expected.live_quantiles is not None
    assert np.array_equal(reevaluated.live_quantiles, expected.live_quantiles)
    assert not np.array_equal(expected.live_quantiles, expected.quantiles)
    assert np.array_equal(reevaluated.point_predictions["rf"], expected.point_predictions["rf"])


def test_select_days_equals_matrix_built_for_those_days(data: SyntheticData, features: FeatureMatrix) -> None:
    selected, built = (
        select_days(features, june(4), june(6)),
        build_feature_matrix(data.training_data, june(4), june(6)),
    )
    assert np.array_equal(selected.rows, built.rows)
    assert np.array_equal(selected.X, built.X)
    assert np.array_equal(selected.lookup_seconds, built.lookup_seconds)
    assert len(select_days(features, june(20), june(22))) == 0


def test_backtest_document_has_documented_fields(data: SyntheticData, features: FeatureMatrix) -> None:
    plan = full_plan()
    fitted = fit_window(features, june(10), plan)
    orders = evaluate_graphs(
        select_days(features, june(11), june(12)), fitted.load_graphs(), fitted.label_limit_seconds
    )
    document = json.loads(msgspec.json.encode(build_backtest_document(orders, "2015-06-11", "2015-06-12")))
    assert list(document)[:5] == ["from", "to", "default_model", "scores", "interval"]
    assert list(document)[5:] == ["quantiles", "segments", "waiting_costs"]
    assert (document["from"], document["to"], document["default_model"]) == ("2015-06-11", "2015-06-12", "quantile")
    models, baselines = ["quantile", *plan.point_models], ["restaurant_lookup", "global_median"]
    kinds = (("model", models), ("live", ["live"]), ("baseline", baselines))
    assert [(row["name"], row["kind"], row["labels"]) for row in document["scores"]] == [
        (name, kind, labels) for labels in ("up_to_3h", "within_label_limit") for kind, names in kinds for name in names
    ]
    for row in document["scores"]:
        assert list(row) == ["name", "kind", "labels", "n", "mae", "median_ae", "rmse", "r2", "bias", "within_5_min"]
    assert document["scores"][0]["n"] == evaluated_rows(data, june(11), june(12)).sum()
    assert document["interval"].keys() == {
        "level", "coverage", "coverage_inside", "median_width_seconds",
    }  # fmt: skip
    assert document["interval"]["level"] == 0.8
    assert [row["p"] for row in document["quantiles"]] == [0.1, 0.5, 0.8, 0.9]
    assert all(row.keys() == {"p", "coverage", "pinball"} for row in document["quantiles"])
    errors = {row["name"]: 1_000 * row["mae"] for row in document["scores"] if row["labels"] == "up_to_3h"}
    even, courier, food = document["waiting_costs"]
    assert [(row["courier_cost"], row["food_cost"]) for row in (even, courier, food)] == [(1, 1), (2, 1), (1, 2)]
    assert {row["n"] for row in (even, courier, food)} == {document["scores"][0]["n"]}
    # With equal costs, the waiting of an order is the absolute error of the arrival time.
    assert even["predicted_quantile"] == even["p50"] == pytest.approx(errors["quantile"])
    assert even["lookup_quantile"] == pytest.approx(errors["restaurant_lookup"])
    assert even["constant"] == pytest.approx(errors["global_median"])
    assert courier["predicted_quantile"] != courier["p50"]
    assert {row["segment"] for row in document["segments"]} == {
        "overall", "city", "type_of_food", "hour", "items", "fallback_level",
    }  # fmt: skip
    assert {row["value"] for row in document["segments"] if row["segment"] == "fallback_level"} <= set(FALLBACK_LEVELS)


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (1, 5, "orders cover 2015-06-01 to 2015-06-15"),
        (12, 16, "to 2015-06-15"),
        (12, 11, "starts on 2015-06-12 and ends on 2015-06-11"),
    ],
)
def test_backtest_rejects_days_outside_the_data(data: SyntheticData, first: int, last: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        backtest(data.training_data, june(first), june(last), quick_plan())


def test_backtest_names_options_with_valid_days(data: SyntheticData) -> None:
    with pytest.raises(UsageError) as refused:
        backtest(data.training_data, june(1), june(16), quick_plan())
    assert refused.value.hint == (
        "Use --from 2015-06-02 or later, because an earlier day is needed to fit on, and --to 2015-06-15 or earlier."
    )


def test_backtest_checks_calibration_before_fitting(data: SyntheticData, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_models: object, **_options: object) -> NoReturn:
        raise AssertionError("A model was fitted before all requirements were checked.")

    monkeypatch.setattr("preptime.training.fitting.fit_all", never)
    sparse = data.training_data.take(np.arange(len(data.training_data)) % 5 == 0)
    with pytest.raises(DataError, match=r"Calibration needs 100 orders .* Provide at least \d+ more orders"):
        backtest(sparse, june(2), june(3), quick_plan())


@pytest.mark.parametrize("every", [0, -1])
def test_backtest_rejects_retraining_interval_below_one_day(data: SyntheticData, every: int) -> None:
    with pytest.raises(UsageError, match=f"interval is {every} days"):
        backtest(data.training_data, june(12), june(13), quick_plan(), retrain_every=every)
