"""`schema.toml`: what is read, and the line of every error."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.errors import UsageError
from preptime.schema.keys import EXAMPLE
from preptime.schema.schema import (
    TAKE_HOME_SCHEMA,
    CustomFeature,
    ModelSettings,
    OrderColumn,
    Ratio,
    RestaurantColumns,
    SourceDialect,
    Target,
)
from preptime.schema.toml_file import parse_schema, read_schema
from preptime.schema.toml_text import schema_to_toml

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


MODELS = """
[models]
mine = "my_models.py:Mine"
stacking = { alpha = 1 }

[models.other]
class = "lib/other.py:Other"
rate = 0.5
name_of_loss = "huber"
"""


def test_models_are_read_with_class_and_hyperparameters() -> None:
    models = parse_schema(ORDERS + MODELS, "conf/schema.toml").models
    origin = "conf/schema.toml"
    assert models == {
        "mine": ModelSettings("my_models.py:Mine", {}, origin),
        "stacking": ModelSettings("", {"alpha": 1}, origin),
        "other": ModelSettings("lib/other.py:Other", {"rate": 0.5, "name_of_loss": "huber"}, origin),
    }


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("# nothing\n", {}),
        (
            '[restaurants]\ntime_zone = "Europe/London"\n',
            {"restaurants": RestaurantColumns(time_zone="Europe/London")},
        ),
        ('[source]\ndecimal = ","\n', {"source": SourceDialect(decimal=",")}),
        ('[target]\nunit = "s"\n', {"target": Target(unit="s")}),
        ('[features]\nrain = "number"\n', {"features": (CustomFeature(name="rain", column="rain", type="number"),)}),
        (
            '[ratios]\nitem_value = ["order_value", "number_of_items"]\n',
            {"ratios": (Ratio(name="item_value", dividend="order_value", divisor="number_of_items"),)},
        ),
    ],
)
def test_schema_without_orders_has_the_built_in_columns(text: str, changes: dict[str, object]) -> None:
    schema = parse_schema(text)
    assert schema == msgspec.structs.replace(TAKE_HOME_SCHEMA, **changes)
    assert parse_schema(schema_to_toml(schema)) == schema


def test_empty_section_orders_is_refused() -> None:
    with pytest.raises(UsageError, match="line 1: the key order_acknowledged_at is missing"):
        parse_schema("[orders]\n")


def test_models_alone_keep_the_built_in_columns() -> None:
    schema = parse_schema(MODELS)
    assert schema.orders == TAKE_HOME_SCHEMA.orders
    assert schema.models.keys() == {"mine", "stacking", "other"}


def test_models_do_not_count_when_schemas_are_compared() -> None:
    with_models, other = parse_schema(ORDERS + MODELS), parse_schema(ORDERS)
    assert with_models == other
    assert with_models.without_models().models == {}
    assert not with_models.canonical().models
    assert with_models != parse_schema(ORDERS + '[target]\nunit = "s"\n')
    assert parse_schema(schema_to_toml(with_models)).models.keys() == with_models.models.keys()


@pytest.mark.parametrize(
    ("models", "line", "message"),
    [
        ("qantile = { depth = 5 }", 2, "the key 'qantile' in [models] is unknown. Did you mean quantile?"),
        ("[models.quantile]\ndpth = 5", 3, "the key 'dpth' in [models.quantile] is unknown. Did you mean depth?"),
        ("[models.quantile]\n\ndepth = 5.5", 4, "depth is 5.5; expected a whole number such as 4. Write depth as"),
        ("[models.quantile]\ndepth = true", 3, "depth is True; expected a whole number such as 4"),
        ("[models.xgb]\nlearning_rate = nan", 3, "learning_rate is nan; expected a finite number"),
        ("[models.rf]\nmax_features = 3", 3, "max_features is 3; expected text such as 'log2'"),
        ('[models.a]\nclass = "a.py:A"\nx = [1]', 4, "x is [1]; expected text, a number, true, or false"),
        ('mine = "mine"', 2, "the class is 'mine'; expected a file and a class. Write it as \"my_models.py:MyModel\""),
        ("mine = 3", 2, "the class is 3; expected a file and a class"),
        ('rf = "a.py:A"', 2, "rf is a model of the catalogue, which a class can't replace"),
        ('Mine = "a.py:A"', 2, "'Mine' can't be the name of a model"),
        ('lookup = "a.py:A"', 2, "'lookup' can't be the name of a model"),
        ('restaurant_lookup = "a.py:A"', 2, "'restaurant_lookup' can't be the name of a model"),
        ('p90 = "a.py:A"', 2, "'p90' can't be the name of a model"),
        ('courier_wait = "a.py:A"', 2, "'courier_wait' can't be the name of a model"),
    ],
)
def test_error_in_models_names_the_line(models: str, line: int, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_schema(f"[models]\n{models}\n", "schema.toml")
    assert str(error.value).startswith(f"schema.toml, line {line}: {message}")


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
