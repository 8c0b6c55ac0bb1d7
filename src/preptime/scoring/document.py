"""What a scoring run says of itself: the document of `score --json`, counted chunk by chunk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import BASES
from preptime.domain.verdict import Reason

_SECONDS = 86_401
"""Places of the median's histogram. A preparation of a day or more counts as a day."""


class ScoreDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One scored file. `rows` = `predicted` + the sum of `refused`, and `predicted` is the sum of `basis`."""

    source: str
    out: str
    bundle: str
    rows: int
    predicted: int
    refused: dict[str, int]
    """Rows without a prediction, by the reason written beside them; only reasons that occurred."""
    basis: dict[str, int]
    """Predictions by the level of history behind them, all five levels, finest first."""
    median_predicted_seconds: int | None
    """Median of the p50s in whole seconds; null when nothing was predicted."""


class Tally:
    """Counts of what has been scored so far. Memory does not grow with rows."""

    def __init__(self) -> None:
        self.rows = 0
        self._predicted = np.zeros(_SECONDS, np.int64)
        self._basis = np.zeros(len(BASES), np.int64)
        self._refused: dict[Reason, int] = {}

    def add(
        self, rows: int, p50_seconds: NDArray[np.float32], basis: NDArray[np.int8], refused: dict[Reason, int]
    ) -> None:
        """Count a chunk: its rows, its predictions' p50 and basis, and how many were refused for which reason."""
        self.rows += rows
        seconds = np.minimum(np.rint(p50_seconds), _SECONDS - 1).astype(np.int64)
        self._predicted += np.bincount(seconds, minlength=_SECONDS)
        self._basis += np.bincount(basis, minlength=len(BASES))
        for reason, count in refused.items():
            self._refused[reason] = self._refused.get(reason, 0) + count

    def document(self, source: str, out: Path, bundle: str) -> ScoreDocument:
        """Everything counted."""
        return ScoreDocument(
            source=source,
            out=str(out),
            bundle=bundle,
            rows=self.rows,
            predicted=self.predicted,
            refused=self.refused,
            basis=self.basis,
            median_predicted_seconds=self.median_predicted_seconds,
        )

    @property
    def predicted(self) -> int:
        """Rows with a prediction."""
        return int(self._basis.sum())

    @property
    def refused(self) -> dict[str, int]:
        """Rows without one, by reason; only reasons that occurred."""
        return {str(reason): self._refused[reason] for reason in Reason if reason in self._refused}

    @property
    def basis(self) -> dict[str, int]:
        """Predictions by the level of history behind them, finest first."""
        return dict(zip(BASES, self._basis.tolist(), strict=True))

    @property
    def median_predicted_seconds(self) -> int | None:
        """Median of the p50s, whole seconds; None when nothing was predicted."""
        up_to = np.cumsum(self._predicted)
        return int(np.searchsorted(up_to, (up_to[-1] + 1) // 2)) if up_to[-1] else None
