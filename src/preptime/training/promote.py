"""The comparison that decides whether a challenger becomes champion (D7)."""

from __future__ import annotations

import datetime as dt

import msgspec

from preptime.evaluation.evaluated import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import MAE
from preptime.evaluation.scores import interval, keeps_promise, segment_regressions
from preptime.evaluation.segments import segments

MIN_SEGMENT_ORDERS = 200
"""A segment's MAE of fewer orders moves by more than 5 % from one week to the next by chance."""
SEGMENT_WORSE_BY = 0.05


class Check(msgspec.Struct, frozen=True):
    """One condition of a promotion."""

    rule: str
    found: str
    passed: bool


class Comparison(msgspec.Struct, frozen=True):
    """A challenger and a champion on the same orders, neither fitted on any of them."""

    challenger: str
    champion: str | None
    first_day: dt.date | None
    """First and last day compared on; None where there is no day that neither bundle has seen."""
    last_day: dt.date | None
    orders: int
    challenger_mae: float | None
    champion_mae: float | None
    lookup_mae: float | None
    challenger_coverage: float | None
    """Share of labels from p10 to p90; 0.8 is promised."""
    checks: tuple[Check, ...]

    @property
    def won(self) -> bool:
        """Whether every condition holds."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def sentence(self) -> str:
        """Why it was won or lost, for people."""
        lost = [f"{check.rule}: {check.found}" for check in self.checks if not check.passed]
        if lost:
            return "Lost on: " + " ".join(lost)
        return "Won. " + " ".join(f"{check.rule}: {check.found}" for check in self.checks)


def compare(
    challenger: EvaluatedOrders,
    champion: EvaluatedOrders | None,
    *,
    names: tuple[str, str | None],
    days: tuple[dt.date, dt.date],
) -> Comparison:
    """Judge a challenger by what both answered for the same orders; `names` are challenger's and champion's ids.

    Without a champion the lookup alone is to be beaten.
    """
    actual = challenger.actual
    mae, lookup_mae = MAE(actual, challenger.default), MAE(actual, challenger.baselines[LOOKUP])
    champion_mae = MAE(actual, champion.default) if champion else None
    coverage = interval(actual, challenger.quantiles).coverage
    checks = [
        _better("Better than the restaurant lookup", mae, lookup_mae),
        Check(
            "p10 to p90 holds 75 to 85 % of the labels",
            "no labels." if coverage is None else f"{coverage:.1%}.",
            coverage is not None and keeps_promise(coverage),
        ),
    ]
    if champion:
        checks.insert(0, _better("Better than the champion", mae, champion_mae))
        checks.append(_no_segment_worse(challenger, champion))
    return Comparison(
        challenger=names[0],
        champion=names[1],
        first_day=days[0],
        last_day=days[1],
        orders=len(challenger),
        challenger_mae=mae,
        champion_mae=champion_mae,
        lookup_mae=lookup_mae,
        challenger_coverage=coverage,
        checks=tuple(checks),
    )


def incomparable(challenger: str, champion: str, through: dt.date) -> Comparison:
    """The comparison of two bundles when no day is left that neither has seen; the later fit ended with `through`."""
    check = Check(
        "Days that neither bundle has seen",
        f"none, one of them was fitted on days up to {through}.",
        passed=False,
    )
    return Comparison(challenger, champion, None, None, 0, None, None, None, None, (check,))


def _better(rule: str, mine: float | None, theirs: float | None) -> Check:
    if mine is None or theirs is None:
        return Check(rule, "there are no labels to compare on.", passed=False)
    return Check(rule, f"MAE {mine:.1f} s against {theirs:.1f} s.", MAE.better(mine, theirs))


def _no_segment_worse(challenger: EvaluatedOrders, champion: EvaluatedOrders) -> Check:
    # Both are cut alike, by the challenger's columns: a basis may differ between two vocabularies.
    columns, actual, lookup = challenger.columns, challenger.actual, challenger.baselines[LOOKUP]
    worse = segment_regressions(
        segments(columns, actual, challenger.quantiles, lookup),
        segments(columns, actual, champion.quantiles, lookup),
        min_orders=MIN_SEGMENT_ORDERS,
        worse_by=SEGMENT_WORSE_BY,
    )
    rule = f"No segment of {MIN_SEGMENT_ORDERS} orders or more worse by {SEGMENT_WORSE_BY:.0%}"
    if not worse:
        return Check(rule, "none.", passed=True)
    named = ", ".join(
        f"{one.segment} {one.value} ({one.champion_mae:.0f} to {one.challenger_mae:.0f} s)" for one in worse[:5]
    )
    more = f" and {len(worse) - 5} more" if len(worse) > 5 else ""
    return Check(rule, f"{named}{more}.", passed=False)
