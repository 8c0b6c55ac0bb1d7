"""A client of the online API, on the standard library's HTTP.

client = preptime.Client("http://127.0.0.1:8000", key)
for prediction in client.predict(orders):
    print(prediction.order_id, prediction.prep_time_seconds)
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from preptime.errors import PreptimeError, UsageError

INITIAL_RETRY_DELAY_SECONDS = 0.1
MAX_RETRY_DELAY_SECONDS = 5.0
"""Between two tries: twice as long every time, up to this; a random half of it is left out, so that many clients of a
server that comes back do not all return in one moment."""


_KEY_PATTERN = re.compile("([!-~]([ -~]*[!-~])?)?")
"""What a header carries unchanged: visible ASCII, with spaces inside; nothing is no key."""

T = TypeVar("T")


class OrderError(msgspec.Struct, frozen=True):
    """Why an order cannot be predicted."""

    code: str
    field: str
    message: str


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one order: the numbers, or `error`. Times are in seconds from acknowledgement to ready."""

    order_id: object = None
    prep_time_seconds: int | None = None
    p10: float | None = None
    p50: float | None = None
    p80: float | None = None
    p90: float | None = None
    ready_at: str | None = None
    """Acknowledgement plus p50, on the restaurant's wall clock with its offset."""
    fallback_level: str | None = None
    models: dict[str, float] = {}
    """Seconds by point model, for those that were asked for."""
    error: OrderError | None = None


class PredictionResponse(msgspec.Struct, frozen=True):
    """Predictions in the orders' places, all from one bundle. Use it like a list."""

    bundle: str
    predictions: list[Prediction]

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __getitem__(self, index: int) -> Prediction:
        return self.predictions[index]


class _ManifestSummary(msgspec.Struct, frozen=True):
    """What a client needs of a manifest."""

    date: dt.date
    models: tuple[str, ...]


class ActiveBundle(msgspec.Struct, frozen=True):
    """The bundle that answers at the moment."""

    id: str
    champion: int
    """Its number in the log of champions."""
    manifest: _ManifestSummary

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models, the default one among them."""
        return self.manifest.models


class Problem(msgspec.Struct, frozen=True):
    """What the server says of a request that it refuses (RFC 9457)."""

    title: str = ""
    detail: str = ""
    row: int | None = None
    """Place of the order, from 0."""
    field: str | None = None
    value: str | None = None
    expected: str | None = None
    request_id: str | None = None


class ApiStatusError(PreptimeError):
    """The server refused the request, or could not answer it. `facts` are the server's own."""

    def __init__(self, status: int, problem: Problem, retry_after_seconds: float = 0.0) -> None:
        super().__init__(problem.detail or problem.title or f"The server answered {status}.")
        self.status = status
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds
        """When a busy server (503) wants to be asked again."""


class InvalidApiKeyError(UsageError):
    """The key is none that a request could carry. Nothing was sent."""


class ApiConnectionError(PreptimeError):
    """No answer came: nobody listens, the connection broke, or the time was over."""


class ApiTimeoutError(ApiConnectionError):
    """The time was over. Not tried again: the server may be at work on it still."""


@runtime_checkable
class PolarsFrame(Protocol):
    """A data frame of the Polars kind."""

    def to_dicts(self) -> list[dict[str, object]]:
        """Its rows."""


@runtime_checkable
class PandasFrame(Protocol):
    """A data frame of the pandas kind."""

    def to_dict(self, orient: Literal["records"], /) -> object:
        """Its rows, for "records"."""


@runtime_checkable
class NumpyScalar(Protocol):
    """A number of NumPy's."""

    def item(self) -> object:
        """As Python's own."""


Orders = Sequence[Mapping[str, object]] | Mapping[str, object] | PolarsFrame | PandasFrame


