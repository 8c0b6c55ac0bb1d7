"""The client, against `preptime serve` and against servers that misbehave."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import polars as pl
import pytest

from preptime import AsyncClient, Client
from preptime.client import ApiConnectionError, ApiStatusError, ApiTimeoutError
from preptime.domain.prediction_records import ActiveBundle, PredictionResponse
from preptime.errors import UsageError
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, Server, free_port, running_server
from tests.api.test_server import promote
from tests.event_loop import run_coroutine
from tests.fake_server import JsonHandler, serve
from tests.requirements import ROOT

ORDER: dict[str, object] = {
    "order_id": "a",
    "order_acknowledged_at": "2015-06-17 12:28:28.952789+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 10,
    "number_of_items": 3,
}
RESPONSE = json.dumps({"bundle": "b", "predictions": [{"prep_time_seconds": 600, "p50": 600.2}]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`preptime serve` with a champion of three restaurants."""
    folder = tmp_path_factory.mktemp("served")
    promote(folder)
    with running_server(folder, SERVE_COMMAND) as running:
        running.wait_until("/readyz")
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Return a client of that server."""
    with Client(server.url, PLAIN_KEY) as client:
        yield client


@contextmanager
def misbehaving_server(*script: tuple[int, bytes] | float | None) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that handles each request as scripted: status and body, seconds of silence, or a broken connection.

    Yields its URL and the request bodies that it received.
    """
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            step = script[len(bodies) - 1]
            if not isinstance(step, tuple):
                silence.wait(step or 0.0)
                self.close_connection = True
                return
            self.send_response(step[0])
            self.send_header("Content-Length", str(len(step[1])))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(step[1])

        def do_GET(self) -> None:
            """Respond as an older server, which has no `/v1/schema`."""
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object, **__: object) -> None:
            """Log nothing."""

    silence = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        finally:
            silence.set()
            server.shutdown()
            thread.join()


@contextmanager
def closing_server(*, at_next_request: bool = False) -> Iterator[tuple[str, Callable[[], int]]]:
    """Run a server whose connections can be closed.

    It holds its first eight responses until eight connections are open. Yields its URL, and a function that closes
    all connections and returns how many were open. They close immediately or at their next request.
    """
    connections: list[socket.socket] = []
    lost: list[socket.socket] = []
    all_open = threading.Barrier(8)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.connection in lost:
                self.close_connection = True
                return
            if len(connections) < 8:
                connections.append(self.connection)
                all_open.wait(10)
            self.send_response(200)
            self.send_header("Content-Length", str(len(RESPONSE)))
            self.end_headers()
            self.wfile.write(RESPONSE)

        def do_GET(self) -> None:
            """Respond as an older server, which has no `/v1/schema`."""
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object, **__: object) -> None:
            """Log nothing."""

    def close_connections() -> int:
        if at_next_request:
            lost.extend(connections)
        else:
            for connection in connections:
                connection.shutdown(socket.SHUT_RDWR)
        return len(connections)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", close_connections
        finally:
            server.shutdown()
            thread.join()


def predict_once(url: str, *, key: str = "k", timeout_seconds: float = 30.0, attempts: int = 5) -> PredictionResponse:
    """Return the prediction for one order, from a new client."""
    with Client(url, key, timeout_seconds=timeout_seconds, max_attempts=attempts) as client:
        return client.predict([ORDER])


def test_predict_dicts_returns_predictions_and_errors_in_order(client: Client) -> None:
    orders = [ORDER | {"order_id": "a"}, ORDER | {"order_id": "b", "order_acknowledged_at": "soon"}, ORDER]
    response = client.predict(orders, models=["rf"])
    assert len(response) == 3
    assert [prediction.order_id for prediction in response] == ["a", "b", "a"]
    first, bad = response[0], response[1]
    assert first.error is None
    assert first.p10 is not None
    assert first.p50 is not None
    assert first.p10 <= first.p50
    assert first.prep_time_seconds == round(first.p50)
    assert first.fallback_level == "restaurant"
    assert set(first.models) == {"rf"}
    assert client.predict(orders, models="rf") == response
    assert bad.error is not None
    assert bad.error.field == "order_acknowledged_at"
    assert "soon" in bad.error.message
    assert bad.p50 is None


def test_predict_accepts_a_single_order(client: Client) -> None:
    assert client.predict(ORDER) == client.predict([ORDER])


