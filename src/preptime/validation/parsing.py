"""Parse columns of cells: numbers, timestamps, and categories, typed or as text.

An invalid cell is marked and never fails the column. The rules are in `preptime.domain.cells` and
`preptime.domain.timestamps`. `preptime.api.parsing` applies the same rules to single orders, and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.cells import (
    MAX_EXACT_FLOAT,
    MAX_MISSING_LENGTH,
    MISSING_TOKENS,
    PLAIN_NUMBERS,
    NumberFormat,
    group_marks,
    number_pattern,
    parse_category_text,
)
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.time_zones import build_offset_table
from preptime.domain.timestamps import (
    EARLIEST_SECONDS,
    EPOCH_PATTERN,
    EPOCH_SCALES,
    ISO_TIMESTAMPS,
    LATEST_SECONDS,
    MICROSECONDS,
    MONTH_NUMBERS,
    PATTERN_GROUPS,
    SECONDS_PER_DAY,
    TIMESTAMP_PATTERN,
    WHITESPACE,
    TimestampFormat,
    compile_pattern,
    parse_utc_offset,
)
from preptime.validation.cell_text import cells_as_text

_LOCAL_TIME, _INSTANT, _INVALID = 0, 1, 2
_INVALID_NUMBER = "invalid"
"""A text that isn't a number in any format."""
_DURATION_UNITS = {"ms": 1_000, "us": MICROSECONDS, "ns": 1_000 * MICROSECONDS}
_DURATION_DECIMALS = 6


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


def is_empty_text(cells: pl.Series) -> NDArray[np.bool_]:
    """Return [N] which texts of names (countries, cities, categories) are missing: only empty ones. `NA` is Namibia."""
    return (cells.str.strip_chars(WHITESPACE) == "").fill_null(value=True).to_numpy()


def decode_text(cells: pl.Series) -> pl.Series:
    """Return dictionary-encoded text as plain text, and any other column unchanged."""
    return cells.cast(pl.String) if isinstance(cells.dtype, pl.Categorical | pl.Enum) else cells


def parse_floats(cells: pl.Series, number_format: NumberFormat = PLAIN_NUMBERS) -> ParsedFloats:
    """Parse numbers in a format, and convert them to the unit of the data dictionary.

    NaN means missing, because pandas writes missing values as NaN. Infinity is a number outside any range.
    """
    parsed = _parse_with_marks(cells, number_format, _parse_plain_floats)
    if not number_format.is_scaled:
        return parsed
    with np.errstate(over="ignore"):  # infinity is outside any range
        values = parsed.values * number_format.multiplier / number_format.divisor
    return ParsedFloats(values, parsed.missing, parsed.invalid)


def parse_integers(cells: pl.Series, number_format: NumberFormat = PLAIN_NUMBERS) -> ParsedIntegers:
    """Parse whole numbers.

    `3.0` is 3, because pandas writes integers this way in a column with missing values. `3.5` is invalid.
    """
    if number_format.is_scaled:
        return _whole_numbers(parse_floats(cells, number_format))
    return _parse_with_marks(cells, number_format, _parse_plain_integers)


def parse_durations(cells: pl.Series, number_format: NumberFormat = PLAIN_NUMBERS) -> ParsedIntegers:
    """Parse durations as whole seconds, rounded down. A column of the type Duration has its own unit.

    Example:
        >>> parse_durations(pl.Series(["12.5", "13"]), NumberFormat(multiplier=60)).values.tolist()
        [750, 780]
    """
    if isinstance(cells.dtype, pl.Duration):
        whole_seconds = cells.to_physical().fill_null(0).to_numpy() // _DURATION_UNITS[cells.dtype.time_unit]
        return ParsedIntegers(whole_seconds, cells.is_null().to_numpy(), np.zeros(len(cells), np.bool_))
    parsed = parse_floats(cells, number_format)
    with np.errstate(over="ignore"):
        # 8.2 minutes are 491.99999999999994 s in floating point.
        seconds = np.floor(np.round(parsed.values, _DURATION_DECIMALS))
    return _whole_numbers(ParsedFloats(seconds, parsed.missing, parsed.invalid))


