"""Predictions and outcomes, joined by order key."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.manifest import Manifest
from preptime.domain.orders import QUANTILE_LEVELS, OrderColumns
from preptime.evaluation.segments import SegmentColumns
from preptime.evaluation.waiting_cost import LOOKUP_LEVELS
from preptime.features.history import History
from preptime.features.restaurant_index import RestaurantIndex, recode_orders
from preptime.monitoring.bundles import BundleSource
from preptime.monitoring.outcomes import Outcomes
from preptime.monitoring.recorded_predictions import (
    NO_FALLBACK_LEVEL,
    QUANTILE_COLUMNS,
    UniquePredictions,
    bundle_codes,
)

NO_BUNDLE = -1


@dataclass(frozen=True)
class JoinedOrders:
    """N outcomes in the order of `outcomes`, with their predictions if any, and predictions without an outcome."""

    restaurants: RestaurantIndex
    outcomes: Outcomes
    has_prediction: NDArray[np.bool_]
    """[N] which orders have a prediction."""
    quantiles: NDArray[np.float64]
    """[N, 4] seconds in the order of `QUANTILE_LEVELS`. NaN marks a missing value."""
    fallback_level: NDArray[np.int8]
    """[N] indices into `FALLBACK_LEVELS`. If the prediction has none, it's computed from the bundle's history.
    `NO_FALLBACK_LEVEL` if that bundle was pruned, and without a prediction."""
    bundle_code: NDArray[np.int64]
    """[N] indices into `bundle_ids`, or `NO_BUNDLE` without a prediction."""
    bundle_ids: tuple[str, ...]
    from_api: NDArray[np.bool_]
    """[N] whether the prediction is from the API."""
    lookup_quantiles: NDArray[np.float32]
    """[N, 5] seconds: the quantiles of the restaurant in the history of the bundle behind the prediction, at the levels
    of `History.lookup_quantiles`. NaN if the bundle was pruned."""
    unknown_category: NDArray[np.bool_]
    """[N] whether the bundle didn't know the order's city or type of food."""
    without_outcome: pl.DataFrame
    """Predictions without an outcome: `day`, `fallback_level`, `bundle`, `api`, `p50`."""
    histories: dict[str, History]
    """Histories of the bundles behind the predictions, except pruned ones."""

    def __len__(self) -> int:
        return len(self.outcomes)

    @cached_property
    def evaluated(self) -> NDArray[np.bool_]:
        """Which orders have a prediction and an evaluable outcome, [N]."""
        return self.has_prediction & self.outcomes.is_evaluable

    @property
    def actual(self) -> NDArray[np.float64]:
        """Labels, [N] seconds."""
        return self.outcomes.completed.prep_time_seconds.astype(np.float64)

    @property
    def predicted(self) -> NDArray[np.float64]:
        """Default predictions, [N] seconds."""
        return self.quantiles[:, QUANTILE_LEVELS.index(0.5)]

    @property
    def lookup(self) -> NDArray[np.float64]:
        """The restaurant lookup of the bundle behind the prediction, [N] seconds. NaN if the bundle was pruned."""
        return self.lookup_quantiles[:, LOOKUP_LEVELS.index(0.5)].astype(np.float64)

    def global_quantiles(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the quantiles of all orders in the history of the bundle behind each prediction, [rows, 5] seconds."""
        by_bundle = np.full((len(self.bundle_ids) + 1, len(LOOKUP_LEVELS)), np.nan, np.float32)
        for code, bundle_id in enumerate(self.bundle_ids):
            if (history := self.histories.get(bundle_id)) is not None:
                by_bundle[code] = history.global_quantiles
        return by_bundle[self.bundle_code[rows]]  # NO_BUNDLE is -1, which selects the last row

    @property
    def orders(self) -> OrderColumns:
        """Orders with the category codes of the restaurants file, [N]."""
        return self.outcomes.completed.orders

    @cached_property
    def segment_columns(self) -> SegmentColumns:
        """Columns that define segments, [N]. A negative fallback level isn't known, so it has no segment."""
        return SegmentColumns.from_orders(self.orders, self.restaurants.vocabularies, self.fallback_level)


