"""`monitoring.html`: a morning in one file that people would rather look at than read."""

from __future__ import annotations

from preptime.evaluation import markup
from preptime.evaluation.page import render_html, section
from preptime.evaluation.verdict import NO_VALUE, format_minutes, format_percent
from preptime.monitoring import pictures
from preptime.monitoring.document import MonitoringDocument, PredictionMetrics, RuleReport

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
            section("days", "Day by day", pictures.day_charts_html(document)),
            section("shifts", "Longer or shorter than said", pictures.ratio_charts(document)),
            section("segments", "Error and coverage by segment, four weeks", pictures.segment_charts(document)),
            section("drift", "What the models are given", pictures.drift_charts(document)),
            section("data", "Answers, outcomes and labels", _data_cards(document)),
        ],
        footer=markup.escape(_FOOTER),
    )


def _tiles(document: MonitoringDocument) -> str:
    recent, baseline = document.recent_metrics, document.backtest_baseline
    backtest_text = "" if baseline is None else f"; {format_minutes(baseline.metrics.mae)} promised"
    return "".join(
        (
            markup.tile(format_minutes(recent.mae), "min", f"mean error of the last seven days{backtest_text}"),
            markup.tile(format_minutes(recent.lookup_mae), "min", "mean error of the restaurant lookup"),
            markup.tile(format_percent(recent.within_5_min), "", "of the answers within five minutes"),
            markup.tile(format_percent(recent.coverage), "", "of the orders inside p10–p90; promised 80 %"),
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
    table_html = markup.table(
        ["rule", "where", "since", "what"],
        (
            [
                f"<code>{markup.escape(alert.rule)}</code>",
                markup.escape(alert.value if alert.segment != "overall" else "all orders"),
                markup.escape(alert.since),
                markup.escape(alert.message),
            ]
            for alert in document.alerts
        ),
    )
    content = table_html.replace("<table>", '<table class="lines">') if document.alerts else ""
    return _card("Alerts", caption, content, full=True)


def _rules_card(document: MonitoringDocument) -> str:
    table_html = markup.table(
        ["rule", "status", "observed", "threshold", "message"],
        (
            [
                f'<code title="{markup.escape(rule.description)}">{markup.escape(rule.rule)}</code>',
                _status_html(rule),
                NO_VALUE if rule.observed is None else f"{rule.observed:.2f}",
                f'<span title="{markup.escape(rule.threshold_reason)}">{rule.threshold:g} {markup.escape(_short_unit(rule))}</span>',
                markup.escape(rule.message),
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
    audit = markup.table(
        ["reason", "orders", "latest day", "meaning"],
        (
            [
                f"<code>{markup.escape(item.reason)}</code>",
                f"{item.orders:,}",
                f"{item.orders_on_last_day:,}",
                markup.escape(item.description),
            ]
            for item in label_audit.reasons
        ),
    ).replace("<table>", '<table class="lines">')
    bundles = markup.table(
        ["bundle", "days", "orders", "mean error, min", "within 5 min", "p10–p90"],
        (
            [
                f"<code>{markup.escape(item.bundle)}</code>",
                markup.escape(
                    item.days.first if item.days.first == item.days.last else f"{item.days.first} – {item.days.last}"
                ),
                f"{item.orders:,}",
                *_metric_cells(item.metrics),
            ]
            for item in document.bundles
        ),
    )
    return [
        _card("Who answered", "Each order counts once.", f"<dl>{markup.definition_list(definitions)}</dl>"),
        _card("Label audit", f"{label_audit.evaluable:,} of {label_audit.rows:,} rows can be evaluated.", audit),
        _card("Bundles that answered", "Each on the orders it answered.", bundles, full=True),
    ]


def _card(title: str, caption: str, content: str, *, full: bool = False) -> str:
    """`content` is HTML already."""
    style = "card full" if full else "card"
    return f'<div class="{style}"><h3>{markup.escape(title)}</h3><p class="caption">{markup.escape(caption)}</p>{content}</div>'


def _metric_cells(metrics: PredictionMetrics) -> tuple[str, str, str]:
    return format_minutes(metrics.mae), format_percent(metrics.within_5_min), format_percent(metrics.coverage)