_Parsed = TypeVar("_Parsed", ParsedFloats, ParsedIntegers)


def _parse_with_marks(cells: pl.Series, number_format: NumberFormat, parse: Callable[[pl.Series], _Parsed]) -> _Parsed:
    """Parse a column whose text can have marks. Columns of plain numbers are parsed only once."""
    cells = decode_text(cells)
    if cells.dtype != pl.String or not number_format.has_marks:
        return parse(cells)
    if number_format.decimal == ".":
        parsed = parse(cells)
        if not parsed.invalid.any():
            return parsed
    return parse(_to_plain_numbers(cells, number_format))


def _to_plain_numbers(cells: pl.Series, number_format: NumberFormat) -> pl.Series:
    """Return text without currency and with decimal points. Missing and invalid cells stay missing and invalid."""
    parts = cells.str.strip_chars(WHITESPACE).str.extract_groups(number_pattern(number_format)).struct.unnest()
    sign, inner_sign, digits, exponent = (parts.to_series(index) for index in range(4))
    for mark in group_marks(number_format):
        digits = digits.str.replace_all(mark, "", literal=True)
    plain = sign + inner_sign + digits.str.replace(number_format.decimal, ".", literal=True) + exponent
    other_cells = cells.set(~pl.Series(is_missing_text(cells)), _INVALID_NUMBER)
    return plain.zip_with(plain.is_not_null(), other_cells)


def _parse_plain_floats(cells: pl.Series) -> ParsedFloats:
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


def _parse_plain_integers(cells: pl.Series) -> ParsedIntegers:
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
    whole = _whole_numbers(_parse_plain_floats(cells))
    if parsed_text is None:
        return whole
    is_parsed = parsed_text.is_not_null().to_numpy()
    values = np.where(is_parsed, parsed_text.fill_null(0).to_numpy(), whole.values)
    return ParsedIntegers(values, whole.missing, whole.invalid & ~is_parsed)


def _whole_numbers(numbers: ParsedFloats) -> ParsedIntegers:
    """Return numbers as integers. A number with a fraction, or above the limit of exact floats, is invalid."""
    is_integral = (np.abs(numbers.values) <= MAX_EXACT_FLOAT) & (np.floor(numbers.values) == numbers.values)
    values = np.where(is_integral, numbers.values, 0.0).astype(np.int64)
    return ParsedIntegers(values, numbers.missing, numbers.invalid | (~is_integral & ~numbers.missing))


def _all_invalid(cells: pl.Series) -> ParsedFloats:
    missing = cells.is_null().to_numpy()
    return ParsedFloats(np.zeros(len(cells)), missing, ~missing)


def parse_timestamps(
    cells: pl.Series,
    zone_codes: NDArray[np.int32],
    zone_names: Sequence[str],
    timestamp_format: TimestampFormat = ISO_TIMESTAMPS,
) -> ParsedTimestamps:
    """Parse a column of texts, epochs, or datetimes. A date without a clock time is invalid, as it is in text.

    `zone_codes` [N] are the rows' indexes in the IANA names `zone_names`. Text that doesn't match the pattern of
    `timestamp_format` is invalid.
    """
    cells = decode_text(cells)
    missing = cells.is_null().to_numpy()
    if cells.dtype == pl.String:
        missing = missing | is_missing_text(cells)
    microseconds, kind = _parse_cells(cells, timestamp_format.pattern)
    is_plausible = (microseconds >= (EARLIEST_SECONDS - SECONDS_PER_DAY) * MICROSECONDS) & (
        microseconds < (LATEST_SECONDS + SECONDS_PER_DAY) * MICROSECONDS
    )
    kind = np.where(is_plausible, kind, np.int8(_INVALID))
    microseconds = np.where(kind == _INVALID, np.int64(EARLIEST_SECONDS * MICROSECONDS), microseconds)
    if timestamp_format.time_zone and (is_local := kind == _LOCAL_TIME).any():
        written = build_offset_table(microseconds, (timestamp_format.time_zone,))
        one_zone = np.zeros(len(microseconds), np.int32)
        microseconds = np.where(is_local, microseconds - written.offset_at_local(one_zone, microseconds), microseconds)
        kind = np.where(is_local, np.int8(_INSTANT), kind)
    local, utc = microseconds, microseconds
    if (kind != _INVALID).any():
        offsets = build_offset_table(microseconds, zone_names)
        if (is_instant := kind == _INSTANT).any():
            local = np.where(is_instant, microseconds + offsets.offset_at_utc(zone_codes, microseconds), local)
        if (is_local := kind == _LOCAL_TIME).any():
            utc = np.where(is_local, microseconds - offsets.offset_at_local(zone_codes, microseconds), utc)
    is_in_range = (utc >= EARLIEST_SECONDS * MICROSECONDS) & (utc < LATEST_SECONDS * MICROSECONDS)
    return ParsedTimestamps(local, utc, missing, (~is_in_range | (kind == _INVALID)) & ~missing)


