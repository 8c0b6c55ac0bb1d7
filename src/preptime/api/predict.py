"""Pure functions from request bytes and an active model to status and response bytes (D9).

Concurrent requests share one run of the ONNX graph (`preptime.api.batching`). An order's prediction doesn't depend on
the other orders in the run: the tests verify that features and graph give identical bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import TypeGuard

import msgspec
from msgspec import UNSET, UnsetType

from preptime.api.active_model import (
    DEFAULT_COLUMN,
    FIRST_POINT_COLUMN,
    FIRST_QUANTILE_COLUMN,
    NO_KITCHENS,
    ActiveModel,
    OrderRow,
    PredictionRow,
    run_inference,
    timed_inference,
)
from preptime.api.kitchen import KitchenRow
from preptime.api.limits import (
    BYTES,
    CONCURRENCY,
    ORDERS,
    SMALL_BODY_BYTES,
    VALUES_PER_ORDER,
    Admission,
    LimitExceededError,
)
from preptime.api.order_validation import InvalidOrder, OrderNotes, ParsedOrders, read_orders
from preptime.api.parsing import LocalTimestamp, format_ready_at
from preptime.api.request_decoding import (
    DecodedRequest,
    check_schema,
    decode_request,
    decode_take_home_request,
    decode_vertex_request,
)
from preptime.api.schema import (
    ApiError,
    Order,
    Prediction,
    PredictionError,
    PredictionResponse,
    RowError,
    VertexResponse,
)
from preptime.api.tracing import Part
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
    notes: Mapping[int, OrderNotes]
    """The notes on predicted orders, by index."""


class PreparedRequest(msgspec.Struct, frozen=True, gc=False):
    """A parsed request: the rows to predict, and a function that builds the response from the predictions."""

    active_model: ActiveModel
    rows: list[OrderRow]
    with_point_models: bool
    """Whether the request needs the point models."""
    build_result: Callable[[Sequence[PredictionRow]], PredictionResult]
    kitchens: Mapping[int, KitchenRow] = NO_KITCHENS
    """The states of kitchens, by index of the row."""
    parts: list[Part] | None = None
    """Receives the measured parts of a sampled request."""


ModelColumns = Sequence[tuple[str, int]]
"""Names of the requested models, and the index of their seconds in a `PredictionRow`."""
PredictionsBuilder = Callable[[Sequence[PredictionRow], Sequence[LocalTimestamp], ModelColumns], Sequence[Prediction]]
"""Takes the predictions of the valid orders and their acknowledgements. Returns the items of the response."""


class OrderLimit(msgspec.Struct, frozen=True, gc=False):
    """The limits on the orders of one request."""

    max_orders: int
    """Maximum number of orders in the request."""
    admission: Admission | None = None
    """The request's share in the limits of the worker, if it has limits."""
    weight: int = 1
    """How often an order counts in the limits of the worker."""

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
        weighted = count * self.weight
        if self.admission is not None and weighted > self.admission.orders:
            try:
                self.admission.limits.add_orders(self.admission, weighted)
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
    parts: list[Part] | None = None
    """Receives the measured parts of a sampled request."""


def read_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to `POST /v1/predictions`."""
    decoded = decode_request(body, active_model.types)
    parsed = parse_orders(body, decoded, active_model, limit)
    weak_models = requested_weak_models(decoded.models, active_model)
    build_body = partial(PredictionResponse, active_model.bundle.manifest.id, weak_models=weak_models)
    return prepare_request(decoded, parsed, active_model, build_body)


def read_vertex_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to the route that Vertex AI calls."""
    decoded = decode_vertex_request(body, active_model.types)
    parsed = parse_orders(body, decoded, active_model, limit)
    return prepare_request(decoded, parsed, active_model, VertexResponse)


