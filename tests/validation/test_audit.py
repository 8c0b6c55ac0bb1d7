from __future__ import annotations

from datetime import datetime

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, required_columns
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.domain.validation_reasons import Purpose, ValidationReason, reasons_in_mask
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.validation.audit import LABEL_COLUMNS, audit_orders, to_kitchen_events, to_order_columns
from preptime.validation.restaurants import read_restaurants
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

RESTAURANT_INDEX = make_restaurant_index()
FLAG_BIT = ValidationReason.BEFORE_OPENING.bit


def _reasons(**cells: str | None) -> tuple[ValidationReason, ...]:
    """Return the reasons of an order with these cells, which is audited together with a valid order."""
    frame = make_orders(
        make_order(), make_order(order_acknowledged_at="2015-06-01 19:00:00+01:00", order_ready_at=None) | cells
    )
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=True)
    assert reasons_in_mask(int(audited.reasons[0])) == ()
    return reasons_in_mask(int(audited.reasons[1]) & ~FLAG_BIT)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, ()),
        ({"order_acknowledged_at": "tomorrow"}, (ValidationReason.UNPARSABLE_TIME,)),
        ({"order_acknowledged_at": ""}, (ValidationReason.MISSING_VALUE,)),
        ({"order_ready_at": "tomorrow"}, (ValidationReason.UNPARSABLE_TIME,)),
        ({"order_value_gbp": "a lot"}, (ValidationReason.UNPARSABLE_NUMBER,)),
        ({"order_value_gbp": None}, (ValidationReason.MISSING_VALUE,)),
        ({"order_value_gbp": "NaN"}, (ValidationReason.MISSING_VALUE,)),
        ({"order_value_gbp": "-0.01"}, (ValidationReason.NEGATIVE_VALUE,)),
        ({"order_value_gbp": "inf"}, (ValidationReason.OUT_OF_RANGE,)),
        ({"order_value_gbp": "100000.01"}, (ValidationReason.OUT_OF_RANGE,)),
        ({"order_value_gbp": "0"}, ()),
        ({"number_of_items": "0"}, (ValidationReason.OUT_OF_RANGE,)),
        ({"number_of_items": "2.5"}, (ValidationReason.UNPARSABLE_NUMBER,)),
        ({"number_of_items": "-2"}, (ValidationReason.NEGATIVE_VALUE,)),
        ({"number_of_items": "2.0"}, ()),
        ({"restaurant_id": "11"}, (ValidationReason.UNKNOWN_RESTAURANT,)),
        ({"restaurant_id": "ten"}, (ValidationReason.UNKNOWN_RESTAURANT,)),
        ({"restaurant_id": "010"}, (ValidationReason.UNKNOWN_RESTAURANT,)),
        ({"restaurant_id": "x" * 201}, (ValidationReason.OUT_OF_RANGE,)),
        ({"restaurant_id": None}, (ValidationReason.MISSING_VALUE,)),
        ({"prep_time_seconds": None}, (ValidationReason.MISSING_VALUE,)),
        ({"prep_time_seconds": "-5"}, (ValidationReason.NEGATIVE_VALUE,)),
        ({"prep_time_seconds": "0"}, (ValidationReason.LABEL_ZERO,)),
        ({"prep_time_seconds": "59"}, (ValidationReason.LABEL_UNDER_A_MINUTE,)),
        ({"prep_time_seconds": "60"}, ()),
        ({"prep_time_seconds": "10800"}, ()),
        ({"prep_time_seconds": "10801"}, (ValidationReason.LABEL_OVER_CAP,)),
        (
            {"prep_time_seconds": "9000000000000000000"},
            (ValidationReason.OUT_OF_RANGE, ValidationReason.LABEL_OVER_CAP),
        ),
        ({"order_ready_at": "2015-06-01 19:10:00.9+01:00"}, ()),
        ({"order_ready_at": "2015-06-01 19:09:59+01:00"}, ()),
        ({"order_ready_at": "2015-06-01 19:10:02+01:00"}, (ValidationReason.LABEL_CONTRADICTS_TIMES,)),
        (
            {"order_ready_at": "2015-06-01 18:59:59+01:00", "prep_time_seconds": None},
            (ValidationReason.READY_BEFORE_ACKNOWLEDGED,),
        ),
        ({"order_value_gbp": "x", "number_of_items": "-1", "prep_time_seconds": "0"},
         (ValidationReason.UNPARSABLE_NUMBER, ValidationReason.NEGATIVE_VALUE, ValidationReason.LABEL_ZERO)),
    ],
)  # fmt: skip
def test_audit_orders_error_has_its_reason(
    cells: dict[str, str | None], expected: tuple[ValidationReason, ...]
) -> None:
    assert _reasons(**cells) == expected


