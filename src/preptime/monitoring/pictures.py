"""The pictures of a morning, each with the sentence that says what it shows. Nothing to draw, no picture."""

from __future__ import annotations

from preptime.evaluation import aggregates, charts, day_charts, figures, markup
from preptime.evaluation.documents import SegmentDimension
from preptime.evaluation.scores import COVERAGE_BAND
from preptime.evaluation.verdict import format_percent
from preptime.monitoring import rows
from preptime.monitoring.document import MonitoringDocument

_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")


def day_charts_html(document: MonitoringDocument) -> list[str]:
    """Error, coverage, number and basis of the answers, day by day."""
    return [*_error_charts(document), *_coverage_charts(document), *_volume_charts(document)]


def _error_charts(document: MonitoringDocument) -> list[str]:
    error_rows, baseline = rows.error_rows(document), document.backtest_baseline
    if not error_rows:
        return []
    backtest_mae = None if baseline is None else baseline.metrics.mae
    backtest_minutes = None if backtest_mae is None else backtest_mae / aggregates.SECONDS_PER_MINUTE
    worst_day = max(error_rows, key=lambda row: float(row["mae"]))
    line = "" if backtest_minutes is None else " The dashed line is what the backtest promised."
    return [
        figures.chart_card(
            "daily-errors",
            "Mean error by day",
            f"Bars are the model, ticks the restaurant lookup.{line} The worst day is {worst_day['day']}: "
            f"{float(worst_day['mae']):.1f} minutes.",
            lambda width: day_charts.daily_errors(error_rows, backtest_minutes, width, charts.LIGHT),
        )
    ]


def _coverage_charts(document: MonitoringDocument) -> list[str]:
    coverage_rows = rows.coverage_rows(document)
    if not coverage_rows:
        return []
    low, high = COVERAGE_BAND
    return [
        figures.chart_card(
            "daily-coverage",
            "Coverage of p10–p90 by day",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its "
            f"band, {format_percent(low, 0)} to {format_percent(high, 0)}.",
            lambda width: day_charts.daily_coverage(coverage_rows, width, charts.LIGHT),
        )
    ]


def _volume_charts(document: MonitoringDocument) -> list[str]:
    volume_rows, counts = rows.volume_rows(document), document.prediction_counts
    if not volume_rows:
        return []
    return [
        figures.chart_card(
            "volume",
            "Orders by day",
            f"Of {counts.orders:,} orders {counts.without_prediction:,} have no answer; {counts.without_outcome:,} answers have no "
            "outcome yet.",
            lambda width: day_charts.daily_counts(volume_rows, "orders", width, charts.LIGHT),
        ),
        _fallback_level_chart(document),
    ]


def _fallback_level_chart(document: MonitoringDocument) -> str:
    level_rows = rows.fallback_level_rows(document)
    fallback_predictions = sum(int(row["orders"]) for row in level_rows)
    predictions = sum(day.predictions for day in document.days)
    return figures.chart_card(
        "fallback_level",
        "Answers without an order of their restaurant",
        f"{fallback_predictions:,} of {predictions:,} answers ({format_percent(fallback_predictions / max(predictions, 1))}) stand on something coarser "
        "than their restaurant's own past.",
        lambda width: day_charts.daily_counts(level_rows, "predictions", width, charts.LIGHT),
    )


def ratio_charts(document: MonitoringDocument) -> list[str]:
    """Actual ÷ predicted of all orders and the cities, and of the types of food."""
    cities = rows.ratio_rows(document)
    foods = rows.ratio_rows(document, ("type_of_food",))
    cards = []
    if cities:
        cards.append(
            figures.chart_card(
                "ratio-cities",
                "Actual ÷ predicted, by city",
                f"The typical ratio of each day; on the dashed line food took as long as said. {_fired_caption(cities)}",
                lambda width: day_charts.daily_ratios(cities, width, charts.LIGHT),
            )
        )
    if foods:
        cards.append(
            figures.chart_card(
                "ratio-foods",
                "Actual ÷ predicted, by type of food",
                f"Likewise, what a city has in common on a day taken out. {_fired_caption(foods)}",
                lambda width: day_charts.daily_ratios(foods, width, charts.LIGHT),
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
        figures.chart_card(
            "segment-errors",
            "Mean error by segment",
            "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods.",
            lambda width: charts.segment_errors(segment_rows, width, charts.LIGHT),
        ),
        figures.chart_card(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band.",
            lambda width: charts.segment_coverage(segment_rows, width, charts.LIGHT),
        ),
    ]


def drift_charts(document: MonitoringDocument) -> list[str]:
    """How far every feature has moved, and the one that moved most; or why that is not known."""
    psi_rows, drift = rows.psi_rows(document), document.drift
    cards = []
    if drift.unavailable_reason:
        cards.append(f'<p class="card caption">{markup.escape(drift.unavailable_reason)}</p>')
    if not psi_rows:
        return cards
    reference = (
        f" against {drift.reference.first} to {drift.reference.last}, which was trained on" if drift.reference else ""
    )
    recent = f"{drift.recent.first} to {drift.recent.last}" if drift.recent else "The last days"
    cards.append(
        figures.chart_card(
            "stability",
            "How far features have moved",
            f"{recent}{reference}. Pale: not tested, since it changes by itself. Right of the dashed line is another "
            "population by custom.",
            lambda width: day_charts.feature_psi(psi_rows, width, charts.LIGHT),
        )
    )
    moved = rows.most_drifted(document)
    if moved is not None:
        bins = rows.distribution_rows(moved)
        cards.append(
            figures.chart_card(
                "moved",
                f"The one that moved most: {moved.name}",
                f"Bars are the last seven days, ticks the reference; PSI {moved.psi:.3f}, unit {moved.unit}.",
                lambda width: day_charts.distribution(bins, width, charts.LIGHT),
            )
        )
    return cards
