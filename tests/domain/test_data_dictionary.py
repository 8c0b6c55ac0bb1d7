from __future__ import annotations

import pytest

from preptime.domain.data_dictionary import (
    DATA_DICTIONARY,
    ORDERS_DICTIONARY,
    RESTAURANTS_DICTIONARY,
    TARGET,
    order_column,
    render_markdown,
    required_columns,
)
from tests.requirements import ROOT


def test_render_markdown_equals_the_page_in_docs() -> None:
    assert (ROOT / "docs/data-dictionary.md").read_text(encoding="utf-8") == render_markdown()


@pytest.mark.parametrize("table", list(DATA_DICTIONARY))
def test_dictionary_columns_are_unique_and_complete(table: str) -> None:
    columns = DATA_DICTIONARY[table]
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert column.description
        assert column.example
        assert (column.minimum is None) == (column.maximum is None)
        assert column.required_for <= {"scoring", "training"}


def test_required_columns_for_scoring_exclude_outcomes() -> None:
    assert set(required_columns(ORDERS_DICTIONARY, "scoring")) == {
        "order_acknowledged_at",
        "order_value_gbp",
        "restaurant_id",
        "number_of_items",
    }
    assert required_columns(RESTAURANTS_DICTIONARY, "training") == ("restaurant_id", "country", "city", "type_of_food")


def test_expected_text_contains_the_range() -> None:
    assert order_column("order_value_gbp").expected_text == "a number from 0 to 100,000"
    assert order_column("number_of_items").expected_text == "a whole number from 1 to 10,000"
    assert order_column(TARGET).unit == "seconds"
