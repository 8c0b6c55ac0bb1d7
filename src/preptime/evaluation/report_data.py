"""`evaluation.json`: the chart data of a training run, which the bundle stores next to the report.

It holds counts and no orders, so its size doesn't grow with them. The same data gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import msgspec
import numpy as np

from preptime.bundle.manifest import EVALUATION_FILE, FormatHeader, Manifest
from preptime.bundle.store import Store
from preptime.domain.orders import DEFAULT_MODEL
from preptime.evaluation import aggregates
from preptime.evaluation.aggregates import DensityCell
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import FIVE_MINUTES_SECONDS

FORMAT = 1
"""A file with another format number is ignored: the dashboard then shows the bundle without charts."""

_DIGITS = 6


class ActualQuartiles(msgspec.Struct, frozen=True):
    """Quartiles of the actual times of orders with about this prediction, in minutes."""

    predicted: float
    low: float
    median: float
    high: float


class PredictionSummary(msgspec.Struct, frozen=True):
    """Predictions of the default model and actual times, over labels up to 3 h."""

    orders: int
    axis_limit_minutes: int
    """The end of both axes."""
    density: tuple[DensityCell, ...]
    actual_quartiles: tuple[ActualQuartiles, ...]
    error_counts: dict[str, tuple[int, ...]]
    """Orders per minute of error, from -30 to 30, for the default model and the restaurant lookup."""
    share_over_5_min_late: float
    """Share of orders that were completed more than five minutes later than predicted."""
    share_over_5_min_early: float
    """Share of orders that were completed more than five minutes earlier than predicted."""

    @property
    def share_beyond_axes(self) -> float:
        """Return the share of orders outside the chart."""
        return 1 - sum(orders for _, _, orders in self.density) / self.orders


class LabelCount(msgspec.Struct, frozen=True):
    """The number of orders with a reason code."""

    reason: str
    orders: int


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `evaluation.json`."""

    format: int = FORMAT
    predictions: PredictionSummary | None
    """None if no held-out order has a label."""
    importance: dict[str, dict[str, float]]
    """By model and feature, as shares of the total."""
    orders_fitted: int
    rows_read: int
    label_counts: tuple[LabelCount, ...]


def summarize_predictions(orders: EvaluatedOrders) -> PredictionSummary | None:
    """Return the counts for orders with labels up to 3 h, or None without such orders."""
    eligible = orders.take(orders.up_to_3h)
    if not len(eligible):
        return None
    actual, default = eligible.actual, eligible.default_predictions
    limit = aggregates.density_limit_minutes(actual, default)
    predictions_by_name = {DEFAULT_MODEL: default, LOOKUP: eligible.baseline_predictions[LOOKUP]}
    return PredictionSummary(
        orders=len(eligible),
        axis_limit_minutes=limit,
        density=aggregates.count_density(actual, default, limit),
        actual_quartiles=msgspec.convert(
            aggregates.actual_quartile_rows(actual, default, limit), tuple[ActualQuartiles, ...]
        ),
        error_counts={
            name: aggregates.count_errors(predictions, actual) for name, predictions in predictions_by_name.items()
        },
        share_over_5_min_late=float(np.mean(actual - default > FIVE_MINUTES_SECONDS)),
        share_over_5_min_early=float(np.mean(default - actual > FIVE_MINUTES_SECONDS)),
    )


def importance_shares(importance: Mapping[str, float]) -> dict[str, float]:
    """Return importances of any scale as shares of their total."""
    total = sum(importance.values()) or 1.0
    return {name: round(value / total, _DIGITS) for name, value in importance.items()}


def encode(report_data: ReportData) -> bytes:
    """Return the file's bytes."""
    return msgspec.json.encode(report_data, order="sorted") + b"\n"


def decode(content: bytes) -> ReportData | None:
    """Return the contents, or None if the format is unknown."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        if msgspec.json.decode(content, type=FormatHeader).format == FORMAT:
            return msgspec.json.decode(content, type=ReportData)
    return None


def read_report_data(store: Store, manifest: Manifest) -> ReportData | None:
    """Return the chart data of a bundle, or None if the bundle has none.

    Raises `StoreError` if the store can't be read, and `BundleVerificationError` if the file is damaged.
    """
    return decode(store.read_file(manifest, EVALUATION_FILE)) if EVALUATION_FILE in manifest.files else None


def backtest_from_manifest(manifest: Manifest) -> BacktestDocument | None:
    """Return the backtest of the training run, or None if the manifest has none or an unknown form."""
    try:
        return msgspec.convert(manifest.metrics, BacktestDocument)
    except msgspec.ValidationError:
        return None
