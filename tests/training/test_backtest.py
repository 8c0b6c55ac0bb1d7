"""Walking forward: each day is asked of what was known that morning, and of models fitted before it."""

from __future__ import annotations

import datetime as dt
import json

import msgspec
import numpy as np
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.domain.prediction import BASES
from preptime.errors import UsageError
from preptime.evaluation.evaluated import EvaluatedOrders, backtest_document
from preptime.training.backtest import backtest, between, evaluate
from preptime.training.corpus import day_number
from preptime.training.fit import FittedWindow, fit_window
from preptime.training.mornings import Matrix, matrix
from preptime.training.train import make_challenger
from tests.training.making import Data, june, quick_plan, whole_plan


@pytest.fixture(scope="module")
def walked(data: Data) -> EvaluatedOrders:
    return backtest(data.corpus, june(11), june(14), quick_plan())


def asked(data: Data, first: dt.date, last: dt.date) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    days = data.corpus.acknowledged_day
    return (days >= day_number(first)) & (days <= day_number(last)) & data.corpus.evaluation


def test_every_labelled_order_of_the_days_is_answered(
    data: Data, days: Matrix, walked: EvaluatedOrders, fitted: FittedWindow
) -> None:
    rows = asked(data, june(11), june(14))
    assert np.array_equal(walked.actual, data.corpus.label[rows])
    assert walked.up_to_3h.all()
    assert np.array_equal(walked.inside_fence, walked.actual <= fitted.fence_seconds)
    # Fitted on what was known on the morning of the 11th, and each day with its own morning's history.
    points, quantiles = fitted.opened(days.X.shape[1]).run(days.X[rows])
    assert np.array_equal(walked.quantiles, quantiles)
    assert np.array_equal(walked.points["rf"], points["rf"].astype(np.float64))
    assert np.array_equal(walked.baselines["restaurant_lookup"], days.lookup[rows])
    assert np.array_equal(walked.baselines["global_median"], days.global_median[rows])
    assert np.array_equal(walked.columns.basis, days.basis[rows])


def test_fitting_anew_every_other_day_is_two_walks(data: Data, walked: EvaluatedOrders) -> None:
    anew = backtest(data.corpus, june(11), june(14), quick_plan(), retrain_every=2)
    one, two = (backtest(data.corpus, june(day), june(day + 1), quick_plan()) for day in (11, 13))
    assert np.array_equal(anew.quantiles, np.concatenate([one.quantiles, two.quantiles]))
    assert np.array_equal(anew.inside_fence, np.concatenate([one.inside_fence, two.inside_fence]))
    assert np.array_equal(anew.actual, walked.actual)
    assert not np.array_equal(anew.quantiles, walked.quantiles)


@pytest.mark.parametrize(("every", "fits"), [(None, 1), (4, 1), (3, 2), (1, 4), (99, 1)])
def test_the_last_stretch_may_be_shorter(data: Data, every: int | None, fits: int) -> None:
    stages: list[str] = []
    backtest(data.corpus, june(11), june(14), quick_plan(), retrain_every=every,
             progress=lambda stage, _: stages.append(stage))  # fmt: skip
    assert stages.count("Models: rf fitted") == fits


def test_the_answers_are_those_of_the_bundle_that_training_writes(
    data: Data, walked: EvaluatedOrders, folder_store: Store
) -> None:
    """`train` on the 15th holds out three days, so it too is fitted on what was known on the morning of the 12th."""
    known = data.known_on(june(15))
    challenger = make_challenger(known.audited, known.corpus, june(15), folder_store, plan=quick_plan(), report=False)
    mine = backtest(known.corpus, june(12), june(14), quick_plan())
    assert np.array_equal(challenger.evaluated.quantiles, mine.quantiles)
    bundle = Bundle.load(folder_store.fetch(challenger.manifest.id))
    rows = between(matrix(known.corpus, june(1), june(14)), june(12), june(14))
    again = evaluate(rows, bundle.graph, challenger.fitted.fence_seconds)
    assert np.array_equal(again.quantiles, mine.quantiles)
    assert np.array_equal(again.points["rf"], mine.points["rf"])


def test_part_of_a_matrix_is_the_matrix_of_those_days(data: Data, days: Matrix) -> None:
    part, alone = between(days, june(4), june(6)), matrix(data.corpus, june(4), june(6))
    assert part.rows == alone.rows
    assert np.array_equal(part.X, alone.X)
    assert np.array_equal(part.lookup, alone.lookup)
    assert len(between(days, june(20), june(22))) == 0


def test_the_document_has_the_fields_that_are_promised(data: Data, days: Matrix) -> None:
    fitted = fit_window(days, june(10), whole_plan())
    orders = evaluate(between(days, june(11), june(12)), fitted.opened(days.X.shape[1]), fitted.fence_seconds)
    document = json.loads(msgspec.json.encode(backtest_document(orders, "2015-06-11", "2015-06-12")))
    assert list(document) == ["from", "to", "default_model", "scores", "interval", "quantiles", "segments"]
    assert (document["from"], document["to"], document["default_model"]) == ("2015-06-11", "2015-06-12", "quantile")
    models, baselines = ["quantile", "rf", "gbr", "cat", "xgb", "stacking"], ["restaurant_lookup", "global_median"]
    assert [(row["name"], row["kind"], row["labels"]) for row in document["scores"]] == [
        (name, kind, labels)
        for labels in ("up_to_3h", "inside_fence")
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
        "overall", "city", "type_of_food", "hour", "items", "basis",
    }  # fmt: skip
    assert {row["value"] for row in document["segments"] if row["segment"] == "basis"} <= set(BASES)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (1, 5, "orders reach from 2015-06-01"),
        (12, 16, "to 2015-06-15"),
        (12, 11, "asked from 2015-06-12 to 2015-06-11"),
    ],
)
def test_days_that_cannot_be_asked_about_are_refused(data: Data, first: int, last: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        backtest(data.corpus, june(first), june(last), quick_plan())


@pytest.mark.parametrize("every", [0, -1])
def test_fitting_more_than_daily_is_refused(data: Data, every: int) -> None:
    with pytest.raises(UsageError, match=f"every {every} days"):
        backtest(data.corpus, june(12), june(13), quick_plan(), retrain_every=every)
