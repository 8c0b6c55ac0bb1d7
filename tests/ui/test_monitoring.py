"""Tests of the page Monitoring: all views, several as-of dates, and no results."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from streamlit.testing.v1 import AppTest

from preptime.evaluation.aggregates import segment_rows, with_coverage
from preptime.monitoring.document import Day, MonitoringDocument, encode
from preptime.monitoring.report import render_report
from preptime.monitoring.report_rows import ratio_rows, volume_rows
from preptime.sources.results import MONITORING_FILE, MONITORING_REPORT_FILE, PREDICTIONS_FILE, ResultsFolder
from tests.monitoring.example import DATE, fired, first_day, quiet
from tests.ui.page_rendering import chart_axes, html_bodies, page_text, render_page, table_column, table_rows

pytestmark = pytest.mark.usefixtures("empty_caches")

VIEWS = ("Alerts and rules", "By day", "Actual vs. predicted", "By segment", "Drift", "Predictions and labels")
CHART_COUNTS = {"Alerts and rules": 1, "By day": 3, "Actual vs. predicted": 1, "By segment": 2, "Drift": 2,
            "Predictions and labels": 1}  # fmt: skip
ONE_DAY = dt.timedelta(days=1)
QUIET = "All 2 rules had enough data: quiet."
HOSTILE = "<b>London</b> **loud**"


class OpenView(Protocol):
    """Renders the page with these documents and a view selected."""

    def __call__(self, *documents: MonitoringDocument, view: str = "Alerts and rules") -> AppTest: ...


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """An empty results folder."""
    return ResultsFolder(tmp_path / "results")


@pytest.fixture
def open_view(results: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> OpenView:
    """Returns a function that writes documents and renders the page."""

    def open_with(*documents: MonitoringDocument, view: str = "Alerts and rules") -> AppTest:
        for document in documents:
            results.write(document.date, MONITORING_FILE, encode(document))
        at = render_page(monkeypatch, "monitoring", PREPTIME_RESULTS=str(results.root))
        at.session_state["monitoring-view"] = view
        at.run()
        assert not at.exception, at.exception
        return at

    return open_with


def test_page_without_results_shows_the_monitor_command(open_view: OpenView, results: ResultsFolder) -> None:
    at = open_view()
    shown = page_text(at)
    assert any("<code>preptime score --date DATE</code>" in body for body in html_bodies(at))
    assert "There are no predictions to monitor yet." in shown
    assert "preptime monitor --date" in shown
    results.write(DATE, PREDICTIONS_FILE, b"a day")
    shown = page_text(open_view())
    assert f"predictions for 1 day ({DATE} to {DATE})" in shown
    assert "preptime monitor --date" in shown


def test_alerts_by_date_have_a_place_for_each_day(open_view: OpenView) -> None:
    """Bars and dots are above the label of their date. A date without a document is a gap."""
    at = open_view(quiet(DATE - 3 * ONE_DAY), fired(), view="Alerts and rules")
    (chart,) = at.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    days = [str(DATE - count * ONE_DAY) for count in (3, 2, 1, 0)]
    assert all(layer["encoding"]["x"]["field"] == "day" for layer in spec["layer"])
    assert all(layer["encoding"]["x"]["scale"]["domain"] == days for layer in spec["layer"])


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_date_with_alerts(open_view: OpenView, view: str) -> None:
    at = open_view(quiet(DATE - ONE_DAY), fired(), view=view)
    shown = page_text(at)
    assert "London: actual times are 15% longer than predicted" in shown
    assert "7.2 min backtest: 7.1 min" in shown
    assert len(at.get("vega_lite_chart")) == CHART_COUNTS[view]
    assert {title for field, title in chart_axes(at) if "day" in field} <= {"day"}


def test_daily_view_shows_waiting_cost_if_known(open_view: OpenView) -> None:
    document = quiet()
    at = open_view(document, view="By day")
    metrics, days = document.recent_metrics, document.recent_days
    assert f"{metrics.n:,} orders from {days.first} to {days.last}." in page_text(at)
    (row, *_) = next(rows for rows in table_rows(at) if rows and "couriers arrive at" in rows[0])
    assert row["couriers arrive at"] == "predicted quantile"
    for cost, ratio in zip(metrics.waiting_costs, ("1:1", "2:1", "1:2"), strict=True):
        assert row[f"courier:food {ratio}"] == f"{(cost.predicted_quantile or 0) / 60:,.0f}"
    # A document of an earlier run has none.
    earlier = msgspec.structs.replace(document, recent_metrics=msgspec.structs.replace(metrics, waiting_costs=()))
    assert "Waiting cost" not in page_text(open_view(earlier, view="By day"))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_date_without_predictions(open_view: OpenView, view: str) -> None:
    at = open_view(first_day(), view=view)
    assert "There are no predictions in the monitored days" in page_text(at)
    assert not at.get("vega_lite_chart")


def test_order_counts_cover_the_days_in_the_chart(open_view: OpenView) -> None:
    first = DATE - 41 * ONE_DAY
    earlier = quiet(DATE - 40 * ONE_DAY)
    counts = msgspec.structs.replace(earlier.prediction_counts, first_prediction=first)
    earlier = msgspec.structs.replace(earlier, days=_one_day(first, 7), prediction_counts=counts)
    at = open_view(earlier, msgspec.structs.replace(quiet(), days=_one_day(DATE - ONE_DAY, 11)), view="By day")
    assert (
        f"{first} to {DATE - ONE_DAY}: 202 orders, of which 2 can't be used. Predictions start on {first}. Since then, "
        "without a prediction: 18 of 200 usable orders. Predictions without an outcome: 8." in page_text(at)
    )


def test_first_day_without_predictions_has_missing_ones(open_view: OpenView) -> None:
    """Predictions started before the shown days, so an unpredicted first day has missing predictions."""
    document = quiet()
    first_day, *others = document.days
    unpredicted = msgspec.structs.replace(first_day, predictions=0, without_outcome=0, usable=600)
    start = first_day.date - 5 * ONE_DAY
    counts = msgspec.structs.replace(document.prediction_counts, first_prediction=start)
    document = msgspec.structs.replace(document, days=(unpredicted, *others), prediction_counts=counts)
    missing = 600 + sum(day.usable - (day.predictions - day.without_outcome) for day in others)
    expected = sum(day.usable for day in document.days)
    shown = page_text(open_view(document, view="By day"))
    assert f"Predictions start on {start}. Since then, without a prediction: {missing:,} of {expected:,} us" in shown
    groups = {str(row["group"]): row["orders"] for row in volume_rows(document) if row["day"] == str(first_day.date)}
    assert (groups["no prediction"], groups.get("before predictions", 0)) == (600, 0)


def test_coverage_tile_states_both_shares(open_view: OpenView) -> None:
    document = quiet()
    metrics = msgspec.structs.replace(document.recent_metrics, coverage=0.9, coverage_inside=0.72)
    shown = page_text(open_view(msgspec.structs.replace(document, recent_metrics=metrics)))
    assert "90.0% of the orders, or 72.0% without those at its ends (expected: 80%)" in shown


def test_segments_without_an_interval_have_no_coverage_chart(open_view: OpenView) -> None:
    """Predictions of the take-home route have no interval, which isn't a coverage of 0%."""
    document = quiet()
    unknown = tuple(msgspec.structs.replace(segment, coverage=None) for segment in document.segments)
    at = open_view(msgspec.structs.replace(document, segments=unknown), view="By segment")
    assert len(at.get("vega_lite_chart")) == 1
    assert "Coverage of p10–p90" not in page_text(at)
    one_known = (*unknown[:1], document.segments[1], *unknown[2:])
    assert [row["value"] for row in with_coverage(segment_rows(one_known, ("overall", "city")))] == ["London"]
    page = render_report(msgspec.structs.replace(document, segments=unknown))
    assert "Mean error by segment" in page
    assert "Coverage of p10–p90 by segment" not in page


