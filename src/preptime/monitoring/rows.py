"""What the pictures of a morning draw: plain rows from the document, for the report here and for a page elsewhere.

Times in minutes, shares from 0 to 1, days as ISO text, as `preptime.evaluation.day_charts` wants them.
"""

from __future__ import annotations

from preptime.evaluation.aggregates import SECONDS_PER_MINUTE, Row, chance_bounds
from preptime.monitoring.document import Basis, Feature, Monitoring

PSI_SHOWN = 1.0
"""A bar ends here; features that grow by their nature would flatten all others."""
RATIO_EDGES = (0.5, 1.6)
"""Days of a few orders don't stretch the strips: they end at these edges."""
LEAST_TRAIL_ORDERS = 10
"""A day of a part with fewer has no dot: its ratio is chance."""


def error_rows(document: Monitoring) -> list[Row]:
    """For `daily_errors`."""
    rows = list[Row]()
    for day in document.days:
        figures = day.figures
        if figures.mae is None:
            continue
        mae = figures.mae / SECONDS_PER_MINUTE
        row: Row = {"day": day.date.isoformat(), "mae": mae}
        told = f"{day.date}: {mae:.1f} min over {figures.n:,} orders"
        if figures.lookup_mae is not None and figures.lookup_n == figures.n:
            row["lookup_mae"] = figures.lookup_mae / SECONDS_PER_MINUTE
            told += f", lookup {figures.lookup_mae / SECONDS_PER_MINUTE:.1f} min"
        rows.append({**row, "tip": told})
    return rows


def coverage_rows(document: Monitoring) -> list[Row]:
    """For `daily_coverage`."""
    rows = list[Row]()
    for day in document.days:
        coverage, n = day.figures.coverage, day.figures.n
        if coverage is not None and n:
            low, high = chance_bounds(coverage, n)
            tip = f"{day.date}: {coverage:.1%} of {n:,} orders, could be {low:.0%}–{high:.0%}"
            rows.append(
                {
                    "day": day.date.isoformat(),
                    "coverage": coverage,
                    "coverage_low": low,
                    "coverage_high": high,
                    "tip": tip,
                }
            )
    return rows


def volume_rows(document: Monitoring) -> list[Row]:
    """For `counted_days`: orders of each day by whether they have an answer, an outcome, or both."""
    rows = list[Row]()
    for day in document.days:
        with_both = day.answered - day.open
        counts = (
            ("answer and outcome", with_both),
            ("no answer", day.orders - with_both),
            ("no outcome yet", day.open),
        )
        rows += [
            {
                "day": day.date.isoformat(),
                "group": group,
                "place": place,
                "orders": count,
                "tip": f"{day.date}: {count:,} orders, {group}",
            }
            for place, (group, count) in enumerate(counts)
        ]
    return rows


def basis_rows(document: Monitoring) -> list[Row]:
    """For `counted_days`: answers without an order of their restaurant behind them, by the level that was."""
    labels: dict[Basis, str] = {
        "city_food": "its city and food",
        "food": "its food",
        "city": "its city",
        "global": "nothing of its own",
    }
    return [
        {
            "day": day.date.isoformat(),
            "group": label,
            "place": place,
            "orders": day.basis.get(name, 0),
            "tip": f"{day.date}: {day.basis.get(name, 0):,} answers from {label}",
        }
        for day in document.days
        for place, (name, label) in enumerate(labels.items())
    ]


def ratio_rows(document: Monitoring, cuts: tuple[str, ...] = ("overall", "city"), most: int = 7) -> list[Row]:
    """For `ratios`: all orders, what fired, then the largest, `most` in all."""
    chosen = [trail for trail in document.trails if trail.segment in cuts]
    alerted = {(alert.segment, alert.value) for alert in document.alerts}
    chosen.sort(key=lambda one: (one.segment != "overall", (one.segment, one.value) not in alerted, -one.n, one.value))
    shown = {day.date for day in document.days}
    low, high = RATIO_EDGES
    return [
        {
            "part": "all orders" if trail.segment == "overall" else trail.value,
            "day": day.date.isoformat(),
            "said": 1.0,
            "shown": min(max(day.ratio, low), high),
            "fired": day.fired,
            "tip": f"{trail.value}, {day.date}: actual ÷ predicted {day.ratio:.2f} over {day.n:,} orders"
            + (", fired" if day.fired else ""),
        }
        for trail in chosen[:most]
        for day in trail.days
        if day.date in shown and (day.n >= LEAST_TRAIL_ORDERS or day.fired)
    ]


def stability_rows(document: Monitoring) -> list[Row]:
    """For `stability`: every feature and the prediction."""
    return [
        {
            "feature": one.name,
            "psi": one.psi,
            "shown": min(one.psi, PSI_SHOWN),
            "tested": one.tested,
            "drifted": one.drifted,
            "tip": f"{one.name}: PSI {one.psi:.3f}"
            + ("" if one.p_adjusted is None else f", p {one.p_adjusted:.2g} after Holm")
            + ("" if one.tested else ", not tested"),
        }
        for one in document.drift.features
        if one.psi is not None
    ]


def distribution_rows(feature: Feature) -> list[Row]:
    """For `distribution`."""
    return [
        {
            "bin": one.label,
            "reference": one.reference,
            "recent": one.recent,
            "tip": f"{one.label}: {one.recent:.1%} lately, {one.reference:.1%} in the reference",
        }
        for one in feature.bins
    ]


def most_moved(document: Monitoring) -> Feature | None:
    """The tested feature, or the prediction, whose distribution has moved most."""
    tested = [one for one in document.drift.features if one.tested and one.psi is not None]
    return max(tested, key=lambda one: (one.drifted, one.psi or 0.0), default=None)
