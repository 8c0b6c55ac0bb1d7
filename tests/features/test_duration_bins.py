from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.features.history_state import (
    BIN_COUNT,
    BIN_WIDTH,
    MAX_SCALE_SECONDS,
    MIN_SCALE_SECONDS,
    duration_bins,
    position_to_seconds,
    quantile_positions,
    squared_deviations,
)

LABELS = st.lists(st.integers(MIN_SCALE_SECONDS, MAX_SCALE_SECONDS), min_size=1, max_size=60)


def bin_counts(labels: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.bincount(duration_bins(np.array(labels)), minlength=BIN_COUNT).reshape(1, BIN_COUNT).astype(np.int64)


def test_duration_bins_match_logarithm_of_each_second() -> None:
    seconds = np.arange(MIN_SCALE_SECONDS, MAX_SCALE_SECONDS + 1)
    exact = np.log(seconds / MIN_SCALE_SECONDS) / BIN_WIDTH
    # Bins end at whole seconds, so a label can be up to one second outside of its exact bin.
    low = MIN_SCALE_SECONDS * np.exp(BIN_WIDTH * duration_bins(seconds))
    high = low * np.exp(BIN_WIDTH)
    assert np.all((np.floor(low) <= seconds) & (seconds <= high + 1e-6))
    assert np.abs(duration_bins(seconds) + 0.5 - exact).max() < 0.5 + 1 / (BIN_WIDTH * MIN_SCALE_SECONDS)


def test_duration_bins_are_ascending_and_all_used() -> None:
    bins = duration_bins(np.arange(MAX_SCALE_SECONDS + 1))
    assert bins.dtype == np.int8
    assert np.all(np.diff(bins) >= 0)
    assert set(bins.tolist()) == set(range(BIN_COUNT))


@given(st.integers(-(2**40), 2**40))
def test_duration_bins_outside_scale_use_nearest_bin(seconds: int) -> None:
    bin_ = duration_bins(np.array([seconds]))[0]
    if seconds <= MIN_SCALE_SECONDS:
        assert bin_ == 0
    if seconds >= MAX_SCALE_SECONDS:
        assert bin_ == BIN_COUNT - 1
    assert 0 <= bin_ < BIN_COUNT


def test_position_to_seconds_returns_middle_of_bin() -> None:
    middles = position_to_seconds(np.arange(BIN_COUNT, dtype=np.float64))
    ratio = np.exp(BIN_WIDTH)
    assert middles[0] == pytest.approx(MIN_SCALE_SECONDS * np.sqrt(ratio))
    assert middles[-1] == pytest.approx(MAX_SCALE_SECONDS / np.sqrt(ratio))
    assert middles[1:] / middles[:-1] == pytest.approx(ratio)


@given(LABELS, st.floats(0.01, 0.99))
def test_quantile_positions_match_numpy_within_a_bin(labels: list[int], level: float) -> None:
    position = quantile_positions(bin_counts(labels), (level,))[0, 0]
    exact = np.quantile(labels, level, method="inverted_cdf")
    # Half a bin to the middle of the exact one, half a bin for the rank in it, and one second for the edges.
    assert abs(position - (np.log(exact / MIN_SCALE_SECONDS) / BIN_WIDTH - 0.5)) < 1 + 1 / (
        BIN_WIDTH * MIN_SCALE_SECONDS
    )


@given(LABELS)
def test_quantile_positions_ascend_and_equal_for_both_int_types(labels: list[int]) -> None:
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    counts = bin_counts(labels)
    positions = quantile_positions(counts, levels)[0]
    assert np.all(np.diff(positions) >= 0)
    assert np.array_equal(quantile_positions(counts.astype(np.int32), levels)[0], positions)


def test_empty_histogram_has_zero_quantile_and_spread() -> None:
    empty = np.zeros((2, BIN_COUNT), np.int64)
    empty[1, 7] = 3
    assert quantile_positions(empty, (0.5,))[0, 0] == 0
    assert quantile_positions(empty, (0.5,))[1, 0] == pytest.approx(7)
    assert squared_deviations(empty).tolist() == [0, 0]


@given(LABELS)
def test_squared_deviations_match_direct_computation(labels: list[int]) -> None:
    bins = duration_bins(np.array(labels)).astype(np.float64)
    assert squared_deviations(bin_counts(labels))[0] == pytest.approx(((bins - bins.mean()) ** 2).sum(), abs=1e-6)


def test_squared_deviations_of_billion_orders_do_not_overflow() -> None:
    counts = np.zeros((1, BIN_COUNT), np.int64)
    counts[0, [20, 60]] = 500_000_000
    assert squared_deviations(counts)[0] == pytest.approx(1e9 * 20**2)