def test_prediction_drift_is_shown_without_a_feature_reference(open_view: OpenView) -> None:
    document = fired()
    (*_, prediction) = document.drift.features
    reason = "The training window of the models has no whole week to compare with."
    drift = msgspec.structs.replace(
        document.drift, reference=None, reference_orders=0, features=(prediction,), unavailable_reason=reason
    )
    at = open_view(msgspec.structs.replace(document, drift=drift), view="Drift")
    shown = page_text(at)
    days = drift.prediction_reference
    assert days
    assert reason in shown
    assert f"compared with the weeks before, {days.first} to {days.last}, for predictions." in shown
    assert len(at.get("vega_lite_chart")) == 2


def test_ratio_chart_has_segments_that_fired_on_earlier_days() -> None:
    """A small city that fired three days ago is drawn before larger cities."""
    document = quiet()
    overall, large, *_ = document.ratio_series
    cities = [msgspec.structs.replace(large, value=f"City {number}") for number in range(9)]
    days = [msgspec.structs.replace(day, fired=index == len(large.days) - 3) for index, day in enumerate(large.days)]
    leeds = msgspec.structs.replace(large, value="Leeds", n=1, days=tuple(days))
    rows = ratio_rows(msgspec.structs.replace(document, ratio_series=(overall, *cities, leeds)))
    assert list(dict.fromkeys(row["segment"] for row in rows))[:3] == ["all orders", "Leeds", "City 0"]
    assert [row["day"] for row in rows if row["fired"]] == [str(DATE - 3 * ONE_DAY)]


