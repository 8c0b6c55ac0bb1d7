"""Chart rows: counts, shares, quartiles, and confidence intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.evaluation.aggregates import (
    MAX_SEGMENT_VALUES,
    actual_quartile_rows,
    calibration_rows,
    count_density,
    count_errors,
    density_limit_minutes,
    density_rows,
    error_rows,
    importance_rows,
    segment_rows,
    wilson_interval,
)
from preptime.evaluation.evaluated_orders import LOOKUP
from preptime.evaluation.segments import score_segments
from tests.evaluation.factories import evaluated_orders


def test_count_density_counts_each_order_once() -> None:
    actual, predicted = np.array([30.0, 119.0, 125.0, 7200.0]), np.array([60.0, 61.0, 600.0, 600.0])
    cells = density_rows(count_density(actual, predicted, 60))
    assert [(cell["predicted"], cell["actual"], cell["orders"]) for cell in cells] == [(0, 0, 2), (10, 2, 1)]
    assert cells[0]["weight"] == 1
    assert cells[1]["weight"] == pytest.approx(np.sqrt(0.5), abs=1e-4)


def test_density_limit_minutes_holds_nearly_all_orders() -> None:
    assert density_limit_minutes(np.full(100, 1500.0), np.full(100, 900.0)) == 30
    assert density_limit_minutes(np.full(100, 90_000.0), np.full(100, 900.0)) == 120
    assert density_limit_minutes(np.zeros(1), np.zeros(1)) == 10


def test_actual_quartile_rows_needs_enough_orders() -> None:
    predicted = np.r_[np.full(40, 300.0), np.full(10, 1500.0)]
    actual = np.r_[np.arange(40) * 60.0, np.zeros(10)]
    assert actual_quartile_rows(actual, predicted, 25) == [
        {"predicted": 5.0, "low": 9.75, "median": 19.5, "high": 25.0}
    ]


def test_error_rows_are_shares_of_all_orders() -> None:
    actual = np.array([600.0, 600.0, 600.0, 99_999.0])
    rows = error_rows({"quantile": count_errors(np.array([600.0, 630.0, 540.0, 600.0]), actual)}, len(actual))
    assert {row["error"]: row["share"] for row in rows if row["share"]} == {0: 0.5, -1: 0.25}
    assert len(rows) == 60


def test_segment_rows_keeps_largest_segments() -> None:
    orders = evaluated_orders(2000)
    columns = orders.segment_columns
    columns.type_of_food[:] = [f"food {i % 12}" for i in range(2000)]
    segments = score_segments(columns, orders.actual, orders.quantiles, orders.baseline_predictions[LOOKUP])
    foods = segment_rows(segments, ("type_of_food",))
    assert len(foods) == MAX_SEGMENT_VALUES
    cities = segment_rows(segments, ("city",))
    assert [row["orders"] for row in cities] == sorted((row["orders"] for row in cities), reverse=True)
    london = next(segment for segment in segments if segment.value == "London")
    assert london.mae is not None
    assert cities[0]["mae"] == pytest.approx(london.mae / 60)
    orders_at_level = int((orders.segment_columns.fallback_level == 1).sum())
    groups = [row["group"] for row in calibration_rows(segments, orders_at_level)]
    assert groups == ["all orders"] * 4 + ["restaurant"] * 4 + ["city_food"] * 4
    assert "city_food" not in [row["group"] for row in calibration_rows(segments, orders_at_level + 1)]


@given(n=st.integers(1, 100_000), share=st.floats(0, 1))
def test_wilson_interval_contains_observed_share(n: int, share: float) -> None:
    low, high = wilson_interval(share, n)
    assert -1e-12 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1 + 1e-12


def test_wilson_interval_matches_published_values() -> None:
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_importance_rows_are_shares_of_total() -> None:
    rows = importance_rows({"b": 1.0, "a": 1.0, "c": 2.0}, limit=2)
    assert [(row["feature"], row["share"]) for row in rows] == [("c", 0.5), ("a", 0.25)]
    assert importance_rows({"a": 0.0})[0]["share"] == 0
