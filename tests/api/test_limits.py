"""Limits on requests: the key before the body, totals over concurrent requests, and incomplete bodies."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.limits import (
    MAX_CONCURRENT_REJECTIONS,
    SMALL_BODY_BYTES,
    SMALL_REQUEST_ORDERS,
    LimitExceededError,
    RequestLimits,
    check_limits,
)
from preptime.api.request_body import GRANIAN, MAX_DISCARDED_BODIES, PendingBody
from preptime.api.schema import ApiError
from preptime.errors import UsageError
from preptime.settings import Settings
from tests.api.factories import HEADERS, ORDER, FakeSettings, ServiceSetup, http_client, make_service

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

BOTH_CONTRACTS = pytest.mark.parametrize("path", [PREDICTIONS_PATH, TAKE_HOME_PATH])
LARGE = 1_000_000
SETTINGS = FakeSettings(max_body_bytes=LARGE, max_concurrent_bytes=LARGE, max_concurrent_orders=1000)
JSON_HEADERS = HEADERS | {"Content-Type": "application/json"}
BODY = msgspec.json.encode(ORDER)


@dataclass
class Body:
    """A stream that records how it's read."""

    size: int
    on_read: Callable[[], object] = lambda: None
    reads: list[int] = field(default_factory=list)

    def read(self, size: int) -> bytes:
        """Return spaces, at most as many as the body has."""
        self.on_read()
        self.reads.append(size)
        part = min(size, self.size)
        self.size -= part
        return b" " * part


def post_stream(http: Client, body: Body, path: str = PREDICTIONS_PATH, **headers: str) -> TestResponse:
    """Send a request whose body is read from a stream."""
    environ = {"wsgi.input": body, "CONTENT_LENGTH": str(body.size), "CONTENT_TYPE": "application/json"}
    return http.post(path, headers=headers, environ_overrides=environ)


@pytest.fixture
def limited(active_model: ActiveModel) -> ServiceSetup:
    return make_service(active_model, SETTINGS)


@BOTH_CONTRACTS
def test_wrong_key_body_is_discarded_without_a_share(limited: ServiceSetup, app_kind: str, path: str) -> None:
    shares: list[tuple[int, int]] = []
    service = limited.service
    body = Body(LARGE, on_read=lambda: shares.append((service.concurrent_requests, service.concurrent_bytes)))
    response = post_stream(http_client(service, app_kind), body, path, aikey="wrong")
    assert response.status_code == 401
    assert body.size == 0, "a client that sends before it receives gets the response"
    assert max(body.reads) <= SMALL_BODY_BYTES, "the body is never held"
    assert set(shares) == {(0, 0)}


@pytest.mark.parametrize("size", [LARGE * MAX_DISCARDED_BODIES + 1, 10**15])
def test_wrong_key_endless_body_is_not_read_to_its_end(limited: ServiceSetup, app_kind: str, size: int) -> None:
    body = Body(size)
    assert post_stream(http_client(limited.service, app_kind), body).status_code == 401
    assert sum(body.reads) == MAX_DISCARDED_BODIES * LARGE


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (HEADERS | {"Content-Encoding": "gzip"}, 415), (HEADERS | {"Content-Length": "1000001"}, 413)],
)
def test_rejected_body_is_unread_if_many_are_read(
    limited: ServiceSetup, app_kind: str, headers: dict[str, str], status: int
) -> None:
    body = Body(int(headers.get("Content-Length", "900000")))
    for _ in range(MAX_CONCURRENT_REJECTIONS):
        assert limited.service.rejecting.try_acquire()
    assert post_stream(http_client(limited.service, app_kind), body, **headers).status_code == status
    assert body.reads == []
    limited.service.rejecting.release()
    assert post_stream(http_client(limited.service, app_kind), body, **headers).status_code == status
    assert body.size == 0


