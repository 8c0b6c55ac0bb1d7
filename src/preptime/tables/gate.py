"""The gate before training: is this data worth a model of date D?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta

import msgspec
import numpy as np
import polars as pl

from preptime.domain.verdict import Purpose, Reason
from preptime.errors import DataError, UsageError
from preptime.tables.audit import Audited, undated_behind

FULL_WINDOW_DAYS = 28
"""From here on seven days are held out instead of three (D7) and every weekday has been seen four times."""
NOISE_SIGMAS = 2.0
"""A day's count is only called low when chance (Poisson: its own square root) would not explain it."""


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """What the data must reach. Each can be set; the defaults say why."""

    min_days: int = 7
    """Three are held out, and four are the least to learn an evening from; every weekday has been seen once."""
    min_orders: int = 1_000
    """A tenth of three held-out days must be enough orders (about 40) to place the outer quantiles."""
    max_days_behind: int = 1
    """Days between D and the last order: 1 means that yesterday is there. An older history is stale every evening."""
    recent_days: int = 3
    """How many of the last days are looked at for volume: those that the gate of promotion will judge by."""
    min_recent_volume: float = 0.6
    """Against the usual count of the same weekday. Real days lie between 0.8 and 1.2 of it; half an export does not."""
    max_silent_hours: float = 3.0
    """How much earlier than usual the last order of yesterday may come: an export at 18:00 has no evening."""
    max_unknown_restaurants: float = 0.1
    """Share of orders. In a week about 5 % come from new restaurants; more means that the restaurants file is old."""
    max_dirty: float = 0.1
    """Share of orders kept out of fitting. It is 0.9 % in real data; a tenth is a broken export, not bad luck."""


def with_settings(settings: Mapping[str, float]) -> GateThresholds:
    """The declared thresholds with some of them set otherwise. Raises `UsageError` for a name that is none of them."""
    declared = asdict(GateThresholds())
    unknown = sorted(settings.keys() - declared.keys())
    if unknown:
        raise UsageError(f"The data gate has no threshold {unknown[0]!r}.", f"It has {', '.join(declared)}.")
    try:
        return msgspec.convert(declared | dict(settings), GateThresholds, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"A threshold of the data gate cannot be read: {error}.", "Counts are whole numbers."
        ) from error


class GateRule(msgspec.Struct, frozen=True):
    """One threshold and how the data stands to it."""

    name: str
    value: float
    threshold: float
    passed: bool
    sentence: str


class GateResult(msgspec.Struct, frozen=True):
    """The gate's document: every rule, and what to expect less of although it passed."""

    date: str
    passed: bool
    rules: tuple[GateRule, ...]
    notes: tuple[str, ...]


def gate(audited: Audited, day: date, thresholds: GateThresholds) -> GateResult:
    """Judge the orders acknowledged before the morning of `day`, by the restaurants' wall clocks."""
    midnight = datetime.combine(day, time())
    known = (audited.frame["acknowledged_local"] < midnight).fill_null(value=False).to_numpy()
    before = audited.frame.filter(pl.Series(known))
    counts = _days(before)
    usable = int(np.count_nonzero(audited.kept(Purpose.FITTING) & known))
    # An order whose time cannot be read may be of any day, so it counts as dirty; behind all others it came later.
    undated = audited.frame["acknowledged_local"].is_null() & ~undated_behind(audited.frame, pl.Series(known))
    judged = int(np.count_nonzero(known)) + int(undated.sum())
    rules = (
        _enough("days", counts["day"].n_unique(), thresholds.min_days, "days with orders"),
        _enough("orders", usable, thresholds.min_orders, "orders that can be learned from"),
        _freshness(counts, day, thresholds),
        _volume(counts, day, thresholds),
        _evening(counts, day, thresholds),
        _share("unknown_restaurants", _with(before, Reason.UNKNOWN_RESTAURANT), len(before),
               thresholds.max_unknown_restaurants, "of a restaurant that is not in the restaurants file"),
        _share("dirty", judged - usable, judged, thresholds.max_dirty, "kept out of fitting by their verdicts"),
    )  # fmt: skip
    return GateResult(str(day), all(one.passed for one in rules), rules, _notes(counts))


def gate_days(by_day: Mapping[date, int], day: date, thresholds: GateThresholds) -> GateResult:
    """Judge completed orders by day alone, before they become a history: is yesterday there, and whole?"""
    days = sorted(by_day)
    counts = pl.DataFrame({"day": days, "orders": [by_day[one] for one in days]}, {"day": pl.Date, "orders": pl.Int64})
    rules = (_freshness(counts, day, thresholds), _volume(counts, day, thresholds))
    return GateResult(str(day), all(one.passed for one in rules), rules, ())


def refusal(result: GateResult) -> DataError:
    """The error for data that did not pass, naming every rule that failed."""
    failed = [one for one in result.rules if not one.passed]
    facts = " ".join(one.sentence for one in failed)
    names = ", ".join(one.name for one in failed)
    return DataError(
        f"The data known on the morning of {result.date} was refused. {facts}",
        f"Repair the data, or set another threshold if this is how it should be ({names}).",
    )


