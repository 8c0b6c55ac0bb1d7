"""The aggregate facts behind synthetic orders, and the plan of what to synthesize.

Sources: published summary figures of a public take-home exercise on preparation time (32,394 orders, June 2015), and
shares, medians, and counts per city, type of food, and quarter of an hour from its first 23 days. All are rounded
aggregates. The names and numbers of rare types of food are invented.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from preptime.errors import UsageError

REFERENCE_ORDERS = 32_394
REFERENCE_DAYS = 30
REFERENCE_RESTAURANTS = 1_697


@dataclass(frozen=True, slots=True)
class City:
    """A city: its restaurants, its share of orders, and how its kitchens and prices differ from London's."""

    name: str
    country: str
    restaurants: int
    order_share: float
    log_pace: float = 0.0
    """Effect on the logarithm of the cooking time."""
    price_level: float = 0.0
    """Effect on the normal score of the order value."""
    opens_late: bool = False
    """Whether the first orders are in the last week of the period."""


TIME_ZONES = {"UK": "Europe/London", "France": "Europe/Paris", "Ireland": "Europe/Dublin", "Germany": "Europe/Berlin"}

CITIES = (
    City("London", "UK", 998, 0.7870),
    City("Paris", "France", 161, 0.0630, -0.95, -0.40),
    City("Manchester", "UK", 72, 0.0300, 0.08, 0.15),
    City("Brighton", "UK", 40, 0.0204, 0.22),
    City("Oxford", "UK", 23, 0.0180, -0.04, -0.30),
    City("Edinburgh", "UK", 37, 0.0116, 0.14, -0.10),
    City("Dublin", "Ireland", 52, 0.0110, 0.04, -0.80),
    City("Berlin", "Germany", 77, 0.0095, 0.0, -1.00),
    City("Birmingham", "UK", 49, 0.0097, 0.20, 0.15),
    City("Nottingham", "UK", 22, 0.0072, 0.0, 0.20),
    City("Leeds", "UK", 23, 0.0064, -0.02, -0.20),
    City("Cambridge", "UK", 17, 0.0063, -0.08, -0.20),
    City("Liverpool", "UK", 20, 0.0052, 0.28, 0.10),
    City("Glasgow", "UK", 33, 0.0048, 0.06, -0.40),
    City("Guildford", "UK", 9, 0.0038, -0.20, -0.20),
    City("Reading", "UK", 11, 0.0036, 0.14, 0.10),
    City("Bristol", "UK", 15, 0.0030, 0.05, -0.10),
    City("München", "Germany", 16, 0.0005, 0.0, -0.80, opens_late=True),
    City("Leicester", "UK", 8, 0.0003, opens_late=True),
    City("Cheltenham", "UK", 8, 0.0003, opens_late=True),
    City("Cardiff", "UK", 4, 0.0002, opens_late=True),
    City("Southampton", "UK", 2, 0.0002, opens_late=True),
)


@dataclass(frozen=True, slots=True)
class Food:
    """A type of food: its restaurants, its orders per thousand, and the pace of its kitchens."""

    name: str
    restaurants: int
    orders_per_thousand: float
    log_pace: float = 0.0
    """Effect on the logarithm of the cooking time."""


