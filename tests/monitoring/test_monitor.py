"""Monitoring of one date: reproducible, independent of the order of rows, and correct with missing data."""

from __future__ import annotations

import datetime as dt
import html
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.monitoring.document import MonitoringDocument, encode
from preptime.monitoring.monitor import MonitoringInputs, monitor_day
from preptime.monitoring.prometheus import render
from preptime.monitoring.report import render_report
from preptime.sources.results import ResultsFolder
from preptime.synthetic import SynthesisPlan
from tests.monitoring.example import fired, first_day
from tests.monitoring.factories import DATE as FACTORY_DATE
from tests.monitoring.factories import (
    RESTAURANT_INDEX,
    EmptyBundleSource,
    PredictionFolders,
    make_order,
    with_outcome,
)
from tests.monitoring.synthetic_months import ONE_DAY, FrameSource, Month, make_month

DAYS = 38
SLOWER_FROM_DAY = 36


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """38 small days with predictions after day 23. From day 36, predictions are too small by a factor of 1.4."""
    plan = SynthesisPlan(orders=9_000, restaurants=150, days=DAYS)
    return make_month(plan, tmp_path_factory.mktemp("month"), trained_days=23, slower=(SLOWER_FROM_DAY, 1.4))


@pytest.fixture(scope="module")
def date(month: Month) -> dt.date:
    """The as-of date after day 37."""
    return month.start + (DAYS - 1) * ONE_DAY


@pytest.fixture(scope="module")
def document(month: Month, date: dt.date) -> MonitoringDocument:
    """The monitoring document of that date."""
    return monitor_day(month.inputs(date), date)


def test_monitor_day_rerun_gives_same_bytes(month: Month, date: dt.date, document: MonitoringDocument) -> None:
    assert encode(monitor_day(month.inputs(date), date)) == encode(document)


def test_monitor_day_ignores_row_order(month: Month, date: dt.date, document: MonitoringDocument) -> None:
    shuffled = FrameSource(month.known_orders(date).rows.sample(fraction=1.0, shuffle=True, seed=9))
    assert encode(monitor_day(replace(month.inputs(date), orders=shuffled), date)) == encode(document)


def test_monitor_day_backfill_gives_same_bytes(month: Month, date: dt.date, document: MonitoringDocument) -> None:
    """The orders and the results contain later days."""
    assert encode(monitor_day(replace(month.inputs(date), orders=FrameSource(month.orders)), date)) == encode(document)


def test_monitor_day_counts_add_up(document: MonitoringDocument) -> None:
    counts = document.prediction_counts
    assert counts.with_prediction + counts.without_prediction + counts.before_first_prediction == counts.usable
    assert counts.usable + counts.unusable == counts.orders
    assert counts.with_prediction + counts.without_outcome == counts.from_api + counts.from_batch
    assert sum(day.orders for day in document.days) == counts.orders
    assert sum(day.usable for day in document.days) == counts.usable
    assert sum(day.predictions for day in document.days) == counts.with_prediction + counts.without_outcome
    assert sum(day.without_outcome for day in document.days) == counts.without_outcome
    assert sum(day.metrics.n for day in document.days) == counts.evaluated == document.metrics.n
    assert all(sum(day.by_fallback_level.values()) == day.predictions for day in document.days)
    for dimension in ("overall", "city", "type_of_food", "hour", "items", "fallback_level"):
        assert sum(segment.n for segment in document.segments if segment.segment == dimension) == document.metrics.n
    for feature in document.drift.features:
        assert sum(bin_.recent for bin_ in feature.bins) == pytest.approx(1.0)
        assert sum(bin_.reference for bin_ in feature.bins) == pytest.approx(1.0)
    assert document.backtest_baseline is not None
    assert document.backtest_baseline.metrics.n > 100


def test_monitor_day_names_slower_segment(document: MonitoringDocument) -> None:
    """The predictions of every city changed, so the alert is on all orders."""
    slower = [alert for alert in document.alerts if alert.rule == "slower_than_predicted"]
    assert slower
    assert {alert.value for alert in slower} <= {"all", "London"}
    assert document.headline[0].startswith(slower[0].message)
    assert [rule.status for rule in document.rules if rule.name == "slower_than_predicted"] == ["alerting"]


def test_monitor_day_drift_reference_is_whole_weeks(month: Month, document: MonitoringDocument) -> None:
    reference = document.drift.reference
    assert reference is not None
    assert (reference.first, reference.last) == (month.start + 9 * ONE_DAY, month.start + 22 * ONE_DAY)
    assert [feature.name for feature in document.drift.features][-1] == "predicted_seconds"
    assert len(document.drift.features) == len(TAKE_HOME_FEATURES.features) + 1


