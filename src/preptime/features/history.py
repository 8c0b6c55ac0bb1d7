"""What is known each morning, finished: one float32 row a restaurant, and one a place for those without orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.domain.prediction import BASES
from preptime.errors import UsageError
from preptime.features.directory import Directory, Vocabularies
from preptime.features.shrinkage import finished_rows, overall, place_levels, place_orders
from preptime.features.spec import MEDIAN_COLUMN
from preptime.features.state import HistoryState


@dataclass(frozen=True)
class History:
    """What is known of restaurants, cities and types of food from orders whose local `order_ready_at` is before `date`.

    Subjects are the R restaurants of the directory, then its places (city, food), for orders whose restaurant is not
    in it. A restaurant without an order has its place's row.
    """

    date: str
    """ISO date D: known is what happened before D's local midnight."""
    directory: Directory
    rows: NDArray[np.float32]
    """[R + places, HISTORY_FEATURES]"""
    slots: NDArray[np.float32]
    """[R + places, SLOTS] mean seconds in each time slot."""
    basis: NDArray[np.int8]
    """[R + places] positions in `BASES`: the finest level with at least one completed order."""
    global_median_seconds: np.float32
    """The median of all orders: the plainer of the two baselines."""

    @property
    def vocabularies(self) -> Vocabularies:
        """The words that codes stand for."""
        return self.directory.vocabularies

    def subject(self, orders: OrderColumns) -> NDArray[np.int64]:
        """[N] the row behind each order: its restaurant's, or its place's."""
        position = self.directory.positions(orders.restaurant_id)
        stranger = position == UNKNOWN
        if np.count_nonzero(stranger):  # `any` takes ten times as long for one order
            place = self.directory.place(orders.city[stranger], orders.type_of_food[stranger])
            position[stranger] = len(self.directory) + place
        return position

    def basis_of(self, orders: OrderColumns) -> NDArray[np.int8]:
        """[N] positions in `BASES`."""
        return self.basis[self.subject(orders)]

    def lookup(self, orders: OrderColumns) -> NDArray[np.float32]:
        """[N] seconds: the shrunken restaurant median, the baseline that every model must beat."""
        medians: NDArray[np.float32] = self.rows[self.subject(orders), MEDIAN_COLUMN]
        return medians

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that is an array, by name."""
        of = self.directory
        return {
            "restaurant_id": of.restaurant_id,
            "country": of.country,
            "city": of.city,
            "type_of_food": of.type_of_food,
            "time_zone": of.time_zone,
            "rows": self.rows,
            "slots": self.slots,
            "basis": self.basis,
            "global_median_seconds": np.array([self.global_median_seconds]),
        }

    @classmethod
    def from_arrays(cls, date: str, vocabularies: Vocabularies, arrays: Mapping[str, NDArray[np.generic]]) -> History:
        """The history that `arrays()` came from: no copies, so memory-mapped arrays stay mapped."""
        # A memmap is an ndarray with costs at every access; a plain view of it reads the same pages.
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        directory = Directory(
            vocabularies,
            arrays["restaurant_id"].view(np.int64),
            *(arrays[name].view(np.int32) for name in ("country", "city", "type_of_food", "time_zone")),
        )
        return cls(
            date,
            directory,
            arrays["rows"].view(np.float32),
            arrays["slots"].view(np.float32),
            arrays["basis"].view(np.int8),
            arrays["global_median_seconds"].view(np.float32)[0],
        )


def build_history(state: HistoryState, directory: Directory, date: dt.date) -> History:
    """The history of the morning of `date`.

    Raises `UsageError` when the state holds an order that was ready on or after that day: it would know the future.
    """
    today = (date - dt.date(1970, 1, 1)).days
    if state.last_day is not None and state.last_day >= today:
        latest = dt.date(1970, 1, 1) + dt.timedelta(days=state.last_day)
        raise UsageError(f"A history of the morning of {date} was asked of orders that were ready on {latest}.")
    root = overall(state)
    rows, slots = finished_rows(state, directory, root, place_levels(state, directory, root), today)
    median = float(rows[len(directory) + directory.places - 1, MEDIAN_COLUMN])
    return History(date.isoformat(), directory, rows, slots, _basis(state, directory), np.float32(median))


def _basis(state: HistoryState, directory: Directory) -> NDArray[np.int8]:
    """[R + places] the finest level with an order behind it."""
    orders = place_orders(state, directory)
    of = {
        "city_food": orders > 0,
        "food": np.broadcast_to(orders.sum(axis=0) > 0, orders.shape),
        "city": np.broadcast_to((orders.sum(axis=1) > 0)[:, None], orders.shape),
    }
    # The last row and column are the unknown: nothing is known of them as a city or a food.
    known_city, known_food = np.ones(orders.shape, bool), np.ones(orders.shape, bool)
    known_city[-1, :] = False
    known_food[:, -1] = False
    basis = np.full(orders.shape, BASES.index("global"), np.int8)
    basis[of["city"] & known_city] = BASES.index("city")
    basis[of["food"] & known_food] = BASES.index("food")
    basis[of["city_food"] & known_city & known_food] = BASES.index("city_food")
    places = basis.ravel()
    restaurants = places[directory.place(directory.city, directory.type_of_food)]
    restaurants[state.orders > 0] = BASES.index("restaurant")
    return np.concatenate([restaurants, places])
