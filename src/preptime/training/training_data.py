"""The completed orders a training run or backtest stands on, in one order whatever order their file had."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose
from preptime.errors import DataError
from preptime.features.history_state import CompletedOrders
from preptime.features.restaurant_index import RestaurantIndex, recode
from preptime.features.spec import local_day
from preptime.validation.audit import AuditedOrders, audit_orders, to_order_columns, trailing_undated

EPOCH = dt.date(1970, 1, 1)
_FINGERPRINT_HEX_DIGITS = 16


def day_number(date: dt.date) -> int:
    """Local days since 1970-01-01, as `preptime.features.spec.day` counts them."""
    return (date - EPOCH).days


def date_from_day_number(number: int) -> dt.date:
    """The date of a day number."""
    return EPOCH + dt.timedelta(days=number)


@dataclass(frozen=True)
class TrainingData:
    """N completed orders by time of acknowledgement, and what each may be used for."""

    restaurants: RestaurantIndex
    completed: CompletedOrders
    is_fitting: NDArray[np.bool_]
    is_history: NDArray[np.bool_]
    is_evaluation: NDArray[np.bool_]
    """The label set `up_to_3h`."""

    @classmethod
    def from_orders(cls, audited: AuditedOrders, restaurants: RestaurantIndex) -> TrainingData:
        """Of audited orders: those that can be fitted, counted or evaluated.

        Raises `DataError` when there are none.
        """
        purpose_masks = {
            purpose: audited.usable_for(purpose) for purpose in (Purpose.FITTING, Purpose.HISTORY, Purpose.EVALUATION)
        }
        is_usable = np.logical_or.reduce(list(purpose_masks.values()))
        if not is_usable.any():
            raise DataError(
                f"None of {len(audited):,} orders has usable times, values and a label.",
                "Look at what `preptime check` says of the file.",
            )
        frame = audited.frame.filter(pl.Series(is_usable))
        orders = to_order_columns(frame)
        ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
        completed = CompletedOrders(orders, ready, frame["prep_time_seconds"].cast(pl.Int64).to_numpy())
        masks = [mask[is_usable] for mask in purpose_masks.values()]
        sort_order = _sort_order(completed, masks)
        return cls(restaurants, completed.take(sort_order), *(mask[sort_order] for mask in masks))

    def __len__(self) -> int:
        return len(self.completed)

    @property
    def orders(self) -> OrderColumns:
        """What was known at acknowledgement."""
        return self.completed.orders

    @property
    def labels(self) -> NDArray[np.float64]:
        """[N] preparation times, seconds."""
        return self.completed.prep_time_seconds.astype(np.float64)

    @property
    def acknowledged_day(self) -> NDArray[np.int64]:
        """[N] local day numbers of acknowledgement, ascending."""
        return local_day(self.orders.acknowledged_at)

    @property
    def ready_day(self) -> NDArray[np.int64]:
        """[N] local day numbers on which the food was ready."""
        return local_day(self.completed.ready_at)

    @property
    def first_day(self) -> dt.date:
        """The local day of the first acknowledgement."""
        return date_from_day_number(int(self.acknowledged_day[0]))

    @property
    def last_day(self) -> dt.date:
        """The local day of the last acknowledgement."""
        return date_from_day_number(int(self.acknowledged_day[-1]))

    def as_of(self, date: dt.date) -> TrainingData:
        """What was known on the morning of `date`: the orders that were ready before its local midnight."""
        return self.take(self.ready_day < day_number(date))

    def take(self, rows: NDArray[np.bool_]) -> TrainingData:
        """The orders under a mask. Raises `DataError` when none is left."""
        if not rows.any():
            raise DataError("No order is left in the time asked for.", "Take another date, or more orders.")
        return TrainingData(
            self.restaurants,
            self.completed.take(rows),
            self.is_fitting[rows],
            self.is_history[rows],
            self.is_evaluation[rows],
        )

    def recoded(self, restaurants: RestaurantIndex) -> TrainingData:
        """The same orders with the categories of their restaurants as `directory` codes them.

        For a champion whose vocabularies are older than the restaurants file.
        """
        orders = self.orders
        category_codes = [
            recode(getattr(orders, name), getattr(self.restaurants.vocabularies, name), vocabulary)
            for name, vocabulary in (
                ("country", restaurants.vocabularies.country),
                ("city", restaurants.vocabularies.city),
                ("type_of_food", restaurants.vocabularies.type_of_food),
            )
        ]
        recoded = OrderColumns(
            orders.acknowledged_at,
            orders.restaurant_id,
            orders.order_value_gbp,
            orders.number_of_items,
            *category_codes,
        )
        completed = CompletedOrders(recoded, self.completed.ready_at, self.completed.prep_time_seconds)
        return TrainingData(restaurants, completed, self.is_fitting, self.is_history, self.is_evaluation)

    def fingerprint(self) -> str:
        """A hash of everything fitted, counted or evaluated: the same content gives the same text."""
        digest = hashlib.sha256()
        orders, restaurants = self.orders, self.restaurants
        digest.update(repr(restaurants.vocabularies).encode())
        for array in (
            restaurants.restaurant_id,
            restaurants.country,
            restaurants.city,
            restaurants.type_of_food,
            restaurants.time_zone,
            orders.acknowledged_at,
            orders.restaurant_id,
            orders.order_value_gbp,
            orders.number_of_items,
            orders.country,
            orders.city,
            orders.type_of_food,
            self.completed.ready_at,
            self.completed.prep_time_seconds,
            self.is_fitting,
            self.is_history,
            self.is_evaluation,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:_FINGERPRINT_HEX_DIGITS]


def rows_as_of(audited: AuditedOrders, restaurants: RestaurantIndex, date: dt.date) -> AuditedOrders:
    """The audit of what was known on the morning of `date`, and of rows whose times cannot be read.

    Judged anew: verdicts lean on other rows (a duplicate on the first of its kind, opening hours on all), and a later
    one must not speak. Nor must a row without a readable time that stands behind everything known: in a table that
    grows it came later, and a backfill has to read what the morning read.
    """
    midnight = dt.datetime.combine(date, dt.time())
    frame = audited.frame
    is_later = ((frame["acknowledged_local"] >= midnight) | (frame["ready_local"] >= midnight)).fill_null(value=False)
    is_later |= trailing_undated(frame, frame["acknowledged_local"].is_not_null() & ~is_later)
    return audit_orders(audited.raw.filter(~is_later), restaurants, need_label=True) if is_later.any() else audited


def _sort_order(completed: CompletedOrders, masks: list[NDArray[np.bool_]]) -> NDArray[np.intp]:
    """By acknowledgement, and by everything else where two came in the same second."""
    orders = completed.orders
    return np.lexsort(
        (
            *masks,
            orders.type_of_food,
            orders.city,
            orders.country,
            completed.prep_time_seconds,
            completed.ready_at,
            orders.number_of_items,
            orders.order_value_gbp,
            orders.restaurant_id,
            orders.acknowledged_at,
        )
    )
