"""Chart rows from the monitoring document, for the report and the dashboard.

Times are in the unit of the target, shares are from 0 to 1, and days are ISO text, as
`preptime.evaluation.daily_charts` expects.
"""

from __future__ import annotations

import datetime as dt

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.aggregates import ChartRow, wilson_interval
from preptime.evaluation.daily_charts import PALE_GROUP
from preptime.formatting import format_count
from preptime.monitoring.document import FallbackLevel, FeatureDrift, MonitoringDocument, RatioSeries

MAX_PSI_DRAWN = 1.0
"""Bars are clipped at this value, because features that grow by definition would flatten all others."""
RATIO_LIMITS = (0.5, 1.6)
"""Ratios are clipped to this range, so that days with few orders don't stretch the axis."""
MIN_RATIO_ORDERS = 10
"""Days of a segment with fewer orders aren't drawn, because their ratio is chance."""


def error_rows(document: MonitoringDocument, unit: TimeUnit = MINUTES) -> list[ChartRow]:
    """Return the rows of `daily_errors`."""
    rows = list[ChartRow]()
    for day in document.days:
        metrics = day.metrics
        if metrics.mae is None:
            continue
        row: ChartRow = {"day": day.date.isoformat(), "mae": metrics.mae / unit.seconds}
        tooltip = f"{day.date}: {unit.text(metrics.mae)} over {metrics.n:,} orders"
        if metrics.lookup_mae is not None and metrics.lookup_n == metrics.n:
            row["lookup_mae"] = metrics.lookup_mae / unit.seconds
            tooltip += f", lookup {unit.text(metrics.lookup_mae)}"
        rows.append({**row, "tip": tooltip})
    return rows


def backtest_error(document: MonitoringDocument, unit: TimeUnit = MINUTES) -> float | None:
    """Return the mean error of the backtest, if it's known."""
    baseline = document.backtest_baseline
    return None if baseline is None or baseline.metrics.mae is None else baseline.metrics.mae / unit.seconds


def coverage_rows(document: MonitoringDocument) -> list[ChartRow]:
    """Return the rows of `daily_coverage`."""
    rows = list[ChartRow]()
    for day in document.days:
        metrics = day.metrics
        coverage, n = metrics.coverage, metrics.n if metrics.interval_n is None else metrics.interval_n
        if coverage is not None and n:
            low, high = wilson_interval(coverage, n)
            tip = f"{day.date}: {coverage:.1%} of {n:,} orders, 95% interval {low:.0%}–{high:.0%}"
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


def volume_rows(document: MonitoringDocument) -> list[ChartRow]:
    """Return the rows of `daily_counts`: orders of each day by whether they have a prediction and an outcome.

    The groups of orders that need no prediction are left out if no day has any.
    """
    rows = list[ChartRow]()
    first_prediction = document.prediction_counts.first_prediction
    shown_groups = {"prediction and outcome", "no prediction", "no outcome yet"}
    for day in document.days:
        with_both = day.predictions - day.without_outcome
        is_predicted = first_prediction is not None and day.date >= first_prediction
        counts = (
            ("prediction and outcome", with_both),
            ("no prediction", day.usable - with_both if is_predicted else 0),
            ("no outcome yet", day.without_outcome),
            (PALE_GROUP, 0 if is_predicted else day.usable),
            ("not usable", day.orders - day.usable),
        )
        shown_groups |= {group for group, count in counts if count}
        rows += [
            {
                "day": day.date.isoformat(),
                "group": group,
                "stack_order": stack_order,
                "orders": count,
                "tip": f"{day.date}: {count:,} orders, {group}",
            }
            for stack_order, (group, count) in enumerate(counts)
        ]
    return [row for row in rows if row["group"] in shown_groups]


def volume_caption(first_prediction: dt.date | None, orders: int, unusable: int) -> str:
    """Return how many orders there are, how many can't be used, and when predictions start."""
    start = "There are no predictions." if first_prediction is None else f"Predictions start on {first_prediction}."
    return f"{format_count(orders, 'order')}, of which {unusable:,} can't be used. {start}"


def fallback_level_rows(document: MonitoringDocument) -> list[ChartRow]:
    """Return the rows of `daily_counts`: predictions without restaurant history, by fallback level."""
    labels: dict[FallbackLevel, str] = {
        "city_food": "city and food",
        "food": "food",
        "city": "city",
        "global": "all orders",
    }
    return [
        {
            "day": day.date.isoformat(),
            "group": label,
            "stack_order": stack_order,
            "orders": day.by_fallback_level.get(name, 0),
            "tip": f"{day.date}: {day.by_fallback_level.get(name, 0):,} predictions from {label}",
        }
        for day in document.days
        for stack_order, (name, label) in enumerate(labels.items())
    ]


def ratio_rows(
    document: MonitoringDocument, dimensions: tuple[str, ...] = ("overall", "city"), limit: int = 7
) -> list[ChartRow]:
    """Return the rows of `daily_ratios`: all orders, segments that fired, then the largest, up to `limit` series.

    Segments count as fired on any day of the window, latest first.
    """
    selected = [series for series in document.ratio_series if series.segment in dimensions]
    window_dates = {day.date for day in document.days}

    def last_alert(series: RatioSeries) -> dt.date:
        fired = (day.date for day in series.days if day.fired and day.date in window_dates)
        return max(fired, default=dt.date.min)

    selected.sort(
        key=lambda series: (
            series.segment != "overall",
            -last_alert(series).toordinal(),
            -series.n,
            series.value,
        )
    )
    low, high = RATIO_LIMITS
    return [
        {
            "segment": "all orders" if series.segment == "overall" else series.value,
            "day": day.date.isoformat(),
            "expected": 1.0,
            "clipped": min(max(day.ratio, low), high),
            "fired": day.fired,
            "tip": f"{series.value}, {day.date}: actual ÷ predicted {day.ratio:.2f} over {day.n:,} orders"
            + (", fired" if day.fired else ""),
        }
        for series in selected[:limit]
        for day in series.days
        if day.date in window_dates and (day.n >= MIN_RATIO_ORDERS or day.fired)
    ]


def psi_rows(document: MonitoringDocument) -> list[ChartRow]:
    """Return the rows of `feature_psi`: every feature and the prediction."""
    return [
        {
            "feature": feature.name,
            "psi": feature.psi,
            "clipped": min(feature.psi, MAX_PSI_DRAWN),
            "tested": feature.tested,
            "drifted": feature.drifted,
            "tip": f"{feature.name}: PSI {feature.psi:.3f}"
            + ("" if feature.adjusted_p_value is None else f", p {feature.adjusted_p_value:.2g} after Holm")
            + ("" if feature.tested else ", not tested"),
        }
        for feature in document.drift.features
        if feature.psi is not None
    ]


def distribution_rows(feature: FeatureDrift) -> list[ChartRow]:
    """Return the rows of `distribution`."""
    return [
        {
            "bin": bin_.label,
            "reference": bin_.reference,
            "recent": bin_.recent,
            "tip": f"{bin_.label}: {bin_.recent:.1%} recently, {bin_.reference:.1%} in the reference",
        }
        for bin_ in feature.bins
    ]


def most_drifted(document: MonitoringDocument) -> FeatureDrift | None:
    """Return the tested feature or prediction whose distribution changed most, or None."""
    tested = [feature for feature in document.drift.features if feature.tested and feature.psi is not None]
    return max(tested, key=lambda feature: (feature.drifted, feature.psi or 0.0), default=None)
