"""Training, backtests, and the feature matrix in Python."""

from __future__ import annotations

import datetime as dt
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.domain.timestamps import MICROSECONDS
from preptime.errors import UsageError
from preptime.features.feature_set import FeatureSet
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback
from preptime.python_api.bundles import LoadedBundle
from preptime.python_api.dataframes import from_polars, take_rows
from preptime.python_api.datasets import Dataset, RowsInput, SchemaInput, find_schema_of, is_location, kind_of
from preptime.python_api.defaults import (
    current_user,
    in_python,
    python_errors,
    to_date,
    to_model_names,
    to_threads,
    to_thresholds,
    to_whole_number,
    tracking_settings,
    utc_now,
)
from preptime.python_api.evaluations import Evaluation, evaluate_backtest
from preptime.python_api.progress_bars import Progress, progress_bars
from preptime.python_api.stores import BundleStore, open_store, temporary_store
from preptime.schema.schema import Schema
from preptime.sources.data_versions import find_revisions
from preptime.tracking.runs import tracked_run
from preptime.training import backtest as backtesting
from preptime.training import train as trainings
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import FitPlan, fitted_rows
from preptime.training.publishing import AuditActor
from preptime.training.training_data import ONE_DAY, TrainingData, rows_as_of
from preptime.validation.data_gate import GateThresholds, thresholds_from_settings

if TYPE_CHECKING:
    from preptime.validation.audit import AuditedOrders


class TrainingResult:
    """A trained bundle, and the decision about its promotion."""

    def __init__(self, document: trainings.TrainDocument, store: BundleStore, notes: tuple[str, ...] = ()) -> None:
        self.document = document
        """All values, as in the output of `preptime train --json`."""
        self.notes = notes
        """Sentences about restaurants that were left out or changed, and about checks of the data gate."""
        self.store = store
        """The store of the bundle."""
        self.bundle: LoadedBundle = store.load(document.bundle)
        """The bundle, which predicts."""

    @property
    def promoted(self) -> bool:
        """Whether the bundle is the new champion."""
        return self.document.outcome == "promoted"

    @property
    def outcome(self) -> str:
        """`promoted`, `refreshed`, `kept`, or `unchanged` (docs/daily-run.md)."""
        return self.document.outcome

    @property
    def reason(self) -> str:
        """The reason of the decision."""
        return in_python(self.document.reason)

    @property
    def champion(self) -> str | None:
        """The ID of the champion as of the date, after this training."""
        return self.document.champion

    @property
    def evaluation(self) -> Evaluation:
        """The metrics on the days of the gate. Raises `UsageError` after a training with `quick=True`."""
        return self.bundle.evaluation

    @property
    def conditions(self) -> Any:
        """The conditions for a promotion as a frame: rule, result, and whether it's met. Empty without the gate."""
        checks = () if self.document.comparison is None else self.document.comparison.checks
        schema = {"rule": pl.String, "result": pl.String, "passed": pl.Boolean}
        rows = [{"rule": check.rule, "result": in_python(check.result), "passed": check.passed} for check in checks]
        return from_polars(pl.DataFrame(rows, schema=schema), self.store.kind)

    def __repr__(self) -> str:
        lines = [f"Bundle {self.document.bundle}: {self.outcome}. {self.reason}"]
        if self.document.evaluation is not None:
            lines.append(repr(self.evaluation))
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        metrics = "" if self.document.evaluation is None else self.evaluation._repr_html_()
        sentences = [f"Bundle {self.document.bundle}: {self.outcome}. {self.reason}", *self.notes]
        return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences) + metrics


