"""Counts of a scoring run, and the output of `preptime score --json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.validation_reasons import ValidationReason
from preptime.scoring.scorer import OrderFlags

_Key = TypeVar("_Key")

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
    unknown_restaurants: dict[str, int] | None
    """Predictions for orders of unknown restaurants, by fallback level. Only levels that occur. Null if the API
    predicted with a bundle whose restaurants aren't known here."""
    restaurant_differs: int | None
    """Predictions for orders whose country or city isn't that of their restaurant in the bundle. They may be of another
    restaurant with the same identifier. Null if the bundle's restaurants aren't known here."""
    missing_features: dict[str, int]
    """Predictions without a value, by custom feature. Only features with some."""
    invalid_features: dict[str, int]
    """Predictions whose value can't be read or is outside its range, by custom feature. Only features with some."""
    median_predicted_seconds: int | None
    """Median of the p50 in whole seconds. Null without predictions."""
    without_dispatch: dict[str, int] = {}
    """Predictions without a dispatch time, by `prediction_dispatch_reason`. Empty without a travel column."""


class _EncodedCounts(msgspec.Struct):
    """The counts of some rows, as another process sends them."""

    rows: int
    seconds: dict[int, int]
    """Predictions by whole second of the p50."""
    fallback_level: list[int]
    unknown_restaurants: list[int] | None
    differs: int | None
    rejected: dict[ValidationReason, int]
    missing_features: dict[str, int]
    invalid_features: dict[str, int]
    without_dispatch: dict[str, int]


class ScoreCounts:
    """Counts of the scored rows, in constant memory."""

    def __init__(self) -> None:
        self.rows = 0
        self._seconds_histogram = np.zeros(_HISTOGRAM_BINS, np.int64)
        self._fallback_level = np.zeros(len(FALLBACK_LEVELS), np.int64)
        self._unknown_restaurants: NDArray[np.int64] | None = np.zeros(len(FALLBACK_LEVELS), np.int64)
        self._differs: int | None = 0
        self._rejected: dict[ValidationReason, int] = {}
        self.missing_features: dict[str, int] = {}
        self.invalid_features: dict[str, int] = {}
        self.without_dispatch: dict[str, int] = {}

    def add(
        self,
        rows: int,
        p50_seconds: NDArray[np.float32],
        fallback_level: NDArray[np.int8],
        rejected: dict[ValidationReason, int],
        flags: OrderFlags,
    ) -> None:
        """Count a chunk: its rows, the p50 and fallback level of its predictions, and the rejected rows by reason."""
        self.rows += rows
        seconds = np.minimum(np.rint(p50_seconds), _HISTOGRAM_BINS - 1).astype(np.int64)
        self._seconds_histogram += np.bincount(seconds, minlength=_HISTOGRAM_BINS)
        self._fallback_level += np.bincount(fallback_level, minlength=len(FALLBACK_LEVELS))
        if flags.is_unknown is None or self._unknown_restaurants is None:
            self._unknown_restaurants = None
        else:
            self._unknown_restaurants += np.bincount(fallback_level[flags.is_unknown], minlength=len(FALLBACK_LEVELS))
        if flags.differs is None or self._differs is None:
            self._differs = None
        else:
            self._differs += int(np.count_nonzero(flags.differs))
        _add_counts(self._rejected, rejected)
        _add_counts(self.missing_features, flags.missing_features)
        _add_counts(self.invalid_features, flags.invalid_features)

    def add_without_dispatch(self, counts: Mapping[str, int]) -> None:
        """Count the predictions of a chunk that have no dispatch time, by reason."""
        _add_counts(self.without_dispatch, counts)

    def encode(self) -> bytes:
        """Return the counts as JSON, for `add_encoded` in another process."""
        seconds = np.flatnonzero(self._seconds_histogram)
        unknown = self._unknown_restaurants
        return msgspec.json.encode(
            _EncodedCounts(
                self.rows,
                dict(zip(seconds.tolist(), self._seconds_histogram[seconds].tolist(), strict=True)),
                self._fallback_level.tolist(),
                None if unknown is None else unknown.tolist(),
                self._differs,
                self._rejected,
                self.missing_features,
                self.invalid_features,
                self.without_dispatch,
            )
        )

    def add_encoded(self, content: bytes) -> None:
        """Add the counts of other rows, which `encode` returned.

        Example:
            >>> counts, other = ScoreCounts(), ScoreCounts()
            >>> other.rows = 3
            >>> counts.add_encoded(other.encode())
            >>> counts.rows
            3
        """
        more = msgspec.json.decode(content, type=_EncodedCounts)
        self.rows += more.rows
        for second, count in more.seconds.items():
            self._seconds_histogram[second] += count
        self._fallback_level += np.array(more.fallback_level, np.int64)
        unknown = self._unknown_restaurants
        self._unknown_restaurants = (
            None
            if unknown is None or more.unknown_restaurants is None
            else unknown + np.array(more.unknown_restaurants, np.int64)
        )
        self._differs = None if self._differs is None or more.differs is None else self._differs + more.differs
        _add_counts(self._rejected, more.rejected)
        _add_counts(self.missing_features, more.missing_features)
        _add_counts(self.invalid_features, more.invalid_features)
        self.add_without_dispatch(more.without_dispatch)

    def to_document(self, source: str, out: Path | str, bundle: str) -> ScoreDocument:
        """Return the counts as a document."""
        return ScoreDocument(
            source=source,
            out=str(out),
            bundle=bundle,
            rows=self.rows,
            predicted=self.predicted,
            rejected=self.rejected,
            fallback_level=self.fallback_level,
            unknown_restaurants=self.unknown_restaurants,
            restaurant_differs=self.restaurant_differs,
            missing_features=self.missing_features,
            invalid_features=self.invalid_features,
            median_predicted_seconds=self.median_predicted_seconds,
            without_dispatch=self.without_dispatch,
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
    def unknown_restaurants(self) -> dict[str, int] | None:
        """Predictions for orders of unknown restaurants, by fallback level, finest first. None if it can't be said."""
        if self._unknown_restaurants is None:
            return None
        counts = zip(FALLBACK_LEVELS, self._unknown_restaurants.tolist(), strict=True)
        return {level: count for level, count in counts if count}

    @property
    def restaurant_differs(self) -> int | None:
        """Predictions for orders whose place isn't that of their restaurant. None if it can't be said."""
        return self._differs

    @property
    def median_predicted_seconds(self) -> int | None:
        """Median of the p50 in whole seconds, or None without predictions."""
        cumulative = np.cumsum(self._seconds_histogram)
        return int(np.searchsorted(cumulative, (cumulative[-1] + 1) // 2)) if cumulative[-1] else None


def _add_counts(counts: dict[_Key, int], more: Mapping[_Key, int]) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count
