"""Parse columns of cells: numbers, timestamps, and categories, typed or as text.

An invalid cell is marked and never fails the column. The rules are in `preptime.domain.cells` and
`preptime.domain.timestamps`. `preptime.api.parsing` applies the same rules to single orders, and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.cells import MAX_EXACT_FLOAT, MAX_MISSING_LENGTH, MISSING_TOKENS, parse_category_text
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.time_zones import load_time_zone
from preptime.domain.timestamps import (
    EARLIEST_SECONDS,
    EPOCH_PATTERN,
    EPOCH_SCALES,
    LATEST_SECONDS,
    MICROSECONDS,
    SECONDS_PER_DAY,
    TIMESTAMP_PATTERN,
    WHITESPACE,
    parse_utc_offset,
)
from preptime.validation.cell_text import cells_as_text

_ZONE_KEY_SPAN = 2**33
"""Seconds. Larger than any time here, so that (zone, second) fits into one sortable integer."""
_LOCAL_TIME, _UTC_INSTANT, _WITH_OFFSET, _INVALID = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class ParsedFloats:
    """N numbers. Where `missing` or `invalid` is true, the value is 0 and has no meaning."""

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ParsedIntegers:
    """N whole numbers. Where `missing` or `invalid` is true, the value is 0 and has no meaning."""

    values: NDArray[np.int64]
    missing: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ParsedTimestamps:
    """N timestamps. Where `missing` or `invalid` is true, the values have no meaning."""

    local: NDArray[np.int64]
    """Local time at the restaurant, in microseconds since 1970-01-01 00:00."""
    utc: NDArray[np.int64]
    missing: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


def is_missing_text(cells: pl.Series) -> NDArray[np.bool_]:
    """Return [N] which texts mean a missing value (`preptime.domain.cells.MISSING_TOKENS`)."""
    is_short = cells.str.len_bytes().fill_null(0) <= MAX_MISSING_LENGTH
    if not is_short.any():
        return np.zeros(len(cells), np.bool_)
    return (
        (is_short & cells.str.strip_chars(WHITESPACE).str.to_lowercase().is_in(list(MISSING_TOKENS)))
        .fill_null(value=True)
        .to_numpy()
    )


def decode_text(cells: pl.Series) -> pl.Series:
    """Return dictionary-encoded text as plain text, and any other column unchanged."""
    return cells.cast(pl.String) if isinstance(cells.dtype, pl.Categorical | pl.Enum) else cells


def parse_floats(cells: pl.Series) -> ParsedFloats:
    """Parse numbers.

    NaN means missing, because pandas writes missing values as NaN. Infinity is a number outside any range.
    """
    cells = decode_text(cells)
    if cells.dtype == pl.String:
        parsed = cells.str.strip_chars(WHITESPACE).cast(pl.Float64, strict=False)
    elif cells.dtype.is_numeric():
        parsed = cells.cast(pl.Float64)
    else:
        return _all_invalid(cells)
    is_null = parsed.is_null() | parsed.is_nan()
    is_unparsed = is_null.fill_null(value=True).to_numpy()
    if not is_unparsed.any():
        return ParsedFloats(parsed.to_numpy(), is_unparsed, is_unparsed)
    values = np.where(is_unparsed, 0.0, parsed.fill_null(0.0).to_numpy())
    is_missing = (
        is_unparsed if cells.dtype != pl.String else is_unparsed & (cells.is_null().to_numpy() | is_missing_text(cells))
    )
    return ParsedFloats(values, is_missing, is_unparsed & ~is_missing)


def parse_integers(cells: pl.Series) -> ParsedIntegers:
    """Parse whole numbers.

    `3.0` is 3, because pandas writes integers this way in a column with missing values. `3.5` is invalid.
    """
    cells = decode_text(cells)
    if cells.dtype.is_integer():
        parsed = cells.cast(pl.Int64, strict=False)
        is_missing = cells.is_null().to_numpy()
        is_unparsed = parsed.is_null().to_numpy()
        return ParsedIntegers(parsed.fill_null(0).to_numpy(), is_missing, is_unparsed & ~is_missing)
    parsed_text = None
    if cells.dtype == pl.String:
        parsed_text = cells.str.strip_chars(WHITESPACE).cast(pl.Int64, strict=False)
        if not parsed_text.has_nulls():
            return ParsedIntegers(parsed_text.to_numpy(), (all_false := np.zeros(len(cells), np.bool_)), all_false)
    floats = parse_floats(cells)
    is_integral = (np.abs(floats.values) <= MAX_EXACT_FLOAT) & (np.floor(floats.values) == floats.values)
    values = np.where(is_integral, floats.values, 0.0).astype(np.int64)
    is_invalid = floats.invalid | (~is_integral & ~floats.missing)
    if parsed_text is not None:
        is_parsed = parsed_text.is_not_null().to_numpy()
        values = np.where(is_parsed, parsed_text.fill_null(0).to_numpy(), values)
        is_invalid &= ~is_parsed
    return ParsedIntegers(values, floats.missing, is_invalid)


def _all_invalid(cells: pl.Series) -> ParsedFloats:
    missing = cells.is_null().to_numpy()
    return ParsedFloats(np.zeros(len(cells)), missing, ~missing)


def parse_timestamps(cells: pl.Series, zone_codes: NDArray[np.int32], zone_names: Sequence[str]) -> ParsedTimestamps:
    """Parse a column of texts, epochs, dates, or datetimes.

    `zone_codes` [N] are the rows' indexes in the IANA names `zone_names`.
    """
    cells = decode_text(cells)
    missing = cells.is_null().to_numpy()
    if cells.dtype == pl.String:
        missing = missing | is_missing_text(cells)
    microseconds, offset, kind = _parse_cells(cells)
    is_plausible = (microseconds >= (EARLIEST_SECONDS - SECONDS_PER_DAY) * MICROSECONDS) & (
        microseconds < (LATEST_SECONDS + SECONDS_PER_DAY) * MICROSECONDS
    )
    kind = np.where(is_plausible, kind, np.int8(_INVALID))
    microseconds = np.where(kind == _INVALID, np.int64(EARLIEST_SECONDS * MICROSECONDS), microseconds)
    local, utc = microseconds, microseconds
    if (kind == _UTC_INSTANT).any() or (kind == _LOCAL_TIME).any():
        offsets = _build_offset_table(microseconds, zone_names)
        if (is_instant := kind == _UTC_INSTANT).any():
            local = np.where(is_instant, microseconds + offsets.offset_at_utc(zone_codes, microseconds), local)
        if (is_local := kind == _LOCAL_TIME).any():
            utc = np.where(is_local, microseconds - offsets.offset_at_local(zone_codes, microseconds), utc)
    if (kind == _WITH_OFFSET).any():
        utc = np.where(kind == _WITH_OFFSET, microseconds - offset, utc)
    is_in_range = (utc >= EARLIEST_SECONDS * MICROSECONDS) & (utc < LATEST_SECONDS * MICROSECONDS)
    return ParsedTimestamps(local, utc, missing, (~is_in_range | (kind == _INVALID)) & ~missing)


def _parse_cells(cells: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Return (microseconds, offset in microseconds, one of the four kinds) for each cell."""
    if cells.dtype == pl.String:
        return _parse_text(cells)
    no_offset = np.zeros(1, np.int64)
    if isinstance(cells.dtype, pl.Datetime | pl.Date):
        has_zone = isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone is not None
        kind = _UTC_INSTANT if has_zone else _LOCAL_TIME
        return _physical_microseconds(cells), no_offset, np.full(len(cells), kind, np.int8)
    if cells.dtype.is_numeric():
        microseconds, is_valid = _parse_epochs(cells)
        return microseconds, no_offset, np.where(is_valid, np.int8(_UTC_INSTANT), np.int8(_INVALID))
    return np.zeros(len(cells), np.int64), no_offset, np.full(len(cells), _INVALID, np.int8)


