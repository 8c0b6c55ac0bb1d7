"""`evaluation.json`: what the pictures of a training run are drawn from, kept in its bundle beside the report.

Counts, never orders: it stays small however many there were. The same data gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

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
"""Another number means that other code wrote it: the pictures are then not drawn, and everything else is shown."""

_DIGITS = 6


class ActualQuartiles(msgspec.Struct, frozen=True):
    """The middle half of what happened to orders with about this prediction; minutes."""

    predicted: float
    low: float
    median: float
    high: float


class PredictionSummary(msgspec.Struct, frozen=True):
    """The default model's answers against the truth, over labels up to 3 h."""

    orders: int
    axis_limit_minutes: int
    """Where both axes end."""
    density: tuple[DensityCell, ...]
    actual_quartiles: tuple[ActualQuartiles, ...]
    error_counts: dict[str, tuple[int, ...]]
    """Orders per minute of error, -30 to 30, by answer: the default model and the restaurant lookup."""
    share_over_5_min_late: float
    """Share of orders whose food came more than five minutes later than said; likewise earlier."""
    share_over_5_min_early: float

    @property
    def share_beyond_axes(self) -> float:
        """Share of orders outside the picture."""
        return 1 - sum(orders for _, _, orders in self.density) / self.orders


class LabelCount(msgspec.Struct, frozen=True):
    """How many of the orders read carried a reason code."""

    reason: str
    orders: int


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    format: int = FORMAT
    predictions: PredictionSummary | None
    """None where no order held out has a label."""
    importance: dict[str, dict[str, float]]
    """By model and feature, shares of the whole."""
    orders_fitted: int
    rows_read: int
    label_counts: tuple[LabelCount, ...]


def summarize_predictions(orders: EvaluatedOrders) -> PredictionSummary | None:
    """Count the answers to orders with labels up to 3 h; nothing of no orders."""
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
    """Importances on any scale as shares of the whole."""
    total = sum(importance.values()) or 1.0
    return {name: round(value / total, _DIGITS) for name, value in importance.items()}


def encode(report_data: ReportData) -> bytes:
    """The file."""
    return msgspec.json.encode(report_data, order="sorted") + b"\n"


def decode(content: bytes) -> ReportData | None:
    """The document, or nothing where other code wrote it otherwise."""
    try:
        if msgspec.json.decode(content, type=FormatHeader).format != FORMAT:
            return None
        return msgspec.json.decode(content, type=ReportData)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_report_data(store: Store, manifest: Manifest) -> ReportData | None:
    """What a bundle's pictures are drawn from; nothing for bundles of releases that did not keep it.

    Raises `StoreError` when the store cannot be read, `BundleVerificationError` for a damaged file.
    """
    return decode(store.read_file(manifest, EVALUATION_FILE)) if EVALUATION_FILE in manifest.files else None


def backtest_of(manifest: Manifest) -> BacktestDocument | None:
    """The scores of the training run, or nothing where the manifest tells them in another shape or not at all."""
    try:
        return msgspec.convert(manifest.metrics, BacktestDocument)
    except msgspec.ValidationError:
        return None
