"""Tests of the page Predict and its errors, in Streamlit's test harness."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import preptime.ui
from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft, resolve_bundle_id
from preptime.bundle.store import Store
from preptime.client import Client
from preptime.domain.order_records import Orders
from preptime.domain.prediction_records import PredictionResponse
from preptime.evaluation.charts import LIGHT
from preptime.evaluation.report_data import backtest_from_manifest
from preptime.formatting import format_count
from preptime.monitoring.document import encode
from preptime.scoring.scorer import PREDICTED_READY_AT, BundleScorer, quantile_column
from preptime.scoring.what_if import Variable
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from preptime.ui import formatting, prediction_charts
from preptime.ui.predictors import API_MODE, LOCAL_MODE
from preptime.ui.upload_session import FOLDER_PREFIX
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, Server, free_port, running_server
from tests.bundle.factories import DAY, put_endless_bundle
from tests.monitoring.example import fired
from tests.scoring.factories import mixed_rows
from tests.training.factories import copy_bundle
from tests.ui.browser import API_KEY, Site, key_entry, make_store, promote
from tests.ui.page_rendering import chart_axes, html_bodies, page_text, render_page, table_column, table_rows

VALID_ORDER = {
    "order_acknowledged_at": "2015-06-20 19:00:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 1,
    "number_of_items": 3,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a champion."""
    folder = tmp_path_factory.mktemp("store")
    make_store(folder)
    return str(folder / "models")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test has its own settings and temporary folder, and leaves no files there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    st.cache_resource.clear()
    st.cache_data.clear()
    assert list(tmp_path.glob(f"{FOLDER_PREFIX}*")) == []


def render_upload_tab(monkeypatch: pytest.MonkeyPatch, **settings: str) -> AppTest:
    """Render the page and open the tab for files."""
    at = render_page(monkeypatch, **settings)
    at.session_state["predict_tab"] = "Upload a file"
    return at.run()


def upload(at: AppTest, name: str, content: bytes) -> AppTest:
    """Upload a file."""
    return at.file_uploader[0].set_value((name, content, "text/csv")).run()


def has_key_field(at: AppTest) -> bool:
    """Return whether the page asks for an API key."""
    return "api_key_field" in {field.key for field in at.text_input}


def csv(rows: pl.DataFrame) -> bytes:
    """Return rows as a CSV file."""
    return rows.write_csv().encode()