def test_audit_orders_keeps_every_row_in_position() -> None:
    frame = make_orders(
        make_order(restaurant_id=" "),
        make_order(),
        make_order(order_acknowledged_at=None),
        make_order(restaurant_id="99"),
    )
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=True)
    assert audited.frame["restaurant_id"].to_list() == [None, 10, 10, 99]
    assert audited.frame["acknowledged_local"].to_list()[2] is None
    assert audited.usable_for(Purpose.SCORING).tolist() == [False, True, False, True]


def test_audit_orders_label_is_given_or_computed() -> None:
    frame = make_orders(
        make_order(prep_time_seconds="601"), make_order(prep_time_seconds=None), make_order(order_ready_at=None)
    )
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=True).frame
    assert audited["prep_time_seconds"].to_list() == [601, 600, 600]
    assert audited["ready_local"].to_list() == [
        datetime(2015, 6, 1, 19, 10, 0, 750_000),
        datetime(2015, 6, 1, 19, 10, 0, 750_000),
        datetime(2015, 6, 1, 19, 10, 0, 250_000),
    ]


@pytest.mark.parametrize("dropped", ["order_ready_at", "prep_time_seconds"])
def test_audit_orders_one_label_column_is_enough(dropped: str) -> None:
    audited = audit_orders(make_orders(make_order()).drop(dropped), RESTAURANT_INDEX, need_label=True)
    assert audited.frame["prep_time_seconds"].to_list() == [600]
    assert audited.reasons.tolist() == [0]


def test_audit_orders_schema_without_label_names_the_keys() -> None:
    """Such a schema describes new orders."""
    mapped = {name: column for name, column in TAKE_HOME_SCHEMA.orders.items() if name not in LABEL_COLUMNS}
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, orders=mapped)
    orders = make_orders(make_order())
    with pytest.raises(DataError, match="The schema has no column with the label of an order") as error:
        audit_orders(orders, RESTAURANT_INDEX, need_label=True, schema=schema)
    assert error.value.hint == "Add order_ready_at or prep_time to [orders] in schema.toml."
    assert len(audit_orders(orders, RESTAURANT_INDEX, need_label=False, schema=schema).frame) == 1


def test_audit_orders_label_across_clock_change() -> None:
    row = make_order(
        order_acknowledged_at="2015-10-25T00:50:00Z", order_ready_at="2015-10-25T01:10:00Z", prep_time_seconds=None
    )
    audited = audit_orders(make_orders(row), RESTAURANT_INDEX, need_label=True).frame
    assert audited["prep_time_seconds"].to_list() == [1200]
    assert audited["acknowledged_local"].to_list() == [datetime(2015, 10, 25, 1, 50)]
    assert audited["ready_local"].to_list() == [datetime(2015, 10, 25, 1, 10)]


@pytest.mark.parametrize(
    ("acknowledged", "ready", "local"),
    [
        ("2015-10-25T00:50:00Z", "2015-10-25T01:10:00Z", datetime(2015, 10, 25, 1, 10)),  # 01:00 occurs twice
        ("2015-03-29T00:50:00Z", "2015-03-29T01:10:00Z", datetime(2015, 3, 29, 2, 10)),  # 01:00 is skipped
    ],
)
def test_audit_orders_durations_across_clock_changes(acknowledged: str, ready: str, local: datetime) -> None:
    """A label as a duration has the ready time of the same label as a time."""
    both = make_order(order_acknowledged_at=acknowledged, order_ready_at=ready, prep_time_seconds="1200")
    frames = [
        audit_orders(make_orders(row), RESTAURANT_INDEX, need_label=True).frame.select("ready_local", "ready_utc")
        for row in ({**both, "order_ready_at": None}, {**both, "prep_time_seconds": None})
    ]
    assert frames[0].equals(frames[1])
    assert frames[0].row(0) == (local, datetime.fromisoformat(ready).replace(tzinfo=None))


