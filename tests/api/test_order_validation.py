"""Orders in a request get the same validation reasons and columns as in the audit of a file."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from preptime.api.active_model import OrderLookup
from preptime.api.custom_features import category_text
from preptime.api.order_validation import OrderNotes, ParsedOrders, read_orders
from preptime.api.parsing import format_value
from preptime.api.request_types import RequestTypes
from preptime.api.schema import Order
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask, reasons_in_mask
from preptime.features.restaurant_index import RestaurantIndex
from preptime.validation.audit import AuditedOrders, audit_orders, to_order_columns
from preptime.validation.custom_features import category_values
from preptime.validation.row_checks import Finding
from tests.api.company import COMPANY_SCHEMA, company_history
from tests.api.factories import TAKE_HOME_TYPES
from tests.bundle.factories import some_history

RESTAURANTS = some_history().restaurants
LOOKUP = OrderLookup.from_restaurants(RESTAURANTS, TAKE_HOME_TYPES)
COMPANY_RESTAURANTS = company_history().restaurants
COMPANY_TYPES = RequestTypes.from_schema(COMPANY_SCHEMA)
COMPANY_LOOKUP = OrderLookup.from_restaurants(COMPANY_RESTAURANTS, COMPANY_TYPES)
VALID_ORDER: dict[str, object] = {
    "order_acknowledged_at": "2015-06-17 12:00:00",
    "order_value_gbp": "20",
    "restaurant_id": "10",
    "number_of_items": "3",
}

UNUSUAL_NUMBERS = (
    *("1e3", "1E+3", "1_000", "1,000", "+7", "007", ".5", "5.", ".", "-", "inf", "-inf", "Infinity", "1e400", "1e-400"),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "9007199254740993.0",
        "3.0",
        "3.5",
        " 4\t",
        "\uff11",
        "0x10",
        "-0.0",
    ),
    *("100000", "100000.01", "10000", "10001", "0", "-1", "\x003"),
)

missing = st.sampled_from(
    ["", " ", "NA", "nan", "NaN", "None", "null", "n/a", "<NA>", "NaT", "     nan ", "+nan", "-nan"]
)
numbers = st.one_of(
    st.integers(-5, 50).map(str),
    st.integers().map(str),
    st.floats(allow_nan=False, width=32).map(str),
    st.sampled_from(UNUSUAL_NUMBERS),
    missing,
    st.text(max_size=5),
)
times = st.one_of(
    st.datetimes().map(str),
    st.sampled_from(
        ["2015-06-17T12:00:00Z", "2015-06-17 12:00:00+02:00", "1434542400", "1434542400000", "12:00", "2015-06-17"]
    ),
    missing,
)
categories = st.one_of(
    st.sampled_from(
        ["UK", "France", "London", "Paris", "thai", "sushi", " thai ", "0", "1", "2", "2.0", "3", "-1", "Japan", "jp"]
    ),
    missing,
    st.text(max_size=3),
)
rows = st.fixed_dictionaries(
    {
        "order_acknowledged_at": times,
        "order_value_gbp": numbers,
        "restaurant_id": st.one_of(st.sampled_from(["10", "20", "30", "40"]), numbers),
        "number_of_items": numbers,
        "country": st.none() | categories,
        "city": st.none() | categories,
        "type_of_food": st.none() | categories,
        "open_orders": st.none() | numbers,
    }
)


def make_orders(order_rows: list[dict[str, object]], types: RequestTypes = TAKE_HOME_TYPES) -> list[Order]:
    """Return orders with any values, also those that JSON can't represent."""
    attributes = {field: attribute for attribute, field in types.field_names.items()}
    return [types.order(**{attributes[name]: value for name, value in row.items()}) for row in order_rows]