def test_sample_is_validated_then_predicted_with_reasons(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    at.button("use_sample").click().run()
    assert "50 orders, 2 kB. 2 can't be predicted." in page_text(at)
    assert "A number can't be read" in page_text(at)
    assert "Median preparation time" not in page_text(at)  # no prediction before the click
    at.button("predict").click().run()
    text = page_text(at)
    assert "48" in text
    assert "of 50 rows; 2 without" in text
    assert ("restaurant", "restaurant") in chart_axes(at)
    assert table_column(at, "row", having="ready at") == [row for row in range(1, 51) if row not in {9, 22}]
    assert table_column(at, "row", having="restaurant_id") == [9, 22]
    assert table_column(at, "reason", having="restaurant_id") == [
        "A number can't be read, or isn't whole where it must be: order_value_gbp 'free'",
        "A required cell is empty: number_of_items",
    ]
    assert {table.proto.placeholder for table in at.dataframe} == {formatting.EMPTY_CELL}


def test_each_point_model_has_a_tab(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    at.button("use_sample").click().run()
    at.button("predict").click().run()
    assert [tab.label for tab in at.tabs if tab.label in {"default prediction", "random forest", "XGBoost"}] == [
        "default prediction",
        "random forest",
        "XGBoost",
    ]
    at.session_state["model_tab"] = "random forest"
    at.run()
    assert "random forest alone" in page_text(at)
    alone, default, difference = (
        table_column(at, name, having="difference") for name in ("random forest", "default prediction", "difference")
    )
    for model_minutes, default_minutes, minutes in zip(alone, default, difference, strict=True):
        assert isinstance(model_minutes, float)
        assert isinstance(default_minutes, float)
        assert minutes == pytest.approx(model_minutes - default_minutes, abs=1e-4)


def test_weak_models_are_marked_in_tabs(monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path) -> None:
    copy = Store.open(str(shutil.copytree(store, tmp_path / "models")))
    weak = copy_bundle(copy, resolve_bundle_id(copy, None), weak_models=("rf",))
    promote(copy, fetch_verified(copy, weak))
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=copy.url)
    at.button("use_sample").click().run()
    at.button("predict").click().run()
    title = "random forest (not better than the global median)"
    assert title in [tab.label for tab in at.tabs]
    at.session_state["model_tab"] = title
    at.run()
    assert "On the gate's days, random forest is not better than the global median." in page_text(at)


def test_file_columns_with_result_names_get_a_suffix(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    names = (
        "row",
        "reason",
        "validation_result",
        "p50",
        "random forest",
        "difference",
        "fallback level",
        "predicted_seconds",
        "ready at",
    )
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    rows = pl.DataFrame([VALID_ORDER, VALID_ORDER | {"number_of_items": 0}]).with_columns(
        pl.lit("mine").alias(name) for name in names
    )
    upload(at, "names.csv", csv(rows))
    at.button("predict").click().run()
    assert table_column(at, "p50 (file)") == ["mine"]
    assert table_column(at, "row", having="ready at (file)") == [1]
    assert table_column(at, "row", having="reason (file)") == [2]
    at.session_state["model_tab"] = "random forest"
    at.run()
    assert table_column(at, "random forest (file)") == ["mine"]


def test_suffix_of_a_result_name_is_repeated(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    names = ("row", "row (file)", "reason", "reason (file)", "ready at", "ready at (file)")
    rows = pl.DataFrame([VALID_ORDER, VALID_ORDER | {"number_of_items": 0}])
    upload(at, "names.csv", csv(rows.with_columns(pl.lit(name).alias(name) for name in names)))
    at.button("predict").click().run()
    assert table_column(at, "row (file) (file)", having="ready at (file) (file)") == ["row"]
    assert table_column(at, "row (file)", having="ready at (file) (file)") == ["row (file)"]
    assert table_column(at, "reason (file)", having="reason (file) (file)") == ["reason (file)"]


def test_ready_at_has_a_date_if_there_are_several(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    upload(at, "one.csv", csv(pl.DataFrame([VALID_ORDER])))
    at.button("predict").click().run()
    (clock_time,) = table_column(at, "ready at")
    assert isinstance(clock_time, str)
    assert re.fullmatch("19:[0-5][0-9]", clock_time)
    several = [VALID_ORDER | {"order_acknowledged_at": f"2015-06-{day:02} 19:00:00"} for day in (21, 9, 20)]
    upload(at, "three.csv", csv(pl.DataFrame(several)))
    at.button("predict").click().run()
    assert [str(ready)[:13] for ready in table_column(at, "ready at")] == [
        "2015-06-21 19",
        "2015-06-09 19",
        "2015-06-20 19",
    ]
    assert table_column(at, "ready at")[-1] == f"2015-06-20 {clock_time}"


def travel_rows() -> pl.DataFrame:
    """Return three orders with the travel times of their couriers."""
    return pl.DataFrame([VALID_ORDER | {"way": way, "note": "n"} for way in ("0", "300", "soon")])


def test_travel_times_of_a_file_give_dispatch_times(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    upload(at, "three.csv", csv(travel_rows()))
    assert at.selectbox("travel_column").options == ["no travel times", "way", "note"]
    assert at.selectbox("travel_column").value is None
    at.button("predict").click().run()
    assert "dispatch at" not in at.dataframe[-1].value.columns
    at.selectbox("travel_column").set_value("way").run()
    assert not at.dataframe[-1].value.columns.str.startswith("p50").any()  # predicted without the travel times
    at.button("predict").click().run()
    text = page_text(at)
    assert "each courier is sent so that it arrives at the 50% quantile of the ready time" in text
    assert "1 order predicted without a dispatch time. In way: a number can't be read" in text
    ready = str(table_column(at, "ready at")[0])
    dispatch, waits = (table_column(at, name) for name in ("dispatch at", "courier waits"))
    # With equal costs, couriers arrive at the p50. The second one travels for five minutes.
    assert dispatch[:2] == [ready, f"19:{int(ready[3:]) - 5:02}"]
    assert [str(cell) for cell in (dispatch[2], waits[2])] == ["nan", "nan"]
    at.select_slider("file_cost_ratio").set_value("9:1").run()
    at.button("predict").click().run()
    assert "arrives at the 90% quantile" in page_text(at)
    assert str(table_column(at, "dispatch at")[0]) > ready
    assert float(str(table_column(at, "courier waits")[0])) < float(str(waits[0]))


def test_column_with_the_name_of_the_api_is_selected(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store, PREPTIME_COURIER_COST="2")
    upload(at, "three.csv", csv(travel_rows().rename({"way": "travel_seconds"})))
    assert at.selectbox("travel_column").value == "travel_seconds"
    assert at.select_slider("file_cost_ratio").value == "2:1"
    upload(at, "one.csv", csv(pl.DataFrame([VALID_ORDER])))
    assert "travel_column" not in {field.key for field in at.selectbox}


def test_travel_column_can_start_like_a_result(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    name, results = "predicted_travel_seconds", ("predicted_rf_seconds", "prediction_reason", "explain_base_seconds")
    rows = travel_rows().rename({"way": name}).with_columns(pl.lit("1").alias(result) for result in results)
    upload(at, "three.csv", csv(rows))
    assert at.selectbox("travel_column").options == ["no travel times", name, "note"]
    at.selectbox("travel_column").set_value(name).run()
    at.button("predict").click().run()
    assert str(table_column(at, "dispatch at")[0]).startswith("19:")
    assert table_column(at, name, having="dispatch at") == ["0", "300", "soon"]


def render_cost_ratio(monkeypatch: pytest.MonkeyPatch, courier_cost: str, food_cost: str) -> AppTest:
    """Render only the ratio of the costs, and its level as text."""
    monkeypatch.setenv("PREPTIME_COURIER_COST", courier_cost)
    monkeypatch.setenv("PREPTIME_FOOD_COST", food_cost)
    script = """
import os
import streamlit as st
from preptime.settings import Settings
from preptime.ui.dispatch_fields import cost_ratio_field
costs = {name: os.environ[name] for name in ("PREPTIME_COURIER_COST", "PREPTIME_FOOD_COST")}
st.text(repr(cost_ratio_field(Settings.load(costs), key="ratio")))
"""
    return AppTest.from_string(script, default_timeout=30).run()


@pytest.mark.parametrize(
    ("costs", "ratio", "neighbors"),
    [
        (("5", "2"), "5:2", ("2:1", "3:1")),
        (("0.5", "1.250"), "0.5:1.25", ("1:3", "1:2")),
        (("1000000", "999999.5"), "1000000:999999.5", ("1:1", "2:1")),
        (("0.0012345", "0.001"), "0.0012345:0.001", ("1:1", "2:1")),
        (("4", "2"), "2:1", ("1:1", "3:1")),
        (("0.1", "0.3"), "1:3", ("1:4", "1:2")),
    ],
)
def test_configured_cost_ratio_is_an_option(
    monkeypatch: pytest.MonkeyPatch, costs: tuple[str, str], ratio: str, neighbors: tuple[str, str]
) -> None:
    at = render_cost_ratio(monkeypatch, *costs)
    slider = at.select_slider("ratio")
    assert slider.value == ratio
    index = slider.options.index(ratio)
    assert (slider.options[index - 1], slider.options[index + 1]) == neighbors
    courier, food = map(float, costs)
    assert float(at.text[0].value) == pytest.approx(courier / (courier + food), abs=1e-12)
    assert not html_bodies(at)


@pytest.mark.parametrize(("costs", "ratio", "level"), [(("20", "1"), "9:1", 0.9), (("1", "9.5"), "1:9", 0.1)])
def test_invalid_configured_cost_ratio_is_reported(
    monkeypatch: pytest.MonkeyPatch, costs: tuple[str, str], ratio: str, level: float
) -> None:
    at = render_cost_ratio(monkeypatch, *costs)
    assert (at.select_slider("ratio").value, float(at.text[0].value)) == (ratio, level)
    assert f"FOOD_COST is {':'.join(costs)}. It must be from 1:9 to 9:1." in page_text(at)


def test_api_gives_dispatch_times_of_a_file(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url, PREPTIME_API_KEY=API_KEY)
    upload(at, "three.csv", csv(travel_rows().rename({"way": "travel_seconds"})))
    decisions: list[list[object]] = []
    for mode in (LOCAL_MODE, API_MODE):
        at.radio("mode").set_value(mode).run()
        at.button("predict").click().run()
        decisions.append([table_column(at, name) for name in ("ready at", "dispatch at")])
        assert "1 order predicted without a dispatch time." in page_text(at)
    assert str(decisions[0]) == str(decisions[1])


def test_filters_narrow_the_table(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    rows = pl.DataFrame([VALID_ORDER, VALID_ORDER | {"restaurant_id": 2}, VALID_ORDER | {"restaurant_id": 999_999}])
    upload(at, "three.csv", csv(rows))
    assert "1 order of unknown restaurants" in page_text(at)
    at.button("predict").click().run()
    assert "1 order of unknown restaurants, predicted from coarser history: all orders 1." in page_text(at)
    at.text_input("filter_restaurant").set_value("2").run()
    assert table_column(at, "row", having="ready at") == [2]
    at.text_input("filter_restaurant").set_value("7").run()
    assert "No order matches the filters." in page_text(at)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.csv", b"", "empty.csv is empty."),
        (
            "header.csv",
            b"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items\n",
            "header.csv has a header",
        ),
        ("book.csv", b"PK\x03\x04" + b"\0" * 99, "book.csv is an Excel workbook or zip archive, not CSV."),
        ("orders.csv.gz", gzip.compress(b"a,b", mtime=0), "missing from orders.csv.gz. Existing columns: 'a', 'b'"),
        ("noise.csv", bytes(range(256)) * 9, "noise.csv is binary, not CSV."),
        ("cut.parquet", b"PAR1" + b"\0" * 99, "cut.parquet is a damaged Parquet file"),
        ("no.parquet", b"a,b\n1,2\n", "no.parquet has the suffix .parquet, but isn't a Parquet file."),
        (
            "semi.csv",
            b"order_acknowledged_at;order_value_gbp\n1;2\n",
            "missing from semi.csv. Existing columns: 'order_acknowledged_at', 'order_value_gbp'",
        ),
        (
            "close.csv",
            b"order_acknowledged,order_value_gbp,restaurant,items\n1,2,3,4\n",
            "'order_acknowledged' is the closest to order_acknowledged_at",
        ),
    ],
)
def test_unreadable_file_shows_an_error_with_its_name(
    monkeypatch: pytest.MonkeyPatch, store: str, name: str, content: bytes, sentence: str
) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    upload(at, name, content)
    assert sentence in page_text(at)
    assert FOLDER_PREFIX not in page_text(at)
    assert not [button for button in at.button if button.key == "predict"]


def test_markup_in_a_file_name_is_shown_as_text(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    upload(at, "<b>:smile: **x** www.example.org.csv", b"")
    (body,) = [body for body in html_bodies(at) if "smile" in body]
    assert "&lt;b&gt;:smile: **x** www.example.org.csv is empty." in body
    assert not [element for element in at.markdown if "smile" in element.value]


def test_missing_champion_shows_the_train_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"))
    assert f"{tmp_path / 'models'} has no champion yet" in page_text(at)
    assert "preptime train" in page_text(at)
    at.button("use_sample").click().run()  # a file can still be validated
    assert "2 can't be predicted" in page_text(at)


def test_damaged_champion_shows_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = make_store(tmp_path)
    (bundle.folder / "model.onnx").write_bytes(b"damaged")
    assert f"{bundle.manifest.id}/model.onnx" in page_text(
        render_page(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"))
    )


def test_unknown_setting_shows_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PREPTIME_STOER isn't a setting. Did you mean PREPTIME_STORE?" in page_text(
        render_page(monkeypatch, PREPTIME_STOER="x")
    )


@pytest.mark.parametrize("key", [API_KEY, ""])
def test_unreachable_api_shows_its_url_and_a_hint(monkeypatch: pytest.MonkeyPatch, store: str, key: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=url, PREPTIME_API_KEY=key)
    at.radio("mode").set_value(API_MODE).run()
    assert "requires a key" not in page_text(at)
    assert not has_key_field(at)
    assert f"The API at {url} doesn't respond." in page_text(at)
    assert "Start it with preptime serve" in page_text(at)


def test_other_server_at_the_api_url_shows_an_error(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.dashboard.url, PREPTIME_API_KEY=API_KEY)
    at.radio("mode").set_value(API_MODE).run()
    assert "responds, but not as preptime's API does" in page_text(at)


def test_wrong_key_shows_an_error_and_the_key_field(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url)
    at.radio("mode").set_value(API_MODE).run()
    assert f"The API at {site.api.url} requires a key." in page_text(at)
    at.text_input("api_key_field").set_value("not the key").run()
    assert f"The API at {site.api.url} rejected this key." in page_text(at)
    at.text_input("api_key_field").set_value(API_KEY).run()
    assert f"served by the API at {site.api.url}" in page_text(at)
    assert not has_key_field(at)
    assert API_KEY not in page_text(at)


@pytest.mark.parametrize("entered_key", ["abc…", "schlüssel 🗝"])
def test_key_with_non_ascii_text_shows_an_error(
    monkeypatch: pytest.MonkeyPatch, store: str, site: Site, entered_key: str
) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url)
    at.radio("mode").set_value(API_MODE).run()
    at.text_input("api_key_field").set_value(entered_key).run()
    assert "Invalid API key: it contains a character that isn't visible ASCII" in page_text(at)
    assert entered_key not in page_text(at)
    at.text_input("api_key_field").set_value(API_KEY).run()
    assert f"served by the API at {site.api.url}" in page_text(at)


def test_entered_key_replaces_a_wrong_configured_key(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url, PREPTIME_API_KEY="an old key")
    at.radio("mode").set_value(API_MODE).run()
    assert "rejected this key" in page_text(at)
    at.text_input("api_key_field").set_value(API_KEY).run()
    assert f"served by the API at {site.api.url}" in page_text(at)


def test_api_scores_a_file_in_small_requests(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    monkeypatch.setattr("preptime.ui.predictors.MAX_ORDERS_PER_REQUEST", 7)
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url, PREPTIME_API_KEY=API_KEY)
    at.radio("mode").set_value(API_MODE).run()
    upload(at, "mixed.csv", csv(mixed_rows()))
    at.button("predict").click().run()
    assert "of 20 rows; 10 without" in page_text(at)


def test_one_order_shows_a_prediction_and_what_if_charts(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store)
    assert "ready at about" in page_text(at)
    assert "this restaurant's own orders" in page_text(at)
    assert len(at.get("vega_lite_chart")) == 6
    first_text = page_text(at)
    at.number_input("order_items").set_value(40).run()
    assert page_text(at) != first_text
    at.selectbox("order_restaurant").set_value(-1).run()
    at.text_input("order_restaurant_id").set_value("999999").run()
    assert "all orders" in page_text(at)


def test_one_order_shows_when_to_send_the_courier(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_COURIER_COST="2.1")
    assert at.select_slider("order_cost_ratio").value == "2.1:1"
    assert "should arrive at the 68% quantile of the ready time" in page_text(at)
    at.select_slider("order_cost_ratio").set_value("1:1").run()
    at.number_input("order_travel").set_value(0.0).run()
    shown = re.search(r"ready at about (\S+) .* dispatch at (\S+) .* after acknowledgement", page_text(at))
    assert shown is not None
    assert shown[1] == shown[2], "without travel and with equal costs, the courier is sent at the p50"
    waits = re.compile(r"courier waits (.*?) expected food waits (.*?) expected")
    first_waits = waits.findall(page_text(at))
    at.number_input("order_travel").set_value(300.0).run()
    assert "dispatch at 19:00 0 s after acknowledgement courier waits 0 s expected" in page_text(at)
    at.select_slider("order_cost_ratio").set_value("1:9").run()
    assert "should arrive at the 10% quantile" in page_text(at)
    assert waits.findall(page_text(at)) != first_waits
    at.number_input("order_travel").set_value(360.1).run()
    assert "Enter a number from 0 to 360." in page_text(at)
    assert len(at.get("vega_lite_chart")) == 5


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("order_items", 0, "Enter a whole number from 1 to 10,000."),
        ("order_items", 10_001, "Enter a whole number from 1 to 10,000."),
        ("order_value", -0.01, "Enter a number from 0 to 100,000."),
        ("order_value", 100_000.5, "Enter a number from 0 to 100,000."),
    ],
)
def test_invalid_number_shows_its_range_and_no_prediction(
    monkeypatch: pytest.MonkeyPatch, store: str, field: str, value: float, reason: str
) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=store)
    assert "ready at about" in page_text(at)
    at.number_input(field).set_value(value).run()
    assert reason in page_text(at)
    assert "ready at about" not in page_text(at)
    assert not at.get("vega_lite_chart")


def test_what_if_chart_marks_hours_without_orders(monkeypatch: pytest.MonkeyPatch, trained_store: Path) -> None:
    at = render_page(monkeypatch, PREPTIME_STORE=str(trained_store))
    store = Store.open(str(trained_store))
    backtest = backtest_from_manifest(store.read_manifest(resolve_bundle_id(store, None)))
    assert backtest is not None
    known = {int(segment.value) for segment in backtest.segments if segment.segment == "hour"}
    assert 0 < len(known) < 24
    specs = [chart.proto.spec for chart in at.get("vega_lite_chart")]
    assert sum("no orders in the backtest" in spec for spec in specs) == 1
    days = f"{backtest.first_day} to {backtest.last_day}"
    assert f"No order of the backtest, {days}, is in the gray hours." in page_text(at)


def test_gray_areas_cover_the_hours_within_the_axis() -> None:
    rows = pl.DataFrame({"at": [0.0, 23.0], "p10": [1.0, 1.0], "p50": [2.0, 2.0], "p80": [3.0, 3.0], "p90": [4.0, 4.0]})
    variable = Variable("hour", "hour", "hour", "", 19.0, tuple(map(float, range(24))))
    chart = prediction_charts.what_if_chart(rows, variable, LIGHT, unknown_hours=(0, 5, 23)).to_dict()
    areas = chart["datasets"][chart["layer"][0]["data"]["name"]]
    assert [(area["at"], area["end"]) for area in areas] == [(0.0, 0.5), (4.5, 5.5), (22.5, 23.0)]


def test_source_is_chosen_only_if_bundle_and_api_exist(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    local_only = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_PORT=str(free_port()))
    assert not local_only.radio
    st.cache_resource.clear()
    both = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_PORT=str(site.api.port))
    assert both.radio("mode").options == [LOCAL_MODE, API_MODE]
    assert [expander.label for expander in both.expander] == ["Advanced"]


def test_status_line_shows_age_error_and_alerts(monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path) -> None:
    document = fired()
    ResultsFolder(tmp_path / "results").write(document.date, MONITORING_FILE, encode(document))
    at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_RESULTS=str(tmp_path / "results"))
    assert f"monitoring {format_count(len(document.alerts), 'alert')} on {document.date}" in page_text(at)
    assert re.search(r"history as of 20\d\d-\d\d-\d\d \([\d,]+ days ago\)", page_text(at))


