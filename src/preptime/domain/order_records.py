"""Orders in a caller's own types (dicts, objects, Series, and data frames) as records that JSON can represent.

A record has only the columns that a prediction can read. Other columns can contain anything: they aren't converted.
pandas, Polars, and NumPy are recognized by their methods, so that nothing here imports them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import NoneType
from typing import Literal, NoReturn, Protocol, Self, runtime_checkable
from uuid import UUID

from preptime.domain.data_dictionary import REQUEST_COLUMNS, order_column
from preptime.errors import UsageError

Record = dict[str, object]

_JSON_TYPES = frozenset({NoneType, bool, int, str})
_MISSING_TYPES = frozenset({"NaTType", "NAType"})
_REQUEST_COLUMN_SET = frozenset(REQUEST_COLUMNS)
_EXPECTED_ORDERS = "a dict, an object with attributes such as restaurant_id, a list of these, a Series, or a data frame"


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


@runtime_checkable
class PandasFrame(Protocol):
    """A pandas data frame."""

    @property
    def columns(self) -> Iterable[object]:
        """The labels of the columns."""

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
    """An object with the columns as attributes: a dataclass, a named tuple, or another model."""

    @property
    def restaurant_id(self) -> object:
        """The restaurant. The other columns are optional attributes."""


@runtime_checkable
class NumpyScalar(Protocol):
    """A NumPy number."""

    def item(self) -> object:
        """Return it as a Python number."""


Orders = Mapping[str, object] | PolarsFrame | LazyFrame | PandasFrame | PandasSeries | OrderObject | Iterable[object]


def order_records(orders: Orders) -> list[Record]:
    """Return one record per order, in order, with the columns that a prediction can read.

    Missing values become None. A time becomes ISO text, with the UTC offset if it has one.

    Raises:
        UsageError: The orders have an unsupported type, or a column has a value that can't be a number, a text, or a
            time. The error names the order and the column.
    """
    return [_record(order, row) for row, order in enumerate(_rows(orders))]


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


def _rows(orders: Orders) -> Iterable[object]:
    """Return the orders one by one, with only the columns that a prediction can read if `orders` is a data frame."""
    if isinstance(orders, Mapping | list | tuple) and not isinstance(orders, OrderObject):
        return [orders] if isinstance(orders, Mapping) else orders
    if isinstance(orders, LazyFrame):
        orders = orders.collect()
    if isinstance(orders, PolarsFrame):
        return orders.select(_request_columns(orders.columns)).to_dicts()
    if isinstance(orders, PandasFrame):
        return orders[_request_columns(orders.columns)].to_dict("records")
    if isinstance(orders, PandasSeries):
        values = orders.to_dict()
        return values.values() if _REQUEST_COLUMN_SET.isdisjoint(values) else [values]
    if isinstance(orders, OrderObject):
        return [orders]
    if isinstance(orders, Iterable):
        return orders
    raise UsageError(
        f"The orders are of type {type(orders).__name__}; expected {_EXPECTED_ORDERS}.", "Convert them to a data frame."
    )


def _request_columns(labels: Iterable[object]) -> list[str]:
    names = [label for label in labels if isinstance(label, str) and label in _REQUEST_COLUMN_SET]
    if not names:
        raise UsageError(
            f"The data frame has none of the columns {', '.join(REQUEST_COLUMNS)}.",
            "Rename its columns to these names.",
        )
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"The data frame has the column {repeated} more than once.", "Remove or rename one of them.")
    return names


def _record(order: object, row: int) -> Record:
    if isinstance(order, Mapping):
        values: Mapping[object, object] = order
    elif isinstance(order, PandasSeries):
        values = order.to_dict()
    else:
        values = {name: getattr(order, name) for name in REQUEST_COLUMNS if hasattr(order, name)}
        if not values:
            raise UsageError(
                f"orders[{row}] is of type {type(order).__name__}; expected a dict, a Series, or an object with "
                "attributes such as restaurant_id.",
                f"The orders can be {_EXPECTED_ORDERS}.",
            )
    record: Record = {}
    for name in REQUEST_COLUMNS:
        if name in values:
            value = values[name]
            kind = type(value)
            is_plain = kind in _JSON_TYPES or (kind is float and math.isfinite(value))  # type: ignore[arg-type]
            record[name] = value if is_plain else _json_value(value, name, row)
    return record


def _json_value(value: object, name: str, row: int) -> object:
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
        f"Column {name} of orders[{row}] has a value of type {kind}; expected {order_column(name).expected_text}.",
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
