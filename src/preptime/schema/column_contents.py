"""What the cells of a column contain: numbers, times in a format, or text. Names aren't used here.

A content counts if at least `MIN_SHARE` of the cells with a value have it. The other cells get a validation reason
later, row by row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from preptime.domain.cells import MISSING_TOKENS, NumberFormat, number_pattern
from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.domain.timestamps import (
    EARLIEST_SECONDS,
    LATEST_SECONDS,
    MICROSECONDS,
    SECONDS_PER_DAY,
    TIMESTAMP_PATTERN,
)
from preptime.schema.schema import MAX_RANGE

MIN_SHARE = 0.95
"""The smallest share of cells that must have a content. Real exports have up to 2% of unreadable cells."""
_MAX_SHAPE_CELLS = 500
"""Cells whose shape gives the candidates for a format. All cells are then read with each candidate."""
_MIN_FORMAT_MARGIN = 0.001
"""One format is proved against another if it reads at least this share of cells more, and more than two cells."""
_MAX_SPAN_RATIO, _MIN_WIDE_DAYS = 3, 350
"""A reading is wrong if its dates span more days than these, and this many times those of another one.

A day that is read as a year makes decades of a month. A day that is read as a month makes at most 334 days of it.
"""

CURRENCY_SIGNS = {
    "£": "GBP",
    "€": "EUR",
    "R$": "BRL",
    "₹": "INR",
    "₩": "KRW",
    "₺": "TRY",
    "zł": "PLN",
    "$": "",
    "¥": "",
}
"""Signs of currencies, and their ISO codes. Several currencies have the sign with an empty code."""
_CURRENCY_CODES = (
    "AED|AFN|ALL|AMD|ANG|AOA|ARS|AUD|AWG|AZN|BAM|BBD|BDT|BGN|BHD|BIF|BMD|BND|BOB|BRL|BSD|BTN|BWP|BYN|BYR|BZD|CAD|CDF|"
    "CHF|CLP|CNY|COP|CRC|CUC|CUP|CVE|CZK|DJF|DKK|DOP|DZD|EGP|ERN|ETB|EUR|FJD|FKP|GBP|GEL|GHS|GIP|GMD|GNF|GTQ|GYD|HKD|"
    "HNL|HRK|HTG|HUF|IDR|ILS|INR|IQD|IRR|ISK|JMD|JOD|JPY|KES|KGS|KHR|KMF|KPW|KRW|KWD|KYD|KZT|LAK|LBP|LKR|LRD|LSL|LTL|"
    "LYD|MAD|MDL|MGA|MKD|MMK|MNT|MOP|MRO|MRU|MUR|MVR|MWK|MXN|MYR|MZN|NAD|NGN|NIO|NOK|NPR|NZD|OMR|PAB|PEN|PGK|PHP|PKR|"
    "PLN|PYG|QAR|RON|RSD|RUB|RWF|SAR|SBD|SCR|SDG|SEK|SGD|SHP|SLE|SLL|SOS|SRD|SSP|STD|STN|SYP|SZL|THB|TJS|TMT|TND|TOP|"
    "TRY|TTD|TWD|TZS|UAH|UGX|USD|UYU|UZS|VED|VEF|VES|VND|VUV|WST|XAF|XCD|XCG|XOF|XPF|YER|ZAR|ZMW|ZWG|ZWL"
)
"""Currencies of ISO 4217 since 2015. Other letters before a number, such as `VAN1`, aren't a currency."""
_CURRENCY = "|".join([*map(re.escape, CURRENCY_SIGNS), _CURRENCY_CODES])
_AROUND_NUMBER = rf"^(?:({_CURRENCY})\s?)?([+-]?[0-9][0-9.,]*(?:[eE][+-]?[0-9]+)?)(?:\s?({_CURRENCY}))?$"
"""Groups: currency, number, currency."""
_DECIMAL_COMMA = r"^[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]+,(?:[0-9]{1,2}|[0-9]{4,}))$"
_DECIMAL_POINT = r"^[+-]?[0-9,]*\.[0-9]+$"
_THOUSANDS_POINT = r"^[+-]?[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+$"
_THOUSANDS_COMMA = r"^[+-]?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+$"
_GROUP_OR_DECIMAL = r"^[+-]?[0-9]{1,3},[0-9]{3}$"
_PLAIN_NUMBER = r"^-?[0-9]{1,19}(?:\.[0-9]*)?$"
"""A number that can be an epoch. Spreadsheets round longer ones, which then have an exponent."""

