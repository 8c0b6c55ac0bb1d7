"""The report's pictures, each with the sentence that says what it shows. No data, no pictures.

`report.html`: one training run in one file that people would rather look at than read.

Static SVG, no script, nothing fetched from anywhere. The same data gives the same bytes on one machine (the layout
of labels depends on the fonts it has).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from preptime.domain.orders import DEFAULT_MODEL
from preptime.evaluation import aggregates, charts, html_report
from preptime.evaluation.documents import BacktestDocument, SegmentDimension
from preptime.evaluation.evaluated_orders import LABEL_SETS, LOOKUP, EvaluatedOrders, build_backtest_document
from preptime.evaluation.html_report import inline_svg, render_html, section
from preptime.evaluation.metrics import REGRESSION_MIN_ORDERS
from preptime.evaluation.report_data import PredictionSummary, summarize_predictions
from preptime.evaluation.summary_text import (
    calibration_caption,
    density_caption,
    errors_caption,
    find_score,
    format_minutes,
    format_percent,
    hours_caption,
    importance_caption,
    quartile_rows,
    segment_coverage_caption,
    segment_errors_caption,
    summary_sentences,
)

WIDE_PIXELS = 548
"""Half of a page of 1,280 pixels, less its paddings."""

NARROW_PIXELS = 344
"""A page of 400 pixels, less its paddings."""

_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")


def chart_card(name: str, title: str, caption: str, chart: Callable[[int], charts.Chart]) -> str:
    """A card with a chart, which is drawn for wide and for narrow pages; `name` is unique in the page."""
    label = html_report.escape(f"{title}. {caption}")
    wide, narrow = (
        inline_svg(chart(width), f"{name}-{size}", label)
        for size, width in (("wide", WIDE_PIXELS), ("narrow", NARROW_PIXELS))
    )
    return html_report.chart_figure(title, caption, wide, narrow)


def prediction_charts(summary: PredictionSummary | None) -> list[str]:
    """Predicted against actual, and the distribution of errors; none of no orders."""
    if summary is None:
        return []
    density = aggregates.density_rows(summary.density)
    quartiles = quartile_rows(summary)
    errors = aggregates.error_rows(summary.error_counts, summary.orders)
    return [
        chart_card(
            "density",
            "Predicted against actual",
            density_caption(summary),
            lambda width: charts.predicted_vs_actual(
                density, quartiles, summary.axis_limit_minutes, width, charts.LIGHT
            ),
        ),
        chart_card(
            "errors",
            "How far off, and to which side",
            errors_caption(summary),
            lambda width: charts.error_distribution(errors, DEFAULT_MODEL, width, charts.LIGHT),
        ),
    ]


def hour_and_calibration_charts(document: BacktestDocument) -> list[str]:
    """The error by local hour and the calibration curve; none of no orders."""
    if not document.segments:
        return []
    by_hour = aggregates.segment_rows(document.segments, ("hour",))
    calibration = aggregates.calibration_rows(document.segments, REGRESSION_MIN_ORDERS)
    return [
        chart_card(
            "hours",
            "Mean error by local hour",
            hours_caption(by_hour),
            lambda width: charts.hour_errors(by_hour, width, charts.LIGHT),
        ),
        chart_card(
            "calibration",
            "Calibration: what a quantile claims and what it keeps",
            calibration_caption(calibration),
            lambda width: charts.calibration(calibration, width, charts.LIGHT),
        ),
    ]


def segment_charts(document: BacktestDocument) -> list[str]:
    """Error and coverage by city, type of food, items and basis; none of no orders."""
    rows = aggregates.segment_rows(document.segments, _DIMENSIONS)
    if not rows:
        return []
    return [
        chart_card(
            "segment-errors",
            "Mean error by segment",
            segment_errors_caption(rows),
            lambda width: charts.segment_errors(rows, width, charts.LIGHT),
        ),
        chart_card(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            segment_coverage_caption(rows),
            lambda width: charts.segment_coverage(rows, width, charts.LIGHT),
        ),
    ]


def importance_chart(importances: Mapping[str, float]) -> list[str]:
    """The features the default model leans on; none where nothing is known."""
    rows = aggregates.importance_rows(importances)
    if not rows:
        return []
    return [
        chart_card(
            "importance",
            "Feature importance",
            importance_caption(rows, "the default model"),
            lambda width: charts.importance(rows, width, charts.LIGHT),
        )
    ]


_FOOTER = (
    "Times are minutes; hours are the restaurant's own. “Up to 3 h” is every order with a label from 0 to 180 minutes,"
    "\n“inside the fence” the notebook's view without the long tail. The restaurant lookup is what a table of averages "
    "answers.\nHover over a mark for its figures."
)

_LABEL_TITLES = {"up_to_3h": "Labels up to 3 h", "within_label_limit": "Labels inside the fence"}


@dataclass(frozen=True, slots=True)
class LabelAuditRow:
    """How many labels carry a reason code, what it means, and what the rows are kept out of ("" = nothing)."""

    reason: str
    count: int
    meaning: str
    excluded_from: str


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One rule of the promotion gate, as people read it."""

    rule: str
    observed: str
    passed: bool


