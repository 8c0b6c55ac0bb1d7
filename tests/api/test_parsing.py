"""One value has one meaning: in CSV text, typed Parquet, JSON numbers, and JSON text, whatever the company's format."""

from __future__ import annotations

import io
import math
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from preptime.api.parsing import integer_parser, number_parser, timestamp_parser
from preptime.domain.cells import PLAIN_NUMBERS, NumberFormat
from preptime.domain.timestamps import ISO_TIMESTAMPS, MICROSECONDS, TimestampFormat
from preptime.domain.validation_reasons import ValidationReason
from preptime.validation.parsing import ParsedFloats, ParsedIntegers, parse_floats, parse_integers, parse_timestamps

LONDON = ZoneInfo("Europe/London")
EUROS = NumberFormat(decimal=",", thousands=".", currency="EUR")
FORMATS = (
    PLAIN_NUMBERS,
    EUROS,
    NumberFormat(currency="GBP"),
    NumberFormat(thousands=",", currency="USD"),
    NumberFormat(thousands="'", currency="CHF"),
    NumberFormat(decimal=",", thousands=" ", currency="SEK"),
    NumberFormat(multiplier=60, divisor=1000),
    NumberFormat(decimal=",", currency="PLN", divisor=100),
)

epoch_seconds = st.integers(946_684_799, 4_102_444_801)
epochs = st.one_of(
    st.builds(lambda second, scale: second * scale, epoch_seconds, st.sampled_from([1, 1000, 10**6, 10**9])),
    epoch_seconds.map(float),
    st.floats(9e8, 5e9),
    st.floats(9e11, 5e18),
    st.floats(0, 1e6),
)
numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-100, 100).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)
number_texts = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "-", "+", " "]),
    st.sampled_from(["", "£", "$", "US$", "€ ", "EUR", "kr ", "zł", "CHF\u00a0", "Fr. "]),
    st.sampled_from(["", "-"]),
    st.sampled_from(["0", "15", "1234", "1.234", "1,234", "1,23", "1'234", "1 234 567", "1\u202f234", "12,345.6", ""]),
    st.sampled_from(["", ".", ",", ".5", ",10", ".50", ",123", "e2", "E-1", ".0"]),
    st.sampled_from(["", " €", "€", "\u00a0EUR", " USD", "kr", " NA"]),
)


def parse_number(cell: object, number_format: NumberFormat = PLAIN_NUMBERS) -> float | ValidationReason:
    return number_parser((-math.inf, math.inf), number_format)(cell)


def parse_integer(cell: object, number_format: NumberFormat = PLAIN_NUMBERS) -> int | ValidationReason:
    return integer_parser((-math.inf, math.inf), number_format)(cell)


def parse_timestamp(
    cell: object, zone: ZoneInfo, timestamp_format: TimestampFormat = ISO_TIMESTAMPS
) -> tuple[int, int] | None:
    return timestamp_parser(timestamp_format)(cell, zone)


def written(value: float) -> tuple[pl.Series, pl.Series, object, object]:
    """Return the value as a cell of a CSV file, as one of a Parquet file, as a JSON number, and as JSON text."""
    stream = io.BytesIO()
    pl.DataFrame({"cell": [value]}).write_parquet(stream)
    stream.seek(0)
    return (
        pl.Series([str(value)]),
        pl.read_parquet(stream)["cell"],
        msgspec.json.decode(msgspec.json.encode(value)),
        msgspec.json.decode(msgspec.json.encode(str(value))),
    )


def parsed_column(column: ParsedFloats | ParsedIntegers) -> float | ValidationReason:
    """Return the only value of a column as the parser of single values does, with infinite bounds."""
    if column.missing[0]:
        return ValidationReason.MISSING_VALUE
    return ValidationReason.UNPARSABLE_NUMBER if column.invalid[0] else column.values.item(0)


def parsed_times(cells: pl.Series, zone: ZoneInfo, timestamp_format: TimestampFormat) -> list[tuple[int, int] | None]:
    """Return (local time, UTC) of each cell in microseconds, or None, from the parser of columns."""
    column = parse_timestamps(cells, np.zeros(len(cells), np.int32), (zone.key,), timestamp_format)
    return [
        None if column.invalid[row] or column.missing[row] else (int(column.local[row]), int(column.utc[row]))
        for row in range(len(cells))
    ]


