"""The page Data: the configured orders or a visitor's own, every look at them, and every failure as a sentence."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from preptime.exploration import WEEKDAYS
from tests.ui.chart_rendering import bodies, column, drawn, said
from tests.validation.factories import RESTAURANTS, month, order, orders

pytestmark = pytest.mark.usefixtures("fresh")

HOSTILE = "<img src=x onerror=alert(1)> **b**"
CITIES = {"London": HOSTILE}


class Open(Protocol):
    """Opens the page at a view."""

    def __call__(self, view: str = "Distributions", **settings: str) -> AppTest: ...


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings that name four weeks of orders of four restaurants, one in a city with a hostile name."""
    folder = tmp_path_factory.mktemp("tables")
    month().write_csv(folder / "orders.csv")
    RESTAURANTS.with_columns(pl.col("city").replace(CITIES)).write_csv(folder / "restaurants.csv")
    return {
        "PREPTIME_ORDERS": str(folder / "orders.csv"),
        "PREPTIME_RESTAURANTS": str(folder / "restaurants.csv"),
    }


@pytest.fixture
def open_at(tables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Open:
    """The page with these tables, at a view."""

    def opened(view: str = "Distributions", **settings: str) -> AppTest:
        return look(drawn(monkeypatch, "data", **tables | settings), view)

    return opened


def look(at: AppTest, view: str) -> AppTest:
    at.session_state["data-view"] = view
    at.run()
    assert not at.exception, at.exception
    return at


def csv_of(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_csv(content)
    return content.getvalue()


def bring(at: AppTest, orders_: bytes, restaurants: bytes | None = None, name: str = "mine.csv") -> AppTest:
    at.file_uploader[0].set_value((name, orders_, "text/csv"))
    if restaurants is not None:
        at.file_uploader[1].set_value(("places.csv", restaurants, "text/csv"))
    at.run()
    assert not at.exception, at.exception
    return at


def test_distributions_tell_the_fence_and_lose_no_order(open_at: Open, tables: dict[str, str]) -> None:
    at = open_at()
    shown = said(at)
    rows = pl.read_csv(tables["PREPTIME_ORDERS"]).height
    assert f"orders.csv: {rows:,} orders, 2015-06-01 to 2015-06-28" in shown
    assert str(Path(tables["PREPTIME_ORDERS"]).parent) not in shown
    for title in ("Preparation time", "Order value", "Number of items", "Preparation time against order value"):
        assert title in shown
    assert "lie beyond the limit" in shown
    assert len(at.get("vega_lite_chart")) == 5


def test_a_choice_changes_what_is_seen(open_at: Open) -> None:
    at = open_at("Restaurants")
    assert len(column(at, "restaurant", having="one in ten over, min")) == 4
    at.multiselect("data-cities").set_value(["Leeds"]).run()
    assert column(at, "restaurant", having="one in ten over, min") == [20]
    at.multiselect("data-foods").set_value(["burgers"]).run()
    assert "No order with a usable preparation time is left" in said(at)


def test_outliers_can_be_left_out(open_at: Open) -> None:
    at = open_at()
    before = said(at)
    at.toggle("data-without-outliers").set_value(True).run()
    assert said(at) != before
    assert not at.exception


@pytest.mark.parametrize("cut", ["hour", "weekday", "day", "city", "type_of_food"])
def test_preparation_time_by_everything_the_notebook_looked_at(open_at: Open, cut: str) -> None:
    at = open_at("By time and category")
    at.session_state["data-dimension"] = cut
    at.run()
    assert len(at.get("vega_lite_chart")) == 2
    values = column(at, "value", having="median, min")
    if cut == "weekday":
        assert values == list(WEEKDAYS)
    if cut == "city":
        assert HOSTILE in values


def test_names_are_text_and_never_markup(open_at: Open) -> None:
    at = open_at("By time and category")
    at.session_state["data-dimension"] = "city"
    at.run()
    assert HOSTILE in said(at)
    assert not any("<img" in body for body in bodies(at))
    assert all("<img" not in one.value for one in (*at.markdown, *at.subheader))


def test_correlation_by_rank_and_as_in_the_notebook(open_at: Open) -> None:
    at = open_at("Correlation")
    assert "Correlation of ranks" in said(at)
    at.toggle("use-ranks").set_value(False).run()
    assert "Correlation of ranks" not in said(at)
    assert len(at.get("vega_lite_chart")) == 1


def test_the_label_audit_counts_by_reason_code(open_at: Open) -> None:
    at = bring(open_at(), csv_of(orders(order(), order(prep_time_seconds="0"), order(order_value_gbp="a lot"))))
    at = look(at, "Label audit")
    assert "mine.csv: 3 orders" in said(at)
    counts = dict(zip(column(at, "reason", having="why"), column(at, "orders", having="why"), strict=True))
    assert counts["unparsable_number"] == 1
    assert counts["label_contradicts_times"] == 1
    assert "a lot" in column(at, "found", having="expected")


def test_what_a_visitor_brings_is_looked_at_instead_and_goes_when_they_take_it_away(open_at: Open) -> None:
    at = bring(open_at(), csv_of(month(days=3)))
    assert "mine.csv" in said(at)
    assert "2015-06-01 to 2015-06-03" in said(at)
    at.file_uploader[0].set_value([])
    assert "orders.csv" in said(at.run())


def test_a_visitors_own_restaurants(open_at: Open) -> None:
    far = RESTAURANTS.with_columns(city=pl.lit("Brest"))
    at = bring(open_at(), csv_of(month(days=3)), csv_of(far))
    assert "in 1 city" in said(at)


def test_without_configured_orders_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    at = drawn(monkeypatch, "data", PREPTIME_ORDERS="", PREPTIME_RESTAURANTS="")
    assert "set PREPTIME_ORDERS and PREPTIME_RESTAURANTS" in said(at)
    at = bring(at, csv_of(month(days=3)))
    assert "Restaurants are missing." in said(at)
    at = bring(at, csv_of(month(days=3)), csv_of(RESTAURANTS))
    assert "mine.csv" in said(at)
    assert at.get("vega_lite_chart")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "mine.csv"),
        (b"restaurant_id,when\n1,2\n", "order_acknowledged_at"),
        (b"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items,prep_time_seconds\n", "no rows"),
        (b"\x00\x01\x02\xff\xfe binary", "mine.csv"),
        (b"PAR1 and then nothing", "mine.csv"),
    ],
    ids=["empty", "other columns", "header only", "no csv", "no parquet"],
)
def test_a_file_that_cannot_be_looked_at_is_a_sentence(open_at: Open, content: bytes, told: str) -> None:
    at = bring(open_at(), content)
    (alert,) = [body for body in bodies(at) if 'role="alert"' in body]
    assert told in alert
    assert tempfile.gettempdir() not in alert
    assert "Traceback" not in said(at)


def test_configured_orders_that_are_not_there_are_a_sentence(open_at: Open, tmp_path: Path) -> None:
    at = open_at(PREPTIME_ORDERS=str(tmp_path / "nowhere.csv"))
    assert "There is no file" in said(at)


def test_orders_without_a_usable_label_still_have_their_audit(open_at: Open) -> None:
    at = bring(open_at(), csv_of(orders(order(order_value_gbp="?"))))
    assert "No order with a usable preparation time is left" in said(at)
    assert "unparsable_number" in column(look(at, "Label audit"), "reason", having="why")


def test_one_days_orders_need_no_slider(open_at: Open) -> None:
    at = bring(open_at(), csv_of(month(days=1)))
    assert not at.slider
    assert at.get("vega_lite_chart")
