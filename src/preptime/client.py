"""A client of the prediction API.

Example:
    client = preptime.Client("http://127.0.0.1:8000", key)
    for prediction in client.predict(orders):
        print(prediction.order_id, prediction.prep_time_seconds)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import HTTPError, InvalidHeader, NewConnectionError, ProtocolError, ProxyError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from preptime.domain.order_records import Orders, RequestColumns, order_records, raise_unencodable_text
from preptime.domain.prediction_records import ActiveBundle, DispatchResponse, PredictionResponse
from preptime.errors import PreptimeError, UsageError
from preptime.http_connections import open_pools, parse_proxy_url, parse_server_url, proxy_of_environment
from preptime.network import HEADER_VALUE_PATTERN

INITIAL_RETRY_DELAY_SECONDS = 0.1
MAX_RETRY_DELAY_SECONDS = 5.0
"""The delay doubles after each attempt, up to this value. A random part of up to one half is left out, so that the
clients of a restarted server don't all return at the same moment."""

T = TypeVar("T")
_Response = TypeVar("_Response", PredictionResponse, DispatchResponse)
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


class _Request(msgspec.Struct, Generic[_Response], frozen=True):
    """What a request for predictions contains in addition to the columns of the schema."""

    path: str
    response_type: type[_Response]
    fields: dict[str, object]
    """Fields of the whole request."""
    more_columns: dict[str, str] = {}
    """Further columns of orders, and their expected content."""


