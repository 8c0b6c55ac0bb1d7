"""The handler of a prediction request over HTTP: limits, body, API key, prediction, response, log, and metrics.

It works on a WSGI environment, so that Flask's view and `PredictionFastPath` share it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from preptime.api.active_model import ActiveModel
from preptime.api.dispatch import read_dispatch_request
from preptime.api.explanations import read_explanation_request
from preptime.api.limits import BODY_TIMEOUT, NO_CHAMPION, SMALL_BODY_BYTES, Admission, LimitExceededError
from preptime.api.predict import (
    OrderLimit,
    PredictionJob,
    PredictionResult,
    RequestReader,
    limit_error,
    read_request,
    read_take_home_request,
    read_vertex_request,
)
from preptime.api.request_body import (
    IncompleteBodyError,
    PendingBody,
    check_body_headers,
    discard_body,
    has_body,
    read_body,
)
from preptime.api.schema import (
    JSON,
    ApiError,
    ErrorFormatter,
    Order,
    format_problem,
    format_take_home_error,
    internal_error,
)
from preptime.api.service import ApiSettings, PredictionRecord, Service
from preptime.api.tracing import TRACEPARENT, TRACEPARENT_KEY, RequestTrace, begin_trace, trace_id_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PREDICTIONS_PATH, DISPATCH_PATH, TAKE_HOME_PATH = "/v1/predictions", "/v1/dispatch", "/predict"
EXPLANATIONS_PATH = "/v1/explanations"
NO_CHAMPION_RETRY_SECONDS = 5
"""Value of `Retry-After` without a champion: the default poll interval of the champion log."""

EXPLANATION_WEIGHT = 2
"""How often an explained order counts in the limit. It takes four times the memory of a prediction: 0.0066 MB."""

HTTP_1_0 = ("HTTP/1", "HTTP/1.0")
"""Versions in which a request needs no `Host`. Granian names HTTP/1.0 without its minor version."""

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_REQUEST_ID_PREFIX, _request_numbers = secrets.token_hex(8), count()
"""A random prefix per process and a counter make request IDs ten times faster than a random ID per request."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route that returns predictions."""

    path: str
    name: str
    """Its name in metrics and in the prediction log."""
    reader: RequestReader
    format_error: ErrorFormatter
    default_key_name: str | None = None
    """Name of the caller for a route that requires no API key."""
    is_recorded: bool = True
    """Whether its predictions are in the prediction log. An explained order is usually predicted elsewhere."""
    order_weight: int = 1
    """How often an order counts in the limit on concurrent orders."""


class HttpResponse(msgspec.Struct, frozen=True, gc=False):
    """An HTTP response."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


def prediction_endpoints(settings: ApiSettings) -> tuple[Endpoint, ...]:
    """Return the routes that predict. Vertex AI's route replaces another route with the same path."""
    vertex_route = settings.vertex_predict_route
    read_dispatch = partial(read_dispatch_request, settings.courier_cost, settings.food_cost)
    default_endpoints = (
        Endpoint(PREDICTIONS_PATH, PREDICTIONS_PATH, read_request, format_problem),
        Endpoint(DISPATCH_PATH, DISPATCH_PATH, read_dispatch, format_problem),
        Endpoint(
            EXPLANATIONS_PATH,
            EXPLANATIONS_PATH,
            read_explanation_request,
            format_problem,
            is_recorded=False,
            order_weight=EXPLANATION_WEIGHT,
        ),
        Endpoint(TAKE_HOME_PATH, TAKE_HOME_PATH, read_take_home_request, format_take_home_error),
    )
    if vertex_route is None:
        return default_endpoints
    vertex_endpoint = Endpoint(vertex_route, "vertex", read_vertex_request, format_problem, default_key_name="vertex")
    return (*(endpoint for endpoint in default_endpoints if endpoint.path != vertex_route), vertex_endpoint)


