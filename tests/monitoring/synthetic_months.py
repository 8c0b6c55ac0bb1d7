"""Synthetic months that are answered every morning, for monitoring to look at.

What is simplified, and why: the answers are those of the restaurant lookup (its shrunken quantiles on that morning's
history), not of trained models, so that a month is made in a second. Everything else is as in production: the
synthesizer's orders with their dirt, partitions as `score --date` writes them, a history for every morning, the order
key, and `monitor` itself, morning by morning, on a table that holds what was known.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Sequence
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
from preptime.features.history import History, build_history
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import HISTORY_FEATURES
from preptime.monitoring.document import Alert
from preptime.monitoring.monitor import MonitoringInputs, monitor_day
from preptime.monitoring.outcomes import to_day_number
from preptime.monitoring.recorded_predictions import QUANTILE_COLUMNS
from preptime.monitoring.reference import ReferenceCache
from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder
from preptime.sources.source import DataSource
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.validation.audit import audit_orders, to_order_columns
from preptime.validation.duplicates import order_keys
from preptime.validation.restaurants import read_restaurants

ONE_DAY = dt.timedelta(days=1)
TRAINED_DAYS = 14
"""Days of orders before the first answers."""
_NAMES = [feature.name for feature in HISTORY_FEATURES]
_P10, _P50, _P75, _P90 = (_NAMES.index(f"restaurant_p{level}_seconds") for level in (10, 50, 75, 90))


@dataclass(frozen=True)
class Frame:
    """A table in memory."""

    rows: pl.DataFrame
    name: str = "orders"

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's own columns."""
        return tuple(self.rows.columns)

    def frame(self) -> pl.DataFrame:
        """All rows."""
        return self.rows

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """In chunks."""
        yield from self.rows.iter_slices(rows)

    def partitions(self) -> tuple[DataSource, ...]:
        """Itself."""
        return (self,)


class Mornings:
    """The bundles of a month, without their graphs: one trained, and a refresh of it each morning."""

    def __init__(self) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.histories: dict[str, History] = {}

    def champion_as_of(self, date: dt.date) -> str | None:
        """The latest of that date or before."""
        return max((one.id for one in self.manifests.values() if one.date <= date), default=None)

    def manifest(self, bundle: str) -> Manifest | None:
        """What it says of itself."""
        return self.manifests.get(bundle)

    def history(self, bundle: str) -> History | None:
        """What it knew."""
        return self.histories.get(bundle)

    def add(self, history: History, window: TrainingWindow, metrics: JsonObject) -> str:
        """One more, of the history's morning."""
        parent = min(self.manifests, default=None)
        draft = ManifestDraft(
            kind="training" if parent is None else "refresh",
            date=dt.date.fromisoformat(history.date),
            parent=parent,
            window=window,
            models=("quantile",),
            calibration={},
            data_fingerprint="synthetic",
            metrics=metrics,
            libraries={},
        )
        blank = Manifest(
            **{name: getattr(draft, name) for name in ManifestDraft.__struct_fields__},
            id="",
            features=(),
            vocabularies=history.vocabularies,
            arrays={},
            files={},
        )
        bundle = compute_bundle_id(blank)
        self.manifests[bundle] = Manifest(
            **{name: getattr(blank, name) for name in Manifest.__struct_fields__ if name != "id"}, id=bundle
        )
        self.histories[bundle] = history
        return bundle


@dataclass(frozen=True)
class Month:
    """Orders, and answers to those from `first_answer` on."""

    orders: pl.DataFrame
    ready_day: NDArray[np.int64]
    """[N] of the orders; far ahead where it is never."""
    acknowledged_day: NDArray[np.int64]
    directory: RestaurantIndex
    mornings: Mornings
    results: ResultsFolder
    start: dt.date
    first_answer: dt.date
    last: dt.date
    """The last day with orders."""

    def known(self, date: dt.date) -> Frame:
        """The orders as the table holds them on the morning of `date`."""
        return Frame(self.orders.filter(pl.Series(self.ready_day < to_day_number(date))))

    def watch(self, date: dt.date) -> MonitoringInputs:
        """What `monitor` is given on that morning."""
        return MonitoringInputs(self.known(date), self.directory, self.results, self.mornings)


