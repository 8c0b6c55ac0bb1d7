"""Requests and responses of the prediction API, without sending: for the client that blocks and the one for `asyncio`.

The steps of a request are a generator. It yields what to send or how long to wait, and gets the response or an error.
So columns of the schema, retries, and errors are the same for both clients.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from http import HTTPStatus
from typing import Generic, TypeVar

import msgspec
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from preptime.domain.order_records import Orders, RequestColumns, order_records, raise_unencodable_text
from preptime.domain.prediction_records import (
    ActiveBundle,
    DispatchResponse,
    ExplanationResponse,
    PredictionResponse,
)
from preptime.errors import PreptimeError, UsageError
from preptime.http_connections import parse_proxy_url, parse_server_url, proxy_of_environment
from preptime.network import HEADER_VALUE_PATTERN

INITIAL_RETRY_DELAY_SECONDS = 0.1
MAX_RETRY_DELAY_SECONDS = 5.0
"""The delay doubles after each attempt, up to this value. A random part of up to one half is left out, so that the
clients of a restarted server don't all return at the same moment."""
MAX_TIMEOUT_SECONDS = 86_400
"""The longest timeout: a day. The operating system has a limit too, and every client reports it in another way."""

T = TypeVar("T")
_Response = TypeVar("_Response", PredictionResponse, DispatchResponse, ExplanationResponse)
_KITCHEN_COLUMN = {"kitchen": "a dict with open_orders and completed_orders"}
"""The column with the state of the kitchen, for the live model."""
_TRIP_COLUMNS = {
    **_KITCHEN_COLUMN,
    "travel_seconds": "a number of seconds, or an object with p10, p50, and p90",
    "now": "a time that isn't before the acknowledgement",
}
"""The columns of an order in a dispatch request that the schema doesn't have, and their expected content."""


class _Field(msgspec.Struct, frozen=True):
    """One field of a request."""

    name: str
    column: str
    expected: str


class _ServerSchema(msgspec.Struct, frozen=True):
    """The fields of a request, from `/v1/schema`."""

    bundle: str
    fields: tuple[_Field, ...]


class _KnownColumns(msgspec.Struct, frozen=True):
    """The columns that the client sends, and the bundles that have them."""

    columns: RequestColumns
    bundles: frozenset[str]


class Problem(msgspec.Struct, frozen=True):
    """The server's description of a rejected request (RFC 9457)."""

    title: str = ""
    detail: str = ""
    row: int | None = None
    """Index of the order, from 0."""
    field: str | None = None
    value: str | None = None
    expected: str | None = None
    request_id: str | None = None


class ApiStatusError(PreptimeError):
    """The server rejected the request or couldn't process it. `facts` is the server's own text."""

    def __init__(self, status: int, problem: Problem, retry_after_seconds: float = 0.0) -> None:
        super().__init__(
            problem.detail or f"The server responded with HTTP status {status} {problem.title}".strip() + "."
        )
        self.status = status
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds
        """The delay that a busy server (503) asks for."""


class InvalidApiKeyError(UsageError):
    """A request header can't transport the key. Nothing was sent."""


class ApiConnectionError(PreptimeError):
    """No response arrived: the server isn't reachable, the connection broke, or the request timed out."""


class ApiUnreachableError(ApiConnectionError):
    """No connection to the server or to its proxy was possible. Nothing was sent."""


class ProxyRejectedError(ApiConnectionError):
    """The proxy requires credentials or rejects them. The client doesn't retry, because a proxy can lock accounts."""


class ApiTimeoutError(ApiConnectionError):
    """The request timed out. The client doesn't retry, because the server may still be working on it."""


class HttpRequest(msgspec.Struct, frozen=True):
    """A request to send."""

    method: str
    path: str
    body: bytes


class HttpResponse(msgspec.Struct, frozen=True):
    """A response that arrived."""

    status: int
    body: bytes
    reason: str = ""
    """The phrase after the status."""
    retry_after: str | None = None
    """The header `Retry-After`."""


class Pause(msgspec.Struct, frozen=True):
    """A delay before the next attempt."""

    seconds: float


Steps = Generator[HttpRequest | Pause, HttpResponse | None, T]
"""The steps of a request. A client sends each request, and passes the response or throws an `ApiConnectionError`."""


class _OrdersRequest(msgspec.Struct, Generic[_Response], frozen=True):
    """What a request for predictions contains in addition to the columns of the schema."""

    path: str
    response_type: type[_Response]
    fields: dict[str, object]
    """Fields of the whole request."""
    more_columns: dict[str, str] = {}
    """Further columns of orders, and their expected content."""


