"""Bundles in Python: predictions, features, dispatch decisions, importances, and the evaluation, as data frames."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.bundle.isolated_check import check_folder
from preptime.bundle.manifest import EVALUATION_FILE, REPORT_FILE, Manifest, is_bundle_id
from preptime.domain.data_dictionary import READER_COLUMNS, require_columns
from preptime.domain.orders import DEFAULT_MODEL, OrderColumns
from preptime.domain.validation_reasons import Purpose
from preptime.errors import DataError, UsageError
from preptime.evaluation.report_data import ReportData, backtest_from_manifest, decode
from preptime.features.kitchen import KitchenEvents, KitchenReplay
from preptime.python_api.dataframes import (
    FrameKind,
    column_names,
    from_polars,
    like_acknowledgements,
    row_values,
    to_polars,
    with_columns,
    with_index_of,
    without_columns,
)
from preptime.python_api.datasets import Dataset, RowsInput, is_location, kind_of
from preptime.python_api.defaults import check_type, default_setting, python_errors, to_number
from preptime.python_api.evaluations import CHART_PIXELS, Evaluation
from preptime.schema.schema import Schema
from preptime.scoring.explanation_columns import explanation_columns
from preptime.scoring.score_file import CHUNK_ROWS, make_scorer, replay_kitchens, worker_count
from preptime.scoring.scorer import PREDICTED_READY_AT, ChunkScorer, PassthroughColumns, restaurants_for, with_results
from preptime.scoring.travel_column import DISPATCH_AT, TravelColumn
from preptime.sources.frames import FrameSource
from preptime.sources.parallel import map_in_order
from preptime.validation.audit import audit_orders, has_labels, to_order_columns

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.evaluation.charts import Chart
    from preptime.features.restaurant_index import RestaurantIndex

_TRAVEL_COLUMN = "_preptime_travel_seconds"
_ROW_COLUMN = "_preptime_row"
"""The only column that the scorer passes through. The others can have the names of results of an earlier scoring."""


class LoadedBundle:
    """A verified bundle that predicts data frames. Threads can share it.

    Orders have the columns of the bundle's schema (`schema`). Other columns and the index are kept. A method takes a
    pandas frame, a Polars frame, or a location, and returns a frame of the same library, or a Polars frame for a
    location.

    Example:
        >>> bundle = training.bundle
        >>> bundle.predict(orders.head(2)).select("order_id", "predicted_seconds").shape
        (2, 2)
    """

    def __init__(self, bundle: Bundle, kind: FrameKind = "polars", store: Store | None = None) -> None:
        self._bundle = bundle
        self._kind: FrameKind = kind
        self._store = store  # a temporary store is deleted with its last user

    @property
    def id(self) -> str:
        """The ID of the bundle."""
        return self.manifest.id

    @property
    def date(self) -> dt.date:
        """The as-of date of its history."""
        return self.manifest.date

    @property
    def manifest(self) -> Manifest:
        """The manifest (docs/bundle-format.md)."""
        return self._bundle.manifest

    @property
    def schema(self) -> Schema:
        """The schema of the orders that it predicts."""
        return self._bundle.schema

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its models."""
        return self.manifest.models

    @property
    def feature_names(self) -> list[str]:
        """The columns of its feature matrix, in order."""
        return [feature.name for feature in self.manifest.features]

    @python_errors()
    def predict(self, orders: RowsInput, *, restaurants: RowsInput | None = None, live: bool = False) -> Any:
        """Return the orders with predictions, or with a reason for each order that can't be predicted.

        Rows, their order, and the index are those of `orders`. docs/scoring.md lists the added columns. The time in
        `predicted_ready_at` has the type of the acknowledgements: text, or a datetime in the same time zone. Columns
        with these names are replaced in place. Dispatch times, explanations, and the mark of the live model from an
        earlier scoring are removed if this one has none.

        Args:
            orders: Orders, as known at their acknowledgement.
            restaurants: Describes restaurants that the bundle doesn't know.
            live: Predict with the live model. The states of the kitchens are replayed from `orders`, which must
                include the earlier orders of the same day and their ready times.

        Returns:
            A frame with the prediction columns after those of `orders`.

        Raises:
            DataError: A column is missing.
            UsageError: `orders` aren't a frame or a location, or the bundle has no live model.

        Example:
            >>> predicted = bundle.predict(orders)
            >>> predicted["prediction_reason"].null_count() == len(predicted)
            True
        """
        return self._score(orders, restaurants, live=live)

    @python_errors()
    def dispatch(
        self,
        orders: RowsInput,
        *,
        travel: Any = "travel_seconds",
        courier_cost: float | None = None,
        food_cost: float | None = None,
        restaurants: RowsInput | None = None,
        live: bool = False,
    ) -> Any:
        """Return the orders with predictions, and with the time to send a courier for each order (docs/dispatch.md).

        Args:
            orders: As for `predict`.
            travel: The travel time of a courier to the restaurant, in seconds: the name of a column, one time for all
                orders, or a Series, array, or list with a time for each order.
            courier_cost: Cost of a minute that a courier waits, in any unit. Default: `PREPTIME_COURIER_COST`, or 1.
            food_cost: Cost of a minute that ready food waits, in the same unit. Default: `PREPTIME_FOOD_COST`, or 1.
            restaurants: As for `predict`.
            live: As for `predict`.

        Returns:
            A frame as of `predict`, with the dispatch columns. `predicted_dispatch_at` is the dispatch time.

        Raises:
            DataError: A column is missing.
            UsageError: There is no column of travel times, or the ratio of the costs isn't from 1:9 to 9:1.

        Example:
            >>> bundle.dispatch(orders.head(3), travel=240)["predicted_dispatch_at"].null_count()
            0
        """
        from preptime.domain.dispatch import dispatch_level

        costs = [
            float(default_setting(name) or 1) if cost is None else to_number(name, cost)
            for name, cost in (("courier_cost", courier_cost), ("food_cost", food_cost))
        ]
        return self._score(orders, restaurants, live=live, trips=(travel, dispatch_level(*costs)))

    @python_errors()
    def features(self, orders: RowsInput, *, restaurants: RowsInput | None = None) -> Any:
        """Return the feature matrix of the orders, as the bundle's models read it.

        Args:
            orders: As for `predict`.
            restaurants: As for `predict`.

        Returns:
            A frame with the columns `feature_names`, and a row for each order, with the same index. An order that
            can't be predicted has no values.

        Raises:
            DataError: A column is missing.

        Example:
            >>> bundle.features(orders).columns == bundle.feature_names
            True
        """
        source, frame = self._open(orders)
        columns, positions, _ = self._usable_orders(source, restaurants)
        table = pl.DataFrame(self._bundle.features(columns), schema=self.feature_names)
        return with_index_of(table.select(pl.all().fill_nan(None).gather(positions)), frame)

    @python_errors()
    def explain(
        self, orders: RowsInput, *, by_feature: bool = False, restaurants: RowsInput | None = None, live: bool = False
    ) -> Any:
        """Return how many seconds each group of features adds to the p50 of the orders (docs/explanations.md).

        The values of a row add up to its p50.

        Args:
            orders: As for `predict`.
            by_feature: Return a column for each feature instead of each group.
            restaurants: As for `predict`.
            live: Explain the predictions of the live model. As for `predict`.

        Returns:
            A frame of columns such as `explain_base_seconds`, with a row for each order, and with the same index. An
            order that can't be predicted has no values.

        Raises:
            DataError: A column is missing.
            UsageError: The bundle has no explanations, or no live model.

        Example:
            >>> explained = bundle.explain(orders.head(3))
            >>> explained.columns[:2]
            ['explain_base_seconds', 'explain_restaurant_seconds']
        """
        source, frame = self._open(orders)
        columns, positions, index = self._usable_orders(source, restaurants)
        kitchens = None
        if live:
            states = self._replay_kitchens(source, index).states(columns)
            kitchens = (np.ones(len(columns), np.bool_), states)
        table = explanation_columns(self._bundle.explain(columns, kitchens), by_feature=by_feature)
        return with_index_of(table.select(pl.all().gather(positions)), frame)

    def importance(self, model: str = DEFAULT_MODEL) -> Any:
        """Return the importance of each feature for a model, as shares of the total, largest first.

        Args:
            model: The name of a model of the bundle.

        Returns:
            A frame with the columns `feature`, `title` (the name for people), and `share`.

        Raises:
            UsageError: The bundle has no importances for this model. A training with `quick=True` has none.

        Example:
            >>> bundle.importance().columns
            ['feature', 'title', 'share']
        """
        importances = {} if self._report_data is None else self._report_data.importance
        if model not in importances:
            known = f"It has those of {', '.join(importances)}." if importances else "Train it without quick=True."
            raise UsageError(f"The bundle {self.id} has no feature importance of a model {model!r}.", known)
        shares = sorted(importances[model].items(), key=lambda entry: (-entry[1], entry[0]))
        rows = [{"feature": name, "title": self._titles.get(name, name), "share": share} for name, share in shares]
        return from_polars(pl.DataFrame(rows), self._kind)

    @property
    def evaluation(self) -> Evaluation:
        """The metrics on the days of the gate, as frames and charts.

        Raises:
            UsageError: The bundle was trained with `quick=True`, so it has no metrics.
        """
        document = backtest_from_manifest(self.manifest)
        if document is None:
            raise UsageError(f"The bundle {self.id} has no metrics.", "Train it without quick=True.")
        return Evaluation(
            document,
            self._report_data,
            kind=self._kind,
            unit=self.schema.target.time_unit,
            feature_titles=self._titles,
        )

    @property
    def charts(self) -> tuple[str, ...]:
        """The names of the charts of its evaluation."""
        return self.evaluation.charts

    def chart(self, name: str, *, width: int = CHART_PIXELS, dark: bool = False) -> Chart:
        """Return a chart of the bundle's evaluation (see `Evaluation.chart`).

        Args:
            name: One of `charts`.
            width: Width in pixels.
            dark: Colors for a dark background.

        Returns:
            The chart.

        Raises:
            UsageError: There is no chart of this name, or the bundle has no metrics.

        Example:
            >>> type(bundle.chart("calibration")).__name__
            'LayerChart'
        """
        return self.evaluation.chart(name, width=width, dark=dark)

    @property
    def report(self) -> str:
        """The report of the training as one HTML page. Raises `UsageError` if the bundle has none."""
        content = self._bundle.training_files().get(REPORT_FILE)
        if content is None:
            raise UsageError(f"The bundle {self.id} has no report.", "Train it without quick=True.")
        return content.decode()

    @cached_property
    def _report_data(self) -> ReportData | None:
        content = self._bundle.training_files().get(EVALUATION_FILE)
        return None if content is None else decode(content)

    @property
    def _titles(self) -> dict[str, str]:
        return self._bundle.history.feature_set.titles

    def __repr__(self) -> str:
        window = self.manifest.window
        days = f"trained on {window.first_day} to {window.last_day}"
        return f"Bundle {self.id} ({', '.join(self.models)}; {days})"

    def _open(self, orders: RowsInput) -> tuple[FrameSource, Any]:
        """Return the columns of orders that the bundle reads, and the frame that gets the predictions."""
        if is_location(orders):
            dataset = Dataset.from_inputs(orders, None, self.schema)
            source = replace(dataset, origin=self._origin).open_orders()
            frame = source.frame().drop(READER_COLUMNS, strict=False)
            return FrameSource(frame, source.schema), frame
        kind_of(orders)
        frame = orders.collect() if isinstance(orders, pl.LazyFrame) else orders
        names = {column.column for column in self.schema.orders.values()}
        names |= {feature.column for feature in self.schema.order_features}
        required = self.schema.required_columns("scoring")
        require_columns(column_names(frame), required, "the data frame", origin=self._origin)
        return FrameSource(to_polars(frame, names, "the orders"), self.schema), frame

    @property
    def _origin(self) -> str:
        return f"the schema of {self.id}"

    def _restaurant_index(self, restaurants: RowsInput | None) -> RestaurantIndex | None:
        if restaurants is None:
            return None
        return Dataset.from_inputs("", restaurants, self.schema).audit_restaurants().index

    def _usable_orders(
        self, source: FrameSource, restaurants: RowsInput | None
    ) -> tuple[OrderColumns, pl.Series, RestaurantIndex]:
        """Return the orders that can be predicted, and for each row the index of its order, or null."""
        index = restaurants_for(self._bundle, self._restaurant_index(restaurants))
        audited = audit_orders(source.rows, index, need_label=False, schema=source.schema)
        is_usable = audited.usable_for(Purpose.SCORING)
        positions = pl.Series(np.cumsum(is_usable) - 1).set(pl.Series(~is_usable), None)
        return to_order_columns(audited.frame.filter(pl.Series(is_usable)), index), positions, index

    def _replay_kitchens(self, source: FrameSource, restaurants: RestaurantIndex) -> KitchenReplay:
        """Return the states of the kitchens of all orders. There can be no orders."""
        if source.rows.is_empty() and self._bundle.has_live_model:
            return KitchenReplay.from_events(KitchenEvents(*[np.empty(0, np.int64)] * 5))
        if self._bundle.has_live_model and not has_labels(source.rows, source.schema):
            raise DataError(
                "The orders have no ready times and no preparation times, so the state of a kitchen isn't known.",
                "Omit live=True, or add the ready times of earlier orders.",
            )
        return replay_kitchens(source, restaurants, self._bundle)

    def _score(
        self,
        orders: RowsInput,
        restaurants: RowsInput | None,
        *,
        live: bool,
        trips: tuple[object, float] | None = None,
    ) -> Any:
        """Return the orders with predictions. `trips` are the travel times and the level at which couriers arrive."""
        source, frame = self._open(orders)
        travel_column = None
        if trips is not None:
            travel, level = trips
            travel_column = TravelColumn(_TRAVEL_COLUMN, level)
            source = replace(
                source, rows=source.rows.with_columns(row_values(frame, travel, "travel").alias(_TRAVEL_COLUMN))
            )
        passthrough = PassthroughColumns(pl.Schema({_ROW_COLUMN: pl.Null()}), for_csv=False)
        scorer = make_scorer(source, passthrough, self._bundle, self._restaurant_index(restaurants), travel_column)
        if live:
            scorer = replace(scorer, kitchens=self._replay_kitchens(source, scorer.restaurants))
        columns = _score_in_parallel(scorer, source.rows)
        acknowledged = source.rows[source.schema.orders["order_acknowledged_at"].column]
        times = [columns[name] for name in (PREDICTED_READY_AT, DISPATCH_AT) if name in columns.columns]
        columns = columns.with_columns(like_acknowledgements(cells, acknowledged, source.schema) for cells in times)
        return with_columns(without_columns(frame, _stale_results(column_names(frame), columns)), columns)


