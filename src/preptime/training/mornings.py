"""Walking through days, each with what was known that morning."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.features.history import History, build_history
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURES
from preptime.features.state import HistoryState
from preptime.training.corpus import Corpus, date_of, day_number
from preptime.training.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Morning:
    """One day of a walk."""

    date: dt.date
    history: History
    rows: slice
    """The corpus's orders acknowledged on that local day."""


def mornings(corpus: Corpus, first: dt.date, last: dt.date) -> Iterator[Morning]:
    """Every day from `first` to `last` (both included) that has orders, with the history of its morning.

    The state grows by what became ready on each day, so the walk counts every order once. A day without orders costs
    nothing, so one order with a date from years ago is only that.
    """
    start, end = day_number(first), day_number(last)
    ready = np.where(corpus.history, corpus.ready_day, end + 1)
    by_ready = np.argsort(ready, kind="stable")
    bounds = np.searchsorted(ready[by_ready], np.arange(start, end + 2))
    acknowledged = np.searchsorted(corpus.acknowledged_day, np.arange(start, end + 2))
    state = HistoryState.of(corpus.directory, corpus.completed.take(by_ready[: bounds[0]]))
    for number in range(start, end + 1):
        at = number - start
        rows = slice(int(acknowledged[at]), int(acknowledged[at + 1]))
        if rows.start < rows.stop:
            date = date_of(number)
            yield Morning(date, build_history(state, corpus.directory, date), rows)
        state.count(corpus.directory, corpus.completed.take(by_ready[bounds[at] : bounds[at + 1]]))


@dataclass(frozen=True, slots=True)
class Matrix:
    """The orders of a run of days, with what was known of each on its morning."""

    corpus: Corpus
    first: int
    """Position in the corpus of row 0."""
    X: NDArray[np.float32]
    lookup: NDArray[np.float32]
    """[N] seconds: the shrunken restaurant median of that morning."""
    global_median: NDArray[np.float32]
    basis: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.X)

    @property
    def orders(self) -> OrderColumns:
        """The orders of the rows."""
        return self.corpus.orders.take(self.rows)

    @property
    def rows(self) -> slice:
        """Where these orders stand in the corpus."""
        return slice(self.first, self.first + len(self.X))


def matrix(corpus: Corpus, first: dt.date, last: dt.date, progress: Progress = silent) -> Matrix:
    """The matrix of all orders acknowledged from `first` to `last` (both included), built day by day (D1)."""
    start, end = np.searchsorted(corpus.acknowledged_day, [day_number(first), day_number(last) + 1])
    size = int(end - start)
    X = np.empty((size, len(FEATURES)), np.float32)
    lookup, global_median = np.empty(size, np.float32), np.empty(size, np.float32)
    basis = np.empty(size, np.int8)
    days = (last - first).days + 1
    for morning in mornings(corpus, first, last):
        orders = corpus.orders.take(morning.rows)
        here = slice(morning.rows.start - int(start), morning.rows.stop - int(start))
        X[here] = feature_matrix(orders, morning.history)
        lookup[here] = morning.history.lookup(orders)
        global_median[here] = morning.history.global_median_seconds
        basis[here] = morning.history.basis_of(orders)
        progress("Features, morning by morning", ((morning.date - first).days + 1) / days)
    return Matrix(corpus, int(start), X, lookup, global_median, basis)
