"""Completed orders for training and backtests, sorted so that the row order of the file doesn't matter."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.manifest import TrainingSample
from preptime.domain.data_dictionary import ROW_COLUMN
from preptime.domain.orders import OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose
from preptime.errors import DataError
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.kitchen import KitchenEvents
from preptime.features.restaurant_index import RestaurantIndex, recode_orders
from preptime.features.spec import local_day
from preptime.validation.audit import (
    LABEL_COLUMNS,
    AuditedOrders,
    audit_orders,
    to_kitchen_events,
    to_order_columns,
    trailing_undated,
)
from preptime.validation.custom_features import feature_column

EPOCH = dt.date(1970, 1, 1)
SAMPLED_COLUMN = "_sampled"
"""The column of a corpus that says whether models are fitted and evaluated on an order."""
ONE_DAY = dt.timedelta(days=1)
_FINGERPRINT_HEX_DIGITS = 16
MIN_CATEGORY_ORDERS = 20
"""A custom category with fewer orders in the training data is rare. The notebook uses the same threshold for types of
food."""
MAX_CATEGORY_VALUES = 10_000


def day_number(date: dt.date) -> int:
    """Return the number of days from 1970-01-01 to `date`, as `preptime.features.spec.local_day` counts them."""
    return (date - EPOCH).days


def date_from_day_number(number: int) -> dt.date:
    """Return the date of a day number."""
    return EPOCH + dt.timedelta(days=number)


def iterate_days(first_day: dt.date, last_day: dt.date) -> Iterator[dt.date]:
    """Yield each date from `first_day` through `last_day`."""
    for number in range(day_number(first_day), day_number(last_day) + 1):
        yield date_from_day_number(number)


@dataclass(frozen=True, slots=True)
class EarlierOrders:
    """What is known about the orders before the window of a corpus, and the sample of the window."""

    first_day: dt.date
    """The first local day of the window."""
    state: HistoryState
    """The orders that were ready before that day."""
    sample: TrainingSample

    def state_for(self, restaurants: RestaurantIndex) -> HistoryState:
        """Return a copy of the state. Custom categories, whose codes depend on the window, start without orders."""
        cells = np.zeros(restaurants.vocabularies.category_cells, np.int64)
        return replace(deepcopy(self.state), category_orders=cells, category_bin_sums=cells.copy())


@dataclass(frozen=True)
class TrainingData:
    """N completed orders, sorted by acknowledgement, with masks [N] of what each order is used for."""

    restaurants: RestaurantIndex
    completed: CompletedOrders
    is_fitting: NDArray[np.bool_]
    is_history: NDArray[np.bool_]
    is_evaluation: NDArray[np.bool_]
    """The label set `up_to_3h`."""
    events: KitchenEvents
    """All orders of the same source, including open ones. They can be later than the completed orders."""
    row_numbers: NDArray[np.int64]
    """[N] the rows of the orders in their file or frame, counted from 1."""
    earlier: EarlierOrders | None = None
    """Orders before the window of a corpus."""

    @classmethod
    def from_orders(cls, audited: AuditedOrders, restaurants: RestaurantIndex) -> TrainingData:
        """Return the orders that can be used for fitting, history, or evaluation.

        Raises `DataError` if there are none.
        """
        purpose_masks = {
            purpose: audited.usable_for(purpose) for purpose in (Purpose.FITTING, Purpose.HISTORY, Purpose.EVALUATION)
        }
        if SAMPLED_COLUMN in audited.raw.columns:
            is_sampled = audited.raw[SAMPLED_COLUMN].to_numpy()
            purpose_masks[Purpose.FITTING] &= is_sampled
            purpose_masks[Purpose.EVALUATION] &= is_sampled
        is_usable = np.logical_or.reduce(list(purpose_masks.values()))
        if not is_usable.any():
            raise DataError(
                f"None of {len(audited):,} orders has usable times, values, and a label.",
                "To list the reasons, run `preptime check`.",
            )
        frame = audited.frame.filter(pl.Series(is_usable))
        restaurants = with_category_values(restaurants, frame)
        orders = to_order_columns(frame, restaurants)
        ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
        completed = CompletedOrders(orders, ready, frame["prep_time_seconds"].cast(pl.Int64).to_numpy())
        masks = [mask[is_usable] for mask in purpose_masks.values()]
        sort_order = _sort_order(completed, masks)
        is_fitting, is_history, is_evaluation = (mask[sort_order] for mask in masks)
        events = to_kitchen_events(audited)
        rows = (
            frame[ROW_COLUMN].cast(pl.Int64).to_numpy()
            if ROW_COLUMN in frame.columns
            else np.flatnonzero(is_usable) + 1
        )
        return cls(
            restaurants, completed.take(sort_order), is_fitting, is_history, is_evaluation, events, rows[sort_order]
        )

    def __len__(self) -> int:
        return len(self.completed)

    @property
    def orders(self) -> OrderColumns:
        """The columns that are known at acknowledgement."""
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
        """[N] local day numbers of the ready times."""
        return local_day(self.completed.ready_at)

    @property
    def rows_with_features(self) -> NDArray[np.intp]:
        """The rows that models can need: all of them, or the sample of a corpus, ascending."""
        if self.earlier is None:
            return np.arange(len(self))
        return np.flatnonzero(self.is_fitting | self.is_evaluation)

    @property
    def first_day(self) -> dt.date:
        """The local date of the first acknowledgement, or the first day of the window of a corpus."""
        if self.earlier is not None:
            return self.earlier.first_day
        return date_from_day_number(int(self.acknowledged_day[0]))

    @property
    def last_day(self) -> dt.date:
        """The local date of the last acknowledgement."""
        return date_from_day_number(int(self.acknowledged_day[-1]))

    def with_common_categories(self, before: dt.date) -> TrainingData:
        """Return the same orders with vocabularies of only the common values of custom categories.

        A value is common if at least `MIN_CATEGORY_ORDERS` orders have it that were acknowledged before a date. If
        there are more than `MAX_CATEGORY_VALUES` common values, only the most frequent ones are kept. Rare values share
        one code, as do values that first occur later. Models are fitted on the orders before that date, so every code
        has a meaning for them.
        """
        if self.orders.categories is None:
            return self
        codes = self.orders.categories[self.acknowledged_day < day_number(before)]
        custom = tuple(
            _common_values(values, codes[:, position])
            for position, values in enumerate(self.restaurants.vocabularies.custom)
        )
        vocabularies = replace(self.restaurants.vocabularies, custom=custom)
        return self.recoded(self.restaurants.recoded(vocabularies))

    def as_of(self, date: dt.date) -> TrainingData:
        """Return the orders that were ready before local midnight of `date`. Raises `DataError` if there are none."""
        return self.take(self.ready_day < day_number(date))

    def take(self, rows: NDArray[np.bool_]) -> TrainingData:
        """Return the orders selected by a mask [N]. Raises `DataError` if it selects none."""
        if not rows.any():
            raise DataError(
                "No completed order is left in the requested time.", "Choose a later date, or provide more orders."
            )
        return replace(
            self,
            completed=self.completed.take(rows),
            is_fitting=self.is_fitting[rows],
            is_history=self.is_history[rows],
            is_evaluation=self.is_evaluation[rows],
            row_numbers=self.row_numbers[rows],
        )

    def recoded(self, restaurants: RestaurantIndex) -> TrainingData:
        """Return the same orders with the category codes and the custom features of `restaurants`.

        A champion needs this when its vocabularies are older than the restaurants file, or when its schema differs.
        """
        recoded = recode_orders(self.orders, self.restaurants, restaurants)
        completed = CompletedOrders(recoded, self.completed.ready_at, self.completed.prep_time_seconds)
        return replace(self, restaurants=restaurants, completed=completed)

    def initial_state(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> HistoryState:
        """Return the history state of the orders at `rows`, and of the earlier orders of a corpus."""
        state = HistoryState.from_orders(self.restaurants, self.completed.take(rows))
        return state if self.earlier is None else self.earlier.state_for(self.restaurants).merge(state)

    def fingerprint(self) -> str:
        """Return a hash of the orders, restaurants, masks, and events. Equal content has an equal fingerprint."""
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
            orders.order_value,
            orders.number_of_items,
            orders.country,
            orders.city,
            orders.type_of_food,
            self.completed.ready_at,
            self.completed.prep_time_seconds,
            self.is_fitting,
            self.is_history,
            self.is_evaluation,
            self.events.restaurant_id,
            self.events.acknowledged_utc,
            self.events.ready_utc,
            self.events.ready_day,
            self.events.prep_time_seconds,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        if restaurants.feature_set.custom:
            digest.update(repr((restaurants.feature_set.custom, restaurants.vocabularies.custom)).encode())
        for optional in (
            restaurants.numbers,
            restaurants.categories,
            orders.numbers,
            orders.categories,
            orders.acknowledged_utc,
        ):
            digest.update(b"" if optional is None else np.ascontiguousarray(optional).tobytes())
        if self.earlier is not None:
            digest.update(repr((self.earlier.first_day, self.earlier.sample)).encode())
            for name, sums in sorted(self.earlier.state.arrays().items()):
                digest.update(name.encode() + np.ascontiguousarray(sums).tobytes())
        return digest.hexdigest()[:_FINGERPRINT_HEX_DIGITS]


def with_category_values(restaurants: RestaurantIndex, frame: pl.DataFrame) -> RestaurantIndex:
    """Return the restaurants with vocabularies of all values that the custom categories have in audited rows.

    A missing value is none of them. The values of restaurants keep their vocabulary.
    """
    features = restaurants.feature_set.categories
    custom = tuple(
        restaurants.vocabularies.custom[position]
        if feature.of == "restaurant"
        else tuple(value for value in frame[feature_column(feature)].unique().sort() if value)
        for position, feature in enumerate(features)
    )
    return (
        replace(restaurants, vocabularies=replace(restaurants.vocabularies, custom=custom)) if custom else restaurants
    )


def _common_values(values: tuple[str, ...], codes: NDArray[np.int32]) -> tuple[str, ...]:
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    common = np.flatnonzero(counts >= MIN_CATEGORY_ORDERS)
    most_frequent = common[np.argsort(-counts[common], kind="stable")[:MAX_CATEGORY_VALUES]]
    return tuple(sorted(values[code] for code in most_frequent))


def rows_as_of(audited: AuditedOrders, restaurants: RestaurantIndex, date: dt.date) -> AuditedOrders:
    """Return the audit of the rows known as of `date`, including rows without a readable time.

    An order that wasn't ready before that midnight loses its outcome: it's an open order, as it was then.
    The remaining rows are audited again, because validation depends on other rows: a duplicate on its first
    occurrence, opening hours on all orders. Rows without a readable time after the last known row are dropped: in a
    growing table they arrived later, and a backfill must read the same rows as the original run.
    """
    midnight = dt.datetime.combine(date, dt.time())
    frame, schema = audited.frame, audited.schema
    is_later = (frame["acknowledged_local"] >= midnight).fill_null(value=False)
    is_later |= trailing_undated(frame, frame["acknowledged_local"].is_not_null() & ~is_later)
    is_open = ~is_later & (frame["ready_local"] >= midnight).fill_null(value=False)
    if not (is_later | is_open).any():
        return audited
    outcomes = {schema.orders[name].column for name in LABEL_COLUMNS if schema.has(name)} & {*audited.raw.columns}
    known = audited.raw.with_columns(pl.when(~is_open).then(pl.col(name)).alias(name) for name in sorted(outcomes))
    return audit_orders(known.filter(~is_later), restaurants, need_label=True, schema=schema)


def _sort_order(completed: CompletedOrders, masks: list[NDArray[np.bool_]]) -> NDArray[np.intp]:
    """Sort by acknowledgement. All other columns break ties within a second."""
    orders = completed.orders
    return np.lexsort(
        (
            *([] if orders.acknowledged_utc is None else [orders.acknowledged_utc]),
            *([] if orders.categories is None else orders.categories.T),
            *([] if orders.numbers is None else orders.numbers.T),
            *masks,
            orders.type_of_food,
            orders.city,
            orders.country,
            completed.prep_time_seconds,
            completed.ready_at,
            orders.number_of_items,
            orders.order_value,
            orders.restaurant_id,
            orders.acknowledged_at,
        )
    )