def test_monitor_day_names_drifted_feature(month: Month, date: dt.date, document: MonitoringDocument) -> None:
    """In the last week, every order value doubles. The alert names this feature and no other."""
    is_recent = pl.col("order_acknowledged_at") >= dt.datetime.combine(date - 7 * ONE_DAY, dt.time(), dt.UTC)
    value = pl.col("order_value_gbp")
    doubled = month.known_orders(date).rows.with_columns(
        pl.when(is_recent).then(2 * value).otherwise(value).alias("order_value_gbp")
    )
    result = monitor_day(replace(month.inputs(date), orders=FrameSource(doubled)), date)
    drifted = [alert for alert in result.alerts if alert.rule == "feature_drift"]
    assert [(alert.segment, alert.value) for alert in drifted] == [("feature", "order_value")]
    assert "The distribution of order_value differs from its reference: PSI" in drifted[0].message
    assert not any(feature.drifted for feature in document.drift.features)
    assert {rule.name: rule.status for rule in document.rules}["feature_drift"] == "quiet"


def drift_rule(document: MonitoringDocument) -> tuple[str, str]:
    return next((rule.status, rule.message) for rule in document.rules if rule.name == "feature_drift")


def test_monitor_day_orders_after_training_start(month: Month, date: dt.date) -> None:
    """A recent export gives a smaller history than in training, so restaurant features would differ without drift."""
    first = month.start + 3 * ONE_DAY
    is_recent = pl.col("order_acknowledged_at") >= dt.datetime.combine(first, dt.time(12), dt.UTC)
    recent = FrameSource(month.known_orders(date).rows.filter(is_recent))
    result = monitor_day(replace(month.inputs(date), orders=recent), date)
    status, message = drift_rule(result)
    assert status == "undecided"
    assert message == (
        f"The orders of the source start on {first}, after the first day of the training window ({month.start}), so "
        "the features in training aren't known."
    )
    assert [feature.name for feature in result.drift.features] == ["predicted_seconds"]


def without_days(month: Month, date: dt.date, first: dt.date, last: dt.date) -> MonitoringInputs:
    """Return the inputs of a date without the orders of some days."""
    is_dropped = pl.col("order_acknowledged_at").dt.date().is_between(first, last)
    return replace(month.inputs(date), orders=FrameSource(month.known_orders(date).rows.filter(~is_dropped)))


def test_monitor_day_reference_without_orders(month: Month, date: dt.date) -> None:
    """Partitions of the reference, which are days 9 to 22, were dropped. The first orders are still there."""
    first, last = month.start + 9 * ONE_DAY, month.start + 22 * ONE_DAY
    result = monitor_day(without_days(month, date, first, last), date)
    status, message = drift_rule(result)
    assert status == "undecided"
    assert message.startswith(
        f"The source has fewer than 2 days with 30 usable orders from {first} to {last}, days of the training window"
    )
    assert result.drift.reference is None


@pytest.mark.parametrize("closed_days", [1, 9])
def test_monitor_day_reference_can_have_closed_days(month: Month, date: dt.date, closed_days: int) -> None:
    """Closed days of 14 don't lower the shares of the reference."""
    closed = month.start + 10 * ONE_DAY
    result = monitor_day(without_days(month, date, closed, closed + (closed_days - 1) * ONE_DAY), date)
    assert drift_rule(result)[0] == "quiet"
    assert result.drift.reference is not None
    for feature in result.drift.features:
        assert sum(bin_.reference for bin_ in feature.bins) == pytest.approx(1.0)
        if feature.tested and feature.name != "predicted_seconds":
            assert (feature.psi or 0.0) < 0.1


def test_monitor_day_without_orders_of_training(month: Month, date: dt.date) -> None:
    start = dt.datetime.combine(month.first_predicted + ONE_DAY, dt.time(12), dt.UTC)
    recent = month.known_orders(date).rows.filter(pl.col("order_acknowledged_at") >= start)
    result = monitor_day(replace(month.inputs(date), orders=FrameSource(recent)), date)
    assert drift_rule(result) == (
        "undecided",
        "The source has no usable orders from before the training of the models.",
    )