def test_kitchens_of_audited_orders_in_a_repeated_hour() -> None:
    """In Cairo, 24:00 is 23:00 again on October 26, 2023. The first two orders are open when the others are new."""
    restaurants = read_restaurants(
        pl.DataFrame({"restaurant_id": [1], "country": ["Egypt"], "city": ["Cairo"], "type_of_food": ["thai"]})
    )
    times = ("20:50", "21:10"), ("20:55", "21:20"), ("21:05", "21:30")
    rows = [
        make_order(
            restaurant_id="1",
            order_acknowledged_at=f"2023-10-26T{acknowledged}:00Z",
            order_ready_at=f"2023-10-26T{ready}:00Z",
            prep_time_seconds=None,
        )
        for acknowledged, ready in times
    ]
    audited = audit_orders(make_orders(*rows), restaurants, need_label=True)
    assert audited.frame["acknowledged_local"].dt.hour().to_list() == [23, 23, 23]
    states = to_kitchen_events(audited).replay(to_order_columns(audited.frame, restaurants))
    assert states.open_orders.tolist() == [0, 1, 2]
    assert states.recent_orders.tolist() == [0, 0, 0]


def test_audit_orders_without_label_column_raises() -> None:
    frame = make_orders(make_order()).drop("order_ready_at", "prep_time_seconds")
    with pytest.raises(DataError, match=r"neither order_ready_at nor prep_time_seconds"):
        audit_orders(frame, RESTAURANT_INDEX, need_label=True)
    assert audit_orders(frame, RESTAURANT_INDEX, need_label=False).reasons.tolist() == [0]


@pytest.mark.parametrize("canonical_name", required_columns(ORDERS_DICTIONARY, "scoring"))
def test_audit_orders_missing_column_raises_with_closest(canonical_name: str) -> None:
    name = TAKE_HOME_SCHEMA.orders[canonical_name].column
    with pytest.raises(DataError, match=f"{name}'? .*is missing .*'{name}s' is the closest"):
        audit_orders(make_orders(make_order()).rename({name: f"{name}s"}), RESTAURANT_INDEX, need_label=False)


def test_audit_orders_for_scoring_ignores_labels() -> None:
    frame = make_orders(make_order(order_ready_at="nonsense", prep_time_seconds="-1"))
    assert audit_orders(frame, RESTAURANT_INDEX, need_label=False).reasons.tolist() == [0]


def test_audit_orders_valid_category_takes_precedence() -> None:
    frame = make_orders(
        make_order(city="Leeds"),
        make_order(city="0"),
        make_order(city=""),
        make_order(city="Atlantis"),
        make_order(restaurant_id="99", city="1"),
    )
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=False).frame
    assert audited["city"].to_list() == [1, 0, 2, 2, 1]
    assert audited["country"].to_list() == [2, 2, 2, 2, UNKNOWN_CODE]
    assert audited["type_of_food"].to_list() == [1, 1, 1, 1, UNKNOWN_CODE]


def test_audit_orders_instants_become_local_time() -> None:
    timestamp = "2015-06-01T18:00:00Z"
    frame = make_orders(
        make_order(order_acknowledged_at=timestamp),
        make_order(order_acknowledged_at=timestamp, restaurant_id="30"),
        make_order(order_acknowledged_at=timestamp, restaurant_id="99"),
        make_order(order_acknowledged_at=timestamp, restaurant_id="99", country="Japan"),
    )
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=False).frame
    # An unknown restaurant is in the most common time zone, unless its order has a country.
    assert audited["acknowledged_local"].dt.hour().to_list() == [19, 20, 19, 3]
    assert audited["acknowledged_utc"].n_unique() == 1


def test_audit_orders_second_equal_order_is_duplicate() -> None:
    order, other = make_order(), make_order(order_value_gbp="3")
    audited = audit_orders(
        make_orders(order, other, order, other | {"restaurant_id": None}), RESTAURANT_INDEX, need_label=True
    )
    bit = np.uint32(ValidationReason.DUPLICATE.bit)
    assert (audited.reasons & bit > 0).tolist() == [False, False, True, False]


