"""Synthetic months with daily predictions, as inputs of monitoring.

One part is simplified: the predictions are those of the restaurant lookup (its shrunken quantiles in the history of the
day) and not of trained models, so that a month takes a second. Everything else is as in production: synthetic orders
with invalid rows, partitions as `score --date` writes them, a history for every day, the order key, and `monitor`
itself, day by day, on the orders that were known.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.manifest import (
    JsonObject,
    Manifest,
    ManifestDraft,
    TrainingWindow,
    compute_bundle_id,
    to_json_object,
)
from preptime.domain.orders import FALLBACK_LEVELS, OrderColumns
from preptime.domain.validation_reasons import Purpose
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders, build_backtest_document
from preptime.evaluation.segments import SegmentColumns
from preptime.features.history import History
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import build_history
from preptime.features.spec import HISTORY_FEATURES, local_day
from preptime.monitoring.document import Alert
from preptime.monitoring.monitor import MonitoringInputs, monitor_day
from preptime.monitoring.outcomes import to_day_number
from preptime.monitoring.recorded_predictions import QUANTILE_COLUMNS
from preptime.monitoring.reference import ReferenceCache
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder
from preptime.sources.source import DataSource
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.training_data import with_category_values
from preptime.validation.audit import audit_orders, to_order_columns
from preptime.validation.duplicates import order_keys
from preptime.validation.restaurants import read_restaurants

ONE_DAY = dt.timedelta(days=1)
TRAINED_DAYS = 14
"""Days of orders before the first predictions."""
_NAMES = [feature.name for feature in HISTORY_FEATURES]
_P10, _P50, _P75, _P90 = (_NAMES.index(f"restaurant_p{level}_seconds") for level in (10, 50, 75, 90))


@dataclass(frozen=True)
class FrameSource:
    """A data source in memory."""

    rows: pl.DataFrame
    name: str = "orders"
    schema: Schema = TAKE_HOME_SCHEMA

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns."""
        return tuple(self.rows.columns)

    def frame(self) -> pl.DataFrame:
        """Return all rows."""
        return self.rows

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield chunks of rows."""
        yield from self.rows.iter_slices(rows)

    def partitions(self) -> tuple[DataSource, ...]:
        """Return this source as the only partition."""
        return (self,)


class SyntheticBundles:
    """The bundles of a month without their models: one training run, and a refresh of it for each day."""

    def __init__(self) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.histories: dict[str, History] = {}

    def champion_as_of(self, date: dt.date) -> str | None:
        """Return the latest bundle of that date or before."""
        return max((manifest.id for manifest in self.manifests.values() if manifest.date <= date), default=None)

    def manifest(self, bundle: str) -> Manifest | None:
        """Return the manifest."""
        return self.manifests.get(bundle)

    def history(self, bundle: str) -> History | None:
        """Return the history."""
        return self.histories.get(bundle)

    def add(
        self, history: History, window: TrainingWindow, metrics: JsonObject, schema: Schema = TAKE_HOME_SCHEMA
    ) -> str:
        """Add a bundle with that history, and return its ID."""
        parent = min(self.manifests, default=None)
        draft = ManifestDraft(
            kind="training" if parent is None else "refresh",
            date=dt.date.fromisoformat(history.date),
            parent=parent,
            schema=schema,
            window=window,
            models=("quantile",),
            calibration={},
            data_fingerprint="synthetic",
            metrics=metrics,
            libraries={},
        )
        without_id = Manifest(
            **{name: getattr(draft, name) for name in ManifestDraft.__struct_fields__},
            id="",
            features=(),
            vocabularies=history.vocabularies,
            arrays={},
            files={},
        )
        bundle = compute_bundle_id(without_id)
        self.manifests[bundle] = Manifest(
            **{name: getattr(without_id, name) for name in Manifest.__struct_fields__ if name != "id"}, id=bundle
        )
        self.histories[bundle] = history
        return bundle


@dataclass(frozen=True)
class Month:
    """Orders, with predictions from `first_predicted`."""

    orders: pl.DataFrame
    ready_day: NDArray[np.int64]
    """[N] local day of each order's ready time, or a day far in the future."""
    acknowledged_day: NDArray[np.int64]
    restaurants: RestaurantIndex
    bundles: SyntheticBundles
    results: ResultsFolder
    start: dt.date
    first_predicted: dt.date
    last: dt.date
    """The last day with orders."""
    schema: Schema = TAKE_HOME_SCHEMA

    def known_orders(self, date: dt.date) -> FrameSource:
        """Return the orders that are known as of `date`."""
        return FrameSource(self.orders.filter(pl.Series(self.ready_day < to_day_number(date))), schema=self.schema)

    def inputs(self, date: dt.date) -> MonitoringInputs:
        """Return the inputs of monitoring as of `date`."""
        return MonitoringInputs(self.known_orders(date), self.restaurants, self.results, self.bundles)


