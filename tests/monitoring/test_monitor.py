"""A whole morning: a function of its date, whatever came later or in what order; and what is said when things lack."""

from __future__ import annotations

import datetime as dt
import html
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.features.spec import FEATURES
from preptime.monitoring.document import MonitoringDocument, encode
from preptime.monitoring.monitor import MonitoringInputs, monitor_day
from preptime.monitoring.prometheus import render
from preptime.monitoring.report import render_report
from preptime.synthetic import SynthesisPlan
from tests.monitoring.example import fired, first_morning
from tests.monitoring.factories import NoStore
from tests.monitoring.synthetic_months import ONE_DAY, Frame, Month, make_month

DAYS = 38
SLOWER_FROM = 36


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """38 small days, answered after 23; models that answer 40 % too little from day 36 on."""
    plan = SynthesisPlan(orders=9_000, restaurants=150, days=DAYS)
    return make_month(plan, tmp_path_factory.mktemp("month"), trained_days=23, slower=(SLOWER_FROM, 1.4))


@pytest.fixture(scope="module")
def date(month: Month) -> dt.date:
    """The morning after day 37."""
    return month.start + (DAYS - 1) * ONE_DAY


@pytest.fixture(scope="module")
def seen(month: Month, date: dt.date) -> MonitoringDocument:
    """What that morning says."""
    return monitor_day(month.watch(date), date)


def test_running_again_gives_the_same_bytes(month: Month, date: dt.date, seen: MonitoringDocument) -> None:
    assert encode(monitor_day(month.watch(date), date)) == encode(seen)


def test_the_order_of_rows_changes_nothing(month: Month, date: dt.date, seen: MonitoringDocument) -> None:
    shuffled = Frame(month.known(date).rows.sample(fraction=1.0, shuffle=True, seed=9))
    assert encode(monitor_day(replace(month.watch(date), orders=shuffled), date)) == encode(seen)


def test_a_backfill_says_what_the_morning_said(month: Month, date: dt.date, seen: MonitoringDocument) -> None:
    """Today's table holds later days, and so do the results."""
    assert encode(monitor_day(replace(month.watch(date), orders=Frame(month.orders)), date)) == encode(seen)


def test_everything_adds_up(seen: MonitoringDocument) -> None:
    counts = seen.prediction_counts
    assert counts.with_prediction + counts.without_prediction == counts.orders
    assert counts.with_prediction + counts.without_outcome == counts.from_api + counts.from_batch
    assert sum(day.orders for day in seen.days) == counts.orders
    assert sum(day.predictions for day in seen.days) == counts.with_prediction + counts.without_outcome
    assert sum(day.without_outcome for day in seen.days) == counts.without_outcome
    assert sum(day.metrics.n for day in seen.days) == counts.evaluated == seen.metrics.n
    assert all(sum(day.by_fallback_level.values()) == day.predictions for day in seen.days)
    for cut in ("overall", "city", "type_of_food", "hour", "items", "fallback_level"):
        assert sum(one.n for one in seen.segments if one.segment == cut) == seen.metrics.n
    for feature in seen.drift.features:
        assert sum(one.recent for one in feature.bins) == pytest.approx(1.0)
        assert sum(one.reference for one in feature.bins) == pytest.approx(1.0)
    assert seen.backtest_baseline is not None
    assert seen.backtest_baseline.metrics.n > 100


def test_what_went_wrong_is_said(seen: MonitoringDocument) -> None:
    """The models, not the kitchens, changed; every city is meant, so all orders are named."""
    slower = [alert for alert in seen.alerts if alert.rule == "slower_than_predicted"]
    assert slower
    assert {alert.value for alert in slower} <= {"all", "London"}
    assert seen.headline[0].startswith(slower[0].message)
    assert [rule.status for rule in seen.rules if rule.name == "slower_than_predicted"] == ["fired"]


def test_the_reference_is_whole_weeks_of_the_training_window(month: Month, seen: MonitoringDocument) -> None:
    reference = seen.drift.reference
    assert reference is not None
    assert (reference.first, reference.last) == (month.start + 9 * ONE_DAY, month.start + 22 * ONE_DAY)
    assert [feature.name for feature in seen.drift.features][-1] == "predicted_seconds"
    assert len(seen.drift.features) == len(FEATURES) + 1


def test_orders_of_another_kind_are_named_by_their_feature(
    month: Month, date: dt.date, seen: MonitoringDocument
) -> None:
    """In the last week every order is worth twice as much: the one feature is named, and nothing else drifts."""
    late = pl.col("order_acknowledged_at") >= dt.datetime.combine(date - 7 * ONE_DAY, dt.time(), dt.UTC)
    value = pl.col("order_value_gbp")
    dearer = month.known(date).rows.with_columns(
        pl.when(late).then(2 * value).otherwise(value).alias("order_value_gbp")
    )
    found = monitor_day(replace(month.watch(date), orders=Frame(dearer)), date)
    drifted = [alert for alert in found.alerts if alert.rule == "feature_drift"]
    assert [(alert.segment, alert.value) for alert in drifted] == [("feature", "order_value_gbp")]
    assert "order_value_gbp differs from its reference: PSI" in drifted[0].message
    assert not any(feature.drifted for feature in seen.drift.features)
    assert {rule.name: rule.status for rule in seen.rules}["feature_drift"] == "ok"


