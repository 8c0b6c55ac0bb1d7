"""Metrics: values, directions, missing values, and invalid input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
    median_absolute_error,
    r2_score,
)

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import OperationError
from preptime.evaluation.metrics import (
    BIAS,
    MAE,
    MEDIAN_AE,
    MEDIAN_WIDTH,
    POINT_METRICS,
    R2,
    RMSE,
    WITHIN_5_MIN,
    Metric,
    interval_coverage,
    pinball,
    quantile_coverage,
)

ACTUAL = np.array([600.0, 900.0, 1200.0, 0.0])
PREDICTED = np.array([700.0, 600.0, 1500.0, 301.0])
EVERY_METRIC: tuple[Metric, ...] = (
    *POINT_METRICS,
    MEDIAN_WIDTH,
    interval_coverage(0.8),
    quantile_coverage(0.9),
    pinball(0.9),
)

seconds = arrays(np.float64, st.shared(st.integers(1, 40), key="n"), elements=st.integers(0, 300_000))


def test_point_metrics_match_manual_computation() -> None:
    # The errors are +100, −300, +300, and +301.
    assert MAE(ACTUAL, PREDICTED) == pytest.approx(1001 / 4)
    assert MEDIAN_AE(ACTUAL, PREDICTED) == pytest.approx(300)
    assert RMSE(ACTUAL, PREDICTED) == pytest.approx(np.sqrt((100**2 + 300**2 + 300**2 + 301**2) / 4))
    assert BIAS(ACTUAL, PREDICTED) == pytest.approx(401 / 4)
    assert WITHIN_5_MIN(ACTUAL, PREDICTED) == 0.75  # exactly 300 s counts as within
    # The mean is 675. Squared deviations from it are 75², 225², 525², and 675².
    assert R2(ACTUAL, PREDICTED) == pytest.approx(1 - 280_601 / (75**2 + 225**2 + 525**2 + 675**2))


def test_quantile_metrics_match_manual_computation() -> None:
    low, high = np.array([600.0, 100.0, 100.0, 1.0]), np.array([700.0, 900.0, 1100.0, 301.0])
    assert interval_coverage(0.8)(ACTUAL, low, high) == 0.5  # both ends are included
    assert MEDIAN_WIDTH(ACTUAL, low, high) == 550
    assert quantile_coverage(0.9)(ACTUAL, high) == 0.75
    # 0.1 · (100 + 0 + 301) above the labels, and 0.9 · 100 below.
    assert pinball(0.9)(ACTUAL, high) == pytest.approx((0.1 * 401 + 0.9 * 100) / 4)


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    actual, predicted = rng.gamma(2.0, 500.0, 500), rng.gamma(2.0, 500.0, 500)
    assert MAE(actual, predicted) == pytest.approx(mean_absolute_error(actual, predicted))
    assert MEDIAN_AE(actual, predicted) == pytest.approx(median_absolute_error(actual, predicted))
    assert RMSE(actual, predicted) == pytest.approx(mean_squared_error(actual, predicted) ** 0.5)
    assert R2(actual, predicted) == pytest.approx(r2_score(actual, predicted))
    for p in QUANTILE_LEVELS:
        assert pinball(p)(actual, predicted) == pytest.approx(mean_pinball_loss(actual, predicted, alpha=p))


def test_metrics_sum_in_float64_for_any_input_type() -> None:
    actual = np.full(200_001, 16_777_217, dtype=np.int64)  # one more than float32 can count
    assert BIAS(actual, np.full(200_001, 16_777_216, dtype=np.float32)) == -1


def test_metrics_without_orders_or_variance_are_none() -> None:
    no_orders = np.empty(0)
    assert [metric(no_orders, no_orders) for metric in POINT_METRICS] == [None] * len(POINT_METRICS)
    assert pinball(0.5)(no_orders, no_orders) is None
    assert MEDIAN_WIDTH(no_orders, no_orders, no_orders) is None
    constant = np.array([600, 600])
    assert R2(constant, np.array([600, 700])) is None
    assert MAE(constant, np.array([600, 700])) == 50


@pytest.mark.parametrize(
    ("metric", "good", "bad"),
    [
        (MAE, 400.0, 500.0),
        (MEDIAN_AE, 200.0, 201.0),
        (RMSE, 400.0, 500.0),
        (R2, 0.3, 0.2),
        (R2, -1.0, -2.0),
        (BIAS, -5.0, 6.0),
        (BIAS, 5.0, -6.0),
        (WITHIN_5_MIN, 0.6, 0.5),
        (MEDIAN_WIDTH, 900.0, 1000.0),
        (pinball(0.9), 90.0, 100.0),
        (interval_coverage(0.8), 0.79, 0.83),
        (interval_coverage(0.8), 0.81, 0.77),
        (quantile_coverage(0.1), 0.11, 0.5),
    ],
)
def test_metric_is_better_knows_direction(metric: Metric, good: float, bad: float) -> None:
    assert metric.is_better(good, bad)
    assert not metric.is_better(bad, good)
    assert not metric.is_better(good, good)


@pytest.mark.parametrize("metric", EVERY_METRIC, ids=lambda metric: metric.name)
def test_metric_is_better_treats_none_as_worst(metric: Metric) -> None:
    assert metric.is_better(0.4, None)
    assert metric.is_better(0.4, float("nan"))
    assert not metric.is_better(None, 0.4)
    assert not metric.is_better(None, None)


def test_metric_is_worse_by_share_of_loss() -> None:
    assert not MAE.is_worse_by(420.0, 400.0, 0.05)
    assert MAE.is_worse_by(420.1, 400.0, 0.05)
    assert R2.is_worse_by(0.3, 0.35, 0.05)  # 0.70 left to explain against 0.65
    assert MAE.is_worse_by(None, 400.0, 0.05)
    assert not MAE.is_worse_by(400.0, None, 0.05)


def test_metric_rejects_nan_and_mismatched_shapes() -> None:
    with pytest.raises(OperationError, match=r"1 of 4 values in 'predicted' aren't finite"):
        MAE(ACTUAL, np.array([1.0, 2.0, np.nan, 4.0]))
    with pytest.raises(OperationError, match="different shapes"):
        MAE(ACTUAL, PREDICTED[:3])
    with pytest.raises(OperationError, match="different shapes"):
        MAE(ACTUAL, PREDICTED[:, None])


@given(actual=seconds, predicted=seconds, p=st.sampled_from(QUANTILE_LEVELS))
def test_metrics_stay_within_bounds(actual: np.ndarray, predicted: np.ndarray, p: float) -> None:
    share = quantile_coverage(p)(actual, predicted)
    loss = pinball(p)(actual, predicted)
    median_ae, mae, rmse = MEDIAN_AE(actual, predicted), MAE(actual, predicted), RMSE(actual, predicted)
    assert share is not None
    assert 0 <= share <= 1
    assert loss is not None
    assert mae is not None
    assert rmse is not None
    assert median_ae is not None
    assert 0 <= loss <= mae
    assert mae <= rmse * (1 + 1e-12)
    assert median_ae <= 2 * mae * (1 + 1e-12)
    assert pinball(0.5)(actual, predicted) == pytest.approx(mae / 2)


@given(actual=seconds, first_end=seconds, second_end=seconds, level=st.sampled_from((0.5, 0.8)))
def test_interval_coverage_excludes_orders_outside(
    actual: np.ndarray, first_end: np.ndarray, second_end: np.ndarray, level: float
) -> None:
    low, high = np.minimum(first_end, second_end), np.maximum(first_end, second_end)
    inside = interval_coverage(level)(actual, low, high)
    assert inside is not None
    assert 0 <= inside <= 1
    assert inside == pytest.approx(1 - np.mean(actual < low) - np.mean(actual > high))
    assert not interval_coverage(level).is_better(inside, level)


def test_metrics_page_documents_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in (*POINT_METRICS, MEDIAN_WIDTH, interval_coverage(0.8), pinball(0.5)):
        assert f"| `{metric.name}` | {metric.unit} | {metric.description} |" in page