def test_predict_accepts_pandas_and_polars_frames(client: Client) -> None:
    orders = [
        ORDER | {"order_id": str(n), "restaurant_id": 10 * (n % 3 + 1), "number_of_items": n} for n in range(1, 9)
    ]
    expected = client.predict(orders)
    as_pandas = pd.DataFrame(orders)
    assert client.predict(as_pandas) == expected
    as_pandas["order_acknowledged_at"] = pd.to_datetime(as_pandas["order_acknowledged_at"])
    assert client.predict(as_pandas) == expected
    as_polars = pl.DataFrame(orders).with_columns(order_acknowledged_at=pl.lit(dt.datetime(2015, 6, 17, 12, 28, 28)))
    assert [prediction.p50 for prediction in client.predict(as_polars)] == [prediction.p50 for prediction in expected]


def test_predict_pandas_missing_values_become_null(client: Client) -> None:
    frame = pd.DataFrame([ORDER, ORDER | {"order_value_gbp": None, "order_acknowledged_at": None}])
    frame["order_acknowledged_at"] = pd.to_datetime(frame["order_acknowledged_at"])
    good, bad = client.predict(frame)
    assert good.error is None
    assert bad.error is not None
    assert bad.error.code == "missing_value"


def test_predict_ignores_columns_that_the_api_does_not_read(client: Client) -> None:
    frame = pd.DataFrame([ORDER] * 2)
    expected = client.predict(frame)
    frame["items"] = pd.Series([np.array([1, 2]), [3]])
    frame["payload"] = pd.Series([object(), {1, 2}])
    frame["order_ready_at"] = pd.Series(["soon", b"later"])
    assert client.predict(frame) == expected
    assert client.predict(frame.to_dict("records")) == expected
    assert client.predict(pl.DataFrame([ORDER] * 2).with_columns(items=pl.lit([1, 2]))) == expected


def test_dispatch_returns_decisions_and_errors_in_order(client: Client) -> None:
    now = dt.datetime.fromisoformat(str(ORDER["order_acknowledged_at"])) + dt.timedelta(minutes=2)
    orders = [
        ORDER | {"travel_seconds": 240},
        ORDER | {"travel_seconds": {"p10": 200, "p50": np.float32(240), "p90": 300}, "now": now},
        ORDER | {"travel_seconds": 240, "now": now + dt.timedelta(days=1)},
        ORDER,
    ]
    response = client.dispatch(orders, courier_cost=2, food_cost=1)
    known, in_progress, older, invalid = response
    assert (len(response), response[0]) == (4, known)
    assert known.p50 == client.predict(ORDER)[0].p50
    assert known.quantile == in_progress.quantile == 0.6667
    assert known.remaining is not None
    assert in_progress.remaining is not None
    assert known.remaining != in_progress.remaining
    assert known.dispatch_at is not None
    assert known.courier_wait_seconds is not None
    assert (older.remaining, older.quantile) == (None, None)
    assert older.note.startswith("No estimate is available: the order is older than its p90")
    assert invalid.error is not None
    assert invalid.error.field == "travel_seconds"
    frame = pl.DataFrame(orders[:1])
    assert client.dispatch(frame)[0].quantile == 0.5
    assert client.dispatch(frame.to_pandas(), courier_cost=2)[0] == known
    with pytest.raises(ApiStatusError, match="the ratio must be from 1:9 to 9:1"):
        client.dispatch(orders, courier_cost=10)
    with pytest.raises(UsageError, match=r"Column travel_seconds of orders\[0\] has a value of type list"):
        client.dispatch(ORDER | {"travel_seconds": [240]})


def test_predict_accepts_a_row_of_a_frame(client: Client) -> None:
    frame = pd.DataFrame([ORDER, ORDER | {"restaurant_id": 20}])
    frame["order_acknowledged_at"] = pd.to_datetime(frame["order_acknowledged_at"])
    both = client.predict(frame)
    assert client.predict(frame.iloc[1])[0] == both[1]
    assert client.predict([row for _, row in frame.iterrows()]) == both
    assert client.predict(frame.itertuples()) == both
    assert client.predict(pl.DataFrame(frame).row(1, named=True))[0] == both[1]


def test_predict_local_time_is_the_same_in_every_type(client: Client) -> None:
    """A time without an offset is local time at the restaurant, never UTC."""
    local = dt.datetime(2015, 6, 17, 12, 28, 28)
    times = [local.isoformat(), local, pd.Timestamp(local), *(np.datetime64(local, unit) for unit in ("s", "us", "ns"))]
    predictions = client.predict([ORDER | {"order_acknowledged_at": time} for time in times])
    assert len({prediction.ready_at for prediction in predictions}) == 1
    assert str(predictions[0].ready_at).startswith("2015-06-17T12:")
    frame = pd.DataFrame([ORDER | {"order_acknowledged_at": local}])
    assert client.predict(frame)[0] == predictions[0]


