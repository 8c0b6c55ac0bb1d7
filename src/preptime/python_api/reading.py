"""Reads orders, restaurants, and schemas into data frames, and makes synthetic ones."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from preptime.domain.cells import NumberFormat
from preptime.domain.data_dictionary import READER_COLUMNS, require_columns
from preptime.python_api.dataframes import FrameKind, from_polars, require_kind, with_columns
from preptime.python_api.datasets import Dataset, RowsInput, SchemaInput, find_schema_of, is_location
from preptime.python_api.defaults import (
    check_choice,
    check_location,
    check_type,
    python_errors,
    to_date,
    to_whole_number,
)
from preptime.python_api.stores import check_frame_kind
from preptime.schema.schema import Schema
from preptime.synthetic import Drift, SynthesisPlan, synthesize_frames, write_frames
from preptime.validation.parsing import parse_floats, parse_integers, to_datetimes

DEFAULT_PLAN = SynthesisPlan()


@python_errors()
def read_orders(source: RowsInput, schema: SchemaInput = None, *, frame: FrameKind | None = None) -> Any:
    """Read orders into a data frame.

    Columns have the names and the units of the source. A column of the schema has its type: datetimes (times with an
    offset in UTC, others without a time zone) or numbers. It stays text if a cell can't be read, so that `check` can
    report the cell. Training on the frame gives the same bundle as training on the source.

    Args:
        source: A CSV or Parquet file, a folder, a glob, a database URL, or a data frame.
        schema: As for `train`.
        frame: "polars" or "pandas". Default: the library of `source`, and Polars for a location.

    Returns:
        The frame.

    Raises:
        DataError: The source can't be read, is empty, or lacks a column.
        UsageError: An argument is invalid.

    Example:
        >>> preptime.read_orders(orders.select(pl.all().cast(pl.String))).schema["order_acknowledged_at"]
        Datetime(time_unit='us', time_zone='UTC')
    """
    kind = _kind(source, frame)
    dataset = Dataset.from_inputs(source, None, schema)
    opened = dataset.open_orders()
    rows = opened.frame().drop(READER_COLUMNS, strict=False)
    return _typed(source, rows, list(_order_columns(rows, opened.schema)), kind)


@python_errors()
def read_restaurants(source: RowsInput, schema: SchemaInput = None, *, frame: FrameKind | None = None) -> Any:
    """Read restaurants into a data frame.

    Args:
        source: A CSV or Parquet file, a folder, a glob, a database URL, or a data frame.
        schema: As for `train`.
        frame: As for `read_orders`.

    Returns:
        The frame.

    Raises:
        DataError: The source can't be read, is empty, or lacks a column.
        UsageError: An argument is invalid.

    Example:
        >>> preptime.read_restaurants(restaurants).columns
        ['restaurant_id', 'country', 'city', 'type_of_food']
    """
    kind = _kind(source, frame)
    opened = Dataset.from_inputs("", source, schema).open_restaurants()
    rows = opened.frame().drop(READER_COLUMNS, strict=False)
    id_column = opened.schema.restaurant_column("restaurant_id")
    require_columns(rows.columns, {"restaurant_id": id_column}, opened.name)
    return _typed(source, rows, [_plain_integers(rows[id_column])], kind)


@python_errors()
def read_schema(path: str | os.PathLike[str] | None = None) -> Schema:
    """Read the schema that describes a company's files (docs/schema.md).

    Args:
        path: A TOML file. Default: `PREPTIME_SCHEMA`, or `schema.toml` in the working directory, or the built-in
            schema.

    Returns:
        The schema.

    Raises:
        UsageError: The file can't be used. The error names the line.

    Example:
        >>> preptime.read_schema().orders["order_value"].column
        'order_value_gbp'
    """
    return find_schema_of(path)[0]


class SyntheticOrders(NamedTuple):
    """Synthetic data as frames."""

    orders: Any
    restaurants: Any
    truth: Any
    """The true p10, p50, p80, and p90 of each order, in seconds. Row i belongs to order i."""


@python_errors()
def synthesize(
    orders: int = DEFAULT_PLAN.orders,
    *,
    restaurants: int | None = None,
    days: int = DEFAULT_PLAN.days,
    start: dt.date | str = DEFAULT_PLAN.start,
    seed: int = DEFAULT_PLAN.seed,
    drift: str | None = None,
    out: str | os.PathLike[str] | None = None,
    file_format: Literal["csv", "parquet"] = "csv",
    frame: FrameKind = "polars",
) -> SyntheticOrders:
    """Return synthetic orders and restaurants with known truth, and write them to files on request.

    Args:
        orders: Number of orders.
        restaurants: Number of restaurants. Default: depends on the number of orders.
        days: Number of days.
        start: The first day.
        seed: The same seed gives the same orders.
        drift: A change of preparation times in a city from a day on, such as "London:20:+15%".
        out: A folder. The frames are also written there.
        file_format: The format of the files: "csv" or "parquet".
        frame: "polars" or "pandas".

    Returns:
        Three frames: `orders, restaurants, truth = preptime.synthesize()`.

    Raises:
        UsageError: An argument is invalid.

    Example:
        >>> synthetic = preptime.synthesize(500, days=3)
        >>> synthetic.orders.shape, synthetic.truth.height
        ((500, 7), 500)
    """
    check_frame_kind(frame)
    check_choice("file_format", file_format, ("csv", "parquet"))
    check_location("out", out)
    check_type("drift", drift, (str, type(None)), "text")
    plan = SynthesisPlan(
        orders=to_whole_number("orders", orders),
        restaurants=None if restaurants is None else to_whole_number("restaurants", restaurants),
        days=to_whole_number("days", days),
        start=to_date(start, "start"),
        seed=to_whole_number("seed", seed, 0),
        drift=None if drift is None else Drift.parse(drift),
    )
    frames = synthesize_frames(plan)
    if out is not None:
        write_frames(frames, Path(out), file_format)
    return SyntheticOrders(*(from_polars(table, frame) for table in frames))


def _kind(source: RowsInput, frame: FrameKind | None) -> FrameKind:
    """Return the library of the result. Raises `UsageError` if it isn't known."""
    kind = "polars" if is_location(source) else require_kind(source, "the rows")
    if frame is not None:
        check_frame_kind(frame)
    return frame or kind


