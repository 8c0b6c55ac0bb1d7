"""Drift: how the features and the predictions of the latest days differ from their references.

PSI measures how much a distribution differs. A test decides whether days differ by more than chance. It compares days,
not orders: the orders of a day share weather and promotions, so with thousands of orders any two weeks would differ.
Both sides are whole weeks, so weekdays have equal weights.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.validation_reasons import Purpose
from preptime.features.feature_set import TAKE_HOME_FEATURES, FeatureSet, orders_name
from preptime.features.history import feature_matrix
from preptime.features.restaurant_index import recode_orders
from preptime.features.spec import ORDER_FEATURES
from preptime.monitoring.document import Bin, DateRange, Drift, FeatureDrift
from preptime.monitoring.joined_predictions import JoinedOrders
from preptime.monitoring.outcomes import to_date, to_day_number
from preptime.monitoring.reference import (
    DAYS_PER_WEEK,
    MAX_WEEKS,
    MIN_ORDERS_PER_DAY,
    BinnedDays,
    DriftReference,
    evenly_spaced,
    range_label,
)
from preptime.monitoring.rules import FEATURE_DRIFT

MIN_SHARE = 1e-4
"""The share of an empty bin in a PSI, which would be infinite otherwise."""
PREDICTION_FEATURE = "predicted_seconds"
P_VALUE_LIMIT = 0.01
"""Without any drift, at most 1 of 100 independent days reports a drifted feature."""

TRENDING_FEATURES = ("restaurant_orders", "restaurant_first_lunch_second", "restaurant_first_dinner_second")
"""These change with time by definition: the count of all past orders, and the earliest times so far.

So do the counts of custom categories.
"""
WEEKDAY = "weekday"
"""Every whole week has the same weekdays, so there is nothing to test."""


def psi(reference: NDArray[np.float64], recent: NDArray[np.float64]) -> float:
    """Return the population stability index of two sets of shares over the same bins: Σ (b - a) ln(b / a)."""
    a, b = np.maximum(reference, MIN_SHARE), np.maximum(recent, MIN_SHARE)
    return float(np.sum((b - a) * np.log(b / a)))


def welch_p_values(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two-sided p-values of Welch's t-test for the columns of [n, K] and [m, K], with at least two rows each.

    A column without variance has 1 if both means are equal and 0 otherwise.
    """
    from scipy.special import stdtr

    na, nb = len(a), len(b)
    va, vb = a.var(axis=0, ddof=1) / na, b.var(axis=0, ddof=1) / nb
    difference = np.abs(a.mean(axis=0) - b.mean(axis=0))
    variance = va + vb
    p_values = np.where(difference > 1e-12, 0.0, 1.0)
    varies = variance > 1e-24
    va, vb, variance = va[varies], vb[varies], variance[varies]
    degrees_of_freedom = variance**2 / (va**2 / (na - 1) + vb**2 / (nb - 1))
    p_values[varies] = 2 * stdtr(degrees_of_freedom, -difference[varies] / np.sqrt(variance))
    return p_values


