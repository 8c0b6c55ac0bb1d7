"""References of drift: the daily distributions of the features that the models were trained on.

The reference covers the latest whole weeks of the training window. Bundles don't store it: the manifest names the
window, the data source has the orders, and `feature_matrix` is a function of both. As in training, each day uses the
history as of that day (D1).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.manifest import Manifest
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose
from preptime.features.feature_set import FeatureSet
from preptime.features.history import feature_matrix
from preptime.features.history_state import RECENT_DAYS, CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies, recode_orders
from preptime.features.shrinkage import build_history
from preptime.features.spec import local_day
from preptime.monitoring.document import DateRange
from preptime.monitoring.outcomes import batches_as_of, to_date, to_day_number
from preptime.sources.source import DataSource
from preptime.validation.audit import AuditedOrders, to_order_columns
from preptime.validation.custom_features import feature_column

MAX_BINS = 10
"""Deciles of the reference. For categories, the nine most frequent and the rest."""
DAYS_PER_WEEK = 7
MAX_WEEKS = 4
"""More weeks give a more sensitive test, but reach into other seasons."""
SKIPPED_DAYS = 7
"""The first days of the orders are skipped. With almost no history, all restaurants have the same features."""
MAX_ORDERS_PER_DAY = 20_000
"""An even sample of larger days. It estimates shares within 0.3 percentage points, less than days differ."""
MIN_ORDERS_PER_DAY = 30
"""With fewer orders, the shares of a day are mostly chance."""
MIN_DAYS = 2
"""With fewer days, the variation of days isn't known."""

NO_WHOLE_WEEK = "The training window of the models has no whole week to compare with."
"""Why there's no reference."""

_WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_INDICATOR_VALUES = ("present", "missing")
"""Names of the values 0 and 1."""
_COLUMNS = (
    "acknowledged_local",
    "restaurant_id",
    "order_value",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
)

BinLabel: TypeAlias = tuple[str, float | None, float | None]
"""A bin: its label, its lower end, and its upper end. None marks a missing end."""