def handle_prediction(endpoint: Endpoint, environ: WSGIEnvironment, service: Service) -> HttpResponse:
    """Handle one POST. Never raises: an unexpected error is logged and becomes a 500 response with the request ID."""
    started_at = time.perf_counter()
    traceparent, trace = None, None
    if TRACEPARENT_KEY in environ or service.trace_exporter is not None:
        traceparent, trace = begin_trace(environ, service.trace_exporter)
    request_id, key_name = get_request_id(environ), endpoint.default_key_name
    request = _Request(environ, started_at, None, False, False, endpoint, service, request_id, key_name, trace)
    orders = 0
    try:
        active_model, admission, size = _admit(request)
        try:
            body = _read_body(request, admission, size)
            result = _predict(request, body, active_model, admission)
        finally:
            service.limits.release(admission)
        orders = len(result.orders)
        response = HttpResponse(result.status, _headers(JSON, result.body, request.id), result.body)
        if endpoint.is_recorded:
            _record(request, active_model, result, body)
        if result.notes:
            _count_notes(result, service)
    except ApiError as error:
        if error.rejection_cause is not None:
            service.metrics.count_rejection(error.rejection_cause)
        response = error_response(error, endpoint.format_error, request.id)
    except Exception:  # The outermost layer: every client gets a response.
        extra = {"request_id": request.id, "trace_id": trace_id_of(traceparent)}
        logger.exception("A prediction failed.", extra=extra)
        response = error_response(internal_error(), endpoint.format_error, request.id)
    service.metrics.observe(
        endpoint.name, response.status.value, time.perf_counter() - started_at, orders, request.key_name
    )
    if traceparent is not None:
        response.headers.append((TRACEPARENT, traceparent))
        if trace is not None:
            _export(trace, request, response.status, orders)
    return response


class _Request(PendingBody, gc=False, eq=False):
    """A request, and what is known about it."""

    endpoint: Endpoint
    service: Service
    id: str
    key_name: str | None
    """Name of the API key, when the key is checked."""
    trace: RequestTrace | None
    """The trace of the request, if it's sampled."""


def _export(trace: RequestTrace, request: _Request, status: HTTPStatus, orders: int) -> None:
    """Export the trace of a sampled request."""
    exporter = request.service.trace_exporter
    if exporter is None:
        return
    attributes: dict[str, str | int] = {"preptime.request_id": request.id, "preptime.orders": orders}
    if request.key_name is not None:
        attributes["preptime.key_name"] = request.key_name
    exporter.export(trace, request.endpoint.path, attributes, status.value)


def _record(request: _Request, active_model: ActiveModel, result: PredictionResult, body: bytes) -> None:
    """Add a request to the queue of the prediction log."""
    if request.trace is None:
        request.service.record(_build_record(request, active_model, result, body))
        return
    started_at = time.time_ns()
    request.service.record(_build_record(request, active_model, result, body))
    request.trace.add_part("log", started_at)


def _count_notes(result: PredictionResult, service: Service) -> None:
    notes = result.notes.values()
    for name, orders in (
        ("restaurant_differs", sum(note.restaurant_differs for note in notes)),
        ("missing_features", sum(note.missing_features is not None for note in notes)),
        ("invalid_kitchen", sum(note.kitchen_error is not None for note in notes)),
    ):
        if orders:
            service.metrics.count_notes(name, orders)


def _admit(request: _Request) -> tuple[ActiveModel, Admission, int | None]:
    """Return the model for the request, its share in the limits, and the size of its body if it's known.

    Everything that can be rejected without the body is rejected here. Raises `ApiError`.
    """
    service = request.service
    try:
        check_host(request.environ)
        if request.key_name is None:
            request.key_name = require_key(request.environ, service)
        active_model = service.active_model()
        if active_model is None:
            raise no_champion_error(service.champion_error())
        size = check_body_headers(request.environ, service.settings.max_body_bytes)
        try:
            return active_model, service.limits.admit(size or 0), size
        except LimitExceededError as error:
            raise limit_error(error.cause) from None
    except ApiError:
        _discard_body(request)
        raise


def _discard_body(request: _Request) -> None:
    """Read a rejected request's body, if few others are read and it arrives in time."""
    service = request.service
    if not has_body(request.environ) or not service.rejecting.try_acquire():
        return
    service.body_deadline.start(request)
    try:
        discard_body(request.environ, service.settings.max_body_bytes)
    finally:
        service.body_deadline.finish()
        service.rejecting.release()


def _read_body(request: _Request, admission: Admission, size: int | None) -> bytes:
    """Return the body. Raises `ApiError` if it's incomplete, too large, or too late."""
    service = request.service
    request.admission = admission
    service.body_deadline.start(request)
    try:
        return read_body(request.environ, size, service.settings.max_body_bytes, admission)
    except LimitExceededError as error:
        raise limit_error(error.cause) from None
    except IncompleteBodyError:
        if request.is_interrupted:  # The connection waited for this thread, so the request began late.
            raise body_timeout_error(service.settings.body_timeout_seconds) from None
        raise
    finally:
        service.body_deadline.finish()
        # The read ended early, so an incomplete body isn't the cause. In chunks, its JSON can be complete.
        if request.is_late or (size is None and request.is_interrupted):
            raise body_timeout_error(service.settings.body_timeout_seconds)


