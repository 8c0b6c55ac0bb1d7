"""A handful of orders, their answers and their outcomes, to be joined in every way they can be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from preptime.features.history import History
from preptime.features.restaurant_index import RestaurantIndex
from preptime.monitoring.document import DateRange
from preptime.monitoring.joined_predictions import JoinedOrders, join
from preptime.monitoring.outcomes import AuditedOutcomes, read_outcomes
from preptime.monitoring.recorded_predictions import QUANTILE_COLUMNS, UniquePredictions, read_predictions
from preptime.sources.results import ResultsFolder
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import order_keys
from preptime.validation.restaurants import read_restaurants
from tests.monitoring.synthetic_months import Frame, write_partition

DATE = dt.date(2015, 6, 22)
FIRST = DATE - dt.timedelta(days=7)
RESTAURANTS = pl.DataFrame(
    {
        "restaurant_id": [10, 20, 30],
        "country": ["UK", "UK", "France"],
        "city": ["London", "London", "Paris"],
        "type_of_food": ["burgers", "sushi", "thai"],
    }
)
DIRECTORY: RestaurantIndex = read_restaurants(RESTAURANTS)


class NoStore:
    """A store from which every bundle has been pruned."""

    def champion_as_of(self, _date: dt.date) -> str | None:
        """Nobody."""
        return None

    def manifest(self, _bundle: str) -> None:
        """Gone."""

    def history(self, _bundle: str) -> History | None:
        """Gone."""
        return None


@dataclass
class Place:
    """A folder of results and one of the API's log."""

    root: Path
    orders: list[dict[str, object]] = field(default_factory=list)

    @property
    def results(self) -> ResultsFolder:
        """The results."""
        return ResultsFolder(self.root / "results")

    @property
    def log(self) -> Path:
        """The log's folder."""
        return self.root / "predictions"

    def predicted(self, date: dt.date, orders: Sequence[dict[str, object]], seconds: float = 600.0) -> None:
        """A partition of the batch: p50 is `seconds`, the other quantiles half, double and triple."""
        rows = pl.DataFrame(list(orders))
        read = audit_orders(rows, DIRECTORY, need_label=False).frame
        told = np.tile(seconds * np.array([0.5, 1.0, 2.0, 3.0]), (len(rows), 1))
        frame = pl.DataFrame(
            {
                "order_key": order_keys(rows, read),
                **{name: told[:, place] for place, name in enumerate(QUANTILE_COLUMNS)},
                "prediction_fallback_level": ["restaurant"] * len(rows),
                "prediction_bundle": ["2015-06-15-0123456789ab"] * len(rows),
            }
        )
        write_partition(self.results, date, frame)

    def answers(self) -> UniquePredictions:
        """Everything answered in the week before `DATE`."""
        return read_predictions(
            self.results, self.log, DIRECTORY, DateRange(first=FIRST, last=DATE - dt.timedelta(days=1))
        )

    def joined(self, orders: pl.DataFrame, date: dt.date = DATE) -> JoinedOrders:
        """The answers beside what these orders say happened."""
        return join(known(orders, date).outcomes, self.answers(), DIRECTORY, NoStore())


def known(orders: pl.DataFrame, date: dt.date = DATE) -> AuditedOutcomes:
    """What these orders say on that morning."""
    return read_outcomes(Frame(orders), DIRECTORY, date, FIRST)


def order(minute: int, restaurant: int = 10, day: int = 20, **more: object) -> dict[str, object]:
    """An order of a June evening, as it is known when it is acknowledged."""
    at = f"2015-06-{day:02d} {19 + minute // 60:02d}:{minute % 60:02d}:00"
    known: dict[str, object] = {
        "order_acknowledged_at": at,
        "order_value_gbp": 20.5,
        "restaurant_id": restaurant,
        "number_of_items": 2,
    }
    return {**known, **more}


def done(one: dict[str, object], seconds: int | None = 700) -> dict[str, object]:
    """The same with its outcome, or still open."""
    return {**one, "prep_time_seconds": seconds}
