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
from msgspec import UNSET, UnsetType

from preptime.api.active_model import (
    DEFAULT_COLUMN,
    FIRST_POINT_COLUMN,
    FIRST_QUANTILE_COLUMN,
    ActiveModel,
    OrderRow,
    PredictionRow,
    run_inference,
)
from preptime.api.limits import (
    BYTES,
    CONCURRENCY,
    ORDERS,
    SMALL_BODY_BYTES,
    VALUES_PER_ORDER,
    Admission,
    LimitExceededError,
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

MAX_VALUES_PER_ORDER, MIN_ORDERS_FOR_VALUES = 50, 1000
"""Maximum average number of JSON values per order, for a request with the maximum number of orders."""
BUSY_RETRY_SECONDS = 1
"""Value of `Retry-After` beyond a limit: a short delay."""
_LIMIT_FACTS = {
    CONCURRENCY: "Too many concurrent requests (PREPTIME_MAX_CONCURRENT_REQUESTS).",
    BYTES: "The bodies of concurrent requests have too many bytes (PREPTIME_MAX_CONCURRENT_BYTES).",
    ORDERS: "The bodies of concurrent requests have too many orders (PREPTIME_MAX_CONCURRENT_ORDERS).",
}

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


class OrderLimit(msgspec.Struct, frozen=True, gc=False):
    """The limits on the orders of one request."""

    max_orders: int
    """Maximum number of orders in the request."""
    admission: Admission | None = None
    """The request's share in the limits of the worker, if it has limits."""

    def acquire_values(self, body: bytes) -> None:
        """Acquire the orders of a large body before it's parsed, estimated from its values. Raises `ApiError`.

        Every value but the first follows a comma. A value takes up to 100 bytes of memory, but only 2 bytes of a body.
        """
        if len(body) <= SMALL_BODY_BYTES:
            return
        maximum, count = max(self.max_orders, MIN_ORDERS_FOR_VALUES) * MAX_VALUES_PER_ORDER, body.count(b",")
        if count > maximum:
            raise ApiError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The request has {count:,} values or more. The maximum is {maximum:,}.",
                "Send several smaller requests, or only the fields that the API reads. For a file, use "
                "`preptime score`.",
                field="orders",
                value=f"{count} values",
                expected=f"at most {maximum} values",
            )
        self.acquire(min(count // VALUES_PER_ORDER, self.max_orders))

    def acquire(self, count: int) -> None:
        """Acquire the orders of a parsed body, before they are validated and predicted. Raises `ApiError`."""
        if count > self.max_orders:
            raise ApiError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The request has {count:,} orders. The maximum is {self.max_orders:,}.",
                "Send several smaller requests, or use `preptime score` for a file.",
                field="orders",
                value=f"{count} orders",
                expected=f"at most {self.max_orders} orders",
            )
        if self.admission is not None:
            try:
                self.admission.limits.add_orders(self.admission, count)
            except LimitExceededError as error:
                raise limit_error(error.cause) from None


RequestReader = Callable[[bytes, ActiveModel, OrderLimit], PreparedRequest]
"""Parses a body within a limit on its orders. Raises `ApiError` if the whole request is invalid."""


class PredictionJob(msgspec.Struct, frozen=True, gc=False):
    """A request to predict."""

    reader: RequestReader
    body: bytes
    active_model: ActiveModel
    order_limit: OrderLimit


def read_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to `POST /v1/predictions`."""
    return _prepare(
        decode_request(body), active_model, limit, partial(PredictionResponse, active_model.bundle.manifest.id)
    )


def read_vertex_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to the route that Vertex AI calls."""
    return _prepare(decode_vertex_request(body), active_model, limit, VertexResponse)


def read_take_home_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to `POST /predict`. The response has a list of seconds per model, null for an invalid row."""
    decoded = decode_take_home_request(body, limit.acquire)
    parsed = _read_orders(decoded, active_model, limit)

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
    (result,) = predict_batch([PredictionJob(reader, body, active_model, OrderLimit(max_orders))])
    if isinstance(result, ApiError):
        raise result
    return result


def predict_batch(jobs: Sequence[PredictionJob]) -> list[PredictionResult | ApiError]:
    """Return the result or the error of each job. Jobs for the same bundle and models share a run of the graph."""
    results: dict[int, PredictionResult | ApiError] = {}
    groups: dict[tuple[int, bool], list[tuple[int, PreparedRequest]]] = {}
    for index, job in enumerate(jobs):
        try:
            job.order_limit.acquire_values(job.body)
            prepared = job.reader(job.body, job.active_model, job.order_limit)
        except ApiError as error:
            # Without tracebacks, because their frames refer to the results. Such a cycle keeps the body in memory.
            error.__cause__ = error.__context__ = None
            results[index] = error.with_traceback(None)
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
    limit: OrderLimit,
    build_body: Callable[[list[_ResponseItem]], object],
) -> PreparedRequest:
    """Validate the orders of a request that gets one item per order."""
    _check_models(decoded.models, active_model)
    parsed = _read_orders(decoded, active_model, limit)

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


def _read_orders(decoded: DecodedRequest, active_model: ActiveModel, limit: OrderLimit) -> ParsedOrders:
    limit.acquire(len(decoded.orders))
    return read_orders(decoded.orders, active_model.lookup)


def limit_error(cause: str) -> ApiError:
    """Return the error for a request that doesn't fit into a limit of the worker."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        _LIMIT_FACTS[cause],
        "Retry after the number of seconds in the Retry-After header.",
        retry_after_seconds=BUSY_RETRY_SECONDS,
        rejection_cause=cause,
    )


def _check_models(models: Sequence[str], active_model: ActiveModel) -> None:
    """Raise `ApiError` if a model is unknown or is named more than once, or if there are more names than models."""
    if not models:
        return
    known = (*active_model.models, DEFAULT_MODEL)
    if len(models) > len(known):
        raise _models_error(
            "models", f"{len(models):,} names", f"at most {len(known)} names: {', '.join(known)}, each once"
        )
    for index, name in enumerate(models):
        if name not in known:
            raise _models_error(f"models[{index}]", repr(name[:60]), f"one of {', '.join(known)}")
        if name in models[:index]:
            raise _models_error(f"models[{index}]", repr(name), f"each name once: remove {name!r} here")


def _models_error(field: str, value: str, expected: str) -> ApiError:
    return ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{field} is {value}; expected {expected}.",
        field=field,
        value=value.strip("'"),
        expected=expected,
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


def _echo_order_id(order_id: object) -> str | float | UnsetType:
    """Return the identifier unchanged if it's text or a number. Other values are omitted from the response."""
    if type(order_id) is str or type(order_id) is int:
        return order_id
    return order_id if type(order_id) is float and math.isfinite(order_id) else UNSET