@pytest.mark.parametrize(
    ("seconds", "clock_times"), [((597.0, 931.0), ("19:10", "19:16")), ((629.0, 959.5), ("19:10", "19:16"))]
)
def test_clock_times_are_not_too_early(
    monkeypatch: pytest.MonkeyPatch, store: str, seconds: tuple[float, float], clock_times: tuple[str, str]
) -> None:
    p50, p90 = seconds
    p50_time, p90_time = clock_times

    def predict(self: BundleScorer, rows: pl.DataFrame) -> pl.DataFrame:
        ready_at = (dt.datetime(2015, 6, 20, 19) + dt.timedelta(seconds=p50)).isoformat(" ") + "+01:00"
        return original_predict(self, rows).with_columns(
            pl.lit(p50).alias(quantile_column(0.5)),
            pl.lit(p90).alias(quantile_column(0.9)),
            pl.lit(ready_at).alias(PREDICTED_READY_AT),
        )

    original_predict = BundleScorer.predict
    monkeypatch.setattr(BundleScorer, "predict", predict)
    at = render_page(monkeypatch, PREPTIME_STORE=store)
    assert f"ready at about {p50_time}" in page_text(at)
    assert f"90% by {p90_time}." in page_text(at)
    chart = str(at.get("vega_lite_chart")[0].proto)
    assert f"p50 {p50_time}" in chart
    assert f"p90 {p90_time}" in chart