def test_monitor_day_names_truncated_and_unscored_day(month: Month, date: dt.date) -> None:
    """An export ends at noon, and a day has no predictions."""
    rows = month.known_orders(date).rows
    noon = dt.datetime.combine(date - ONE_DAY, dt.time(13), dt.UTC)
    truncated = monitor_day(
        replace(month.inputs(date), orders=FrameSource(rows.filter(pl.col("order_acknowledged_at") < noon))), date
    )
    assert {"volume_low", "missing_outcomes"} <= {alert.rule for alert in truncated.alerts}
    path = month.results.path(date - ONE_DAY, "predictions.parquet")
    moved = path.rename(path.with_name("moved"))
    try:
        unscored = monitor_day(month.inputs(date), date)
    finally:
        moved.rename(path)
    alerts = {alert.rule: alert for alert in unscored.alerts}
    assert alerts["missing_predictions"].message.startswith(f"On {date - ONE_DAY}, 100.0% of ")


def test_monitor_day_other_order_ids_in_all_orders_fire(month: Month, date: dt.date) -> None:
    """The past days have the other IDs too, so that no prediction of any day has an order."""
    rows = month.known_orders(date).rows.with_columns(pl.format("X-{}", "order_id").alias("order_id"))
    document = monitor_day(replace(month.inputs(date), orders=FrameSource(rows)), date)
    (alert,) = [alert for alert in document.alerts if alert.rule == "missing_predictions"]
    last_day = document.days[-1]
    assert alert.message.startswith(
        f"None of {last_day.predictions:,} predictions of {last_day.date} is of one of its {last_day.usable:,} usable "
        "orders. Check whether the order IDs changed"
    )
    assert last_day.predictions > 100
    assert last_day.usable > 100


@pytest.mark.parametrize(("kept_on_last_day", "status"), [(60, "quiet"), (12, "alerting")])
def test_monitor_day_orders_open_at_midnight_are_normal(tmp_path: Path, kept_on_last_day: int, status: str) -> None:
    """An order every five minutes until midnight takes two hours, so 40% of the orders are open at midnight."""
    folders, rows, last = PredictionFolders(tmp_path), list[dict[str, object]](), FACTORY_DATE - ONE_DAY
    for day in range(8, last.day + 1):
        orders = [make_order(5 * index, day=day, order_id=f"{day}-{index}") for index in range(60)]
        folders.write_predictions(last.replace(day=day), orders)
        kept = kept_on_last_day if day == last.day else 60
        rows += [with_outcome(order, 7_200) for order in orders[:kept]]
    inputs = MonitoringInputs(FrameSource(pl.DataFrame(rows)), RESTAURANT_INDEX, folders.results, EmptyBundleSource())
    result = monitor_day(inputs, FACTORY_DATE)
    rule = next(rule for rule in result.rules if rule.name == "missing_outcomes")
    missing = "40.0%" if status == "quiet" else "80.0%"
    assert (rule.status, rule.message) == (
        status,
        f"On {last}, {missing} of 60 predictions had no outcome at the end of their day. The normal share is 40.0%.",
    )


def without_values_on_last_day(month: Month, date: dt.date, columns: tuple[str, ...]) -> MonitoringDocument:
    """Return the document of a date whose last day lacks the values of some columns. Nothing was predicted."""
    on_last_day = pl.col("order_acknowledged_at") >= dt.datetime.combine(date - ONE_DAY, dt.time(), dt.UTC)
    rows = month.known_orders(date).rows.with_columns(
        pl.when(~on_last_day).then(pl.col(name)).alias(name) for name in columns
    )
    return monitor_day(replace(month.inputs(date), orders=FrameSource(rows), results=no_results(month)), date)


def no_results(month: Month) -> ResultsFolder:
    return ResultsFolder(month.results.path(month.start, "none").parent)


@pytest.mark.parametrize(
    ("columns", "cause", "sentence"),
    [
        (
            ("number_of_items",),
            "without number_of_items",
            "{usable:,} completed orders on {day}: 0 usable, 0 with a prediction.",
        ),
        (
            ("order_ready_at", "prep_time_seconds"),
            "without an outcome",
            "No order of {day} has an outcome or a prediction.",
        ),
    ],
)
def test_monitor_day_unusable_day_is_not_an_empty_day(
    month: Month, date: dt.date, columns: tuple[str, ...], cause: str, sentence: str
) -> None:
    """The alert of a day of unusable orders says how many orders there are, and what is missing."""
    day = date - ONE_DAY
    known = month.known_orders(date).rows
    names = tuple(name for name in columns if name in known.columns)
    usable = next(item for item in monitor_day(month.inputs(date), date).days if item.date == day).usable
    result = without_values_on_last_day(month, date, names)
    alert = next(alert for alert in result.alerts if alert.rule == "volume_low")
    assert alert.message.startswith(f"{usable:,} orders on {day}, 0 usable: 0% of the normal ")
    assert alert.message.endswith(f" usable orders. Not usable: {usable:,} {cause}.")
    assert sentence.format(usable=usable, day=day) in result.headline