@settings(deadline=None)
@given(value=epochs, time_zone=st.sampled_from(["", "America/New_York"]))
@example(value=1714564800.0, time_zone="")
@example(value=1714564800, time_zone="")
def test_epoch_means_the_same_in_every_format(value: float, time_zone: str) -> None:
    timestamp_format = TimestampFormat(time_zone=time_zone)
    csv_cells, parquet_cells, json_number, json_text = written(value)
    expected = parse_timestamp(json_number, LONDON, timestamp_format)
    assert parse_timestamp(json_text, LONDON, timestamp_format) == expected
    assert parsed_times(csv_cells, LONDON, timestamp_format) == [expected]
    assert parsed_times(parquet_cells, LONDON, timestamp_format) == [expected]


@settings(deadline=None)
@given(numbers)
@example(3)
@example(3.0)
@example(2**53 + 1)
@example(-0.0)
def test_number_means_the_same_in_every_format(value: float) -> None:
    csv_cells, parquet_cells, json_number, json_text = written(value)
    for cell in (json_number, json_text):
        assert parse_number(cell) == float(value)
    for cells in (csv_cells, parquet_cells):
        assert parse_floats(cells).values.tolist() == [float(value)]
    whole = parse_integer(json_number)
    assert whole in {value, ValidationReason.UNPARSABLE_NUMBER}
    assert parse_integer(json_text) == whole
    for cells in (csv_cells, parquet_cells):
        assert parsed_column(parse_integers(cells)) == whole


@settings(deadline=None)
@given(cell=st.one_of(number_texts, st.text(max_size=8), numbers), number_format=st.sampled_from(FORMATS))
@example(cell="1.234,50 €", number_format=EUROS)
@example(cell="NA", number_format=EUROS)
@example(cell="inf", number_format=EUROS)
def test_numbers_in_formats_match_the_column_parser(cell: str | float, number_format: NumberFormat) -> None:
    cells = pl.Series([cell])
    assert parse_number(cell, number_format) == parsed_column(parse_floats(cells, number_format))
    assert parse_integer(cell, number_format) == parsed_column(parse_integers(cells, number_format))


@pytest.mark.parametrize(
    ("cell", "number_format", "expected"),
    [
        ("15,10", NumberFormat(decimal=","), 15.1),
        ("1.234,50", EUROS, 1234.5),
        ("15,10 €", EUROS, 15.1),
        ("€-1.234.567,5", EUROS, -1234567.5),
        ("1,234.50", NumberFormat(thousands=","), 1234.5),
        ("£15.10", NumberFormat(currency="GBP"), 15.1),
        ("GBP 15.10", NumberFormat(currency="GBP"), 15.1),
        ("-$12.00", NumberFormat(currency="USD"), -12),
        ("R$ 8,90", NumberFormat(decimal=",", currency="BRL"), 8.9),
        ("12\u202f345,6 kr", NumberFormat(decimal=",", thousands=" ", currency="SEK"), 12345.6),
        (2140, NumberFormat(divisor=100), 21.4),
        ("2140", NumberFormat(divisor=100), 21.4),
        (15.1, EUROS, 15.1),
        ("1,23", NumberFormat(thousands=","), ValidationReason.UNPARSABLE_NUMBER),
        ("1.23", EUROS, ValidationReason.UNPARSABLE_NUMBER),
        ("€15.10", NumberFormat(currency="GBP"), ValidationReason.UNPARSABLE_NUMBER),
        ("£", NumberFormat(currency="GBP"), ValidationReason.UNPARSABLE_NUMBER),
        ("£15.10", PLAIN_NUMBERS, ValidationReason.UNPARSABLE_NUMBER),
        ("n/a", EUROS, ValidationReason.MISSING_VALUE),
    ],
)
def test_number_in_a_format_has_its_value(
    cell: str | float, number_format: NumberFormat, expected: float | ValidationReason
) -> None:
    assert parse_number(cell, number_format) == expected
    assert parsed_column(parse_floats(pl.Series([cell]), number_format)) == expected


