"""What the models are given lately beside what they were trained on, and what they answer beside what they answered.

PSI says how much a distribution has moved, a test whether days differ by so much anyway. Days are compared, not orders:
the orders of a day share its weather and its promotions, so that thousands of them would make a difference of any two
weeks. Both sides are whole weeks, so that weekdays weigh alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.verdict import Purpose
from preptime.features.directory import Vocabularies
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURES, ORDER_FEATURES
from preptime.monitoring.bins import Binned, range_name
from preptime.monitoring.document import Bin, Days, Drift, Feature
from preptime.monitoring.joined import Joined, recoded
from preptime.monitoring.outcomes import date_of, day_number
from preptime.monitoring.reference import MOST_WEEKS, WEEK, Reference, evenly
from preptime.monitoring.rules import FEATURE_DRIFT
from preptime.monitoring.statistics import holm, psi, welch

PREDICTION = "predicted_seconds"
LEAST_ORDERS_A_DAY = 30
"""With fewer a day's shares are mostly chance."""
P = 0.01
"""A family of features that are all the same is called drifted on at most 1 of 100 independent mornings."""

GROWING = ("restaurant_orders", "restaurant_first_lunch_second", "restaurant_first_dinner_second")
"""These change with time by what they are: a count of all orders so far, and the earliest moment so far."""
WEEKDAY = "weekday"
"""Every week has seven days: with days weighing alike there is nothing to compare."""
CATEGORIES = ("weekday", "city", "type_of_food")


@dataclass(frozen=True, slots=True)
class _Compared:
    """One feature's comparison, before it is seen beside the others."""

    psi: float
    p: float
    bins: tuple[Bin, ...]
    medians: tuple[float, float]


def no_drift(why: str) -> Drift:
    """Nothing to compare, and why."""
    return Drift(
        reference=None,
        prediction_reference=None,
        recent=None,
        reference_orders=0,
        recent_orders=0,
        features=(),
        why_not=why,
    )


def drift(joined: Joined, reference: Reference | None, date: dt.date) -> Drift:
    """Every feature of the latest seven days against `reference`, and the answers against those of the weeks before."""
    last = day_number(date) - 1
    first = last - WEEK + 1
    rows = joined.answered & joined.outcomes.kept(Purpose.FITTING)
    recent = _rows_of_days(joined, rows, range(first, last + 1))
    if min(map(len, recent)) < LEAST_ORDERS_A_DAY:
        return no_drift(f"One of the seven days before {date} has fewer than {LEAST_ORDERS_A_DAY} answered orders.")
    compared = _compare_features(joined, reference, recent)
    why_not = compared if isinstance(compared, str) else None
    found = dict[str, _Compared]() if isinstance(compared, str) else compared
    before = _days_before(joined, rows, first)
    if before:
        old, new = ([np.log(np.maximum(joined.predicted[mine], 1.0)) for mine in side] for side in (before, recent))
        found[PREDICTION] = _exponential(_compare(Binned.of(old), new))
    usable = reference if why_not is None else None
    answers = Days(first=date_of(first - len(before)), last=date_of(first - 1)) if before else None
    return Drift(
        reference=None if usable is None else usable.days,
        prediction_reference=answers,
        recent=Days(first=date_of(first), last=date_of(last)),
        reference_orders=0 if usable is None else usable.orders,
        recent_orders=sum(map(len, recent)),
        features=_beside_each_other(found, filled=usable is not None and usable.history_is_filled),
        why_not=why_not,
    )


def _compare_features(
    joined: Joined, reference: Reference | None, recent: list[NDArray[np.intp]]
) -> dict[str, _Compared] | str:
    """Every feature, or why they cannot be compared."""
    if reference is None:
        return "The training window of the models that answer has no whole week to compare with."
    given = [_features(joined, rows[evenly(len(rows))], reference.vocabularies) for rows in recent]
    matrices = [one for one in given if one is not None]
    if len(matrices) < len(given):
        return "Bundles that answered are no longer in the store, so what they were given is not known."
    return {
        feature.name: _compare(reference.features[feature.name], [one[:, place] for one in matrices])
        for place, feature in enumerate(FEATURES)
    }