def read_take_home_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to `POST /predict`. The response has a list of seconds per model, null for an invalid row."""
    decoded = decode_take_home_request(body, active_model.types, limit.acquire)
    parsed = _read_orders(decoded, active_model, limit)

    def build_result(prediction_rows: Sequence[PredictionRow]) -> PredictionResult:
        seconds_by_model = {
            name: _fill_gaps([seconds[column] for _, seconds in prediction_rows], parsed, len(decoded.orders))
            for name, column in active_model.model_columns.items()
        }
        return PredictionResult(HTTPStatus.CREATED, _encode(seconds_by_model), decoded.orders, parsed.notes)

    return PreparedRequest(active_model, parsed.rows, True, build_result)


def predict(
    body: bytes, active_model: ActiveModel, max_orders: int, reader: RequestReader = read_request
) -> PredictionResult:
    """Return the result of one request. Raises `ApiError`."""
    (result,) = predict_batch([PredictionJob(reader, body, active_model, OrderLimit(max_orders))])
    if isinstance(result, ApiError):
        raise result
    return result


def predict_batch(jobs: Sequence[PredictionJob]) -> Sequence[PredictionResult | ApiError]:
    """Return the result or the error of each job. Jobs for the same bundle and models share a run of the graph."""
    requests = [_read(job) if job.parts is None else _read_timed(job, job.parts) for job in jobs]
    if _share_a_run(requests):  # The usual case, which needs no groups.
        return _predict_group(requests)
    groups: dict[tuple[int, bool], list[PreparedRequest]] = {}
    for request in requests:
        if isinstance(request, PreparedRequest):
            groups.setdefault((id(request.active_model), request.with_point_models), []).append(request)
    results = {key: iter(_predict_group(group)) for key, group in groups.items()}
    return [
        next(results[id(request.active_model), request.with_point_models])
        if isinstance(request, PreparedRequest)
        else request
        for request in requests
    ]


def _read(job: PredictionJob) -> PreparedRequest | ApiError:
    """Parse the request of a job. Return the error if the whole request is invalid."""
    try:
        job.order_limit.acquire_values(job.body)
        return job.reader(job.body, job.active_model, job.order_limit)
    except ApiError as error:
        # Without tracebacks, because their frames refer to the results. Such a cycle keeps the body in memory.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)


def _read_timed(job: PredictionJob, parts: list[Part]) -> PreparedRequest | ApiError:
    """Return the same as `_read`, and add the validation to the parts of a sampled request."""
    started_at = time.time_ns()
    request = _read(job)
    parts.append(Part("validation", started_at, time.time_ns()))
    return request if isinstance(request, ApiError) else msgspec.structs.replace(request, parts=parts)


def _share_a_run(requests: list[PreparedRequest | ApiError]) -> TypeGuard[list[PreparedRequest]]:
    """Return whether all requests are valid, and need the same models of the same bundle."""
    first = requests[0]
    for request in requests:
        if (
            isinstance(request, ApiError)
            or isinstance(first, ApiError)
            or request.active_model is not first.active_model
            or request.with_point_models is not first.with_point_models
        ):
            return False
    return True


def _predict_group(requests: list[PreparedRequest]) -> list[PredictionResult]:
    """Return the results of requests that need the same models of the same bundle."""
    first = requests[0]
    bundle, with_point_models = first.active_model.bundle, first.with_point_models
    traced = [request.parts for request in requests if request.parts is not None]
    run = timed_inference(traced, len(requests)) if traced else run_inference
    if len(requests) == 1:
        return [first.build_result(run(bundle, first.rows, with_point_models, first.kitchens))]
    rows: list[OrderRow] = []
    kitchens: dict[int, KitchenRow] = {}
    for request in requests:
        if request.kitchens:
            kitchens |= {len(rows) + index: kitchen for index, kitchen in request.kitchens.items()}
        rows += request.rows
    predictions = iter(run(bundle, rows, with_point_models, kitchens))
    return [request.build_result(list(islice(predictions, len(request.rows)))) for request in requests]


def parse_orders(body: bytes, decoded: DecodedRequest, active_model: ActiveModel, limit: OrderLimit) -> ParsedOrders:
    """Validate the models and the orders of a request that gets one item per order. Raises `ApiError`."""
    _check_models(decoded.models, active_model)
    parsed = _read_orders(decoded, active_model, limit)
    if parsed.invalid_orders and not parsed.rows:
        check_schema(body, decoded.orders, active_model.types)
    return parsed


def prepare_request(
    decoded: DecodedRequest,
    parsed: ParsedOrders,
    active_model: ActiveModel,
    build_body: Callable[[list[_ResponseItem]], object],
    build_predictions: PredictionsBuilder | None = None,
) -> PreparedRequest:
    """Return a request that gets one item per order: a prediction or an error.

    `build_predictions` returns the items of valid orders, if they're more than predictions.
    """
    model_columns = [(name, active_model.model_columns[name]) for name in decoded.models]
    kitchens = parsed.kitchens if active_model.bundle.has_live_model else NO_KITCHENS

    def build_result(prediction_rows: Sequence[PredictionRow]) -> PredictionResult:
        predictions = (build_predictions or _build_predictions)(prediction_rows, parsed.timestamps, model_columns)
        for index in kitchens:
            predictions[index].live = True
        return PredictionResult(
            HTTPStatus.OK,
            _encode(build_body(_build_items(decoded, parsed, predictions))),
            decoded.orders,
            parsed.notes,
        )

    with_point_models = len(decoded.models) > (DEFAULT_MODEL in decoded.models)
    return PreparedRequest(active_model, parsed.rows, with_point_models, build_result, kitchens)


def _build_predictions(
    rows: Sequence[PredictionRow], timestamps: Sequence[LocalTimestamp], model_columns: ModelColumns
) -> Sequence[Prediction]:
    return [build_prediction(row, timestamp, model_columns) for row, timestamp in zip(rows, timestamps, strict=True)]


def _build_items(
    decoded: DecodedRequest, parsed: ParsedOrders, predictions: Sequence[Prediction]
) -> list[_ResponseItem]:
    items: list[_ResponseItem] = [*predictions] if not parsed.invalid_orders else _insert_errors(predictions, parsed)
    for index, notes in parsed.notes.items():
        item = items[index]
        if isinstance(item, Prediction):
            _add_notes(item, notes)
    for order, item in zip(decoded.orders, items, strict=True):
        if order.order_id is not None:
            item.order_id = _echo_order_id(order.order_id)
    return items


def _insert_errors(predictions: Sequence[Prediction], parsed: ParsedOrders) -> list[_ResponseItem]:
    """Return the predictions of the valid orders with the errors of the others between them."""
    remaining, invalid = iter(predictions), parsed.invalid_orders
    indexes = range(len(predictions) + len(invalid))
    return [_build_error(invalid[index]) if index in invalid else next(remaining) for index in indexes]


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


def requested_weak_models(models: Sequence[str], active_model: ActiveModel) -> list[str] | UnsetType:
    """Return the requested models that aren't better than the global median, or `UNSET` if there are none."""
    weak_models = active_model.bundle.manifest.weak_models
    return ([name for name in models if name in weak_models] or UNSET) if models and weak_models else UNSET