def test_predict_unusable_value_names_order_and_column(client: Client) -> None:
    with pytest.raises(UsageError, match=r"Column order_value_gbp of orders\[1\] has a value of type complex"):
        client.predict([ORDER, ORDER | {"order_value_gbp": 1j}])


def run_docs_example(page_name: str, server: Server, orders: list[dict[str, object]]) -> list[str]:
    """Return the lines that the Python example of a page prints."""
    page = (ROOT / "docs" / page_name).read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    program = f"key, orders = {PLAIN_KEY!r}, {orders!r}\n{example.replace('http://127.0.0.1:8000', server.url)}"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return completed.stdout.splitlines()


def test_client_example_in_the_docs_prints_predictions(server: Server) -> None:
    valid, invalid = run_docs_example("api.md", server, [ORDER, {}])
    assert re.fullmatch(r"a \d+ None", valid)
    assert "missing_value" in invalid


def test_dispatch_example_in_the_docs_prints_decisions(server: Server) -> None:
    (line,) = run_docs_example("dispatch.md", server, [ORDER | {"travel_seconds": 60}])
    assert re.fullmatch(r"a 2015-06-17T\d\d:\d\d:\d\d\+01:00 \d+ \d+", line)


def test_predict_too_large_request_always_raises_413(server: Server, client: Client) -> None:
    orders = [ORDER | {"order_id": "x" * 1_800 + str(number)} for number in range(4_500)]
    for attempt in range(20):
        with (
            Client(server.url, PLAIN_KEY) if attempt % 2 else nullcontext(client) as sender,
            pytest.raises(ApiStatusError, match="larger than 8,388,608 bytes") as refused,
        ):
            sender.predict(orders)
        assert refused.value.status == 413
    assert len(client.predict(orders[:4_000])) == 4_000


def test_predict_wrong_key_or_model_raises_server_facts(server: Server, client: Client) -> None:
    with pytest.raises(ApiStatusError, match="key") as refused:
        predict_once(server.url, key="wrong")
    assert refused.value.status == 401
    with pytest.raises(ApiStatusError, match="lightgbm") as refused:
        client.predict([ORDER], models=["lightgbm"])
    assert refused.value.status in {400, 422}
    assert refused.value.problem.request_id