@pytest.mark.parametrize(("address", "status"), [("192.0.2.1", 408), ("192.0.2.2", 400)])
def test_body_ended_with_late_ones_is_408(limited: ServiceSetup, app_kind: str, address: str, status: int) -> None:
    """The connections of an address end together. A request that began late, because no thread was free, isn't late."""
    body_deadline = limited.service.body_deadline
    server = {"SERVER_SOFTWARE": GRANIAN, "REMOTE_ADDR": "192.0.2.1"}
    late = PendingBody(server, time.perf_counter() - 2 * body_deadline.timeout_seconds, None, False, False)

    def end_late_body() -> None:
        thread = threading.Thread(target=body_deadline.start, args=(late,))
        thread.start()
        thread.join()
        body_deadline.end_late_bodies()
        assert late.is_late

    environ = {"wsgi.input": Body(10, on_read=end_late_body), "CONTENT_LENGTH": "100", "REMOTE_ADDR": address}
    environ["CONTENT_TYPE"] = "application/json"
    response = http_client(limited.service, app_kind).post(PREDICTIONS_PATH, headers=HEADERS, environ_overrides=environ)
    assert response.status_code == status
    assert limited.log.records == []


@contextmanager
def paused_request(setup: ServiceSetup, app_kind: str, size: int) -> Iterator[None]:
    """Send a request that holds its share until the end of the context."""
    reading, resume = threading.Event(), threading.Event()

    def wait() -> None:
        reading.set()
        assert resume.wait(30)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(post_stream, http_client(setup.service, app_kind), Body(size, on_read=wait), **HEADERS)
        assert reading.wait(30)
        try:
            yield
        finally:
            resume.set()
        assert future.result(30).status_code == 400


def rejections(setup: ServiceSetup, cause: str) -> int:
    """Return the number of rejected requests in the metrics."""
    text = setup.service.metrics.render().decode()
    name = f'preptime_rejected_requests_total{{cause="{cause}"}} '
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return int(float(lines[0].split()[-1])) if lines else 0


def test_bytes_over_the_total_limit_return_503(limited: ServiceSetup, app_kind: str) -> None:
    http = http_client(limited.service, app_kind)
    with paused_request(limited, app_kind, 900_000):
        assert (limited.service.concurrent_requests, limited.service.concurrent_bytes) == (1, 900_000)
        response = post_stream(http, Body(100_001), **HEADERS)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert "PREPTIME_MAX_CONCURRENT_BYTES" in response.text
        assert http.post(PREDICTIONS_PATH, json=ORDER, headers=HEADERS).status_code == 200, "small ones aren't blocked"
        assert rejections(limited, "bytes") == 1
    assert (limited.service.concurrent_requests, limited.service.concurrent_bytes) == (0, 0)
    assert post_stream(http, Body(LARGE), **HEADERS).status_code == 400, "the largest body is read"


def test_chunked_body_acquires_bytes_as_it_arrives(limited: ServiceSetup, app_kind: str) -> None:
    def send(size: int) -> TestResponse:
        return http_client(limited.service, app_kind).post(
            PREDICTIONS_PATH,
            headers=JSON_HEADERS | {"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input": Body(size), "wsgi.input_terminated": True},
        )

    with paused_request(limited, app_kind, 900_000):
        assert send(SMALL_BODY_BYTES - 1).status_code == 400, "a small body is read"
        assert send(200_000).status_code == 503
    assert send(LARGE).status_code == 400
    assert send(LARGE + 1).status_code == 413
    assert limited.service.concurrent_bytes == 0


def orders_body(count: int) -> bytes:
    """Return a request with this many orders."""
    return msgspec.json.encode({"orders": [ORDER] * count})


def test_orders_over_the_total_limit_return_503(limited: ServiceSetup, app_kind: str) -> None:
    http, limits = http_client(limited.service, app_kind), limited.service.limits
    other = limits.admit(0)
    limits.add_orders(other, 600)
    response = http.post(PREDICTIONS_PATH, data=orders_body(401), headers=JSON_HEADERS)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "PREPTIME_MAX_CONCURRENT_ORDERS" in response.text
    for count in (400, SMALL_REQUEST_ORDERS, 1):
        assert http.post(PREDICTIONS_PATH, data=orders_body(count), headers=JSON_HEADERS).status_code == 200
    limits.release(other)
    limits.release(other)
    assert http.post(PREDICTIONS_PATH, data=orders_body(1000), headers=JSON_HEADERS).status_code == 200
    assert (limited.service.concurrent_requests, limited.service.concurrent_orders) == (0, 0)
    assert rejections(limited, "orders") == 1


