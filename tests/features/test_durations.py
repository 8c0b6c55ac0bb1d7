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


def counted(labels: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.bincount(duration_bins(np.array(labels)), minlength=BIN_COUNT).reshape(1, BIN_COUNT).astype(np.int64)


def test_every_second_of_the_scale_is_in_the_bin_of_its_logarithm() -> None:
    seconds = np.arange(MIN_SCALE_SECONDS, MAX_SCALE_SECONDS + 1)
    exact = np.log(seconds / MIN_SCALE_SECONDS) / BIN_WIDTH
    # Bins end at whole seconds, so a label lies at most in its bin's last second or before it.
    low = MIN_SCALE_SECONDS * np.exp(BIN_WIDTH * duration_bins(seconds))
    high = low * np.exp(BIN_WIDTH)
    assert np.all((np.floor(low) <= seconds) & (seconds <= high + 1e-6))
    assert np.abs(duration_bins(seconds) + 0.5 - exact).max() < 0.5 + 1 / (BIN_WIDTH * MIN_SCALE_SECONDS)


def test_bins_ascend_and_all_are_used() -> None:
    bins = duration_bins(np.arange(MAX_SCALE_SECONDS + 1))
    assert bins.dtype == np.int8
    assert np.all(np.diff(bins) >= 0)
    assert set(bins.tolist()) == set(range(BIN_COUNT))


@given(st.integers(-(2**40), 2**40))
def test_outside_the_scale_the_nearest_bin_counts(seconds: int) -> None:
    one = duration_bins(np.array([seconds]))[0]
    if seconds <= MIN_SCALE_SECONDS:
        assert one == 0
    if seconds >= MAX_SCALE_SECONDS:
        assert one == BIN_COUNT - 1
    assert 0 <= one < BIN_COUNT


def test_a_position_is_the_middle_of_its_bin() -> None:
    middles = position_to_seconds(np.arange(BIN_COUNT, dtype=np.float64))
    ratio = np.exp(BIN_WIDTH)
    assert middles[0] == pytest.approx(MIN_SCALE_SECONDS * np.sqrt(ratio))
    assert middles[-1] == pytest.approx(MAX_SCALE_SECONDS / np.sqrt(ratio))
    assert middles[1:] / middles[:-1] == pytest.approx(ratio)


@given(LABELS, st.floats(0.01, 0.99))
def test_a_quantile_is_numpys_within_a_bin(labels: list[int], level: float) -> None:
    position = quantile_positions(counted(labels), (level,))[0, 0]
    exact = np.quantile(labels, level, method="inverted_cdf")
    # Half a bin to the middle of the exact one, half to where the ranks lie in it, and the edges' whole seconds.
    assert abs(position - (np.log(exact / MIN_SCALE_SECONDS) / BIN_WIDTH - 0.5)) < 1 + 1 / (
        BIN_WIDTH * MIN_SCALE_SECONDS
    )


@given(LABELS)
def test_quantiles_ascend_and_are_the_same_in_both_widths(labels: list[int]) -> None:
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    counts = counted(labels)
    positions = quantile_positions(counts, levels)[0]
    assert np.all(np.diff(positions) >= 0)
    assert np.array_equal(quantile_positions(counts.astype(np.int32), levels)[0], positions)


def test_an_empty_histogram_has_no_quantile_and_no_spread() -> None:
    empty = np.zeros((2, BIN_COUNT), np.int64)
    empty[1, 7] = 3
    assert quantile_positions(empty, (0.5,))[0, 0] == 0
    assert quantile_positions(empty, (0.5,))[1, 0] == pytest.approx(7)
    assert squared_deviations(empty).tolist() == [0, 0]


@given(LABELS)
def test_squared_deviations_are_those_of_the_bins(labels: list[int]) -> None:
    bins = duration_bins(np.array(labels)).astype(np.float64)
    assert squared_deviations(counted(labels))[0] == pytest.approx(((bins - bins.mean()) ** 2).sum(), abs=1e-6)


def test_squared_deviations_of_a_billion_orders_do_not_overflow() -> None:
    counts = np.zeros((1, BIN_COUNT), np.int64)
    counts[0, [20, 60]] = 500_000_000
    assert squared_deviations(counts)[0] == pytest.approx(1e9 * 20**2)
