"""Tests of the unit of a target on every page of the dashboard and in both reports."""

from __future__ import annotations

import html
import re
import statistics
from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.champion_log import resolve_bundle_id
from preptime.bundle.store import Store
from preptime.domain.time_units import MINUTES, TIME_UNITS
from preptime.evaluation.overview import summarize_bundle
from preptime.evaluation.report import render_report as render_training_report
from preptime.monitoring.report import render_report
from tests.evaluation.factories import evaluated_orders, report_context
from tests.monitoring.example import fired
from tests.scoring.delivery import SCHEMA_TOML, delivery_frames
from tests.ui.company import all_text, each_view, settings, training_report, write_company
from tests.ui.page_rendering import page_text, render_page, table_column

HOURS = TIME_UNITS["h"]
MINUTE_WORDS = re.compile(r"\bminutes\b|\bmin\b(?!-)", re.IGNORECASE)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the second company, whose target is in hours."""
    schema_text = SCHEMA_TOML.replace('event = "delivered"', 'event = "delivered"\nunit = "h"')
    return write_company(tmp_path_factory.mktemp("hours"), schema_text)


@pytest.fixture(autouse=True)
def _isolated(empty_caches: None) -> None:
    """Each test has its own caches."""


def minute_words(text: str) -> list[str]:
    """Return the words for minutes in a text, with what surrounds them."""
    text = re.sub(r"<style>.*?</style>", " ", text, flags=re.DOTALL)
    return [text[max(0, found.start() - 50) : found.end() + 20] for found in MINUTE_WORDS.finditer(text)]


def test_no_view_is_in_minutes(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    texts = {name: all_text(at) for name, at in each_view(monkeypatch, company)}
    # The company's own column is in minutes, so the dictionary says so.
    del texts["Data dictionary"]
    assert [f"{name}: {words}" for name, text in texts.items() for words in minute_words(text)] == []
    store = Store.open(str(company / "models"))
    summary = summarize_bundle(store.read_manifest(resolve_bundle_id(store, None)))
    assert summary.mae is not None
    mean_error = f"{summary.mae / 3600:.3f} h"
    for name in ("predict", "models, Bundles", "models, Bundle details"):
        assert mean_error in texts[name], name
    assert "In the last seven days, the mean error was 0.120 hours (backtest: 0.118)." in texts["monitoring, By day"]
    labels = delivery_frames()[0]["delivery_min"].str.replace(",", ".", literal=True).cast(pl.Float64)
    median = re.search(r"The median is ([0-9.]+) hours", texts["data, Distributions"])
    assert median is not None
    assert float(median[1]) == pytest.approx(statistics.median(labels) / 60, abs=0.02)


def test_predictions_are_in_hours(monkeypatch: pytest.MonkeyPatch, company: Path) -> None:
    at = render_page(monkeypatch, **settings(company))
    found = re.search(r"delivered at about (\d\d):(\d\d) ([0-9.]+) h after acknowledgement", page_text(at))
    assert found is not None
    # The order of the form is acknowledged at 19:00.
    assert float(found[3]) == pytest.approx(int(found[1]) - 19 + int(found[2]) / 60, abs=0.01)
    at.session_state["predict_tab"] = "Upload a file"
    at.run()
    rows = delivery_frames()[0].head(30)
    at.file_uploader[0].set_value(("orders.csv", rows.write_csv(separator=";").encode(), "text/csv")).run()
    at.button("predict").click().run()
    assert "A bar covers 0.03333 hours." in page_text(at)
    assert minute_words(all_text(at).replace("delivery_min", "")) == []
    by_clock = [
        (clock_hours(latest) - clock_hours(expected)) % 24
        for expected, latest in zip(table_column(at, "delivered at"), table_column(at, "90% delivered by"), strict=True)
    ]
    spread = [
        float(str(p90)) - float(str(p50))
        for p50, p90 in zip(*(table_column(at, n) for n in ("p50", "p90")), strict=True)
    ]
    assert spread == pytest.approx(by_clock, abs=0.03)
    at.session_state["model_tab"] = "random forest"
    text = all_text(at.run())
    assert "random forest alone: median 0." in text
    assert minute_words(text.replace("delivery_min", "")) == []


def clock_hours(text: object) -> float:
    """Return the time at the end of a text in hours."""
    return int(str(text)[-5:-3]) + int(str(text)[-2:]) / 60


def test_training_report_is_in_hours(company: Path) -> None:
    report = html.unescape(training_report(company))
    assert minute_words(report) == []
    store = Store.open(str(company / "models"))
    summary = summarize_bundle(store.read_manifest(resolve_bundle_id(store, None)))
    assert summary.mae is not None
    assert f"<b>{summary.mae / 3600:.3f}<small> h</small></b>" in report
    assert "mean error, hours" in report
    assert "label from 0 to 3 hours" in report


def test_monitoring_report_is_in_hours() -> None:
    report = html.unescape(render_report(fired(), HOURS))
    assert minute_words(report) == []
    assert "<b>0.121<small> h</small></b>" in report  # 434 seconds
    assert "the mean error was 0.120 hours (backtest: 0.118)." in report


def test_reports_are_in_minutes_by_default() -> None:
    report = html.unescape(render_report(fired()))
    assert report == html.unescape(render_report(fired(), MINUTES))
    assert "<b>7.2<small> min</small></b>" in report
    assert "the mean error was 7.2 minutes (backtest: 7.1)." in report
    report = html.unescape(render_training_report(report_context(evaluated_orders(500))))
    assert {"mean error, min", "within 5 min"} <= set(re.findall(r'<th scope="col">([^<]*)</th>', report))
    assert "label from 0 to 180 minutes" in report