def make_month(
    plan: SynthesisPlan,
    root: Path,
    *,
    trained_days: int = TRAINED_DAYS,
    slower: tuple[int, float] | None = None,
    add_columns: Callable[[pl.DataFrame], pl.DataFrame] = lambda orders: orders,
    schema: Schema = TAKE_HOME_SCHEMA,
) -> Month:
    """Return a synthetic month with predictions for each day after `trained_days`.

    With `slower` (day counted from 1, factor), predictions from that day are divided by the factor. `add_columns` adds
    the custom features of `schema` to the orders.
    """
    synthetic_orders, restaurant_rows, _ = synthesize_frames(plan)
    orders = add_columns(synthetic_orders)
    listed = read_restaurants(restaurant_rows, schema)
    audited = audit_orders(orders, listed, need_label=True, schema=schema)
    frame = audited.frame
    restaurants = with_category_values(listed, frame)
    start = to_day_number(plan.start)
    acknowledged = frame["acknowledged_local"].dt.epoch("d").to_numpy()
    ready = frame["ready_local"].dt.epoch("d").fill_null(2**30).to_numpy()
    keys = order_keys(frame)
    columns = to_order_columns(frame, restaurants)
    in_history = audited.usable_for(Purpose.HISTORY)
    completed = CompletedOrders(
        columns,
        columns.acknowledged_at + frame["prep_time_seconds"].fill_null(0).to_numpy(),
        frame["prep_time_seconds"].fill_null(0).cast(pl.Int64).to_numpy(),
    )
    state = HistoryState.from_orders(restaurants, completed.take(in_history & (ready < start + trained_days)))
    results, bundles = ResultsFolder(root), SyntheticBundles()
    through = plan.start + (trained_days - 1) * ONE_DAY
    window = TrainingWindow(first_day=plan.start, last_day=through, fitted_through=through)
    metrics: JsonObject = {}
    for offset in range(trained_days, plan.days):
        number = start + offset
        date = plan.start + offset * ONE_DAY
        history = build_history(state, restaurants, date)
        on_day = acknowledged == number
        orders_on_day = columns.take(on_day)
        quantiles = _quantiles(history.rows[history.row_index(orders_on_day)])
        if slower is not None and offset + 1 >= slower[0]:
            quantiles = (quantiles / slower[1]).astype(np.float32)
        if not metrics:
            metrics = _backtest(orders_on_day, completed.prep_time_seconds[on_day], quantiles, history, date)
        bundle = bundles.add(history, window, metrics, schema)
        day_keys = keys.filter(pl.Series(on_day))
        fallback_level = history.fallback_level_for(orders_on_day)
        write_partition(results, date, _partition(day_keys, quantiles, fallback_level, bundle))
        state.add_orders(restaurants, completed.take(in_history & (ready == number)))
    first = plan.start + trained_days * ONE_DAY
    last = plan.start + (plan.days - 1) * ONE_DAY
    return Month(orders, ready, acknowledged, listed, bundles, results, plan.start, first, last, schema)