def holm_adjust(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return K p-values with Holm's adjustment (1979), which bounds the family-wise error rate under any dependence."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate((len(p_values) - np.arange(len(p_values))) * p_values[order])
    return np.minimum(stepped, 1.0)[np.argsort(order)]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The comparison of one feature, before the adjustment for multiple tests."""

    psi: float
    p_value: float
    bins: tuple[Bin, ...]
    medians: tuple[float, float]


def drift_unavailable(reason: str) -> Drift:
    """Return a document without a comparison, with the reason."""
    return Drift(
        reference=None,
        prediction_reference=None,
        recent=None,
        reference_orders=0,
        recent_orders=0,
        features=(),
        unavailable_reason=reason,
    )


def measure_drift(joined: JoinedOrders, reference: DriftReference | str, date: dt.date) -> Drift:
    """Return the drift of the latest seven days.

    Features are compared with `reference`, which can be the reason why there is none. Predictions are compared with
    those of the weeks before.
    """
    last = to_day_number(date) - 1
    first = last - DAYS_PER_WEEK + 1
    rows = joined.has_prediction & joined.outcomes.usable_for(Purpose.FITTING)
    recent = _rows_of_days(joined, rows, range(first, last + 1))
    if min(map(len, recent)) < MIN_ORDERS_PER_DAY:
        return drift_unavailable(
            f"One of the seven days before {date} has fewer than {MIN_ORDERS_PER_DAY} orders with predictions."
        )
    result = _compare_features(joined, reference, recent)
    unavailable_reason = result if isinstance(result, str) else None
    comparisons = dict[str, _Comparison]() if isinstance(result, str) else result
    before = _days_before(joined, rows, first)
    if before:
        reference_logs, recent_logs = (
            [np.log(np.maximum(joined.predicted[day_rows], 1.0)) for day_rows in days] for days in (before, recent)
        )
        comparisons[PREDICTION_FEATURE] = _from_log_seconds(_compare(BinnedDays.from_days(reference_logs), recent_logs))
    usable = reference if isinstance(reference, DriftReference) and unavailable_reason is None else None
    prediction_reference = DateRange(first=to_date(first - len(before)), last=to_date(first - 1)) if before else None
    return Drift(
        reference=None if usable is None else usable.days,
        prediction_reference=prediction_reference,
        recent=DateRange(first=to_date(first), last=to_date(last)),
        reference_orders=0 if usable is None else usable.orders,
        recent_orders=sum(map(len, recent)),
        features=_adjust_for_multiple_tests(
            comparisons,
            TAKE_HOME_FEATURES if usable is None else usable.feature_set,
            history_is_filled=usable is not None and usable.history_is_filled,
        ),
        unavailable_reason=unavailable_reason,
    )


def _compare_features(
    joined: JoinedOrders, reference: DriftReference | str, recent: list[NDArray[np.intp]]
) -> dict[str, _Comparison] | str:
    """Return the comparison of every feature, or the reason why there is none."""
    if isinstance(reference, str):
        return reference
    daily_matrices = [_feature_matrix(joined, rows[evenly_spaced(len(rows))], reference) for rows in recent]
    matrices = [matrix for matrix in daily_matrices if matrix is not None]
    if len(matrices) < len(daily_matrices):
        return (
            "Bundles behind the predictions are no longer in the store, or have other features, so the features of the "
            "predictions aren't known."
        )
    return {
        feature.name: _compare(reference.features[feature.name], [matrix[:, index] for matrix in matrices])
        for index, feature in enumerate(reference.feature_set.features)
    }


def _rows_of_days(joined: JoinedOrders, rows: NDArray[np.bool_], days: range) -> list[NDArray[np.intp]]:
    day = joined.outcomes.day
    return [np.flatnonzero(rows & (day == number)) for number in days]


def _feature_matrix(
    joined: JoinedOrders, rows: NDArray[np.intp], reference: DriftReference
) -> NDArray[np.float32] | None:
    """Return the features that the models got for these orders, [n, F].

    Categories have the codes of the reference. Returns None if a bundle is missing or has other features.
    """
    orders, features = joined.orders.take(rows), reference.feature_set
    matrix = np.empty((len(rows), len(features)), np.float32)
    for code in np.unique(joined.bundle_code[rows]):
        history = joined.histories.get(joined.bundle_ids[code])
        if history is None or history.feature_set.names != features.names:
            return None
        of_bundle = joined.bundle_code[rows] == code
        matrix[of_bundle] = feature_matrix(
            recode_orders(orders.take(of_bundle), joined.restaurants, history.restaurants), history
        )
    coded = recode_orders(orders, joined.restaurants, joined.restaurants.recoded(reference.vocabularies, features))
    matrix[:, features.names.index("city")] = coded.city
    matrix[:, features.names.index("type_of_food")] = coded.type_of_food
    if coded.categories is not None:
        for column, feature in enumerate(features.categories):
            matrix[:, features.names.index(feature.name)] = coded.categories[:, column]
    return matrix


def _days_before(joined: JoinedOrders, rows: NDArray[np.bool_], end: int) -> list[NDArray[np.intp]]:
    """Return the rows of each day before `end`, for as many whole weeks as have enough orders on every day."""
    day_rows = list[NDArray[np.intp]]()
    for week in range(1, MAX_WEEKS + 1):
        start = end - week * DAYS_PER_WEEK
        of_week = _rows_of_days(joined, rows, range(start, start + DAYS_PER_WEEK))
        if min(map(len, of_week)) < MIN_ORDERS_PER_DAY:
            break
        day_rows = of_week + day_rows
    return day_rows


def _compare(reference: BinnedDays, recent: Sequence[NDArray[np.floating]]) -> _Comparison:
    """Return the comparison of daily values with the reference."""
    a, b = reference.shares, reference.shares_of(recent)
    shares = a.mean(axis=0), b.mean(axis=0)
    p_value = float(min(1.0, welch_p_values(a, b).min() * len(reference.labels)))
    bins = tuple(
        Bin(label=label, low=low, high=high, reference=float(reference_share), recent=float(recent_share))
        for (label, low, high), reference_share, recent_share in zip(reference.labels, *shares, strict=True)
    )
    return _Comparison(psi(*shares), p_value, bins, (reference.median, float(np.median(np.concatenate(recent)))))


def _from_log_seconds(comparison: _Comparison) -> _Comparison:
    """Return a comparison of log seconds, converted to seconds."""

    def seconds(value: float | None) -> float | None:
        return None if value is None else float(np.exp(value))

    bins = []
    for bin_ in comparison.bins:
        low, high = seconds(bin_.low), seconds(bin_.high)
        bins.append(Bin(label=range_label(low, high), low=low, high=high, reference=bin_.reference, recent=bin_.recent))
    reference_median, recent_median = (float(np.exp(value)) for value in comparison.medians)
    return _Comparison(comparison.psi, comparison.p_value, tuple(bins), (reference_median, recent_median))


def _adjust_for_multiple_tests(
    comparisons: dict[str, _Comparison], features: FeatureSet, *, history_is_filled: bool
) -> tuple[FeatureDrift, ...]:
    """Return every feature, with p-values adjusted over the tested ones."""
    units = {feature.name: feature.unit for feature in features.features} | {PREDICTION_FEATURE: "s"}
    custom_names = [*(feature.name for feature in features.custom), *(ratio.name for ratio in features.ratios)]
    order_names = (feature.name for feature in ORDER_FEATURES)
    always_tested = {*order_names, *custom_names, *features.indicator_names, PREDICTION_FEATURE}
    categories = (*features.category_names(comparisons), *features.indicator_names)
    never_tested = {*TRENDING_FEATURES, *map(orders_name, features.categories), WEEKDAY}
    tested = [name for name in comparisons if name not in never_tested and (history_is_filled or name in always_tested)]
    adjusted = dict(
        zip(tested, holm_adjust(np.array([comparisons[name].p_value for name in tested])).tolist(), strict=True)
    )
    return tuple(
        FeatureDrift(
            name=name,
            unit=units[name],
            psi=comparison.psi,
            p_value=comparison.p_value,
            adjusted_p_value=adjusted.get(name),
            tested=name in adjusted,
            drifted=name in adjusted and adjusted[name] <= P_VALUE_LIMIT and comparison.psi >= FEATURE_DRIFT.threshold,
            reference_median=None if name in categories else comparison.medians[0],
            recent_median=None if name in categories else comparison.medians[1],
            bins=comparison.bins,
        )
        for name, comparison in comparisons.items()
    )
