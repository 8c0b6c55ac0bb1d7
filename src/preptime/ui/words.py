"""How the pages speak: seconds as minutes, moments on the restaurant's clock, failures as sentences."""

from __future__ import annotations

import datetime as dt
import re

from preptime.errors import PreptimeError

_SECONDS = re.compile(r"(?:(?P<low>\d+(?:\.\d+)?) to )?(?P<high>\d+(?:\.\d+)?) s\b")

NOTHING = "–"
"""What stands where there is no value."""


def minutes(seconds: float | None) -> str:
    """A duration as people say it: `14 min`, `1 h 05 min`; under ten minutes with the seconds, `7 min 17 s`."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
    of_hour = round(seconds / 60)
    return f"{of_hour // 60} h {of_hour % 60:02d} min" if of_hour >= 60 else f"{of_hour} min"


def between(low_seconds: float, high_seconds: float) -> str:
    """An interval in whole minutes: `2 to 13 min`."""
    return f"{round(low_seconds / 60)} to {round(high_seconds / 60)} min"


def clock(moment: dt.datetime) -> str:
    """The wall-clock time of a moment, to the nearest minute: `19:07`."""
    return f"{moment + dt.timedelta(seconds=30):%H:%M}"


def clock_by(moment: dt.datetime) -> str:
    """The first whole minute at which a moment has come, for what is promised by then."""
    return f"{moment + dt.timedelta(seconds=60, microseconds=-1):%H:%M}"


def day_of(date: dt.date) -> str:
    """A day without its year, `7 Jun`."""
    return f"{date.day} {date:%b}"


def counted(number: int, noun: str) -> str:
    """`1 order`, `1,204 orders`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(octets: int) -> str:
    """Bytes as people say them: `312 bytes`, `830 kB`, `12.3 MB`."""
    if octets < 1e3:
        return counted(octets, "byte")
    return f"{octets / 1e6:,.1f} MB" if octets >= 1e6 else f"{octets / 1e3:,.0f} kB"


def said_in_minutes(text: str) -> str:
    """A sentence of the package with its seconds (`387.8 s`, `412 to 455 s`) as minutes."""
    return _SECONDS.sub(_as_minutes, text)


def _as_minutes(found: re.Match[str]) -> str:
    low, high = found["low"], found["high"]
    said = f"{float(high) / 60:.2f} min"
    return f"{float(low) / 60:.2f} to {said}" if low else said


def failure(error: PreptimeError) -> tuple[str, str]:
    """What happened, and what to do about it. Both may hold what somebody uploaded: show them with `parts`."""
    return error.facts, error.hint


BASIS = {
    "restaurant": "this restaurant's own orders",
    "city_food": "orders of this type of food in this city",
    "food": "orders of this type of food everywhere",
    "city": "orders of this city",
    "global": "all orders, since neither the restaurant nor its city or food is known",
}
"""What each basis means, after `it stands on`."""
