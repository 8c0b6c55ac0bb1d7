"""Orders of every supported type become the same records. Values that can't be sent are named."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from decimal import Decimal

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest

from preptime.client.protocol import default_columns
from preptime.domain.data_dictionary import OUTCOME_COLUMNS
from preptime.domain.order_records import Orders, RequestColumns, raise_unencodable_text
from preptime.domain.order_records import order_records as records_with_columns
from preptime.errors import UsageError
from tests.api.factories import TAKE_HOME_TYPES

RECORD: dict[str, object] = {
    "order_acknowledged_at": "2015-06-17T12:28:28+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 10,
    "number_of_items": 3,
    "order_id": "a",
}


@dataclass
class OrderData:
    """An order of a caller, with an attribute that the API doesn't read."""

    restaurant_id: int = 10
    number_of_items: int = 3
    basket: tuple[str, ...] = ("soup",)


class OrderStruct(msgspec.Struct):
    """The same as a msgspec struct."""

    restaurant_id: int = 10
    number_of_items: int = 3


OrderTuple = namedtuple("OrderTuple", ["restaurant_id", "number_of_items"])


class LazyMapping(Mapping[str, object]):
    """A mapping that isn't a dict, such as a row of a database driver."""

    def __getitem__(self, name: str) -> object:
        return RECORD[name]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(RECORD)

    def __len__(self) -> int:
        return len(RECORD)


class Size(enum.IntEnum):
    """A number with a name."""

    LARGE = 7


class City(enum.StrEnum):
    """Text with a name."""

    LONDON = "London"


COLUMNS = default_columns()


def order_records(orders: Orders) -> list[dict[str, object]]:
    """Return the records for a server with the default schema."""
    return records_with_columns(orders, COLUMNS)


def test_default_columns_are_the_fields_of_the_api() -> None:
    assert {field.name: field.expected for field in TAKE_HOME_TYPES.fields} == COLUMNS.expected
    assert COLUMNS.expected.keys().isdisjoint(OUTCOME_COLUMNS)


@pytest.mark.parametrize("restaurant", ["store", "items", "index", "count"])
def test_records_have_the_columns_of_a_company(restaurant: str) -> None:
    columns = RequestColumns({restaurant: "text", "wait": "a number"}, restaurant)
    order: dict[str, object] = {restaurant: "007", "extra": 1}
    orders: list[Orders] = [order, [order], (order,), pl.DataFrame([order]), pd.DataFrame([order]), pd.Series(order)]
    orders.append(make_dataclass("StoreOrder", order)(**order))
    assert [records_with_columns(value, columns) for value in orders] == [[{restaurant: "007"}]] * 7
    with pytest.raises(UsageError, match=rf"none of the columns {restaurant}, wait\. They have total, tip\."):
        records_with_columns([{"total": 1, "tip": 2}], columns)
    with pytest.raises(UsageError, match=r"Column wait of orders\[0\] has a value of type list; expected a number\."):
        records_with_columns({"wait": []}, columns)


@pytest.mark.parametrize(
    "orders",
    [
        RECORD,
        [RECORD],
        (RECORD,),
        LazyMapping(),
        pd.Series(RECORD),
        [pd.Series(RECORD)],
        pd.Series([RECORD]),
        pd.DataFrame([RECORD]),
        pd.DataFrame([RECORD]).assign(items=pd.Series([[1, 2]]), extra=pd.Series([{1}])),
        pd.DataFrame([RECORD]).set_index("order_acknowledged_at"),
        pd.DataFrame([RECORD]).assign(extra=1).set_index(["restaurant_id", "extra", "order_id"]),
        pd.DataFrame([RECORD]).set_index("order_id", drop=False),
        pd.DataFrame([RECORD]).set_index([*RECORD]),
        pl.DataFrame([RECORD]),
        pl.DataFrame([RECORD]).with_columns(items=pl.lit([1, 2]), row=pl.struct("restaurant_id")),
        pl.Series([RECORD]),
        pl.LazyFrame([RECORD]),
        RECORD | {"unknown": {1, 2}, "order_ready_at": object(), "prep_time_seconds": [5]},
    ],
)
def test_every_type_of_orders_has_the_same_record(orders: Orders) -> None:
    assert order_records(orders) == [RECORD]


