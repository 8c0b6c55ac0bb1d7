"""Schemas as TOML: every schema is the same after writing and reading it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.data_dictionary import TARGET
from preptime.schema.keys import COLUMN_OPTIONS
from preptime.schema.schema import (
    DURATION_UNITS,
    MONEY_UNITS,
    ORDER_NAMES,
    PREP_TIME,
    TAKE_HOME_SCHEMA,
    CustomFeature,
    OrderColumn,
    Ratio,
    RestaurantColumns,
    Schema,
    SourceDialect,
    Target,
)
from preptime.schema.toml_file import parse_schema
from preptime.schema.toml_text import ProposedLine, proposal_to_toml, schema_to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
RANGES = st.none() | st.tuples(st.floats(-5e11, 5e11), st.floats(min_value=1e-9, max_value=5e11)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
).filter(lambda pair: pair[0] < pair[1])
ZONES = st.sampled_from(["", "UTC", "America/Los_Angeles"])


@st.composite
def order_columns(draw: st.DrawFn, name: str, column: str) -> OrderColumn:
    known = COLUMN_OPTIONS[PREP_TIME if name == TARGET else name]
    units = DURATION_UNITS if name == TARGET else MONEY_UNITS
    return OrderColumn(
        column=column,
        format=draw(st.sampled_from(["", "%d/%m/%Y %I:%M %p"])) if "format" in known else "",
        time_zone=draw(ZONES) if "time_zone" in known else "",
        unit=draw(st.sampled_from(["", *units])) if "unit" in known else "",
        currency=draw(st.sampled_from(["", "USD"])) if "currency" in known else "",
        range=draw(RANGES) if "range" in known else None,
    )


@st.composite
def features(draw: st.DrawFn, number: int) -> CustomFeature:
    kind = draw(st.sampled_from(["number", "category"]))
    is_number = kind == "number"
    return CustomFeature(
        name=f"feature_{number}",
        column=draw(st.just(f"feature_{number}") | TEXT.map(lambda text: f"{number}: {text}")),
        type="number" if is_number else "category",
        of=draw(st.sampled_from(["order", "restaurant"])),
        unit=draw(TEXT) if is_number else "",
        range=draw(RANGES) if is_number else None,
        required=draw(st.booleans()),
        title=draw(TEXT),
    )


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    optional = [name for name in ORDER_NAMES if name not in {"order_acknowledged_at", "restaurant_id"}]
    names = ["order_acknowledged_at", "restaurant_id", *draw(st.sets(st.sampled_from(optional)))]
    columns = [f"{index} {draw(TEXT)}" for index, _ in enumerate(names)]
    constants = draw(st.sampled_from([{}, {"time_zone": "UTC"}, {"country": "UK", "time_zone": "Europe/London"}]))
    restaurant_names = draw(st.sets(st.sampled_from(["restaurant_id", "city", "type_of_food", "country", "time_zone"])))
    custom = tuple(draw(features(number)) for number in range(draw(st.integers(0, 4))))
    numbers = [feature.name for feature in custom if feature.type == "number" and feature.of == "order"]
    return Schema(
        ratios=(Ratio(name="ratio", dividend=numbers[0], divisor=numbers[1]),) if len(numbers) > 1 else (),
        orders={name: draw(order_columns(name, column)) for name, column in zip(names, columns, strict=True)},
        restaurants=RestaurantColumns(
            columns={name: draw(TEXT) for name in sorted(restaurant_names - constants.keys())}, **constants
        ),
        features=custom,
        source=SourceDialect(
            delimiter=draw(st.sampled_from(["", ";", "\t"])), decimal=draw(st.sampled_from([".", ","]))
        ),
        target=Target(name=draw(st.sampled_from(["preparation", "delivery"])), title=draw(TEXT), event=draw(TEXT)),
    )


@given(schemas())
def test_every_schema_is_read_as_it_was_written(schema: Schema) -> None:
    assert parse_schema(schema_to_toml(schema)) == schema


def test_take_home_schema_is_read_as_it_was_written() -> None:
    assert parse_schema(schema_to_toml(TAKE_HOME_SCHEMA)) == TAKE_HOME_SCHEMA
    canonical = TAKE_HOME_SCHEMA.canonical()
    assert parse_schema(schema_to_toml(canonical)) == canonical


def test_comments_have_no_control_characters() -> None:
    line = ProposedLine("orders", "city", ("a",), "first\nsecond\x1b[31m")
    text = proposal_to_toml([line], "title", {"two\nlines": "no\rreason"})
    assert text.splitlines()[:4] == ["# title", "", "[orders]", "# first second [31m"]
    assert text.splitlines()[4:] == ['city = "a"', "", "# Unused columns:", "# - two lines: no reason"]
