"""The pictures of a morning, each with the sentence that says what it shows. Nothing to draw, no picture.

`monitoring.html`: a morning in one file that people would rather look at than read.
"""

from __future__ import annotations

from preptime.evaluation import aggregates, charts, daily_charts, html_report, report
from preptime.evaluation.documents import SegmentDimension
from preptime.evaluation.html_report import render_html, section
from preptime.evaluation.metrics import COVERAGE_BAND
from preptime.evaluation.summary_text import NO_VALUE, format_minutes, format_percent
from preptime.monitoring import report_rows
from preptime.monitoring.document import MonitoringDocument, PredictionMetrics, RuleReport

_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")


def day_charts_html(document: MonitoringDocument) -> list[str]:
    """Error, coverage, number and basis of the answers, day by day."""
    return [*_error_charts(document), *_coverage_charts(document), *_volume_charts(document)]


def _error_charts(document: MonitoringDocument) -> list[str]:
    error_rows, baseline = report_rows.error_rows(document), document.backtest_baseline
    if not error_rows:
        return []
    backtest_mae = None if baseline is None else baseline.metrics.mae
    backtest_minutes = None if backtest_mae is None else backtest_mae / aggregates.SECONDS_PER_MINUTE
    worst_day = max(error_rows, key=lambda row: float(row["mae"]))
    line = "" if backtest_minutes is None else " The dashed line is what the backtest promised."
    return [
        report.chart_card(
            "daily-errors",
            "Mean error by day",
            f"Bars are the model, ticks the restaurant lookup.{line} The worst day is {worst_day['day']}: "
            f"{float(worst_day['mae']):.1f} minutes.",
            lambda width: daily_charts.daily_errors(error_rows, backtest_minutes, width, charts.LIGHT),
        )
    ]


def _coverage_charts(document: MonitoringDocument) -> list[str]:
    coverage_rows = report_rows.coverage_rows(document)
    if not coverage_rows:
        return []
    low, high = COVERAGE_BAND
    return [
        report.chart_card(
            "daily-coverage",
            "Coverage of p10–p90 by day",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its "
            f"band, {format_percent(low, 0)} to {format_percent(high, 0)}.",
            lambda width: daily_charts.daily_coverage(coverage_rows, width, charts.LIGHT),
        )
    ]


def _volume_charts(document: MonitoringDocument) -> list[str]:
    volume_rows, counts = report_rows.volume_rows(document), document.prediction_counts
    if not volume_rows:
        return []
    return [
        report.chart_card(
            "volume",
            "Orders by day",
            f"Of {counts.orders:,} orders {counts.without_prediction:,} have no answer; {counts.without_outcome:,} answers have no "
            "outcome yet.",
            lambda width: daily_charts.daily_counts(volume_rows, "orders", width, charts.LIGHT),
        ),
        _fallback_level_chart(document),
    ]


def _fallback_level_chart(document: MonitoringDocument) -> str:
    level_rows = report_rows.fallback_level_rows(document)
    fallback_predictions = sum(int(row["orders"]) for row in level_rows)
    predictions = sum(day.predictions for day in document.days)
    return report.chart_card(
        "fallback_level",
        "Answers without an order of their restaurant",
        f"{fallback_predictions:,} of {predictions:,} answers ({format_percent(fallback_predictions / max(predictions, 1))}) stand on something coarser "
        "than their restaurant's own past.",
        lambda width: daily_charts.daily_counts(level_rows, "predictions", width, charts.LIGHT),
    )


def ratio_charts(document: MonitoringDocument) -> list[str]:
    """Actual ÷ predicted of all orders and the cities, and of the types of food."""
    cities = report_rows.ratio_rows(document)
    foods = report_rows.ratio_rows(document, ("type_of_food",))
    cards = []
    if cities:
        cards.append(
            report.chart_card(
                "ratio-cities",
                "Actual ÷ predicted, by city",
                f"The typical ratio of each day; on the dashed line food took as long as said. {_fired_caption(cities)}",
                lambda width: daily_charts.daily_ratios(cities, width, charts.LIGHT),
            )
        )
    if foods:
        cards.append(
            report.chart_card(
                "ratio-foods",
                "Actual ÷ predicted, by type of food",
                f"Likewise, what a city has in common on a day taken out. {_fired_caption(foods)}",
                lambda width: daily_charts.daily_ratios(foods, width, charts.LIGHT),
            )
        )
    return cards


