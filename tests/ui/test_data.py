"""Tests of the page Data: configured and uploaded orders, all views, and errors."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from preptime.evaluation.aggregates import ChartRow
from preptime.evaluation.charts import LIGHT
from preptime.exploration import WEEKDAYS, Measure
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, FeatureType
from preptime.schema.toml_text import schema_to_toml
from preptime.ui.app_pages.data import VIEWS
from preptime.ui.data import charts
from preptime.ui.data.views import axis_title
from tests.sources.loading import load_rows, prepare_database
from tests.ui.page_rendering import html_bodies, page_text, render_page, table_column
from tests.validation.factories import RESTAURANTS, make_month, make_order, make_orders

pytestmark = pytest.mark.usefixtures("empty_caches")

HOSTILE = "<img src=x onerror=alert(1)> **b**"
CITIES = {"London": HOSTILE}


class OpenView(Protocol):
    """Renders the page with a view selected."""

    def __call__(self, view: str = "Distributions", **settings: str) -> AppTest: ...


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings with four weeks of orders of four restaurants. One city name contains HTML."""
    folder = tmp_path_factory.mktemp("tables")
    make_month().write_csv(folder / "orders.csv")
    RESTAURANTS.with_columns(pl.col("city").replace(CITIES)).write_csv(folder / "restaurants.csv")
    return {
        "PREPTIME_ORDERS": str(folder / "orders.csv"),
        "PREPTIME_RESTAURANTS": str(folder / "restaurants.csv"),
    }