def test_one_order_needs_no_store_with_the_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: Site) -> None:
    settings = {"PREPTIME_API_URL": site.api.url, "PREPTIME_API_KEY": API_KEY}
    at = render_page(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"), **settings)
    assert not at.radio
    assert "ready at about" in page_text(at)


def test_data_dictionary_tab_matches_the_declaration(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    from preptime.domain.data_dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY

    at = render_page(monkeypatch, PREPTIME_STORE=store)
    at.session_state["predict_tab"] = "Data dictionary"
    at.run()
    orders, restaurants = table_rows(at)
    renamed = {"order_value": "order_value_gbp"}
    assert [row["column"] for row in orders] == [renamed.get(entry.name, entry.name) for entry in ORDERS_DICTIONARY]
    assert [row["column"] for row in restaurants] == [entry.name for entry in RESTAURANTS_DICTIONARY]
    assert str(orders[2]["meaning"]).endswith("so 007 and 7 are different")
    assert not any("`" in str(row["meaning"]) for row in (*orders, *restaurants))


def test_new_champion_predicts_the_next_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_store(tmp_path)
    at = render_page(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"))
    from preptime.ui.connections import clear_champion_cache
    from tests.ui.browser import make_second_bundle

    newer = make_second_bundle(Store.open(str(tmp_path / "models")))
    promote(Store.open(str(tmp_path / "models")), newer)
    clear_champion_cache()
    at.run()
    assert newer.manifest.id in page_text(at)


def test_endless_champion_is_an_error_until_the_next_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its graph was promoted without verification. The error is kept, so that no user waits for the same check."""
    from preptime.ui.connections import clear_champion_cache

    store = Store.open(str(tmp_path / "models"))
    endless = put_endless_bundle(store)
    draft = LogEntryDraft(bundle=endless, date=DAY, action="promote", reason="test", by="test", at="now")
    ChampionLog(store).append(draft, expected_champion=None)
    at = render_page(monkeypatch, PREPTIME_STORE=store.url, PREPTIME_BUNDLE_LOAD_TIMEOUT_SECONDS="1")
    sentence = f"{endless}: expected a bundle that loads and predicts its golden orders within 1 s, found no result."
    assert sentence in page_text(at)
    store.delete(endless)
    assert sentence in page_text(at.run())
    clear_champion_cache()
    assert f"has no bundle '{endless}'" in page_text(at.run())


def test_parquet_only_columns_are_downloadable_as_parquet(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    rows = pl.DataFrame([VALID_ORDER]).with_columns(tags=pl.Series([["a", "b"]]))
    content = io.BytesIO()
    rows.write_parquet(content)
    at = render_upload_tab(monkeypatch, PREPTIME_STORE=store)
    at.file_uploader[0].set_value(("nested.parquet", content.getvalue(), "application/octet-stream")).run()
    at.button("predict").click().run()
    assert "Download as Parquet" in page_text(at)
    assert "Download as CSV" not in page_text(at)
    assert "CSV can't represent the column tags" in page_text(at)


def test_dashboard_on_a_public_address_requires_sign_in(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("PREPTIME_STORE", store)
    monkeypatch.setenv("PREPTIME_UI_HOST", "192.0.2.1")
    monkeypatch.setenv("PREPTIME_API_KEYS", key_entry("dispatch", API_KEY))
    at = AppTest.from_file(Path(preptime.ui.__file__).with_name("app.py"), default_timeout=30).run()
    assert not at.radio
    at.text_input[0].set_value("guess")
    at.button[0].click().run()
    assert "This key isn't configured on this installation." in page_text(at)
    at.text_input[0].set_value(API_KEY)
    at.button[0].click().run()
    assert "This key isn't configured" not in page_text(at)
    assert "Key" not in {field.label for field in at.text_input}
    assert API_KEY not in page_text(at)


def test_unexpected_error_shows_one_sentence_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    script = "from preptime.ui.server import _on_script_error\n_on_script_error(ValueError('a detail'))"
    at = AppTest.from_string(script, default_timeout=30).run()
    assert "Unexpected error. For details, see the server log." in page_text(at)
    assert "a detail" not in page_text(at)
    # Not `caplog.text`: the loggers of PySpark change the format of pytest's handler.
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [repr(error) for error in errors] == ["ValueError('a detail')"]


def test_api_that_stops_while_scoring_shows_an_error(
    monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path
) -> None:
    (tmp_path / "api").mkdir()
    with running_server(tmp_path / "api", SERVE_COMMAND, PREPTIME_STORE=store, PREPTIME_PREDICTION_LOG="off") as api:
        api.wait_until("/readyz")
        at = render_upload_tab(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=api.url, PREPTIME_API_KEY=PLAIN_KEY)
        at.radio("mode").set_value(API_MODE).run()
        upload(at, "mixed.csv", csv(mixed_rows()))
        assert f"served by the API at {api.url}" in page_text(at)
        exit_codes = _stop_before_prediction(monkeypatch, api)
        at.button("predict").click().run()
        assert exit_codes == [0]
        assert f"The API at {api.url} doesn't respond. 127.0.0.1:{api.port} cannot be reached" in page_text(at)
        assert "Start it with preptime serve" in page_text(at)
    assert "of 20 rows" not in page_text(at)


def test_api_that_stops_during_one_order_shows_an_error(
    monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path
) -> None:
    (tmp_path / "api").mkdir()
    with running_server(tmp_path / "api", SERVE_COMMAND, PREPTIME_STORE=store, PREPTIME_PREDICTION_LOG="off") as api:
        api.wait_until("/readyz")
        at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=api.url, PREPTIME_API_KEY=PLAIN_KEY)
        at.radio("mode").set_value(API_MODE).run()
        exit_codes = _stop_before_prediction(monkeypatch, api)
        at.session_state["predict_tab"] = "One order"
        at.run()
        assert exit_codes == [0]
        assert f"The API at {api.url} doesn't respond. 127.0.0.1:{api.port} cannot be reached" in page_text(at)


def test_api_without_a_champion_shows_an_error(monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    empty = str(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with running_server(tmp_path / "api", SERVE_COMMAND, PREPTIME_STORE=empty, PREPTIME_PREDICTION_LOG="off") as api:
        api.wait_until("/healthz")
        at = render_page(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=api.url, PREPTIME_API_KEY=PLAIN_KEY)
        at.radio("mode").set_value(API_MODE).run()
        assert f"The API at {api.url} can't predict now." in page_text(at)
        assert "champion" in page_text(at)
        assert "train one with preptime train" in page_text(at)


def _stop_before_prediction(monkeypatch: pytest.MonkeyPatch, api: Server) -> list[int]:
    """Make the next prediction request stop the server first. Its exit code is added to the returned list."""
    exit_codes: list[int] = []
    original_predict = Client.predict

    def predict(self: Client, orders: Orders, *, models: Sequence[str] | None = None) -> PredictionResponse:
        if not exit_codes:
            api.process.terminate()
            exit_codes.append(api.process.wait(30))
        return original_predict(self, orders, models=models)

    monkeypatch.setattr(Client, "predict", predict)
    return exit_codes