_OFFSET = r"(?:Z|(?:UTC|GMT)?(?:[+-][0-9]{2}:?[0-9]{2})?)"
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_SHAPE = re.compile(
    r"(?P<weekday>(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?"
    rf"(?P<date>[0-9]{{1,4}}(?P<mark>[/.-])[0-9]{{1,2}}(?P=mark)[0-9]{{2,4}}"
    rf"|[0-9]{{1,2}}(?P<day>[ -])(?:{_MONTHS})[a-z]*(?P=day)[0-9]{{4}}|(?:{_MONTHS})[a-z]* [0-9]{{1,2}},? [0-9]{{4}})"
    r"(?P<gap>T|,? )(?P<clock>[0-9]{1,2}:[0-9]{2})(?P<seconds>:[0-9]{2})?(?P<fraction>\.[0-9]+)?"
    rf"(?P<half>[ \u00a0\u202f]?[ap]m)?(?P<offset> ?{_OFFSET})?",
    re.IGNORECASE,
)
"""The parts of a time whose format isn't ISO 8601."""
_COMPACT_SHAPE = re.compile(rf"[0-9]{{8}}(?P<gap>T?)[0-9]{{6}}(?P<offset>{_OFFSET})")
"""A time without marks between the numbers, such as the basic format of ISO 8601."""


@dataclass(frozen=True, slots=True)
class NumberMarks:
    """The decimal mark and the mark for thousands of a file."""

    decimal: str = "."
    thousands: str = ""


@dataclass(frozen=True, slots=True)
class TimeReading:
    """One way to read a column's cells as times."""

    pattern: str
    """`strptime` directives, or an empty string for ISO 8601, epochs, and typed columns."""
    times: pl.Series
    """[N] in UTC if `is_instant`, otherwise as written. Null where a cell isn't such a time."""
    is_instant: bool
    """Whether the cells have offsets, or are epochs."""


@dataclass(frozen=True)
class ColumnContents:
    """N cells of a column: as text, and as numbers and times if they are some."""

    name: str
    cells: pl.Series
    """Text without whitespace around it. Null where the cell is empty or means a missing value."""
    numbers: pl.Series | None
    """[N] float64, or None if the column doesn't contain numbers."""
    times: tuple[TimeReading, ...]
    """Every reading that is possible. Empty if the column doesn't contain times."""
    currency: str = ""
    """The ISO code of the currency, or a sign that several currencies have, if numbers are written with one."""
    is_plain: bool = True
    """Whether the numbers of almost all cells can be read as those of a custom feature, which have no currency."""

    @cached_property
    def filled(self) -> int:
        """The number of cells with a value."""
        return len(self.cells) - self.cells.null_count()

    @cached_property
    def distinct(self) -> int:
        """The number of different values."""
        return self.cells.drop_nulls().n_unique()

    @cached_property
    def is_whole(self) -> bool:
        """Whether the cells are whole numbers."""
        values = pl.Series() if self.numbers is None else self.numbers.drop_nulls()
        return len(values) > 0 and int((values == values.round()).sum()) >= MIN_SHARE * len(values)

    @cached_property
    def median(self) -> float:
        """The median of the numbers, or NaN."""
        middle = None if self.numbers is None else self.numbers.median()
        return float(middle) if isinstance(middle, int | float) else float("nan")

    @property
    def example(self) -> str:
        """The first cell with a value."""
        filled = self.cells.drop_nulls()
        return str(filled[0]) if len(filled) else ""


