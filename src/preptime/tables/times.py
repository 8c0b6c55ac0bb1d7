"""Columns of timestamps: `preptime.domain.timestamps` for a million cells at once, with the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.time_zones import zone
from preptime.domain.timestamps import (
    BLANKS,
    EARLIEST_SECONDS,
    EPOCH,
    EPOCH_SCALES,
    LATEST_SECONDS,
    MICROSECONDS,
    TIMESTAMP,
    offset_seconds,
)
from preptime.tables.numbers import as_text, is_missing_text

_DAY = 86_400
_SPAN = 2**33  # seconds; wider than any time here, so that (zone, second) packs into one sortable integer
_WALL, _INSTANT, _OFFSET, _BAD = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Times:
    """N moments; where `missing` or `bad` the values mean nothing."""

    local: NDArray[np.int64]
    """Microseconds since 1970-01-01 00:00 on the restaurant's wall clock."""
    utc: NDArray[np.int64]
    missing: NDArray[np.bool_]
    bad: NDArray[np.bool_]


def read_times(cells: pl.Series, zones: NDArray[np.int32], names: Sequence[str]) -> Times:
    """Read a column of texts, epochs, dates or datetimes; `zones` are positions in the IANA `names`, one per row."""
    cells = as_text(cells)
    missing = cells.is_null().to_numpy()
    if cells.dtype == pl.String:
        missing = missing | is_missing_text(cells)
    value, offset, how = _parsed(cells)
    roughly = (value >= (EARLIEST_SECONDS - _DAY) * MICROSECONDS) & (value < (LATEST_SECONDS + _DAY) * MICROSECONDS)
    how = np.where(roughly, how, np.int8(_BAD))
    value = np.where(how == _BAD, np.int64(EARLIEST_SECONDS * MICROSECONDS), value)
    local, utc = value, value
    if (how == _INSTANT).any() or (how == _WALL).any():
        offsets = _offsets_of(value, names)
        if (instants := how == _INSTANT).any():
            local = np.where(instants, value + offsets.at_instant(zones, value), local)
        if (walls := how == _WALL).any():
            utc = np.where(walls, value - offsets.at_wall(zones, value), utc)
    if (how == _OFFSET).any():
        utc = np.where(how == _OFFSET, value - offset, utc)
    inside = (utc >= EARLIEST_SECONDS * MICROSECONDS) & (utc < LATEST_SECONDS * MICROSECONDS)
    return Times(local, utc, missing, (~inside | (how == _BAD)) & ~missing)


