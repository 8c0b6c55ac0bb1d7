"""`report.html`: one training run in one file that people would rather look at than read.

Static SVG, no script, nothing fetched from anywhere. The same data gives the same bytes on one machine (the layout
of labels depends on the fonts it has).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from preptime.evaluation import figures, markup
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated import LABEL_SETS, LOOKUP, EvaluatedOrders, build_backtest_document
from preptime.evaluation.page import render_html, section
from preptime.evaluation.pictured import summarize_predictions
from preptime.evaluation.verdict import find_score, format_minutes, format_percent, summary_sentences

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
        markup.tile(format_minutes(default.mae), "min", "mean error of the default answer (p50)"),
        markup.tile(format_percent(default.within_5_min), "", "of the answers within five minutes"),
        markup.tile(
            format_percent(coverage),
            "",
            f"of the orders inside p10–p90; promised {format_percent(document.interval.level, 0)}",
        ),
    ]
    if lookup is not None:
        tiles.insert(1, markup.tile(format_minutes(lookup.mae), "min", "mean error of the restaurant lookup"))
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
    training_cards = [_audit_card(context), *figures.importance_chart(context.importances)]
    return [
        section("models", "Each model beside both baselines", _score_cards(document)),
        section(
            "predictions", "Answers against the truth", figures.prediction_charts(summarize_predictions(context.orders))
        ),
        section("hours", "Error by local hour, and calibration", figures.hour_and_calibration_charts(document)),
        section("segments", "Error and coverage by segment", figures.segment_charts(document)),
        section("training", "What it learned from", training_cards),
        *([section("gate", "Champion and challenger", [_gate_card(context.gate)])] if context.gate else []),
    ]


def _score_cards(document: BacktestDocument) -> list[str]:
    cards = []
    for labels in LABEL_SETS:
        rows = [row for row in document.scores if row.labels == labels]
        caption = f"{rows[0].n:,} orders; the best figure of each column is bold." if rows else ""
        content = markup.score_table(rows, document.default_model)
        cards.append(
            f'<div class="card"><h3>{_LABEL_TITLES[labels]}</h3><p class="caption">{caption}</p>{content}</div>'
        )
    return cards


def _audit_card(context: ReportContext) -> str:
    largest = max((row.count for row in context.label_audit), default=0)
    rows = (
        [
            f"<code>{markup.escape(row.reason)}</code><i>{markup.escape(row.meaning)}</i>",
            markup.bar_cell(row.count / largest if largest else 0.0, f"{row.count:,}"),
            markup.escape(row.excluded_from or "nothing"),
        ]
        for row in context.label_audit
    )
    content = markup.table(["reason", "orders", "excluded from"], rows)
    caption = f"{context.rows_read:,} rows were read; each keeps its verdict, and none is dropped without one."
    return f'<div class="card words"><h3>The labels that came in</h3><p class="caption">{caption}</p>{content}</div>'


def _gate_card(gate: GateResult) -> str:
    rows = (
        [
            markup.escape(check.rule),
            markup.escape(check.observed),
            '<span class="yes">✓ held</span>' if check.passed else '<span class="no">✗ not held</span>',
        ]
        for check in gate.checks
    )
    content = markup.table(["rule", "observed", ""], rows)
    return f'<div class="card full words"><p class="caption">{markup.escape(gate.summary)}</p>{content}</div>'
