"""Tests of the dashboard and the training report with the schema of another company and another target."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
import streamlit as st

from preptime.bundle.champion_log import resolve_bundle_id
from preptime.bundle.store import Store
from preptime.schema.schema import CustomFeature
from preptime.ui.connections import clear_champion_cache
from preptime.ui.predict_order import field_label
from tests.scoring.delivery import delivery_frames, delivery_schema
from tests.scoring.factories import bundle_of
from tests.ui.browser import promote
from tests.ui.company import all_text, each_view, settings, training_report, write_company
from tests.ui.page_rendering import chart_axes, page_text, render_page, table_column, table_rows

PREPARATION_WORDS = re.compile(r"\b(ready|preparation|kitchen|food is)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the second company."""
    return write_company(tmp_path_factory.mktemp("company"))


@pytest.fixture(autouse=True)
def _isolated(empty_caches: None) -> None:
    """Each test has its own caches."""


def preparation_words(text: str) -> list[str]:
    """Return the words of a preparation in a text, with what surrounds them."""
    without_style = re.sub(r"<style>.*?</style>", " ", text, flags=re.DOTALL)
    return [
        without_style[max(0, found.start() - 40) : found.end() + 20]
        for found in PREPARATION_WORDS.finditer(without_style)
    ]


def test_form_has_one_field_for_each_feature_of_a_request(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    at = render_page(monkeypatch, **settings(company))
    assert [title.value for title in at.title] == ["When will the order be delivered?"]
    assert "delivered at about" in page_text(at)
    numbers = {field.key: (field.label, field.value) for field in at.number_input}
    assert list(numbers) == ["order_value", "order_items", "order_feature_busy_couriers", "order_feature_distance"]
    assert numbers["order_value"][0] == "Value, USD"
    assert numbers["order_feature_distance"][0] == "Distance to the customer, km"
    assert all(value is not None for _, value in numbers.values())
    protocol = at.selectbox("order_feature_protocol")
    assert protocol.options == ["app", "call", "tablet", "other"]
    assert protocol.value == "app"
    assert len(at.get("vega_lite_chart")) == 10  # the timeline, the waterfall chart, and eight what-if charts
    titles = {title for _, title in chart_axes(at)}
    assert {"order value, USD", "busy couriers, people", "distance to the customer, km"} <= titles

    before = page_text(at)
    at.number_input("order_feature_busy_couriers").set_value(None).run()
    assert "delivered at about" in page_text(at)
    assert page_text(at) != before
    at.number_input("order_feature_busy_couriers").set_value(500.0).run()
    assert "Enter a number from 0 to 200." in page_text(at)
    assert "delivered at about" not in page_text(at)
    at.number_input("order_feature_busy_couriers").set_value(10.0).run()
    at.selectbox("order_feature_channel").set_value(None).run()
    assert "Enter a value." in page_text(at)  # it's required
    at.selectbox("order_feature_channel").set_value("other").run()
    assert "delivered at about" in page_text(at)
    at.selectbox("order_restaurant").set_value(-1).run()
    at.text_input("order_restaurant_id").set_value("store-0099").run()
    assert "all orders" in page_text(at)
    at.text_input("order_restaurant_id").set_value(" ").run()
    assert "Enter an identifier of 1 to 200 characters." in page_text(at)


def test_field_label_shows_the_text_of_the_schema() -> None:
    """Streamlit would show the text between two dollar signs as a formula, and `:red[…]` in color."""
    feature = CustomFeature(name="a", column="a", type="number", title="fee $a$ [net] :red[b]", unit="1_000*")
    assert field_label(feature) == r"Fee \$a\$ \[net\] \:red\[b\], 1\_000\*"


def test_numbers_without_a_range_have_limits_in_words(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    at = render_page(monkeypatch, **settings(company))
    at.number_input("order_feature_distance").set_value(1e13).run()
    assert "Enter a number from -1e12 to 1e12." in page_text(at)


def test_new_champion_keeps_the_chosen_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, (orders, restaurants) = Store.open(str(tmp_path / "models")), delivery_frames()
    promote(store, bundle_of(store, orders, restaurants, schema=delivery_schema()))
    at = render_page(monkeypatch, PREPTIME_STORE=store.url)
    places = at.selectbox("order_restaurant").options
    at.selectbox("order_feature_protocol").select_index(1)
    at.selectbox("order_restaurant").select_index(5).run()
    first_ids = [place.partition(" ")[0] for place in places[:3]]
    others = orders.filter(~pl.col("store").is_in(first_ids)).with_columns(
        pl.col("protocol").replace({"app": "call", "call": "app"})
    )
    newer = bundle_of(store, others, restaurants.filter(~pl.col("store").is_in(first_ids)), schema=delivery_schema())
    promote(store, newer)
    clear_champion_cache()
    assert newer.manifest.id in page_text(at.run())
    protocol, restaurant = at.selectbox("order_feature_protocol"), at.selectbox("order_restaurant")
    assert protocol.options == ["call", "app", "tablet", "other"]
    assert protocol.value == "call"
    assert protocol.options[protocol.index or 0] == "call"
    assert restaurant.options == places[3:]
    assert restaurant.options[restaurant.index or 0] == places[5]


def test_upload_is_read_with_the_schema_of_the_bundle(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    at = render_page(monkeypatch, **settings(company))
    at.session_state["predict_tab"] = "Upload a file"
    at.run()
    at.button("use_sample").click().run()
    assert "50 orders" in page_text(at)
    assert "2 can't be predicted." in page_text(at)
    rows = delivery_frames()[0].head(30).drop("delivery_min").with_columns(area=pl.lit("Sydney"))
    rows = rows.with_columns(distance=pl.when(pl.int_range(30) == 3).then(pl.lit("far")).otherwise("distance"))
    content = rows.write_csv(separator=";").encode()
    at.file_uploader[0].set_value(("orders.csv", content, "text/csv")).run()
    assert "30 orders" in page_text(at)
    at.button("predict").click().run()
    text = page_text(at)
    assert "Median delivery time" in text
    assert "30 orders predicted with a country or city that isn't that of the restaurant in the bundle." in text
    assert "1 order predicted without a value of distance to the customer, of which 1 can't be used." in text
    assert len(table_column(at, "delivered at")) == 30
    assert preparation_words(all_text(at)) == []
    wrong = pl.DataFrame({"order_acknowledged_at": ["2015-06-20 19:00:00"], "restaurant_id": ["1"]})
    at.file_uploader[0].set_value(("other.csv", wrong.write_csv(separator=";").encode(), "text/csv")).run()
    bundle_id = resolve_bundle_id(Store.open(str(company / "models")), None)
    assert f"another schema than the one in use (the schema of {bundle_id})" in page_text(at)
    assert "created" in page_text(at)


def test_no_text_of_a_page_is_about_a_preparation(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    views = each_view(monkeypatch, company)
    assert [f"{name}: {words}" for name, at in views for words in preparation_words(all_text(at))] == []


def test_no_text_of_the_training_report_is_about_a_preparation(company: Path) -> None:
    report = training_report(company)
    assert "preptime · delivery time" in report
    assert "busy couriers" in report
    assert preparation_words(report) == []


def test_data_page_has_custom_features_and_the_currency(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    at = render_page(monkeypatch, "data", **settings(company))
    text = page_text(at)
    assert "of delivery times" in text
    for title in ("Delivery time", "Order value", "Busy couriers", "Distance to the customer"):
        assert f"{title} Half of the orders are between" in text
    assert "orders have no value." in text
    titles = {title for _, title in chart_axes(at)}
    assert {"order value, USD", "busy couriers, people"} <= titles
    assert "£" not in all_text(at)
    assert "pounds" not in all_text(at)
    at.session_state["data-view"] = "By time and category"
    at.session_state["data-dimension"] = "feature.protocol"
    text = page_text(at.run())
    assert "Delivery time by protocol" in text
    assert "By median, the slowest protocol is" in text
    at.session_state["data-view"] = "Restaurants"
    at.run()
    assert {"mean order value, USD", "restaurant"} <= set(table_rows(at)[0][0])
    assert str(table_column(at, "restaurant")[0]).startswith("store-")


def test_importance_and_dictionary_have_display_names(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    at = render_page(monkeypatch, "models", **settings(company))
    at.session_state["models-view"] = "Bundle details"
    at.run()
    assert "busy couriers" in all_text(at)
    st.cache_data.clear()
    at = render_page(monkeypatch, **settings(company))
    at.session_state["predict_tab"] = "Data dictionary"
    at.run()
    orders, restaurants = table_rows(at)
    by_column = {row["column"]: row for row in orders}
    assert by_column["subtotal"]["unit"] == "cents"
    assert by_column["subtotal"]["range"] == "from 0 to 10,000,000"
    assert by_column["channel"]["required"] == "yes"
    assert by_column["busy"]["range"] == "from 0 to 200"
    assert [row["column"] for row in restaurants][-1] == "staff"