FOODS = (
    Food("italian", 294, 147.5, -0.05),
    Food("burgers", 119, 117.5, 0.0),
    Food("thai", 85, 89.6, 0.05),
    Food("american", 104, 73.0, -0.03),
    Food("japanese", 68, 57.0, 0.20),
    Food("lebanese", 49, 43.6, 0.10),
    Food("indian", 134, 40.7, 0.28),
    Food("chicken", 24, 40.1, 0.10),
    Food("chinese", 46, 36.2, 0.10),
    Food("vietnamese", 41, 35.0, -0.15),
    Food("healthy", 48, 29.6, -0.10),
    Food("british", 67, 26.0, -0.05),
    Food("pan asian", 36, 24.4, -0.25),
    Food("pizza", 55, 23.8, -0.22),
    Food("french", 28, 19.3, -0.40),
    Food("mexican", 38, 17.7, -0.28),
    Food("burritos", 34, 16.9, -0.45),
    Food("dessert", 20, 12.6, -0.60),
    Food("korean", 14, 12.0, -0.10),
    Food("turkish", 14, 10.8, 0.10),
    Food("greek", 15, 10.6, 0.13),
    Food("mediterranean", 30, 10.1, -0.12),
    Food("argentinian", 26, 10.0, 0.33),
    Food("fish and chips", 18, 8.8, -0.30),
    Food("persian", 16, 8.3, 0.0),
    Food("deli", 28, 8.3, -0.15),
    Food("bbq", 16, 7.4, 0.15),
    Food("ramen", 3, 5.7, -0.20),
    Food("european", 17, 5.3, 0.08),
    Food("middle eastern", 16, 5.2, 0.15),
    Food("peruvian", 4, 3.4, 0.18),
    Food("seafood", 4, 2.9, 0.18),
    Food("spanish", 17, 2.9, 0.08),
    Food("australian", 5, 2.8, -0.30),
    Food("international", 15, 2.7, -0.50),
    Food("brazilian", 8, 2.6, 0.05),
    Food("bakery", 10, 2.5, 0.05),
    Food("latin american", 7, 2.3, 0.08),
    Food("juices", 13, 2.1, 0.10),
    Food("rotisserie", 5, 1.7, 0.15),
    Food("caribbean", 9, 1.2, 0.10),
    Food("sandwiches", 6, 1.2, -0.50),
    Food("sushi", 8, 1.0, 0.18),
    Food("nepalese", 3, 0.9, 0.30),
    Food("indonesian", 2, 0.9, 0.40),
    Food("vegan", 4, 0.9, -0.10),
    Food("german", 7, 0.9, -0.30),
    Food("north african", 6, 0.7, 0.25),
    *(
        Food(name, 1 + (rank < 12), 0.8 / (1 + rank / 3))
        for rank, name in enumerate(
            (
                "portuguese", "tapas", "bagels", "vegetarian", "noodles", "brunch", "georgian", "ethiopian", "cuban",
                "moroccan", "kebab", "dumplings", "poke", "salads", "soups", "steakhouse", "crepes", "ice cream",
                "pies", "malaysian", "filipino", "sichuan", "cantonese", "sri lankan", "bangladeshi", "pakistani",
                "afghan", "polish", "hungarian", "russian", "scandinavian", "austrian", "belgian", "israeli",
                "west african",
            )
        )
    ),
)  # fmt: skip

WEEKDAY_VOLUME = (936.0, 916.0, 957.0, 891.0, 1_205.0, 1_271.0, 1_334.0)
"""Orders per day, Monday to Sunday."""

QUARTER_HOUR_VOLUME = {
    0: (5, 4, 1, 0),
    9: (1, 1, 2, 2),
    10: (1, 2, 4, 6),
    11: (15, 19, 26, 30),
    12: (77, 126, 171, 217),
    13: (410, 480, 440, 430),
    14: (380, 350, 345, 310),
    15: (274, 250, 243, 221),
    16: (212, 200, 205, 201),
    17: (209, 220, 220, 226),
    18: (240, 320, 380, 475),
    19: (588, 692, 853, 1_020),
    20: (1_162, 1_255, 1_309, 1_326),
    21: (1_225, 1_180, 1_090, 1_030),
    22: (840, 725, 595, 480),
    23: (395, 320, 225, 131),
}
"""Orders in each quarter of a local hour over 23 days. Other hours have no orders."""

NUMBER_OF_ITEMS_SHARE = (
    0.0427, 0.1945, 0.2750, 0.1980, 0.1130, 0.0695, 0.0385, 0.0236, 0.0152, 0.0089, 0.0066, 0.0045, 0.0036, 0.0029,
    0.0016, 0.0011, 0.0009, 0.0008, 0.0004, 0.0003, 0.0002, 0.0002, 0.0002, 0.0001, 0.0001, 0.0001, 0.0001, 0.0001,
    0.0001, 0.00005, 0.00005, 0.00005, 0.00005, 0.00005, 0.00005, 0.00005, 0.00005, 0.00005,
)  # fmt: skip
"""Share of orders with 1, 2, 3 … items."""

ORDER_VALUE_QUANTILES = (
    (0.00001, 0.5), (0.0005, 4.2), (0.005, 7.5), (0.01, 8.9), (0.02, 10.4), (0.05, 12.5), (0.1, 15.0), (0.2, 16.1),
    (0.25, 16.75), (0.3, 17.4), (0.4, 19.1), (0.5, 21.4), (0.6, 24.1), (0.7, 27.9), (0.75, 30.2), (0.8, 33.0),
    (0.85, 36.9), (0.9, 42.7), (0.95, 55.0), (0.98, 77.0), (0.99, 98.0), (0.995, 130.0), (0.998, 172.0),
    (0.9995, 276.0), (0.99997, 711.0),
)  # fmt: skip
"""Quantiles of the order value: share of orders and pounds."""