def _typed(source: RowsInput, rows: pl.DataFrame, columns: list[pl.Series], kind: FrameKind) -> Any:
    """Return the source as a frame with converted columns. A frame of the same library keeps its other columns."""
    if is_location(source) or require_kind(source, "the rows") != kind or isinstance(source, pl.LazyFrame):
        return from_polars(rows.with_columns(columns), kind)
    changed = [column for column in columns if column.dtype != rows[column.name].dtype]
    return with_columns(source, pl.DataFrame(changed)) if changed else source


def _order_columns(rows: pl.DataFrame, schema: Schema) -> Iterator[pl.Series]:
    """Yield the columns of the schema with their types."""
    for name, mapping in schema.orders.items():
        if mapping.column in rows.columns:
            column, cells = schema.column(name), rows[mapping.column]
            kind = column.declaration.data_type
            if kind == "timestamp":
                yield to_datetimes(cells, column.timestamp_format)
            elif kind == "text":
                yield _plain_integers(cells)
            elif kind in {"number", "integer"}:
                yield _numbers(cells, column.number_format, whole=kind == "integer")
    for feature in schema.order_features:
        if feature.column in rows.columns and feature.type == "number":
            yield _numbers(rows[feature.column], schema.number_format)


def _numbers(cells: pl.Series, number_format: NumberFormat, *, whole: bool = False) -> pl.Series:
    """Return text as numbers in the unit of the source, or unchanged if a cell can't be read."""
    if cells.dtype != pl.String:
        return cells
    unscaled = replace(number_format, multiplier=1, divisor=1)
    integers = parse_integers(cells, unscaled)
    parsed = integers if whole and not integers.invalid.any() else parse_floats(cells, unscaled)
    if parsed.invalid.any():
        return cells
    return pl.Series(cells.name, parsed.values).set(pl.Series(parsed.missing), None)


def _plain_integers(cells: pl.Series) -> pl.Series:
    """Return text as integers if they have the same text, so that `007` stays text."""
    if cells.dtype != pl.String:
        return cells
    integers = cells.cast(pl.Int64, strict=False)
    is_same = (integers.cast(pl.String) == cells) | cells.is_null()
    return integers if bool(np.all(is_same.fill_null(value=False).to_numpy())) else cells