def _check_models(models: Sequence[str], active_model: ActiveModel) -> None:
    """Raise `ApiError` if a model is unknown or is named more than once, or if there are more names than models."""
    names = active_model.model_columns.keys()
    if len(models) <= len(names) and len(requested := set(models)) == len(models) and requested <= names:
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


def build_prediction(
    prediction_row: PredictionRow,
    timestamp: LocalTimestamp,
    model_columns: ModelColumns,
    make: Callable[..., Prediction] = Prediction,
) -> Prediction:
    """Return the prediction of one order, without its `order_id`. `make` takes the fields by name."""
    fallback_level, seconds = prediction_row
    p50 = seconds[DEFAULT_COLUMN]
    return make(
        prep_time_seconds=round(p50),
        p10=seconds[_P10],
        p50=seconds[_P50],
        p80=seconds[_P80],
        p90=seconds[_P90],
        ready_at=format_ready_at(timestamp, p50),
        fallback_level=FALLBACK_LEVELS[fallback_level],
        models={name: seconds[column] for name, column in model_columns} if model_columns else UNSET,
    )


def _add_notes(prediction: Prediction, notes: OrderNotes) -> None:
    prediction.restaurant_differs = notes.restaurant_differs or UNSET
    prediction.missing_features = notes.missing_features or UNSET
    prediction.kitchen_error = notes.kitchen_error or UNSET


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
