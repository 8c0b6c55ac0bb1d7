"""pandas and Polars data frames: rows for preptime, and results in the type of the input.

pandas is only imported by a process that uses it.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.errors import UsageError
from preptime.formatting import format_count, shorten
from preptime.python_api.defaults import to_number
from preptime.python_api.extras import missing_extra_error
from preptime.schema.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = "pd.DataFrame | pl.DataFrame"
FrameKind = Literal["pandas", "polars"]
FrameT = TypeVar("FrameT", "pd.DataFrame", "pl.DataFrame")
EXPECTED_FRAME = "a path, a URL, a pandas data frame, or a Polars data frame"
_READY_AT_FORMAT = "%Y-%m-%d %H:%M:%S%:z"
_WALL_CLOCK_CHARACTERS = len("2015-06-01 12:28:28")


def frame_kind(value: object) -> FrameKind | None:
    """Return the library of a data frame, or None if the value isn't one."""
    if isinstance(value, pl.DataFrame | pl.LazyFrame):
        return "polars"
    pandas = sys.modules.get("pandas")  # a pandas frame exists only if its library is loaded
    return "pandas" if pandas is not None and isinstance(value, pandas.DataFrame) else None


def require_kind(value: object, subject: str) -> FrameKind:
    """Return the library of a data frame. Raises `UsageError`, with the subject, if the value isn't one."""
    kind = frame_kind(value)
    if kind is None:
        raise UsageError(
            f"{subject[0].upper()}{subject[1:]} are of type {type(value).__name__}; expected {EXPECTED_FRAME}.",
            "Convert them with pandas.DataFrame or polars.DataFrame.",
        )
    return kind


def to_polars(frame: object, columns: Collection[str] | None = None, subject: str = "the rows") -> pl.DataFrame:
    """Return the rows of a frame with these columns, as far as it has them. By default, with all columns.

    Levels of a pandas index with such a name count as columns. Values keep their types. A pandas column of mixed types
    becomes text.

    Args:
        frame: A pandas or Polars data frame, or a lazy frame.
        columns: Names of columns.
        subject: What the rows are, for messages.

    Raises:
        UsageError: The value isn't a data frame, or has one of the columns more than once.
    """
    if require_kind(frame, subject) == "pandas":
        return _pandas_to_polars(cast("pd.DataFrame", frame), columns)
    rows = cast("pl.DataFrame | pl.LazyFrame", frame)
    collected = rows.collect() if isinstance(rows, pl.LazyFrame) else rows
    return collected if columns is None else collected.select(name for name in collected.columns if name in columns)


def _pandas_to_polars(frame: pd.DataFrame, columns: Collection[str] | None) -> pl.DataFrame:
    names: list[object] = list(frame.columns)
    labels = [label for label in names if isinstance(label, str) and (columns is None or label in columns)]
    repeated = next((label for label in labels if labels.count(label) > 1), None)
    if repeated is not None:
        raise UsageError(f"The data frame has the column {repeated} more than once.", "Remove or rename one of them.")
    levels = [
        name
        for name in frame.index.names
        if isinstance(name, str) and name not in labels and (columns is None or name in columns)
    ]
    converted = {name: _to_series(name, frame.index.get_level_values(name).to_series()) for name in levels}
    converted |= {name: _to_series(name, frame[name]) for name in labels}
    return pl.DataFrame(converted) if converted else pl.DataFrame(height=len(frame))


def _to_series(name: str, cells: pd.Series[Any]) -> pl.Series:
    """Return a pandas column with the same values. Other types than those of Polars become text."""
    import pyarrow as pa  # type: ignore[import-untyped]

    if str(cells.dtype) == "category":
        cells = cells.astype(object)
    # Of times with and without an offset, Arrow would make one type, and change the times without one.
    if str(cells.dtype) == "object" and any(isinstance(value, dt.datetime) for value in cells):
        return _to_text(name, cells)
    try:
        array = pa.array(cells, from_pandas=True)
        # Polars panics for decimals of more than 38 digits, and prints the trace.
        is_unsupported = isinstance(array.type, pa.BaseExtensionType) or "decimal256" in str(array.type)
        if not is_unsupported:
            return _in_known_zone(array).alias(name)
    except (pa.ArrowException, OverflowError, TypeError, ValueError, pl.exceptions.PolarsError):
        pass
    return _to_text(name, cells)


def _in_known_zone(array: Any) -> pl.Series:
    """Return an Arrow array. Times in a zone that Polars doesn't know, such as `+05:30`, become UTC, as in Parquet."""
    import pyarrow as pa

    is_time = pa.types.is_timestamp(array.type)
    try:
        cells = pl.Series("", array)
        if is_time:
            pl.Series([0]).cast(cells.dtype).dt.hour()  # after a Parquet scan, only this step fails
    except pl.exceptions.PolarsError:
        if not is_time:
            raise
        return pl.Series("", array.cast(pa.timestamp(array.type.unit, "UTC")))
    return cells