def _fired_caption(ratios: list[aggregates.ChartRow]) -> str:
    fired = len([row for row in ratios if row["fired"]])
    return f"Triangles fired: {fired}." if fired else "No day fired."


def segment_charts(document: MonitoringDocument) -> list[str]:
    """Error and coverage by segment."""
    segment_rows = aggregates.segment_rows(document.segments, _DIMENSIONS)
    if not segment_rows:
        return []
    return [
        report.chart_card(
            "segment-errors",
            "Mean error by segment",
            "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods.",
            lambda width: charts.segment_errors(segment_rows, width, charts.LIGHT),
        ),
        report.chart_card(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band.",
            lambda width: charts.segment_coverage(segment_rows, width, charts.LIGHT),
        ),
    ]


def drift_charts(document: MonitoringDocument) -> list[str]:
    """How far every feature has moved, and the one that moved most; or why that is not known."""
    psi_rows, drift = report_rows.psi_rows(document), document.drift
    cards = []
    if drift.unavailable_reason:
        cards.append(f'<p class="card caption">{html_report.escape(drift.unavailable_reason)}</p>')
    if not psi_rows:
        return cards
    reference = (
        f" against {drift.reference.first} to {drift.reference.last}, which was trained on" if drift.reference else ""
    )
    recent = f"{drift.recent.first} to {drift.recent.last}" if drift.recent else "The last days"
    cards.append(
        report.chart_card(
            "stability",
            "How far features have moved",
            f"{recent}{reference}. Pale: not tested, since it changes by itself. Right of the dashed line is another "
            "population by custom.",
            lambda width: daily_charts.feature_psi(psi_rows, width, charts.LIGHT),
        )
    )
    moved = report_rows.most_drifted(document)
    if moved is not None:
        bins = report_rows.distribution_rows(moved)
        cards.append(
            report.chart_card(
                "moved",
                f"The one that moved most: {moved.name}",
                f"Bars are the last seven days, ticks the reference; PSI {moved.psi:.3f}, unit {moved.unit}.",
                lambda width: daily_charts.distribution(bins, width, charts.LIGHT),
            )
        )
    return cards


_FOOTER = (
    "Times are minutes. A ratio is what an order took over what was said, the typical one of a day. The restaurant "
    "lookup is what a table of averages answers. Days are those of acknowledgement on the restaurants' own clocks. "
    "Every rule, with its threshold and how often it is wrong: docs/monitoring.md. Hover over a mark for its figures."
)
_STATUS_LABELS = {"fired": ("no", "fired"), "ok": ("yes", "ok"), "insufficient_data": ("", "not yet known")}


def render_report(document: MonitoringDocument) -> str:
    """The document as one HTML file."""
    return render_html(
        title=f"preptime on the morning of {document.date}",
        heading=f"How it went, as of the morning of {document.date}",
        summary=document.headline,
        tiles=_tiles(document),
        facts=_facts(document),
        sections=[
            section("alerts", "Alerts and rules", [_alerts_card(document), _rules_card(document)]),
            section("days", "Day by day", day_charts_html(document)),
            section("shifts", "Longer or shorter than said", ratio_charts(document)),
            section("segments", "Error and coverage by segment, four weeks", segment_charts(document)),
            section("drift", "What the models are given", drift_charts(document)),
            section("data", "Answers, outcomes and labels", _data_cards(document)),
        ],
        footer=html_report.escape(_FOOTER),
    )


def _tiles(document: MonitoringDocument) -> str:
    recent, baseline = document.recent_metrics, document.backtest_baseline
    backtest_text = "" if baseline is None else f"; {format_minutes(baseline.metrics.mae)} promised"
    return "".join(
        (
            html_report.tile(format_minutes(recent.mae), "min", f"mean error of the last seven days{backtest_text}"),
            html_report.tile(format_minutes(recent.lookup_mae), "min", "mean error of the restaurant lookup"),
            html_report.tile(format_percent(recent.within_5_min), "", "of the answers within five minutes"),
            html_report.tile(format_percent(recent.coverage), "", "of the orders inside p10–p90; promised 80 %"),
        )
    )


