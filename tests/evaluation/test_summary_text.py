from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from preptime.evaluation.evaluated_orders import LOOKUP, EvaluatedOrders, build_backtest_document
from preptime.evaluation.metrics import coverage_in_band
from preptime.evaluation.summary_text import find_score, format_minutes, format_percent, summary_sentences
from tests.evaluation.factories import evaluated_orders


def told(orders: EvaluatedOrders) -> str:
    return " ".join(summary_sentences(build_backtest_document(orders, "2015-06-17", "2015-06-23"))).replace(
        "\N{NO-BREAK SPACE}", " "
    )


def exact(distance_seconds: float, lookup_distance_seconds: float, width_seconds: float) -> EvaluatedOrders:
    """Forty orders of twenty minutes; every answer, the lookup's and the interval's ends at fixed distances."""
    orders = evaluated_orders(40)
    actual = np.full(40, 1200.0)
    median = actual + distance_seconds
    half = width_seconds / 2
    return replace(
        orders,
        actual=actual,
        up_to_3h=np.ones(40, dtype=bool),
        within_label_limit=np.ones(40, dtype=bool),
        point_predictions={},
        quantiles=np.stack([median - half, median, median + half / 2, median + half], axis=1),
        baseline_predictions={LOOKUP: actual - lookup_distance_seconds},
    )


def test_says_what_the_figures_say() -> None:
    assert told(exact(240, 480, 600)) == (
        "Half of the answers are within 4.0 minutes of the truth, and 100.0 % are within five. "
        "An answer is 4.0 minutes off on average, the restaurant lookup 8.0: the model is 50 % closer. "
        "p10–p90 holds 100.0 % of the orders (promised 80 %) and is typically 10.0 minutes wide: "
        "the promise is not kept."
    )


def test_a_model_that_loses_to_the_lookup_is_told_so() -> None:
    text = told(exact(480, 240, 600))
    assert "100 % farther off than a table of averages, and should not be used" in text
    assert "Closer on average: restaurant_lookup." in text
    assert "no difference" in told(exact(240, 240, 600))


def test_a_kept_promise_is_just_told() -> None:
    orders = evaluated_orders(4000)
    coverage = build_backtest_document(orders, "2015-06-17", "2015-06-23").interval.coverage
    assert coverage_in_band(coverage)
    assert "not kept" not in told(orders)


def test_the_document_covers_both_sets_of_labels() -> None:
    orders = evaluated_orders(500)
    document = build_backtest_document(orders, "2015-06-17", "2015-06-23")
    names = ["quantile", "rf", "cat", "restaurant_lookup", "global_median"]
    assert [(row.labels, row.name) for row in document.scores] == [
        *(("up_to_3h", name) for name in names),
        *(("within_label_limit", name) for name in names),
    ]
    fenced = find_score(document, "rf", "within_label_limit")
    assert fenced is not None
    assert fenced.n == orders.within_label_limit.sum()
    assert find_score(document, "svm") is None
    overall = document.segments[0]
    assert (overall.segment, overall.n) == ("overall", orders.up_to_3h.sum())
    assert overall.quantiles == document.quantiles


@pytest.mark.parametrize(
    ("coverage", "kept"), [(0.75, True), (0.85, True), (0.749, False), (0.851, False), (None, False)]
)
def test_the_promise_has_bounds(coverage: float | None, kept: bool) -> None:
    assert coverage_in_band(coverage) is kept


def test_figures_for_people() -> None:
    assert (format_minutes(432.6), format_minutes(432.6, 2), format_minutes(None), format_minutes(-0.1)) == (
        "7.2",
        "7.21",
        "–",
        "0.0",
    )
    assert (format_percent(0.7957), format_percent(0.8, 0), format_percent(None)) == (
        "79.6\N{NO-BREAK SPACE}%",
        "80\N{NO-BREAK SPACE}%",
        "–",
    )