FORGOTTEN_SECONDS_QUANTILES = (
    (0.0, 10_900.0), (0.25, 13_900.0), (0.5, 17_500.0), (0.60, 23_000.0), (0.66, 46_000.0), (0.72, 72_000.0),
    (0.87, 90_000.0), (0.96, 110_000.0), (1.0, 255_499.0),
)  # fmt: skip
"""Quantiles of the labels of forgotten orders, which are marked as ready hours or days later: share and seconds."""


MIN_DEFAULT_RESTAURANTS = 40
"""With fewer restaurants, the shares of cities and foods can't be met. A plan can request fewer nevertheless."""


@dataclass(frozen=True, slots=True)
class Drift:
    """As of day `start_day` (1 is the first day), cooking in `city` takes `factor` times as long."""

    city: str
    start_day: int
    factor: float

    def __post_init__(self) -> None:
        """Raise `UsageError` for an unknown city, a day before the first, and a factor outside 0.1 to 10."""
        if self.city not in {city.name for city in CITIES}:
            raise UsageError(
                f"Drift in the unknown city {self.city!r}.",
                f"Use one of {', '.join(sorted(city.name for city in CITIES))}.",
            )
        if self.start_day < 1:
            raise UsageError(f"Drift from day {self.start_day}.", "Use day 1, the first day of the period, or later.")
        if not (math.isfinite(self.factor) and 0.1 <= self.factor <= 10):
            raise UsageError(
                f"Drift by the factor {self.factor:g}.", "Use a factor from 0.1 to 10, which is -90% to +900%."
            )

    @classmethod
    def parse(cls, text: str) -> Drift:
        """Return the drift in the form `CITY:DAY:±PERCENT%`, for example, `London:20:+15%`. Raises `UsageError`."""
        parts = text.split(":")
        hint = "Use CITY:DAY:±PERCENT%, for example, London:20:+15%."
        if len(parts) != 3 or not parts[2].strip().endswith("%"):
            raise UsageError(f"Drift {text!r} is not in the form CITY:DAY:±PERCENT%.", hint)
        city, day, percent = (part.strip() for part in parts)
        try:
            return cls(city, int(day), 1 + float(percent[:-1]) / 100)
        except ValueError:
            raise UsageError(
                f"Drift {text!r}: the day {day!r} or the change {percent!r} is not a number.", hint
            ) from None


@dataclass(frozen=True, slots=True)
class SynthesisPlan:
    """What to draw. The same plan gives the same rows and, on one machine, the same bytes.

    The median delays per open order vary between seeds by as much as their size (docs/synthetic-data.md). With the
    default seed, the 32,394 orders of the default plan have the published median delays.
    """

    orders: int = REFERENCE_ORDERS
    restaurants: int | None = None
    """None: as many as give each restaurant the orders per day of the published data."""
    days: int = REFERENCE_DAYS
    start: dt.date = dt.date(2015, 6, 1)
    seed: int = 459
    drift: Drift | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError` for a plan that can't be drawn."""
        for name, value in (("orders", self.orders), ("restaurants", self.restaurants), ("days", self.days)):
            if value is not None and value < 1:
                raise UsageError(f"The plan has {value} {name}.", "Use 1 or more.")
        if self.seed < 0:
            raise UsageError(f"The seed {self.seed} is negative.", "Use a whole number, 0 or more.")
        if self.days > 3_660 or self.start.year + self.days // 365 > 2_200:
            raise UsageError(
                f"The period is {self.days:,} days from {self.start}.", "Use at most 3,660 days that end before 2200."
            )
        if self.drift is not None and self.drift.start_day > self.days:
            raise UsageError(
                f"Drift from day {self.drift.start_day}, but the period has {self.days} days.",
                "Use a day in the period.",
            )

    @property
    def restaurant_count(self) -> int:
        """The number of restaurants. As in the published data, some of them get no order."""
        if self.restaurants is not None:
            return self.restaurants
        orders_per_restaurant = REFERENCE_ORDERS / REFERENCE_DAYS * self.days / REFERENCE_RESTAURANTS
        return max(MIN_DEFAULT_RESTAURANTS, round(self.orders / orders_per_restaurant))