class RequestProtocol:
    """What a client sends to one server, and what the responses mean. Threads can share it."""

    def __init__(self, url: str, key: str, timeout_seconds: float, max_attempts: int, proxy: str | None) -> None:
        server = parse_server_url(url)
        if key and not HEADER_VALUE_PATTERN.fullmatch(key):
            raise InvalidApiKeyError(
                "Invalid API key: it contains a character that isn't visible ASCII, or starts or ends with a space.",
                "Copy the whole key again, as `preptime keys new NAME` printed it.",
            )
        _require_limits(timeout_seconds, max_attempts)
        self.server_name = server.netloc or ""
        self.base_url = f"{server.scheme}://{self.server_name}{(server.path or '').rstrip('/')}"
        self.headers = {"aikey": key, "Content-Type": "application/json", "Accept": "application/json"}
        self.timeout_seconds = timeout_seconds
        self.proxy = parse_proxy_url(proxy_of_environment(server) if proxy is None else proxy)
        self._max_attempts = max_attempts
        self._known: _KnownColumns | None = None

    @property
    def proxy_name(self) -> str | None:
        """The proxy without its credentials, or None."""
        return self.proxy.netloc if self.proxy else None

    def predict(self, orders: Orders, models: Sequence[str] | None) -> Steps[PredictionResponse]:
        """Return the steps of `POST /v1/predictions`."""
        names = [models] if isinstance(models, str) else models
        fields: dict[str, object] = {} if names is None else {"models": list(names)}
        return self._predict(orders, _OrdersRequest("/v1/predictions", PredictionResponse, fields, _KITCHEN_COLUMN))

    def dispatch(self, orders: Orders, courier_cost: float | None, food_cost: float | None) -> Steps[DispatchResponse]:
        """Return the steps of `POST /v1/dispatch`."""
        costs = {"courier_cost": courier_cost, "food_cost": food_cost}
        fields: dict[str, object] = {name: cost for name, cost in costs.items() if cost is not None}
        return self._predict(orders, _OrdersRequest("/v1/dispatch", DispatchResponse, fields, _TRIP_COLUMNS))

    def explain(self, orders: Orders) -> Steps[ExplanationResponse]:
        """Return the steps of `POST /v1/explanations`."""
        return self._predict(orders, _OrdersRequest("/v1/explanations", ExplanationResponse, {}, _KITCHEN_COLUMN))

    def bundle(self) -> Steps[ActiveBundle]:
        """Return the steps of `GET /v1/bundle`."""
        return self._decode((yield from self._request("GET", "/v1/bundle", b"")), ActiveBundle)

    def _predict(self, orders: Orders, request: _OrdersRequest[_Response]) -> Steps[_Response]:
        """Return the response for orders. The columns that are sent are those of the current bundle's schema."""
        orders = list(orders) if isinstance(orders, Iterator) else orders
        known = self._known or (yield from self._fetch_columns())
        try:
            response = yield from self._send_orders(orders, known.columns, request)
        except (ApiStatusError, UsageError) as error:
            if isinstance(error, ApiStatusError) and error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            # Maybe the champion and its schema changed.
            current = yield from self._fetch_columns()
            if current.columns == known.columns:
                raise
            return (yield from self._send_orders(orders, current.columns, request))
        if not known.bundles:  # a server without `/v1/schema`
            self._known = _KnownColumns(known.columns, frozenset({response.bundle}))
            return response
        if response.bundle in known.bundles:
            return response
        current = yield from self._fetch_columns(response.bundle)
        if current.columns == known.columns:
            return response
        return (yield from self._send_orders(orders, current.columns, request))

    def _send_orders(
        self, orders: Orders, columns: RequestColumns, request: _OrdersRequest[_Response]
    ) -> Steps[_Response]:
        records = order_records(orders, columns.with_objects(request.more_columns))
        try:
            body = _ENCODER.encode({"orders": records, **request.fields})
        except UnicodeEncodeError:
            raise_unencodable_text(records)
        return self._decode((yield from self._request("POST", request.path, body)), request.response_type)

    def _fetch_columns(self, bundle: str = "") -> Steps[_KnownColumns]:
        """Return the columns of the server's schema, after the first request and after a change of the bundle.

        A server without `/v1/schema` has the default schema. `bundle` is the one that it serves, if that's known.
        """
        try:
            schema = self._decode((yield from self._request("GET", "/v1/schema", b"")), _ServerSchema)
        except ApiStatusError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            columns, bundle_ids = default_columns(), {bundle} - {""}
        else:
            names = {field.column: field.name for field in schema.fields}
            columns = RequestColumns(
                {field.name: field.expected for field in schema.fields}, names.get("restaurant_id", "restaurant_id")
            )
            bundle_ids = {schema.bundle}
        if self._known is not None and self._known.columns == columns:
            bundle_ids |= self._known.bundles
        self._known = _KnownColumns(columns, frozenset(bundle_ids))
        return self._known

    def _request(self, method: str, path: str, body: bytes) -> Steps[bytes]:
        """Return the steps of a request with retries."""
        request = HttpRequest(method, path, body)
        for attempt in range(self._max_attempts - 1):
            try:
                return self._accept((yield request))
            except ApiStatusError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                retry_after_seconds = error.retry_after_seconds
            except (ApiTimeoutError, ProxyRejectedError):
                raise
            except ApiConnectionError:
                retry_after_seconds = 0.0
            yield Pause(_retry_delay_seconds(attempt, retry_after_seconds))
        return self._accept((yield request))

    def _accept(self, response: HttpResponse | None) -> bytes:
        """Return the body of a response. Raises an error for every status except 200."""
        if response is None:
            raise TypeError("a request gets a response")
        if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and self.proxy_name:
            raise self.proxy_rejection(f"HTTP status {response.status}")
        if response.status != HTTPStatus.OK:
            raise ApiStatusError(response.status, _decode_problem(response), _retry_after_seconds(response))
        return response.body

    def timeout_error(self) -> ApiTimeoutError:
        """Return the error for a response that didn't arrive in time."""
        return ApiTimeoutError(
            f"{self.server_name} did not respond within {self.timeout_seconds} s.",
            "Send fewer orders per request, or increase the timeout.",
        )

    def proxy_unreachable(self, cause: str) -> ApiUnreachableError:
        """Return the error for a proxy without a connection."""
        return ApiUnreachableError(
            f"The proxy {self.proxy_name} cannot be reached: {cause}.",
            "Check the variables HTTP_PROXY, HTTPS_PROXY, and NO_PROXY, or the client's argument `proxy`.",
        )

    def connection_closed(self, cause: str, body_bytes: int) -> ApiConnectionError:
        """Return the error for a connection that ended before the response."""
        return ApiConnectionError(
            f"{self.server_name} closed the connection before it responded: {cause}.",
            f"The request has {body_bytes:,} bytes. Try again, or send fewer orders per request.",
        )

    def unreachable(self, cause: str) -> ApiUnreachableError:
        """Return the error for a server without a connection."""
        return ApiUnreachableError(
            f"{self.server_name} cannot be reached: {cause}.",
            "Check that the server is running and that the URL is correct.",
        )

    def proxy_rejection(self, cause: str) -> ProxyRejectedError:
        """Return the error for a proxy that requires or rejects credentials."""
        return ProxyRejectedError(
            f"The proxy {self.proxy_name} rejected the request to {self.server_name}: {cause}.",
            "If the proxy requires credentials, add USER:PASSWORD@ before the host in its URL.",
        )

    def other_response(self) -> ApiConnectionError:
        """Return the error for a response with content that the API never sends."""
        return ApiConnectionError(
            f"{self.server_name} responds, but not as preptime's API does.", "Check that the URL is the API's."
        )

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.other_response() from error


