"""`schema.toml`: what is read, and the line of every error."""

from __future__ import annotations

from pathlib import Path

import pytest

from preptime.errors import UsageError
from preptime.schema.keys import EXAMPLE
from preptime.schema.schema import CustomFeature, OrderColumn
from preptime.schema.toml_file import parse_schema, read_schema

ORDERS = '[orders]\norder_acknowledged_at = "created_at"\nrestaurant_id = "store"\nprep_time = "seconds"\n'


def test_example_of_the_documentation_is_read() -> None:
    schema = parse_schema(EXAMPLE)
    assert schema.source.delimiter == ";"
    assert schema.target.event == "delivered"
    assert schema.orders["order_value"] == OrderColumn(column="subtotal", unit="cents", currency="USD")
    assert schema.restaurants.time_zone == "America/Los_Angeles"
    assert schema.features[1] == CustomFeature(
        name="driving", column="estimated_driving_duration", type="number", unit="s", range=(0.0, 7200.0)
    )
    assert [feature.type for feature in schema.features] == ["number", "number", "category"]


@pytest.mark.parametrize(
    ("added", "line", "message"),
    [
        ("city = \n", 5, "the TOML isn't valid: Invalid value"),
        ("city = ", 5, "the TOML isn't valid: Invalid value"),
        ('city = "a"\n[orders]\n', 6, "the TOML isn't valid"),
        ('citty = "a"\n', 5, "the key 'citty' in [orders] is unknown. Did you mean city?"),
        ('[orderz]\na = "b"\n', 5, "the key 'orderz' at the top level is unknown. Did you mean orders?"),
        ('city = "store"\n', 5, "the column 'store' already is restaurant_id"),
        ("city = 7\n", 5, "column is 7; expected text in quotation marks"),
        (
            'order_value = { column = "v", unit = "min" }\n',
            5,
            "the unit 'min' is unknown; expected units, cents, mills",
        ),
        ('order_value = { column = "v", currency = "pounds" }\n', 5, "'pounds' isn't an ISO 4217 code"),
        ('order_value = { column = "v", range = [5, 1] }\n', 5, "the range [5, 1] is empty"),
        (
            '[features]\na = { type = "number", range = [0, inf] }\n',
            6,
            "the range [0, inf] isn't within [-1e+12, 1e+12]",
        ),
        ('order_ready_at = { column = "r", format = "%d/%m/%Y" }\n', 5, "the format has no hour"),
        ('order_ready_at = { column = "r", time_zone = "Mars" }\n', 5, "The time zone 'Mars' is unknown"),
        ('[restaurants]\ncountry = "US"\n', 6, "The country 'US' is unknown or has several time zones"),
        ('[features]\nseconds = "number"\n', 6, "the column 'seconds' is known only after the order is ready"),
        ('[features]\ncity = "category"\n', 6, "city is the name of a canonical column or a base feature"),
        ('[features]\nlarge = "text"\n', 6, "the type is 'text'; expected number or category"),
        (
            '[features]\na = "number"\nb = { column = "a", type = "number" }\n',
            7,
            "the column 'a' already is the feature a",
        ),
        (
            '[features]\na = "number"\na_missing = "number"\n',
            7,
            "its column a_missing in the feature matrix is one of the",
        ),
        (
            '[features]\nrestaurant = "category"\n',
            6,
            "its column restaurant_mean_seconds in the feature matrix is one of",
        ),
        ('[ratios]\nr = ["a", "b"]\n', 6, "'a' isn't a number of [features], order_value, or number_of_items"),
        ('[ratios]\nr = ["order_value", "number_of_items"]\n', 6, "orders don't have the number order_value"),
        ('[features]\na = "number"\n[ratios]\nr = ["a", "a"]\n', 8, "both numbers are the same"),
        ('[features]\na = "number"\nb = "number"\n[ratios]\na_missing = ["a", "b"]\n', 9, "a_missing is a column of"),
        (
            '[features]\na = "number"\nb = { type = "number", of = "restaurant" }\n[ratios]\nr = ["a", "b"]\n',
            *(9, "orders don't have the number b"),
        ),
        ('[source]\ndecimal = ";"\n', 6, "the decimal mark is ';'"),
        ('[source]\nthousands = "1"\n', 6, "the mark for thousands is '1'"),
        ('[source]\ndecimal = ","\nthousands = ","\n', 7, "the decimal mark and the mark for thousands are the same"),
        ('[target]\nunit = "days"\n', 6, "the unit 'days' is unknown"),
    ],
)
def test_error_names_the_line(added: str, line: int, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_schema(ORDERS + added)
    assert str(raised.value).startswith(f"schema.toml, line {line}: ")
    assert message in str(raised.value)


def test_missing_key_names_its_section() -> None:
    with pytest.raises(UsageError) as raised:
        parse_schema('\n[orders]\nrestaurant_id = "store"\n')
    assert raised.value.facts == "schema.toml, line 2: the key order_acknowledged_at is missing."


def test_open_line_is_refused_with_its_readings() -> None:
    text = ORDERS.replace(
        'order_acknowledged_at = "created_at"', '#? order_acknowledged_at = "a"\n#? order_acknowledged_at = "b"'
    )
    with pytest.raises(UsageError) as raised:
        parse_schema(text)
    assert raised.value.facts == "schema.toml, line 2: order_acknowledged_at isn't decided."
    assert raised.value.hint.endswith('order_acknowledged_at = "a"; or: order_acknowledged_at = "b"')


def test_two_open_keys_are_refused_one_after_the_other() -> None:
    open_lines = '#? city = "a"\n#? city = "b"\n#? country = "c"\n#? country = "d"\n'
    with pytest.raises(UsageError) as raised:
        parse_schema(ORDERS + open_lines)
    assert raised.value.hint.endswith('one of: city = "a"; or: city = "b"')


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="preptime schema infer ORDERS --out"):
        read_schema(tmp_path / "schema.toml")


def test_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(ORDERS, encoding="utf-8-sig")
    assert read_schema(path) == parse_schema(ORDERS)
    path.write_bytes(ORDERS.encode("utf-16"))
    with pytest.raises(UsageError, match="isn't UTF-8"):
        read_schema(path)
