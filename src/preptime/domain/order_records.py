"""Orders in a caller's own types (dicts, objects, Series, and data frames) as records that JSON can represent.

A record has only the columns of the server's schema. Other columns can contain anything: they aren't converted.
pandas, Polars, and NumPy are recognized by their methods, so that nothing here imports them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from types import NoneType
from typing import Literal, NoReturn, Protocol, Self, runtime_checkable
from uuid import UUID

from preptime.errors import UsageError

Record = dict[str, object]

_JSON_TYPES = frozenset({NoneType, bool, int, str})
_MISSING_TYPES = frozenset({"NaTType", "NAType"})
_EXPECTED_ORDERS = "a dict, an object with the columns as attributes, a list of these, a Series, or a data frame"


@runtime_checkable
class PolarsFrame(Protocol):
    """A Polars data frame."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""

    def select(self, names: Sequence[str], /) -> Self:
        """Return these columns."""

    def to_dicts(self) -> list[dict[str, object]]:
        """Return the rows."""


@runtime_checkable
class LazyFrame(Protocol):
    """A Polars lazy frame, or another query that returns orders."""

    def collect(self) -> PolarsFrame:
        """Run the query and return the rows."""


class PandasIndex(Protocol):
    """The index of a pandas data frame."""

    @property
    def names(self) -> Iterable[object]:
        """The names of its levels."""


@runtime_checkable
class PandasFrame(Protocol):
    """A pandas data frame."""

    @property
    def columns(self) -> Iterable[object]:
        """The labels of the columns."""

    @property
    def index(self) -> PandasIndex:
        """The labels of the rows."""

    def reset_index(self, levels: list[str], /) -> Self:
        """Return the frame with these levels of its index as columns."""

    def __getitem__(self, names: list[str], /) -> Self:
        """Return these columns."""

    def to_dict(self, orient: Literal["records"], /) -> list[dict[str, object]]:
        """Return the rows, for "records"."""


@runtime_checkable
class PandasSeries(Protocol):
    """A row of a pandas data frame, or a Series of orders."""

    @property
    def index(self) -> Iterable[object]:
        """The labels of the values."""

    def to_dict(self) -> Mapping[object, object]:
        """Return the values by label."""


@runtime_checkable
class OrderObject(Protocol):
    """An object with the columns as attributes: a dataclass, a named tuple, or another model.

    The attributes have the names in the server's schema. Only the restaurant is always required.
    """

    @property
    def restaurant_id(self) -> object:
        """The restaurant. The other columns are optional attributes."""


@runtime_checkable
class NumpyScalar(Protocol):
    """A NumPy number."""

    def item(self) -> object:
        """Return it as a Python number."""


Orders = Mapping[str, object] | PolarsFrame | LazyFrame | PandasFrame | PandasSeries | OrderObject | Iterable[object]


@dataclass(frozen=True, slots=True)
class RequestColumns:
    """The columns of orders in the server's schema."""

    expected: dict[str, str]
    """The expected content of each column, for messages, by the company's name."""
    restaurant_id: str
    """The company's name of the restaurant's column."""
    objects: frozenset[str] = frozenset()
    """Columns whose values can also be dicts, of plain values, dicts, and lists."""

    def with_objects(self, expected: Mapping[str, str]) -> RequestColumns:
        """Return these columns and others, whose values can also be dicts. Columns of the schema stay."""
        added = frozenset(expected) - frozenset(self.expected)
        return replace(self, expected={**expected, **self.expected}, objects=added)

    @property
    def schema_names(self) -> list[str]:
        """The columns of the schema, for messages."""
        return [name for name in self.expected if name not in self.objects]


def order_records(orders: Orders, columns: RequestColumns) -> list[Record]:
    """Return one record per order, in order, with the columns of the server's schema.

    Missing values become None. A time becomes ISO text, with the UTC offset if it has one.

    Raises:
        UsageError: The orders have an unsupported type or only other columns, or a column has a value that can't be a
            number, a text, or a time. The error names the order and the column.
    """
    rows = list(_rows(orders, columns))
    records = [_record(order, row, columns) for row, order in enumerate(rows)]
    if rows and not any(records):
        _raise_other_columns(rows, columns)
    return records


def raise_unencodable_text(records: Sequence[Record]) -> NoReturn:
    """Raise `UsageError` for the first text that UTF-8 can't encode: one with half of a surrogate pair."""
    for row, record in enumerate(records):
        for name, value in record.items():
            if isinstance(value, str) and not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError as error:
                    facts = (
                        f"Column {name} of orders[{row}] has text that UTF-8 can't encode, at character {error.start}."
                    )
                    raise UsageError(facts, "Decode the source with its own encoding.") from error
    raise UsageError("The name of a model is text that UTF-8 can't encode.", "For the models, call Client.bundle().")