def test_monitor_day_counts_unusable_orders(month: Month, date: dt.date) -> None:
    usable = next(item for item in monitor_day(month.inputs(date), date).days if item.date == date - ONE_DAY).usable
    result = without_values_on_last_day(month, date, ("number_of_items",))
    last = result.days[-1]
    assert (last.date, last.orders, last.usable) == (date - ONE_DAY, usable, 0)
    assert result.prediction_counts.unusable == usable
    lines = render(result).decode().splitlines()
    assert f"preptime_monitor_day_orders {float(usable)!r}" in lines
    assert "preptime_monitor_day_usable_orders 0.0" in lines


def test_monitor_day_first_predicted_day_is_undecided(month: Month) -> None:
    """Orders of the days before the first prediction aren't missing predictions."""
    date = month.first_predicted + ONE_DAY
    result = monitor_day(month.inputs(date), date)
    counts = result.prediction_counts
    assert counts.first_prediction == month.first_predicted
    assert counts.before_first_prediction > 0
    assert counts.without_prediction == 0
    undecided = [rule for rule in result.rules if rule.status == "undecided"]
    assert "missing_predictions" in {rule.name for rule in undecided}
    assert result.status == "undecided"
    decided = len(result.rules) - len(undecided)
    assert result.headline[0] == (
        f"{decided} of {len(result.rules)} rules had enough data: quiet. {len(undecided)} are undecided."
    )
    last = result.days[-1]
    assert result.headline[1].startswith(
        f"{last.orders:,} completed orders on {last.date}: {last.usable:,} usable, "
        f"{counts.with_prediction:,} with a prediction, mean error "
    )
    assert f"Predictions start on {month.first_predicted}. Earlier orders don't count as missing." in result.headline
    assert not any("Without a prediction" in sentence for sentence in result.headline)
    lines = render(result).decode().splitlines()
    assert f'preptime_monitor_rules{{status="undecided"}} {float(len(undecided))!r}' in lines
    assert 'preptime_monitor_rule_undecided{rule="missing_predictions"} 1.0' in lines
    assert not any(line.startswith('preptime_monitor_rule_fired{rule="missing_predictions"}') for line in lines)
    assert f"{len(undecided)} of {len(result.rules)} rules have too little data." in render_report(result)


def test_monitor_day_pruned_store_has_no_lookup_or_drift(month: Month, date: dt.date) -> None:
    result = monitor_day(replace(month.inputs(date), bundle_source=EmptyBundleSource()), date)
    assert result.metrics.n > 0
    assert (result.metrics.lookup_mae, result.metrics.lookup_n, result.champion, result.backtest_baseline) == (
        None,
        0,
        None,
        None,
    )
    assert all(segment.lookup_mae is None for segment in result.segments)
    assert [(cost.lookup_quantile, cost.constant) for cost in result.metrics.waiting_costs] == [(None, None)] * 3
    assert result.metrics.waiting_costs[0].p50 == pytest.approx(1_000 * (result.metrics.mae or 0.0))
    assert result.drift.unavailable_reason is not None
    assert {rule.status for rule in result.rules if rule.name in {"worse_than_lookup", "feature_drift"}} == {
        "undecided"
    }


def test_monitor_day_without_predictions_succeeds(month: Month, tmp_path: Path) -> None:
    date = month.start + 3 * ONE_DAY
    result = monitor_day(replace(month.inputs(date), results=type(month.results)(tmp_path / "none")), date)
    assert not result.alerts
    assert "There are no predictions in the monitored days." in result.headline
    assert result.status == "undecided"
    for document in (result, first_day()):
        assert "There are no predictions" in render_report(document)
        assert b"preptime_monitor_alerts 0.0\n" in render(document)


def test_monitor_day_without_known_orders_succeeds(month: Month) -> None:
    date = month.start
    inputs = MonitoringInputs(FrameSource(month.orders), month.restaurants, month.results, month.bundles)
    result = monitor_day(inputs, date)
    assert (result.prediction_counts.orders, result.alerts) == (0, ())


@pytest.fixture(scope="module")
def page(document: MonitoringDocument) -> str:
    """The monitoring report."""
    return render_report(document)


def test_monitoring_report_is_self_contained(page: str) -> None:
    assert not re.search(r"https?://|@import|<script|<link|src=|url\((?!#)", page)
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_monitoring_report_shows_document(document: MonitoringDocument, page: str) -> None:
    for sentence in document.headline:
        assert sentence in html.unescape(page)
    for rule in document.rules:
        assert f">{rule.name}<" in page
    for bundle in document.bundles:
        assert bundle.bundle in page
    assert page.count('class="wide"') == page.count('class="narrow"') >= 10