@BOTH_CONTRACTS
@pytest.mark.parametrize("body", [BODY, b"{", b"{}", b'{"json_data": "[]"}', b'{"orders": 7}', b""])
def test_every_outcome_returns_its_share(limited: ServiceSetup, app_kind: str, path: str, body: bytes) -> None:
    http_client(limited.service, app_kind).post(path, data=body, headers=JSON_HEADERS)
    service = limited.service
    assert (service.concurrent_requests, service.concurrent_bytes, service.concurrent_orders) == (0, 0, 0)


def test_late_body_acquires_nothing_after_its_release() -> None:
    """The thread of the deadline releases a late request while its body is still read."""
    limits = RequestLimits(FakeSettings())
    admission = limits.admit(0)
    limits.add_bytes(admission, 1_000)
    limits.release(admission)
    limits.add_bytes(admission, 65_535)
    limits.add_orders(admission, 10)
    limits.release(admission)
    assert (limits.requests, limits.bytes, limits.orders) == (0, 0, 0)


def test_large_body_acquires_orders_before_it_is_parsed() -> None:
    limits = RequestLimits(FakeSettings(max_concurrent_orders=1000))
    first, second = limits.admit(0), limits.admit(0)
    limits.add_orders(first, 700)
    limits.add_orders(first, 500)
    assert limits.orders == 700, "the larger of estimate and number"
    with pytest.raises(LimitExceededError, match="orders"):
        limits.add_orders(second, 301)
    limits.release(first)
    limits.add_orders(second, 1000)
    assert limits.orders == 1000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PREDICTIONS_PATH, b'{"orders":[' + b"{}," * 60_000 + b"{}]}"),
        (PREDICTIONS_PATH, b'{"orders":[{"order_id":[' + b"[]," * 60_000 + b"[]]}]}"),
        (PREDICTIONS_PATH, b'{"orders":[{}],"models":[' + b'"rf",' * 60_000 + b'"rf"]}'),
        ("/vertex/predict", b'{"instances":[' + b"{}," * 60_000 + b"{}]}"),
    ],
    ids=["orders", "nested", "models", "instances"],
)
def test_body_with_too_many_values_returns_422(limited: ServiceSetup, app_kind: str, path: str, body: bytes) -> None:
    response = http_client(limited.service, app_kind).post(path, data=body, headers=JSON_HEADERS)
    assert response.status_code == 422
    assert "values or more. The maximum is 50,000." in response.text
    assert limited.log.records == []


def test_wide_orders_within_the_limits_are_predicted(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(max_body_bytes=8 * 1024 * 1024, max_orders=1000))
    wide = ORDER | {f"column_{number}": "a value" for number in range(45)}
    body = msgspec.json.encode({"orders": [wide] * 1000})
    response = http_client(setup.service, app_kind).post(PREDICTIONS_PATH, data=body, headers=JSON_HEADERS)
    assert response.status_code == 200
    assert len(response.get_json()["predictions"]) == 1000


def test_body_deadline_thread_ends_with_its_service(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(body_timeout_seconds=0.1))
    http_client(setup.service, app_kind).post(PREDICTIONS_PATH, json=ORDER, headers=HEADERS)
    (thread,) = (thread for thread in threading.enumerate() if thread is setup.service.body_deadline._thread)
    assert thread.is_alive()
    del setup
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_nested_values_are_logged_unchanged(limited: ServiceSetup, app_kind: str) -> None:
    http = http_client(limited.service, app_kind)
    for nested in ({"a": [1, {"b": []}]}, {"a": ["x"] * 20_000}):
        orders = [ORDER | {"order_id": nested}, ORDER | {"order_id": "B-2"}]
        assert http.post(PREDICTIONS_PATH, json={"orders": orders}, headers=HEADERS).status_code == 200
        line = msgspec.json.decode(limited.log.records[-1].to_json_line())
        assert line["orders"] == orders


