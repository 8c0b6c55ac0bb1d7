"""The client that blocks until a response arrives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError, ProtocolError, ProxyError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from preptime.client.protocol import (
    ApiConnectionError,
    HttpRequest,
    HttpResponse,
    Pause,
    RequestProtocol,
    Steps,
)
from preptime.domain.order_records import Orders
from preptime.domain.prediction_records import ActiveBundle, DispatchResponse, ExplanationResponse, PredictionResponse
from preptime.http_connections import open_pools

T = TypeVar("T")


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
            timeout_seconds: Limit for connecting and for each wait for data, per attempt. At most a day.
            max_attempts: Attempts per request, if the server is busy or the connection breaks. A stale idle
                connection doesn't count as an attempt.
            proxy: URL of an HTTP proxy, with credentials if it requires them: `http://USER:PASSWORD@HOST:PORT`. An
                empty text means none, and None the one that the environment names.

        Raises:
            UsageError: A URL, the timeout, or the number of attempts is invalid, or the proxy isn't an HTTP proxy.
            InvalidApiKeyError: The key isn't visible ASCII.
        """
        self._protocol = RequestProtocol(url, key, timeout_seconds, max_attempts, proxy)
        self._pools = open_pools(self._protocol.proxy)

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
        return self._run(self._protocol.predict(orders, models))

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
        return self._run(self._protocol.dispatch(orders, courier_cost, food_cost))

    def explain(self, orders: Orders) -> ExplanationResponse:
        """Return predictions for orders, and how many seconds each feature adds to the p50 of each order.

        Args:
            orders: As for `predict`.

        Returns:
            One explained prediction or error per order, in the order of `orders`.

        Raises:
            ApiStatusError: The server rejected the request, or its bundle has no explanations.
            ApiConnectionError: No response arrived.
            UsageError: A column of an order contains a value that can't be sent, such as a list.

        Example:
            for explained in client.explain(orders):
                print(explained.p50, explained.explanation.sentence)
        """
        return self._run(self._protocol.explain(orders))

    def bundle(self) -> ActiveBundle:
        """Return the bundle that serves predictions now. Raises the same errors as `predict`."""
        return self._run(self._protocol.bundle())

    def close(self) -> None:
        """Close all idle connections. A later request opens a new one."""
        self._pools.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        """Send the requests of the steps, and return their result."""
        try:
            step = next(steps)
            while True:
                try:
                    response = self._perform(step)
                except ApiConnectionError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: HttpRequest | Pause) -> HttpResponse | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            response = self._send(step)
        except HTTPError as error:
            raise self._connection_error(error, len(step.body)) from error
        return HttpResponse(response.status, response.data, response.reason or "", response.headers.get("Retry-After"))

    def _connection_error(self, error: HTTPError, body_bytes: int) -> ApiConnectionError:
        """Return the error that says how far a request without a response came."""
        protocol, reason = self._protocol, _find_cause(error)
        has_timed_out = isinstance(error, HttpTimeoutError) or isinstance(reason, TimeoutError)
        if has_timed_out and not isinstance(error, NewConnectionError):
            return protocol.timeout_error()
        if isinstance(error, DecodeError):
            return protocol.other_response()
        cause = str(reason) or type(reason).__name__
        if protocol.proxy_name and cause.startswith("Tunnel connection failed"):
            return protocol.proxy_rejection(cause)
        if isinstance(error, ProxyError):
            return protocol.proxy_unreachable(cause)
        if isinstance(error, ProtocolError):
            return protocol.connection_closed(cause, body_bytes)
        return protocol.unreachable(cause)

    def _send(self, request: HttpRequest) -> BaseHTTPResponse:
        """Send a request, a second time if an idle connection turns out to be stale.

        urllib3 replaces an idle connection that the server has closed. It can't detect a connection that ended without
        a close, for example because the machine was killed. One such connection is a sign that all idle ones are
        stale, so they are all closed, and the request gets a new connection.
        """
        pool = self._pools.connection_from_url(self._protocol.base_url)
        opened_connections = pool.num_connections
        try:
            return self._send_once(request)
        except ProtocolError:
            if pool.num_connections > opened_connections:  # the connection was new, or another thread needed a new one
                raise
        self._pools.clear()
        return self._send_once(request)

    def _send_once(self, request: HttpRequest) -> BaseHTTPResponse:
        return self._pools.urlopen(
            request.method,
            self._protocol.base_url + request.path,
            redirect=False,
            body=request.body,
            headers=self._protocol.headers,
            timeout=self._protocol.timeout_seconds,
            retries=False,
        )


def _find_cause(error: HTTPError) -> BaseException:
    """Return the operating system's or the protocol's error in an error of urllib3, which adds the names of objects."""
    inner = error.__cause__ or next((part for part in reversed(error.args) if isinstance(part, Exception)), error)
    return _find_cause(inner) if isinstance(inner, HTTPError) and inner is not error else inner