def _facts(document: MonitoringDocument) -> list[tuple[str, str]]:
    counts = document.prediction_counts
    return [
        ("date D", str(document.date)),
        ("days looked at", f"{document.window.first} to {document.window.last}"),
        ("champion", document.champion or "none"),
        ("orders", f"{counts.orders:,}"),
        ("answered", f"{counts.with_prediction:,}"),
        ("evaluated", f"{counts.evaluated:,}"),
        ("alerts", str(len(document.alerts))),
    ]


def _alerts_card(document: MonitoringDocument) -> str:
    caption = "What fired this morning, the rule and the value." if document.alerts else "Nothing fired this morning."
    table_html = html_report.table(
        ["rule", "where", "since", "what"],
        (
            [
                f"<code>{html_report.escape(alert.rule)}</code>",
                html_report.escape(alert.value if alert.segment != "overall" else "all orders"),
                html_report.escape(alert.since),
                html_report.escape(alert.message),
            ]
            for alert in document.alerts
        ),
    )
    content = table_html.replace("<table>", '<table class="lines">') if document.alerts else ""
    return _card("Alerts", caption, content, full=True)


def _rules_card(document: MonitoringDocument) -> str:
    table_html = html_report.table(
        ["rule", "status", "observed", "threshold", "message"],
        (
            [
                f'<code title="{html_report.escape(rule.description)}">{html_report.escape(rule.rule)}</code>',
                _status_html(rule),
                NO_VALUE if rule.observed is None else f"{rule.observed:.2f}",
                f'<span title="{html_report.escape(rule.threshold_reason)}">{rule.threshold:g} {html_report.escape(_short_unit(rule))}</span>',
                html_report.escape(rule.message),
            ]
            for rule in document.rules
        ),
    ).replace("<table>", '<table class="lines">')
    caption = "Every rule, whether it fired or not. Hover over a rule for its meaning, over a threshold for its reason."
    return _card("Rules", caption, table_html, full=True)


def _short_unit(rule: RuleReport) -> str:
    return rule.unit.partition(",")[0]


def _status_html(rule: RuleReport) -> str:
    style, label = _STATUS_LABELS[rule.status]
    return f'<span class="{style}">{label}</span>'


def _data_cards(document: MonitoringDocument) -> list[str]:
    counts, label_audit = document.prediction_counts, document.label_audit
    definitions = [
        ("answers that count from the API", f"{counts.from_api:,}"),
        ("from the daily batch", f"{counts.from_batch:,}"),
        ("orders answered by both (the API's counts)", f"{counts.in_both:,}"),
        ("repeated answers (the first counts)", f"{counts.duplicates:,}"),
        ("answers that no order can be found for", f"{counts.without_order_key:,}"),
        ("unreadable lines of the API's log", f"{counts.unreadable_log_lines:,}"),
    ]
    audit = html_report.table(
        ["reason", "orders", "latest day", "meaning"],
        (
            [
                f"<code>{html_report.escape(item.reason)}</code>",
                f"{item.orders:,}",
                f"{item.orders_on_last_day:,}",
                html_report.escape(item.description),
            ]
            for item in label_audit.reasons
        ),
    ).replace("<table>", '<table class="lines">')
    bundles = html_report.table(
        ["bundle", "days", "orders", "mean error, min", "within 5 min", "p10–p90"],
        (
            [
                f"<code>{html_report.escape(item.bundle)}</code>",
                html_report.escape(
                    item.days.first if item.days.first == item.days.last else f"{item.days.first} – {item.days.last}"
                ),
                f"{item.orders:,}",
                *_metric_cells(item.metrics),
            ]
            for item in document.bundles
        ),
    )
    return [
        _card("Who answered", "Each order counts once.", f"<dl>{html_report.definition_list(definitions)}</dl>"),
        _card("Label audit", f"{label_audit.evaluable:,} of {label_audit.rows:,} rows can be evaluated.", audit),
        _card("Bundles that answered", "Each on the orders it answered.", bundles, full=True),
    ]


def _card(title: str, caption: str, content: str, *, full: bool = False) -> str:
    """`content` is HTML already."""
    style = "card full" if full else "card"
    return f'<div class="{style}"><h3>{html_report.escape(title)}</h3><p class="caption">{html_report.escape(caption)}</p>{content}</div>'


def _metric_cells(metrics: PredictionMetrics) -> tuple[str, str, str]:
    return format_minutes(metrics.mae), format_percent(metrics.within_5_min), format_percent(metrics.coverage)