class Client:
    """Requests predictions from a server. Threads can share a client.

    Connections stay open until `close`; or use the client in a `with` statement. By default, the client uses the
    proxy that the environment names (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), except for a server on this machine's
    loopback interface.

    Example:
        with preptime.Client("http://127.0.0.1:8000", key) as client:
            response = client.predict(orders, models=["rf"])
    """

    def __init__(
        self, url: str, key: str, *, timeout_seconds: float = 10.0, max_attempts: int = 5, proxy: str | None = None
    ) -> None:
        """Create a client. Nothing is sent yet.

        Args:
            url: Base URL of the server.
            key: API key. If it's empty, the server decides whether a request needs one.
            timeout_seconds: Limit for connecting and for each wait for data, per attempt.
            max_attempts: Attempts per request, if the server is busy or the connection breaks. A stale idle
                connection doesn't count as an attempt.
            proxy: URL of an HTTP proxy, with credentials if it requires them: `http://USER:PASSWORD@HOST:PORT`. An
                empty text means none, and None the one that the environment names.

        Raises:
            UsageError: A URL is invalid, or the proxy isn't an HTTP proxy.
            InvalidApiKeyError: The key isn't visible ASCII.
        """
        server = parse_server_url(url)
        if key and not HEADER_VALUE_PATTERN.fullmatch(key):
            raise InvalidApiKeyError(
                "Invalid API key: it contains a character that isn't visible ASCII, or starts or ends with a space.",
                "Copy the whole key again, as `preptime keys new NAME` printed it.",
            )
        self._server_name = server.netloc or ""
        self._base_url = f"{server.scheme}://{self._server_name}{(server.path or '').rstrip('/')}"
        self._headers = {"aikey": key, "Content-Type": "application/json", "Accept": "application/json"}
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max(1, max_attempts)
        proxy_server = parse_proxy_url(proxy_of_environment(server) if proxy is None else proxy)
        self._proxy_name = proxy_server.netloc if proxy_server else None
        self._pools = open_pools(proxy_server)
        self._known: _KnownColumns | None = None

    def predict(self, orders: Orders, *, models: Sequence[str] | None = None) -> PredictionResponse:
        """Return predictions for orders.

        The client retries if the server is busy (503) or a connection breaks.

        Args:
            orders: One order as a dict, a pandas Series, or an object with the columns as attributes. Several as a list
                of these, or a Polars or pandas data frame. Columns have the names in the server's schema, as
                `GET /v1/schema` lists them. Other columns aren't sent, except `kitchen`: the state of the restaurant's
                kitchen, with which the live model predicts the order. It's a dict with `open_orders` (their number, or
                a list of dicts with `acknowledged_at`) and `completed_orders` (of this day: a list of dicts with
                `ready_at` and `prep_time_seconds`).
            models: Names of point models whose predictions are added.

        Returns:
            One prediction or error per order, in the order of `orders`.

        Raises:
            ApiStatusError: The server rejected the request. The error has the server's facts.
            ApiConnectionError: No response arrived.
            UsageError: A column of an order contains a value that can't be sent, such as a list.
        """
        fields: dict[str, object] = {} if models is None else {"models": list(models)}
        return self._predict(orders, _Request("/v1/predictions", PredictionResponse, fields, _KITCHEN_COLUMN))

    def dispatch(
        self, orders: Orders, *, courier_cost: float | None = None, food_cost: float | None = None
    ) -> DispatchResponse:
        """Return predictions for orders, and when to send a courier for each order.

        Args:
            orders: As for `predict`, with the travel time to the restaurant in `travel_seconds`: a number, or a dict
                with p10, p50, and p90. For an order in progress, which isn't ready yet, `now` is the current time.
            courier_cost: Cost of a minute that a courier waits, in any unit. Default: the server's.
            food_cost: Cost of a minute that ready food waits, in the same unit. Default: the server's. The ratio of
                both must be from 1:9 to 9:1.

        Returns:
            One decision or error per order, in the order of `orders`.

        Raises:
            ApiStatusError: The server rejected the request. The error has the server's facts.
            ApiConnectionError: No response arrived.
            UsageError: A column of an order contains a value that can't be sent, such as a list.

        Example:
            for decision in client.dispatch(orders, courier_cost=2, food_cost=1):
                print(decision.order_id, decision.dispatch_at, decision.courier_wait_seconds)
        """
        costs = {"courier_cost": courier_cost, "food_cost": food_cost}
        fields: dict[str, object] = {name: cost for name, cost in costs.items() if cost is not None}
        return self._predict(orders, _Request("/v1/dispatch", DispatchResponse, fields, _TRIP_COLUMNS))

    def _predict(self, orders: Orders, request: _Request[_Response]) -> _Response:
        """Return the response for orders. The columns that are sent are those of the current bundle's schema."""
        orders = list(orders) if isinstance(orders, Iterator) else orders
        known = self._known or self._fetch_columns()
        try:
            response = self._send_orders(orders, known.columns, request)
        except (ApiStatusError, UsageError) as error:
            if isinstance(error, ApiStatusError) and error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            # Maybe the champion and its schema changed.
            current = self._fetch_columns()
            if current.columns == known.columns:
                raise
            return self._send_orders(orders, current.columns, request)
        if not known.bundles:  # a server without `/v1/schema`
            self._known = _KnownColumns(known.columns, frozenset({response.bundle}))
            return response
        if response.bundle in known.bundles:
            return response
        current = self._fetch_columns(response.bundle)
        return response if current.columns == known.columns else self._send_orders(orders, current.columns, request)

    def _send_orders(self, orders: Orders, columns: RequestColumns, request: _Request[_Response]) -> _Response:
        records = order_records(orders, columns.with_objects(request.more_columns))
        try:
            body = _ENCODER.encode({"orders": records, **request.fields})
        except UnicodeEncodeError:
            raise_unencodable_text(records)
        return self._decode(self._request_with_retries("POST", request.path, body), request.response_type)

    def _fetch_columns(self, bundle: str = "") -> _KnownColumns:
        """Return the columns of the server's schema, after the first request and after a change of the bundle.

        A server without `/v1/schema` has the default schema. `bundle` is the one that it serves, if that's known.
        """
        try:
            schema = self._decode(self._request_with_retries("GET", "/v1/schema", b""), _ServerSchema)
        except ApiStatusError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            columns, bundle_ids = _default_columns(), {bundle} - {""}
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

    def bundle(self) -> ActiveBundle:
        """Return the bundle that serves predictions now. Raises the same errors as `predict`."""
        return self._decode(self._request_with_retries("GET", "/v1/bundle", b""), ActiveBundle)

    def close(self) -> None:
        """Close all idle connections. A later request opens a new one."""
        self._pools.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request_with_retries(self, method: str, path: str, body: bytes) -> bytes:
        for attempt in range(self._max_attempts - 1):
            try:
                return self._request(method, path, body)
            except ApiStatusError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                retry_after_seconds = error.retry_after_seconds
            except (ApiTimeoutError, ProxyRejectedError):
                raise
            except ApiConnectionError:
                retry_after_seconds = 0.0
            time.sleep(_retry_delay_seconds(attempt, retry_after_seconds))
        return self._request(method, path, body)

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        try:
            response = self._send(method, path, body)
        except HTTPError as error:
            raise self._connection_error(error, len(body)) from error
        if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and self._proxy_name:
            raise self._proxy_rejection(f"HTTP status {response.status}")
        if response.status != HTTPStatus.OK:
            raise ApiStatusError(response.status, _decode_problem(response), _retry_after_seconds(response))
        return response.data

    def _connection_error(self, error: HTTPError, body_bytes: int) -> ApiConnectionError:
        """Return the error that says how far a request without a response came."""
        reason = _find_cause(error)
        has_timed_out = isinstance(error, HttpTimeoutError) or isinstance(reason, TimeoutError)
        if has_timed_out and not isinstance(error, NewConnectionError):
            return ApiTimeoutError(
                f"{self._server_name} did not respond within {self._timeout_seconds} s.",
                "Send fewer orders per request, or increase the timeout.",
            )
        cause = str(reason) or type(reason).__name__
        if self._proxy_name and cause.startswith("Tunnel connection failed"):
            return self._proxy_rejection(cause)
        if isinstance(error, ProxyError):
            return ApiUnreachableError(
                f"The proxy {self._proxy_name} cannot be reached: {cause}.",
                "Check the variables HTTP_PROXY, HTTPS_PROXY, and NO_PROXY, or the client's argument `proxy`.",
            )
        if isinstance(error, ProtocolError):
            return ApiConnectionError(
                f"{self._server_name} closed the connection before it responded: {cause}.",
                f"The request has {body_bytes:,} bytes. Try again, or send fewer orders per request.",
            )
        return ApiUnreachableError(
            f"{self._server_name} cannot be reached: {cause}.",
            "Check that the server is running and that the URL is correct.",
        )

    def _proxy_rejection(self, cause: str) -> ProxyRejectedError:
        return ProxyRejectedError(
            f"The proxy {self._proxy_name} rejected the request to {self._server_name}: {cause}.",
            "If the proxy requires credentials, use http://USER:PASSWORD@HOST:PORT as its URL.",
        )

    def _send(self, method: str, path: str, body: bytes) -> BaseHTTPResponse:
        """Send a request, a second time if an idle connection turns out to be stale.

        urllib3 replaces an idle connection that the server has closed. It can't detect a connection that ended without
        a close, for example because the machine was killed. One such connection is a sign that all idle ones are
        stale, so they are all closed, and the request gets a new connection.
        """
        pool = self._pools.connection_from_url(self._base_url)
        opened_connections = pool.num_connections
        try:
            return self._send_once(method, path, body)
        except ProtocolError:
            if pool.num_connections > opened_connections:  # the connection was new, or another thread needed a new one
                raise
        self._pools.clear()
        return self._send_once(method, path, body)

    def _send_once(self, method: str, path: str, body: bytes) -> BaseHTTPResponse:
        return self._pools.urlopen(
            method,
            self._base_url + path,
            redirect=False,
            body=body,
            headers=self._headers,
            timeout=self._timeout_seconds,
            retries=False,
        )

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiConnectionError(
                f"{self._server_name} responds, but not as preptime's API does.", "Check that the URL is the API's."
            ) from error