def read_contents(frame: pl.DataFrame, marks: NumberMarks) -> dict[str, ColumnContents]:
    """Return the contents of each column that a file has itself."""
    return {name: _column_contents(frame[name], marks) for name in frame.columns if name not in READER_COLUMNS}


def possible_marks(frame: pl.DataFrame) -> tuple[NumberMarks, ...]:
    """Return the decimal mark and the mark for thousands that fit a file: two if `1,234` can mean both."""
    columns = [_clean(frame[name]) for name in frame.columns if frame[name].dtype == pl.String]
    texts = [(cells, _number_text(cells)) for cells in columns]
    numbers = [text for cells, text in texts if _share(text, cells) >= MIN_SHARE]
    commas, points = (sum(_count(text, pattern) for text in numbers) for pattern in (_DECIMAL_COMMA, _DECIMAL_POINT))
    if commas > points:
        return (NumberMarks(",", "." if any(_count(text, _THOUSANDS_POINT) for text in numbers) else ""),)
    if any(_count(text, _THOUSANDS_COMMA) for text in numbers):
        return (NumberMarks(".", ","),)
    if any(_count(text, _GROUP_OR_DECIMAL) for text in numbers):
        return (NumberMarks(".", ","), NumberMarks(",", ""))
    return (NumberMarks(),)


def _column_contents(column: pl.Series, marks: NumberMarks) -> ColumnContents:
    cells = _clean(column)
    if isinstance(column.dtype, pl.Datetime):
        reading = TimeReading("", _in_utc(column), column.dtype.time_zone is not None)
        return ColumnContents(column.name, cells, None, (reading,))
    is_typed = column.dtype.is_numeric()
    numbers, currency = (column.cast(pl.Float64), "") if is_typed else _parse_numbers(cells, marks)
    numbers = numbers.set(~numbers.is_finite().fill_null(value=True), None)
    times = _time_readings(cells, numbers if is_typed else _matching(cells, _PLAIN_NUMBER).cast(pl.Float64))
    if _share(numbers, cells) < MIN_SHARE:
        return ColumnContents(column.name, cells, None, times)
    in_range = numbers.set((numbers.abs() > MAX_RANGE).fill_null(value=False), None)
    plain = in_range if is_typed else _matching(cells, _feature_pattern(marks)).set(in_range.is_null(), None)
    return ColumnContents(column.name, cells, numbers, times, currency, _share(plain, cells) >= MIN_SHARE)


def _clean(column: pl.Series) -> pl.Series:
    """Return cells as text, with null for a missing value. The cells of a type without text are all null."""
    if column.dtype.is_nested() or isinstance(column.dtype, pl.Object | pl.Duration | pl.Binary):
        return pl.Series(column.name, [None] * len(column), pl.String)
    text = column.cast(pl.String, strict=False).str.strip_chars()
    is_missing = text.str.to_lowercase().is_in(list(MISSING_TOKENS))
    return text.set(is_missing.fill_null(value=True), None)


def _in_utc(column: pl.Series) -> pl.Series:
    zone = column.dtype.time_zone if isinstance(column.dtype, pl.Datetime) else None
    in_utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else column
    return in_utc.cast(pl.Datetime("us"))


def _number_text(cells: pl.Series) -> pl.Series:
    """Return the numbers without their currency. Null where a cell isn't a number in any format."""
    return cells.str.extract(_AROUND_NUMBER, 2)


def _parse_numbers(cells: pl.Series, marks: NumberMarks) -> tuple[pl.Series, str]:
    """Return the numbers and their currency, which is empty if few cells have it.

    Numbers with another currency than the most frequent one are null, because a column has one.
    """
    before, text, after = cells.str.extract_groups(_AROUND_NUMBER).struct.unnest().iter_columns()
    currencies = after.fill_null(before).replace({sign: code for sign, code in CURRENCY_SIGNS.items() if code})
    currency = str(currencies.drop_nulls().mode().sort().first() or "")
    text = text.set((currencies != currency).fill_null(value=False), None)
    if marks.thousands:
        text = text.str.replace_all(marks.thousands, "", literal=True)
    if marks.decimal == ",":
        text = text.str.replace(",", ".", literal=True)
    is_rare = _share(currencies, cells) <= 1 - MIN_SHARE
    return text.cast(pl.Float64, strict=False), "" if is_rare else currency


