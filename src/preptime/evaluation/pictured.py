"""`evaluation.json`: what the pictures of a training run are drawn from, kept in its bundle beside the report.

Counts, never orders: it stays small however many there were. The same data gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from preptime.bundle.manifest import EVALUATION, Head, Manifest
from preptime.bundle.store import Store
from preptime.domain.prediction import DEFAULT_MODEL
from preptime.evaluation import aggregates
from preptime.evaluation.aggregates import Cell
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import FIVE_MINUTES_SECONDS

FORMAT = 1
"""Another number means that other code wrote it: the pictures are then not drawn, and everything else is shown."""

_DIGITS = 6


class Middle(msgspec.Struct, frozen=True):
    """The middle half of what happened to orders with about this prediction; minutes."""

    predicted: float
    low: float
    median: float
    high: float


class Answers(msgspec.Struct, frozen=True):
    """The default model's answers against the truth, over labels up to 3 h."""

    orders: int
    limit_minutes: int
    """Where both axes end."""
    cells: tuple[Cell, ...]
    middles: tuple[Middle, ...]
    errors: dict[str, tuple[int, ...]]
    """Orders per minute of error, -30 to 30, by answer: the default model and the restaurant lookup."""
    over_5_min_late: float
    """Share of orders whose food came more than five minutes later than said; likewise earlier."""
    over_5_min_early: float

    @property
    def beyond(self) -> float:
        """Share of orders outside the picture."""
        return 1 - sum(orders for _, _, orders in self.cells) / self.orders


class LabelCount(msgspec.Struct, frozen=True):
    """How many of the orders read carried a reason code."""

    reason: str
    orders: int


class Pictured(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    format: int = FORMAT
    answers: Answers | None
    """None where no order held out has a label."""
    importance: dict[str, dict[str, float]]
    """By model and feature, shares of the whole."""
    orders_fitted: int
    rows_read: int
    labels: tuple[LabelCount, ...]


def answered(orders: EvaluatedOrders) -> Answers | None:
    """Count the answers to orders with labels up to 3 h; nothing of no orders."""
    decisive = orders.take(orders.up_to_3h)
    if not len(decisive):
        return None
    actual, default = decisive.actual, decisive.default
    limit = aggregates.density_limit_minutes(actual, default)
    named = {DEFAULT_MODEL: default, LOOKUP: decisive.baselines[LOOKUP]}
    return Answers(
        orders=len(decisive),
        limit_minutes=limit,
        cells=aggregates.count_cells(actual, default, limit),
        middles=msgspec.convert(aggregates.actual_by_predicted(actual, default, limit), tuple[Middle, ...]),
        errors={name: aggregates.count_errors(answers, actual) for name, answers in named.items()},
        over_5_min_late=float(np.mean(actual - default > FIVE_MINUTES_SECONDS)),
        over_5_min_early=float(np.mean(default - actual > FIVE_MINUTES_SECONDS)),
    )


def shares(importance: Mapping[str, float]) -> dict[str, float]:
    """Importances on any scale as shares of the whole."""
    whole = sum(importance.values()) or 1.0
    return {name: round(value / whole, _DIGITS) for name, value in importance.items()}


def encode(pictured: Pictured) -> bytes:
    """The file."""
    return msgspec.json.encode(pictured, order="sorted") + b"\n"


def decode(content: bytes) -> Pictured | None:
    """The document, or nothing where other code wrote it otherwise."""
    try:
        if msgspec.json.decode(content, type=Head).format != FORMAT:
            return None
        return msgspec.json.decode(content, type=Pictured)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def pictured_of(store: Store, manifest: Manifest) -> Pictured | None:
    """What a bundle's pictures are drawn from; nothing for bundles of releases that did not keep it.

    Raises `StoreError` when the store cannot be read, `RefusedBundleError` for a damaged file.
    """
    return decode(store.read_file(manifest, EVALUATION)) if EVALUATION in manifest.files else None


def evaluation_of(manifest: Manifest) -> BacktestDocument | None:
    """The scores of the training run, or nothing where the manifest tells them in another shape or not at all."""
    try:
        return msgspec.convert(manifest.metrics, BacktestDocument)
    except msgspec.ValidationError:
        return None
