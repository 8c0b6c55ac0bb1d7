"""`report.html`: one training run in one file that people would rather look at than read.

Static SVG, no script, nothing fetched from anywhere. The same data gives the same bytes on one machine (the layout
of labels depends on the fonts it has).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from preptime.evaluation import figures, markup
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated import LABEL_SETS, LOOKUP, EvaluatedOrders, backtest_document
from preptime.evaluation.page import page, section
from preptime.evaluation.pictured import answered
from preptime.evaluation.verdict import find_score, in_minutes, in_percent, verdict

_FOOTER = (
    "Times are minutes; hours are the restaurant's own. “Up to 3 h” is every order with a label from 0 to 180 minutes,"
    "\n“inside the fence” the notebook's view without the long tail. The restaurant lookup is what a table of averages "
    "answers.\nHover over a mark for its figures."
)

_LABEL_TITLES = {"up_to_3h": "Labels up to 3 h", "inside_fence": "Labels inside the fence"}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """How many labels carry a reason code, what it means, and what the rows are kept out of ("" = nothing)."""

    code: str
    count: int
    meaning: str
    kept_out_of: str


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One rule of the promotion gate, as people read it."""

    rule: str
    found: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """How champion and challenger compared: one sentence and each rule."""

    outcome: str
    checks: tuple[GateCheck, ...]


@dataclass(frozen=True, slots=True)
class ReportData:
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
    audit: tuple[AuditRow, ...]
    rows_read: int
    gate: Gate | None = None


def render_report(data: ReportData) -> str:
    """The report as one HTML document."""
    document = backtest_document(data.orders, *data.evaluated_days)
    return page(
        title=f"preptime {data.bundle_id}",
        heading=f"Bundle {data.bundle_id}",
        verdict=verdict(document),
        tiles=_tiles(document),
        facts=_facts(data, document),
        sections=_sections(data, document),
        footer=_FOOTER,
    )


def _tiles(document: BacktestDocument) -> str:
    default, lookup = find_score(document, document.default_model), find_score(document, LOOKUP)
    if default is None or default.mae is None:
        return ""
    coverage = document.interval.coverage
    tiles = [
        markup.tile(in_minutes(default.mae), "min", "mean error of the default answer (p50)"),
        markup.tile(in_percent(default.within_5_min), "", "of the answers within five minutes"),
        markup.tile(
            in_percent(coverage), "", f"of the orders inside p10–p90; promised {in_percent(document.interval.level, 0)}"
        ),
    ]
    if lookup is not None:
        tiles.insert(1, markup.tile(in_minutes(lookup.mae), "min", "mean error of the restaurant lookup"))
    return "".join(tiles)


def _facts(data: ReportData, document: BacktestDocument) -> list[tuple[str, str]]:
    return [
        ("date D", data.date),
        ("trained on", " to ".join(data.training_window)),
        ("orders used", f"{data.orders_used:,}"),
        ("evaluated on", " to ".join(data.evaluated_days)),
        ("orders evaluated", f"{max((row.n for row in document.scores), default=0):,}"),
        ("data fingerprint", data.data_fingerprint),
    ]


def _sections(data: ReportData, document: BacktestDocument) -> list[str]:
    learned = [_audit_card(data), *figures.importance(data.importances)]
    return [
        section("models", "Each model beside both baselines", _score_cards(document)),
        section("answers", "Answers against the truth", figures.answers(answered(data.orders))),
        section("hours", "Error by local hour, and calibration", figures.hours_and_calibration(document)),
        section("segments", "Error and coverage by segment", figures.segments(document)),
        section("learned", "What it learned from", learned),
        *([section("gate", "Champion and challenger", [_gate_card(data.gate)])] if data.gate else []),
    ]


def _score_cards(document: BacktestDocument) -> list[str]:
    cards = []
    for labels in LABEL_SETS:
        rows = [row for row in document.scores if row.labels == labels]
        says = f"{rows[0].n:,} orders; the best figure of each column is bold." if rows else ""
        content = markup.score_table(rows, document.default_model)
        cards.append(f'<div class="card"><h3>{_LABEL_TITLES[labels]}</h3><p class="says">{says}</p>{content}</div>')
    return cards


def _audit_card(data: ReportData) -> str:
    largest = max((row.count for row in data.audit), default=0)
    rows = (
        [
            f"<code>{markup.text(row.code)}</code><i>{markup.text(row.meaning)}</i>",
            markup.bar(row.count / largest if largest else 0.0, f"{row.count:,}"),
            markup.text(row.kept_out_of or "nothing"),
        ]
        for row in data.audit
    )
    content = markup.table(["reason", "orders", "kept out of"], rows)
    says = f"{data.rows_read:,} rows were read; each keeps its verdict, and none is dropped without one."
    return f'<div class="card words"><h3>The labels that came in</h3><p class="says">{says}</p>{content}</div>'


def _gate_card(gate: Gate) -> str:
    rows = (
        [
            markup.text(check.rule),
            markup.text(check.found),
            '<span class="yes">✓ held</span>' if check.passed else '<span class="no">✗ not held</span>',
        ]
        for check in gate.checks
    )
    content = markup.table(["rule", "found", ""], rows)
    return f'<div class="card full words"><p class="says">{markup.text(gate.outcome)}</p>{content}</div>'