def assert_same_as_audit(
    order_rows: list[dict[str, object]],
    frame: pl.DataFrame,
    restaurants: RestaurantIndex = RESTAURANTS,
    types: RequestTypes = TAKE_HOME_TYPES,
    lookup: OrderLookup = LOOKUP,
) -> None:
    audited = audit_orders(frame, restaurants, need_label=False, schema=types.schema)
    parsed = read_orders(make_orders(order_rows, types), lookup)
    kept = audited.usable_for(Purpose.SCORING)
    differs = rows_with(audited, ValidationReason.RESTAURANT_DIFFERS)
    missing = rows_with(audited, ValidationReason.MISSING_FEATURE, ValidationReason.INVALID_FEATURE)
    for index in np.flatnonzero(kept).tolist():
        notes = parsed.notes.get(index, OrderNotes(restaurant_differs=False, missing_features=None))
        assert (notes.restaurant_differs, set(notes.missing_features or ())) == (bool(differs[index]), missing[index])
    assert sorted(parsed.invalid_orders) == np.flatnonzero(~kept).tolist()
    for index, invalid in parsed.invalid_orders.items():
        reasons = reasons_in_mask(int(audited.reasons[index]) & exclusion_mask(Purpose.SCORING))
        assert invalid.reason is reasons[0]
        column, expected = first_finding(audited.findings, invalid.reason, index)
        assert invalid.field == column
        assert invalid.message.endswith(f"expected {expected}.")
    assert_same_columns(parsed, audited.frame.filter(pl.Series(kept)), restaurants)


def rows_with(audited: AuditedOrders, *reasons: ValidationReason) -> dict[int, set[str]]:
    """Return the columns that have one of the reasons, by row."""
    columns = defaultdict[int, set[str]](set)
    for finding in audited.findings:
        if finding.reason in reasons:
            for row in finding.rows.tolist():
                columns[row].add(finding.column)
    return columns


def first_finding(findings: tuple[Finding, ...], reason: ValidationReason, index: int) -> tuple[str, str]:
    return next(
        (finding.column, finding.expected) for finding in findings if finding.reason is reason and index in finding.rows
    )


def assert_same_columns(parsed: ParsedOrders, frame: pl.DataFrame, restaurants: RestaurantIndex) -> None:
    # The times in UTC are compared below: requests need no replay of kitchens.
    expected = to_order_columns(frame.drop("acknowledged_utc"), restaurants)
    for name in expected.__slots__ if len(expected) else ():
        column, expected_column = getattr(parsed.columns, name), getattr(expected, name)
        if expected_column is None:
            assert column is None
        else:
            np.testing.assert_array_equal(column, expected_column, name, strict=True)
    timestamps = zip(
        *(frame[name].to_physical().to_list() for name in ("acknowledged_local", "acknowledged_utc")), strict=True
    )
    assert parsed.timestamps == list(timestamps)


@settings(max_examples=300, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8))
@example([VALID_ORDER | {"restaurant_id": "99", "country": "Japan", "order_acknowledged_at": "2015-06-17T12:00:00Z"}])
@example([VALID_ORDER | {"restaurant_id": "40", "country": "0", "order_acknowledged_at": "2015-06-17T12:00:00Z"}])
@example([VALID_ORDER | {"restaurant_id": "40", "country": "0.0", "order_acknowledged_at": "2015-06-17T12:00:00Z"}])
@example([VALID_ORDER | {"restaurant_id": "x", "order_value_gbp": "-3", "number_of_items": ""}])
def test_read_orders_text_matches_the_audit(order_rows: list[dict[str, object]]) -> None:
    assert_same_as_audit(order_rows, pl.DataFrame(order_rows, schema=dict.fromkeys(order_rows[0], pl.String)))


int64_numbers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)


@pytest.mark.parametrize("restaurant", [st.sampled_from([10, 20, 99]), int64_numbers, floats, st.booleans()])
@pytest.mark.parametrize("number", [st.integers(-2, 20_000), floats])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_read_orders_numbers_match_the_audit(
    restaurant: st.SearchStrategy[object], number: st.SearchStrategy[object], data: st.DataObject
) -> None:
    typed_rows = st.fixed_dictionaries(
        {
            "order_acknowledged_at": st.integers(1_400_000_000, 1_500_000_000),
            "order_value_gbp": number,
            "restaurant_id": restaurant,
            "number_of_items": number,
            "city": st.integers(-2, 4),
            "type_of_food": st.floats(-2, 5),
        }
    )
    order_rows = data.draw(st.lists(typed_rows, min_size=1, max_size=6))
    assert_same_as_audit(order_rows, pl.DataFrame(order_rows))


@pytest.mark.parametrize("cell", [[1], {"a": 1}, True, False])
@pytest.mark.parametrize("name", list(VALID_ORDER))
def test_read_orders_nested_or_boolean_value_is_unparsable(name: str, cell: object) -> None:
    (invalid,) = read_orders(make_orders([VALID_ORDER | {name: cell}]), LOOKUP).invalid_orders.values()
    is_time = name == "order_acknowledged_at"
    assert (invalid.reason, invalid.field) == (
        ValidationReason.UNPARSABLE_TIME if is_time else ValidationReason.UNPARSABLE_NUMBER,
        name,
    )


