"""The page Predict and everything that can go wrong on it, through Streamlit's own test harness."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import preptime.ui
from preptime.bundle.store import Store
from preptime.client import Client, Orders, PredictionResponse
from preptime.scoring.scorer import PREDICTED_READY_AT, BundleScorer, quantile_column
from preptime.ui import formatting
from tests.api.processes import PLAIN_KEY, REAL, Server, free_port, started
from tests.scoring.factories import mixed
from tests.ui.browser import API_KEY, Site, make_store, promote, setting
from tests.ui.chart_rendering import axes, bodies, column, drawn, said, tables

GOOD = {
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
def _own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test has its own settings and folder of temporary files, and leaves none."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    st.cache_resource.clear()
    st.cache_data.clear()
    assert list(tmp_path.glob("preptime-page-*")) == []


def upload(at: AppTest, name: str, content: bytes) -> AppTest:
    """Bring a file."""
    return at.file_uploader[0].set_value((name, content, "text/csv")).run()


def csv(rows: pl.DataFrame) -> bytes:
    """Rows as a file."""
    return rows.write_csv().encode()


def test_the_sample_is_judged_then_predicted_and_its_wrong_rows_say_why(
    monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    at.button("use_sample").click().run()
    assert "50 orders, 2 kB. 2 cannot be predicted." in said(at)
    assert "A number cannot be read" in said(at)
    assert "Half are ready within" not in said(at)  # nothing is predicted before it is asked for
    at.button("predict").click().run()
    text = said(at)
    assert "48" in text
    assert "of 50 rows; 2 without" in text
    assert ("restaurant", "restaurant") in axes(at)
    assert column(at, "row", having="ready at") == [row for row in range(1, 51) if row not in {9, 22}]
    refused = tables(at)[-1]
    assert [row["row"] for row in refused] == [9, 22]
    assert [row["reason"] for row in refused] == [
        "A number can't be read, or isn't whole where it must be: order_value_gbp 'free'",
        "A required cell is empty: number_of_items",
    ]
    assert {one.proto.placeholder for one in at.dataframe} == {formatting.EMPTY_CELL}  # where a cell is empty


def test_each_model_has_a_tab_that_says_what_it_alone_would_answer(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    at.button("use_sample").click().run()
    at.button("predict").click().run()
    assert [tab.label for tab in at.tabs if tab.label in {"default answer", "rf", "xgb"}] == [
        "default answer",
        "rf",
        "xgb",
    ]
    at.session_state["model_tab"] = "rf"
    at.run()
    assert "rf alone" in said(at)
    alone, default, difference = (
        column(at, name, having="difference") for name in ("rf", "default answer", "difference")
    )
    for one, other, apart in zip(alone, default, difference, strict=True):
        assert isinstance(one, float)
        assert isinstance(other, float)
        assert apart == pytest.approx(one - other, abs=1e-4)


def test_columns_of_the_file_that_are_called_like_ours_say_whose_they_are(
    monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    names = (
        "row",
        "reason",
        "validation_result",
        "p50",
        "rf",
        "difference",
        "fallback level",
        "predicted_seconds",
        "ready at",
    )
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    rows = pl.DataFrame([GOOD, GOOD | {"number_of_items": 0}]).with_columns(
        pl.lit("mine").alias(name) for name in names
    )
    upload(at, "names.csv", csv(rows))
    at.button("predict").click().run()
    assert column(at, "p50 (file)") == ["mine"]
    assert column(at, "row", having="ready at (file)") == [1]
    assert column(at, "row", having="reason (file)") == [2]
    at.session_state["model_tab"] = "rf"
    at.run()
    assert column(at, "rf (file)") == ["mine"]


def test_ready_at_says_the_day_where_a_file_has_several(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    upload(at, "one.csv", csv(pl.DataFrame([GOOD])))
    at.button("predict").click().run()
    (clock,) = column(at, "ready at")
    assert isinstance(clock, str)
    assert re.fullmatch("19:[0-5][0-9]", clock)
    several = [GOOD | {"order_acknowledged_at": f"2015-06-{day:02} 19:00:00"} for day in (21, 9, 20)]
    upload(at, "three.csv", csv(pl.DataFrame(several)))
    at.button("predict").click().run()
    assert [str(ready)[:13] for ready in column(at, "ready at")] == ["2015-06-21 19", "2015-06-09 19", "2015-06-20 19"]
    assert column(at, "ready at")[-1] == f"2015-06-20 {clock}"


def test_the_orders_shown_can_be_narrowed(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    rows = pl.DataFrame([GOOD, GOOD | {"restaurant_id": 2}, GOOD | {"restaurant_id": 999_999}])
    upload(at, "three.csv", csv(rows))
    assert "1 order of restaurants not known yet" in said(at)
    at.button("predict").click().run()
    at.text_input("filter_restaurant").set_value("2").run()
    assert column(at, "row", having="ready at") == [2]
    at.text_input("filter_restaurant").set_value("7").run()
    assert "No order is like that." in said(at)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.csv", b"", "empty.csv is empty."),
        (
            "header.csv",
            b"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items\n",
            "header.csv has a header",
        ),
        ("book.csv", b"PK\x03\x04" + b"\0" * 99, "book.csv is an Excel workbook or zip archive, not csv."),
        ("noise.csv", bytes(range(256)) * 9, "noise.csv is binary, not csv."),
        ("cut.parquet", b"PAR1" + b"\0" * 99, "cut.parquet is a damaged parquet file"),
        ("no.parquet", b"a,b\n1,2\n", "no.parquet is called parquet but does not begin like it."),
        ("semi.csv", b"order_acknowledged_at;order_value_gbp\n1;2\n", "semi.csv seems to be separated by semicolons"),
        (
            "close.csv",
            b"order_acknowledged,order_value_gbp,restaurant,items\n1,2,3,4\n",
            "'order_acknowledged' is the closest to order_acknowledged_at",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_a_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, store: str, name: str, content: bytes, sentence: str
) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    upload(at, name, content)
    assert sentence in said(at)
    assert "preptime-page-" not in said(at)
    assert not [one for one in at.button if one.key == "predict"]


def test_a_name_that_is_markup_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    upload(at, "<b>:smile: **x** www.example.org.csv", b"")
    (body,) = [body for body in bodies(at) if "smile" in body]
    assert "&lt;b&gt;:smile: **x** www.example.org.csv is empty." in body
    assert not [one for one in at.markdown if "smile" in one.value]


def test_without_a_champion_the_page_says_which_command_makes_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"))
    assert f"{tmp_path / 'models'} has no champion yet" in said(at)
    assert "preptime train" in said(at)
    at.button("use_sample").click().run()  # a file can be looked at all the same
    assert "2 cannot be predicted" in said(at)


def test_a_damaged_champion_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = make_store(tmp_path)
    (bundle.folder / "model.onnx").write_bytes(b"damaged")
    assert f"{bundle.manifest.id}/model.onnx" in said(drawn(monkeypatch, PREPTIME_STORE=str(tmp_path / "models")))


def test_settings_that_cannot_be_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PREPTIME_STOER is no setting. Did you mean PREPTIME_STORE?" in said(drawn(monkeypatch, PREPTIME_STOER="x"))


@pytest.mark.parametrize("key", [API_KEY, ""])
def test_an_api_that_is_not_there_is_named_and_how_to_start_it(
    monkeypatch: pytest.MonkeyPatch, store: str, key: str
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=url, PREPTIME_API_KEY=key)
    at.radio("mode").set_value("Call Flask API").run()
    assert "asks for a key" not in said(at)
    assert not at.text_input
    assert f"The API at {url} gives no answer." in said(at)
    assert "Start it with `preptime serve`" in said(at)


def test_something_else_at_the_apis_address_is_found_out(
    monkeypatch: pytest.MonkeyPatch, store: str, site: Site
) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.page.url, PREPTIME_API_KEY=API_KEY)
    at.radio("mode").set_value("Call Flask API").run()
    assert "answers, but not as preptime's API does" in said(at)


def test_a_wrong_key_is_said_and_another_can_be_typed(monkeypatch: pytest.MonkeyPatch, store: str, site: Site) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url)
    at.radio("mode").set_value("Call Flask API").run()
    assert f"The API at {site.api.url} asks for a key." in said(at)
    at.text_input("api_key_field").set_value("not the key").run()
    assert f"The API at {site.api.url} does not know this key." in said(at)
    at.text_input("api_key_field").set_value(API_KEY).run()
    assert f"asked of {site.api.url}" in said(at)
    assert not at.text_input
    assert API_KEY not in said(at)


@pytest.mark.parametrize("typed", ["abc…", "schlüssel 🗝"])
def test_a_typed_key_that_cannot_be_sent_is_a_wrong_one_and_another_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, store: str, site: Site, typed: str
) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url)
    at.radio("mode").set_value("Call Flask API").run()
    at.text_input("api_key_field").set_value(typed).run()
    assert "This is no key: it holds a character that is not visible ASCII" in said(at)
    assert typed not in said(at)
    at.text_input("api_key_field").set_value(API_KEY).run()
    assert f"asked of {site.api.url}" in said(at)


def test_a_configured_key_that_is_wrong_gives_way_to_one_that_is_typed(
    monkeypatch: pytest.MonkeyPatch, store: str, site: Site
) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url, PREPTIME_API_KEY="an old key")
    at.radio("mode").set_value("Call Flask API").run()
    assert "does not know this key" in said(at)
    at.text_input("api_key_field").set_value(API_KEY).run()
    assert f"asked of {site.api.url}" in said(at)


def test_the_api_answers_a_file_too_in_requests_as_small_as_it_wants(
    monkeypatch: pytest.MonkeyPatch, store: str, site: Site
) -> None:
    monkeypatch.setattr("preptime.ui.predictors.MAX_ORDERS_PER_REQUEST", 7)
    at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=site.api.url, PREPTIME_API_KEY=API_KEY)
    at.radio("mode").set_value("Call Flask API").run()
    upload(at, "mixed.csv", csv(mixed()))
    at.button("predict").click().run()
    assert "of 20 rows; 11 without" in said(at)


def test_one_order_is_answered_and_asked_what_if(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    at.session_state["predict_tab"] = "One order"
    at.run()
    assert "ready at about" in said(at)
    assert "this restaurant's own orders" in said(at)
    assert len(at.get("vega_lite_chart")) == 5
    first = said(at)
    at.number_input("order_items").set_value(40).run()
    assert said(at) != first
    at.selectbox("order_restaurant").set_value(-1).run()
    at.number_input("order_restaurant_id").set_value(999_999).run()
    assert "all orders" in said(at)


@pytest.mark.parametrize(
    ("seconds", "clocks"), [((597.0, 931.0), ("19:10", "19:16")), ((629.0, 959.5), ("19:10", "19:16"))]
)
def test_the_clock_is_not_too_early(
    monkeypatch: pytest.MonkeyPatch, store: str, seconds: tuple[float, float], clocks: tuple[str, str]
) -> None:
    p50, p90 = seconds
    at, by = clocks

    def answers(self: BundleScorer, rows: pl.DataFrame) -> pl.DataFrame:
        ready = (dt.datetime(2015, 6, 20, 19) + dt.timedelta(seconds=p50)).isoformat(" ") + "+01:00"
        return real(self, rows).with_columns(
            pl.lit(p50).alias(quantile_column(0.5)),
            pl.lit(p90).alias(quantile_column(0.9)),
            pl.lit(ready).alias(PREDICTED_READY_AT),
        )

    real = BundleScorer.predict
    monkeypatch.setattr(BundleScorer, "predict", answers)
    page = drawn(monkeypatch, PREPTIME_STORE=store)
    page.session_state["predict_tab"] = "One order"
    page.run()
    assert f"ready at about {at}" in said(page)
    assert f"nine in ten by {by}." in said(page)
    drawing = str(page.get("vega_lite_chart")[0].proto)
    assert f"p50 {at}" in drawing
    assert f"p90 {by}" in drawing


def test_an_order_can_be_described_to_the_api_where_there_is_no_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: Site
) -> None:
    settings = {"PREPTIME_API_URL": site.api.url, "PREPTIME_API_KEY": API_KEY}
    at = drawn(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"), **settings)
    at.radio("mode").set_value("Call Flask API").run()
    at.session_state["predict_tab"] = "One order"
    at.run()
    assert "ready at about" in said(at)


def test_the_data_dictionary_is_the_declared_one(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    from preptime.domain.data_dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY

    at = drawn(monkeypatch, PREPTIME_STORE=store)
    at.session_state["predict_tab"] = "Data dictionary"
    at.run()
    orders, restaurants = tables(at)
    assert [row["column"] for row in orders] == [one.name for one in ORDERS_DICTIONARY]
    assert [row["column"] for row in restaurants] == [one.name for one in RESTAURANTS_DICTIONARY]


def test_a_new_champion_answers_the_next_question(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_store(tmp_path)
    at = drawn(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"))
    from preptime.ui.connections import clear_champion_cache
    from tests.ui.browser import other_bundle

    newer = other_bundle(Store.open(str(tmp_path / "models")))
    promote(Store.open(str(tmp_path / "models")), newer)
    clear_champion_cache()
    at.run()
    assert newer.manifest.id in said(at)


def test_a_parquet_file_with_what_csv_cannot_hold_comes_back_exactly(
    monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    rows = pl.DataFrame([GOOD]).with_columns(tags=pl.Series([["a", "b"]]))
    content = io.BytesIO()
    rows.write_parquet(content)
    at = drawn(monkeypatch, PREPTIME_STORE=store)
    at.file_uploader[0].set_value(("nested.parquet", content.getvalue(), "application/octet-stream")).run()
    at.button("predict").click().run()
    assert "Download as parquet" in said(at)
    assert "Download as csv" not in said(at)
    assert "csv has no cell for the column tags" in said(at)


def test_a_page_that_others_can_reach_asks_for_a_key_at_the_door(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("PREPTIME_STORE", store)
    monkeypatch.setenv("PREPTIME_UI_HOST", "192.0.2.1")
    monkeypatch.setenv("PREPTIME_API_KEYS", setting("dispatch", API_KEY))
    at = AppTest.from_file(Path(preptime.ui.__file__).with_name("app.py"), default_timeout=30).run()
    assert not at.radio
    at.text_input[0].set_value("guess")
    at.button[0].click().run()
    assert "That is no key of this installation." in said(at)
    at.text_input[0].set_value(API_KEY)
    at.button[0].click().run()
    assert "That is no key" not in said(at)
    assert not at.text_input
    assert API_KEY not in said(at)


def test_what_nobody_foresaw_is_a_sentence_and_its_trace_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    script = "from preptime.ui.server import _on_script_error\n_on_script_error(ValueError('a detail'))"
    at = AppTest.from_string(script, default_timeout=30).run()
    assert "Something went wrong that nobody foresaw." in said(at)
    assert "a detail" not in said(at)
    assert "ValueError: a detail" in caplog.text


def test_an_api_that_ends_in_between_is_a_sentence(monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with started(tmp_path / "served", REAL, PREPTIME_STORE=store, PREPTIME_PREDICTION_LOG="off") as api:
        api.wait_until("/readyz")
        at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=api.url, PREPTIME_API_KEY=PLAIN_KEY)
        at.radio("mode").set_value("Call Flask API").run()
        upload(at, "mixed.csv", csv(mixed()))
        assert f"asked of {api.url}" in said(at)
        ending = _ends_before_it_is_asked(monkeypatch, api)
        at.button("predict").click().run()
        assert ending == [0]
        assert f"The API at {api.url} gives no answer. 127.0.0.1:{api.port} cannot be reached" in said(at)
        assert "Start it with `preptime serve`" in said(at)
    assert "of 20 rows" not in said(at)


def test_an_api_that_ends_while_one_order_is_answered_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path
) -> None:
    (tmp_path / "served").mkdir()
    with started(tmp_path / "served", REAL, PREPTIME_STORE=store, PREPTIME_PREDICTION_LOG="off") as api:
        api.wait_until("/readyz")
        at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=api.url, PREPTIME_API_KEY=PLAIN_KEY)
        at.radio("mode").set_value("Call Flask API").run()
        ending = _ends_before_it_is_asked(monkeypatch, api)
        at.session_state["predict_tab"] = "One order"
        at.run()
        assert ending == [0]
        assert f"The API at {api.url} gives no answer. 127.0.0.1:{api.port} cannot be reached" in said(at)


def test_an_api_without_a_champion_says_that_it_cannot_predict_yet(
    monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path
) -> None:
    (tmp_path / "served").mkdir()
    empty = str(tmp_path / "empty")
    with started(tmp_path / "served", REAL, PREPTIME_STORE=empty, PREPTIME_PREDICTION_LOG="off") as api:
        api.wait_until("/healthz")
        at = drawn(monkeypatch, PREPTIME_STORE=store, PREPTIME_API_URL=api.url, PREPTIME_API_KEY=PLAIN_KEY)
        at.radio("mode").set_value("Call Flask API").run()
        assert f"The API at {api.url} cannot predict at the moment." in said(at)
        assert "champion" in said(at)
        assert "train one with `preptime train`" in said(at)


def _ends_before_it_is_asked(monkeypatch: pytest.MonkeyPatch, api: Server) -> list[int]:
    """Ends the server when it is about to be asked for predictions. Gives its exit status."""
    ended: list[int] = []
    real = Client.predict

    def ask(self: Client, orders: Orders, *, models: Sequence[str] | None = None) -> PredictionResponse:
        if not ended:
            api.process.terminate()
            ended.append(api.process.wait(30))
        return real(self, orders, models=models)

    monkeypatch.setattr(Client, "predict", ask)
    return ended
