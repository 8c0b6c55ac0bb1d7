"""Scores a file through the prediction API, with the same output as `score_file`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import SURPLUS_COLUMN
from preptime.domain.orders import DEFAULT_MODEL, FALLBACK_LEVELS, QUANTILE_LEVELS
from preptime.domain.timestamps import TimestampFormat
from preptime.domain.validation_reasons import ValidationReason
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.progress import ProgressCallback
from preptime.schema.schema import Schema
from preptime.scoring.score_document import ScoreCounts, ScoreDocument
from preptime.scoring.score_file import open_orders, row_progress, write_scored
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_BUNDLE,
    PREDICTION_REASON,
    RESTAURANT_DIFFERS,
    OrderFlags,
    PassthroughColumns,
    has_place,
    model_column,
    order_flags,
    quantile_column,
    with_results,
)
from preptime.scoring.travel_column import TravelColumn, count_without_dispatch
from preptime.sources.parallel import map_in_order
from preptime.validation.audit import REJECT_SURPLUS, audit_orders, has_surplus
from preptime.validation.cell_text import cells_as_text, format_times

_LOCAL_TIME_LENGTH = len("2015-06-01 12:28:28")
MAX_CONCURRENT_REQUESTS = 2
"""With two, the client reads and writes one chunk while the server predicts another."""
NO_RESTAURANTS = RestaurantIndex(
    Vocabularies((), (), (), ("UTC",)), np.zeros(0, np.int64), *(np.zeros(0, np.int32) for _ in range(4))
)
"""Replaces the restaurants of a bundle that isn't known here. Row checks that need no restaurant still run."""


class RemoteError(Protocol):
    """The reason why an order can't be predicted."""

    @property
    def code(self) -> str: ...


class RemotePrediction(Protocol):
    """The prediction for one order in seconds, or an `error`."""

    @property
    def p10(self) -> float | None: ...
    @property
    def p50(self) -> float | None: ...
    @property
    def p80(self) -> float | None: ...
    @property
    def p90(self) -> float | None: ...
    @property
    def ready_at(self) -> str | None: ...
    @property
    def fallback_level(self) -> str | None: ...
    @property
    def models(self) -> Mapping[str, float]: ...
    @property
    def error(self) -> RemoteError | None: ...


class RemotePredictions(Protocol):
    """Predictions in the order of the request, all from one bundle."""

    @property
    def bundle(self) -> str: ...
    @property
    def predictions(self) -> Sequence[RemotePrediction]: ...


class PredictionClient(Protocol):
    """A thread-safe client of the prediction API: `preptime.client.Client`."""

    def predict(
        self, orders: Sequence[Mapping[str, object]], *, models: Sequence[str] | None = None
    ) -> RemotePredictions: ...


