"""When orders are acknowledged: days of the period, quarters of an hour, opening times, and time zones."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from preptime.domain.timestamps import MICROSECONDS, SECONDS_PER_DAY
from preptime.synthetic.world import QUARTER_HOUR_VOLUME, TIME_ZONES, WEEKDAY_VOLUME

QUARTERS = 96
QUARTER_SECONDS = 900.0

DAY_NOISE = 0.06
"""Standard deviation of the logarithm of a day's volume, relative to its weekday's."""

NEW_RESTAURANT_SHARE = 0.24
"""Share of restaurants that open during the period, evenly over its days, in addition to the cities that open late.
The total number of orders stays the same."""

OPENING_HOURS = (12.0, 12.5, 13.0, 13.25, 13.5, 18.5)
OPENING_HOURS_SHARES = (0.05, 0.05, 0.40, 0.30, 0.08, 0.12)
"""Opening times of kitchens, local hours, and their shares. They reproduce the published labels before opening."""

PREORDER_DECAY_SECONDS = 4_000.0
"""Kitchens also receive orders before they open. Their number decays exponentially with the wait, at this scale."""

NIGHT_ENDS_SECONDS = 6 * 3_600.0
"""06:00. Orders after midnight and before this time belong to the previous evening."""


@dataclass(frozen=True, slots=True)
class DemandProfile:
    """How orders are distributed over the days of the period, and over the day for each kind of opening hours."""

    day_share: NDArray[np.float64]
    """[days] share of the orders of a restaurant that is open for the whole period."""
    quarter_share: NDArray[np.float64]
    """[opening kinds, 96] share of a day's orders in each quarter of an hour, local time."""
    opening_seconds: NDArray[np.float64]
    """[opening kinds] opening time, seconds after local midnight."""
    zones: tuple[str, ...]
    """Names of the time zones."""
    offset_seconds: NDArray[np.int64]
    """[zones, days × 24] local time minus UTC in each local hour of the period."""
    start_seconds: int
    """Local midnight of the first day, seconds since 1970-01-01 00:00 local time."""


def make_demand_profile(start: dt.date, days: int, rng: np.random.Generator) -> DemandProfile:
    """Return the demand of a period. `rng` draws the noise of the days."""
    dates = [start + dt.timedelta(days=day) for day in range(days)]
    volume = np.array([WEEKDAY_VOLUME[date.weekday()] for date in dates])
    volume *= np.exp(DAY_NOISE * rng.standard_normal(days))
    volume /= 1 - NEW_RESTAURANT_SHARE * (1 - np.arange(1, days + 1) / days)
    zones = tuple(sorted(set(TIME_ZONES.values())))
    return DemandProfile(
        day_share=volume / volume.sum(),
        quarter_share=_quarter_shares(),
        opening_seconds=np.array(OPENING_HOURS) * 3_600,
        zones=zones,
        offset_seconds=np.array([_offsets(dates, ZoneInfo(zone)) for zone in zones], dtype=np.int64),
        start_seconds=(start - dt.date(1970, 1, 1)).days * SECONDS_PER_DAY,
    )


def draw_days(demand: DemandProfile, first_day: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the day of each order, [N], from 0, never before `first_day` [N]."""
    cumulative_share = np.cumsum(demand.day_share)
    lower_bound = np.concatenate(([0.0], cumulative_share))[first_day]
    positions = lower_bound + rng.random(len(first_day)) * (cumulative_share[-1] - lower_bound)
    day: NDArray[np.int64] = np.searchsorted(cumulative_share, positions, side="right").clip(
        first_day, len(cumulative_share) - 1
    )
    return day


def draw_times(demand: DemandProfile, opening_kind: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the time of each order, [N] seconds after local midnight, for its kind of opening hours [N]."""
    seconds = rng.random(len(opening_kind))
    edges = np.arange(QUARTERS + 1) * QUARTER_SECONDS
    for kind, share in enumerate(demand.quarter_share):
        rows = opening_kind == kind
        seconds[rows] = np.interp(seconds[rows], np.concatenate(([0.0], np.cumsum(share))), edges)
    return seconds.clip(0, SECONDS_PER_DAY - 1e-3)


def wait_seconds(
    opening_seconds: float | NDArray[np.float64], seconds_of_day: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the seconds from a time of day until the kitchen opens, [N], or 0 if it's open."""
    wait = np.maximum(opening_seconds - seconds_of_day, 0.0)
    return np.where(seconds_of_day < NIGHT_ENDS_SECONDS, 0.0, wait)


def utc_microseconds(
    demand: DemandProfile, zone: NDArray[np.int8], day: NDArray[np.int64], seconds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return local times as instants, [N] microseconds since 1970."""
    hour = day * 24 + (seconds // 3_600).astype(np.int64)
    whole_seconds = demand.start_seconds + day * SECONDS_PER_DAY - demand.offset_seconds[zone, hour]
    return whole_seconds * MICROSECONDS + (seconds * MICROSECONDS).astype(np.int64)


def _quarter_shares() -> NDArray[np.float64]:
    volume = np.zeros(QUARTERS)
    for hour, quarters in QUARTER_HOUR_VOLUME.items():
        volume[hour * 4 : hour * 4 + 4] = quarters
    midpoints = (np.arange(QUARTERS) + 0.5) * QUARTER_SECONDS
    accepted_share = np.array(
        [np.exp(-wait_seconds(3_600 * hour, midpoints) / PREORDER_DECAY_SECONDS) for hour in OPENING_HOURS]
    )
    # The sum over all kinds keeps the measured volume.
    volume_by_kind = volume * accepted_share / (np.array(OPENING_HOURS_SHARES) @ accepted_share)
    shares: NDArray[np.float64] = volume_by_kind / volume_by_kind.sum(axis=1, keepdims=True)
    return shares


def _offsets(dates: list[dt.date], zone: ZoneInfo) -> list[int]:
    midnight = dt.time(tzinfo=zone)
    day_starts = [dt.datetime.combine(date, midnight) for date in dates]
    offsets = (start.replace(hour=hour).utcoffset() for start in day_starts for hour in range(24))
    return [int(offset.total_seconds()) if offset is not None else 0 for offset in offsets]
