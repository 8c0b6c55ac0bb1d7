"""The rules `slower` and `faster`: actual ÷ predicted of all orders, of every city, of every type of food."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.evaluation.segments import UNKNOWN_LABEL
from preptime.evaluation.verdict import in_percent
from preptime.monitoring.document import Alert, Trail, TrailDay, WatchedCut
from preptime.monitoring.joined import Joined
from preptime.monitoring.outcomes import date_of
from preptime.monitoring.ratios import CLIP, Daily, clipped_log_ratio
from preptime.monitoring.rules import FASTER, SLOWER, Judged, Rule, unknown
from preptime.monitoring.shifts import LEAST_ORDERS, LEAST_REFERENCE_DAYS, LONGEST_STRETCH_DAYS, Watched, watch

SHOWN = 8
"""Cities and types of food whose trail is in the document: the largest, and all that fired."""
_TOO_FEW = f"Fewer than {LEAST_REFERENCE_DAYS + 1} days with orders enough have been answered."


@dataclass(frozen=True, slots=True)
class Cut:
    """One way to cut the orders, and what was seen of its S parts."""

    name: WatchedCut
    values: tuple[str, ...]
    first_day: int
    daily: Daily
    watched: Watched

    def latest(self) -> NDArray[np.float64]:
        """[S] the evidence of this morning."""
        return self.watched.evidence[:, -1]

    def fired(self) -> NDArray[np.bool_]:
        """[S] what fires this morning."""
        return self.watched.fired[:, -1]


@dataclass(frozen=True, slots=True)
class Shifts:
    """Everything watched, and where it was seen that all orders moved beyond what single cities explain."""

    cuts: tuple[Cut, ...]
    elsewhere: Cut | None
    """All orders but those of the cities that fired in the last days; None where none did."""

    @property
    def cities(self) -> Cut:
        """By city."""
        return self.cuts[1]


def watch_shifts(joined: Joined, first_day: int, days: int) -> Shifts:
    """Watch the evaluated orders of `days` days from `first_day` on; the last is the day before this morning."""
    rows = np.flatnonzero(joined.evaluated)
    day = (joined.outcomes.day[rows] - first_day).astype(np.int64)
    ratio = clipped_log_ratio(joined.actual[rows], joined.predicted[rows])
    inside = np.abs(ratio) < CLIP
    vocabularies = joined.directory.vocabularies
    orders = joined.orders
    city = _compact(orders.city[rows], vocabularies.city)
    food = _compact(orders.type_of_food[rows], vocabularies.type_of_food)

    def cut(name: WatchedCut, part: _Parts, values: NDArray[np.float64], kept: NDArray[np.bool_] | None = None) -> Cut:
        mask = part.code >= 0 if kept is None else kept & (part.code >= 0)
        shape = (len(part.values), days)
        daily = Daily.of(part.code[mask], day[mask], shape, values[mask], inside[mask])
        return Cut(name, part.values, first_day, daily, watch(daily, SLOWER.threshold))

    everything = _Parts(np.zeros(len(rows), np.int64), ("all",))
    cities = cut("city", city, ratio)
    # What a city has in common on a day is the city's; a type of food answers for what is left.
    alone = ratio - _means(city.code, day, ratio, days)
    fired = np.flatnonzero(cities.watched.fired[:, -LONGEST_STRETCH_DAYS:].any(axis=1))
    elsewhere = cut("overall", everything, ratio, ~np.isin(city.code, fired)) if len(fired) else None
    return Shifts((cut("overall", everything, ratio), cities, cut("type_of_food", food, alone)), elsewhere)


def judge_shifts(shifts: Shifts) -> tuple[Judged, Judged]:
    """`slower` and `faster`."""
    return _judge(shifts, SLOWER, 1), _judge(shifts, FASTER, -1)


def trails(shifts: Shifts) -> tuple[Trail, ...]:
    """All orders, then the largest parts of each cut and those that fired at any time, by number of orders."""
    found = []
    for cut in shifts.cuts:
        # Where a city fired lately, all orders move with it.
        alone = (
            ~_lately(shifts.cities.watched.fired) if cut.name == "overall" else np.ones(cut.daily.orders.shape[1], bool)
        )
        orders = cut.daily.orders.sum(axis=1)
        largest = sorted(range(len(cut.values)), key=lambda part: (-orders[part], cut.values[part]))
        shown = [part for place, part in enumerate(largest) if place < SHOWN or cut.watched.fired[part].any()]
        found += [_trail(cut, part, alone) for part in shown if orders[part]]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Parts:
    """[N] which part each order belongs to, -1 for parts that are too small ever to be judged."""

    code: NDArray[np.int64]
    values: tuple[str, ...]


def _compact(codes: NDArray[np.int32], vocabulary: tuple[str, ...]) -> _Parts:
    counts = np.bincount(codes + 1, minlength=len(vocabulary) + 1)  # the unknown is -1
    large = np.flatnonzero(counts >= 2 * LEAST_ORDERS)
    table = np.full(len(counts), -1, np.int64)
    table[large] = np.arange(len(large))
    names = (UNKNOWN_LABEL, *vocabulary)
    return _Parts(table[codes + 1], tuple(names[place] for place in large))


def _means(
    part: NDArray[np.int64], day: NDArray[np.int64], values: NDArray[np.float64], days: int
) -> NDArray[np.float64]:
    """[N] the mean of the part's orders of that day."""
    place = (part + 1) * days + day
    total, orders = np.bincount(place, weights=values), np.bincount(place)
    means: NDArray[np.float64] = (total / np.maximum(orders, 1))[place]
    return means


