"""Counts of labels by day, for the checks of the data gate. They add up in any order, for a source of any size."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import TARGET
from preptime.domain.validation_reasons import (
    MAX_LABEL_SECONDS,
    SHORT_LABEL_SECONDS,
    Purpose,
    ValidationReason,
    exclusion_mask,
)
from preptime.schema.schema import OrderColumn, Schema
from preptime.validation.audit import AuditedOrders
from preptime.validation.cell_text import cells_as_text

MEDIAN_DAYS = 42
"""Latest days with an exact histogram of 48 kB each: the recent days, and four weeks before each of them."""
_EPOCH = dt.date(1970, 1, 1)

# Every whole second up to the limit has its own cell. Longer labels are errors, and their cells are 1% wide.
_LONG_STARTS = np.unique(
    np.concatenate([[MAX_LABEL_SECONDS + 1], (MAX_LABEL_SECONDS * 1.01 ** np.arange(1, 1_300)).astype(np.int64)])
)
_CELL_SECONDS = np.concatenate([np.arange(MAX_LABEL_SECONDS + 1), _LONG_STARTS])


@dataclass(frozen=True, slots=True)
class DayLabels:
    """The labels of one day."""

    labels: int = 0
    short: int = 0
    """Labels under a minute, including zeros."""
    long: int = 0
    """Labels over the limit."""

    def __add__(self, other: DayLabels) -> DayLabels:
        return DayLabels(self.labels + other.labels, self.short + other.short, self.long + other.long)


@dataclass(frozen=True, slots=True)
class LabelRows:
    """The labels of N orders of one batch."""

    rows: NDArray[np.intp]
    """[N] their rows in the batch, ascending."""
    day: NDArray[np.int64]
    """[N] local day of acknowledgement, days since 1970-01-01."""
    seconds: NDArray[np.int64]
    """[N] labels, 0 or more, rounded down."""
    is_fraction: NDArray[np.bool_]
    """[N] whether a label isn't a whole number, so that its order can't be used."""

    @classmethod
    def from_audited(cls, audited: AuditedOrders, as_of: dt.date) -> LabelRows:
        """Return the labels known before local midnight of `as_of`, without duplicates and without negative labels."""
        frame = audited.frame
        midnight = dt.datetime.combine(as_of, dt.time())
        seconds = frame[TARGET].fill_null(-1).to_numpy().astype(np.int64)
        fractions = _unreadable_fractions(audited)
        seconds = np.where(fractions >= 0, fractions, seconds)
        is_later = (frame["acknowledged_local"] >= midnight) | (frame["ready_local"] >= midnight)
        is_excluded = (is_later.fill_null(value=False) | frame["acknowledged_local"].is_null()).to_numpy()
        is_excluded |= (audited.reasons & np.uint32(ValidationReason.DUPLICATE.bit)) != 0
        rows = np.flatnonzero((seconds >= 0) & ~is_excluded)
        days = frame["acknowledged_local"].dt.date().to_physical().fill_null(0).to_numpy().astype(np.int64)
        return cls(rows, days[rows], seconds[rows], fractions[rows] >= 0)

    def without(self, rows: NDArray[np.intp]) -> LabelRows:
        """Return the labels except those at `rows` of the batch."""
        is_kept = ~np.isin(self.rows, rows)
        return LabelRows(self.rows[is_kept], self.day[is_kept], self.seconds[is_kept], self.is_fraction[is_kept])


@dataclass(slots=True)
class LabelCounts:
    """Counts of labels by day, and histograms of all labels and of the latest days."""

    by_day: dict[int, DayLabels] = field(default_factory=dict)
    """By local day of acknowledgement."""
    fractions: int = 0
    """Labels that aren't whole numbers."""
    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_CELL_SECONDS), np.int64))
    """[C] labels by cell."""
    latest: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    """[C] labels by cell, of the latest `MEDIAN_DAYS` days."""

    @classmethod
    def from_audited(cls, audited: AuditedOrders, as_of: dt.date) -> LabelCounts:
        """Return the counts of the labels known before local midnight of `as_of`."""
        counts = cls()
        counts.add(LabelRows.from_audited(audited, as_of))
        return counts

    def add(self, labels: LabelRows) -> None:
        """Add the labels of a batch. The result doesn't depend on the order of batches."""
        cells = np.where(
            labels.seconds <= MAX_LABEL_SECONDS,
            labels.seconds,
            MAX_LABEL_SECONDS + np.searchsorted(_LONG_STARTS, labels.seconds, side="right"),
        )
        self.total += np.bincount(cells, minlength=len(self.total))
        self.fractions += int(np.count_nonzero(labels.is_fraction))
        order = np.argsort(labels.day, kind="stable")
        days, starts = np.unique(labels.day[order], return_index=True)
        for day, day_cells in zip(days.tolist(), np.split(cells[order], starts[1:]), strict=False):
            counts = DayLabels(
                len(day_cells),
                int(np.count_nonzero(day_cells < SHORT_LABEL_SECONDS)),
                int(np.count_nonzero(day_cells > MAX_LABEL_SECONDS)),
            )
            self.by_day[day] = self.by_day.get(day, DayLabels()) + counts
            self._add_to_latest(day, day_cells)

    def _add_to_latest(self, day: int, cells: NDArray[np.int64]) -> None:
        latest_day = max(self.latest, default=day)
        if day <= latest_day - MEDIAN_DAYS:
            return
        histogram = self.latest.setdefault(day, np.zeros(len(self.total), np.int32))
        histogram += np.bincount(cells, minlength=len(histogram)).astype(np.int32)
        for old_day in [old_day for old_day in self.latest if old_day <= max(latest_day, day) - MEDIAN_DAYS]:
            del self.latest[old_day]

    @classmethod
    def merge(cls, parts: Iterable[LabelCounts]) -> LabelCounts:
        """Return the counts of several sets of labels."""
        merged = cls()
        for part in parts:
            merged.total += part.total
            merged.fractions += part.fractions
            for day, counts in part.by_day.items():
                merged.by_day[day] = merged.by_day.get(day, DayLabels()) + counts
            for day, histogram in part.latest.items():
                merged.latest[day] = merged.latest.get(day, np.zeros(len(histogram), np.int32)) + histogram
        latest_day = max(merged.latest, default=0)
        merged.latest = {day: merged.latest[day] for day in sorted(merged.latest) if day > latest_day - MEDIAN_DAYS}
        return merged

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the counts as arrays by name, to write them."""
        days = [(day, counts.labels, counts.short, counts.long) for day, counts in sorted(self.by_day.items())]
        latest = [self.latest[day] for day in sorted(self.latest)]
        return {
            "label_days": np.array(days, np.int64).reshape(-1, 4),
            "label_fractions": np.array([self.fractions], np.int64),
            "label_total": self.total,
            "label_latest_days": np.array(sorted(self.latest), np.int64),
            "label_latest": np.array(latest, np.int32).reshape(-1, len(self.total)),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LabelCounts:
        """Return the counts that `arrays()` came from."""
        days = {day: DayLabels(*counts) for day, *counts in arrays["label_days"].tolist()}
        pairs = zip(arrays["label_latest_days"].tolist(), arrays["label_latest"], strict=True)
        latest = {day: histogram.copy() for day, histogram in pairs}
        return cls(days, int(arrays["label_fractions"][0]), arrays["label_total"].copy(), latest)

    @property
    def labels(self) -> int:
        """The number of labels."""
        return int(self.total.sum())

    @property
    def short(self) -> int:
        """The number of labels under a minute, including zeros."""
        return int(self.total[:SHORT_LABEL_SECONDS].sum())

    @property
    def long(self) -> int:
        """The number of labels over the limit."""
        return int(self.total[MAX_LABEL_SECONDS + 1 :].sum())

    @property
    def last_day(self) -> int | None:
        """The latest day with a label."""
        return max(self.by_day, default=None)

    def median(self) -> float:
        """Return the median of all labels in seconds. There must be one."""
        return _median(self.total)

    def median_of_days(self, first: int, last: int) -> float | None:
        """Return the median of the labels of some of the latest days, or None without a label."""
        histograms = [histogram for day, histogram in self.latest.items() if first <= day <= last]
        return _median(np.sum(histograms, axis=0, dtype=np.int64)) if histograms else None


def day_number(day: dt.date) -> int:
    """Return the number of days from 1970-01-01."""
    return (day - _EPOCH).days


def day_date(day: int) -> dt.date:
    """Return the date of a day number."""
    return _EPOCH + dt.timedelta(days=day)


def day_text(day: int) -> str:
    """Return a day number as the text of its date."""
    return str(day_date(day))


def label_mapping(schema: Schema) -> OrderColumn | None:
    """Return the company's column of labels as durations, or None if labels are differences between two times."""
    return schema.orders[TARGET] if schema.has(TARGET) else None