def _predict(request: _Request, body: bytes, active_model: ActiveModel, admission: Admission) -> PredictionResult:
    service = request.service
    parts = None if request.trace is None else request.trace.parts
    order_limit = OrderLimit(service.settings.max_orders, admission, request.endpoint.order_weight)
    job = PredictionJob(request.endpoint.reader, body, active_model, order_limit, parts)
    result = service.batcher.submit(job, len(body))
    if isinstance(result, ApiError):
        try:
            raise result
        finally:
            del result  # Otherwise, the error and this frame refer to each other, which keeps the body in memory.
    return result


def error_response(error: ApiError, formatter: ErrorFormatter, request_id: str) -> HttpResponse:
    """Return the HTTP response for an error."""
    content_type, body = formatter(error, request_id)
    headers = _headers(content_type, body, request_id)
    if error.retry_after_seconds is not None:
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    if error.status is HTTPStatus.UNAUTHORIZED:
        headers.append(("WWW-Authenticate", 'Bearer realm="preptime"'))
    return HttpResponse(error.status, headers, body)


def get_request_id(environ: WSGIEnvironment) -> str:
    """Return the client's `X-Request-ID` if it's valid in a header and a log, otherwise a new ID."""
    client_request_id: str | None = environ.get("HTTP_X_REQUEST_ID")
    if client_request_id and _REQUEST_ID.fullmatch(client_request_id):
        return client_request_id
    return f"{_REQUEST_ID_PREFIX}{next(_request_numbers):08x}"


def check_host(environ: WSGIEnvironment) -> None:
    """Raise `ApiError` unless the request has one `Host`. HTTP/1.0 needs none. Granian joins several with commas."""
    host = environ.get("HTTP_HOST")
    if not host or "," in host:
        if not host and environ.get("SERVER_PROTOCOL") in HTTP_1_0:
            return
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"The header Host is {host[:60]!r}." if host else "The request has no header Host.",
            "Send exactly one Host, as HTTP/1.1 requires.",
            field="Host",
        )


def require_key(environ: WSGIEnvironment, service: Service) -> str:
    """Return the name of the API key in the header `aikey` or `Authorization: Bearer`.

    Raises `ApiError` if the key is missing or unknown.
    """
    key = environ.get("HTTP_AIKEY")
    if key is None:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else None
    name = service.key_name(key) if key else None
    if name is None:
        raise ApiError(
            HTTPStatus.UNAUTHORIZED,
            "The API key is invalid." if key else "The request has no API key.",
            "Send the key in the header aikey, or as Authorization: Bearer KEY.",
        )
    return name


def no_champion_error(champion_error: str | None) -> ApiError:
    """Return the error for a server without an active model."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "No bundle is loaded." if champion_error is None else "No bundle is loaded: the champion can't be loaded.",
        "Train or promote a bundle. The server loads it automatically. For details, see /readyz.",
        retry_after_seconds=NO_CHAMPION_RETRY_SECONDS,
        rejection_cause=NO_CHAMPION,
    )


def body_timeout_error(timeout_seconds: float) -> ApiError:
    """Return the error for a body that isn't complete after this time."""
    return ApiError(
        HTTPStatus.REQUEST_TIMEOUT,
        f"The request body wasn't complete after {timeout_seconds:g} seconds.",
        "Send the request again. For slow connections, send fewer orders per request, or raise "
        "PREPTIME_BODY_TIMEOUT_SECONDS on the server.",
        rejection_cause=BODY_TIMEOUT,
    )


def _headers(content_type: str, body: bytes, request_id: str) -> list[tuple[str, str]]:
    return [("Content-Type", content_type), ("Content-Length", str(len(body))), ("X-Request-ID", request_id)]


def _build_record(
    request: _Request, active_model: ActiveModel, result: PredictionResult, body: bytes
) -> PredictionRecord:
    return PredictionRecord(
        time=time.time(),
        request_id=request.id,
        key_name=request.key_name,
        endpoint=request.endpoint.name,
        bundle=active_model.bundle.manifest.id,
        orders=result.orders if len(body) <= SMALL_BODY_BYTES else _compact_orders(result.orders, body),
        response=result.body,
    )


def _compact_orders(orders: Sequence[Order], body: bytes) -> Sequence[object]:
    """Return the orders for the prediction log, which holds them until they're written.

    Nested values take up to 30 times the memory of their JSON. If a large body has some, its orders are encoded here.
    """
    if body.count(b"{") + body.count(b"[") <= len(orders) + 3:
        return orders
    return [_encode_order(order) for order in orders]


def _encode_order(order: Order) -> msgspec.Raw | None:
    try:
        return msgspec.Raw(msgspec.json.encode(order))
    except RecursionError:  # It's nested too deeply: see `PredictionRecord.to_json_line`.
        return None