def _rows(orders: Orders, columns: RequestColumns) -> Iterable[object]:
    """Return the orders one by one, with only the columns of the schema if `orders` is a data frame."""
    is_named_tuple = columns.restaurant_id in getattr(orders, "_fields", ())
    if isinstance(orders, Mapping | list | tuple) and not is_named_tuple:
        return [orders] if isinstance(orders, Mapping) else orders
    if isinstance(orders, LazyFrame):
        orders = orders.collect()
    if isinstance(orders, PolarsFrame):
        return orders.select(_request_columns(orders.columns, columns)).to_dicts()
    if isinstance(orders, PandasFrame):
        labels = [*orders.columns]
        levels = [name for name in orders.index.names if isinstance(name, str) and name not in labels]
        levels = [name for name in levels if name in columns.expected]
        names = _request_columns([*labels, *levels], columns)
        return (orders.reset_index(levels) if levels else orders)[names].to_dict("records")
    if isinstance(orders, PandasSeries):
        values = orders.to_dict()
        return values.values() if columns.expected.keys().isdisjoint(values) else [values]
    if is_named_tuple or hasattr(orders, columns.restaurant_id):
        return [orders]
    if isinstance(orders, Iterable):
        return orders
    raise UsageError(
        f"The orders are of type {type(orders).__name__}; expected {_EXPECTED_ORDERS}.", "Convert them to a data frame."
    )


def _raise_other_columns(rows: Sequence[object], columns: RequestColumns) -> None:
    """Raise `UsageError` if orders without any column of the schema have other columns."""
    names = [str(name) for row in rows if isinstance(row, Mapping) for name in row]
    if names:
        expected = ", ".join(columns.schema_names)
        raise UsageError(
            f"The orders have none of the columns {expected}. They have {', '.join(names[:20])}.",
            "Rename them to these names, which are those of the server's schema.",
        )


def _request_columns(labels: Iterable[object], columns: RequestColumns) -> list[str]:
    names = [label for label in labels if isinstance(label, str) and label in columns.expected]
    if not names:
        raise UsageError(
            f"The data frame has none of the columns {', '.join(columns.schema_names)}.",
            "Rename its columns to these names, which are those of the server's schema.",
        )
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"The data frame has the column {repeated} more than once.", "Remove or rename one of them.")
    return names


def _record(order: object, row: int, columns: RequestColumns) -> Record:
    if isinstance(order, Mapping):
        values: Mapping[object, object] = order
    elif isinstance(order, PandasSeries):
        values = order.to_dict()
    else:
        values = {name: getattr(order, name) for name in columns.expected if hasattr(order, name)}
        if not values:
            raise UsageError(
                f"orders[{row}] is of type {type(order).__name__}; expected a dict, a Series, or an object with "
                f"attributes such as {columns.restaurant_id}.",
                f"The orders can be {_EXPECTED_ORDERS}.",
            )
    record: Record = {}
    for name, expected in columns.expected.items():
        if name in values:
            value = values[name]
            kind = type(value)
            is_plain = kind in _JSON_TYPES or (kind is float and math.isfinite(value))  # type: ignore[arg-type]
            described = f"Column {name} of orders[{row}]"
            if isinstance(value, Mapping) and name in columns.objects:
                record[name] = _json_object(value, described, expected)
            else:
                record[name] = value if is_plain else _json_value(value, described, expected)
    return record


def _json_object(value: object, name: str, expected: str) -> object:
    """Return a value of dicts and lists that JSON can represent. Raises `UsageError` if there isn't one."""
    if isinstance(value, Mapping):
        return {str(key): _json_object(part, name, expected) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_object(part, name, expected) for part in value]
    return _json_value(value, name, expected)


def _json_value(value: object, name: str, expected: str) -> object:
    """Return a value that JSON can represent. Raises `UsageError` if there isn't one."""
    kind = type(value).__name__
    if kind in _MISSING_TYPES:
        return None
    if isinstance(value, dt.date):  # includes `datetime`
        return value.isoformat()
    if not isinstance(value, float | str | int) and isinstance(value, NumpyScalar):
        value = _python_scalar(value)
    if isinstance(value, float | Decimal):
        return _json_number(value)
    if isinstance(value, int | NoneType):
        return value if value is None or isinstance(value, bool) else int(value)
    if isinstance(value, str | UUID):
        return str.__str__(value) if isinstance(value, str) else str(value)
    raise UsageError(
        f"{name} has a value of type {kind}; expected {expected}.",
        "Use a number, text, a timestamp, or None.",
    )


def _json_number(value: float | Decimal) -> float | Decimal | str | None:
    """Return a number. NaN is a missing value. Infinity becomes text, which the API reports as out of range."""
    if value.is_nan() if isinstance(value, Decimal) else math.isnan(value):
        return None
    if not math.isfinite(value):
        return str(float(value))
    return value if isinstance(value, Decimal) else float(value)


def _python_scalar(value: NumpyScalar) -> object:
    """Return a NumPy scalar as a Python value, and any other value unchanged."""
    kind = type(value).__name__
    if kind == "datetime64":  # `item` would return the nanoseconds of a local time
        text = str(value)
        return None if text == "NaT" else text
    if kind == "timedelta64" or getattr(value, "shape", ()) != ():
        return value
    return value.item()
