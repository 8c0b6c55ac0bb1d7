"""The client for `asyncio`, with aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Self, TypeVar

import aiohttp

from preptime.client.protocol import ApiConnectionError, HttpRequest, HttpResponse, Pause, RequestProtocol, Steps
from preptime.domain.order_records import Orders
from preptime.domain.prediction_records import ActiveBundle, DispatchResponse, ExplanationResponse, PredictionResponse
from preptime.http_connections import MAX_IDLE_CONNECTIONS, proxy_headers

T = TypeVar("T")

_BROKEN_CONNECTIONS = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@dataclass
class _ConnectionUse:
    """Whether a request was sent on a connection that was open before."""

    is_reused: bool = False


async def _mark_reused(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.is_reused = True


class AsyncClient:
    """Requests predictions from a server with `asyncio`. Tasks of one event loop can share a client.

    It has the same methods, arguments, retries, and errors as `preptime.Client`. Connections stay open until `close`;
    or use the client in an `async with` statement. It needs the package aiohttp.

    Example:
        async with preptime.AsyncClient("http://127.0.0.1:8000", key) as client:
            first, second = await asyncio.gather(client.predict(orders), client.dispatch(trips))
    """

    def __init__(
        self, url: str, key: str, *, timeout_seconds: float = 10.0, max_attempts: int = 5, proxy: str | None = None
    ) -> None:
        """Create a client. Nothing is sent yet.

        Args:
            url: As for `preptime.Client`, like the other arguments.
            key: API key.
            timeout_seconds: Limit for connecting and for each wait for data, per attempt. At most a day.
            max_attempts: Attempts per request, if the server is busy or the connection breaks. A stale idle
                connection doesn't count as an attempt.
            proxy: URL of an HTTP proxy. An empty text means none, and None the one that the environment names.

        Raises:
            UsageError: A URL, the timeout, or the number of attempts is invalid, or the proxy isn't an HTTP proxy.
            InvalidApiKeyError: The key isn't visible ASCII.
        """
        self._protocol = RequestProtocol(url, key, timeout_seconds, max_attempts, proxy)
        self._session: aiohttp.ClientSession | None = None

    async def predict(self, orders: Orders, *, models: Sequence[str] | None = None) -> PredictionResponse:
        """Return predictions for orders.

        Args:
            orders: As for `preptime.Client.predict`.
            models: Names of point models whose predictions are added.

        Returns:
            One prediction or error per order, in the order of `orders`.

        Raises:
            ApiStatusError: The server rejected the request. The error has the server's facts.
            ApiConnectionError: No response arrived.
            UsageError: A column of an order contains a value that can't be sent, such as a list.
        """
        return await self._run(self._protocol.predict(orders, models))

    async def dispatch(
        self, orders: Orders, *, courier_cost: float | None = None, food_cost: float | None = None
    ) -> DispatchResponse:
        """Return predictions for orders, and when to send a courier for each order.

        Args:
            orders: As for `preptime.Client.dispatch`.
            courier_cost: Cost of a minute that a courier waits, in any unit. Default: the server's.
            food_cost: Cost of a minute that ready food waits, in the same unit. Default: the server's.

        Returns:
            One decision or error per order, in the order of `orders`.

        Raises:
            ApiStatusError: The server rejected the request. The error has the server's facts.
            ApiConnectionError: No response arrived.
            UsageError: A column of an order contains a value that can't be sent, such as a list.
        """
        return await self._run(self._protocol.dispatch(orders, courier_cost, food_cost))

    async def explain(self, orders: Orders) -> ExplanationResponse:
        """Return predictions for orders, and how many seconds each feature adds to the p50 of each order.

        Args:
            orders: As for `preptime.Client.predict`.

        Returns:
            One explained prediction or error per order, in the order of `orders`.

        Raises:
            ApiStatusError: The server rejected the request, or its bundle has no explanations.
            ApiConnectionError: No response arrived.
            UsageError: A column of an order contains a value that can't be sent, such as a list.
        """
        return await self._run(self._protocol.explain(orders))

    async def bundle(self) -> ActiveBundle:
        """Return the bundle that serves predictions now. Raises the same errors as `predict`."""
        return await self._run(self._protocol.bundle())

    async def close(self) -> None:
        """Close all connections. A later request opens a new one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        """Send the requests of the steps, and return their result."""
        try:
            step = next(steps)
            while True:
                try:
                    response = await self._perform(step)
                except ApiConnectionError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: HttpRequest | Pause) -> HttpResponse | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._send(step)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._connection_error(error, len(step.body)) from error

    async def _send(self, request: HttpRequest) -> HttpResponse:
        """Send a request, a second time if an idle connection turns out to be stale.

        The other idle connections can be stale too, so the second time has a session of its own.
        """
        if self._session is None:
            self._session = self._open_session()
        connection = _ConnectionUse()
        try:
            return await self._send_once(self._session, request, connection)
        except _BROKEN_CONNECTIONS:
            if not connection.is_reused:
                raise
        async with self._open_session() as session:
            return await self._send_once(session, request, connection)

    def _open_session(self) -> aiohttp.ClientSession:
        timeout_seconds = self._protocol.timeout_seconds
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_mark_reused)
        return aiohttp.ClientSession(
            # aiohttp's own context is made when it's imported, so later changes of SSL_CERT_FILE have no effect on it.
            connector=aiohttp.TCPConnector(limit=MAX_IDLE_CONNECTIONS, ssl=ssl.create_default_context()),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds, sock_read=timeout_seconds),
            headers=self._protocol.headers,
            trace_configs=[trace],
        )

    async def _send_once(
        self, session: aiohttp.ClientSession, request: HttpRequest, connection: _ConnectionUse
    ) -> HttpResponse:
        protocol, proxy = self._protocol, self._protocol.proxy
        credentials = {} if proxy is None else proxy_headers(proxy)
        is_tunneled = protocol.base_url.startswith("https:")
        async with session.request(
            request.method,
            protocol.base_url + request.path,
            data=request.body or None,
            headers=None if is_tunneled else credentials,
            allow_redirects=False,
            proxy=None if proxy is None else proxy._replace(auth=None).url,
            proxy_headers=credentials if is_tunneled else None,
            trace_request_ctx=connection,
        ) as response:
            body = await response.read()
            return HttpResponse(response.status, body, response.reason or "", response.headers.get("Retry-After"))

    def _connection_error(self, error: Exception, body_bytes: int) -> ApiConnectionError:
        """Return the error that says how far a request without a response came."""
        protocol = self._protocol
        if isinstance(error, TimeoutError):
            return protocol.timeout_error()
        if isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError):
            return protocol.other_response()
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        text = str(cause) or type(cause).__name__
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return protocol.proxy_rejection(f"HTTP status {error.status}")
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return protocol.proxy_unreachable(text)
        if isinstance(error, aiohttp.ClientConnectorError):
            return protocol.unreachable(text)
        return protocol.connection_closed(text, body_bytes)
