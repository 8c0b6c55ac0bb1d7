"""What a scoring run says of itself: the document of `score --json`, counted chunk by chunk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.validation_reasons import ValidationReason

_HISTOGRAM_BINS = 86_401
"""Places of the median's histogram. A preparation of a day or more counts as a day."""


class ScoreDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One scored file. `rows` = `predicted` + the sum of `rejected`, and `predicted` is the sum of `fallback_level`."""

    source: str
    out: str
    bundle: str
    rows: int
    predicted: int
    rejected: dict[str, int]
    """Rows without a prediction, by the reason written beside them; only reasons that occurred."""
    fallback_level: dict[str, int]
    """Predictions by the level of history behind them, all five levels, finest first."""
    median_predicted_seconds: int | None
    """Median of the p50s in whole seconds; null when nothing was predicted."""


class ScoreCounts:
    """Counts of what has been scored so far. Memory does not grow with rows."""

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
        """Count a chunk: its rows, its predictions' p50 and basis, and how many were refused for which reason."""
        self.rows += rows
        seconds = np.minimum(np.rint(p50_seconds), _HISTOGRAM_BINS - 1).astype(np.int64)
        self._seconds_histogram += np.bincount(seconds, minlength=_HISTOGRAM_BINS)
        self._fallback_level += np.bincount(fallback_level, minlength=len(FALLBACK_LEVELS))
        for reason, count in rejected.items():
            self._rejected[reason] = self._rejected.get(reason, 0) + count

    def to_document(self, source: str, out: Path, bundle: str) -> ScoreDocument:
        """Everything counted."""
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
        """Rows without one, by reason; only reasons that occurred."""
        return {str(reason): self._rejected[reason] for reason in ValidationReason if reason in self._rejected}

    @property
    def fallback_level(self) -> dict[str, int]:
        """Predictions by the level of history behind them, finest first."""
        return dict(zip(FALLBACK_LEVELS, self._fallback_level.tolist(), strict=True))

    @property
    def median_predicted_seconds(self) -> int | None:
        """Median of the p50s, whole seconds; None when nothing was predicted."""
        cumulative = np.cumsum(self._seconds_histogram)
        return int(np.searchsorted(cumulative, (cumulative[-1] + 1) // 2)) if cumulative[-1] else None
