"""Orders, predictions, and outcomes for tests of the join."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from preptime.features.history import History
from preptime.features.restaurant_index import RestaurantIndex
from preptime.monitoring.document import DateRange
from preptime.monitoring.joined_predictions import JoinedOrders, join
from preptime.monitoring.outcomes import AuditedOutcomes, read_outcomes
from preptime.monitoring.recorded_predictions import QUANTILE_COLUMNS, UniquePredictions, read_predictions
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.sources.prediction_logs import PredictionLogFolder
from preptime.sources.results import ResultsFolder
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import order_keys
from preptime.validation.restaurants import read_restaurants
from tests.monitoring.synthetic_months import FrameSource, write_partition

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
RESTAURANT_INDEX: RestaurantIndex = read_restaurants(RESTAURANTS)


class EmptyBundleSource:
    """A source from which every bundle was pruned."""

    def champion_as_of(self, _date: dt.date) -> str | None:
        """Return no champion."""
        return None

    def manifest(self, _bundle: str) -> None:
        """Return no manifest."""

    def history(self, _bundle: str) -> History | None:
        """Return no history."""
        return None


@dataclass
class PredictionFolders:
    """A results folder and a folder of the API's log."""

    root: Path

    @property
    def results(self) -> ResultsFolder:
        """Return the results folder."""
        return ResultsFolder(self.root / "results")

    @property
    def log(self) -> Path:
        """Return the folder of the log."""
        return self.root / "predictions"

    def write_predictions(self, date: dt.date, orders: Sequence[dict[str, object]], seconds: float = 600.0) -> None:
        """Write a partition of the batch. p50 is `seconds`; the other quantiles are half, double, and triple."""
        rows = pl.DataFrame(list(orders))
        audited = audit_orders(rows, RESTAURANT_INDEX, need_label=False).frame
        quantiles = np.tile(seconds * np.array([0.5, 1.0, 2.0, 3.0]), (len(rows), 1))
        frame = pl.DataFrame(
            {
                "order_key": order_keys(audited),
                **{name: quantiles[:, index] for index, name in enumerate(QUANTILE_COLUMNS)},
                "prediction_fallback_level": ["restaurant"] * len(rows),
                "prediction_bundle": ["2015-06-15-0123456789ab"] * len(rows),
            }
        )
        write_partition(self.results, date, frame)

    def predictions(self) -> UniquePredictions:
        """Return all predictions of the week before `DATE`."""
        return read_predictions(
            self.results,
            PredictionLogFolder(self.log),
            RESTAURANT_INDEX,
            DateRange(first=FIRST, last=DATE - dt.timedelta(days=1)),
            schema_of=lambda _: TAKE_HOME_SCHEMA,
        )

    def join_orders(self, orders: pl.DataFrame, date: dt.date = DATE) -> JoinedOrders:
        """Return the predictions joined with the outcomes of `orders`."""
        return join(
            read_known_outcomes(orders, date).outcomes, self.predictions(), RESTAURANT_INDEX, EmptyBundleSource()
        )


def read_known_outcomes(orders: pl.DataFrame, date: dt.date = DATE) -> AuditedOutcomes:
    """Return the outcomes of `orders` as of `date`."""
    return read_outcomes(FrameSource(orders), RESTAURANT_INDEX, date, FIRST)


def make_order(minute: int, restaurant: int = 10, day: int = 20, **fields: object) -> dict[str, object]:
    """Return an order of a June evening as it is at acknowledgement."""
    at = f"2015-06-{day:02d} {19 + minute // 60:02d}:{minute % 60:02d}:00"
    base: dict[str, object] = {
        "order_acknowledged_at": at,
        "order_value_gbp": 20.5,
        "restaurant_id": restaurant,
        "number_of_items": 2,
    }
    return {**base, **fields}


def with_outcome(order: dict[str, object], seconds: int | None = 700) -> dict[str, object]:
    """Return the order with an outcome, or an open order without `seconds`."""
    return {**order, "prep_time_seconds": seconds}