def to_datetimes(cells: pl.Series, timestamp_format: TimestampFormat = ISO_TIMESTAMPS) -> pl.Series:
    """Return timestamps as datetimes: those with an offset in UTC, and local times without a time zone.

    The cells are returned unchanged if one of them can't be read, or if only some have an offset.

    Example:
        >>> to_datetimes(pl.Series(["2015-06-01 12:28+01:00"])).dtype
        Datetime(time_unit='us', time_zone='UTC')
    """
    text = decode_text(cells)
    if text.dtype != pl.String:
        return cells
    missing = text.is_null().to_numpy() | is_missing_text(text)
    microseconds, kinds = _parse_cells(text, timestamp_format.pattern)
    found = {*np.unique(kinds[~missing]).tolist()}
    if found not in ({_INSTANT}, {_LOCAL_TIME}):
        return cells
    datetimes = pl.Series(cells.name, microseconds).set(pl.Series(missing), None)
    return datetimes.cast(pl.Datetime("us", "UTC" if found == {_INSTANT} else None))


def _parse_cells(cells: pl.Series, pattern: str) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return (microseconds, one of the three kinds) for each cell."""
    if cells.dtype == pl.String:
        return _parse_text(cells.str.strip_chars(WHITESPACE), pattern)
    if isinstance(cells.dtype, pl.Datetime):
        kind = _INSTANT if cells.dtype.time_zone is not None else _LOCAL_TIME
        return _physical_microseconds(cells, cells.dtype.time_unit), np.full(len(cells), kind, np.int8)
    if cells.dtype.is_numeric():
        microseconds, is_valid = _parse_epochs(cells)
        return microseconds, np.where(is_valid, np.int8(_INSTANT), np.int8(_INVALID))
    return np.zeros(len(cells), np.int64), np.full(len(cells), _INVALID, np.int8)


def _physical_microseconds(cells: pl.Series, unit: str) -> NDArray[np.int64]:
    """Return the microseconds since 1970 of datetimes. A time that doesn't fit becomes an extreme value."""
    numbers = cells.to_physical().fill_null(0).to_numpy()
    if unit == "ns":
        return cast(NDArray[np.int64], numbers // 1_000)
    scale = {"us": 1, "ms": 1_000}[unit]
    # Without a limit, the product can overflow and become a plausible time.
    limit = np.iinfo(np.int64).max // scale
    return cast(NDArray[np.int64], np.clip(numbers, -limit, limit) * scale)


def _parse_text(text: pl.Series, pattern: str) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    day, hour_minute, seconds, fraction, offset = _split_with_pattern(text, pattern) if pattern else _split_text(text)
    local_text = day + " " + hour_minute + ":" + seconds.fill_null("00")
    parsed = local_text.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S", strict=False)
    microsecond = fraction.fill_null("0").str.pad_end(6, "0").str.head(6).cast(pl.Int64, strict=False)
    offset_texts = offset.drop_nulls().unique().to_list()
    offset_microseconds = offset.replace_strict(
        offset_texts,
        [parse_utc_offset(offset_text) * MICROSECONDS for offset_text in offset_texts],
        default=None,
        return_dtype=pl.Int64,
    )
    microseconds = (parsed.to_physical() + microsecond - offset_microseconds.fill_null(0)).fill_null(0).to_numpy()
    kind = np.where(offset_microseconds.is_null().to_numpy(), np.int8(_LOCAL_TIME), np.int8(_INSTANT))
    is_unparsed = parsed.is_null().to_numpy()
    if is_unparsed.any():
        kind[is_unparsed] = _INVALID
        if not pattern:
            microseconds = microseconds.copy()
            rows = np.flatnonzero(is_unparsed)
            microseconds[rows], kind[rows] = _parse_epoch_text(text.gather(rows))
    return microseconds, kind


def _split_text(text: pl.Series) -> tuple[pl.Series, ...]:
    """Return the groups of `TIMESTAMP_PATTERN`: day, hours and minutes, seconds, fraction, offset."""
    parts = text.str.extract_groups(TIMESTAMP_PATTERN).struct.unnest()
    return tuple(parts.to_series(index) for index in range(5))


def _split_with_pattern(text: pl.Series, pattern: str) -> tuple[pl.Series, ...]:
    """Return the same parts as `_split_text`, from text in the pattern of a schema."""
    parts = text.str.extract_groups(compile_pattern(pattern)).struct.unnest()
    absent = pl.Series([None] * len(text), dtype=pl.String)
    part = {name: parts[name] if name in parts.columns else absent for name in PATTERN_GROUPS}
    month = part["month"].str.to_lowercase().str.head(3).replace(MONTH_NUMBERS).str.zfill(2)
    year = part["year"].str.replace("^([0-9]{2})$", "20${1}")
    hour = part["hour"]
    if "half" in parts.columns:
        is_afternoon = part["half"].str.to_lowercase().str.starts_with("p")
        hour = (hour.cast(pl.Int64) % 12 + 12 * is_afternoon.cast(pl.Int64)).cast(pl.String)
    day = year + "-" + month + "-" + part["day"].str.zfill(2)
    hour_minute = hour.str.zfill(2) + ":" + part["minute"].fill_null("00").str.zfill(2)
    return day, hour_minute, part["second"].str.zfill(2), part["fraction"], part["offset"]


def _parse_epoch_text(text: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    parts = text.str.extract_groups(EPOCH_PATTERN).struct.unnest()
    is_epoch = text.str.contains(EPOCH_PATTERN)
    is_whole = is_epoch & parts.to_series(0).is_null() & parts.to_series(1).is_null()
    wholes = text.set(~is_whole.fill_null(value=False), None).cast(pl.Int64, strict=False)
    fractions = text.set(~(is_epoch & ~is_whole).fill_null(value=False), None).cast(pl.Float64, strict=False)
    whole_values, is_valid_whole = _parse_epochs(wholes)
    fraction_values, is_valid_fraction = _parse_epochs(fractions)
    kind = np.where(is_valid_whole | is_valid_fraction, np.int8(_INSTANT), np.int8(_INVALID))
    return np.where(is_valid_whole, whole_values, fraction_values), kind


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


def parse_categories(cells: pl.Series, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """Return [N] indexes in `vocabulary`, or `UNKNOWN_CODE` for an empty cell, an unknown name, or an invalid index."""
    # As a float, a whole number ends with .0, which is ignored.
    texts = cells_as_text(cells.cast(pl.Float64) if cells.dtype.is_decimal() else cells)
    # A column has few distinct names, so each of them is parsed once.
    distinct = texts.drop_nulls().unique().to_list()
    codes_by_name = {name: code for code, name in enumerate(vocabulary)}
    codes = [parse_category_text(name, codes_by_name) for name in distinct]
    mapped_codes = texts.replace_strict(distinct, codes, default=UNKNOWN_CODE, return_dtype=pl.Int32)
    return cast(NDArray[np.int32], mapped_codes.fill_null(UNKNOWN_CODE).to_numpy())
