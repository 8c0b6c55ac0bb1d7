"""The pictures of a morning, each with the sentence that says what it shows. Nothing to draw, no picture."""

from __future__ import annotations

from preptime.evaluation import aggregates, charts, day_charts, figures, markup
from preptime.evaluation.documents import SegmentName
from preptime.evaluation.scores import COVERAGE_BAND
from preptime.evaluation.verdict import in_percent
from preptime.monitoring import rows
from preptime.monitoring.document import Monitoring

_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "items", "basis")


def days(document: Monitoring) -> list[str]:
    """Error, coverage, number and basis of the answers, day by day."""
    return [*_errors(document), *_coverage(document), *_volume(document)]


def _errors(document: Monitoring) -> list[str]:
    drawn, promise = rows.error_rows(document), document.promise
    if not drawn:
        return []
    told = None if promise is None else promise.figures.mae
    promised = None if told is None else told / aggregates.SECONDS_PER_MINUTE
    worst = max(drawn, key=lambda row: float(row["mae"]))
    line = "" if promised is None else " The dashed line is what the backtest promised."
    return [
        figures.picture(
            "daily-errors",
            "Mean error by day",
            f"Bars are the model, ticks the restaurant lookup.{line} The worst day is {worst['day']}: "
            f"{float(worst['mae']):.1f} minutes.",
            lambda width: day_charts.daily_errors(drawn, promised, width, charts.LIGHT),
        )
    ]


def _coverage(document: Monitoring) -> list[str]:
    drawn = rows.coverage_rows(document)
    if not drawn:
        return []
    low, high = COVERAGE_BAND
    return [
        figures.picture(
            "daily-coverage",
            "Coverage of p10–p90 by day",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its "
            f"band, {in_percent(low, 0)} to {in_percent(high, 0)}.",
            lambda width: day_charts.daily_coverage(drawn, width, charts.LIGHT),
        )
    ]


def _volume(document: Monitoring) -> list[str]:
    drawn, counts = rows.volume_rows(document), document.answers
    if not drawn:
        return []
    return [
        figures.picture(
            "volume",
            "Orders by day",
            f"Of {counts.orders:,} orders {counts.unanswered:,} have no answer; {counts.open:,} answers have no "
            "outcome yet.",
            lambda width: day_charts.counted_days(drawn, "orders", width, charts.LIGHT),
        ),
        _bases(document),
    ]


def _bases(document: Monitoring) -> str:
    bases = rows.basis_rows(document)
    degraded = sum(int(row["orders"]) for row in bases)
    answered = sum(day.answered for day in document.days)
    return figures.picture(
        "basis",
        "Answers without an order of their restaurant",
        f"{degraded:,} of {answered:,} answers ({in_percent(degraded / max(answered, 1))}) stand on something coarser "
        "than their restaurant's own past.",
        lambda width: day_charts.counted_days(bases, "answers", width, charts.LIGHT),
    )


def shifts(document: Monitoring) -> list[str]:
    """Actual ÷ predicted of all orders and the cities, and of the types of food."""
    cities = rows.ratio_rows(document)
    foods = rows.ratio_rows(document, ("type_of_food",))
    cards = []
    if cities:
        cards.append(
            figures.picture(
                "ratio-cities",
                "Actual ÷ predicted, by city",
                f"The typical ratio of each day; on the dashed line food took as long as said. {_fired_days(cities)}",
                lambda width: day_charts.ratios(cities, width, charts.LIGHT),
            )
        )
    if foods:
        cards.append(
            figures.picture(
                "ratio-foods",
                "Actual ÷ predicted, by type of food",
                f"Likewise, what a city has in common on a day taken out. {_fired_days(foods)}",
                lambda width: day_charts.ratios(foods, width, charts.LIGHT),
            )
        )
    return cards


def _fired_days(drawn: list[aggregates.Row]) -> str:
    fired = len([row for row in drawn if row["fired"]])
    return f"Triangles fired: {fired}." if fired else "No day fired."


def segments(document: Monitoring) -> list[str]:
    """Error and coverage by segment."""
    drawn = aggregates.segment_rows(document.segments, _CUTS)
    if not drawn:
        return []
    return [
        figures.picture(
            "segment-errors",
            "Mean error by segment",
            "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods.",
            lambda width: charts.segment_errors(drawn, width, charts.LIGHT),
        ),
        figures.picture(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band.",
            lambda width: charts.segment_coverage(drawn, width, charts.LIGHT),
        ),
    ]


def drift(document: Monitoring) -> list[str]:
    """How far every feature has moved, and the one that moved most; or why that is not known."""
    drawn, drift = rows.stability_rows(document), document.drift
    cards = []
    if drift.why_not:
        cards.append(f'<p class="card says">{markup.text(drift.why_not)}</p>')
    if not drawn:
        return cards
    reference = (
        f" against {drift.reference.first} to {drift.reference.last}, which was trained on" if drift.reference else ""
    )
    recent = f"{drift.recent.first} to {drift.recent.last}" if drift.recent else "The last days"
    cards.append(
        figures.picture(
            "stability",
            "How far features have moved",
            f"{recent}{reference}. Pale: not tested, since it changes by itself. Right of the dashed line is another "
            "population by custom.",
            lambda width: day_charts.stability(drawn, width, charts.LIGHT),
        )
    )
    moved = rows.most_moved(document)
    if moved is not None:
        bins = rows.distribution_rows(moved)
        cards.append(
            figures.picture(
                "moved",
                f"The one that moved most: {moved.name}",
                f"Bars are the last seven days, ticks the reference; PSI {moved.psi:.3f}, unit {moved.unit}.",
                lambda width: day_charts.distribution(bins, width, charts.LIGHT),
            )
        )
    return cards
