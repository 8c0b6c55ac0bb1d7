"""Example monitoring documents: one with an alert, one without, and one of the first day."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.evaluation.documents import QuantileScore, Segment, SegmentDimension, WaitingCost
from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.monitoring.document import (
    Alert,
    BacktestBaseline,
    Bin,
    BundleMetrics,
    DateRange,
    Day,
    DimensionName,
    Drift,
    FallbackLevel,
    FeatureDrift,
    LabelAudit,
    LabelReason,
    MonitoringDocument,
    PredictionCounts,
    PredictionMetrics,
    RatioDay,
    RatioSeries,
    RuleReport,
)

DATE = dt.date(2015, 6, 22)
ONE_DAY = dt.timedelta(days=1)
THRESHOLD = 5.0
NO_METRICS = PredictionMetrics(
    n=0, mae=None, bias=None, within_5_min=None, coverage=None, lookup_mae=None, lookup_n=0, quantiles=()
)


def make_metrics(n: int, mae: float, bias: float = -120.0, coverage: float = 0.8) -> PredictionMetrics:
    """Return consistent metrics."""
    return PredictionMetrics(
        n=n,
        mae=mae,
        bias=bias,
        within_5_min=0.58,
        coverage=coverage,
        lookup_mae=mae * 1.15,
        lookup_n=n,
        quantiles=_quantiles(mae),
        waiting_costs=_waiting_costs(n, mae),
    )


def fired(date: dt.date = DATE) -> MonitoringDocument:
    """Return a document with an alert: London has been 15% slower for two days."""
    return _document(date, london=1.15)


def quiet(date: dt.date = DATE) -> MonitoringDocument:
    """Return a document without alerts."""
    return _document(date, london=1.0)


def first_day(date: dt.date = DATE) -> MonitoringDocument:
    """Return a document without a champion and without predictions."""
    document = quiet(date)
    return msgspec.structs.replace(
        document,
        headline=("There are no predictions in the monitored days.",),
        status="undecided",
        champion=None,
        backtest_baseline=None,
        rules=tuple(
            msgspec.structs.replace(rule, status="undecided", observed=None, message="There are too few days.")
            for rule in document.rules
        ),
        metrics=NO_METRICS,
        recent_metrics=NO_METRICS,
        prediction_counts=PredictionCounts(
            orders=0,
            usable=0,
            unusable=0,
            with_prediction=0,
            without_prediction=0,
            before_first_prediction=0,
            first_prediction=None,
            without_outcome=0,
            evaluated=0,
            from_batch=0,
            from_api=0,
            in_both=0,
            duplicates=0,
            unreadable_log_lines=0,
            without_order_key=0,
        ),
        days=(),
        bundles=(),
        segments=(),
        ratio_series=(),
        drift=Drift(
            reference=None,
            prediction_reference=None,
            recent=None,
            reference_orders=0,
            recent_orders=0,
            features=(),
            unavailable_reason="The training window of the models has no whole week to compare with.",
        ),
        label_audit=LabelAudit(rows=0, evaluable=0, reasons=()),
    )


def _document(date: dt.date, london: float) -> MonitoringDocument:
    rng = np.random.default_rng(7)
    dates = [date - back * ONE_DAY for back in range(14, 0, -1)]
    window = DateRange(first=dates[0], last=dates[-1])
    bundles = tuple(f"{day}-0123456789ab" for day in dates)
    drifting = london != 1.0
    alerts = (
        Alert(
            rule="slower_than_predicted",
            segment="city",
            value="London",
            observed=7.9,
            threshold=THRESHOLD,
            since=dates[-2],
            message=f"London: actual times are 15% longer than predicted, relative to this city's "
            f"baseline, since {dates[-2]}.",
        ),
    )
    days = tuple(
        _day(date, bundle, rng, london if date in dates[-2:] else 1.0)
        for date, bundle in zip(dates, bundles, strict=True)
    )
    n = sum(day.metrics.n for day in days)
    return MonitoringDocument(
        date=date,
        window=window,
        headline=(
            alerts[0].message if drifting else "All 2 rules had enough data: quiet.",
            "In the last seven days, the mean error was 7.2 minutes (backtest: 7.1).",
        ),
        status="alerting" if drifting else "quiet",
        champion=bundles[-1],
        backtest_baseline=BacktestBaseline(
            bundle=bundles[0],
            days=DateRange(first=dates[0] - 7 * ONE_DAY, last=dates[0] - ONE_DAY),
            metrics=make_metrics(7_700, 428.0),
        ),
        alerts=alerts if drifting else (),
        rules=_rules(fired=drifting),
        metrics=make_metrics(n, 431.0),
        recent_metrics=make_metrics(n // 2, 434.0),
        recent_days=DateRange(first=dates[-7], last=dates[-1]),
        prediction_counts=_prediction_counts(n, dates[0]),
        days=days,
        bundles=tuple(
            BundleMetrics(
                bundle=day.bundles[0],
                orders=day.predictions,
                days=DateRange(first=day.date, last=day.date),
                metrics=day.metrics,
            )
            for day in days
        ),
        segments=_segments(n),
        ratio_series=(
            _ratio_series("overall", "all", dates, rng, 1 + (london - 1) * 0.8),
            _ratio_series("city", "London", dates, rng, london),
            _ratio_series("city", "Paris", dates, rng, 1.0),
            _ratio_series("type_of_food", "italian", dates, rng, 1.0),
        ),
        drift=_drift(dates, rng),
        label_audit=_label_audit(n),
    )


def _prediction_counts(n: int, first: dt.date) -> PredictionCounts:
    return PredictionCounts(
        orders=n + 320,
        usable=n + 310,
        unusable=10,
        with_prediction=n + 60,
        without_prediction=250,
        before_first_prediction=0,
        first_prediction=first,
        without_outcome=21,
        evaluated=n,
        from_batch=n + 41,
        from_api=40,
        in_both=12,
        duplicates=3,
        unreadable_log_lines=1,
        without_order_key=0,
    )


def _label_audit(n: int) -> LabelAudit:
    return LabelAudit(
        rows=n + 320,
        evaluable=n,
        reasons=(
            LabelReason(reason="label_zero", description="The label is zero", orders=44, orders_on_last_day=3),
            LabelReason(
                reason="label_under_a_minute",
                description="The label is between 1 and 59 seconds",
                orders=390,
                orders_on_last_day=28,
            ),
            LabelReason(
                reason="label_over_cap",
                description="The label is longer than 10,800 s",
                orders=83,
                orders_on_last_day=6,
            ),
        ),
    )


def _day(date: dt.date, bundle: str, rng: np.random.Generator, ratio: float) -> Day:
    n = int(rng.normal(1_050, 90))
    by_fallback_level: dict[FallbackLevel, int] = {
        "restaurant": n - 40,
        "city_food": 40,
        "food": 0,
        "city": 0,
        "global": 5,
    }
    return Day(
        date=date,
        predictions=n + 5,
        without_outcome=2,
        orders=n + 21,
        usable=n + 20,
        bundles=(bundle,),
        by_fallback_level=by_fallback_level,
        unknown_restaurants=4,
        unknown_categories=0,
        median_predicted_seconds=803.5,
        actual_to_predicted_ratio=float(ratio * rng.normal(1.0, 0.01)),
        metrics=make_metrics(n, float(rng.normal(430, 9)) * ratio),
    )


def _quantiles(mae: float) -> tuple[QuantileScore, ...]:
    return tuple(QuantileScore(p=p, coverage=p + 0.004, pinball=mae * p * (1 - p)) for p in QUANTILE_LEVELS)


def _waiting_costs(n: int, mae: float) -> tuple[WaitingCost, ...]:
    even = 1_000 * mae
    return (
        WaitingCost(1.0, 1.0, 1 / 2, n, even, even, 1.15 * even, 1.3 * even),
        WaitingCost(2.0, 1.0, 2 / 3, n, 1.07 * even, 1.14 * even, 1.28 * even, 1.4 * even),
        WaitingCost(1.0, 2.0, 1 / 3, n, 0.8 * even, 0.86 * even, 0.9 * even, 1.05 * even),
    )


def _segments(n: int) -> tuple[Segment, ...]:
    shares: dict[SegmentDimension, dict[str, float]] = {
        "overall": {"all": 1.0},
        "city": {"London": 0.79, "Paris": 0.063, "Manchester": 0.03, "München": 0.0005},
        "type_of_food": {"italian": 0.15, "burgers": 0.12, "thai": 0.09},
        "hour": {str(hour): 0.04 for hour in range(11, 24)},
        "items": {"1": 0.05, "2": 0.2, "3": 0.28, "4–5": 0.3, "6–8": 0.13, "9+": 0.04},
        "fallback_level": {"restaurant": 0.95, "city_food": 0.045, "global": 0.005},
    }
    return tuple(
        Segment(
            segment=name,
            value=value,
            n=max(1, int(n * share)),
            mae=430.0,
            bias=-110.0,
            within_5_min=0.58,
            coverage=0.79,
            lookup_mae=500.0,
            quantiles=_quantiles(430.0),
        )
        for name, values in shares.items()
        for value, share in values.items()
    )


def _ratio_series(
    segment: DimensionName, value: str, dates: list[dt.date], rng: np.random.Generator, ratio: float
) -> RatioSeries:
    days = []
    for date in dates:
        is_recent = date in dates[-2:]
        statistic = 7.9 if is_recent and ratio > 1.1 else float(rng.normal(0, 0.8))
        days.append(
            RatioDay(
                date=date,
                n=800,
                ratio=float((ratio if is_recent else 1.0) * rng.normal(1.02, 0.02)),
                statistic=statistic,
                fired=statistic > THRESHOLD,
            )
        )
    return RatioSeries(
        segment=segment,
        value=value,
        n=800 * len(dates),
        reference_ratio=1.02,
        recent_ratio=1.02 * ratio,
        recent_days=2,
        threshold=THRESHOLD,
        days=tuple(days),
    )


def _drift(dates: list[dt.date], rng: np.random.Generator) -> Drift:
    features_and_units = [(feature.name, feature.unit) for feature in TAKE_HOME_FEATURES.features] + [
        ("predicted_seconds", "s")
    ]
    edges = [None, 1.0, 2.0, 3.0, 4.0, None]
    features = []
    for name, unit in features_and_units:
        shares = rng.dirichlet(np.full(5, 50.0))
        features.append(
            FeatureDrift(
                name=name,
                unit=unit,
                psi=float(np.sum((shares - 0.2) * np.log(shares / 0.2))),
                p_value=0.4,
                adjusted_p_value=1.0,
                tested=name != "restaurant_orders",
                drifted=False,
                reference_median=2.5,
                recent_median=2.6,
                bins=tuple(
                    Bin(label=_label(low, high), low=low, high=high, reference=0.2, recent=float(share))
                    for low, high, share in zip(edges, edges[1:], shares, strict=False)
                ),
            )
        )
    return Drift(
        reference=DateRange(first=dates[0] - 14 * ONE_DAY, last=dates[0] - ONE_DAY),
        prediction_reference=DateRange(first=dates[0], last=dates[6]),
        recent=DateRange(first=dates[-7], last=dates[-1]),
        reference_orders=14_000,
        recent_orders=7_300,
        features=tuple(features),
        unavailable_reason=None,
    )


def _label(low: float | None, high: float | None) -> str:
    if low is None:
        return f"under {high:g}"
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"


def _rules(*, fired: bool) -> tuple[RuleReport, ...]:
    return (
        RuleReport(
            name="slower_than_predicted",
            kind="predictions",
            description="Actual times are longer than predicted, relative to the segment's baseline",
            threshold=THRESHOLD,
            unit="standard errors",
            threshold_reason="Calibrated on quiet synthetic months.",
            false_alarm_rate="1 in 100 months",
            status="alerting" if fired else "quiet",
            observed=7.9 if fired else 1.2,
            message="London: 15% longer than predicted." if fired else "The largest change is in London: 1.2 of 5.0.",
        ),
        RuleReport(
            name="volume_low",
            kind="data",
            description="A day has fewer than half of the normal orders of its weekday",
            threshold=0.5,
            unit="share of normal",
            threshold_reason="A truncated export looks like half a day of orders.",
            false_alarm_rate="none in 100 months",
            status="quiet",
            observed=0.97,
            message="There are 1,020 orders, 97% of the normal 1,050.",
        ),
    )
