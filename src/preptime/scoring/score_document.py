"""Counts of a scoring run, and the output of `preptime score --json`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.validation_reasons import ValidationReason

_HISTOGRAM_BINS = 86_401
"""One bin per second of a day, for the median. Longer preparations count as a day."""


class ScoreDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The result of scoring a file.

    `rows` is `predicted` plus the sum of `rejected`. `predicted` is the sum of `fallback_level`.
    """

    source: str
    out: str
    bundle: str
    rows: int
    predicted: int
    rejected: dict[str, int]
    """Rows without a prediction, by `prediction_reason`. Only reasons that occur."""
    fallback_level: dict[str, int]
    """Predictions by fallback level: all five levels, finest first."""
    median_predicted_seconds: int | None
    """Median of the p50 in whole seconds. Null without predictions."""


class ScoreCounts:
    """Counts of the scored rows, in constant memory."""

    def __init__(self) -> None:
        self.rows = 0
        self._seconds_histogram = np.zeros(_HISTOGRAM_BINS, np.int64)
        self._fallback_level = np.zeros(len(FALLBACK_LEVELS), np.int64)
        self._rejected: dict[ValidationReason, int] = {}

    def add(
        self,
        rows: int,
        p50_seconds: NDArray[np.float32],
        fallback_level: NDArray[np.int8],
        rejected: dict[ValidationReason, int],
    ) -> None:
        """Count a chunk: its rows, the p50 and fallback level of its predictions, and the rejected rows by reason."""
        self.rows += rows
        seconds = np.minimum(np.rint(p50_seconds), _HISTOGRAM_BINS - 1).astype(np.int64)
        self._seconds_histogram += np.bincount(seconds, minlength=_HISTOGRAM_BINS)
        self._fallback_level += np.bincount(fallback_level, minlength=len(FALLBACK_LEVELS))
        for reason, count in rejected.items():
            self._rejected[reason] = self._rejected.get(reason, 0) + count

    def to_document(self, source: str, out: Path, bundle: str) -> ScoreDocument:
        """Return the counts as a document."""
        return ScoreDocument(
            source=source,
            out=str(out),
            bundle=bundle,
            rows=self.rows,
            predicted=self.predicted,
            rejected=self.rejected,
            fallback_level=self.fallback_level,
            median_predicted_seconds=self.median_predicted_seconds,
        )

    @property
    def predicted(self) -> int:
        """Rows with a prediction."""
        return int(self._fallback_level.sum())

    @property
    def rejected(self) -> dict[str, int]:
        """Rows without a prediction, by reason. Only reasons that occur."""
        return {str(reason): self._rejected[reason] for reason in ValidationReason if reason in self._rejected}

    @property
    def fallback_level(self) -> dict[str, int]:
        """Predictions by fallback level, finest first."""
        return dict(zip(FALLBACK_LEVELS, self._fallback_level.tolist(), strict=True))

    @property
    def median_predicted_seconds(self) -> int | None:
        """Median of the p50 in whole seconds, or None without predictions."""
        cumulative = np.cumsum(self._seconds_histogram)
        return int(np.searchsorted(cumulative, (cumulative[-1] + 1) // 2)) if cumulative[-1] else None