def _to_text(name: str, cells: pd.Series[Any]) -> pl.Series:
    is_missing = [bool(missing) for missing in cells.isna()]
    values = cells.tolist()
    texts = [None if missing else str(value) for value, missing in zip(values, is_missing, strict=True)]
    try:
        return pl.Series(name, texts, pl.String)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"Column {name} of the data frame has text that UTF-8 can't encode: {shorten(repr(error.object))}.",
            "Decode the source with its own encoding.",
        ) from error


def row_values(frame: Any, values: object, name: str) -> pl.Series:
    """Return one value for each row of a frame.

    Args:
        frame: The frame.
        values: The name of one of its columns, one number for all rows, or a Series, an array, or a list.
        name: The name of the argument, for messages.

    Raises:
        UsageError: There is no such column, there is another number of values than of rows, or the index of a Series
            isn't that of the frame.
    """
    pandas = sys.modules.get("pandas")
    if isinstance(values, str):
        cells = _column(frame, values, name)
    elif pandas is not None and isinstance(values, pandas.Series):
        if not isinstance(frame, pl.DataFrame) and not values.index.equals(frame.index):
            raise UsageError(
                f"The index of {name} isn't that of the orders.",
                f"Use {name} with the index of the orders, or its values by position: {name}.to_numpy().",
            )
        cells = _to_series(name, values)
    elif isinstance(values, pl.Series | np.ndarray | list | tuple):
        cells = pl.Series(name, values, strict=False)
    else:
        number = to_number(name, values, "the name of a column, a number, or a number for each order")
        cells = pl.repeat(number, len(frame), eager=True)
    if len(cells) != len(frame):
        found, rows = format_count(len(cells), "value"), format_count(len(frame), "order")
        raise UsageError(f"{name} has {found} for {rows}.", "Use one value for each order.")
    return cells


def _column(frame: Any, column: str, argument: str) -> pl.Series:
    names = column_names(frame)
    if column not in names:
        raise UsageError(
            f"The orders have no column {column!r}. Their columns are {', '.join(names[:20])}.",
            f"Set {argument} to the name of a column, to one number for all orders, or to a number for each order.",
        )
    return to_polars(frame, [column])[column]


def from_polars(table: pl.DataFrame, kind: FrameKind) -> Any:
    """Return a table as a frame of a library. A new pandas frame has the index 0, 1, 2, …"""
    if kind == "polars":
        return table
    require_pandas()
    return table.to_pandas()


def require_pandas() -> None:
    """Raise `UsageError` if pandas or its connection to Polars isn't installed."""
    try:
        import pandas as pd
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise missing_extra_error(error, "A pandas frame") from error
    del pd, pa


def take_rows(frame: FrameT, rows: NDArray[np.integer]) -> FrameT:
    """Return the rows of a frame at these positions, with their index."""
    if isinstance(frame, pl.DataFrame):
        return frame[rows.astype(np.int64)]
    return frame.iloc[rows]


def with_columns(frame: FrameT, columns: pl.DataFrame) -> FrameT:
    """Return a frame with further columns for the same rows. Columns with these names are replaced in place."""
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(columns)
    import pandas as pd

    replaced, added = frame.copy(deep=False), columns.to_pandas().set_axis(frame.index)
    for name in [name for name in added.columns if name in replaced.columns]:
        replaced[name] = added.pop(name).array
    return pd.concat([replaced, added], axis=1)  # without a warning about a frame of many parts


def without_columns(frame: FrameT, names: Collection[str]) -> FrameT:
    """Return a frame without these columns, as far as it has them."""
    if isinstance(frame, pl.DataFrame):
        return frame.drop(names, strict=False)
    return frame.drop(columns=[name for name in names if name in frame.columns])


def column_names(frame: Any) -> list[str]:
    """Return the names of the columns of a frame, with the named levels of a pandas index."""
    names = [name for name in frame.columns if isinstance(name, str)]
    levels = [] if isinstance(frame, pl.DataFrame) else [name for name in frame.index.names if isinstance(name, str)]
    return [*names, *(name for name in levels if name not in names)]


def with_index_of(table: pl.DataFrame, frame: FrameT) -> FrameT:
    """Return a table as a frame of the same library, with the same index."""
    if isinstance(frame, pl.DataFrame):
        return table
    require_pandas()
    return table.to_pandas().set_index(frame.index)


def like_acknowledgements(times: pl.Series, acknowledged: pl.Series, schema: Schema) -> pl.Series:
    """Return predicted times, which are text with offsets, in the type of the acknowledgements.

    Datetimes with a time zone give datetimes in this zone. Datetimes without one give local times of the restaurant, or
    times in the zone that the schema has for them. Acknowledgements of other types give text.
    """
    dtype = acknowledged.dtype
    if not isinstance(dtype, pl.Datetime):
        return times
    written_zone = schema.column("order_acknowledged_at").timestamp_format.time_zone
    zone = dtype.time_zone or written_zone
    if not zone:
        return times.str.head(_WALL_CLOCK_CHARACTERS).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
    instants = times.str.to_datetime(_READY_AT_FORMAT, time_unit="us").dt.convert_time_zone(zone)
    return instants if dtype.time_zone else instants.dt.replace_time_zone(None)