@pytest.mark.parametrize("order", [OrderData(), OrderStruct(), OrderTuple(10, 3)])
def test_object_attributes_are_columns(order: object) -> None:
    expected = {"restaurant_id": 10, "number_of_items": 3}
    assert order_records(order) == order_records([order]) == [expected]  # type: ignore[arg-type]


def test_generator_of_orders_is_read_once() -> None:
    assert order_records(RECORD | {"restaurant_id": number} for number in (1, 2)) == [
        RECORD | {"restaurant_id": 1},
        RECORD | {"restaurant_id": 2},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (math.nan, None),
        (np.float64("nan"), None),
        (Decimal("NaN"), None),
        (pd.NaT, None),
        (pd.NA, None),
        (np.datetime64("NaT", "s"), None),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (Decimal("Infinity"), "inf"),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.array(7), 7),
        (np.str_("text"), "text"),
        (np.bool_(True), True),
        (Size.LARGE, 7),
        (City.LONDON, "London"),
        (Decimal("21.40"), Decimal("21.40")),
        (10**30, 10**30),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (dt.date(2015, 6, 17), "2015-06-17"),
        (dt.datetime(2015, 6, 17, 12), "2015-06-17T12:00:00"),
        (dt.datetime(2015, 6, 17, 12, tzinfo=dt.UTC), "2015-06-17T12:00:00+00:00"),
        (pd.Timestamp("2015-06-17 12:00", tz="Europe/London"), "2015-06-17T12:00:00+01:00"),
        (np.datetime64("2015-06-17T12:00:00", "ns"), "2015-06-17T12:00:00.000000000"),
    ],
)
def test_value_has_its_json_form(value: object, expected: object) -> None:
    (record,) = order_records([{"order_id": value}])
    assert record == {"order_id": expected}
    assert type(record["order_id"]) is type(expected)
    msgspec.json.encode(record)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        (1,),
        {1, 2},
        {"a": 1},
        np.array([1, 2]),
        np.array([1]),
        pd.Series([1]),
        pl.Series([1, 2]),
        b"text",
        np.bytes_(b"text"),
        object(),
        1j,
        dt.timedelta(minutes=5),
        np.timedelta64(5, "ns"),
        dt.time(12),
    ],
)
def test_unusable_value_names_order_column_and_expectation(value: object) -> None:
    with pytest.raises(UsageError) as refused:
        order_records([RECORD, RECORD | {"number_of_items": value}])
    assert str(refused.value) == (
        f"Column number_of_items of orders[1] has a value of type {type(value).__name__}; expected a whole number "
        "from 1 to 10,000. Use a number, text, a timestamp, or None."
    )


def test_unusable_value_in_a_frame_names_order_and_column() -> None:
    frame = pd.DataFrame([RECORD] * 3)
    frame["city"] = pd.Series(["London", None, ["London"]])
    with pytest.raises(UsageError, match=r"Column city of orders\[2\] has a value of type list"):
        order_records(frame)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        (5, "The orders are of type int; expected a dict"),
        ("abc", r"orders\[0\] is of type str"),
        ([RECORD, 5], r"orders\[1\] is of type int"),
        ([(1, 2)], r"orders\[0\] is of type tuple"),
        (pd.DataFrame({"store": [1]}), "none of the columns order_acknowledged_at"),
        (pl.DataFrame({"store": [1]}), "none of the columns order_acknowledged_at"),
        (pd.DataFrame([[1, 2]], columns=["city", "city"]), "the column city more than once"),
        (pd.Series({"store": 1}), r"orders\[0\] is of type int"),
    ],
)
def test_unsupported_orders_name_their_type(orders: Orders, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        order_records(orders)


def test_text_without_utf8_form_names_order_and_column() -> None:
    with pytest.raises(UsageError, match=r"Column city of orders\[1\] .* at character 2"):
        raise_unencodable_text([{"city": "é"}, {"city": "ab\ud800"}])
    with pytest.raises(UsageError, match="The name of a model"):
        raise_unencodable_text([{"city": "é"}])