@pytest.fixture
def open_view(tables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> OpenView:
    """Returns a function that renders the page with the configured orders."""

    def open_with(view: str = "Distributions", **settings: str) -> AppTest:
        return select_view(render_page(monkeypatch, "data", **tables | settings), view)

    return open_with


def select_view(at: AppTest, view: str) -> AppTest:
    at.session_state["data-view"] = view
    at.run()
    assert not at.exception, at.exception
    return at


def csv_of(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_csv(content)
    return content.getvalue()


def upload(at: AppTest, orders_file: bytes, restaurants: bytes | None = None, name: str = "mine.csv") -> AppTest:
    at.file_uploader[0].set_value((name, orders_file, "text/csv"))
    if restaurants is not None:
        at.file_uploader[1].set_value(("restaurants.csv", restaurants, "text/csv"))
    at.run()
    assert not at.exception, at.exception
    return at


def test_distributions_show_the_outlier_limit_and_all_orders(open_view: OpenView, tables: dict[str, str]) -> None:
    at = open_view()
    shown = page_text(at)
    rows = pl.read_csv(tables["PREPTIME_ORDERS"]).height
    assert f"orders.csv: {rows:,} orders, 2015-06-01 to 2015-06-28" in shown
    assert str(Path(tables["PREPTIME_ORDERS"]).parent) not in shown
    for title in ("Preparation time", "Order value", "Number of items", "Preparation time against order value"):
        assert title in shown
    assert "are beyond the limit" in shown
    assert len(at.get("vega_lite_chart")) == 5


def test_filters_change_the_views(open_view: OpenView) -> None:
    at = open_view("Restaurants")
    assert len(table_column(at, "restaurant", having="p90, min")) == 4
    at.multiselect("data-cities").set_value(["Leeds"]).run()
    assert table_column(at, "restaurant", having="p90, min") == [20]
    at.multiselect("data-foods").set_value(["burgers"]).run()
    assert "No order with a usable preparation time matches the filters." in page_text(at)


def test_outliers_can_be_excluded(open_view: OpenView) -> None:
    at = open_view()
    text_with_outliers = page_text(at)
    at.toggle("data-without-outliers").set_value(True).run()
    assert page_text(at) != text_with_outliers
    assert not at.exception


@pytest.mark.parametrize("dimension", ["hour", "weekday", "day", "city", "type_of_food"])
def test_preparation_time_by_every_dimension(open_view: OpenView, dimension: str) -> None:
    at = open_view("By time and category")
    at.session_state["data-dimension"] = dimension
    at.run()
    assert len(at.get("vega_lite_chart")) == 2
    values = table_column(at, "value", having="median, min")
    if dimension == "weekday":
        assert values == list(WEEKDAYS)
    if dimension == "city":
        assert HOSTILE in values


def test_features_named_like_own_columns_are_shown(open_view: OpenView, tmp_path: Path) -> None:
    names: dict[str, FeatureType] = {
        "hour": "number",
        "day": "category",
        "label_time": "number",
        "median": "category",
        "tip_share": "number",
    }
    features = tuple(CustomFeature(name=name, column=name, type=kind) for name, kind in names.items())
    (tmp_path / "schema.toml").write_text(schema_to_toml(msgspec.structs.replace(TAKE_HOME_SCHEMA, features=features)))
    rows = make_month().with_columns(pl.int_range(pl.len()).mod(7).cast(pl.String).alias(name) for name in names)
    rows.with_columns(tip_share=pl.int_range(pl.len()) / pl.len() * 0.04).write_csv(tmp_path / "orders.csv")
    sources = {"PREPTIME_SCHEMA": str(tmp_path / "schema.toml"), "PREPTIME_ORDERS": str(tmp_path / "orders.csv")}
    for view in VIEWS:
        page_text(open_view(view, **sources))
    assert "Tip share Half of the orders are between 0.0100 and 0.0300. The median is 0.0200" in page_text(
        open_view("Distributions", **sources)
    )
    at = open_view("By time and category", **sources)
    at.session_state["data-dimension"] = "feature.median"
    assert "By median, the slowest median is" in page_text(at.run())
    assert sorted(table_column(at, "value", having="median, min"), key=str) == [*range(7)]


@pytest.mark.parametrize(
    ("title", "unit", "expected"),
    [
        ("driving to customers", "s", "driving to customers, s"),
        ("courier minutes", "s", "courier minutes, s"),
        ("route in km", "m", "route in km, m"),
        ("number of items", "items", "number of items"),
        ("open orders", "", "open orders"),
    ],
)
def test_axis_has_the_unit_unless_the_title_ends_with_it(title: str, unit: str, expected: str) -> None:
    assert axis_title(Measure("x", title, unit)) == expected


def test_scatter_of_negative_values_ends_after_its_limit() -> None:
    rows: list[ChartRow] = [{"x": x, "label": 10.0} for x in (-122.5, -122.1, -121.7, -100.0)]
    chart = charts.scatter(rows, "longitude", (-121.3, 20.0), 400, LIGHT, label="label").to_dict()
    smallest, end = chart["encoding"]["x"]["scale"]["domain"]
    assert smallest == -122.5
    assert end == pytest.approx(-122.5 + 2 * 1.2)
    assert [point["x"] for point in chart["datasets"][chart["data"]["name"]]] == [-122.5, -122.1, -121.7, end]
    positive = charts.scatter(
        [{"x": 1.0, "label": 1.0}, {"x": 9.0, "label": 1.0}], "x", (3.0, 2.0), 400, LIGHT, label="y"
    )
    assert positive.to_dict()["encoding"]["x"]["scale"]["domain"] == [0.0, 6.0]


def test_hours_without_orders_are_gaps_with_a_caption(open_view: OpenView) -> None:
    hours = (8, 11, 12)
    rows = [
        make_order(order_acknowledged_at=f"2015-06-0{day} {hour:02}:00:00+01:00", order_ready_at=None)
        for hour in hours
        for day in (1, 2)
    ]
    at = select_view(upload(open_view(), csv_of(make_orders(*rows))), "By time and category")
    assert "No orders were acknowledged from 9:00 to 10:59 and from 13:00 to 7:59." in page_text(at)
    for chart in at.get("vega_lite_chart"):
        assert '"domain": ["8", "9", "10", "11", "12"]' in chart.proto.spec
    at.session_state["data-dimension"] = "weekday"
    assert "No orders were" not in page_text(at.run())


def test_hour_above_the_chart_has_an_arrow_and_a_caption(open_view: OpenView) -> None:
    """An order before opening waits for hours. A bar of few such orders doesn't stretch the scale."""
    usual = make_month(days=3).with_columns(prep_time_seconds=pl.lit(600)).drop("order_ready_at")
    early = usual.head(1).with_columns(
        order_acknowledged_at=pl.lit("2015-06-01T04:30:00")
        .str.to_datetime()
        .cast(usual["order_acknowledged_at"].dtype),
        prep_time_seconds=pl.lit(7_200),
    )
    at = select_view(upload(open_view(), csv_of(pl.concat([usual, early]))), "By time and category")
    assert "Above the chart (↑), with their medians: 4 (1 order, 120.0 min)." in page_text(at)
    label_chart, order_chart = at.get("vega_lite_chart")
    assert '"text": "\\u2191"' in label_chart.proto.spec
    assert "2191" not in order_chart.proto.spec


def test_city_names_are_shown_as_text(open_view: OpenView) -> None:
    at = open_view("By time and category")
    at.session_state["data-dimension"] = "city"
    at.run()
    assert HOSTILE in page_text(at)
    assert not any("<img" in body for body in html_bodies(at))
    assert all("<img" not in element.value for element in (*at.markdown, *at.subheader))


def test_correlation_is_available_by_rank_and_by_value(open_view: OpenView) -> None:
    at = open_view("Correlation")
    assert "Correlation of ranks" in page_text(at)
    at.toggle("use-ranks").set_value(False).run()
    assert "Correlation of ranks" not in page_text(at)
    assert len(at.get("vega_lite_chart")) == 1


def test_label_audit_counts_validation_reasons(open_view: OpenView) -> None:
    at = upload(
        open_view(),
        csv_of(make_orders(make_order(), make_order(prep_time_seconds="0"), make_order(order_value_gbp="a lot"))),
    )
    at = select_view(at, "Label audit")
    assert "mine.csv: 3 orders" in page_text(at)
    counts = dict(
        zip(
            table_column(at, "code", having="explanation"),
            table_column(at, "orders", having="explanation"),
            strict=True,
        )
    )
    assert "A number can't be read, or isn't whole where it must be" in table_column(at, "reason", having="explanation")
    assert counts["unparsable_number"] == 1
    assert counts["label_contradicts_times"] == 1
    assert "a lot" in table_column(at, "value found", having="expected")


def test_upload_replaces_the_configured_orders_until_removed(open_view: OpenView) -> None:
    at = upload(open_view(), csv_of(make_month(days=3)))
    assert "mine.csv" in page_text(at)
    assert "2015-06-01 to 2015-06-03" in page_text(at)
    at.file_uploader[0].set_value([])
    assert "orders.csv" in page_text(at.run())


def test_uploaded_restaurants_are_used(open_view: OpenView) -> None:
    restaurants = RESTAURANTS.with_columns(city=pl.lit("Brest"))
    at = upload(open_view(), csv_of(make_month(days=3)), csv_of(restaurants))
    assert "in 1 city" in page_text(at)


def test_missing_configuration_shows_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    at = render_page(monkeypatch, "data", PREPTIME_ORDERS="", PREPTIME_RESTAURANTS="")
    assert "set PREPTIME_ORDERS and PREPTIME_RESTAURANTS" in page_text(at)
    at = upload(at, csv_of(make_month(days=3)))
    assert "The restaurants file is missing." in page_text(at)
    at = upload(at, csv_of(make_month(days=3)), csv_of(RESTAURANTS))
    assert "mine.csv" in page_text(at)
    assert at.get("vega_lite_chart")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "mine.csv"),
        (b"restaurant_id,when\n1,2\n", "order_acknowledged_at"),
        (b"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items,prep_time_seconds\n", "no rows"),
        (b"\x00\x01\x02\xff\xfe binary", "mine.csv"),
        (b"PAR1 and then nothing", "mine.csv"),
    ],
    ids=["empty", "other columns", "header only", "not csv", "not parquet"],
)
def test_unreadable_upload_shows_an_error(open_view: OpenView, content: bytes, expected: str) -> None:
    at = upload(open_view(), content)
    (alert,) = [body for body in html_bodies(at) if 'role="alert"' in body]
    assert expected in alert
    assert tempfile.gettempdir() not in alert
    assert "Traceback" not in page_text(at)


def test_missing_configured_file_shows_an_error(open_view: OpenView, tmp_path: Path) -> None:
    at = open_view(PREPTIME_ORDERS=str(tmp_path / "nowhere.csv"))
    assert "There is no file" in page_text(at)


def test_orders_without_usable_labels_have_an_audit(open_view: OpenView) -> None:
    at = upload(open_view(), csv_of(make_orders(make_order(order_value_gbp="?"))))
    assert "No order with a usable preparation time matches the filters." in page_text(at)
    assert "unparsable_number" in table_column(select_view(at, "Label audit"), "code", having="explanation")


def test_orders_of_one_day_have_no_date_filter(open_view: OpenView) -> None:
    at = upload(open_view(), csv_of(make_month(days=1)))
    assert not at.slider
    assert at.get("vega_lite_chart")


def test_orders_of_a_database_use_its_restaurants(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load_rows(prepare_database(database), make_month(days=3))
    at = select_view(render_page(monkeypatch, "data", PREPTIME_ORDERS=database), "Restaurants")
    assert len(table_column(at, "restaurant", having="p90, min")) == 4