@python_errors()
def train(
    orders: RowsInput,
    restaurants: RowsInput | None = None,
    *,
    date: dt.date | str | None = None,
    store: str | os.PathLike[str] | BundleStore | None = None,
    schema: SchemaInput = None,
    models: Sequence[str] | None = None,
    promote: bool = True,
    quick: bool = False,
    thresholds: Mapping[str, float] | None = None,
    threads: int | None = None,
    progress: Progress = None,
) -> TrainingResult:
    """Train models as of a date, as `preptime train` does, and promote them in the store if they're better.

    Args:
        orders: Completed orders: a pandas frame, a Polars frame, a path, or a URL. Datetimes without a time zone are
            local times of the restaurant, unless the schema has a time zone for the column.
        restaurants: Restaurants. Default: derived from the orders.
        date: Only events before local midnight of this date are used. Default: the day after the last order.
        store: Address of the store for the bundle, or the result of `open_store`. Default: a temporary store.
        schema: The schema of the columns: a path, or the result of `read_schema` or `infer_schema`. Default:
            `PREPTIME_SCHEMA`, or `schema.toml` in the working directory, or the built-in schema.
        models: The models to train, besides `quantile`. Default: all, with the custom models of the schema.
        promote: False only stores the bundle.
        quick: Train without the gate, in less than half the time. The bundle has no metrics and is never promoted.
        thresholds: Other thresholds of the data gate by name, such as `{"min_days": 5}` (docs/daily-run.md).
        threads: The number of cores to train on. Default: all.
        progress: Show progress bars. Default: in a notebook or a terminal. Or a function of a stage and its fraction.

    Returns:
        The result, with the bundle in `bundle`.

    Raises:
        DataError: The data gate failed, or the orders aren't enough. Nothing is written.
        UsageError: An argument is invalid.
        OperationError: A model can't be exported.
        StoreError: The store can't be written.

    Example:
        >>> training = preptime.train(orders, restaurants, schema=schema, models=["xgb"], quick=True)
        >>> training.outcome, training.bundle.models
        ('kept', ('xgb', 'quantile'))
    """
    dataset, kind = Dataset.from_inputs(orders, restaurants, schema), kind_of(orders)
    plan = FitPlan.from_schema(dataset.schema, to_threads(threads), to_model_names(models))
    run = partial(
        _run_training,
        dataset,
        None if date is None else to_date(date, "date"),
        temporary_store(kind) if store is None else open_store(store, frame=kind),
        plan,
        thresholds_from_settings(to_thresholds(thresholds)),
        promote=promote,
        quick=quick,
        set_alias=store is not None,
    )
    with progress_bars(progress) as report:
        return run(report=report)


def _run_training(
    dataset: Dataset,
    date: dt.date | None,
    store: BundleStore,
    plan: FitPlan,
    thresholds: GateThresholds,
    *,
    promote: bool,
    quick: bool,
    set_alias: bool,
    report: ProgressCallback,
) -> TrainingResult:
    audited, places = dataset.audit(progress=report)
    location = dataset.orders_location
    with tracked_run("train", tracking_settings()) as run:
        document = trainings.train(
            audited,
            places.index,
            date or day_after(audited),
            store.core,
            AuditActor(current_user(), utc_now()),
            plan=plan,
            thresholds=thresholds,
            schema=dataset.schema,
            allow_promotion=promote,
            with_gate=not quick,
            revisions=find_revisions(location) if location else None,
            progress=report,
        )
        run.log_training(document, store.core, seed=plan.seed, orders=location or "a data frame", set_alias=set_alias)
    return TrainingResult(document, store, (*places.messages, *document.data_gate.notes))


@python_errors()
def backtest(
    orders: RowsInput,
    restaurants: RowsInput | None = None,
    *,
    first_day: dt.date | str,
    last_day: dt.date | str,
    retrain_every: int | None = None,
    schema: SchemaInput = None,
    models: Sequence[str] | None = None,
    threads: int | None = None,
    progress: Progress = None,
) -> Evaluation:
    """Evaluate models on past days, as `preptime backtest` does. Each day is predicted as of that day.

    Args:
        orders: As for `train`.
        restaurants: As for `train`.
        first_day: The first day to predict. The models are fitted on the days before it.
        last_day: The last day to predict.
        retrain_every: Number of days between fits. Default: one fit.
        schema: As for `train`.
        models: As for `train`.
        threads: As for `train`.
        progress: As for `train`.

    Returns:
        The metrics as frames and charts.

    Raises:
        DataError: The orders aren't enough.
        UsageError: The days are outside the data, or an argument is invalid.

    Example:
        >>> days = {"first_day": "2015-06-11", "last_day": "2015-06-12"}
        >>> evaluation = preptime.backtest(orders, restaurants, **days, schema=schema, models=["xgb"])
        >>> evaluation.by_day["n"].to_list()
        [188, 438]
    """
    dataset = Dataset.from_inputs(orders, restaurants, schema)
    plan = FitPlan.from_schema(dataset.schema, to_threads(threads), to_model_names(models))
    every = None if retrain_every is None else to_whole_number("retrain_every", retrain_every)
    first, last = to_date(first_day, "first_day"), to_date(last_day, "last_day")
    with progress_bars(progress) as report:
        audited, places = dataset.audit(progress=report)
        data = TrainingData.from_orders(audited, places.index)
        with tracked_run("backtest", tracking_settings()) as run:
            evaluated = backtesting.backtest(data, first, last, plan, retrain_every=every, progress=report)
            evaluation = evaluate_backtest(
                evaluated, first.isoformat(), last.isoformat(), kind_of(orders), dataset.schema.target.time_unit
            )
            location = dataset.orders_location or "a data frame"
            run.log_backtest(evaluation.document, data, plan=plan, schema=dataset.schema, orders=location)
    return evaluation


