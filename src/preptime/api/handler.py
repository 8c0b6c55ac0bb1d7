"""The handler of a prediction request over HTTP: limits, body, API key, prediction, response, log, and metrics.

It works on a WSGI environment, so that Flask's view and `PredictionFastPath` share it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from preptime.api.active_model import ActiveModel
from preptime.api.predict import (
    PredictionJob,
    PredictionResult,
    RequestReader,
    read_request,
    read_take_home_request,
    read_vertex_request,
)
from preptime.api.schema import JSON, ApiError, ErrorFormatter, format_problem, format_take_home_error, internal_error
from preptime.api.service import PredictionRecord, Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PREDICTIONS_PATH, TAKE_HOME_PATH = "/v1/predictions", "/predict"
NO_CHAMPION_RETRY_SECONDS, BUSY_RETRY_SECONDS = 5, 1
"""Values of `Retry-After`: the default poll interval of the champion log, and a short delay."""

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_JSON_TYPE = re.compile(
    r'application/(?:json|[!#$&^_.+a-z0-9-]+\+json)\s*(?:;\s*charset="?utf-?8"?\s*)?', re.IGNORECASE
)
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


class HttpResponse(msgspec.Struct, frozen=True, gc=False):
    """An HTTP response."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


def prediction_endpoints(vertex_route: str | None) -> tuple[Endpoint, ...]:
    """Return the routes that predict. Vertex AI's route replaces another route with the same path."""
    default_endpoints = (
        Endpoint(PREDICTIONS_PATH, PREDICTIONS_PATH, read_request, format_problem),
        Endpoint(TAKE_HOME_PATH, TAKE_HOME_PATH, read_take_home_request, format_take_home_error),
    )
    if vertex_route is None:
        return default_endpoints
    vertex_endpoint = Endpoint(vertex_route, "vertex", read_vertex_request, format_problem, default_key_name="vertex")
    return (*(endpoint for endpoint in default_endpoints if endpoint.path != vertex_route), vertex_endpoint)


def handle_prediction(endpoint: Endpoint, environ: WSGIEnvironment, service: Service) -> HttpResponse:
    """Handle one POST. Never raises: an unexpected error is logged and becomes a 500 response with the request ID."""
    started_at = time.perf_counter()
    request_id = get_request_id(environ)
    key_name, orders = endpoint.default_key_name, 0
    try:
        _acquire_slot(environ, service)
        try:
            # Read the body before rejecting a request: a response to an unread body breaks the connection.
            body = _read_body_or_error(environ, service.settings.max_body_bytes)
            if key_name is None:
                key_name = require_key(environ, service)
            active_model, result = _predict(endpoint, body, service)
        finally:
            service.limiter.release()
        orders = len(result.orders)
        response = HttpResponse(result.status, _headers(JSON, result.body, request_id), result.body)
        service.record(_build_record(endpoint, active_model, request_id, key_name, result))
    except ApiError as error:
        response = error_response(error, endpoint.format_error, request_id)
    except Exception:  # The outermost layer: every client gets a response.
        logger.exception("A prediction failed.", extra={"request_id": request_id})
        response = error_response(internal_error(), endpoint.format_error, request_id)
    service.metrics.observe(endpoint.name, response.status.value, time.perf_counter() - started_at, orders, key_name)
    return response


def _acquire_slot(environ: WSGIEnvironment, service: Service) -> None:
    """Acquire a permit for a concurrent request. Raises `ApiError` if none is available."""
    if service.limiter.try_acquire():
        return
    if service.rejecting.try_acquire():
        try:
            _read_body_or_error(environ, service.settings.max_body_bytes)
        finally:
            service.rejecting.release()
    raise ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too many concurrent requests.",
        "Retry after the number of seconds in the Retry-After header.",
        retry_after_seconds=BUSY_RETRY_SECONDS,
    )


def _predict(endpoint: Endpoint, body: bytes | ApiError, service: Service) -> tuple[ActiveModel, PredictionResult]:
    active_model = service.active_model()
    if active_model is None:
        raise no_champion_error(service.champion_error())
    if isinstance(body, ApiError):
        raise body
    job = PredictionJob(endpoint.reader, body, active_model, service.settings.max_orders)
    result = service.batcher.submit(job, len(body))
    if isinstance(result, ApiError):
        raise result
    return active_model, result


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
    client_request_id = environ.get("HTTP_X_REQUEST_ID", "")
    return (
        client_request_id
        if _REQUEST_ID.fullmatch(client_request_id)
        else f"{_REQUEST_ID_PREFIX}{next(_request_numbers):08x}"
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
    )


def _read_body_or_error(environ: WSGIEnvironment, max_bytes: int) -> bytes | ApiError:
    """Return the request's body, or the error if its size, content type, or encoding isn't accepted."""
    try:
        body = _read_body(environ, max_bytes)
        _check_content_type(environ)
    except ApiError as error:
        return error
    return body


def _check_content_type(environ: WSGIEnvironment) -> None:
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != JSON and not _JSON_TYPE.fullmatch(content_type.strip()):
        raise _unsupported_media_error("Content-Type", content_type, "application/json in UTF-8")
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity")
    if encoding.lower() != "identity":
        raise _unsupported_media_error("Content-Encoding", encoding, "an uncompressed body")


def _read_body(environ: WSGIEnvironment, max_bytes: int) -> bytes:
    """Return the whole body. Raises `ApiError` if it has more than `max_bytes` bytes."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdigit():
        if len(length) > 15 or int(length) > max_bytes:
            raise _too_large_error(max_bytes)
        return bytes(environ["wsgi.input"].read(int(length)))
    if "HTTP_TRANSFER_ENCODING" not in environ and not environ.get("wsgi.input_terminated"):
        return b""
    body = bytes(environ["wsgi.input"].read(max_bytes + 1))
    if len(body) > max_bytes:
        raise _too_large_error(max_bytes)
    return body


def _unsupported_media_error(header: str, value: str, expected: str) -> ApiError:
    return ApiError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"{header} is {value[:60]!r}." if value else f"The header {header} is missing.",
        f"Send {expected}.",
        field=header,
        value=value[:60],
        expected=expected,
    )


def _too_large_error(max_bytes: int) -> ApiError:
    return ApiError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The request body is larger than {max_bytes:,} bytes.",
        "Send fewer orders per request, or use `preptime score` for a file.",
        expected=f"at most {max_bytes} bytes",
    )


def _headers(content_type: str, body: bytes, request_id: str) -> list[tuple[str, str]]:
    return [("Content-Type", content_type), ("Content-Length", str(len(body))), ("X-Request-ID", request_id)]


def _build_record(
    endpoint: Endpoint, active_model: ActiveModel, request_id: str, key_name: str, result: PredictionResult
) -> PredictionRecord:
    return PredictionRecord(
        time=time.time(),
        request_id=request_id,
        key_name=key_name,
        endpoint=endpoint.name,
        bundle=active_model.bundle.manifest.id,
        orders=result.orders,
        response=result.body,
    )
