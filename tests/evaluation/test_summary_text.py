"""Summary sentences and number formats."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from preptime.cli.output import interval_summary
from preptime.domain.time_units import TIME_UNITS, convert_times
from preptime.evaluation.aggregates import segment_rows
from preptime.evaluation.documents import BacktestDocument, WaitingCost
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders, build_backtest_document
from preptime.evaluation.metrics import coverage_in_band
from preptime.evaluation.summary_text import (
    find_score,
    format_minutes,
    format_percent,
    format_waiting_cost,
    hours_without_orders,
    segment_coverage_caption,
    summary_sentences,
    waiting_cost_caption,
    waiting_cost_text,
    weak_models,
)
from tests.evaluation.factories import evaluated_orders


def summary(orders: EvaluatedOrders) -> str:
    return " ".join(summary_sentences(build_backtest_document(orders, "2015-06-17", "2015-06-23")))


def orders_with_errors(error_seconds: float, lookup_error_seconds: float, width_seconds: float) -> EvaluatedOrders:
    """Return forty orders of twenty minutes with fixed errors of the model, the lookup, and the interval's ends."""
    orders = evaluated_orders(40)
    actual = np.full(40, 1200.0)
    median = actual + error_seconds
    half = width_seconds / 2
    return replace(
        orders,
        actual=actual,
        up_to_3h=np.ones(40, dtype=bool),
        within_label_limit=np.ones(40, dtype=bool),
        point_predictions={},
        quantiles=np.stack([median - half, median, median + half / 2, median + half], axis=1),
        baseline_predictions={LOOKUP: actual - lookup_error_seconds},
    )


def test_summary_sentences_report_metrics() -> None:
    assert summary(orders_with_errors(240, 480, 600)) == (
        "Half of the predictions are within 4.0 minutes of the actual time, and 100.0% are within five minutes. "
        "The mean error is 4.0 minutes, 50% smaller than the restaurant lookup's (8.0 minutes). "
        "The p10–p90 interval holds 100.0% of the orders (target: 80%), and its median width is 10.0 minutes. "
        "It isn't calibrated."
    )


def test_summary_sentences_warn_when_lookup_is_better() -> None:
    text = summary(orders_with_errors(480, 240, 600))
    assert "100% larger than the restaurant lookup's (4.0 minutes). Don't use this model." in text
    assert "These have a smaller mean error: restaurant_lookup." in text
    assert "equal to the restaurant lookup's" in summary(orders_with_errors(240, 240, 600))


def test_summary_sentences_accept_calibrated_interval() -> None:
    orders = evaluated_orders(4000)
    coverage = build_backtest_document(orders, "2015-06-17", "2015-06-23").interval.coverage
    assert coverage_in_band(coverage)
    assert "It isn't calibrated" not in summary(orders)


def with_labels_at_the_ends(orders: EvaluatedOrders) -> EvaluatedOrders:
    """Return orders in multiples of 5 minutes: 60% of the labels are inside p10–p90, and 30% at its ends."""
    number = np.arange(len(orders))
    p10, p90 = orders.quantiles[:, 0], orders.quantiles[:, -1]
    inside, outside = (p10 + p90) / 2, p90 + 300
    actual = np.select([number % 10 < 6, number % 10 == 6, number % 10 < 9], [inside, p10, p90], outside)
    return replace(orders, actual=actual.astype(np.float64))


def test_calibrated_interval_of_labels_with_ties_is_stated_twice() -> None:
    """The gate accepts it: from 60% to 90%, with or without the labels at the ends."""
    orders = with_labels_at_the_ends(orders_with_errors(240, 480, 600))
    document = build_backtest_document(orders, "2015-06-17", "2015-06-23")
    assert coverage_in_band(document.interval.coverage, document.interval.coverage_inside)
    text = " ".join(summary_sentences(document))
    assert "holds 90.0% of the orders, or 60.0% without those at its ends (target: 80%)" in text
    assert "It isn't calibrated" not in text
    assert "covers 90.0% of the labels, or 60.0% without those at its ends (nominal: 80%)" in interval_summary(document)
    rows = segment_rows(document.segments, ("overall",))
    assert "Within 75% to 85%: 1 of 1 segment" in segment_coverage_caption(rows)


def test_evaluation_of_an_earlier_release_has_no_coverage_inside() -> None:
    document = build_backtest_document(evaluated_orders(500), "2015-06-17", "2015-06-23")
    content = msgspec.to_builtins(document)
    for part in (content["interval"], *content["segments"]):
        del part["coverage_inside"]
    old = msgspec.convert(content, BacktestDocument)
    assert old.interval.coverage_inside is old.segments[0].coverage_inside is None
    assert "those at its ends" not in " ".join(summary_sentences(old))