def make_month(
    plan: SynthesisPlan, root: Path, *, trained_days: int = TRAINED_DAYS, slower: tuple[int, float] | None = None
) -> Month:
    """Draw a month, answer it morning by morning from the day after `trained_days`.

    With `slower` (day counted from 1, factor) the models go wrong from then on: their answers are divided by the
    factor.
    """
    orders, restaurants, _ = synthesize_frames(plan)
    directory = read_restaurants(restaurants)
    audited = audit_orders(orders, directory, need_label=True)
    frame = audited.frame
    start = to_day_number(plan.start)
    acknowledged = frame["acknowledged_local"].dt.epoch("d").to_numpy()
    ready = frame["ready_local"].dt.epoch("d").fill_null(2**30).to_numpy()
    keys = order_keys(orders, frame)
    columns = to_order_columns(frame)
    counted = audited.usable_for(Purpose.HISTORY)
    completed = CompletedOrders(
        columns,
        columns.acknowledged_at + frame["prep_time_seconds"].fill_null(0).to_numpy(),
        frame["prep_time_seconds"].fill_null(0).cast(pl.Int64).to_numpy(),
    )
    state = HistoryState.from_orders(directory, completed.take(counted & (ready < start + trained_days)))
    results, mornings = ResultsFolder(root), Mornings()
    through = plan.start + (trained_days - 1) * ONE_DAY
    window = TrainingWindow(first_day=plan.start, last_day=through, fitted_through=through, gate_days=0)
    metrics: JsonObject = {}
    for place in range(trained_days, plan.days):
        number = start + place
        date = plan.start + place * ONE_DAY
        history = build_history(state, directory, date)
        mine = acknowledged == number
        asked = columns.take(mine)
        quantiles = _quantiles(history.rows[history.row_index(asked)])
        if slower is not None and place + 1 >= slower[0]:
            quantiles = (quantiles / slower[1]).astype(np.float32)
        if not metrics:
            metrics = _backtest(asked, completed.prep_time_seconds[mine], quantiles, history, date)
        bundle = mornings.add(history, window, metrics)
        asked_keys = keys.filter(pl.Series(mine))
        write_partition(results, date, _partition(asked_keys, quantiles, history.fallback_level_for(asked), bundle))
        state.add_orders(directory, completed.take(counted & (ready == number)))
    first = plan.start + trained_days * ONE_DAY
    last = plan.start + (plan.days - 1) * ONE_DAY
    return Month(orders, ready, acknowledged, directory, mornings, results, plan.start, first, last)


@dataclass(frozen=True, slots=True)
class Task:
    """A month to be made and looked at, from one morning to another (days of the month, counted from 1)."""

    plan: SynthesisPlan
    first_morning: int
    last_morning: int
    trained_days: int = TRAINED_DAYS
    slower: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a month's mornings said."""

    seed: int
    alerts: dict[int, tuple[Alert, ...]]
    """By morning, those with one."""
    largest: dict[str, float]
    """By rule, the value that came nearest to its threshold, or went beyond it."""
    evaluated: int
    """Orders behind the last morning's figures."""


def look(task: Task) -> Seen:
    """Make the month in a folder of its own and look at it; for a process pool too."""
    alerts = dict[int, tuple[Alert, ...]]()
    largest = dict[str, float]()
    references, evaluated = ReferenceCache(), 0
    with tempfile.TemporaryDirectory() as folder:
        month = make_month(task.plan, Path(folder), trained_days=task.trained_days, slower=task.slower)
        for morning in range(task.first_morning, task.last_morning + 1):
            date = month.start + (morning - 1) * ONE_DAY
            document = monitor_day(replace(month.watch(date), references=references), date)
            if document.alerts:
                alerts[morning] = document.alerts
            for rule in document.rules:
                if rule.observed is not None:
                    nearer = min if rule.name == "volume_low" else max
                    largest[rule.name] = nearer(largest.get(rule.name, rule.observed), rule.observed)
            evaluated = document.metrics.n
    return Seen(task.plan.seed, alerts, largest, evaluated)


def look_at_all(tasks: Sequence[Task], processes: int = 2) -> list[Seen]:
    """Side by side, in processes that share nothing."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(look, tasks))


def _quantiles(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, 4] p10, p50, p80, p90 of the restaurant; the lookup keeps no p80."""
    p75, p90 = rows[:, _P75], rows[:, _P90]
    return np.column_stack([rows[:, _P10], rows[:, _P50], p75 + (p90 - p75) / 3, p90])


def _backtest(
    asked: OrderColumns, label: NDArray[np.int64], quantiles: NDArray[np.float32], history: History, date: dt.date
) -> JsonObject:
    actual = label.astype(np.float64)
    evaluated = EvaluatedOrders(
        actual=actual,
        up_to_3h=actual <= 10_800,
        within_label_limit=actual <= 3_000,
        point_predictions={},
        quantiles=quantiles,
        baseline_predictions={
            LOOKUP: history.lookup(asked).astype(np.float64),
            GLOBAL_MEDIAN: np.full(len(actual), float(history.global_median_seconds)),
        },
        segment_columns=SegmentColumns.from_orders(asked, history.vocabularies, history.fallback_level_for(asked)),
    )
    return to_json_object(build_backtest_document(evaluated, date.isoformat(), date.isoformat()))


def _partition(keys: pl.Series, quantiles: NDArray[np.float32], basis: NDArray[np.int8], bundle: str) -> pl.DataFrame:
    """The columns of a partition that monitoring reads."""
    return pl.DataFrame(
        {
            "order_key": keys,
            **{name: quantiles[:, place] for place, name in enumerate(QUANTILE_COLUMNS)},
            "prediction_fallback_level": pl.Series(FALLBACK_LEVELS, dtype=pl.String).gather(basis.astype(np.uint32)),
        }
    ).with_columns(prediction_bundle=pl.lit(bundle))


def write_partition(results: ResultsFolder, date: dt.date, frame: pl.DataFrame) -> None:
    """Put a partition where `score --date` does."""
    path = results.path(date, PREDICTIONS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