def _judge(shifts: Shifts, rule: Rule, sign: int) -> Judged:
    alerts = list[Alert]()
    nearest: tuple[float, str] | None = None
    for cut in shifts.cuts:
        judged = shifts.elsewhere if cut.name == "overall" and shifts.elsewhere is not None else cut
        evidence = sign * judged.latest()
        known = judged.watched.known[:, -1]
        for part in np.argsort(-evidence, kind="stable"):
            if judged.fired()[part] and evidence[part] > 0:
                alerts.append(_alert(rule, judged, int(part), outside=judged is shifts.elsewhere))
        if known.any():
            best = int(np.argmax(np.where(known, evidence, -np.inf)))
            value = max(float(evidence[best]), 0.0)
            if nearest is None or value > nearest[0]:
                nearest = (value, _named(cut.name, judged.values[best]))
    if nearest is None:
        return unknown(rule, _TOO_FEW)
    if alerts:
        return Judged(rule, max(one.found for one in alerts), alerts[0].sentence, tuple(alerts))
    return Judged(rule, nearest[0], f"Nearest is {nearest[1]}: {nearest[0]:.1f} of {rule.threshold:.1f} {rule.unit}.")


def _alert(rule: Rule, cut: Cut, part: int, *, outside: bool) -> Alert:
    seen = cut.watched
    start = int(seen.start[part, -1])
    usual, recent = float(seen.usual[part, -1]), float(seen.recent[part, -1])
    moved = abs(recent / usual - 1)
    days = seen.evidence.shape[1] - start
    orders = int(cut.daily.orders[part, start:].sum())
    where = "all other orders" if outside else _named(cut.name, cut.values[part])
    how = "longer" if rule is SLOWER else "less long"
    since = date_of(cut.first_day + start)
    return Alert(
        rule=rule.name,
        segment=cut.name,
        value=cut.values[part],
        found=abs(float(seen.evidence[part, -1])),
        threshold=rule.threshold,
        since=since,
        sentence=f"{where[0].upper()}{where[1:]}: food takes {in_percent(moved, 0)} {how} than said, against what is "
        f"usual there, since {since} ({days} {'day' if days == 1 else 'days'}, {orders:,} orders).",
    )


def _named(cut: WatchedCut, value: str) -> str:
    return "all orders" if cut == "overall" else f"the type of food {value}" if cut == "type_of_food" else value


def _lately(fired: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[D] whether any of the parts fired on that day or within the `LONGEST_STRETCH_DAYS` up to it."""
    days = fired.shape[1]
    return np.array([fired[:, max(0, day - LONGEST_STRETCH_DAYS + 1) : day + 1].any() for day in range(days)])


def _trail(cut: Cut, part: int, alone: NDArray[np.bool_]) -> Trail:
    seen, orders, ratio = cut.watched, cut.daily.orders[part], cut.daily.ratio()[part]
    known = bool(seen.known[part, -1])
    days = [
        TrailDay(
            date=date_of(cut.first_day + day),
            n=int(orders[day]),
            ratio=float(ratio[day]),
            evidence=float(seen.evidence[part, day]),
            fired=bool(seen.fired[part, day] and alone[day]),
        )
        for day in range(len(orders))
        if orders[day] and np.isfinite(ratio[day])
    ]
    return Trail(
        segment=cut.name,
        value=cut.values[part],
        n=int(orders.sum()),
        reference_ratio=float(seen.usual[part, -1]) if known else None,
        recent_ratio=float(seen.recent[part, -1]) if known else None,
        recent_days=seen.evidence.shape[1] - int(seen.start[part, -1]) if known else LONGEST_STRETCH_DAYS,
        threshold=SLOWER.threshold,
        days=tuple(days),
    )