@python_errors()
def features(
    orders: RowsInput,
    restaurants: RowsInput | None = None,
    *,
    as_of: dt.date | str | None = None,
    schema: SchemaInput = None,
    progress: Progress = None,
) -> Any:
    """Return the feature matrix that a training as of a date reads, so that you can fit any model on it.

    Each order has the features as of its own day: no value depends on later orders. The columns of the features are
    those of `feature_names`, in the order in which a model's graph reads them.

    Args:
        orders: As for `train`.
        restaurants: As for `train`.
        as_of: Only orders that were ready before local midnight of this date are included. Default: the day after the
            last order.
        schema: As for `train`.
        progress: As for `train`.

    Returns:
        A frame of the completed orders, sorted by acknowledgement. A pandas frame has the index of `orders`. Before the
        features, it has these columns:

        - `row`: the position in `orders`, from 0.
        - `order_id`, if the schema has it, and `restaurant_id`: as in `orders`.
        - `acknowledged_at` and `acknowledged_day`: local time and date of the restaurant.
        - `can_fit`: whether training fits models on the order. It excludes orders with wrong labels, for example.
        - `can_evaluate`: whether metrics include the order.
        - `label_seconds`: the actual time.

        If a custom feature has one of these names, this column is `order.NAME` instead, such as `order.row`.

    Raises:
        DataError: No order can be used.
        UsageError: An argument is invalid.

    Example:
        >>> matrix = preptime.features(orders, restaurants, as_of="2015-06-13")
        >>> X, y = matrix.select(preptime.feature_names()), matrix["label_seconds"]
        >>> X.width
        25
    """
    dataset = Dataset.from_inputs(orders, restaurants, schema)
    source = dataset.open_orders()
    rows = source.frame().drop(READER_COLUMNS, strict=False)
    audited, places = replace(dataset, orders=rows, schema=source.schema).audit()
    date = day_after(audited) if as_of is None else to_date(as_of, "as_of")
    with progress_bars(progress) as report:
        matrix = _matrix_as_of(audited, places.index, dataset.schema, date, report)
    positions, names = matrix.data.row_numbers[matrix.rows] - 1, matrix.data.restaurants.feature_set.names
    table = _identifying_columns(rows[positions], source.schema, matrix, date).hstack(
        pl.DataFrame(matrix.X, schema=list(names))
    )
    frame = from_polars(table, kind_of(orders))
    return (
        frame
        if is_location(orders) or isinstance(frame, pl.DataFrame)
        else frame.set_index(take_rows(orders, positions).index)
    )


def _matrix_as_of(
    audited: AuditedOrders, places: RestaurantIndex, schema: Schema, date: dt.date, report: ProgressCallback
) -> FeatureMatrix:
    """Return the matrix of a training as of a date."""
    index = replace(places, feature_set=FeatureSet.from_schema(schema))
    data = TrainingData.from_orders(rows_as_of(audited, places, date), index).as_of(date)
    data = data.with_common_categories(date)
    return build_feature_matrix(data, data.first_day, date - ONE_DAY, report)


@python_errors()
def feature_names(schema: SchemaInput = None) -> list[str]:
    """Return the columns of the feature matrix for a schema, in the order in which a model's graph reads them.

    Args:
        schema: As for `train`.

    Returns:
        The names.

    Raises:
        UsageError: The schema is invalid.

    Example:
        >>> preptime.feature_names()[:2]
        ['acknowledged_second', 'weekday']
    """
    return list(FeatureSet.from_schema(find_schema_of(schema)[0]).names)


def day_after(audited: AuditedOrders) -> dt.date:
    """Return the day after the last local day with orders. Raises `UsageError` if no order has a readable time."""
    last_day = audited.frame["acknowledged_local"].dt.date().max()
    if not isinstance(last_day, dt.date):
        raise UsageError("No order has a readable acknowledgement time.", "For details, use preptime.check.")
    return last_day + ONE_DAY


def _identifying_columns(rows: pl.DataFrame, schema: Schema, matrix: FeatureMatrix, date: dt.date) -> pl.DataFrame:
    data = matrix.data
    acknowledged = pl.Series(data.orders.acknowledged_at[matrix.rows] * MICROSECONDS).cast(pl.Datetime("us"))
    columns: dict[str, Any] = {"row": data.row_numbers[matrix.rows] - 1}
    for name in ("order_id", "restaurant_id"):
        if schema.has(name) and schema.orders[name].column in rows.columns:
            columns[name] = rows[schema.orders[name].column]
    columns |= {
        "acknowledged_at": acknowledged,
        "acknowledged_day": acknowledged.dt.date(),
        "can_fit": fitted_rows(matrix, date - ONE_DAY),
        "can_evaluate": data.is_evaluation[matrix.rows],
        "label_seconds": data.labels[matrix.rows],
    }
    features = matrix.data.restaurants.feature_set.names
    return pl.DataFrame({f"order.{name}" if name in features else name: cells for name, cells in columns.items()})