@dataclass(frozen=True, slots=True)
class GateResult:
    """How champion and challenger compared: one sentence and each rule."""

    summary: str
    checks: tuple[GateCheck, ...]


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Everything the report shows. Days are ISO dates; windows are (first, last), both included."""

    bundle_id: str
    date: str
    training_window: tuple[str, str]
    orders_used: int
    data_fingerprint: str
    evaluated_days: tuple[str, str]
    orders: EvaluatedOrders
    """The held-out orders, which the models have not seen."""
    importances: Mapping[str, float]
    """By feature name, of the default model, any scale; empty when there are none."""
    label_audit: tuple[LabelAuditRow, ...]
    rows_read: int
    gate: GateResult | None = None


def render_report(context: ReportContext) -> str:
    """The report as one HTML document."""
    document = build_backtest_document(context.orders, *context.evaluated_days)
    return render_html(
        title=f"preptime {context.bundle_id}",
        heading=f"Bundle {context.bundle_id}",
        summary=summary_sentences(document),
        tiles=_tiles(document),
        facts=_facts(context, document),
        sections=_sections(context, document),
        footer=_FOOTER,
    )


def _tiles(document: BacktestDocument) -> str:
    default, lookup = find_score(document, document.default_model), find_score(document, LOOKUP)
    if default is None or default.mae is None:
        return ""
    coverage = document.interval.coverage
    tiles = [
        html_report.tile(format_minutes(default.mae), "min", "mean error of the default answer (p50)"),
        html_report.tile(format_percent(default.within_5_min), "", "of the answers within five minutes"),
        html_report.tile(
            format_percent(coverage),
            "",
            f"of the orders inside p10–p90; promised {format_percent(document.interval.level, 0)}",
        ),
    ]
    if lookup is not None:
        tiles.insert(1, html_report.tile(format_minutes(lookup.mae), "min", "mean error of the restaurant lookup"))
    return "".join(tiles)


def _facts(context: ReportContext, document: BacktestDocument) -> list[tuple[str, str]]:
    return [
        ("date D", context.date),
        ("trained on", " to ".join(context.training_window)),
        ("orders used", f"{context.orders_used:,}"),
        ("evaluated on", " to ".join(context.evaluated_days)),
        ("orders evaluated", f"{max((row.n for row in document.scores), default=0):,}"),
        ("data fingerprint", context.data_fingerprint),
    ]


def _sections(context: ReportContext, document: BacktestDocument) -> list[str]:
    training_cards = [_audit_card(context), *importance_chart(context.importances)]
    return [
        section("models", "Each model beside both baselines", _score_cards(document)),
        section("predictions", "Answers against the truth", prediction_charts(summarize_predictions(context.orders))),
        section("hours", "Error by local hour, and calibration", hour_and_calibration_charts(document)),
        section("segments", "Error and coverage by segment", segment_charts(document)),
        section("training", "What it learned from", training_cards),
        *([section("gate", "Champion and challenger", [_gate_card(context.gate)])] if context.gate else []),
    ]


def _score_cards(document: BacktestDocument) -> list[str]:
    cards = []
    for labels in LABEL_SETS:
        rows = [row for row in document.scores if row.labels == labels]
        caption = f"{rows[0].n:,} orders; the best figure of each column is bold." if rows else ""
        content = html_report.score_table(rows, document.default_model)
        cards.append(
            f'<div class="card"><h3>{_LABEL_TITLES[labels]}</h3><p class="caption">{caption}</p>{content}</div>'
        )
    return cards


def _audit_card(context: ReportContext) -> str:
    largest = max((row.count for row in context.label_audit), default=0)
    rows = (
        [
            f"<code>{html_report.escape(row.reason)}</code><i>{html_report.escape(row.meaning)}</i>",
            html_report.bar_cell(row.count / largest if largest else 0.0, f"{row.count:,}"),
            html_report.escape(row.excluded_from or "nothing"),
        ]
        for row in context.label_audit
    )
    content = html_report.table(["reason", "orders", "excluded from"], rows)
    caption = f"{context.rows_read:,} rows were read; each keeps its verdict, and none is dropped without one."
    return f'<div class="card words"><h3>The labels that came in</h3><p class="caption">{caption}</p>{content}</div>'


def _gate_card(gate: GateResult) -> str:
    rows = (
        [
            html_report.escape(check.rule),
            html_report.escape(check.observed),
            '<span class="yes">✓ held</span>' if check.passed else '<span class="no">✗ not held</span>',
        ]
        for check in gate.checks
    )
    content = html_report.table(["rule", "observed", ""], rows)
    return f'<div class="card full words"><p class="caption">{html_report.escape(gate.summary)}</p>{content}</div>'