@pytest.mark.parametrize("cell", [[1], {"a": 1}, True, 1e308, 10**400, "", "unknown", float("inf")])
def test_read_orders_unknown_category_uses_the_restaurant(cell: object) -> None:
    parsed = read_orders(make_orders([VALID_ORDER | dict.fromkeys(("city", "country", "type_of_food"), cell)]), LOOKUP)
    default = read_orders(make_orders([VALID_ORDER]), LOOKUP)
    assert [getattr(parsed.columns, name)[0] for name in ("country", "city", "type_of_food")] == [
        getattr(default.columns, name)[0] for name in ("country", "city", "type_of_food")
    ]


def test_read_orders_huge_number_is_invalid() -> None:
    huge = 10**400
    for name, reason in (
        ("order_value_gbp", ValidationReason.OUT_OF_RANGE),
        ("number_of_items", ValidationReason.UNPARSABLE_NUMBER),
    ):
        (invalid,) = read_orders(make_orders([VALID_ORDER | {name: huge}]), LOOKUP).invalid_orders.values()
        assert (invalid.reason, invalid.field, invalid.value) == (reason, name, huge)
        assert len(invalid.message) < 250


company_numbers = st.one_of(
    st.sampled_from(["1.234,50", "12,5", "$ 3,00", "3", "1234", "5.", "1e3", "-7", "101", "-40,5", "7,0", "0,5"]),
    numbers,
)
company_categories = st.one_of(st.sampled_from(["card", " cash ", "3", "1.0", "rare", "Card", "NA", ""]), missing)
company_rows = st.fixed_dictionaries(
    {
        "created": st.one_of(
            st.datetimes().map(lambda time: time.strftime("%d/%m/%Y %I:%M %p")),
            st.sampled_from(["17/06/2015 12:30 PM", "06/17/2015 12:30 PM", "1434542400", "2015-06-17 12:00:00"]),
            missing,
        ),
        "store": st.sampled_from(["S-10", " S-10 ", "020", "20", "7.0", "7", "", "NA", "x" * 201]),
        "cents": company_numbers,
        "town": st.none() | categories,
        "temperature": company_numbers,
        "distance": company_numbers,
        "riders": company_numbers,
        "payment": company_categories,
        "channel": company_categories,
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(company_rows, min_size=1, max_size=8))
def test_read_orders_of_a_company_matches_the_audit(order_rows: list[dict[str, object]]) -> None:
    frame = pl.DataFrame(order_rows, schema=dict.fromkeys(order_rows[0], pl.String))
    assert_same_as_audit(order_rows, frame, COMPANY_RESTAURANTS, COMPANY_TYPES, COMPANY_LOOKUP)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", [st.integers(-(2**63), 2**63 - 1), floats, st.booleans(), st.sampled_from([3, 7])])
def test_read_orders_typed_custom_values_match_the_audit(kind: st.SearchStrategy[object], data: st.DataObject) -> None:
    typed_rows = st.fixed_dictionaries(
        {
            "created": st.integers(1_400_000_000, 1_500_000_000),
            "store": st.sampled_from([7, 20, 99]),
            "cents": st.integers(-5, 20_000_000),
            "temperature": kind,
            "distance": kind,
            "riders": st.integers(0, 50),
            "payment": kind,
            "channel": kind,
        }
    )
    order_rows = data.draw(st.lists(typed_rows, min_size=1, max_size=6))
    assert_same_as_audit(order_rows, pl.DataFrame(order_rows), COMPANY_RESTAURANTS, COMPANY_TYPES, COMPANY_LOOKUP)


@given(st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.text(max_size=250))
@example(0.00001)
@example(-1.5e-5)
@example(1e-7)
@example(1e16)
@example(" True ")
@example("FALSE")
@example("True" + " " * 200 + "x")
def test_category_text_equals_that_of_a_column(cell: object) -> None:
    assert category_text(cell) == category_values(pl.Series([cell])).item()


@given(
    st.recursive(
        st.none() | st.text() | st.floats() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_format_value_is_short_and_printable(value: object) -> None:
    assert len(format_value(value)) <= 700
    assert format_value(value).isprintable()


def test_read_orders_empty_list_returns_no_columns() -> None:
    assert len(read_orders([], LOOKUP).columns) == 0