@dataclass(frozen=True, slots=True)
class MonthTask:
    """A month to create and to monitor as of each day in a range. Days are counted from 1."""

    plan: SynthesisPlan
    first_day: int
    last_day: int
    trained_days: int = TRAINED_DAYS
    slower: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class MonthResult:
    """The alerts and statistics of a month."""

    seed: int
    alerts: dict[int, tuple[Alert, ...]]
    """By as-of day, for days with alerts."""
    largest: dict[str, float]
    """By rule, the value closest to its threshold, or beyond it."""
    evaluated: int
    """Evaluated orders on the last day."""


def monitor_month(task: MonthTask) -> MonthResult:
    """Create and monitor a month in a temporary folder. Runs in a process pool."""
    alerts = dict[int, tuple[Alert, ...]]()
    largest = dict[str, float]()
    references, evaluated = ReferenceCache(), 0
    with tempfile.TemporaryDirectory() as folder:
        month = make_month(task.plan, Path(folder), trained_days=task.trained_days, slower=task.slower)
        for day in range(task.first_day, task.last_day + 1):
            date = month.start + (day - 1) * ONE_DAY
            document = monitor_day(replace(month.inputs(date), references=references), date)
            if document.alerts:
                alerts[day] = document.alerts
            for rule in document.rules:
                if rule.observed is not None:
                    closest = min if rule.name == "volume_low" else max
                    largest[rule.name] = closest(largest.get(rule.name, rule.observed), rule.observed)
            evaluated = document.metrics.n
    return MonthResult(task.plan.seed, alerts, largest, evaluated)


def monitor_months(tasks: Sequence[MonthTask], processes: int = 2) -> list[MonthResult]:
    """Return the results of all tasks, computed in separate processes."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(monitor_month, tasks))


def _quantiles(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return p10, p50, p80, p90 of the restaurant, [N, 4]. The lookup has no p80, so it's interpolated."""
    p75, p90 = rows[:, _P75], rows[:, _P90]
    return np.column_stack([rows[:, _P10], rows[:, _P50], p75 + (p90 - p75) / 3, p90])


def _backtest(
    orders: OrderColumns, label: NDArray[np.int64], quantiles: NDArray[np.float32], history: History, date: dt.date
) -> JsonObject:
    actual = label.astype(np.float64)
    evaluated = EvaluatedOrders(
        actual=actual,
        day=local_day(orders.acknowledged_at),
        up_to_3h=actual <= 10_800,
        within_label_limit=actual <= 3_000,
        point_predictions={},
        quantiles=quantiles,
        baseline_predictions={
            LOOKUP: history.lookup(orders).astype(np.float64),
            GLOBAL_MEDIAN: np.full(len(actual), float(history.global_median_seconds)),
        },
        lookup_quantiles=history.lookup_quantiles(orders),
        global_quantiles=np.tile(history.global_quantiles, (len(actual), 1)),
        segment_columns=SegmentColumns.from_orders(orders, history.vocabularies, history.fallback_level_for(orders)),
    )
    return to_json_object(build_backtest_document(evaluated, date.isoformat(), date.isoformat()))


def _partition(
    keys: pl.Series, quantiles: NDArray[np.float32], fallback_level: NDArray[np.int8], bundle: str
) -> pl.DataFrame:
    """Return the columns of a partition that monitoring reads."""
    return pl.DataFrame(
        {
            "order_key": keys,
            **{name: quantiles[:, index] for index, name in enumerate(QUANTILE_COLUMNS)},
            "prediction_fallback_level": pl.Series(FALLBACK_LEVELS, dtype=pl.String).gather(
                fallback_level.astype(np.uint32)
            ),
        }
    ).with_columns(prediction_bundle=pl.lit(bundle))


def write_partition(results: ResultsFolder, date: dt.date, frame: pl.DataFrame) -> None:
    """Write a partition to the path that `score --date` uses."""
    path = results.path(date, PREDICTIONS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