def _require_limits(timeout_seconds: float, max_attempts: int) -> None:
    if not 0 < timeout_seconds <= MAX_TIMEOUT_SECONDS:
        raise UsageError(
            f"Invalid timeout_seconds: {timeout_seconds}.",
            f"Use a number of seconds above 0, up to {MAX_TIMEOUT_SECONDS:,}.",
        )
    if max_attempts < 1:
        raise UsageError(f"Invalid max_attempts: {max_attempts}.", "Use 1 or more.")


def default_columns() -> RequestColumns:
    """Return the columns of the default schema."""
    from preptime.schema.schema import TAKE_HOME_SCHEMA  # imports NumPy, which no other server needs

    names = TAKE_HOME_SCHEMA.request_fields()
    return RequestColumns(
        {source: TAKE_HOME_SCHEMA.column(name).expected_text for name, source in names.items()}, names["restaurant_id"]
    )


def _retry_delay_seconds(attempt: int, retry_after_seconds: float) -> float:
    max_delay = min(MAX_RETRY_DELAY_SECONDS, INITIAL_RETRY_DELAY_SECONDS * 2**attempt)
    return float(
        min(max(retry_after_seconds, max_delay * secrets.SystemRandom().uniform(0.5, 1.0)), MAX_RETRY_DELAY_SECONDS)
    )


def _retry_after_seconds(response: HttpResponse) -> float:
    """Return the response's `Retry-After`, a number of seconds or a date, in seconds from now."""
    try:
        return Retry().parse_retry_after(response.retry_after) if response.retry_after else 0.0
    except InvalidHeader:
        return 0.0


def _decode_problem(response: HttpResponse) -> Problem:
    """Return the server's problem document. For other content, such as a proxy's page, return its beginning."""
    try:
        return msgspec.json.decode(response.body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = response.body[:200].decode(errors="replace").strip()
        status = f"The server responded with HTTP status {response.status} {response.reason}".strip()
        return Problem(detail=f"{status}: {text}" if text else f"{status}.")


_ENCODER = msgspec.json.Encoder(decimal_format="number")