def test_weak_models_are_not_better_than_the_global_median() -> None:
    orders = evaluated_orders(500)
    equal = orders.baseline_predictions[GLOBAL_MEDIAN].astype(np.float32)
    weak = replace(orders, point_predictions={**orders.point_predictions, "rf": equal, "gbr": equal * 3})
    document = build_backtest_document(weak, "2015-06-17", "2015-06-23")
    assert weak_models(document) == ("rf", "gbr")
    assert summary(weak).endswith(
        " Don't use these point models, which are not better than the global median: rf, gbr."
    )
    assert weak_models(build_backtest_document(orders, "2015-06-17", "2015-06-23")) == ()
    assert "not better" not in summary(orders)


def test_weak_models_never_contain_the_default_model() -> None:
    orders = evaluated_orders(500)
    late = replace(orders, quantiles=orders.quantiles * 4)
    assert weak_models(build_backtest_document(late, "2015-06-17", "2015-06-23")) == ()


def test_backtest_document_covers_both_label_sets() -> None:
    orders = evaluated_orders(500)
    document = build_backtest_document(orders, "2015-06-17", "2015-06-23")
    names = ["quantile", "rf", "cat", "restaurant_lookup", "global_median"]
    assert [(row.labels, row.name) for row in document.scores] == [
        *(("up_to_3h", name) for name in names),
        *(("within_label_limit", name) for name in names),
    ]
    within_limit = find_score(document, "rf", "within_label_limit")
    assert within_limit is not None
    assert within_limit.n == orders.within_label_limit.sum()
    assert find_score(document, "svm") is None
    overall = document.segments[0]
    assert (overall.segment, overall.n) == ("overall", orders.up_to_3h.sum())
    assert overall.quantiles == document.quantiles


def test_baseline_score_is_not_that_of_a_model_with_its_name() -> None:
    """Earlier releases accepted a custom model of this name."""
    document = build_backtest_document(evaluated_orders(500), "2015-06-17", "2015-06-23")
    scores = [msgspec.structs.replace(row, name=LOOKUP) if row.name == "rf" else row for row in document.scores]
    found = find_score(msgspec.structs.replace(document, scores=tuple(scores)), LOOKUP)
    assert found == find_score(document, LOOKUP)
    assert found is not None
    assert found.kind == "baseline"


@pytest.mark.parametrize(
    ("coverage", "in_band"), [(0.75, True), (0.85, True), (0.749, False), (0.851, False), (None, False)]
)
def test_coverage_in_band_includes_bounds(coverage: float | None, in_band: bool) -> None:
    assert coverage_in_band(coverage) is in_band


def test_format_minutes_and_percent() -> None:
    assert (format_minutes(432.6), format_minutes(432.6, 2), format_minutes(None), format_minutes(-0.1)) == (
        "7.2",
        "7.21",
        "–",
        "0.0",
    )
    assert (format_percent(0.7957), format_percent(0.8, 0), format_percent(None)) == (
        "79.6%",
        "80%",
        "–",
    )


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (range(24), ""),
        ([], ""),
        ([*range(9), *range(11, 24)], "No orders were acknowledged from 9:00 to 10:59."),
        ([12], "No orders were acknowledged from 13:00 to 11:59."),
        ([1, 2], "No orders were acknowledged from 3:00 to 0:59."),
        (
            [*range(8, 12), 13, *range(15, 23)],
            "No orders were acknowledged from 12:00 to 12:59, from 14:00 to 14:59 and from 23:00 to 7:59.",
        ),
    ],
)
def test_hours_without_orders_are_ranges(hours: list[int], expected: str) -> None:
    assert hours_without_orders(hours) == expected


COSTS = (
    WaitingCost(1.0, 1.0, 0.5, 500, 445_200.0, 445_200.0, 511_200.0, 575_400.0),
    WaitingCost(2.0, 1.0, 2 / 3, 500, 476_400.0, 509_400.0, None, None),
)


def test_waiting_cost_text_names_the_lookup() -> None:
    line = "1:1: 7,420 min (lookup's quantile: 8,520 min), 2:1: 7,940 min (lookup's quantile: – min)."
    assert waiting_cost_text(COSTS) == line
    assert convert_times(line, TIME_UNITS["h"]).startswith("1:1: 123.67 h (lookup's quantile: 142 h)")


def test_waiting_cost_caption_compares_with_lookup() -> None:
    assert waiting_cost_caption(COSTS).endswith("compared with the lookup's: −13% at 1:1.")
    assert waiting_cost_caption(COSTS, TIME_UNITS["h"]).startswith("Hours of waiting per 1,000 orders, by")
    assert "compared" not in waiting_cost_caption(COSTS[1:])
    assert [format_waiting_cost(value, TIME_UNITS["h"]) for value in (445_200.0, None)] == ["123.7", "–"]