def join(
    outcomes: Outcomes, predictions: UniquePredictions, restaurants: RestaurantIndex, bundle_source: BundleSource
) -> JoinedOrders:
    """Return every outcome with its prediction, and the predictions without an outcome."""
    codes, bundle_ids = bundle_codes(predictions.frame)
    frame = predictions.frame.with_columns(code=pl.Series(codes, dtype=pl.Int64))
    rows = pl.DataFrame({"key": outcomes.key_hash}).with_row_index("row")
    matched = rows.join(frame.drop("day"), on="key", how="left", maintain_order="left")
    has_prediction = matched["code"].is_not_null().to_numpy()
    bundle_code = matched["code"].fill_null(NO_BUNDLE).to_numpy()
    histories = {
        bundle_id: history for bundle_id in bundle_ids if (history := bundle_source.history(bundle_id)) is not None
    }
    lookups = _HistoryLookups.from_histories(
        outcomes.completed.orders,
        restaurants,
        bundle_code,
        [histories.get(bundle_id) for bundle_id in bundle_ids],
    )
    fallback_level = matched["fallback_level"].fill_null(NO_FALLBACK_LEVEL).to_numpy()
    unmatched = frame.join(rows, on="key", how="anti")
    return JoinedOrders(
        restaurants=restaurants,
        outcomes=outcomes,
        has_prediction=has_prediction,
        quantiles=np.column_stack([matched[name].fill_null(np.nan).to_numpy() for name in QUANTILE_COLUMNS]),
        fallback_level=np.where(fallback_level == NO_FALLBACK_LEVEL, lookups.fallback_level, fallback_level).astype(
            np.int8
        ),
        bundle_code=bundle_code,
        bundle_ids=bundle_ids,
        from_api=matched["api"].fill_null(value=False).to_numpy(),
        lookup_quantiles=lookups.quantiles,
        unknown_category=lookups.unknown_category,
        without_outcome=unmatched.select(
            "day", "fallback_level", "bundle", "api", pl.col(QUANTILE_COLUMNS[1]).alias("p50")
        ).sort(pl.all()),
        histories=histories,
    )


@dataclass(frozen=True, slots=True)
class _HistoryLookups:
    """Lookups of N orders in the histories of the bundles behind their predictions."""

    quantiles: NDArray[np.float32]
    fallback_level: NDArray[np.int8]
    unknown_category: NDArray[np.bool_]

    @classmethod
    def from_histories(
        cls,
        orders: OrderColumns,
        restaurants: RestaurantIndex,
        bundle_code: NDArray[np.int64],
        histories: list[History | None],
    ) -> _HistoryLookups:
        size = len(orders)
        quantiles = np.full((size, len(LOOKUP_LEVELS)), np.nan, np.float32)
        fallback_level = np.full(size, NO_FALLBACK_LEVEL, np.int8)
        unknown_category = np.zeros(size, np.bool_)
        for code, history in enumerate(histories):
            rows = np.flatnonzero(bundle_code == code)
            if history is not None and len(rows):
                bundle_orders = recode_orders(orders.take(rows), restaurants, history.restaurants)
                quantiles[rows] = history.lookup_quantiles(bundle_orders)
                fallback_level[rows] = history.fallback_level_for(bundle_orders)
                unknown_category[rows] = (bundle_orders.city < 0) | (bundle_orders.type_of_food < 0)
        return cls(quantiles, fallback_level, unknown_category)


def training_behind_predictions(joined: JoinedOrders, bundle_source: BundleSource, date: dt.date) -> Manifest | None:
    """Return the manifest of the training run behind most predictions of the latest day.

    Without predictions, return that of the champion as of `date`, if there is one.
    """
    bundle = bundle_source.champion_as_of(date)
    has_prediction = joined.has_prediction
    if has_prediction.any():
        latest = has_prediction & (joined.outcomes.day == joined.outcomes.day[has_prediction].max())
        bundle = joined.bundle_ids[int(np.bincount(joined.bundle_code[latest]).argmax())]
    manifest = None if bundle is None else bundle_source.manifest(bundle)
    if manifest is None or manifest.parent is None:
        return manifest
    # A refresh has the window and the metrics of its parent, so it replaces a pruned parent.
    return bundle_source.manifest(manifest.parent) or manifest