def _stale_results(names: list[str], results: pl.DataFrame) -> list[str]:
    """Return the columns of an earlier scoring that `preptime score` removes, because this scoring has none."""
    earlier = pl.DataFrame(schema=dict.fromkeys(names, pl.Null))
    kept = with_results(earlier, results.clear()).columns
    return [name for name in names if name not in kept]


def _score_in_parallel(scorer: ChunkScorer, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the prediction columns of rows, which are scored in chunks, as `preptime score` does."""
    rows = rows.with_columns(pl.lit(None).alias(_ROW_COLUMN))
    if rows.is_empty():
        return scorer.score(rows).frame.drop(_ROW_COLUMN)
    with closing(map_in_order(rows.iter_slices(CHUNK_ROWS), scorer.score, worker_count(None))) as chunks:
        return pl.concat([chunk.frame for chunk in chunks]).drop(_ROW_COLUMN)


@python_errors()
def load_bundle(bundle: str | os.PathLike[str], store: Any = None) -> LoadedBundle:
    """Load a bundle, after checking it.

    A bundle of a store is checked in a separate process with limits on time and memory, as the server does it, because
    a graph of unknown origin can run forever.

    Args:
        bundle: The folder of a bundle, or the ID of a bundle in a store.
        store: The address of the store, or the result of `open_store`. Default: `PREPTIME_STORE`, or the folder
            `models`.

    Returns:
        The bundle.

    Raises:
        UsageError: There is no such bundle.
        BundleVerificationError: The bundle is damaged, or this release can't use it.
        StoreError: The store can't be read.

    Example:
        >>> preptime.load_bundle(bundle.id, training.store).id == bundle.id
        True
    """
    from preptime.python_api.stores import open_store

    check_type("bundle", bundle, (str, os.PathLike), "a folder, or the ID of a bundle")
    folder = Path(bundle)
    if store is None and folder.is_dir() and not (isinstance(bundle, str) and is_bundle_id(bundle)):
        return LoadedBundle(Bundle.load(folder, checked_sha256=check_folder(folder)))
    return open_store(store).load(os.fspath(bundle))
