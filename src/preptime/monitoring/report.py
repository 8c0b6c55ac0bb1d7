"""`monitoring.html`: the monitoring document as a page with charts, tables, and captions."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from preptime.domain.time_units import MINUTES, TimeUnit, convert_minutes
from preptime.evaluation import aggregates, charts, daily_charts
from preptime.evaluation.documents import SegmentDimension
from preptime.evaluation.html_report import ChartCard, Tile, chart_card, render_page
from preptime.evaluation.metrics import COVERAGE_BAND, INTERVAL_LEVEL
from preptime.evaluation.summary_text import (
    cost_ratio_text,
    format_percent,
    format_time,
    waiting_cost_caption,
    waiting_cost_rows,
    without_ends_text,
)
from preptime.formatting import format_count
from preptime.monitoring import report_rows
from preptime.monitoring.document import Alert, MonitoringDocument, RuleReport

Item = TypeVar("Item", Alert, RuleReport)
_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")
_STATUS_LABELS = {"alerting": ("no", "alerting"), "quiet": ("yes", "quiet"), "undecided": ("undecided", "undecided")}
"""CSS class and label of each status of a rule."""

_FOOTER = (
    "Times are in {unit}. A ratio is the typical actual time divided by the predicted time of a day. The restaurant "
    "lookup predicts the restaurant's own past median. Days are local days of acknowledgement. For the rules, their "
    "thresholds, and their false alarm rates, see docs/monitoring.md. Hover over a mark to see its values."
)

_WAITING_DAYS = "Differences are those of the last seven days."


def render_report(document: MonitoringDocument, unit: TimeUnit = MINUTES) -> str:
    """Return the document as one HTML file, with times in the unit of the target."""
    document = in_unit(document, unit)
    label_audit = document.label_audit
    return render_page(
        "monitoring_report.html",
        "preptime.monitoring",
        title=f"preptime monitoring as of {document.date}",
        heading=f"Monitoring as of {document.date}",
        summary=document.headline,
        tiles=_tiles(document, unit),
        facts=_facts(document),
        footer=_FOOTER.format(unit=unit.name),
        document=document,
        unit=unit,
        status_labels=_STATUS_LABELS,
        alerts_caption="Rules that fired." if document.alerts else "No rule fired. " + _undecided_text(document),
        label_audit_caption=f"{label_audit.evaluable:,} of {format_count(label_audit.rows, 'row')} can be evaluated. A "
        "row can have several reasons.",
        prediction_sources=_prediction_sources(document),
        waiting_caption=f"{waiting_cost_caption(document.recent_metrics.waiting_costs, unit)} {_WAITING_DAYS}",
        waiting_headings=_waiting_headings(document),
        waiting_rows=_waiting_rows(document, unit),
        daily_charts=[*_error_chart(document, unit), *_coverage_chart(document), *_volume_charts(document)],
        ratio_charts=_ratio_charts(document),
        segment_charts=_segment_charts(document, unit),
        drift_charts=_drift_charts(document),
    )


def in_unit(document: MonitoringDocument, unit: TimeUnit) -> MonitoringDocument:
    """Return the document with the times in its sentences in a unit. They are written in minutes."""
    return msgspec.structs.replace(
        document,
        headline=tuple(convert_minutes(sentence, unit) for sentence in document.headline),
        alerts=tuple(_in_unit(alert, unit) for alert in document.alerts),
        rules=tuple(_in_unit(rule, unit) for rule in document.rules),
    )


def _in_unit(item: Item, unit: TimeUnit) -> Item:
    return msgspec.structs.replace(item, message=convert_minutes(item.message, unit))


def _count_undecided(document: MonitoringDocument) -> int:
    return sum(rule.status == "undecided" for rule in document.rules)


def _undecided_text(document: MonitoringDocument) -> str:
    undecided = _count_undecided(document)
    return f"{undecided} of {len(document.rules)} rules have too little data." if undecided else ""


def _tiles(document: MonitoringDocument, unit: TimeUnit) -> list[Tile]:
    recent, baseline = document.recent_metrics, document.backtest_baseline
    backtest_text = "" if baseline is None else f"; backtest: {format_time(baseline.metrics.mae, unit)}"
    coverage_text = (
        f"of the orders within p10–p90{without_ends_text(recent.coverage, recent.coverage_inside)}; the target is "
        f"{format_percent(INTERVAL_LEVEL, 0)}"
    )
    return [
        Tile(format_time(recent.mae, unit), unit.short, f"mean error of the last seven days{backtest_text}"),
        Tile(format_time(recent.lookup_mae, unit), unit.short, "mean error of the restaurant lookup"),
        Tile(format_percent(recent.within_5_min), "", f"of the predictions within {unit.five_minutes}"),
        Tile(format_percent(recent.coverage), "", coverage_text),
    ]


def _facts(document: MonitoringDocument) -> list[tuple[str, str]]:
    counts = document.prediction_counts
    return [
        ("as-of date", str(document.date)),
        ("monitored days", f"{document.window.first} to {document.window.last}"),
        ("champion", document.champion or "none"),
        ("orders", f"{counts.orders:,}"),
        ("usable orders", f"{counts.usable:,}"),
        ("usable orders with a prediction", f"{counts.with_prediction:,}"),
        ("evaluated", f"{counts.evaluated:,}"),
        ("status", document.status),
        ("alerts", str(len(document.alerts))),
        ("undecided rules", f"{_count_undecided(document)} of {len(document.rules)}"),
    ]


def _prediction_sources(document: MonitoringDocument) -> list[tuple[str, str]]:
    counts = document.prediction_counts
    return [
        ("predictions from the API", f"{counts.from_api:,}"),
        ("predictions from the daily batch", f"{counts.from_batch:,}"),
        ("orders with both (the API's prediction counts)", f"{counts.in_both:,}"),
        ("repeated predictions (the first one counts)", f"{counts.duplicates:,}"),
        ("predictions without an order key", f"{counts.without_order_key:,}"),
        ("unreadable lines of the API's log", f"{counts.unreadable_log_lines:,}"),
    ]


def _waiting_headings(document: MonitoringDocument) -> list[str]:
    windows = (("seven days", document.recent_metrics), ("all days", document.metrics))
    return [f"{name}, {cost_ratio_text(cost)}" for name, metrics in windows for cost in metrics.waiting_costs]


def _waiting_rows(document: MonitoringDocument, unit: TimeUnit) -> list[tuple[str, list[str]]]:
    return waiting_cost_rows((*document.recent_metrics.waiting_costs, *document.metrics.waiting_costs), unit)


def _error_chart(document: MonitoringDocument, unit: TimeUnit) -> list[ChartCard]:
    rows, backtest_error = report_rows.error_rows(document, unit), report_rows.backtest_error(document, unit)
    if not rows:
        return []
    worst_day = max(rows, key=lambda row: float(row["mae"]))
    backtest_text = "" if backtest_error is None else " The dashed line is the backtest."
    return [
        chart_card(
            "daily-errors",
            "Mean error by day",
            f"Bars are the model, and ticks are the restaurant lookup.{backtest_text} The largest error is on "
            f"{worst_day['day']}: {float(worst_day['mae']):.{unit.digits()}f} {unit.name}.",
            lambda width: daily_charts.daily_errors(rows, backtest_error, width, charts.LIGHT, unit),
        )
    ]


def _coverage_chart(document: MonitoringDocument) -> list[ChartCard]:
    rows = report_rows.coverage_rows(document)
    if not rows:
        return []
    low, high = COVERAGE_BAND
    return [
        chart_card(
            "daily-coverage",
            "Coverage of p10–p90 by day",
            "Dots are the share of orders within the interval, with a 95% confidence interval. Green marks the target "
            f"and its band, {format_percent(low, 0)} to {format_percent(high, 0)}.",
            lambda width: daily_charts.daily_coverage(rows, width, charts.LIGHT),
        )
    ]


def _volume_charts(document: MonitoringDocument) -> list[ChartCard]:
    rows, counts = report_rows.volume_rows(document), document.prediction_counts
    if not rows:
        return []
    return [
        chart_card(
            "volume",
            "Orders by day",
            f"{report_rows.volume_caption(counts.first_prediction, counts.orders, counts.unusable)} Usable orders "
            f"without a prediction: {counts.without_prediction:,}. Predictions without an outcome: "
            f"{counts.without_outcome:,}.",
            lambda width: daily_charts.daily_counts(rows, "orders", width, charts.LIGHT),
        ),
        _fallback_level_chart(document),
    ]


def _fallback_level_chart(document: MonitoringDocument) -> ChartCard:
    rows = report_rows.fallback_level_rows(document)
    fallback_predictions = sum(int(row["orders"]) for row in rows)
    predictions = sum(day.predictions for day in document.days)
    share = format_percent(fallback_predictions / max(predictions, 1))
    return chart_card(
        "fallback-level",
        "Predictions without restaurant history",
        f"{fallback_predictions:,} of {predictions:,} predictions ({share}) use the history of a city, a type of food, "
        "or all orders.",
        lambda width: daily_charts.daily_counts(rows, "predictions", width, charts.LIGHT),
    )


def _ratio_charts(document: MonitoringDocument) -> list[ChartCard]:
    cities = report_rows.ratio_rows(document)
    foods = report_rows.ratio_rows(document, ("type_of_food",))
    cards = []
    if cities:
        cards.append(
            chart_card(
                "ratio-cities",
                "Actual ÷ predicted, by city",
                "The typical ratio of each day. On the dashed line, orders take as long as predicted. "
                f"{_fired_caption(cities)}",
                lambda width: daily_charts.daily_ratios(cities, width, charts.LIGHT),
            )
        )
    if foods:
        cards.append(
            chart_card(
                "ratio-foods",
                "Actual ÷ predicted, by type of food",
                f"The typical ratio of each day, without the daily mean of the city. {_fired_caption(foods)}",
                lambda width: daily_charts.daily_ratios(foods, width, charts.LIGHT),
            )
        )
    return cards


def _fired_caption(ratios: list[aggregates.ChartRow]) -> str:
    fired = len([row for row in ratios if row["fired"]])
    return f"Triangles mark days with an alert ({fired})." if fired else "No day has an alert."


def _segment_charts(document: MonitoringDocument, unit: TimeUnit) -> list[ChartCard]:
    rows = aggregates.segment_rows(document.segments, _DIMENSIONS, unit)
    covered = aggregates.with_coverage(rows)
    cards = []
    if rows:
        cards.append(
            chart_card(
                "segment-errors",
                "Mean error by segment",
                "Bars are the model, and ticks are the restaurant lookup. Labels show the number of orders. Only the "
                "largest cities and types of food are shown.",
                lambda width: charts.segment_errors(rows, width, charts.LIGHT, unit),
            )
        )
    if covered:
        cards.append(
            chart_card(
                "segment-coverage",
                "Coverage of p10–p90 by segment",
                "Dots are the share of orders within the interval, with a 95% confidence interval. Green marks the "
                "target and its band.",
                lambda width: charts.segment_coverage(covered, width, charts.LIGHT),
            )
        )
    return cards


def _drift_charts(document: MonitoringDocument) -> list[ChartCard]:
    rows, drift = report_rows.psi_rows(document), document.drift
    if not rows:
        return []
    recent = f"{drift.recent.first} to {drift.recent.last}" if drift.recent else "The latest days"
    reference = ""
    if drift.reference:
        reference = f" compared with the training days {drift.reference.first} to {drift.reference.last}"
    cards = [
        chart_card(
            "feature-psi",
            "Population stability index by feature",
            f"{recent}{reference}. Pale features aren't tested, because they change with time. By convention, values "
            "beyond the dashed line mean a different population.",
            lambda width: daily_charts.feature_psi(rows, width, charts.LIGHT),
        )
    ]
    feature = report_rows.most_drifted(document)
    if feature is not None:
        bins = report_rows.distribution_rows(feature)
        cards.append(
            chart_card(
                "most-drifted",
                f"Largest drift: {feature.name}",
                f"Bars are the last seven days, and ticks are the reference. PSI: {feature.psi:.3f}, "
                f"unit: {feature.unit}.",
                lambda width: daily_charts.distribution(bins, width, charts.LIGHT),
            )
        )
    return cards