def test_parsers_check_bounds_after_conversion() -> None:
    cents = number_parser((0, 100), NumberFormat(divisor=100))
    assert [cents(cell) for cell in (10_000, "10000", 10_001, -1)] == [
        100,
        100,
        ValidationReason.OUT_OF_RANGE,
        ValidationReason.NEGATIVE_VALUE,
    ]
    degrees = number_parser((-180, 180))
    assert [degrees(cell) for cell in (-77.5, "-77.5", "-181")] == [-77.5, -77.5, ValidationReason.OUT_OF_RANGE]
    thousands = integer_parser((1, 10_000), NumberFormat(decimal=",", thousands="."))
    assert [thousands(cell) for cell in ("1.234", "3,0", "3,5")] == [1234, 3, ValidationReason.UNPARSABLE_NUMBER]


PATTERNS = (
    "%d/%m/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S%p",
    "%d.%m.%y %H:%M",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%a %d %b %Y %T %z",
    "%A, %B %d, %Y at %Hh%M",
    "%F %R %Z",
    "%H:%M %D",
    "100%% [%d|%m|%Y] (%H)",
    " %d %B %Y %H:%M:%S,%f ",
)

COMBINATIONS = {
    "%a %d %b %Y %T %z": "%a %d %b %Y %H:%M:%S %z",
    "%F %R %Z": "%Y-%m-%d %H:%M %Z",
    "%H:%M %D": "%H:%M %m/%d/%y",
}
"""Python's parser doesn't support combinations."""


@settings(deadline=None)
@given(
    time=st.datetimes(datetime(2000, 1, 3), datetime(2068, 12, 30)),
    pattern=st.sampled_from(PATTERNS),
    zone=st.sampled_from(["Europe/London", "America/New_York", "Australia/Lord_Howe"]),
    time_zone=st.sampled_from(["", "UTC", "America/Los_Angeles"]),
    change=st.sampled_from([str, str.lower, str.upper, lambda text: text + "x", lambda text: f" {text}\n"]),
)
def test_patterns_match_the_column_parser(
    time: datetime, pattern: str, zone: str, time_zone: str, change: type[str]
) -> None:
    text = change(time.replace(tzinfo=ZoneInfo("UTC")).strftime(pattern))
    timestamp_format = TimestampFormat(pattern, time_zone)
    parsed = parse_timestamp(text, ZoneInfo(zone), timestamp_format)
    assert parsed_times(pl.Series([text]), ZoneInfo(zone), timestamp_format) == [parsed]
    if change is str:
        assert parsed is not None
        expected = datetime.strptime(text, COMBINATIONS.get(pattern, pattern))
        if expected.tzinfo is not None or pattern.endswith("%Z"):
            assert parsed[1] == int(expected.replace(tzinfo=ZoneInfo("UTC")).timestamp()) * MICROSECONDS
        elif not time_zone:
            assert parsed[0] == round((expected - datetime(1970, 1, 1)).total_seconds() * MICROSECONDS)
        elif time_zone == "UTC":
            assert parsed[1] == round((expected - datetime(1970, 1, 1)).total_seconds() * MICROSECONDS)


@pytest.mark.parametrize("character", list("!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ é"))
def test_pattern_text_is_literal(character: str) -> None:
    timestamp_format = TimestampFormat(f"%Y{character}%m{character}%d %H:%M")
    text = f"2015{character}06{character}01 12:30"
    expected = parse_timestamp("2015-06-01 12:30", LONDON)
    assert parse_timestamp(text, LONDON, timestamp_format) == expected
    assert parsed_times(pl.Series([text, text.replace(character, "w")]), LONDON, timestamp_format) == [expected, None]


def test_cell_must_match_the_pattern_or_be_a_number() -> None:
    timestamp_format = TimestampFormat("%d/%m/%Y %H:%M")
    for text in ("2015-06-01 12:30", "1433161708", "31/06/2015 12:30", "01/13/2015 12:30", "01/06/2015"):
        assert parse_timestamp(text, LONDON, timestamp_format) is None
        assert parsed_times(pl.Series([text]), LONDON, timestamp_format) == [None]
    epoch = parse_timestamp(1433161708, LONDON)
    assert parse_timestamp(1433161708, LONDON, timestamp_format) == epoch
    assert parsed_times(pl.Series([1433161708]), LONDON, timestamp_format) == [epoch]
