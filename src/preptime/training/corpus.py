"""The completed orders a training run or backtest stands on, in one order whatever order their file had."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import Purpose
from preptime.errors import DataError
from preptime.features.clock import day
from preptime.features.directory import Directory, recode
from preptime.features.state import CompletedOrders
from preptime.tables.audit import Audited, audit, to_order_columns, undated_behind

EPOCH = dt.date(1970, 1, 1)
_HEX_DIGITS = 16


def day_number(date: dt.date) -> int:
    """Local days since 1970-01-01, as `preptime.features.clock.day` counts them."""
    return (date - EPOCH).days


def date_of(number: int) -> dt.date:
    """The date of a day number."""
    return EPOCH + dt.timedelta(days=number)


@dataclass(frozen=True)
class Corpus:
    """N completed orders by time of acknowledgement, and what each may be used for."""

    directory: Directory
    completed: CompletedOrders
    fitting: NDArray[np.bool_]
    history: NDArray[np.bool_]
    evaluation: NDArray[np.bool_]
    """The label set `up_to_3h`."""

    @classmethod
    def of(cls, audited: Audited, directory: Directory) -> Corpus:
        """Of audited orders: those that can be fitted, counted or evaluated.

        Raises `DataError` when there are none.
        """
        kept = {purpose: audited.kept(purpose) for purpose in (Purpose.FITTING, Purpose.HISTORY, Purpose.EVALUATION)}
        any_use = np.logical_or.reduce(list(kept.values()))
        if not any_use.any():
            raise DataError(
                f"None of {len(audited):,} orders has usable times, values and a label.",
                "Look at what `preptime check` says of the file.",
            )
        frame = audited.frame.filter(pl.Series(any_use))
        orders = to_order_columns(frame)
        ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
        completed = CompletedOrders(orders, ready, frame["prep_time_seconds"].cast(pl.Int64).to_numpy())
        masks = [mask[any_use] for mask in kept.values()]
        order = _time_order(completed, masks)
        return cls(directory, completed.take(order), *(mask[order] for mask in masks))

    def __len__(self) -> int:
        return len(self.completed)

    @property
    def orders(self) -> OrderColumns:
        """What was known at acknowledgement."""
        return self.completed.orders

    @property
    def label(self) -> NDArray[np.float64]:
        """[N] preparation times, seconds."""
        return self.completed.prep_time_seconds.astype(np.float64)

    @property
    def acknowledged_day(self) -> NDArray[np.int64]:
        """[N] local day numbers of acknowledgement, ascending."""
        return day(self.orders.acknowledged_at)

    @property
    def ready_day(self) -> NDArray[np.int64]:
        """[N] local day numbers on which the food was ready."""
        return day(self.completed.ready_at)

    @property
    def first_day(self) -> dt.date:
        """The local day of the first acknowledgement."""
        return date_of(int(self.acknowledged_day[0]))

    @property
    def last_day(self) -> dt.date:
        """The local day of the last acknowledgement."""
        return date_of(int(self.acknowledged_day[-1]))

    def known_on(self, date: dt.date) -> Corpus:
        """What was known on the morning of `date`: the orders that were ready before its local midnight."""
        return self.take(self.ready_day < day_number(date))

    def take(self, rows: NDArray[np.bool_]) -> Corpus:
        """The orders under a mask. Raises `DataError` when none is left."""
        if not rows.any():
            raise DataError("No order is left in the time asked for.", "Take another date, or more orders.")
        return Corpus(
            self.directory,
            self.completed.take(rows),
            self.fitting[rows],
            self.history[rows],
            self.evaluation[rows],
        )

    def recoded(self, directory: Directory) -> Corpus:
        """The same orders with the categories of their restaurants as `directory` codes them.

        For a champion whose vocabularies are older than the restaurants file.
        """
        orders = self.orders
        codes = [
            recode(getattr(orders, name), getattr(self.directory.vocabularies, name), words)
            for name, words in (
                ("country", directory.vocabularies.country),
                ("city", directory.vocabularies.city),
                ("type_of_food", directory.vocabularies.type_of_food),
            )
        ]
        recoded = OrderColumns(
            orders.acknowledged_at, orders.restaurant_id, orders.order_value_gbp, orders.number_of_items, *codes
        )
        completed = CompletedOrders(recoded, self.completed.ready_at, self.completed.prep_time_seconds)
        return Corpus(directory, completed, self.fitting, self.history, self.evaluation)

    def fingerprint(self) -> str:
        """A hash of everything fitted, counted or evaluated: the same content gives the same text."""
        digest = hashlib.sha256()
        orders, directory = self.orders, self.directory
        digest.update(repr(directory.vocabularies).encode())
        for array in (
            directory.restaurant_id,
            directory.country,
            directory.city,
            directory.type_of_food,
            directory.time_zone,
            orders.acknowledged_at,
            orders.restaurant_id,
            orders.order_value_gbp,
            orders.number_of_items,
            orders.country,
            orders.city,
            orders.type_of_food,
            self.completed.ready_at,
            self.completed.prep_time_seconds,
            self.fitting,
            self.history,
            self.evaluation,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:_HEX_DIGITS]


def known_rows(audited: Audited, directory: Directory, date: dt.date) -> Audited:
    """The audit of what was known on the morning of `date`, and of rows whose times cannot be read.

    Judged anew: verdicts lean on other rows (a duplicate on the first of its kind, opening hours on all), and a later
    one must not speak. Nor must a row without a readable time that stands behind everything known: in a table that
    grows it came later, and a backfill has to read what the morning read.
    """
    midnight = dt.datetime.combine(date, dt.time())
    frame = audited.frame
    later = ((frame["acknowledged_local"] >= midnight) | (frame["ready_local"] >= midnight)).fill_null(value=False)
    later |= undated_behind(frame, frame["acknowledged_local"].is_not_null() & ~later)
    return audit(audited.source.filter(~later), directory, need_label=True) if later.any() else audited


def _time_order(completed: CompletedOrders, masks: list[NDArray[np.bool_]]) -> NDArray[np.intp]:
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
