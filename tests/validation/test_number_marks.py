from __future__ import annotations

import msgspec
import pytest

from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, SourceDialect
from preptime.schema.toml_file import parse_schema
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import render_text, summarize_audit
from preptime.validation.gate_checks import describe_number_marks
from tests.validation.factories import make_order, make_orders, make_restaurant_index


def _audited(values: list[str], source: SourceDialect | None = None) -> AuditedOrders:
    """Return orders with these values, read with these marks."""
    orders = make_orders(*(make_order(order_value_gbp=value, order_id=value) for value in values))
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, source=source or SourceDialect())
    return audit_orders(orders, make_restaurant_index(), need_label=True, schema=schema)


COMMAS = ["14,8", "20,15", "15", "£9,5", "", *(f"{value},25" for value in range(40))]


@pytest.mark.parametrize(
    ("values", "source", "lines"),
    [
        (COMMAS, SourceDialect(), 'decimal = ","'),
        (["1.214,80", "9,50"], SourceDialect(), 'decimal = "," and thousands = "."'),
        (["1,214.80", "9.50", "8.10"], SourceDialect(), 'thousands = ","'),
        (["1,214", "2,500"], SourceDialect(), 'decimal = ",", or thousands = ","'),
        (["14.8", "20.15"], SourceDialect(decimal=","), 'decimal = "."'),
        (["14.8", "20.15"], SourceDialect(decimal=",", thousands=" "), 'decimal = "." and thousands = ""'),
    ],
)
def test_lines_for_other_marks_make_the_numbers_readable(values: list[str], source: SourceDialect, lines: str) -> None:
    audited = _audited(values, source)
    text = describe_number_marks(audited)
    assert (
        text
        == f"Numbers of order_value_gbp have other marks than the schema. Set under [source] in schema.toml: {lines}."
    )
    report = summarize_audit(audited, restaurant_count=4)
    assert report.number_marks == text
    assert text in render_text(report).splitlines()
    for reading in lines.split(", or "):
        changed = parse_schema("[source]\n" + reading.replace(" and ", "\n"))
        assert describe_number_marks(_audited(values, changed.source)) == ""
        assert _audited(values, changed.source).frame["order_value"].null_count() == values.count("")


@pytest.mark.parametrize("values", [["14.8", "20.15"], ["14,8", *["9.5"] * 30], ["many", "few"], ["", ""]])
def test_no_line_without_better_marks(values: list[str]) -> None:
    audited = _audited(values)
    assert describe_number_marks(audited) == ""
    assert "[source]" not in render_text(summarize_audit(audited, restaurant_count=4))


def test_numbers_of_labels_and_features_are_considered() -> None:
    feature = CustomFeature(name="distance", column="km", type="number")
    orders = make_orders(
        *(make_order(prep_time_seconds=f"{row},5", order_ready_at=None, km=f"{row},25") for row in range(60, 90))
    )
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, features=(feature,))
    audited = audit_orders(orders, make_restaurant_index(), need_label=True, schema=schema)
    assert describe_number_marks(audited).startswith(
        "Numbers of prep_time_seconds, km have other marks than the schema."
    )
