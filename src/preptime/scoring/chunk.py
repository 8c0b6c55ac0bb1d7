"""One chunk of orders and the answers to them, whatever it came from and wherever it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.domain.prediction import Predictions
from preptime.domain.verdict import Purpose, Reason, mask, reasons
from preptime.features.directory import Directory
from preptime.scoring.carried import Carried
from preptime.scoring.columns import BUNDLE, REASON, Clock, answers
from preptime.scoring.directory import extended
from preptime.tables.audit import Audited, audit, to_order_columns


def directory_of(bundle: Bundle, given: Directory | None) -> Directory:
    """The restaurants as the bundle knows them, and those of `given` that it lacks."""
    known = bundle.history.directory
    return known if given is None else extended(known, given)


@dataclass(frozen=True)
class Scored:
    """One chunk: what is written of it and what is counted."""

    frame: pl.DataFrame
    p50_seconds: NDArray[np.float32]
    basis: NDArray[np.int8]
    refused: dict[Reason, int]


@dataclass(frozen=True)
class Scorer:
    """Everything that all chunks share; threads call it side by side."""

    bundle: Bundle
    carried: Carried
    clock: Clock
    directory: Directory

    def score(self, rows: pl.DataFrame) -> Scored:
        """The rows in their places, with the columns of `preptime.scoring.columns` behind them."""
        audited = audit(rows, self.directory, need_label=False)
        kept = audited.kept(Purpose.SCORING)
        everything = bool(kept.all())
        frame = audited.frame if everything else audited.frame.filter(pl.Series(kept))
        predictions = self.bundle.predict(to_order_columns(frame))
        columns = self._answers(frame, predictions)
        refused: dict[Reason, int] = {}
        if not everything:
            columns, refused = _in_place(columns, audited, kept)
            columns = columns.with_columns(pl.lit(self.bundle.manifest.id).alias(BUNDLE))
        return Scored(
            self.carried.of_chunk(rows).with_columns(columns), predictions.default, predictions.basis, refused
        )

    def _answers(self, frame: pl.DataFrame, predictions: Predictions) -> pl.DataFrame:
        local, utc = (frame[name].to_physical().to_numpy() for name in ("acknowledged_local", "acknowledged_utc"))
        return answers(predictions, local, utc, self.clock, self.bundle.manifest.id)


def _in_place(
    columns: pl.DataFrame, audited: Audited, kept: NDArray[np.bool_]
) -> tuple[pl.DataFrame, dict[Reason, int]]:
    """The answers to the kept rows, in their places among all rows, and the refused rows by their first reason."""
    place = pl.Series(np.cumsum(kept) - 1).set(pl.Series(~kept), None)
    spread = columns.select(pl.all().gather(place))
    against = audited.reasons & np.uint32(mask(Purpose.SCORING))
    masks, of_mask, counts = np.unique(against, return_inverse=True, return_counts=True)
    first = [reasons(int(bits))[0] if bits else None for bits in masks]
    texts = pl.Series(REASON, [None if one is None else str(one) for one in first], dtype=pl.String)
    refused: dict[Reason, int] = {}
    for one, count in zip(first, counts.tolist(), strict=True):
        if one is not None:
            refused[one] = refused.get(one, 0) + count
    return spread.with_columns(texts.gather(of_mask)), refused
