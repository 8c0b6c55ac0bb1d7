from __future__ import annotations

import pytest

from preptime.domain.data_dictionary import (
    BUILT_IN_ORIGIN,
    DATA_DICTIONARY,
    ORDERS_DICTIONARY,
    RESTAURANTS_DICTIONARY,
    TARGET,
    find_similar_column,
    order_column,
    render_markdown,
    require_columns,
    required_columns,
)
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA
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
        "order_value",
        "restaurant_id",
        "number_of_items",
    }
    assert required_columns(RESTAURANTS_DICTIONARY, "training") == ("restaurant_id", "country", "city", "type_of_food")


def test_expected_text_contains_the_range() -> None:
    assert order_column("order_value").expected_text == "a number from 0 to 100,000"
    assert order_column("number_of_items").expected_text == "a whole number from 1 to 10,000"
    assert order_column(TARGET).unit == "seconds"


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (["created_at", "store_id", "subtotal", "total_items", "num_distinct_items"], "number_of_items"),
        (["Restaurant_latitude", "Restaurant_longitude", "ID"], "restaurant_id"),
        (["order_id", "restaurant_name", "cuisine_type"], "restaurant_id"),
        (["order_value_usd"], "order_value_gbp"),
        (["order_ready_at"], "order_acknowledged_at"),
        ([], "restaurant_id"),
    ],
)
def test_find_similar_column_ignores_different_columns(columns: list[str], name: str) -> None:
    """Columns of public data files that mean something else (D1, D3, D5 in the review of real files)."""
    assert find_similar_column(name, columns) is None


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("order_valeu", "order_value"),
        ("Number of Items", "number_of_items"),
        ("number_items", "number_of_items"),
        ("restaurantId", "restaurant_id"),
        ("resturant_id", "restaurant_id"),
        ("acknowledged_at", "order_acknowledged_at"),
        ("order_acknowledged", "order_acknowledged_at"),
    ],
)
def test_find_similar_column_finds_misspelled_names(column: str, name: str) -> None:
    assert find_similar_column(name, ["city", column, "total_items", "Restaurant_latitude"]) == column


@pytest.mark.parametrize(
    ("origin", "names", "hint"),
    [
        (
            BUILT_IN_ORIGIN,
            "restaurant_id, order_value",
            (
                "Rename or add them: 'restaurantId' is the closest to restaurant_id. "
                "Or map the existing columns: preptime schema infer ORDERS --out schema.toml."
            ),
        ),
        (
            "data/schema.toml",
            "'Restaurant' (restaurant_id), 'value' (order_value)",
            (
                'In data/schema.toml, name the existing columns: restaurant_id = "restaurantId"; order_value = "…". '
                "Or add them to the data."
            ),
        ),
        (
            "the schema of 20150601-abc",
            "'Restaurant' (restaurant_id), 'value' (order_value)",
            (
                "Rename or add them: 'restaurantId' is the closest to Restaurant. "
                "Or use a bundle that was trained on the existing columns."
            ),
        ),
    ],
)
def test_require_columns_names_what_is_missing(origin: str, names: str, hint: str) -> None:
    sources = {"restaurant_id": "Restaurant", "order_value": "value"}
    required = [*sources] if origin == BUILT_IN_ORIGIN else sources
    with pytest.raises(DataError) as refused:
        require_columns(["restaurantId", "subtotal"], required, "orders.csv", origin=origin)
    assert refused.value.facts == (
        f"The columns {names} are missing from orders.csv. Existing columns: 'restaurantId', 'subtotal'. "
        f"The columns seem to follow another schema than the one in use ({origin})."
    )
    assert refused.value.hint == hint


def test_hint_for_a_canonical_name_has_the_built_in_one() -> None:
    """The dictionary lists `order_value`, and files of the built-in schema have `order_value_gbp`."""
    with pytest.raises(DataError) as refused:
        require_columns(["order_value"], {"order_value": "order_value_gbp"}, "orders.csv")
    assert refused.value.facts.startswith("The column 'order_value_gbp' (order_value) is missing from orders.csv.")
    assert refused.value.hint.startswith("Rename or add it: 'order_value' is the closest to order_value_gbp. Or map ")


def test_page_has_the_built_in_name_of_each_column() -> None:
    rows = [line.split(" | ") for line in render_markdown().splitlines() if line.startswith("| `")]
    names = {row[0].strip("| `"): row[1].strip("`") for row in rows}
    built_in = {name: column.column for name, column in TAKE_HOME_SCHEMA.orders.items()}
    assert names.items() >= built_in.items()
    assert names["order_value"] == "order_value_gbp"


def test_require_columns_names_one_missing_column() -> None:
    required = {"restaurant_id": "store_id", "order_acknowledged_at": "created_at"}
    with pytest.raises(DataError) as refused:
        require_columns(["created_at", "Store ID", "_row"], required, "the orders", origin="schema.toml")
    assert refused.value.facts == (
        "The column 'store_id' (restaurant_id) is missing from the orders. Existing columns: 'created_at', 'Store ID'."
    )
    assert refused.value.hint == (
        'In schema.toml, name the existing columns: restaurant_id = "Store ID". Or add it to the data.'
    )
    require_columns(["created_at", "store_id"], required, "the orders")