@dataclass(frozen=True)
class RemoteScorer:
    """Predicts orders through the API, including these point models."""

    client: PredictionClient
    models: tuple[str, ...]
    schema: Schema
    """The schema of the orders, which the API's bundle has too."""
    restaurants: RestaurantIndex | None = None
    """The restaurants of the API's bundle, for the counts. None if they aren't known here."""
    travel: TravelColumn | None = None
    """The column with travel times, if the rows get dispatch columns. Their times can differ by a second from those of
    `score_file`, because a response has times in seconds."""

    def flags(self, rows: pl.DataFrame, is_predicted: NDArray[np.bool_]) -> OrderFlags:
        """Return what `score_file` counts about the predicted orders among N orders, as far as it's known here."""
        audited = audit_orders(rows, self.restaurants or NO_RESTAURANTS, need_label=False, schema=self.schema)
        flags = order_flags(audited, is_predicted)
        return replace(flags, is_unknown=None, differs=None) if self.restaurants is None else flags

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the prediction columns (see `preptime.scoring.scorer`) for N orders as a data source yields them."""
        points = tuple(name for name in self.models if name != DEFAULT_MODEL)
        response = self.client.predict(request_rows(rows, self.schema).to_dicts(), models=points)
        columns = self._without_malformed_lines(rows, _prediction_columns(response, points))
        if self.travel is None:
            return columns
        return columns.hstack(_dispatch_columns(self.travel, rows[self.travel.name], self.schema, columns))

    def _without_malformed_lines(self, rows: pl.DataFrame, columns: pl.DataFrame) -> pl.DataFrame:
        # A request has cells instead of lines, so the server can't detect a line with too many cells.
        is_malformed = pl.Series(has_surplus(rows, SURPLUS_COLUMN) | has_surplus(rows, REJECT_SURPLUS))
        if not is_malformed.any():
            return columns
        values = [pl.when(is_malformed).then(None).otherwise(pl.col(name)).alias(name) for name in columns.columns]
        reason = (
            pl.when(is_malformed)
            .then(pl.lit(str(ValidationReason.MALFORMED_LINE)))
            .otherwise(pl.col(PREDICTION_REASON))
            .alias(PREDICTION_REASON)
        )
        return columns.select(values).with_columns(reason, columns[PREDICTION_BUNDLE])


def score_file_remotely(
    source: str,
    out: Path,
    scorer: RemoteScorer,
    *,
    bundle_id: str = "",
    orders_per_request: int,
    progress: ProgressCallback | None = None,
) -> ScoreDocument:
    """Score the orders at `source` into `out` like `score_file`, with `orders_per_request` in each request.

    If the champion changes during the run, `prediction_bundle` names the bundle of each row, and the document names the
    last one. `bundle_id` is the bundle that the API serves before the run, for messages about columns. Raises
    `DataError` if the source can't be read, `OperationError` if the output can't be written, and the client's errors.
    """
    orders = open_orders(source, scorer.schema, bundle_id)
    if scorer.travel is not None:
        scorer.travel.check(orders)
    passthrough = PassthroughColumns.from_source(orders, for_csv=out.suffix.lower() == ".csv")
    counts = ScoreCounts()
    report_rows = row_progress(orders, "Predicting with the API", progress)
    bundle = ""
    flags_rows = scorer.restaurants is not None and has_place(orders.columns, orders.schema)

    def score_chunk(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, OrderFlags]:
        predictions = scorer.predict(rows)
        is_predicted = predictions[PREDICTION_REASON].is_null()
        flags = scorer.flags(rows, is_predicted.to_numpy())
        if flags_rows:
            positions = (is_predicted.cum_sum().cast(pl.Int64) - 1).set(~is_predicted, None)
            differs = pl.Series(flags.differs).gather(positions)
            predictions = predictions.with_columns(differs.alias(RESTAURANT_DIFFERS))
        return passthrough.select(rows), predictions, flags

    def iter_scored() -> Iterator[pl.DataFrame]:
        nonlocal bundle
        with closing(map_in_order(orders.batches(orders_per_request), score_chunk, MAX_CONCURRENT_REQUESTS)) as chunks:
            for passthrough_columns, predictions, flags in chunks:
                _count_predictions(counts, predictions, flags)
                if scorer.travel is not None:
                    counts.add_without_dispatch(count_without_dispatch(predictions))
                bundle = str(predictions[PREDICTION_BUNDLE][-1])
                report_rows(counts.rows)
                yield with_results(passthrough_columns, predictions)

    write_scored(out, iter_scored(), orders.schema.source.delimiter)
    return counts.to_document(orders.name, out, bundle)


def request_rows(rows: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return the request's columns of N orders as text, which the API parses as `score_file` parses a file.

    The server converts instants, sent in UTC, to the restaurant's time zone. Naive timestamps are sent as local time.
    """
    columns = {name: source for name, source in schema.request_fields().items() if name != "order_id"}
    return rows.select(
        _request_cells(name, rows[source], schema) for name, source in columns.items() if source in rows.columns
    )


def _request_cells(name: str, cells: pl.Series, schema: Schema) -> pl.Series:
    """Return the cells of one column. Typed cells are converted, because text must match the schema's formats."""
    if cells.dtype == pl.String:
        return _as_text(cells)
    if name == "order_acknowledged_at":
        timestamp_format = schema.column(name).timestamp_format
        return _typed_times(cells, timestamp_format) if timestamp_format.pattern else _as_text(cells)
    has_marks = schema.source.decimal != "." and cells.dtype.is_numeric() and _is_number(name, schema)
    return _as_text(cells).str.replace(".", schema.source.decimal, literal=True) if has_marks else _as_text(cells)


def _is_number(name: str, schema: Schema) -> bool:
    if schema.has(name):
        return schema.column(name).declaration.data_type in {"number", "integer"}
    return any(feature.name == name and feature.type == "number" for feature in schema.order_features)