def _rows_of_days(joined: Joined, rows: NDArray[np.bool_], days: range) -> list[NDArray[np.intp]]:
    day = joined.outcomes.day
    return [np.flatnonzero(rows & (day == number)) for number in days]


def _features(joined: Joined, rows: NDArray[np.intp], trained: Vocabularies) -> NDArray[np.float32] | None:
    """[n, F] what the models were given of these orders, categories as `trained` codes them; None when not known."""
    orders, vocabularies = joined.orders.take(rows), joined.directory.vocabularies
    places = [feature.name for feature in FEATURES]
    matrix = np.empty((len(rows), len(FEATURES)), np.float32)
    for code in np.unique(joined.bundle[rows]):
        history = joined.histories.get(joined.bundles[code])
        if history is None:
            return None
        mine = joined.bundle[rows] == code
        matrix[mine] = feature_matrix(recoded(orders.take(mine), vocabularies, history.vocabularies), history)
    coded = recoded(orders, vocabularies, trained)
    matrix[:, places.index("city")] = coded.city
    matrix[:, places.index("type_of_food")] = coded.type_of_food
    return matrix


def _days_before(joined: Joined, rows: NDArray[np.bool_], end: int) -> list[NDArray[np.intp]]:
    """The rows of each of the days before `end`, as many whole weeks as have orders enough on every day."""
    found = list[NDArray[np.intp]]()
    for week in range(1, MOST_WEEKS + 1):
        start = end - week * WEEK
        of_week = _rows_of_days(joined, rows, range(start, start + WEEK))
        if min(map(len, of_week)) < LEAST_ORDERS_A_DAY:
            break
        found = of_week + found
    return found


def _compare(reference: Binned, recent: Sequence[NDArray[np.floating]]) -> _Compared:
    """Days of values against the reference's days."""
    a, b = reference.shares, reference.shares_of(recent)
    shares = a.mean(axis=0), b.mean(axis=0)
    p = float(min(1.0, welch(a, b).min() * len(reference.names)))
    bins = tuple(
        Bin(label=label, low=low, high=high, reference=float(was), recent=float(now))
        for (label, low, high), was, now in zip(reference.names, *shares, strict=True)
    )
    return _Compared(psi(*shares), p, bins, (reference.median, float(np.median(np.concatenate(recent)))))


def _exponential(compared: _Compared) -> _Compared:
    """A comparison of logarithms of seconds as one of seconds."""

    def seconds(value: float | None) -> float | None:
        return None if value is None else float(np.exp(value))

    bins = []
    for one in compared.bins:
        low, high = seconds(one.low), seconds(one.high)
        bins.append(Bin(label=range_name(low, high), low=low, high=high, reference=one.reference, recent=one.recent))
    was, now = (float(np.exp(value)) for value in compared.medians)
    return _Compared(compared.psi, compared.p, tuple(bins), (was, now))


def _beside_each_other(compared: dict[str, _Compared], *, filled: bool) -> tuple[Feature, ...]:
    """Every feature; those that are tested share one probability of being wrong (Holm)."""
    units = {feature.name: feature.unit for feature in FEATURES} | {PREDICTION: "s"}
    always = {feature.name for feature in ORDER_FEATURES} | {PREDICTION}
    tested = [name for name in compared if name not in (*GROWING, WEEKDAY) and (filled or name in always)]
    adjusted = dict(zip(tested, holm(np.array([compared[name].p for name in tested])).tolist(), strict=True))
    return tuple(
        Feature(
            name=name,
            unit=units[name],
            psi=one.psi,
            p=one.p,
            p_adjusted=adjusted.get(name),
            tested=name in adjusted,
            drifted=name in adjusted and adjusted[name] <= P and one.psi >= FEATURE_DRIFT.threshold,
            reference_median=None if name in CATEGORIES else one.medians[0],
            recent_median=None if name in CATEGORIES else one.medians[1],
            bins=one.bins,
        )
        for name, one in compared.items()
    )