def _feature_pattern(marks: NumberMarks) -> str:
    """Return the expression of the numbers that `Schema.number_format` reads."""
    return number_pattern(NumberFormat(marks.decimal, marks.thousands))


def _matching(cells: pl.Series, pattern: str) -> pl.Series:
    return cells.set(~cells.str.contains(pattern).fill_null(value=False), None)


def _count(text: pl.Series, pattern: str) -> int:
    return int(text.str.contains(pattern).sum() or 0)


def _share(read: pl.Series, cells: pl.Series) -> float:
    filled = len(cells) - cells.null_count()
    return (len(read) - read.null_count()) / filled if filled else 0.0


def _time_readings(cells: pl.Series, numbers: pl.Series) -> tuple[TimeReading, ...]:
    """Return every format in which the cells can be read as times. `numbers` are the cells that can be epochs."""
    filled = cells.drop_nulls()
    if not len(filled):
        return ()
    # An event that hasn't happened often has the epoch 0 or -1.
    happened = cells.set((numbers <= 0).fill_null(value=False), None)
    for reading, written in ((_read_iso(cells), cells), (_read_epochs(numbers), happened)):
        if _share(reading.times, written) >= MIN_SHARE:
            return (reading,)
    readings = [_read_pattern(cells, pattern) for pattern in _candidate_patterns(filled.head(_MAX_SHAPE_CELLS))]
    complete = [reading for reading in readings if _share(reading.times, cells) >= MIN_SHARE]
    return _narrowest(_most_complete(complete, len(filled)))


def _most_complete(readings: list[TimeReading], filled: int) -> list[TimeReading]:
    """Return the readings that no other one reads clearly more cells than, such as cells with a day above 12."""
    read = [len(reading.times) - reading.times.null_count() for reading in readings]
    margin = max(2, _MIN_FORMAT_MARGIN * filled)
    return [reading for reading, count in zip(readings, read, strict=True) if count + margin >= max(read)]


def _narrowest(readings: list[TimeReading]) -> tuple[TimeReading, ...]:
    """Return the readings whose dates don't span many times the days of another one."""
    spans = [_span_days(reading.times) for reading in readings]
    limit = max(_MIN_WIDE_DAYS, _MAX_SPAN_RATIO * min(spans, default=0.0))
    return tuple(reading for reading, span in zip(readings, spans, strict=True) if span <= limit)


def _span_days(times: pl.Series) -> float:
    """Return the days between the 5% and the 95% quantile, so that a stray date changes nothing."""
    microseconds = times.cast(pl.Int64)
    first, last = (microseconds.quantile(level) or 0.0 for level in (0.05, 0.95))
    return (last - first) / (SECONDS_PER_DAY * MICROSECONDS)


def _read_iso(cells: pl.Series) -> TimeReading:
    """Return times in the grammar of `preptime.domain.timestamps`. If most have an offset, they are instants."""
    parts = cells.str.extract_groups(TIMESTAMP_PATTERN).struct.unnest()
    date, minutes, seconds, _, offset = (parts.to_series(index) for index in range(5))
    text = date + " " + minutes + ":" + seconds.fill_null("00")
    times = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    has_offset = offset.is_not_null()
    if int(has_offset.sum()) < MIN_SHARE * int(times.is_not_null().sum()) or not has_offset.any():
        return TimeReading("", times, is_instant=False)
    sign = pl.when(pl.col("offset").str.starts_with("-")).then(-1).otherwise(1)
    digits = pl.col("offset").str.extract_all(r"[0-9]{2}")
    hours, minute = (digits.list.get(index, null_on_oob=True).cast(pl.Int64).fill_null(0) for index in (0, 1))
    shifted = pl.DataFrame({"times": times, "offset": offset}).select(
        pl.col("times") - pl.duration(minutes=sign * (hours * 60 + minute))
    )
    return TimeReading("", shifted.to_series().rename(cells.name), is_instant=True)


