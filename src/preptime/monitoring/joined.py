"""Answers and outcomes of the days looked at, joined by order key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.domain.prediction import BASES, LEVELS
from preptime.evaluation.segments import SegmentColumns
from preptime.features.directory import Directory, Vocabularies, recode
from preptime.features.history import History
from preptime.monitoring.answers import NO_BASIS, QUANTILE_COLUMNS, Answers, bundle_codes
from preptime.monitoring.outcomes import Outcomes
from preptime.monitoring.sources import Sources

NO_BUNDLE = -1


@dataclass(frozen=True)
class Joined:
    """Everything known of the days looked at. N are the outcomes, answered or not, in their own order."""

    directory: Directory
    outcomes: Outcomes
    answered: NDArray[np.bool_]
    """[N]"""
    quantiles: NDArray[np.float64]
    """[N, 4] seconds in the order of `LEVELS`; NaN where not answered, or not told."""
    basis: NDArray[np.int8]
    """[N] positions in `BASES`; of an answer that doesn't say, its bundle's."""
    bundle: NDArray[np.int64]
    """[N] positions in `bundles`, `NO_BUNDLE` where not answered."""
    bundles: tuple[str, ...]
    api: NDArray[np.bool_]
    """[N] answered by the API."""
    lookup: NDArray[np.float64]
    """[N] seconds: the restaurant lookup of the answering bundle's history, the one of that morning; NaN where that
    is not known any more."""
    unknown_category: NDArray[np.bool_]
    """[N] the answering bundle did not know the order's city or type of food."""
    open: pl.DataFrame
    """The answers without an outcome: `day`, `basis`, `bundle`, `api`, `p50`."""
    histories: dict[str, History]
    """Of the answering bundles, those that are still there."""

    def __len__(self) -> int:
        return len(self.outcomes)

    @cached_property
    def evaluated(self) -> NDArray[np.bool_]:
        """[N] answered, and the outcome may be evaluated."""
        return self.answered & self.outcomes.evaluable

    @property
    def actual(self) -> NDArray[np.float64]:
        """[N] labels, seconds."""
        return self.outcomes.completed.prep_time_seconds.astype(np.float64)

    @property
    def predicted(self) -> NDArray[np.float64]:
        """[N] the default answers, seconds."""
        return self.quantiles[:, LEVELS.index(0.5)]

    @property
    def orders(self) -> OrderColumns:
        """[N] categories as the restaurants file codes them."""
        return self.outcomes.completed.orders

    @cached_property
    def columns(self) -> SegmentColumns:
        """[N] what segments are cut by."""
        return SegmentColumns.of(self.orders, self.directory.vocabularies, self.basis)


def join(outcomes: Outcomes, answers: Answers, directory: Directory, sources: Sources) -> Joined:
    """Every outcome with its answer, and the answers that are left."""
    codes, bundles = bundle_codes(answers.frame)
    frame = answers.frame.with_columns(code=pl.Series(codes, dtype=pl.Int64))
    rows = pl.DataFrame({"key": outcomes.key}).with_row_index("row")
    found = rows.join(frame.drop("day"), on="key", how="left", maintain_order="left")
    answered = found["code"].is_not_null().to_numpy()
    bundle = found["code"].fill_null(NO_BUNDLE).to_numpy()
    histories = {one: history for one in bundles if (history := sources.history(one)) is not None}
    known = _Known.of(
        outcomes.completed.orders, directory.vocabularies, bundle, [histories.get(one) for one in bundles]
    )
    told = found["basis"].fill_null(NO_BASIS).to_numpy()
    left = frame.join(rows, on="key", how="anti")
    return Joined(
        directory=directory,
        outcomes=outcomes,
        answered=answered,
        quantiles=np.column_stack([found[name].fill_null(np.nan).to_numpy() for name in QUANTILE_COLUMNS]),
        basis=np.where(told == NO_BASIS, known.basis, told).astype(np.int8),
        bundle=bundle,
        bundles=bundles,
        api=found["api"].fill_null(value=False).to_numpy(),
        lookup=known.lookup,
        unknown_category=known.unknown_category,
        open=left.select("day", "basis", "bundle", "api", pl.col(QUANTILE_COLUMNS[1]).alias("p50")).sort(pl.all()),
        histories=histories,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What the answering bundles knew of [N] orders."""

    lookup: NDArray[np.float64]
    basis: NDArray[np.int8]
    unknown_category: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        orders: OrderColumns,
        vocabularies: Vocabularies,
        bundle: NDArray[np.int64],
        histories: list[History | None],
    ) -> _Known:
        size = len(orders)
        lookup = np.full(size, np.nan)
        basis = np.full(size, BASES.index("global"), np.int8)
        unknown = np.zeros(size, np.bool_)
        for code, history in enumerate(histories):
            rows = np.flatnonzero(bundle == code)
            if history is not None and len(rows):
                asked = recoded(orders.take(rows), vocabularies, history.vocabularies)
                lookup[rows] = history.lookup(asked)
                basis[rows] = history.basis_of(asked)
                unknown[rows] = (asked.city < 0) | (asked.type_of_food < 0)
        return cls(lookup, basis, unknown)


def recoded(orders: OrderColumns, mine: Vocabularies, theirs: Vocabularies) -> OrderColumns:
    """The orders with categories as other vocabularies code them."""
    return OrderColumns(
        orders.acknowledged_at,
        orders.restaurant_id,
        orders.order_value_gbp,
        orders.number_of_items,
        *(
            recode(getattr(orders, name), getattr(mine, name), getattr(theirs, name))
            for name in ("country", "city", "type_of_food")
        ),
    )