class Client:
    """Asks a server for predictions. Threads may share it. Connections stay open until `close`, or use it in `with`."""

    def __init__(self, url: str, key: str, *, timeout_seconds: float = 10.0, max_attempts: int = 5) -> None:
        """`timeout_seconds` is for one try. An empty key is none: the server says whether it wants one.

        Raises `UsageError` for a URL that is none, and for a key that is not visible ASCII.
        """
        parsed_url = urlsplit(url)
        if parsed_url.scheme not in {"http", "https"} or not parsed_url.hostname:
            raise UsageError(f"{url!r} is no URL of a server.", "Write it as http://127.0.0.1:8000.")
        if not _KEY_PATTERN.fullmatch(key):
            raise InvalidApiKeyError(
                "This is no key: it holds a character that is not visible ASCII, or begins or ends with a space.",
                "Copy it again, whole, as `preptime keys new NAME` printed it.",
            )
        self._url = parsed_url
        self._headers = {"aikey": key, "Content-Type": "application/json", "Accept": "application/json"}
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max(1, max_attempts)
        self._idle_connections: deque[HTTPConnection] = deque()

    def predict(self, orders: Orders, *, models: Sequence[str] | None = None) -> PredictionResponse:
        """Predictions for orders: a dict, several, or a frame (Polars, pandas). `models` names point models to add.

        A server that is busy (503), and a connection that breaks, are tried again. Raises `RefusedRequestError` with
        the server's facts, `UnreachableError` when no answer came.
        """
        request: dict[str, object] = {"orders": _order_dicts(orders)}
        if models is not None:
            request["models"] = list(models)
        content = self._request_with_retries("POST", "/v1/predictions", _ENCODER.encode(request))
        return self._decode(content, PredictionResponse)

    def bundle(self) -> ActiveBundle:
        """The bundle that answers at the moment. Raises as `predict` does."""
        return self._decode(self._request_with_retries("GET", "/v1/bundle", b""), ActiveBundle)

    def _request_with_retries(self, method: str, path: str, body: bytes) -> bytes:
        for attempt in range(self._max_attempts - 1):
            try:
                return self._request(method, path, body)
            except ApiStatusError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                retry_after_seconds = error.retry_after_seconds
            except ApiTimeoutError:
                raise
            except ApiConnectionError:
                retry_after_seconds = 0.0
            time.sleep(_retry_delay_seconds(attempt, retry_after_seconds))
        return self._request(method, path, body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no request uses. A later request opens another."""
        while (connection := self._pop_idle_connection()) is not None:
            connection.close()

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        connection = self._pop_idle_connection() or self._open_connection()
        try:
            connection.request(method, f"{self._url.path.rstrip('/')}{path}", body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except TimeoutError as error:
            connection.close()
            raise ApiTimeoutError(
                f"{self._url.netloc} did not answer within {self._timeout_seconds} s.",
                "Send fewer orders at once, or allow more time.",
            ) from error
        except (OSError, HTTPException) as error:
            connection.close()
            facts = f"{self._url.netloc} cannot be reached: {str(error) or type(error).__name__}."
            raise ApiConnectionError(facts, "Is the server running, and this its address?") from error
        self._idle_connections.append(connection)
        if response.status != HTTPStatus.OK:
            raise ApiStatusError(response.status, _decode_problem(content), _retry_after_seconds(response))
        return content

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiConnectionError(
                f"{self._url.netloc} answers, but not as preptime's API does.", "Is this the API's address?"
            ) from error

    def _pop_idle_connection(self) -> HTTPConnection | None:
        try:
            return self._idle_connections.pop()
        except IndexError:
            return None

    def _open_connection(self) -> HTTPConnection:
        connection_class = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        return connection_class(self._url.hostname or "", self._url.port, timeout=self._timeout_seconds)


def _retry_delay_seconds(attempt: int, retry_after_seconds: float) -> float:
    max_delay = min(MAX_RETRY_DELAY_SECONDS, INITIAL_RETRY_DELAY_SECONDS * 2**attempt)
    return float(
        min(max(retry_after_seconds, max_delay * secrets.SystemRandom().uniform(0.5, 1.0)), MAX_RETRY_DELAY_SECONDS)
    )


def _retry_after_seconds(response: HTTPResponse) -> float:
    header = response.getheader("Retry-After", "")
    return float(header) if header.isascii() and header.isdigit() else 0.0


def _decode_problem(content: bytes) -> Problem:
    """The server's problem document; what is none (a proxy's page) gives its beginning."""
    try:
        return msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        return Problem(detail=content[:200].decode(errors="replace"))


def _order_dicts(orders: Orders) -> object:
    if isinstance(orders, Mapping):
        return [orders]
    if isinstance(orders, PolarsFrame):
        return orders.to_dicts()
    return orders.to_dict("records") if isinstance(orders, PandasFrame) else list(orders)


def _encode_value(value: object) -> object:
    """What JSON has no word for: a missing value of pandas is null, its times are text, NumPy's scalars numbers."""
    if type(value).__name__ in {"NaTType", "NAType"}:
        return None
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, NumpyScalar):
        return value.item()
    raise UsageError(f"An order holds a {type(value).__name__}.", "Give numbers, text, times, or nothing.")


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_value, decimal_format="number")