@dataclass(frozen=True, slots=True)
class BinnedDays:
    """Daily shares of values in bins that are derived from all days."""

    edges: NDArray[np.float64] | None
    """For numbers, the edges between bins. None for categories."""
    bin_of_code: NDArray[np.intp] | None
    """For categories, the bin of each code. The last element is for unknown values, which have code -1."""
    labels: tuple[BinLabel, ...]
    shares: NDArray[np.float64]
    """[days, bins]"""
    median: float

    @classmethod
    def from_days(cls, days: Sequence[NDArray[np.floating]], categories: tuple[str, ...] | None = None) -> BinnedDays:
        """Return bins and shares of numbers, or of codes of `categories`. Every day must have a value."""
        all_values = np.concatenate(days)
        if categories is None:
            edges = _bin_edges(all_values)
            empty = cls(edges, None, _range_labels(edges), np.empty((0, len(edges) + 1)), float(np.median(all_values)))
        else:
            bin_of_code, labels = _category_bins(all_values, categories)
            empty = cls(None, bin_of_code, labels, np.empty((0, len(labels))), float(np.median(all_values)))
        return cls(empty.edges, empty.bin_of_code, empty.labels, empty.shares_of(days), empty.median)

    def shares_of(self, days: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
        """Return the shares of other days in these bins, [days, bins]. Every day must have a value."""
        return np.array(
            [np.bincount(self._bin_indices(values), minlength=len(self.labels)) / len(values) for values in days]
        )

    def _bin_indices(self, values: NDArray[np.floating]) -> NDArray[np.intp]:
        if self.bin_of_code is not None:
            return self.bin_of_code[values.astype(np.intp)]
        return np.searchsorted(np.empty(0) if self.edges is None else self.edges, values, side="right")


def _bin_edges(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the edges between deciles. A value that several deciles share has a bin of its own.

    Otherwise, its bin would hold most values and all larger ones, and a change among them would have no effect.
    """
    deciles = np.quantile(values, np.linspace(0, 1, MAX_BINS + 1)[1:-1]).astype(np.float64)
    edges, counts = np.unique(deciles, return_counts=True)
    return np.union1d(edges, [_next_larger(values, shared) for shared in edges[counts > 1]])


def _next_larger(values: NDArray[np.floating], value: np.float64) -> float:
    """Return the smallest of `values` that is larger than `value`, or the next larger number."""
    larger = values[values > value]
    return float(larger.min() if len(larger) else np.nextafter(value, np.inf))


def range_label(low: float | None, high: float | None) -> str:
    """Return the label of a range of numbers. For a single value, it's the value."""
    if low is None:
        return "all" if high is None else f"under {high:.4g}"
    if high is None:
        return f"{low:.4g} or more"
    return " to ".join(dict.fromkeys((f"{low:.4g}", f"{high:.4g}")))


def _range_labels(edges: NDArray[np.float64]) -> tuple[BinLabel, ...]:
    ends = [None, *(float(edge) for edge in edges), None]
    return tuple((range_label(low, high), low, high) for low, high in pairwise(ends))


def _category_bins(
    codes: NDArray[np.floating], categories: tuple[str, ...]
) -> tuple[NDArray[np.intp], tuple[BinLabel, ...]]:
    """Return the bin of each code, with the bin of unknown values last, and the labels of the bins."""
    counts = np.bincount(np.where(codes < 0, len(categories), codes).astype(np.intp), minlength=len(categories) + 1)
    most_frequent = sorted(np.argsort(-counts[:-1], kind="stable")[: MAX_BINS - 1].tolist())
    other_bin = len(most_frequent)
    bin_of_code = np.full(len(categories) + 1, other_bin, np.intp)
    bin_of_code[most_frequent] = np.arange(other_bin)
    return bin_of_code, (*((categories[code], None, None) for code in most_frequent), ("all others", None, None))


@dataclass(frozen=True)
class DriftReference:
    """The distributions of the features in the training data."""

    days: DateRange
    features: dict[str, BinnedDays]
    """Daily shares by feature name."""
    orders: int
    """The number of sampled orders, at most `MAX_ORDERS_PER_DAY` per day."""
    vocabularies: Vocabularies
    """The vocabularies of the category codes."""
    feature_set: FeatureSet
    history_is_filled: bool
    """Whether the history covered `RECENT_DAYS` on the first of these days. Before that, restaurant features change
    from week to week without drift."""


def reference_days(manifest: Manifest) -> DateRange | None:
    """Return the latest whole weeks of a training window without its first seven days, or None."""
    last = manifest.window.last_day
    usable_days = (last - manifest.window.first_day).days + 1 - SKIPPED_DAYS
    weeks = min(usable_days // DAYS_PER_WEEK, MAX_WEEKS)
    return DateRange(first=last - dt.timedelta(days=weeks * DAYS_PER_WEEK - 1), last=last) if weeks >= 1 else None


@dataclass
class ReferenceCache:
    """Caches references, for callers that monitor many dates."""

    _by_bundle: dict[str, DriftReference | str] = field(default_factory=dict)

    def get(self, manifest: Manifest, source: DataSource, restaurants: RestaurantIndex) -> DriftReference | str:
        """Return the reference of a trained bundle, or the reason why there is none."""
        if manifest.id not in self._by_bundle:
            days = reference_days(manifest)
            self._by_bundle[manifest.id] = (
                NO_WHOLE_WEEK if days is None else read_reference(manifest, days, source, restaurants)
            )
        return self._by_bundle[manifest.id]


def read_reference(
    manifest: Manifest, days: DateRange, source: DataSource, restaurants: RestaurantIndex
) -> DriftReference | str:
    """Return the distributions of the features on `days`, with the orders known when the bundle was trained.

    If the source lacks orders of the training window, return the reason why there is no reference. Makes one pass over
    the orders. Memory holds the state of the history and the orders of those days.
    """
    first, last = to_day_number(days.first), to_day_number(days.last)
    features = FeatureSet.from_schema(manifest.schema)
    restaurants = restaurants.with_custom_features(manifest.vocabularies, features)
    recoded_restaurants = restaurants.recoded(manifest.vocabularies)
    state = HistoryState.empty(len(restaurants), manifest.vocabularies.category_cells)
    completed_in_range, fitting_orders = list[CompletedOrders](), list[pl.DataFrame]()
    first_days = list[int]()
    for known in batches_as_of(source, restaurants, manifest.date):
        batch = known.audited
        completed = _completed_orders(batch, Purpose.HISTORY, restaurants)
        ready = local_day(completed.ready_at)
        state.add_orders(restaurants, completed.take(ready < first))
        completed_in_range.append(completed.take((ready >= first) & (ready < last)))
        fitting_orders.append(_fitting_orders(batch, features, first, last))
        first_days += _first_day(batch)
    if (reason := _incomplete_history(first_days, manifest)) is not None:
        return reason
    rows = pl.concat(fitting_orders).sort(pl.all())
    acknowledged = _acknowledged_day(rows)
    # Restaurants can be closed on a day. Its shares aren't known, so it isn't part of the reference.
    used_days = np.flatnonzero(np.bincount(acknowledged - first) >= MIN_ORDERS_PER_DAY) + first
    if len(used_days) < MIN_DAYS:
        return (
            f"The source has fewer than {MIN_DAYS} days with {MIN_ORDERS_PER_DAY} usable orders from {days.first} to "
            f"{days.last}, days of the training window, so the features in training aren't known."
        )
    daily_matrices = []
    for number in range(first, last + 1):
        if number in used_days:
            history = build_history(state, recoded_restaurants, to_date(number))
            of_day = rows.filter(pl.Series(acknowledged == number))
            orders = to_order_columns(of_day[evenly_spaced(len(of_day))], restaurants)
            daily_matrices.append(feature_matrix(recode_orders(orders, restaurants, recoded_restaurants), history))
        for part in completed_in_range:
            state.add_orders(restaurants, part.take(local_day(part.ready_at) == number))
    history_is_filled = (days.first - manifest.window.first_day).days >= RECENT_DAYS
    return DriftReference(
        days,
        _bin_features(daily_matrices, manifest.vocabularies, features),
        sum(map(len, daily_matrices)),
        manifest.vocabularies,
        features,
        history_is_filled,
    )


def _incomplete_history(first_days: list[int], manifest: Manifest) -> str | None:
    """Return why the source doesn't have the history of the training, or None.

    A history of later orders is smaller than in training, so restaurant features would differ without drift.
    """
    if not first_days:
        return "The source has no usable orders from before the training of the models."
    if (first_order := to_date(min(first_days))) > manifest.window.first_day:
        return (
            f"The orders of the source start on {first_order}, after the first day of the training window "
            f"({manifest.window.first_day}), so the features in training aren't known."
        )
    return None


def _bin_features(
    matrices: list[NDArray[np.float32]], vocabularies: Vocabularies, features: FeatureSet
) -> dict[str, BinnedDays]:
    categories = {"weekday": _WEEKDAY_NAMES, "city": vocabularies.city, "type_of_food": vocabularies.type_of_food}
    custom = zip(features.categories, vocabularies.custom, strict=True)
    categories |= {feature.name: values for feature, values in custom}
    categories |= dict.fromkeys(features.indicator_names, _INDICATOR_VALUES)
    return {
        feature.name: BinnedDays.from_days([matrix[:, index] for matrix in matrices], categories.get(feature.name))
        for index, feature in enumerate(features.features)
    }


def evenly_spaced(size: int) -> NDArray[np.intp]:
    """Return evenly spaced indices of at most `MAX_ORDERS_PER_DAY` of `size` rows."""
    if size <= MAX_ORDERS_PER_DAY:
        return np.arange(size)
    return np.linspace(0, size - 1, MAX_ORDERS_PER_DAY).astype(np.intp)


def _completed_orders(batch: AuditedOrders, purpose: Purpose, restaurants: RestaurantIndex) -> CompletedOrders:
    frame = batch.frame.filter(pl.Series(batch.usable_for(purpose)))
    ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
    return CompletedOrders(
        to_order_columns(frame, restaurants), ready, frame["prep_time_seconds"].cast(pl.Int64).to_numpy()
    )


def _acknowledged_day(frame: pl.DataFrame) -> NDArray[np.int64]:
    return local_day(frame["acknowledged_local"].to_physical().to_numpy() // MICROSECONDS)


def _first_day(batch: AuditedOrders) -> list[int]:
    """Return the day of the first order that training can use, or an empty list."""
    purposes = (Purpose.FITTING, Purpose.HISTORY, Purpose.EVALUATION)
    is_usable = np.logical_or.reduce([batch.usable_for(purpose) for purpose in purposes])
    return [int(_acknowledged_day(batch.frame.filter(pl.Series(is_usable))).min())] if is_usable.any() else []


def _fitting_orders(batch: AuditedOrders, features: FeatureSet, first: int, last: int) -> pl.DataFrame:
    """Return the orders of those days that models are fitted on."""
    custom = [feature_column(feature) for feature in features.custom if feature_column(feature) in batch.frame.columns]
    frame = batch.frame.select(*_COLUMNS, *custom).filter(pl.Series(batch.usable_for(Purpose.FITTING)))
    acknowledged = _acknowledged_day(frame)
    return frame.filter(pl.Series((acknowledged >= first) & (acknowledged <= last)))