def test_bundle_table_names_its_counts(open_view: OpenView) -> None:
    at = open_view(quiet(), view="Predictions and labels")
    bundle = quiet().bundles[0]
    assert table_column(at, "with outcome", having="bundle")[0] == f"{bundle.orders:,}"
    assert table_column(at, "evaluated", having="bundle")[0] == f"{bundle.metrics.n:,}"


def _one_day(date: dt.date, without_prediction: int) -> tuple[Day, ...]:
    """Return one day with a hundred usable orders and an unusable one."""
    (*_, day) = quiet().days
    predictions = 100 - without_prediction + 4  # four predictions have no known order
    changed = {"orders": 101, "usable": 100, "predictions": predictions, "without_outcome": 4}
    return (msgspec.structs.replace(day, date=date, **changed),)


def test_undecided_date_is_blue_and_counted(open_view: OpenView) -> None:
    """A date on which some rules have too little data isn't green."""
    document = quiet()
    undecided = msgspec.structs.replace(document.rules[1], status="undecided", observed=None, message="Too few days.")
    headline = "1 of 2 rules had enough data: quiet. 1 is undecided."
    rules = (document.rules[0], undecided)
    at = open_view(msgspec.structs.replace(document, status="undecided", rules=rules, headline=(headline, "")))
    assert any('class="callout info" role="status"' in body and headline in body for body in html_bodies(at))
    assert not any('class="callout success"' in body for body in html_bodies(at))
    assert table_column(at, "status", having="threshold") == ["● quiet", "– undecided"]
    assert at.selectbox("as-of-date").options == ["Mon 22 Jun 2015 · 1 of 2 rules undecided"]


def test_date_without_alerts_shows_success(open_view: OpenView) -> None:
    at = open_view(quiet())
    assert any('class="callout success" role="status"' in body and QUIET in body for body in html_bodies(at))
    assert "There are no alerts on the monitored dates." in page_text(at)
    assert set(table_column(at, "status", having="threshold")) == {"● quiet"}


def test_earlier_date_shows_only_what_was_known_then(open_view: OpenView) -> None:
    at = open_view(quiet(DATE - ONE_DAY), fired())
    assert table_column(at, "as-of date", having="since") == [str(DATE)]
    at.selectbox("as-of-date").set_value(DATE - ONE_DAY).run()
    assert QUIET in page_text(at)
    assert "There are no alerts on the monitored dates." in page_text(at)


def test_changed_document_is_read_again(open_view: OpenView, results: ResultsFolder) -> None:
    at = open_view(quiet())
    assert QUIET in page_text(at)
    results.write(DATE, MONITORING_FILE, encode(fired()) + b" ")
    assert "London: actual times" in page_text(at.run())


def test_report_is_downloadable(open_view: OpenView, results: ResultsFolder) -> None:
    at = open_view(fired())
    assert not at.get("download_button")
    results.write(DATE, MONITORING_REPORT_FILE, b"<html>")
    at.run()
    assert [button.proto.label for button in at.get("download_button")] == ["Download the report"]


def test_seconds_in_messages_are_shown_as_minutes(open_view: OpenView) -> None:
    document = fired()
    rule = msgspec.structs.replace(
        document.rules[0], message="The mean error of the week is 508 s; 488.4 s were promised."
    )
    at = open_view(msgspec.structs.replace(document, rules=(rule,)))
    assert table_column(at, "result", having="threshold") == [
        "The mean error of the week is 8.47 min; 8.14 min were promised."
    ]


def test_damaged_document_does_not_hide_others(open_view: OpenView, results: ResultsFolder) -> None:
    results.write(DATE - ONE_DAY, MONITORING_FILE, b"{}")
    shown = page_text(open_view(fired()))
    assert f"The monitoring result of {DATE - ONE_DAY} can't be read." in shown
    assert "London: actual times" in shown


def test_segment_names_are_shown_as_text(open_view: OpenView) -> None:
    document = fired()
    alert = msgspec.structs.replace(document.alerts[0], value=HOSTILE, message=f"Orders in {HOSTILE} take longer.")
    series = msgspec.structs.replace(document.ratio_series[1], value=HOSTILE)
    hostile = msgspec.structs.replace(
        document, alerts=(alert,), ratio_series=(document.ratio_series[0], series), headline=(alert.message, "")
    )
    at = open_view(hostile, view="Actual vs. predicted")
    assert f"Actual ÷ predicted: {HOSTILE}" in page_text(at)
    assert not any("<b>London" in body for body in html_bodies(at))


def test_segments_without_a_lookup_are_shown(open_view: OpenView) -> None:
    document = fired()
    segments = tuple(msgspec.structs.replace(segment, lookup_mae=None) for segment in document.segments)
    at = open_view(msgspec.structs.replace(document, segments=segments), view="By segment")
    for dimension in ("hour", "fallback_level"):
        at.session_state["monitoring-dimension"] = dimension
        at.run()
        assert not at.exception
        assert len(at.get("vega_lite_chart")) == 2