@pytest.mark.parametrize("arrived", [0, 1, 99_999])
def test_body_shorter_than_its_length_returns_400(limited: ServiceSetup, app_kind: str, arrived: int) -> None:
    body = BODY + b" " * 100_000
    response = http_client(limited.service, app_kind).post(
        PREDICTIONS_PATH,
        headers=JSON_HEADERS,
        data=body[: len(BODY) + arrived],
        environ_overrides={"CONTENT_LENGTH": str(len(body))},
    )
    assert response.status_code == 400
    assert f"{len(BODY) + arrived:,} of {len(body):,} bytes arrived" in response.text
    assert limited.log.records == []


@pytest.mark.parametrize(
    ("models", "field", "fix"),
    [
        (["rf", "rf"], "models[1]", "remove 'rf' here"),
        (["rf", "quantile", "rf"], "models", "at most 2 names"),
        (["rf"] * 10_000, "models", "each once"),
        (["rf", "other"], "models[1]", "one of rf, quantile"),
    ],
)
def test_repeated_model_name_returns_422(
    limited: ServiceSetup, app_kind: str, models: list[str], field: str, fix: str
) -> None:
    http = http_client(limited.service, app_kind)
    response = http.post(PREDICTIONS_PATH, json={"orders": [ORDER], "models": models}, headers=HEADERS)
    assert (response.status_code, response.get_json()["field"]) == (422, field)
    assert fix in response.get_json()["detail"]
    vertex = {"instances": [ORDER], "parameters": {"models": models}}
    assert http.post("/vertex/predict", json=vertex).status_code == 422


def test_rejected_body_stays_not_in_memory(limited: ServiceSetup, app_kind: str) -> None:
    http = http_client(limited.service, app_kind)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for body in (orders_body(1001), b'{"orders": [{}, 7]}', b"{"):
            assert http.post(PREDICTIONS_PATH, data=body, headers=JSON_HEADERS).status_code in {400, 422}
        gc.collect()
        assert not [item for item in gc.garbage if isinstance(item, ApiError)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(max_concurrent_bytes=2000, max_body_bytes=3000), "PREPTIME_MAX_CONCURRENT_BYTES to at least 3000"),
        (Settings(max_concurrent_orders=5, max_orders=6), "PREPTIME_MAX_CONCURRENT_ORDERS to at least 6"),
    ],
)
def test_total_limit_below_a_single_limit_is_an_error(settings: Settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_limits(settings)
    check_limits(Settings())


@pytest.mark.parametrize("host", ["", "a,b"])
@pytest.mark.parametrize(("method", "path"), [("POST", PREDICTIONS_PATH), ("GET", "/healthz"), ("GET", "/docs/")])
def test_request_without_one_host_returns_400(http: Client, host: str, method: str, path: str) -> None:
    response = http.open(path, method=method, json=ORDER, headers=HEADERS, environ_overrides={"HTTP_HOST": host})
    assert (response.status_code, response.get_json()["field"]) == (400, "Host")


def test_http_1_0_needs_no_host(http: Client) -> None:
    environ = {"HTTP_HOST": "", "SERVER_PROTOCOL": "HTTP/1"}
    response = http.post(PREDICTIONS_PATH, json=ORDER, headers=HEADERS, environ_overrides=environ)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["//v1//bundle", "//evil.example/%2e%2e", "//docs", "/v1//predictions", "/docs/"])
def test_no_path_redirects_to_another_host(http: Client, path: str) -> None:
    environ = {"PATH_INFO": path, "REQUEST_URI": path, "RAW_URI": path}
    response = http.get("/", headers=HEADERS | {"Host": "evil.example"}, environ_overrides=environ)
    assert "evil.example" not in response.headers.get("Location", "")
    assert response.status_code in {200, 404, 405}