def _typed_times(cells: pl.Series, timestamp_format: TimestampFormat) -> pl.Series:
    """Return times as microseconds since 1970, and epochs unchanged.

    A naive timestamp is local time in the format's time zone. Without one, it's text in the format.
    """
    if cells.dtype == pl.Date:
        return _as_text(cells)  # without a clock time, it isn't a time
    if not isinstance(cells.dtype, pl.Datetime):
        return cells
    has_zone = cells.dtype.time_zone is not None
    if not has_zone and not timestamp_format.time_zone:
        return cells.dt.strftime(timestamp_format.pattern.replace("%f", "%6f"))
    if not has_zone:
        cells = cells.dt.replace_time_zone(timestamp_format.time_zone, ambiguous="earliest", non_existent="null")
    return cells.dt.epoch("us")


def _as_text(cells: pl.Series) -> pl.Series:
    dtype = cells.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone:
            return format_times(cells.dt.convert_time_zone("UTC"), "%Y-%m-%dT%H:%M:%S%.6fZ")
        return format_times(cells, "%Y-%m-%dT%H:%M:%S%.6f")
    if dtype == pl.Float32:
        cells = cells.cast(pl.Float64)  # as text, a Float32 would become another number
    return cells_as_text(cells)


def _prediction_columns(response: RemotePredictions, points: tuple[str, ...]) -> pl.DataFrame:
    predictions = response.predictions
    quantiles = {
        0.1: [prediction.p10 for prediction in predictions],
        0.5: [prediction.p50 for prediction in predictions],
        0.8: [prediction.p80 for prediction in predictions],
        0.9: [prediction.p90 for prediction in predictions],
    }
    columns = {PREDICTED_SECONDS: _seconds_series(quantiles[0.5])}
    columns |= {quantile_column(level): _seconds_series(quantiles[level]) for level in QUANTILE_LEVELS}
    ready_times = [
        None if prediction.ready_at is None else prediction.ready_at.replace("T", " ") for prediction in predictions
    ]
    columns[PREDICTED_READY_AT] = pl.Series(ready_times, dtype=pl.String)
    columns[FALLBACK_LEVEL] = pl.Series([prediction.fallback_level for prediction in predictions], dtype=pl.String)
    columns |= {
        model_column(name): _seconds_series([prediction.models.get(name) for prediction in predictions])
        for name in points
    }
    columns[PREDICTION_REASON] = pl.Series(
        [prediction.error.code if prediction.error else None for prediction in predictions], dtype=pl.String
    )
    return pl.DataFrame(columns).with_columns(pl.lit(response.bundle).alias(PREDICTION_BUNDLE))


def _dispatch_columns(travel: TravelColumn, cells: pl.Series, schema: Schema, columns: pl.DataFrame) -> pl.DataFrame:
    """Return the dispatch columns of N orders from their prediction columns. Without a prediction, they're empty."""
    is_predicted = columns[PREDICTION_REASON].is_null()
    predicted = columns.filter(is_predicted)

    def format_times(seconds: NDArray[np.float64]) -> pl.Series:
        ready_at = predicted[PREDICTED_READY_AT]
        later = pl.Series(np.rint((seconds - predicted[PREDICTED_SECONDS].to_numpy()) * 1e6)).cast(pl.Duration("us"))
        local = ready_at.str.head(_LOCAL_TIME_LENGTH).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us") + later
        return local.dt.round("1s").dt.strftime("%Y-%m-%d %H:%M:%S") + ready_at.str.slice(_LOCAL_TIME_LENGTH)

    quantiles = predicted.select(quantile_column(level) for level in QUANTILE_LEVELS).to_numpy()
    dispatch = travel.dispatch_columns(cells.filter(is_predicted), schema.number_format, quantiles, format_times)
    return dispatch.select(pl.all().gather((is_predicted.cum_sum().cast(pl.Int64) - 1).set(~is_predicted, None)))


def _seconds_series(values: list[float | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Float32)


def _count_predictions(counts: ScoreCounts, predictions: pl.DataFrame, flags: OrderFlags) -> None:
    rejected = predictions[PREDICTION_REASON].drop_nulls().value_counts(name="rows")
    predicted = predictions.filter(predictions[PREDICTION_REASON].is_null())
    fallback_level = predicted[FALLBACK_LEVEL].replace_strict(
        list(FALLBACK_LEVELS), list(range(len(FALLBACK_LEVELS))), return_dtype=pl.Int8
    )
    counts.add(
        len(predictions),
        predicted[PREDICTED_SECONDS].to_numpy().astype(np.float32),
        fallback_level.to_numpy().astype(np.int8),
        {ValidationReason(reason): rows for reason, rows in rejected.iter_rows()},
        flags,
    )