def test_audit_orders_duplicates_by_order_id() -> None:
    frame = make_orders(
        make_order(order_id="a"),
        make_order(order_id="b"),
        make_order(order_id="a", order_value_gbp="1"),
        make_order(order_id=" "),
        make_order(order_id=" "),
    )
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=True)
    assert (audited.reasons & np.uint32(ValidationReason.DUPLICATE.bit) > 0).tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert audited.frame["order_id"].to_list() == ["a", "b", "a", " ", " "]


def test_audit_orders_row_without_time_is_not_compared() -> None:
    """It's never a duplicate, and a later row never is one because of it."""
    undated, dated = make_order(order_id="a", order_acknowledged_at="soon"), make_order(order_id="a")
    frame = make_orders(undated, undated, dated, undated, dated | {"order_acknowledged_at": None}, dated)
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=True)
    is_duplicate = (audited.reasons & np.uint32(ValidationReason.DUPLICATE.bit)) > 0
    assert is_duplicate.tolist() == [False, False, False, False, False, True]


def test_audit_orders_open_orders_is_optional() -> None:
    frame = make_orders(make_order(open_orders="3"), make_order(open_orders=""), make_order(open_orders="-1"))
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=False)
    assert audited.frame["open_orders"].to_list() == [3, None, -1]
    assert [reasons_in_mask(int(bits)) for bits in audited.reasons] == [(), (), (ValidationReason.NEGATIVE_VALUE,)]


def test_audit_orders_before_opening_is_only_a_flag() -> None:
    frame = make_month()
    early = frame[:1].with_columns(
        order_acknowledged_at=pl.lit(datetime(2015, 6, 10, 9)).cast(pl.Datetime("us")),
        order_ready_at=pl.lit(datetime(2015, 6, 10, 11)).cast(pl.Datetime("us")),
        prep_time_seconds=pl.lit(7200, pl.Int64),
    )
    audited = audit_orders(pl.concat([frame, early]), RESTAURANT_INDEX, need_label=True)
    flagged = audited.reasons & np.uint32(ValidationReason.BEFORE_OPENING.bit) > 0
    assert flagged[-1]
    assert flagged.mean() < 0.03
    assert all(audited.usable_for(purpose)[-1] for purpose in Purpose)


def test_audit_orders_given_opening_times_are_used() -> None:
    # Seconds since 05:00. All restaurants open at 20:00, except the last, whose opening time is unknown.
    opening_times = np.array([54_000.0, 54_000.0, 54_000.0, np.nan])
    frame = make_orders(make_order(), make_order(restaurant_id="40"), make_order(restaurant_id="99"))
    audited = audit_orders(frame, RESTAURANT_INDEX, need_label=True, opening_times=opening_times)
    assert (audited.reasons & np.uint32(FLAG_BIT) > 0).tolist() == [True, False, False]


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_audit_orders_text_equals_typed_in_any_order(order: list[int]) -> None:
    typed = make_month(days=1, per_day=6)[:6].with_columns(pl.col("prep_time_seconds").cast(pl.Int64))[order]
    text = typed.with_columns(
        pl.col("order_acknowledged_at", "order_ready_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    ).cast(pl.String)
    audited_typed = audit_orders(typed, RESTAURANT_INDEX, need_label=True)
    audited_text = audit_orders(text, RESTAURANT_INDEX, need_label=True)
    assert audited_typed.frame.equals(audited_text.frame)


def test_to_order_columns_unusable_cells_have_fill_values() -> None:
    frame = make_orders(
        make_order(), make_order(order_acknowledged_at="?", order_value_gbp="?", number_of_items="?", restaurant_id="")
    )
    columns = to_order_columns(audit_orders(frame, RESTAURANT_INDEX, need_label=False).frame, RESTAURANT_INDEX)
    assert columns.acknowledged_at.tolist() == [1433185200, 0]
    assert columns.restaurant_id.tolist() == [10, UNKNOWN_RESTAURANT_KEY]
    assert columns.order_value.tolist() == [21.4, 0]
    assert columns.number_of_items.tolist() == [3, 0]
    assert columns.city.tolist() == [2, UNKNOWN_CODE]
    assert [column.dtype for column in (columns.country, columns.city, columns.type_of_food)] == [np.int32] * 3


def test_audit_orders_without_rows_succeeds() -> None:
    audited = audit_orders(make_orders(make_order())[:0], RESTAURANT_INDEX, need_label=True)
    assert len(audited) == 0
    assert len(to_order_columns(audited.frame, RESTAURANT_INDEX)) == 0
