"""`report.html`: one training run as a page with charts, tables, and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from preptime.domain.time_units import TimeUnit
from preptime.evaluation.chart_set import (
    NamedChart,
    hour_and_calibration_charts,
    importance_charts,
    prediction_charts,
    segment_charts,
)
from preptime.evaluation.charts import LIGHT
from preptime.evaluation.documents import BacktestDocument, Score, WaitingCost
from preptime.evaluation.evaluated_orders import LABEL_SETS, LOOKUP, EvaluatedOrders, LabelSet, build_backtest_document
from preptime.evaluation.html_report import ChartCard, Tile, chart_card, render_page
from preptime.evaluation.metrics import (
    BIAS,
    MAE,
    MEDIAN_AE,
    R2,
    RMSE,
    WITHIN_5_MIN,
    PointMetric,
)
from preptime.evaluation.report_data import summarize_predictions
from preptime.evaluation.summary_text import (
    ARRIVAL_TITLES,
    NO_VALUE,
    WEAK_MODEL_NOTE,
    cost_ratio_text,
    find_score,
    format_percent,
    format_time,
    format_waiting_cost,
    shown_arrivals,
    summary_sentences,
    waiting_cost_caption,
    weak_models,
    without_ends_text,
)
from preptime.formatting import with_minus_signs
from preptime.schema.schema import TAKE_HOME_SCHEMA, Target

_LABEL_TITLES = {"up_to_3h": "Labels up to 3 h", "within_label_limit": "Labels within the outlier limit"}
_SCORE_COLUMNS = (
    (MAE, "mean error, {unit}"),
    (WITHIN_5_MIN, "within {five_minutes}"),
    (MEDIAN_AE, "median error, {unit}"),
    (BIAS, "bias, {unit}"),
    (R2, "R²"),
    (RMSE, "RMSE, {unit}"),
)
_BASELINE_ARRIVALS = ("lookup_quantile", "constant")
_LABEL_LIMIT_MINUTES = 180
_BOLD_BEST_METRICS = (MAE, MEDIAN_AE, RMSE, R2, WITHIN_5_MIN)
_FOOTER = (
    "Times are in {unit}. Hours are in the restaurant's time zone. “Labels up to 3 h” includes every order with a "
    "label from 0 to {label_limit}. “Labels within the outlier limit” leaves out the long tail, as the notebook does. "
    "The restaurant lookup predicts the restaurant's own past median. Hover over a mark to see its values."
)


@dataclass(frozen=True, slots=True)
class LabelAuditRow:
    """How many labels have a reason code, what the code means, and what it excludes them from ("" = nothing)."""

    reason: str
    count: int
    meaning: str
    excluded_from: str


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Everything that the report shows. Days are ISO dates. Windows are (first, last), both included."""

    bundle_id: str
    date: str
    training_window: tuple[str, str]
    orders_used: int
    data_fingerprint: str
    evaluated_days: tuple[str, str]
    orders: EvaluatedOrders
    """The held-out orders, which the models were not fitted on."""
    importances: Mapping[str, float]
    """By feature name, of the default model, on any scale. Empty when the model reports none."""
    label_audit: tuple[LabelAuditRow, ...]
    rows_read: int
    target: Target = TAKE_HOME_SCHEMA.target
    """What the models predict, in words."""
    feature_titles: Mapping[str, str] = field(default_factory=dict)
    """The names for people of the features in `importances`. Other features are shown with their names."""


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """One metric of a model. `bar` is the length of the bar behind it, as a share of the cell; None draws no bar."""

    text: str
    tooltip: str
    is_best: bool
    bar: float | None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One model or baseline in the table of scores."""

    name: str
    is_default: bool
    is_baseline: bool
    cells: tuple[ScoreCell, ...]
    is_weak: bool = False
    """Whether it's a point model that isn't better than the global median."""


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scores of every model and baseline over one label set."""

    title: str
    caption: str
    rows: tuple[ScoreRow, ...]


def render_report(context: ReportContext) -> str:
    """Return the report as one HTML document."""
    document, unit = build_backtest_document(context.orders, *context.evaluated_days), context.target.time_unit
    return render_page(
        "training_report.html",
        "preptime.evaluation",
        title=f"preptime {context.bundle_id}",
        heading=f"Bundle {context.bundle_id}",
        summary=summary_sentences(document, unit),
        tiles=_tiles(document, unit),
        facts=_facts(context, document),
        footer=_FOOTER.format(unit=unit.name, label_limit=f"{unit.tick(_LABEL_LIMIT_MINUTES)} {unit.name}"),
        subject=context.target.title,
        score_headings=_score_headings(unit),
        weak_model_note=WEAK_MODEL_NOTE,
        score_tables=_score_tables(document, unit),
        waiting_headings=[cost_ratio_text(cost) for cost in document.waiting_costs],
        waiting_table=_waiting_table(document.waiting_costs, unit),
        prediction_charts=_cards(prediction_charts(summarize_predictions(context.orders), unit)),
        hour_charts=_cards(hour_and_calibration_charts(document, unit)),
        segment_charts=_cards(segment_charts(document, unit)),
        label_audit=context.label_audit,
        label_audit_caption=f"{context.rows_read:,} rows were read. Every excluded row has a reason.",
        largest_label_count=max([1, *(row.count for row in context.label_audit)]),
        importance_charts=_cards(
            importance_charts(
                {context.feature_titles.get(name, name): share for name, share in context.importances.items()}
            )
        ),
    )


