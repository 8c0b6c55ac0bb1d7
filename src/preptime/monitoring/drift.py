"""What the models are given lately beside what they were trained on, and what they answer beside what they answered.

PSI says how much a distribution has moved, a test whether days differ by so much anyway. Days are compared, not orders:
the orders of a day share its weather and its promotions, so that thousands of them would make a difference of any two
weeks. Both sides are whole weeks, so that weekdays weigh alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from preptime.domain.verdict import Purpose
from preptime.features.directory import Vocabularies
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURES, ORDER_FEATURES
from preptime.monitoring.document import Bin, Days, Drift, Feature
from preptime.monitoring.joined import Joined, recoded
from preptime.monitoring.outcomes import date_of, day_number
from preptime.monitoring.reference import MOST_WEEKS, WEEK, Reference, evenly
from preptime.monitoring.rules import FEATURE_DRIFT
from preptime.monitoring.statistics import holm, psi, welch

PREDICTION = "predicted_seconds"
MOST_BINS = 10
"""Deciles of the reference; of categories the nine most frequent and the rest."""
LEAST_ORDERS_A_DAY = 30
"""With fewer a day's shares are mostly chance."""
P = 0.01
"""A family of features that are all the same is called drifted on at most 1 of 100 independent mornings."""

GROWING = ("restaurant_orders", "restaurant_first_lunch_second", "restaurant_first_dinner_second")
"""These change with time by what they are: a count of all orders so far, and the earliest moment so far."""
WEEKDAY = "weekday"
"""Every week has seven days: with days weighing alike there is nothing to compare."""
CATEGORIES = ("weekday", "city", "type_of_food")
_DAYS_OF_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


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


def drift(joined: Joined, reference: Reference | None, trained: Vocabularies | None, date: dt.date) -> Drift:
    """Every feature of the latest seven days against `reference`, and the answers against those of the weeks before.

    `trained` are the vocabularies of the reference.
    """
    last = day_number(date) - 1
    recent_days = range(last - WEEK + 1, last + 1)
    days = joined.outcomes.day
    fitted_like = joined.answered & joined.outcomes.kept(Purpose.FITTING)
    recent = [np.flatnonzero(fitted_like & (days == number)) for number in recent_days]
    if min(map(len, recent)) < LEAST_ORDERS_A_DAY:
        return no_drift(f"One of the seven days before {date} has fewer than {LEAST_ORDERS_A_DAY} answered orders.")
    compared = dict[str, _Compared]()
    why_not = None
    if reference is None or trained is None:
        why_not = "The training window of the models that answer has no whole week to compare with."
    else:
        given = [_features(joined, rows[evenly(len(rows))], trained) for rows in recent]
        if any(one is None for one in given):
            why_not = "The bundles that answered are no longer in the store, so what they were given is not known."
        else:
            compared = _compare_features(reference, [one for one in given if one is not None], trained)
    before = _days_before(days, fitted_like, recent_days.start)
    if before:
        old = [np.log(np.maximum(joined.predicted[rows], 1.0)) for rows in before]
        new = [np.log(np.maximum(joined.predicted[rows], 1.0)) for rows in recent]
        compared[PREDICTION] = _exponential(_compare(old, new))
    filled = reference is not None and reference.history_is_filled
    return Drift(
        reference=None if reference is None or why_not else reference.days,
        prediction_reference=Days(first=date_of(recent_days.start - len(before)), last=date_of(recent_days.start - 1))
        if before
        else None,
        recent=Days(first=date_of(recent_days.start), last=date_of(last)),
        reference_orders=0 if reference is None or why_not else reference.orders,
        recent_orders=sum(map(len, recent)),
        features=_beside_each_other(compared, filled=filled),
        why_not=why_not,
    )


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


def _days_before(days: NDArray[np.int64], rows: NDArray[np.bool_], end: int) -> list[NDArray[np.intp]]:
    """The rows of each of the days before `end`, as many whole weeks as have orders enough on every day."""
    found = list[NDArray[np.intp]]()
    for week in range(1, MOST_WEEKS + 1):
        start = end - week * WEEK
        of_week = [np.flatnonzero(rows & (days == number)) for number in range(start, start + WEEK)]
        if min(map(len, of_week)) < LEAST_ORDERS_A_DAY:
            break
        found = of_week + found
    return found


def _compare_features(
    reference: Reference, recent: list[NDArray[np.float32]], trained: Vocabularies
) -> dict[str, _Compared]:
    words = {"weekday": _DAYS_OF_WEEK, "city": trained.city, "type_of_food": trained.type_of_food}
    return {
        feature.name: _compare(
            [one[:, place] for one in reference.by_day], [one[:, place] for one in recent], words.get(feature.name)
        )
        for place, feature in enumerate(FEATURES)
    }


def _compare(
    old: Sequence[NDArray[np.floating]], new: Sequence[NDArray[np.floating]], words: tuple[str, ...] | None = None
) -> _Compared:
    """Days of values against days of values."""
    together, recent = np.concatenate(old), np.concatenate(new)
    if words is None:
        edges = np.unique(np.quantile(together, np.linspace(0, 1, MOST_BINS + 1)[1:-1]))
        names = _ranges(edges)
        placed = [[np.searchsorted(edges, one, side="right") for one in side] for side in (old, new)]
    else:
        table, names = _categories(together, words)
        placed = [[table[one.astype(np.intp)] for one in side] for side in (old, new)]
    a, b = (np.array([np.bincount(one, minlength=len(names)) / max(len(one), 1) for one in side]) for side in placed)
    shares = a.mean(axis=0), b.mean(axis=0)
    p = float(min(1.0, welch(a, b).min() * len(names)))
    bins = tuple(
        Bin(label=label, low=low, high=high, reference=float(was), recent=float(now))
        for (label, low, high), was, now in zip(names, *shares, strict=True)
    )
    return _Compared(psi(*shares), p, bins, (float(np.median(together)), float(np.median(recent))))


def _ranges(edges: NDArray[np.floating]) -> list[tuple[str, float | None, float | None]]:
    ends = [None, *(float(edge) for edge in edges), None]
    return [(_range(low, high), low, high) for low, high in pairwise(ends)]


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "all" if high is None else f"under {high:.4g}"
    return f"{low:.4g} or more" if high is None else f"{low:.4g} to {high:.4g}"


def _categories(
    codes: NDArray[np.floating], words: tuple[str, ...]
) -> tuple[NDArray[np.intp], list[tuple[str, float | None, float | None]]]:
    """Where each code is counted (the last place serves the unknown, which is -1), and the names of the bins."""
    counts = np.bincount(np.where(codes < 0, len(words), codes).astype(np.intp), minlength=len(words) + 1)
    most = sorted(np.argsort(-counts[:-1], kind="stable")[: MOST_BINS - 1].tolist())
    rest = len(most)
    table = np.full(len(words) + 1, rest, np.intp)
    table[most] = np.arange(rest)
    return table, [*((words[code], None, None) for code in most), ("all others", None, None)]


def _exponential(compared: _Compared) -> _Compared:
    """A comparison of logarithms of seconds as one of seconds."""

    def seconds(value: float | None) -> float | None:
        return None if value is None else float(np.exp(value))

    bins = []
    for one in compared.bins:
        low, high = seconds(one.low), seconds(one.high)
        bins.append(Bin(label=_range(low, high), low=low, high=high, reference=one.reference, recent=one.recent))
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