def test_client_is_shared_by_threads(client: Client) -> None:
    order_ids: dict[int, list[object]] = {}

    def request_predictions(thread: int) -> None:
        order_ids[thread] = [client.predict([ORDER | {"order_id": f"{thread}-{n}"}])[0].order_id for n in range(20)]

    threads = [threading.Thread(target=request_predictions, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order_ids == {thread: [f"{thread}-{n}" for n in range(20)] for thread in range(4)}


def test_predict_retries_busy_server_and_broken_connection() -> None:
    with misbehaving_server((503, b"{}"), None, (503, b""), (200, RESPONSE)) as (url, bodies):
        assert predict_once(url).predictions[0].prep_time_seconds == 600
    assert len(set(bodies)) == 1
    assert len(bodies) == 4


def test_predict_busy_server_raises_after_last_attempt() -> None:
    with (
        misbehaving_server(*[(503, b'{"detail":"Busy."}')] * 3) as (url, bodies),
        pytest.raises(ApiStatusError, match=r"Busy\.") as refused,
    ):
        predict_once(url, attempts=3)
    assert refused.value.status == 503
    assert len(bodies) == 3


@pytest.mark.parametrize("status", [400, 401, 413, 422, 500, 502])
def test_predict_other_status_is_not_retried(status: int) -> None:
    with (
        misbehaving_server((status, b"<html>a proxy's page</html>")) as (url, bodies),
        pytest.raises(ApiStatusError, match="a proxy's page") as refused,
    ):
        predict_once(url)
    assert refused.value.status == status
    assert len(bodies) == 1


def test_predict_timeout_is_not_retried() -> None:
    with misbehaving_server(60.0) as (url, bodies), pytest.raises(ApiTimeoutError, match=r"within 0\.2 s"):
        predict_once(url, timeout_seconds=0.2)
    assert len(bodies) == 1


def test_predict_broken_connection_raises_after_last_attempt() -> None:
    with (
        misbehaving_server(None, None, None) as (url, bodies),
        pytest.raises(ApiConnectionError, match="closed the connection"),
    ):
        predict_once(url, attempts=2)
    assert len(bodies) == 3  # the first one uses the connection of the request for the schema, which could be stale


def test_predict_connection_refused_raises() -> None:
    with pytest.raises(ApiConnectionError, match="cannot be reached"):
        predict_once(f"http://127.0.0.1:{free_port()}", attempts=1)


def predict_again_blocking(url: str, close_connections: Callable[[], int]) -> PredictionResponse:
    """Return the prediction of a client whose eight idle connections were closed."""
    with Client(url, "k", max_attempts=1) as client:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(client.predict, [[ORDER]] * 8))
        assert close_connections() == 8
        return client.predict([ORDER])


def predict_again_async(url: str, close_connections: Callable[[], int]) -> PredictionResponse:
    """Do the same with the client for `asyncio`."""

    async def predict_again() -> PredictionResponse:
        async with AsyncClient(url, "k", max_attempts=1) as client:
            await asyncio.gather(*(client.predict([ORDER]) for _ in range(8)))
            assert close_connections() == 8
            return await client.predict([ORDER])

    return run_coroutine(predict_again())


@pytest.mark.parametrize("at_next_request", [False, True])
@pytest.mark.parametrize("predict_again", [predict_again_blocking, predict_again_async])
def test_predict_broken_idle_connections_cost_no_attempt(
    predict_again: Callable[[str, Callable[[], int]], PredictionResponse], at_next_request: bool
) -> None:
    """A restart closes all idle connections. After a reboot that nothing announced, they break at their next use."""
    with closing_server(at_next_request=at_next_request) as (url, close_connections):
        assert predict_again(url, close_connections)[0].prep_time_seconds == 600


def test_predict_vanished_idle_connection_costs_no_attempt() -> None:
    """An idle connection breaks when it's used again, as after a reboot that nothing announced."""
    with (
        misbehaving_server((200, RESPONSE), None, (200, RESPONSE)) as (url, bodies),
        Client(url, "k", max_attempts=1) as client,
    ):
        assert client.predict([ORDER]) == client.predict([ORDER])
    assert len(bodies) == 3


def request_bundle(kind: type[Client | AsyncClient], url: str) -> ActiveBundle:
    """Return the active bundle, from a new client of either kind."""
    client = kind(url, "k", max_attempts=1)
    if isinstance(client, Client):
        with client:
            return client.bundle()

    async def request() -> ActiveBundle:
        async with client:
            return await client.bundle()

    return run_coroutine(request())


class UndecodableHandler(JsonHandler):
    """Sends content that isn't encoded as its header says."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_undecodable_response_is_not_an_unreachable_server(kind: type[Client | AsyncClient]) -> None:
    with serve(UndecodableHandler) as url, pytest.raises(ApiConnectionError, match="responds, but not as") as caught:
        request_bundle(kind, url)
    assert type(caught.value) is ApiConnectionError


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, 1e9])
def test_client_invalid_timeout_raises(kind: type[Client | AsyncClient], seconds: float) -> None:
    with pytest.raises(UsageError, match=r"Invalid timeout_seconds: .* above 0, up to 86,400"):
        kind("http://127.0.0.1:8000", "k", timeout_seconds=seconds)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_client_invalid_attempts_raise(kind: type[Client | AsyncClient]) -> None:
    with pytest.raises(UsageError, match=r"Invalid max_attempts: 0\. Use 1 or more"):
        kind("http://127.0.0.1:8000", "k", max_attempts=0)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "", "http://"])
def test_client_invalid_url_raises(url: str) -> None:
    with pytest.raises(UsageError, match="isn't the URL"):
        Client(url, "k")


@pytest.mark.parametrize("key", ["abc…", "secret\ny", "secret\x7f", "schlüssel", " secret", "secret\t"])
def test_client_invalid_key_raises_without_repeating_it(key: str) -> None:
    with pytest.raises(UsageError, match="visible ASCII") as refused:
        Client("http://127.0.0.1:8000", key)
    assert not any(part in str(refused.value) for part in ("abc", "…", "secret", "schl"))


def test_predict_without_key_raises_server_status(server: Server) -> None:
    with pytest.raises(ApiStatusError) as refused:
        predict_once(server.url, key="")
    assert refused.value.status == 401


def test_import_preptime_loads_few_modules() -> None:
    with_client = "import sys, preptime\npreptime.Client\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", with_client], capture_output=True, text=True, check=True)
    assert {"numpy", "flask", "onnxruntime", "polars", "click"}.isdisjoint(done.stdout.split())
    light = "import sys, preptime\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert {"preptime.client", "urllib3", "msgspec"}.isdisjoint(done.stdout.split())