def _parsed(cells: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """(microseconds, offset in microseconds, which of the four kinds) per cell."""
    if cells.dtype == pl.String:
        return _of_text(cells)
    nothing = np.zeros(1, np.int64)
    if isinstance(cells.dtype, pl.Datetime):
        value = cells.dt.cast_time_unit("us").to_physical().fill_null(0).to_numpy()
        kind = _WALL if cells.dtype.time_zone is None else _INSTANT
        return value, nothing, np.full(len(cells), kind, np.int8)
    if cells.dtype == pl.Date:
        value = cells.cast(pl.Datetime("us")).to_physical().fill_null(0).to_numpy()
        return value, nothing, np.full(len(cells), _WALL, np.int8)
    if cells.dtype.is_numeric():
        value, known = _of_epoch(cells)
        return value, nothing, np.where(known, np.int8(_INSTANT), np.int8(_BAD))
    return np.zeros(len(cells), np.int64), nothing, np.full(len(cells), _BAD, np.int8)


def _of_text(cells: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    text = cells.str.strip_chars(BLANKS)
    parts = text.str.extract_groups(TIMESTAMP).struct.unnest()
    day, clock, seconds, fraction, offset = (parts.to_series(index) for index in range(5))
    wall = day + " " + clock + ":" + seconds.fill_null("00")
    read = wall.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S", strict=False)
    micro = fraction.fill_null("0").str.pad_end(6, "0").str.head(6).cast(pl.Int64, strict=False)
    value = (read.to_physical() + micro).fill_null(0).to_numpy()
    written = offset.drop_nulls().unique().to_list()
    shift = offset.replace_strict(
        written, [offset_seconds(one) * MICROSECONDS for one in written], default=None, return_dtype=pl.Int64
    )
    shifts = shift.fill_null(0).to_numpy()
    how = np.where(shift.is_null().to_numpy(), _WALL, np.where(shifts == 0, _INSTANT, _OFFSET)).astype(np.int8)
    unread = read.is_null().to_numpy()
    if unread.any():
        how[unread] = _BAD
        rows = np.flatnonzero(unread & text.str.contains(EPOCH).fill_null(value=False).to_numpy())
        epochs, known = _of_epoch(text.gather(rows).cast(pl.Int64, strict=False))
        value, how = value.copy(), how.copy()
        value[rows], how[rows] = epochs, np.where(known, np.int8(_INSTANT), np.int8(_BAD))
    return value, shifts, how


def _of_epoch(cells: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds of epochs, and which of them are epochs of a declared magnitude."""
    raw = cells.cast(pl.Float64) if cells.dtype.is_float() or cells.dtype.is_decimal() else cells.cast(pl.Int64)
    number = raw.fill_null(0).to_numpy()
    if raw.dtype == pl.Float64:
        number = np.where(np.isfinite(number), number, 0.0)
    value = np.zeros(len(number), np.int64)
    known = np.zeros(len(number), np.bool_)
    for scale in (*EPOCH_SCALES, 0):
        low, high = (
            (second * 1_000_000_000 if scale == 0 else second * MICROSECONDS // scale)
            for second in (EARLIEST_SECONDS, LATEST_SECONDS)
        )
        here = (number >= low) & (number < high) & ~known
        chosen = number[here]
        value[here] = np.floor(chosen * scale if scale else chosen // 1_000).astype(np.int64)
        known |= here
    return value, known & cells.is_not_null().to_numpy()


@dataclass(frozen=True, slots=True)
class _Offsets:
    """UTC offsets of several zones as steps over packed (zone, second) keys: one binary search for any mix of zones."""

    instants: NDArray[np.int64]
    walls: NDArray[np.int64]
    microseconds: NDArray[np.int64]

    def at_instant(self, zones: NDArray[np.int32], utc: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._step(self.instants, zones, utc)

    def at_wall(self, zones: NDArray[np.int32], local: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._step(self.walls, zones, local)

    def _step(
        self, starts: NDArray[np.int64], zones: NDArray[np.int32], moment: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if len(starts) == 1:
            return np.broadcast_to(self.microseconds, moment.shape)
        keys = zones.astype(np.int64) * _SPAN + moment // MICROSECONDS
        return self.microseconds[np.searchsorted(starts, keys, side="right") - 1]


def _offsets_of(value: NDArray[np.int64], names: Sequence[str]) -> _Offsets:
    """The steps of every zone from two days before the first value to two days after the last."""
    first = int(value.min()) // MICROSECONDS - 2 * _DAY
    last = int(value.max()) // MICROSECONDS + 2 * _DAY
    instants, walls, offsets = [], [], []
    for code, name in enumerate(names):
        before = None
        for start, offset in _steps(name, first, last):
            # On the wall the old offset lasts through a skipped hour and through the first pass of a repeated one.
            wall = start if before is None else start + max(before, offset)
            instants.append(code * _SPAN + (0 if before is None else start))
            walls.append(code * _SPAN + (0 if before is None else wall))
            offsets.append(offset * MICROSECONDS)
            before = offset
    return _Offsets(np.array(instants, np.int64), np.array(walls, np.int64), np.array(offsets, np.int64))


def _steps(name: str, first: int, last: int) -> list[tuple[int, int]]:
    """(UTC second, offset in seconds) wherever the offset of a zone changes, the first step at `first`."""
    years = range(datetime.fromtimestamp(first, UTC).year, datetime.fromtimestamp(last, UTC).year + 1)
    changes = [change for year in years for change in _changes(name, year)]
    return [(first, _offset(zone(name), first)), *(change for change in changes if first < change[0] <= last)]


@lru_cache(maxsize=4096)
def _changes(name: str, year: int) -> tuple[tuple[int, int], ...]:
    """(UTC second, offset from then on) of each change of a zone's offset in a year."""
    of = zone(name)
    changes = []
    low, last = (int(datetime(one, 1, 1, tzinfo=UTC).timestamp()) - 1 for one in (year, year + 1))
    offset = _offset(of, low)
    while low < last:
        # A day is short enough: no zone changes twice within one.
        high = min(low + _DAY, last)
        if _offset(of, high) != offset:
            left, right = low, high
            while right - left > 1:
                middle = (left + right) // 2
                left, right = (middle, right) if _offset(of, middle) == offset else (left, middle)
            offset = _offset(of, right)
            changes.append((right, offset))
        low = high
    return tuple(changes)


def _offset(of: ZoneInfo, second: int) -> int:
    shift = datetime.fromtimestamp(second, UTC).astimezone(of).utcoffset()
    return 0 if shift is None else int(shift.total_seconds())
