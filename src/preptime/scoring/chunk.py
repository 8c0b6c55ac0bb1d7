"""One chunk of orders and the answers to them, whatever it came from and wherever it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.domain.prediction import Predictions
from preptime.domain.verdict import Purpose, ValidationReason, exclusion_mask, reasons_in_mask
from preptime.features.directory import RestaurantIndex
from preptime.scoring.carried import PassthroughColumns
from preptime.scoring.columns import PREDICTION_BUNDLE, PREDICTION_REASON, TimestampFormatter, prediction_columns
from preptime.scoring.directory import merge_restaurants
from preptime.tables.audit import AuditedOrders, audit_orders, to_order_columns


def restaurants_for(bundle: Bundle, extra: RestaurantIndex | None) -> RestaurantIndex:
    """The restaurants as the bundle knows them, and those of `given` that it lacks."""
    known = bundle.history.restaurants
    return known if extra is None else merge_restaurants(known, extra)


@dataclass(frozen=True)
class ScoredChunk:
    """One chunk: what is written of it and what is counted."""

    frame: pl.DataFrame
    p50_seconds: NDArray[np.float32]
    fallback_level: NDArray[np.int8]
    rejected: dict[ValidationReason, int]


@dataclass(frozen=True)
class ChunkScorer:
    """Everything that all chunks share; threads call it side by side."""

    bundle: Bundle
    passthrough: PassthroughColumns
    timestamp_formatter: TimestampFormatter
    restaurants: RestaurantIndex

    def score(self, rows: pl.DataFrame) -> ScoredChunk:
        """The rows in their places, with the columns of `preptime.scoring.columns` behind them."""
        audited = audit_orders(rows, self.restaurants, need_label=False)
        is_scored = audited.usable_for(Purpose.SCORING)
        all_scored = bool(is_scored.all())
        frame = audited.frame if all_scored else audited.frame.filter(pl.Series(is_scored))
        predictions = self.bundle.predict(to_order_columns(frame))
        columns = self._prediction_columns(frame, predictions)
        rejected: dict[ValidationReason, int] = {}
        if not all_scored:
            columns, rejected = _align_with_rows(columns, audited, is_scored)
            columns = columns.with_columns(pl.lit(self.bundle.manifest.id).alias(PREDICTION_BUNDLE))
        return ScoredChunk(
            self.passthrough.select(rows).with_columns(columns),
            predictions.default,
            predictions.fallback_level,
            rejected,
        )

    def _prediction_columns(self, frame: pl.DataFrame, predictions: Predictions) -> pl.DataFrame:
        local, utc = (frame[name].to_physical().to_numpy() for name in ("acknowledged_local", "acknowledged_utc"))
        return prediction_columns(predictions, local, utc, self.timestamp_formatter, self.bundle.manifest.id)


def _align_with_rows(
    columns: pl.DataFrame, audited: AuditedOrders, is_scored: NDArray[np.bool_]
) -> tuple[pl.DataFrame, dict[ValidationReason, int]]:
    """The answers to the kept rows, in their places among all rows, and the refused rows by their first reason."""
    positions = pl.Series(np.cumsum(is_scored) - 1).set(pl.Series(~is_scored), None)
    aligned = columns.select(pl.all().gather(positions))
    rejecting_bits = audited.reasons & np.uint32(exclusion_mask(Purpose.SCORING))
    masks, mask_index, counts = np.unique(rejecting_bits, return_inverse=True, return_counts=True)
    first_reasons = [reasons_in_mask(int(bits))[0] if bits else None for bits in masks]
    texts = pl.Series(
        PREDICTION_REASON, [None if reason is None else str(reason) for reason in first_reasons], dtype=pl.String
    )
    rejected: dict[ValidationReason, int] = {}
    for reason, count in zip(first_reasons, counts.tolist(), strict=True):
        if reason is not None:
            rejected[reason] = rejected.get(reason, 0) + count
    return aligned.with_columns(texts.gather(mask_index)), rejected