def _days(orders: pl.DataFrame) -> pl.DataFrame:
    """Per local day: how many orders, and the hour of the last."""
    local = pl.col("acknowledged_local")
    return (
        orders.group_by(local.dt.date().alias("day"))
        .agg(pl.len().alias("orders"), (local - local.dt.truncate("1d")).max().dt.total_seconds().alias("last"))
        .sort("day")
    )


def _enough(name: str, value: int, threshold: int, what: str) -> GateRule:
    sentence = f"There are {value:,} {what}; at least {threshold:,} are needed."
    return GateRule(name, value, threshold, value >= threshold, sentence)


def _share(name: str, part: int, whole: int, threshold: float, what: str) -> GateRule:
    share = part / whole if whole else 1.0
    sentence = f"{share:.1%} of the orders ({part:,}) are {what}; at most {threshold:.0%} may be."
    return GateRule(name, share, threshold, share <= threshold, sentence)


def _freshness(counts: pl.DataFrame, day: date, thresholds: GateThresholds) -> GateRule:
    last = _last_day(counts)
    behind = (day - last).days if last else 10_000
    when = f"on {last}, {behind} days before {day}" if last else "never"
    sentence = f"The last order was acknowledged {when}; at most {thresholds.max_days_behind} may lie between."
    return GateRule("freshness", behind, thresholds.max_days_behind, behind <= thresholds.max_days_behind, sentence)


def _volume(counts: pl.DataFrame, day: date, thresholds: GateThresholds) -> GateRule:
    """The worst of the last days against what its weekday usually has, chance allowed for."""
    by_day: dict[date, int] = dict(zip(counts["day"].to_list(), counts["orders"].to_list(), strict=True))
    worst, ratio, passed = "", math.inf, True
    for back in range(thresholds.recent_days, 0, -1):
        one = day - timedelta(days=back)
        if back < thresholds.max_days_behind:
            continue  # the caller allows for that day not to be there
        usual = _usual(by_day, one)
        if usual is None:
            continue
        orders = by_day.get(one, 0)
        low = thresholds.min_recent_volume * usual
        if orders / usual < ratio:
            ratio, worst = orders / usual, f"{one} has {orders:,} orders where {usual:,.0f} are usual"
        passed &= orders + NOISE_SIGMAS * math.sqrt(max(low, 1.0)) >= low
    if not worst:
        return GateRule("volume", 1.0, thresholds.min_recent_volume, True, "There is no other day to compare with.")
    sentence = f"{worst} ({ratio:.0%}); at least {thresholds.min_recent_volume:.0%} are needed, chance allowed for."
    return GateRule("volume", ratio, thresholds.min_recent_volume, passed, sentence)


def _usual(by_day: dict[date, int], day: date) -> float | None:
    """The median count of the same weekday in the four weeks before; without one, of the quietest other day.

    Fridays to Sundays have half as many orders again as other days, so other weekdays only tell a lower bound.
    """
    same = [by_day[one] for week in range(1, 5) if (one := day - timedelta(weeks=week)) in by_day]
    if same:
        return float(np.median(same))
    earlier = [orders for one, orders in by_day.items() if one < day]
    return float(min(earlier)) if earlier else None


def _evening(counts: pl.DataFrame, day: date, thresholds: GateThresholds) -> GateRule:
    """Whether yesterday ran to its end: an export cut short in the afternoon may still have a normal count."""
    last = _last_day(counts)
    if last is None or len(counts) < 2 or (day - last).days > thresholds.max_days_behind:
        sentence = "There is no last day whose evening could be looked at."
        return GateRule("last_evening", 0.0, thresholds.max_silent_hours, True, sentence)
    usual = float(np.median(counts["last"].to_numpy()[:-1]))
    silent = max(0.0, (usual - float(counts["last"][-1])) / 3600)
    sentence = (
        f"The last order of {last} came {silent:.1f} h earlier than a day's last order usually does; "
        f"at most {thresholds.max_silent_hours:g} h are allowed."
    )
    return GateRule(
        "last_evening", silent, thresholds.max_silent_hours, silent <= thresholds.max_silent_hours, sentence
    )


def _last_day(counts: pl.DataFrame) -> date | None:
    last = counts["day"].max()
    return last if isinstance(last, date) else None


def _with(orders: pl.DataFrame, reason: Reason) -> int:
    return int(np.count_nonzero(orders["reasons"].to_numpy() & np.uint32(reason.bit)))


def _notes(counts: pl.DataFrame) -> tuple[str, ...]:
    """What to expect less of with this much data."""
    days = counts["day"].n_unique()
    notes = []
    if days < FULL_WINDOW_DAYS:
        notes.append(
            f"{days} days are fewer than {FULL_WINDOW_DAYS}: three days are held out instead of seven, so calibration "
            "and the comparison with the champion stand on fewer orders."
        )
    if days < 14:
        notes.append("No weekday has been seen twice: what the weekday does is hardly told from chance.")
    return tuple(notes)
