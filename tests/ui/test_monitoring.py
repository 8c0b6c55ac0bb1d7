"""The page Monitoring: a morning in every view, many mornings together, and the honest nothing before the first."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from streamlit.testing.v1 import AppTest

from preptime.monitoring.document import Day, MonitoringDocument, encode
from preptime.sources.results import MONITORING_FILE, MONITORING_REPORT_FILE, PREDICTIONS_FILE, ResultsFolder
from tests.monitoring.example import DATE, fired, first_morning, quiet
from tests.ui.chart_rendering import axes, bodies, column, drawn, said

pytestmark = pytest.mark.usefixtures("fresh")

VIEWS = ("Alerts and rules", "By day", "Actual vs. predicted", "By segment", "Drift", "Predictions and labels")
PICTURES = {"Alerts and rules": 1, "By day": 3, "Actual vs. predicted": 1, "By segment": 2, "Drift": 2,
            "Predictions and labels": 1}  # fmt: skip
ONE_DAY = dt.timedelta(days=1)
HOSTILE = "<b>London</b> **loud**"


class Open(Protocol):
    """Opens the page on these mornings, at a view."""

    def __call__(self, *documents: MonitoringDocument, view: str = "Alerts and rules") -> AppTest: ...


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """An empty folder of results."""
    return ResultsFolder(tmp_path / "results")


@pytest.fixture
def open_at(results: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> Open:
    """The page on what is written there first."""

    def opened(*documents: MonitoringDocument, view: str = "Alerts and rules") -> AppTest:
        for document in documents:
            results.write(document.date, MONITORING_FILE, encode(document))
        at = drawn(monkeypatch, "monitoring", PREPTIME_RESULTS=str(results.root))
        at.session_state["monitoring-view"] = view
        at.run()
        assert not at.exception, at.exception
        return at

    return opened


def test_before_the_first_morning_it_says_which_command_fills_it(open_at: Open, results: ResultsFolder) -> None:
    shown = said(open_at())
    assert "There is nothing to monitor yet" in shown
    assert "preptime monitor --date" in shown
    results.write(DATE, PREDICTIONS_FILE, b"a day")
    shown = said(open_at())
    assert f"predictions for 1 day ({DATE} to {DATE})" in shown
    assert "preptime monitor --date" in shown


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_morning_that_fired(open_at: Open, view: str) -> None:
    at = open_at(quiet(DATE - ONE_DAY), fired(), view=view)
    shown = said(at)
    assert "Orders in London take 15 % longer than said" in shown
    assert "7.2 min 7.1 min promised" in shown
    assert len(at.get("vega_lite_chart")) == PICTURES[view]
    assert {title for field, title in axes(at) if "day" in field} <= {"day"}


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_first_morning_says_that_nothing_is_known(open_at: Open, view: str) -> None:
    at = open_at(first_morning(), view=view)
    assert "Nothing was answered in the days before this morning" in said(at)
    assert not at.get("vega_lite_chart")


def test_the_sentence_about_orders_counts_the_days_that_are_drawn(open_at: Open) -> None:
    earlier = msgspec.structs.replace(quiet(DATE - 40 * ONE_DAY), days=_days(DATE - 41 * ONE_DAY, 7))
    at = open_at(earlier, msgspec.structs.replace(quiet(), days=_days(DATE - ONE_DAY, 11)), view="By day")
    first = DATE - 41 * ONE_DAY
    assert f"From {first} to {DATE - ONE_DAY}, 18 of 200 orders have no answer, and 8 answers no outcome yet." in said(
        at
    )


def _days(date: dt.date, unanswered: int) -> tuple[Day, ...]:
    """One day of a hundred orders."""
    (*_, day) = quiet().days
    answered = 100 - unanswered + 4  # four of them without an order that is known
    return (msgspec.structs.replace(day, date=date, orders=100, predictions=answered, without_outcome=4),)


def test_a_quiet_morning_is_told_as_good(open_at: Open) -> None:
    at = open_at(quiet())
    assert any('class="callout success" role="status"' in body and "Nothing fired." in body for body in bodies(at))
    assert "Nothing has fired on any morning" in said(at)
    assert set(column(at, "this morning", having="fires at")) == {"● quiet"}


def test_an_earlier_morning_is_looked_at_with_what_was_known_then(open_at: Open) -> None:
    at = open_at(quiet(DATE - ONE_DAY), fired())
    assert [str(one) for one in column(at, "morning", having="since")] == [f"{DATE} 00:00:00"] or column(
        at, "morning", having="since"
    ) == [DATE]
    at.selectbox("as-of-date").set_value(DATE - ONE_DAY).run()
    assert "Nothing fired." in said(at)
    assert "Nothing has fired on any morning" in said(at)


def test_a_document_written_anew_is_read_anew(open_at: Open, results: ResultsFolder) -> None:
    at = open_at(quiet())
    assert "Nothing fired." in said(at)
    results.write(DATE, MONITORING_FILE, encode(fired()) + b" ")
    assert "Orders in London" in said(at.run())


def test_a_mornings_report_is_there_to_download(open_at: Open, results: ResultsFolder) -> None:
    at = open_at(fired())
    assert not at.get("download_button")
    results.write(DATE, MONITORING_REPORT_FILE, b"<html>")
    at.run()
    assert [one.proto.label for one in at.get("download_button")] == ["Download this morning's report"]


def test_seconds_are_said_in_minutes(open_at: Open) -> None:
    found = fired()
    rule = msgspec.structs.replace(
        found.rules[0], message="The mean error of the week is 508 s; 488.4 s were promised."
    )
    at = open_at(msgspec.structs.replace(found, rules=(rule,)))
    assert column(at, "in words", having="fires at") == [
        "The mean error of the week is 8.47 min; 8.14 min were promised."
    ]


def test_a_damaged_morning_hides_no_other(open_at: Open, results: ResultsFolder) -> None:
    results.write(DATE - ONE_DAY, MONITORING_FILE, b"{}")
    shown = said(open_at(fired()))
    assert f"The morning of {DATE - ONE_DAY} cannot be read." in shown
    assert "Orders in London" in shown


def test_names_are_text(open_at: Open) -> None:
    found = fired()
    alert = msgspec.structs.replace(found.alerts[0], value=HOSTILE, message=f"Orders in {HOSTILE} take longer.")
    trail = msgspec.structs.replace(found.ratio_series[1], value=HOSTILE)
    hostile = msgspec.structs.replace(
        found, alerts=(alert,), ratio_series=(found.ratio_series[0], trail), headline=(alert.message, "")
    )
    at = open_at(hostile, view="Actual vs. predicted")
    assert f"Actual ÷ predicted: {HOSTILE}" in said(at)
    assert not any("<b>London" in body for body in bodies(at))


def test_segments_without_a_lookup_are_shown_without_it(open_at: Open) -> None:
    found = fired()
    segments = tuple(msgspec.structs.replace(one, lookup_mae=None) for one in found.segments)
    at = open_at(msgspec.structs.replace(found, segments=segments), view="By segment")
    for cut in ("hour", "fallback_level"):
        at.session_state["monitoring-dimension"] = cut
        at.run()
        assert not at.exception
        assert len(at.get("vega_lite_chart")) == 2