def is_open(audited: AuditedOrders) -> NDArray[np.bool_]:
    """Return [N] which orders are open: they have no ready time yet, and no cell of them is invalid.

    An open order isn't an error. It has the reason `missing_value`.
    """
    invalid_mask = exclusion_mask(Purpose.SCORING) & ~ValidationReason.MISSING_VALUE.bit
    is_waiting = audited.frame["ready_local"].is_null().to_numpy()
    is_open_order: NDArray[np.bool_] = is_waiting & ((audited.reasons & np.uint32(invalid_mask)) == 0)
    return is_open_order


def _unreadable_fractions(audited: AuditedOrders) -> NDArray[np.int64]:
    """Return [N] labels that aren't whole numbers, rounded down, and -1 for all other rows.

    A label of 12.5 can't be used as seconds. It shows that the labels have another unit.
    """
    fractions = np.full(len(audited), -1, np.int64)
    mapping = label_mapping(audited.schema)
    for finding in audited.findings if mapping else ():
        if finding.reason is ValidationReason.UNPARSABLE_NUMBER and mapping and finding.column == mapping.column:
            cells = cells_as_text(audited.raw[mapping.column][finding.rows])
            numbers = cells.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
            fractions[finding.rows] = numbers.clip(-1, 2**32).floor().fill_null(-1).cast(pl.Int64).to_numpy()
    return fractions


def _median(histogram: NDArray[np.int64]) -> float:
    cumulative = np.cumsum(histogram)
    count = int(cumulative[-1])
    middle = np.searchsorted(cumulative, [(count - 1) // 2, count // 2], side="right")
    return float(_CELL_SECONDS[middle].mean())