def _read_epochs(numbers: pl.Series) -> TimeReading:
    microseconds = pl.Series(numbers.name, [None] * len(numbers), pl.Float64)
    for scale in (MICROSECONDS, 1_000, 1, 0.001):
        scaled = numbers * scale
        is_valid = (scaled >= EARLIEST_SECONDS * MICROSECONDS) & (scaled < LATEST_SECONDS * MICROSECONDS)
        microseconds = microseconds.zip_with(~is_valid.fill_null(value=False), scaled)
    return TimeReading("", microseconds.cast(pl.Int64).cast(pl.Datetime("us")), is_instant=True)


def _read_pattern(cells: pl.Series, pattern: str) -> TimeReading:
    has_offset = pattern.lower().endswith("%z")
    polars_pattern = pattern.replace(".%f", "%.f").replace("%Z", "%z")
    text = cells.str.replace(r"(?:Z|UTC|GMT)$", "+0000") if has_offset else cells
    times = text.str.to_datetime(polars_pattern, strict=False, time_unit="us")
    return TimeReading(pattern, _in_utc(times), has_offset)


def _candidate_patterns(cells: Iterable[str]) -> tuple[str, ...]:
    """Return the formats that the most frequent shape of the cells can have."""
    shapes = Counter(patterns for cell in cells if (patterns := shape_patterns(cell)))
    return shapes.most_common(1)[0][0] if shapes else ()


def shape_patterns(cell: str) -> tuple[str, ...]:
    """Return the formats that a text can have, by its shape alone. Several if all parts of the date are numbers.

    Example:
        >>> shape_patterns("06/01/2015 02:34 AM")
        ('%d/%m/%Y %I:%M %p', '%m/%d/%Y %I:%M %p')
        >>> shape_patterns("Tue, 19 Mar 2024 20:58:21 GMT")
        ('%a, %d %b %Y %H:%M:%S %Z',)
    """
    if compact := _COMPACT_SHAPE.fullmatch(cell):
        return (f"%Y%m%d{compact['gap']}%H%M%S{_offset_pattern(compact['offset'])}",)
    match = _SHAPE.fullmatch(cell)
    if match is None:
        return ()
    clock = "%I:%M" if match["half"] else "%H:%M"
    clock += (":%S" if match["seconds"] else "") + (".%f" if match["fraction"] else "")
    half = match["half"] or ""
    half = half and f"{' ' * (len(half) - 2)}%p"  # a space in a format also means a no-break space
    weekday = re.sub("[A-Za-z]+", "%a", match["weekday"] or "")
    end = f"{match['gap']}{clock}{half}{_offset_pattern(match['offset'] or '')}"
    return tuple(f"{weekday}{date}{end}" for date in _date_patterns(match["date"], match["mark"]))


def _offset_pattern(offset: str) -> str:
    """Return the directive of an offset, after the text before it. `GMT` before a number is text."""
    return re.sub("(?<!%)Z|[+-][0-9:]+", "%z", re.sub("(?:UTC|GMT)$", "%Z", offset))


def _date_patterns(date: str, mark: str | None) -> tuple[str, ...]:
    if mark is None:
        month = "%B" if re.search(r"[A-Za-z]{4,}", date) else "%b"
        words = re.sub(r"[A-Za-z]+", month, date)
        return (re.sub(r"(?<![0-9%])[0-9]{1,2}(?![0-9])", "%d", re.sub(r"[0-9]{4}", "%Y", words)),)
    first, _, last = date.split(mark)
    if len(first) == 4:
        return (f"%Y{mark}%m{mark}%d",) if len(last) <= 2 else ()
    if len(last) not in {2, 4} or len(first) > 2:
        return ()
    year = "%Y" if len(last) == 4 else "%y"
    year_first = (f"%y{mark}%m{mark}%d",) if len(first) == len(last) == 2 else ()
    return (f"%d{mark}%m{mark}{year}", f"%m{mark}%d{mark}{year}", *year_first)