def test_monitoring_report_shows_waiting_costs(document: MonitoringDocument, page: str) -> None:
    table = page.partition(">couriers arrive at</th>")[2].partition("</table>")[0]
    rows = [re.findall(r"<(?:th|td)[^>]*>([^<]*)</", row) for row in table.partition("<tbody>")[2].split("</tr>")]
    costs = (*document.recent_metrics.waiting_costs, *document.metrics.waiting_costs)
    fields = ("predicted_quantile", "p50", "lookup_quantile", "constant")
    assert [row[0] for row in rows if row] == [
        "predicted quantile",
        "p50 minus travel",
        "lookup&#39;s quantile",
        "constant",
    ]
    for row, name in zip(rows, fields, strict=False):
        assert row[1:] == [f"{getattr(cost, name) / 60:,.0f}" for cost in costs]
    assert len(costs) == 6
    assert "Waiting cost" not in render_report(first_day())


def test_monitoring_report_same_document_gives_same_bytes(document: MonitoringDocument, page: str) -> None:
    assert render_report(document) == page


def test_monitoring_report_escapes_names() -> None:
    hostile = '<script>alert("x")</script>'
    document = fired()
    alert = msgspec.structs.replace(document.alerts[0], value=hostile, message=f"{hostile} is slower.")
    page = render_report(msgspec.structs.replace(document, alerts=(alert,), headline=(alert.message,)))
    assert "<script" not in page
    assert hostile in html.unescape(page)


DATE_METRIC = "preptime_monitor_date_seconds "
SAMPLE = re.compile(
    r'(preptime_monitor_[a-z0-9_]+)(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? (\S+)'
)


def test_prometheus_render_is_valid_text_format(document: MonitoringDocument) -> None:
    """Each metric occurs once, with help and type before its samples, and with the document's values."""
    lines = render(document).decode().splitlines()
    names = list[str]()
    for line in lines:
        if line.startswith("# HELP "):
            names.append(line.split(" ")[2])
        elif not line.startswith("# TYPE "):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == names[-1]
            float(sample[3])
    assert len(names) == len(set(names))
    assert f'preptime_monitor_mae_seconds{{days="7d"}} {document.recent_metrics.mae!r}' in lines
    assert f"preptime_monitor_alerts {float(len(document.alerts))!r}" in lines
    cost = document.metrics.waiting_costs[1]
    labels = 'arrival="predicted_quantile",costs="2:1",days="28d"'
    assert f"preptime_monitor_waiting_cost_seconds{{{labels}}} {cost.predicted_quantile!r}" in lines


@pytest.mark.parametrize(("zone_names", "hours"), [((), 0), (("America/New_York", "America/Los_Angeles"), 7)])
def test_prometheus_date_is_midnight_of_westernmost_zone(
    document: MonitoringDocument, zone_names: tuple[str, ...], hours: int
) -> None:
    summer = msgspec.structs.replace(document, date=dt.date(2015, 6, 18))
    midnight = dt.datetime(2015, 6, 18, hours, tzinfo=dt.UTC).timestamp()
    (line,) = (line for line in render(summer, zone_names).decode().splitlines() if line.startswith(DATE_METRIC))
    assert float(line.partition(" ")[2]) == midnight


def test_prometheus_day_without_orders_has_zeros() -> None:
    """A day without orders and without predictions isn't in the document. An alert on few orders must see it."""
    lines = render(first_day()).decode().splitlines()
    assert "preptime_monitor_day_orders 0.0" in lines
    assert "preptime_monitor_day_usable_orders 0.0" in lines
    assert "preptime_monitor_day_unknown_restaurants 0.0" in lines
    assert 'preptime_monitor_day_predictions{fallback_level="restaurant"} 0.0' in lines


def test_monitoring_page_documents_every_metric(document: MonitoringDocument) -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    names = set(re.findall(r"# HELP (\S+)", render(document).decode()))
    assert names == set(re.findall(r"`(preptime_monitor_[a-z0-9_]+)", page))


def test_prometheus_render_escapes_labels() -> None:
    document = fired()
    alert = msgspec.structs.replace(document.alerts[0], value='a "b" \\ c\nd')
    text = render(msgspec.structs.replace(document, alerts=(alert,))).decode()
    assert r'value="a \"b\" \\ c\nd"' in text


def test_synthetic_partition_has_only_required_columns(month: Month) -> None:
    """The test helper writes exactly the columns that monitoring reads."""
    path = month.results.path(month.first_predicted, "predictions.parquet")
    assert len(pl.read_parquet_schema(path)) == 7
