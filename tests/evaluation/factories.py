"""Realistic evaluated orders: skewed preparation times, a model that beats the lookup, and calibrated quantiles."""

from __future__ import annotations

import numpy as np

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders
from preptime.evaluation.report import LabelAuditRow, ReportContext
from preptime.evaluation.segments import SegmentColumns

NORMAL_AT_LEVELS = np.array([-1.2816, 0.0, 0.8416, 1.2816])
"""Quantiles of the standard normal distribution at `QUANTILE_LEVELS`."""

NORMAL_AT_LOOKUP_LEVELS = np.array([-1.2816, -0.6745, 0.0, 0.6745, 1.2816])
"""The same at the levels of a restaurant's own quantiles."""

SPREAD = 0.4
"""Standard deviation of the logarithm of an order's preparation time around its own median."""

HOSTILE = "<script>alert(1)</script>"
HOSTILE_IN_QUOTES = "\"><img src=x onerror='alert(2)'>&amp;"


def evaluated_orders(n: int, seed: int = 0) -> EvaluatedOrders:
    """Return `n` orders. The quantiles are the true ones. One label in fifty is a delay of hours."""
    rng = np.random.default_rng(seed)
    median = 800 * np.exp(rng.normal(0, 0.3, n))
    actual = median * np.exp(rng.normal(0, SPREAD, n))
    actual = np.where(rng.random(n) < 0.02, actual + 7200, actual)
    cat, lookup = median * np.exp(rng.normal(0, 0.1, n)), median * np.exp(rng.normal(0, 0.3, n))
    return EvaluatedOrders(
        actual=actual,
        day=rng.integers(16_600, 16_607, n),
        up_to_3h=actual <= 10_800,
        within_label_limit=actual <= 2_200,
        point_predictions={"rf": median * 1.1, "cat": cat},
        quantiles=(median[:, None] * np.exp(SPREAD * NORMAL_AT_LEVELS)).astype(np.float32),
        baseline_predictions={LOOKUP: lookup, GLOBAL_MEDIAN: np.full(n, 800.0)},
        lookup_quantiles=lookup[:, None] * np.exp(SPREAD * NORMAL_AT_LOOKUP_LEVELS),
        global_quantiles=np.tile(800 * np.exp(SPREAD * NORMAL_AT_LOOKUP_LEVELS), (n, 1)),
        segment_columns=SegmentColumns(
            city=rng.choice(["London", "Lyon", HOSTILE, "Saint-Étienne"], n, p=[0.6, 0.2, 0.15, 0.05]),
            type_of_food=rng.choice(["thai", "pizza", HOSTILE_IN_QUOTES], n),
            hour=rng.integers(11, 24, n),
            number_of_items=rng.integers(1, 12, n),
            fallback_level=rng.choice(len(FALLBACK_LEVELS), n, p=[0.8, 0.1, 0.05, 0.04, 0.01]).astype(np.int8),
        ),
    )


def report_context(orders: EvaluatedOrders, bundle_id: str = "2015-06-24-0a1b2c") -> ReportContext:
    """Return everything that a report shows, with hostile names."""
    return ReportContext(
        bundle_id=bundle_id,
        date="2015-06-24",
        training_window=("2015-06-01", "2015-06-16"),
        orders_used=16_590,
        data_fingerprint="sha256:0123456789ab",
        evaluated_days=("2015-06-17", "2015-06-23"),
        orders=orders,
        importances={f"feature_{i}": float(20 - i) for i in range(20)},
        label_audit=(
            LabelAuditRow("label_zero", 103, "ready immediately", "fitting"),
            LabelAuditRow(HOSTILE, 3, HOSTILE_IN_QUOTES, ""),
        ),
        rows_read=24_377,
    )
