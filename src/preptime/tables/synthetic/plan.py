"""What to synthesize: how many orders, from when, with which drift."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from preptime.errors import UsageError
from preptime.tables.synthetic.world import CITIES, REFERENCE_DAYS, REFERENCE_ORDERS, REFERENCE_RESTAURANTS

MIN_DEFAULT_RESTAURANTS = 40
"""Below this the shares of cities and foods mean nothing; a plan may still ask for fewer."""


@dataclass(frozen=True, slots=True)
class Drift:
    """From the morning of `start_day` (1 is the first day) cooking in `city` takes `factor` times as long."""

    city: str
    start_day: int
    factor: float

    def __post_init__(self) -> None:
        """Refuse what could only be a slip."""
        if self.city not in {city.name for city in CITIES}:
            raise UsageError(
                f"Drift in the city {self.city!r}, which the synthesizer doesn't have.",
                f"Use one of {', '.join(sorted(city.name for city in CITIES))}.",
            )
        if self.start_day < 1:
            raise UsageError(f"Drift from day {self.start_day}.", "Days count from 1, the first day of the period.")
        if not (math.isfinite(self.factor) and 0.1 <= self.factor <= 10):
            raise UsageError(
                f"Drift by the factor {self.factor:g}.", "Stay between 0.1 and 10, that is -90% and +900%."
            )

    @classmethod
    def parse(cls, text: str) -> Drift:
        """Read `CITY:DAY:±PERCENT%`, such as `London:20:+15%`."""
        parts = text.split(":")
        hint = "Write CITY:DAY:±PERCENT%, such as London:20:+15%."
        if len(parts) != 3 or not parts[2].strip().endswith("%"):
            raise UsageError(f"Drift {text!r} is not of the form CITY:DAY:±PERCENT%.", hint)
        city, day, percent = (part.strip() for part in parts)
        try:
            return cls(city, int(day), 1 + float(percent[:-1]) / 100)
        except ValueError:
            raise UsageError(
                f"Drift {text!r}: the day {day!r} or the change {percent!r} is not a number.", hint
            ) from None


@dataclass(frozen=True, slots=True)
class SynthesisPlan:
    """What to draw. The same plan gives the same rows, and the same bytes on one machine.

    Without `restaurants` there are so many that a restaurant gets as many orders a day as in the published data.
    The default seed is one whose 32,394 orders have the published median delays per open order, which at that size
    scatter by as much as they are (docs/synthesizer.md).
    """

    orders: int = REFERENCE_ORDERS
    restaurants: int | None = None
    days: int = REFERENCE_DAYS
    start: dt.date = dt.date(2015, 6, 1)
    seed: int = 459
    drift: Drift | None = None

    def __post_init__(self) -> None:
        """Refuse plans that nothing can be drawn from."""
        for name, value in (("orders", self.orders), ("restaurants", self.restaurants), ("days", self.days)):
            if value is not None and value < 1:
                raise UsageError(f"A plan of {value} {name}.", f"Ask for at least one of the {name}.")
        if self.seed < 0:
            raise UsageError(f"The seed {self.seed} is negative.", "Give a whole number from 0 up.")
        if self.days > 3_660 or self.start.year + self.days // 365 > 2_200:
            raise UsageError(
                f"A period of {self.days:,} days from {self.start}.", "Ask for ten years or less, before 2200."
            )
        if self.drift is not None and self.drift.start_day > self.days:
            raise UsageError(
                f"Drift from day {self.drift.start_day} of a period of {self.days} days.",
                "Let it begin inside the period.",
            )

    @property
    def restaurant_count(self) -> int:
        """Restaurants in the directory; as in the published one a few of them get no order."""
        if self.restaurants is not None:
            return self.restaurants
        orders_per_restaurant = REFERENCE_ORDERS / REFERENCE_DAYS * self.days / REFERENCE_RESTAURANTS
        return max(MIN_DEFAULT_RESTAURANTS, round(self.orders / orders_per_restaurant))