def _default_columns() -> RequestColumns:
    """Return the columns of the default schema."""
    from preptime.schema.schema import TAKE_HOME_SCHEMA  # imports NumPy, which no other server needs

    names = TAKE_HOME_SCHEMA.request_fields()
    return RequestColumns(
        {source: TAKE_HOME_SCHEMA.column(name).expected_text for name, source in names.items()}, names["restaurant_id"]
    )


def _find_cause(error: HTTPError) -> BaseException:
    """Return the operating system's or the protocol's error in an error of urllib3, which adds the names of objects."""
    inner = error.__cause__ or next((part for part in reversed(error.args) if isinstance(part, Exception)), error)
    return _find_cause(inner) if isinstance(inner, HTTPError) and inner is not error else inner


def _retry_delay_seconds(attempt: int, retry_after_seconds: float) -> float:
    max_delay = min(MAX_RETRY_DELAY_SECONDS, INITIAL_RETRY_DELAY_SECONDS * 2**attempt)
    return float(
        min(max(retry_after_seconds, max_delay * secrets.SystemRandom().uniform(0.5, 1.0)), MAX_RETRY_DELAY_SECONDS)
    )


def _retry_after_seconds(response: BaseHTTPResponse) -> float:
    """Return the response's `Retry-After`, a number of seconds or a date, in seconds from now."""
    try:
        return Retry().get_retry_after(response) or 0.0
    except InvalidHeader:
        return 0.0


def _decode_problem(response: BaseHTTPResponse) -> Problem:
    """Return the server's problem document. For other content, such as a proxy's page, return its beginning."""
    try:
        return msgspec.json.decode(response.data, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = response.data[:200].decode(errors="replace").strip()
        status = f"The server responded with HTTP status {response.status} {response.reason or ''}".strip()
        return Problem(detail=f"{status}: {text}" if text else f"{status}.")


_ENCODER = msgspec.json.Encoder(decimal_format="number")
