"""Cells of any type and any value as text, for reports, messages, requests, and CSV files.

Polars panics when it formats a timestamp outside its range of years, and refuses some types. Parquet can contain both.
"""

from __future__ import annotations

from contextlib import suppress

import polars as pl
from polars.datatypes import DataTypeClass

from preptime.domain.timestamps import MICROSECONDS, SECONDS_PER_DAY

_FIRST_DAY, _LAST_DAY = -719_161, 2_932_895
"""0001-01-02 and 9999-12-30, in days since 1970-01-01: a time zone doesn't move a time out of years 1 to 9999."""
_UNITS_PER_DAY = {
    "ms": SECONDS_PER_DAY * 1_000,
    "us": SECONDS_PER_DAY * MICROSECONDS,
    "ns": SECONDS_PER_DAY * MICROSECONDS * 1_000,
}
_INT64_MAX = 2**63 - 1
_CSV_TYPES = (pl.String, pl.Boolean, pl.Date, pl.Datetime, pl.Time, pl.Categorical, pl.Enum, pl.Null)


def fits_csv(dtype: pl.DataType | DataTypeClass) -> bool:
    """Return whether CSV can represent a type: numbers, text, and times, but no bytes, durations, or nested types."""
    return dtype.is_numeric() or isinstance(dtype, _CSV_TYPES)


def cells_as_text(cells: pl.Series) -> pl.Series:
    """Return cells as text. Works for every type and value.

    A time outside the years 1 to 9999 becomes its number, such as `9223372036854775807 us since 1970`.
    """
    dtype = cells.dtype
    if isinstance(dtype, pl.Datetime):
        return format_times(cells, "%Y-%m-%d %H:%M:%S%.f" + ("%:z" if dtype.time_zone else ""))
    if dtype == pl.Date:
        return format_times(cells, "%Y-%m-%d")
    if fits_csv(dtype):
        return cells.cast(pl.String)
    return pl.Series(cells.name, [_python_text(cells, row) for row in range(len(cells))], pl.String)


def format_times(cells: pl.Series, pattern: str) -> pl.Series:
    """Format datetimes or dates. A time outside the years 1 to 9999 becomes its number and unit, as text."""
    unit = cells.dtype.time_unit if isinstance(cells.dtype, pl.Datetime) else "days"
    units_per_day = _UNITS_PER_DAY.get(unit, 1)
    numbers = cells.to_physical()
    last = min(_LAST_DAY * units_per_day, _INT64_MAX)
    is_formattable = numbers.is_between(max(_FIRST_DAY * units_per_day, -_INT64_MAX), last).fill_null(value=True)
    if is_formattable.all():
        return cells.dt.strftime(pattern)
    texts = numbers.set(~is_formattable, None).cast(cells.dtype).dt.strftime(pattern)
    return texts.zip_with(is_formattable, numbers.cast(pl.String) + f" {unit} since 1970")


def to_csv_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows that Polars can write as CSV. Columns that it can write are unchanged."""
    return frame.with_columns(
        cells_as_text(frame[name])
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Datetime | pl.Date) or not fits_csv(dtype)
    )


def _python_text(cells: pl.Series, row: int) -> str | None:
    """Return one cell of a type that Polars doesn't format, or its type if Python can't represent the value."""
    # The text is for people: a value of any type must give one.
    with suppress(Exception, pl.exceptions.PanicException):
        value = cells[row]
        value = value.to_list() if isinstance(value, pl.Series) else value
        return None if value is None else str(value)
    return str(cells.dtype)
