"""Pure functions from request bytes and an active model to status and response bytes (D9).

Concurrent requests share one run of the ONNX graph (`preptime.api.batching`). An order's prediction doesn't depend on
the other orders in the run: the tests verify that features and graph give identical bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from itertools import islice

import msgspec
from msgspec import UNSET

from preptime.api.active_model import (
    DEFAULT_COLUMN,
    FIRST_POINT_COLUMN,
    FIRST_QUANTILE_COLUMN,
    ActiveModel,
    OrderRow,
    PredictionRow,
    run_inference,
)
from preptime.api.order_validation import (
    DecodedRequest,
    InvalidOrder,
    ParsedOrders,
    decode_request,
    decode_take_home_request,
    decode_vertex_request,
    read_orders,
)
from preptime.api.parsing import LocalTimestamp, format_ready_at
from preptime.api.schema import (
    ApiError,
    Order,
    Prediction,
    PredictionError,
    PredictionResponse,
    RowError,
    VertexResponse,
)
from preptime.domain.orders import DEFAULT_MODEL, FALLBACK_LEVELS

MAX_BATCH_BYTES = 16_384
"""Maximum size of the bodies in a batch: about 100 orders, which take 5 ms. A run of the graph with more than 32 orders
saves no more time per order."""

_P10, _P50, _P80, _P90 = range(FIRST_QUANTILE_COLUMN, FIRST_POINT_COLUMN)
_encode = msgspec.json.Encoder().encode

_ResponseItem = Prediction | PredictionError


class PredictionResult(msgspec.Struct, frozen=True, gc=False):
    """The response to a request, and the orders of the request."""

    status: HTTPStatus
    body: bytes
    orders: Sequence[Order]


class PreparedRequest(msgspec.Struct, frozen=True, gc=False):
    """A parsed request: the rows to predict, and a function that builds the response from the predictions."""

    rows: list[OrderRow]
    with_point_models: bool
    """Whether the request needs the point models."""
    build_result: Callable[[Sequence[PredictionRow]], PredictionResult]


RequestReader = Callable[[bytes, ActiveModel, int], PreparedRequest]
"""Parses a body with a maximum number of orders. Raises `ApiError` if the whole request is invalid."""


class PredictionJob(msgspec.Struct, frozen=True, gc=False):
    """A request to predict."""

    reader: RequestReader
    body: bytes
    active_model: ActiveModel
    max_orders: int


def read_request(body: bytes, active_model: ActiveModel, max_orders: int) -> PreparedRequest:
    """Parse a request to `POST /v1/predictions`."""
    return _prepare(
        decode_request(body), active_model, max_orders, partial(PredictionResponse, active_model.bundle.manifest.id)
    )


def read_vertex_request(body: bytes, active_model: ActiveModel, max_orders: int) -> PreparedRequest:
    """Parse a request to the route that Vertex AI calls."""
    return _prepare(decode_vertex_request(body), active_model, max_orders, VertexResponse)


def read_take_home_request(body: bytes, active_model: ActiveModel, max_orders: int) -> PreparedRequest:
    """Parse a request to `POST /predict`. The response has a list of seconds per model, null for an invalid row."""
    decoded = decode_take_home_request(body)
    parsed = _read_orders(decoded, active_model, max_orders)

    def build_result(prediction_rows: Sequence[PredictionRow]) -> PredictionResult:
        seconds_by_model = {
            name: _fill_gaps([seconds[column] for _, seconds in prediction_rows], parsed, len(decoded.orders))
            for name, column in active_model.model_columns.items()
        }
        return PredictionResult(HTTPStatus.CREATED, _encode(seconds_by_model), decoded.orders)

    return PreparedRequest(parsed.rows, True, build_result)


def predict(
    body: bytes, active_model: ActiveModel, max_orders: int, reader: RequestReader = read_request
) -> PredictionResult:
    """Return the result of one request. Raises `ApiError`."""
    (result,) = predict_batch([PredictionJob(reader, body, active_model, max_orders)])
    if isinstance(result, ApiError):
        raise result
    return result


def predict_batch(jobs: Sequence[PredictionJob]) -> list[PredictionResult | ApiError]:
    """Return the result or the error of each job. Jobs for the same bundle and models share a run of the graph."""
    results: dict[int, PredictionResult | ApiError] = {}
    groups: dict[tuple[int, bool], list[tuple[int, PreparedRequest]]] = {}
    for index, job in enumerate(jobs):
        try:
            prepared = job.reader(job.body, job.active_model, job.max_orders)
        except ApiError as error:
            results[index] = error
        else:
            groups.setdefault((id(job.active_model), prepared.with_point_models), []).append((index, prepared))
    for (_, with_point_models), group in groups.items():
        bundle = jobs[group[0][0]].active_model.bundle
        prediction_rows = iter(
            run_inference(bundle, [row for _, prepared in group for row in prepared.rows], with_point_models)
        )
        for index, prepared in group:
            results[index] = prepared.build_result(list(islice(prediction_rows, len(prepared.rows))))
    return [results[index] for index in range(len(jobs))]


def _prepare(
    decoded: DecodedRequest,
    active_model: ActiveModel,
    max_orders: int,
    build_body: Callable[[list[_ResponseItem]], object],
) -> PreparedRequest:
    """Validate the orders of a request that gets one item per order."""
    _check_models(decoded.models, active_model)
    parsed = _read_orders(decoded, active_model, max_orders)

    def build_result(prediction_rows: Sequence[PredictionRow]) -> PredictionResult:
        return PredictionResult(
            HTTPStatus.OK,
            _encode(build_body(_build_items(decoded, parsed, prediction_rows, active_model))),
            decoded.orders,
        )

    return PreparedRequest(parsed.rows, any(name != DEFAULT_MODEL for name in decoded.models), build_result)


def _build_items(
    decoded: DecodedRequest, parsed: ParsedOrders, prediction_rows: Sequence[PredictionRow], active_model: ActiveModel
) -> list[_ResponseItem]:
    predicted_rows = zip(prediction_rows, parsed.timestamps, strict=True)
    model_columns = [(name, active_model.model_columns[name]) for name in decoded.models]
    items: list[_ResponseItem] = []
    for index, order in enumerate(decoded.orders):
        if parsed.invalid_orders and index in parsed.invalid_orders:
            item: _ResponseItem = _build_error(parsed.invalid_orders[index])
        else:
            item = _build_prediction(*next(predicted_rows), model_columns)
        if order.order_id is not None:
            item.order_id = _echo_order_id(order.order_id)
        items.append(item)
    return items


def _read_orders(decoded: DecodedRequest, active_model: ActiveModel, max_orders: int) -> ParsedOrders:
    if len(decoded.orders) > max_orders:
        raise ApiError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The request has {len(decoded.orders):,} orders. The maximum is {max_orders:,}.",
            "Send several smaller requests, or use `preptime score` for a file.",
            field="orders",
            value=f"{len(decoded.orders)} orders",
            expected=f"at most {max_orders} orders",
        )
    return read_orders(decoded.orders, active_model.lookup)


def _check_models(models: Sequence[str], active_model: ActiveModel) -> None:
    for index, name in enumerate(models):
        if name not in active_model.models and name != DEFAULT_MODEL:
            allowed = ", ".join((*active_model.models, DEFAULT_MODEL))
            raise ApiError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"models[{index}] is {name[:60]!r}; expected one of {allowed}.",
                field=f"models[{index}]",
                value=name[:60],
                expected=f"one of {allowed}",
            )


def _build_prediction(
    prediction_row: PredictionRow, timestamp: LocalTimestamp, model_columns: Sequence[tuple[str, int]]
) -> Prediction:
    """Return the prediction of one order, without its `order_id`."""
    fallback_level, seconds = prediction_row
    p50 = seconds[DEFAULT_COLUMN]
    return Prediction(
        prep_time_seconds=round(p50),
        p10=seconds[_P10],
        p50=seconds[_P50],
        p80=seconds[_P80],
        p90=seconds[_P90],
        ready_at=format_ready_at(timestamp, p50),
        fallback_level=FALLBACK_LEVELS[fallback_level],
        models={name: seconds[column] for name, column in model_columns} if model_columns else UNSET,
    )


def _build_error(invalid_order: InvalidOrder) -> PredictionError:
    return PredictionError(error=RowError(str(invalid_order.reason), invalid_order.field, invalid_order.message))


def _fill_gaps(values: list[float], parsed: ParsedOrders, row_count: int) -> list[float | None]:
    """Return one value per row of the request: the predictions of valid rows in order, and None for invalid rows."""
    if not parsed.invalid_orders:
        return list(values)
    remaining = iter(values)
    return [None if index in parsed.invalid_orders else next(remaining) for index in range(row_count)]


def _echo_order_id(order_id: object) -> object:
    """Return the identifier unchanged if it's text or a number. Other values are omitted from the response."""
    if type(order_id) is str or type(order_id) is int:
        return order_id
    return order_id if type(order_id) is float and math.isfinite(order_id) else UNSET
