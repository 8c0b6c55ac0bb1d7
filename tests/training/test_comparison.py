"""Each condition of a promotion loses by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders
from preptime.evaluation.segments import SegmentColumns
from preptime.training.comparison import MIN_SEGMENT_ORDERS, Comparison, compare_evaluations, incomparable_bundles
from tests.training.factories import june

N = 1_000
LABEL = 1_000.0


def answers(
    p50: float | NDArray[np.float64] = LABEL + 100, *, covered: int = 800, dinner: int = 0, lookup: float = LABEL + 300
) -> EvaluatedOrders:
    """A thousand orders of 1,000 s. The p50 is given, p10 to p90 holds `covered` of them, `dinner` are of 20 h.

    Items are 1, 2, 3 and so on, so that no other segment but dinner and lunch can hold 200 orders.
    """
    rows = np.arange(N)
    median = np.broadcast_to(np.asarray(p50, np.float64), N)
    low = np.where(rows < covered, np.minimum(median, LABEL), median + LABEL)
    high = np.where(rows < covered, np.maximum(median, LABEL), median + 2 * LABEL)
    return EvaluatedOrders(
        actual=np.full(N, LABEL),
        up_to_3h=np.ones(N, bool),
        within_label_limit=np.ones(N, bool),
        point_predictions={},
        quantiles=np.column_stack([low, median, high, high]),
        baseline_predictions={LOOKUP: np.full(N, lookup), GLOBAL_MEDIAN: np.full(N, LABEL + 500)},
        segment_columns=SegmentColumns(
            city=np.array([f"city {row % 10}" for row in rows]),
            type_of_food=np.array([f"food {row % 10}" for row in rows]),
            hour=np.where(rows < dinner, 20, rows % 10),
            number_of_items=rows % 6 + 1,
            fallback_level=(rows % 5).astype(np.int8),
        ),
    )


def judge(challenger: EvaluatedOrders, champion: EvaluatedOrders | None) -> Comparison:
    return compare_evaluations(
        challenger, champion, bundle_ids=("mine", "theirs" if champion else None), days=(june(8), june(14))
    )


def lost(comparison: Comparison) -> list[str]:
    return [check.rule.split(",")[0] for check in comparison.checks if not check.passed]


def test_comparison_passes_if_all_checks_pass() -> None:
    found = judge(answers(LABEL + 100), answers(LABEL + 150))
    assert found.passed
    assert (found.challenger_mae, found.champion_mae, found.lookup_mae) == (100.0, 150.0, 300.0)
    assert (found.challenger_coverage, found.orders) == (0.8, N)
    assert (found.challenger, found.champion, found.first_day, found.last_day) == (
        "mine", "theirs", june(8), june(14),
    )  # fmt: skip
    assert len(found.checks) == 4
    assert found.summary.startswith("Won. Better than the champion: MAE 100.0 s against 150.0 s.")


@pytest.mark.parametrize("theirs", [100.0, 99.0])
def test_comparison_fails_if_not_better_than_champion(theirs: float) -> None:
    found = judge(answers(LABEL + 100), answers(LABEL + theirs))
    assert lost(found) == ["Better than the champion"]
    assert not found.passed
    assert found.summary == f"Lost on: Better than the champion: MAE 100.0 s against {theirs:.1f} s."


@pytest.mark.parametrize("lookup", [100.0, 99.0])
def test_comparison_fails_if_not_better_than_lookup(lookup: float) -> None:
    both = (answers(LABEL + shift, lookup=LABEL + lookup) for shift in (100, 150))
    assert lost(judge(*both)) == ["Better than the restaurant lookup"]


@pytest.mark.parametrize(("covered", "holds"), [(749, False), (750, True), (850, True), (851, False)])
def test_comparison_fails_if_coverage_is_outside_band(covered: int, holds: bool) -> None:
    found = judge(answers(covered=covered), answers(LABEL + 150))
    assert found.passed is holds
    assert lost(found) == ([] if holds else ["p10 to p90 holds 75 to 85 % of the labels"])


def evening(size: int, mine: float, theirs: float) -> Comparison:
    """`size` orders of 20 h on which the two are off by so much; elsewhere the challenger is far better.

    They are spread over everything else evenly, so that no other segment turns.
    """
    there = np.arange(N) < size
    return judge(
        answers(np.where(there, LABEL + mine, LABEL + 10), dinner=size),
        answers(np.where(there, LABEL + theirs, LABEL + 200), dinner=size),
    )


def test_comparison_fails_if_segment_is_over_5_percent_worse() -> None:
    found = evening(MIN_SEGMENT_ORDERS, mine=211, theirs=200)
    assert lost(found) == ["No segment of 200 orders or more worse by 5%"]
    assert "hour 20 (200 to 211 s)" in found.summary


def test_comparison_passes_if_segment_is_5_percent_worse() -> None:
    assert evening(MIN_SEGMENT_ORDERS, mine=210, theirs=200).passed


def test_comparison_ignores_segments_with_few_orders() -> None:
    assert evening(MIN_SEGMENT_ORDERS - 1, mine=400, theirs=200).passed


def test_comparison_summary_lists_at_most_five_segments() -> None:
    """Two hundred orders of each of five cities and more: the sentence stays one that a person can read."""
    both = []
    for shift in (300.0, 200.0):
        one = answers(LABEL + shift)
        both.append(replace(one, segment_columns=replace(one.segment_columns, hour=np.arange(N) % 5 + 10)))
    sentence = judge(*both).summary
    assert " and " in sentence
    assert sentence.count(" to 300 s)") == 5


def test_comparison_without_champion_requires_beating_lookup() -> None:
    found = judge(answers(), None)
    assert found.passed
    assert (found.champion, found.champion_mae) == (None, None)
    assert [check.rule for check in found.checks] == [
        "Better than the restaurant lookup",
        "p10 to p90 holds 75 to 85 % of the labels",
    ]
    assert lost(judge(answers(lookup=LABEL + 99), None)) == ["Better than the restaurant lookup"]
    assert not judge(answers(covered=500), None).passed


def test_comparison_without_orders_fails() -> None:
    nothing = answers().take(np.zeros(N, bool))
    for champion in (nothing, None):
        found = judge(nothing, champion)
        assert not found.passed
        assert "no labels" in found.summary
        assert (found.orders, found.challenger_mae, found.challenger_coverage) == (0, None, None)


def test_incomparable_bundles_fails_with_reason() -> None:
    found = incomparable_bundles("mine", "theirs", june(14))
    assert not found.passed
    assert found.summary == (
        "Lost on: Days that neither bundle has seen: none, one of them was fitted on days up to 2015-06-14."
    )
    assert (found.orders, found.first_day, found.last_day) == (0, None, None)


@given(mine=st.floats(0, 5_000), theirs=st.floats(0, 5_000))
def test_comparison_passes_in_at_most_one_direction(mine: float, theirs: float) -> None:
    one, other = (answers(LABEL + shift, lookup=LABEL + 9_999) for shift in (mine, theirs))
    assert not (judge(one, other).passed and judge(other, one).passed)