def _score_headings(unit: TimeUnit) -> list[str]:
    return [heading.format(unit=unit.short, five_minutes=unit.five_minutes_short) for _, heading in _SCORE_COLUMNS]


def _tiles(document: BacktestDocument, unit: TimeUnit) -> list[Tile]:
    default, lookup = find_score(document, document.default_model), find_score(document, LOOKUP)
    if default is None or default.mae is None:
        return []
    interval = document.interval
    coverage_text = (
        f"of the orders within p10–p90{without_ends_text(interval.coverage, interval.coverage_inside)}; the target is "
        f"{format_percent(interval.level, 0)}"
    )
    tiles = [
        Tile(unit.number(default.mae), unit.short, "mean error of the default prediction (p50)"),
        Tile(format_percent(default.within_5_min), "", f"of the predictions within {unit.five_minutes}"),
        Tile(format_percent(interval.coverage), "", coverage_text),
    ]
    if lookup is not None:
        tiles.insert(1, Tile(format_time(lookup.mae, unit), unit.short, "mean error of the restaurant lookup"))
    return tiles


def _facts(context: ReportContext, document: BacktestDocument) -> list[tuple[str, str]]:
    return [
        ("as-of date", context.date),
        ("trained on", " to ".join(context.training_window)),
        ("orders used", f"{context.orders_used:,}"),
        ("evaluated on", " to ".join(context.evaluated_days)),
        ("orders evaluated", f"{max((row.n for row in document.scores), default=0):,}"),
        ("data fingerprint", context.data_fingerprint),
    ]


def _score_tables(document: BacktestDocument, unit: TimeUnit) -> list[ScoreTable]:
    return [_score_table(document, labels, unit) for labels in LABEL_SETS]


def _score_table(document: BacktestDocument, labels: LabelSet, unit: TimeUnit) -> ScoreTable:
    scores = [score for score in document.scores if score.labels == labels]
    caption = f"{scores[0].n:,} orders. The best value of each column is bold." if scores else ""
    weak_names = weak_models(document)
    rows = tuple(
        replace(_score_row(score, scores, document.default_model, unit), is_weak=score.name in weak_names)
        for score in scores
    )
    return ScoreTable(_LABEL_TITLES[labels], caption, rows)


def _score_row(score: Score, scores: Sequence[Score], default_model: str, unit: TimeUnit) -> ScoreRow:
    is_default = score.name == default_model
    name = score.name if is_default else score.name.replace("_", " ")
    name = "live model" if score.kind == "live" else name
    cells = tuple(_score_cell(score, metric, scores, unit) for metric, _ in _SCORE_COLUMNS)
    return ScoreRow(name, is_default, is_baseline=score.kind == "baseline", cells=cells)


def _score_cell(score: Score, metric: PointMetric, scores: Sequence[Score], unit: TimeUnit) -> ScoreCell:
    value = _metric_value(score, metric)
    if value is None:
        return ScoreCell(NO_VALUE, tooltip="", is_best=False, bar=None)
    largest_mae = max(other.mae for other in scores if other.mae is not None)
    return ScoreCell(
        text=_format_metric(value, metric, unit),
        tooltip=with_minus_signs(f"{value:.1f} s") if metric.unit == "s" else "",
        is_best=metric in _BOLD_BEST_METRICS
        and not any(metric.is_better(_metric_value(other, metric), value) for other in scores),
        bar=value / largest_mae if metric is MAE and largest_mae else None,
    )


def _waiting_table(costs: Sequence[WaitingCost], unit: TimeUnit) -> ScoreTable:
    rows = tuple(
        ScoreRow(
            title,
            is_default=False,
            is_baseline=name in _BASELINE_ARRIVALS,
            cells=tuple(_waiting_cell(cost, name, costs, unit) for cost in costs),
        )
        for name, title in shown_arrivals(costs).items()
    )
    return ScoreTable("Waiting cost", waiting_cost_caption(costs, unit), rows)


def _waiting_cell(cost: WaitingCost, name: str, costs: Sequence[WaitingCost], unit: TimeUnit) -> ScoreCell:
    value = _waiting_value(cost, name)
    if value is None:
        return ScoreCell(NO_VALUE, tooltip="", is_best=False, bar=None)
    largest = max(_waiting_value(other, arrival) or 0.0 for other in costs for arrival in ARRIVAL_TITLES)
    known = [_waiting_value(cost, arrival) for arrival in ARRIVAL_TITLES]
    return ScoreCell(
        text=format_waiting_cost(value, unit),
        tooltip=f"{value:,.0f} s",
        is_best=value <= min(other for other in known if other is not None),
        bar=value / largest if largest else None,
    )


def _waiting_value(cost: WaitingCost, name: str) -> float | None:
    value: float | None = getattr(cost, name)
    return value


def _metric_value(score: Score, metric: PointMetric) -> float | None:
    value: float | None = getattr(score, metric.name)
    return value


def _format_metric(value: float, metric: PointMetric, unit: TimeUnit) -> str:
    if metric.unit == "share":
        return format_percent(value)
    sign = "+" if metric is BIAS and value > 0 else ""
    return with_minus_signs(sign + unit.number(value, 2) if metric.unit == "s" else f"{round(value, 3) + 0.0:.3f}")


def _cards(named_charts: Sequence[NamedChart]) -> list[ChartCard]:
    return [
        chart_card(chart.name, chart.title, chart.caption, partial(chart.draw, palette=LIGHT)) for chart in named_charts
    ]