def _physical_microseconds(cells: pl.Series) -> NDArray[np.int64]:
    """Return the microseconds since 1970 of datetimes or dates. A time that doesn't fit becomes an extreme value."""
    numbers = cells.to_physical().fill_null(0).cast(pl.Int64).to_numpy()
    unit = cells.dtype.time_unit if isinstance(cells.dtype, pl.Datetime) else "days"
    if unit == "ns":
        return cast(NDArray[np.int64], numbers // 1_000)
    scale = {"us": 1, "ms": 1_000, "days": SECONDS_PER_DAY * MICROSECONDS}[unit]
    # Without a limit, the product can overflow and become a plausible time.
    limit = np.iinfo(np.int64).max // scale
    return cast(NDArray[np.int64], np.clip(numbers, -limit, limit) * scale)


def _parse_text(cells: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    text = cells.str.strip_chars(WHITESPACE)
    parts = text.str.extract_groups(TIMESTAMP_PATTERN).struct.unnest()
    day, hour_minute, seconds, fraction, offset = (parts.to_series(index) for index in range(5))
    local_text = day + " " + hour_minute + ":" + seconds.fill_null("00")
    parsed = local_text.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S", strict=False)
    microsecond = fraction.fill_null("0").str.pad_end(6, "0").str.head(6).cast(pl.Int64, strict=False)
    microseconds = (parsed.to_physical() + microsecond).fill_null(0).to_numpy()
    offset_texts = offset.drop_nulls().unique().to_list()
    offset_microseconds = offset.replace_strict(
        offset_texts,
        [parse_utc_offset(offset_text) * MICROSECONDS for offset_text in offset_texts],
        default=None,
        return_dtype=pl.Int64,
    )
    offset_values = offset_microseconds.fill_null(0).to_numpy()
    kind = np.where(
        offset_microseconds.is_null().to_numpy(), _LOCAL_TIME, np.where(offset_values == 0, _UTC_INSTANT, _WITH_OFFSET)
    ).astype(np.int8)
    is_unparsed = parsed.is_null().to_numpy()
    if is_unparsed.any():
        kind[is_unparsed] = _INVALID
        rows = np.flatnonzero(is_unparsed & text.str.contains(EPOCH_PATTERN).fill_null(value=False).to_numpy())
        epochs, is_epoch = _parse_epochs(text.gather(rows).cast(pl.Int64, strict=False))
        microseconds, kind = microseconds.copy(), kind.copy()
        microseconds[rows], kind[rows] = epochs, np.where(is_epoch, np.int8(_UTC_INSTANT), np.int8(_INVALID))
    return microseconds, offset_values, kind


def _parse_epochs(cells: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (microseconds, whether the cell is an epoch in one of the declared units) for each cell."""
    has_fractions = cells.dtype.is_float() or cells.dtype.is_decimal()
    # An unsigned integer can be too large for 64 bits with a sign.
    typed_cells = cells.cast(pl.Float64) if has_fractions else cells.cast(pl.Int64, strict=False)
    epoch_values = typed_cells.fill_null(0).to_numpy()
    if typed_cells.dtype == pl.Float64:
        epoch_values = np.where(np.isfinite(epoch_values), epoch_values, 0.0)
    microseconds = np.zeros(len(epoch_values), np.int64)
    is_epoch = np.zeros(len(epoch_values), np.bool_)
    for scale in (*EPOCH_SCALES, 0):
        low, high = (
            (second * 1_000_000_000 if scale == 0 else second * MICROSECONDS // scale)
            for second in (EARLIEST_SECONDS, LATEST_SECONDS)
        )
        in_scale = (epoch_values >= low) & (epoch_values < high) & ~is_epoch
        scaled_numbers = epoch_values[in_scale]
        microseconds[in_scale] = np.floor(scaled_numbers * scale if scale else scaled_numbers // 1_000).astype(np.int64)
        is_epoch |= in_scale
    return microseconds, is_epoch & typed_cells.is_not_null().to_numpy()


@dataclass(frozen=True, slots=True)
class _OffsetTable:
    """UTC offsets of several zones as steps over packed (zone, second) keys.

    One binary search finds the offsets of a column, whatever zones it mixes.
    """

    utc_keys: NDArray[np.int64]
    local_keys: NDArray[np.int64]
    microseconds: NDArray[np.int64]

    def offset_at_utc(self, zone_codes: NDArray[np.int32], utc: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._lookup(self.utc_keys, zone_codes, utc)

    def offset_at_local(self, zone_codes: NDArray[np.int32], local: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._lookup(self.local_keys, zone_codes, local)

    def _lookup(
        self, step_keys: NDArray[np.int64], zone_codes: NDArray[np.int32], microseconds_since_epoch: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if len(step_keys) == 1:
            return np.broadcast_to(self.microseconds, microseconds_since_epoch.shape)
        keys = zone_codes.astype(np.int64) * _ZONE_KEY_SPAN + microseconds_since_epoch // MICROSECONDS
        return self.microseconds[np.searchsorted(step_keys, keys, side="right") - 1]


def _build_offset_table(microseconds: NDArray[np.int64], zone_names: Sequence[str]) -> _OffsetTable:
    """Return the steps of every zone from two days before the first value to two days after the last."""
    first = int(microseconds.min()) // MICROSECONDS - 2 * SECONDS_PER_DAY
    last = int(microseconds.max()) // MICROSECONDS + 2 * SECONDS_PER_DAY
    utc_keys, local_keys, offsets = [], [], []
    for code, name in enumerate(zone_names):
        previous_offset = None
        for start, offset in _offset_steps(name, first, last):
            # In local time, the old offset lasts through a skipped hour and through the first pass of a repeated hour.
            local_second = start if previous_offset is None else start + max(previous_offset, offset)
            utc_keys.append(code * _ZONE_KEY_SPAN + (0 if previous_offset is None else start))
            local_keys.append(code * _ZONE_KEY_SPAN + (0 if previous_offset is None else local_second))
            offsets.append(offset * MICROSECONDS)
            previous_offset = offset
    return _OffsetTable(np.array(utc_keys, np.int64), np.array(local_keys, np.int64), np.array(offsets, np.int64))


def _offset_steps(zone_key: str, first: int, last: int) -> list[tuple[int, int]]:
    """Return (UTC second, offset in seconds) of each change of a zone's offset. The first step is at `first`."""
    years = range(datetime.fromtimestamp(first, UTC).year, datetime.fromtimestamp(last, UTC).year + 1)
    changes = [change for year in years for change in _offset_changes(zone_key, year)]
    first_step = (first, _offset_seconds_at(load_time_zone(zone_key), first))
    return [first_step, *(change for change in changes if first < change[0] <= last)]


@lru_cache(maxsize=4096)
def _offset_changes(zone_key: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return (UTC second, new offset in seconds) of each change of a zone's offset in a year."""
    zone = load_time_zone(zone_key)
    changes = []
    low, last = (int(datetime(start_year, 1, 1, tzinfo=UTC).timestamp()) - 1 for start_year in (year, year + 1))
    offset = _offset_seconds_at(zone, low)
    while low < last:
        # No zone changes its offset twice within a day.
        high = min(low + SECONDS_PER_DAY, last)
        if _offset_seconds_at(zone, high) != offset:
            left, right = low, high
            while right - left > 1:
                middle = (left + right) // 2
                left, right = (middle, right) if _offset_seconds_at(zone, middle) == offset else (left, middle)
            offset = _offset_seconds_at(zone, right)
            changes.append((right, offset))
        low = high
    return tuple(changes)


def _offset_seconds_at(zone: ZoneInfo, second: int) -> int:
    utc_offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if utc_offset is None else int(utc_offset.total_seconds())


def parse_categories(cells: pl.Series, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """Return [N] indexes in `vocabulary`, or `UNKNOWN_CODE` for an empty cell, an unknown name, or an invalid index."""
    if cells.dtype.is_numeric():
        numeric_cells = cells.cast(pl.Float64).fill_null(UNKNOWN_CODE).fill_nan(UNKNOWN_CODE).to_numpy()
        is_code = (numeric_cells >= 0) & (numeric_cells < len(vocabulary)) & (np.floor(numeric_cells) == numeric_cells)
        return np.where(is_code, numeric_cells, UNKNOWN_CODE).astype(np.int32)
    texts = cells_as_text(cells)
    # A column has few distinct names, so each of them is parsed once.
    distinct = texts.drop_nulls().unique().to_list()
    codes_by_name = {name: code for code, name in enumerate(vocabulary)}
    codes = [parse_category_text(name, codes_by_name) for name in distinct]
    mapped_codes = texts.replace_strict(distinct, codes, default=UNKNOWN_CODE, return_dtype=pl.Int32)
    return cast(NDArray[np.int32], mapped_codes.fill_null(UNKNOWN_CODE).to_numpy())