def test_a_day_cut_short_and_a_day_without_answers_are_named(month: Month, date: dt.date) -> None:
    """An export that ends at noon, and a day that nobody scored."""
    rows = month.known(date).rows
    noon = dt.datetime.combine(date - ONE_DAY, dt.time(13), dt.UTC)
    cut = monitor_day(
        replace(month.watch(date), orders=Frame(rows.filter(pl.col("order_acknowledged_at") < noon))), date
    )
    assert {"volume_low", "missing_outcomes"} <= {alert.rule for alert in cut.alerts}
    path = month.results.path(date - ONE_DAY, "predictions.parquet")
    aside = path.rename(path.with_name("aside"))
    try:
        unscored = monitor_day(month.watch(date), date)
    finally:
        aside.rename(path)
    named = {alert.rule: alert for alert in unscored.alerts}
    assert named["missing_predictions"].message.startswith("100.0\N{NO-BREAK SPACE}% of ")


def test_a_pruned_store_takes_the_lookup_and_the_drift_along(month: Month, date: dt.date) -> None:
    found = monitor_day(replace(month.watch(date), bundle_source=NoStore()), date)
    assert found.metrics.n > 0
    assert (found.metrics.lookup_mae, found.metrics.lookup_n, found.champion, found.backtest_baseline) == (
        None,
        0,
        None,
        None,
    )
    assert all(one.lookup_mae is None for one in found.segments)
    assert found.drift.unavailable_reason is not None
    assert {rule.status for rule in found.rules if rule.name in {"worse_than_lookup", "feature_drift"}} == {
        "insufficient_data"
    }


def test_a_first_morning_without_any_answer_is_no_failure(month: Month, tmp_path: Path) -> None:
    date = month.start + 3 * ONE_DAY
    found = monitor_day(replace(month.watch(date), results=type(month.results)(tmp_path / "none")), date)
    assert not found.alerts
    assert "Nothing was answered" in found.headline[1]
    for document in (found, first_morning()):
        assert "Nothing was answered" in render_report(document)
        assert b"preptime_monitor_alerts 0.0\n" in render(document)


def test_a_table_without_a_known_order_is_no_failure(month: Month) -> None:
    date = month.start
    watch = MonitoringInputs(Frame(month.orders), month.directory, month.results, month.mornings)
    found = monitor_day(watch, date)
    assert (found.prediction_counts.orders, found.alerts) == (0, ())


@pytest.fixture(scope="module")
def page(seen: MonitoringDocument) -> str:
    """The morning's page."""
    return render_report(seen)


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    without_names = page.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
    assert not re.search(r"https?://|@import|<script|<link|src=|url\((?!#)", without_names)
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_the_page_says_what_the_document_says(seen: MonitoringDocument, page: str) -> None:
    for sentence in seen.headline:
        assert html.escape(sentence) in page
    for rule in seen.rules:
        assert f">{rule.name}<" in page
    for bundle in seen.bundles:
        assert bundle.bundle in page
    assert page.count('class="wide"') == page.count('class="narrow"') >= 10


def test_the_same_document_gives_the_same_page(seen: MonitoringDocument, page: str) -> None:
    assert render_report(seen) == page


def test_names_from_data_are_text_on_the_page() -> None:
    bad = '<script>alert("x")</script>'
    document = fired()
    alert = msgspec.structs.replace(document.alerts[0], value=bad, message=f"{bad} is slower.")
    shown = render_report(msgspec.structs.replace(document, alerts=(alert,), headline=(alert.message,)))
    assert "<script" not in shown
    assert html.escape(bad) in shown


SAMPLE = re.compile(
    r'(preptime_monitor_[a-z0-9_]+)(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? (\S+)'
)


def test_the_prometheus_file_is_one(seen: MonitoringDocument) -> None:
    """Each metric told once, with its help and type before its samples, and the values of the document."""
    lines = render(seen).decode().splitlines()
    told = list[str]()
    for line in lines:
        if line.startswith("# HELP "):
            told.append(line.split(" ")[2])
        elif not line.startswith("# TYPE "):
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found[1] == told[-1]
            float(found[3])
    assert len(told) == len(set(told))
    assert f'preptime_monitor_mae_seconds{{days="7d"}} {seen.recent_metrics.mae!r}' in lines
    assert f"preptime_monitor_alerts {float(len(seen.alerts))!r}" in lines


def test_every_metric_is_documented(seen: MonitoringDocument) -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    names = set(re.findall(r"# HELP (\S+)", render(seen).decode()))
    assert names == set(re.findall(r"`(preptime_monitor_[a-z0-9_]+)", page))


def test_labels_are_escaped() -> None:
    document = fired()
    alert = msgspec.structs.replace(document.alerts[0], value='a "b" \\ c\nd')
    text = render(msgspec.structs.replace(document, alerts=(alert,))).decode()
    assert r'value="a \"b\" \\ c\nd"' in text


def test_no_column_of_the_later_kind_is_needed_of_a_partition(month: Month) -> None:
    """Guards the harness: what it writes is what monitoring asks for, no more."""
    path = month.results.path(month.first_answer, "predictions.parquet")
    assert len(pl.read_parquet_schema(path)) == 7
