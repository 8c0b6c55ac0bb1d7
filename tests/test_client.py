"""The client, against real servers: ours, and ones that misbehave as told."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from preptime import Client
from preptime.client import ApiConnectionError, ApiStatusError, ApiTimeoutError, PredictionResponse
from preptime.errors import UsageError
from tests.api.processes import PLAIN_KEY, REAL, Server, free_port, started
from tests.api.test_server import promote

ORDER: dict[str, object] = {
    "order_id": "a",
    "order_acknowledged_at": "2015-06-17 12:28:28.952789+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 10,
    "number_of_items": 3,
}
FINE = json.dumps({"bundle": "b", "predictions": [{"prep_time_seconds": 600, "p50": 600.2}]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`preptime serve` with a champion of three restaurants."""
    folder = tmp_path_factory.mktemp("served")
    promote(folder)
    with started(folder, REAL) as running:
        running.wait_until("/readyz")
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of it."""
    with Client(server.url, PLAIN_KEY) as asking:
        yield asking


@contextmanager
def misbehaving(*script: tuple[int, bytes] | float | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each request by the script: status and body, seconds of silence, or a broken connection.

    Gives its URL and the bodies that it was sent.
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

        def log_message(self, *_: object, **__: object) -> None:
            """Nothing."""

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


def ask(url: str, *, key: str = "k", timeout_seconds: float = 30.0, tries: int = 5) -> PredictionResponse:
    """One order, by a client of its own."""
    with Client(url, key, timeout_seconds=timeout_seconds, max_attempts=tries) as client:
        return client.predict([ORDER])


def test_dicts_come_back_in_their_places_and_a_bad_one_says_why(client: Client) -> None:
    orders = [ORDER | {"order_id": "a"}, ORDER | {"order_id": "b", "order_acknowledged_at": "soon"}, ORDER]
    answer = client.predict(orders, models=["rf"])
    assert len(answer) == 3
    assert [one.order_id for one in answer] == ["a", "b", "a"]
    first, bad = answer[0], answer[1]
    assert first.error is None
    assert first.p10 is not None
    assert first.p50 is not None
    assert first.p10 <= first.p50
    assert first.prep_time_seconds == round(first.p50)
    assert first.fallback_level == "restaurant"
    assert set(first.models) == {"rf"}
    assert bad.error is not None
    assert bad.error.field == "order_acknowledged_at"
    assert "soon" in bad.error.message
    assert bad.p50 is None


def test_one_order_may_stand_alone(client: Client) -> None:
    assert client.predict(ORDER) == client.predict([ORDER])


def test_data_frames_of_both_kinds_are_the_same_orders(client: Client) -> None:
    orders = [
        ORDER | {"order_id": str(n), "restaurant_id": 10 * (n % 3 + 1), "number_of_items": n} for n in range(1, 9)
    ]
    expected = client.predict(orders)
    as_pandas = pd.DataFrame(orders)
    assert client.predict(as_pandas) == expected
    as_pandas["order_acknowledged_at"] = pd.to_datetime(as_pandas["order_acknowledged_at"])
    assert client.predict(as_pandas) == expected
    as_polars = pl.DataFrame(orders).with_columns(order_acknowledged_at=pl.lit(dt.datetime(2015, 6, 17, 12, 28, 28)))
    assert [one.p50 for one in client.predict(as_polars)] == [one.p50 for one in expected]


def test_missing_values_of_pandas_are_missing(client: Client) -> None:
    frame = pd.DataFrame([ORDER, ORDER | {"order_value_gbp": None, "order_acknowledged_at": None}])
    frame["order_acknowledged_at"] = pd.to_datetime(frame["order_acknowledged_at"])
    good, bad = client.predict(frame)
    assert good.error is None
    assert bad.error is not None
    assert bad.error.code == "missing_value"


def test_what_json_cannot_hold_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(UsageError, match="holds a complex"):
        client.predict([ORDER | {"order_value_gbp": 1j}])


def test_a_wrong_key_and_a_wrong_model_are_errors_with_the_servers_facts(server: Server, client: Client) -> None:
    with pytest.raises(ApiStatusError, match="key") as refused:
        ask(server.url, key="wrong")
    assert refused.value.status == 401
    with pytest.raises(ApiStatusError, match="lightgbm") as refused:
        client.predict([ORDER], models=["lightgbm"])
    assert refused.value.status in {400, 422}
    assert refused.value.problem.request_id


def test_threads_share_a_client(client: Client) -> None:
    found: dict[int, list[object]] = {}

    def asking(thread: int) -> None:
        found[thread] = [client.predict([ORDER | {"order_id": f"{thread}-{n}"}])[0].order_id for n in range(20)]

    threads = [threading.Thread(target=asking, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {thread: [f"{thread}-{n}" for n in range(20)] for thread in range(4)}


def test_a_busy_server_and_a_broken_connection_are_asked_again_with_the_same_body() -> None:
    with misbehaving((503, b"{}"), None, (503, b""), (200, FINE)) as (url, bodies):
        assert ask(url).predictions[0].prep_time_seconds == 600
    assert len(set(bodies)) == 1
    assert len(bodies) == 4


def test_a_server_that_stays_busy_is_an_error_after_the_last_try() -> None:
    with (
        misbehaving(*[(503, b'{"detail":"Busy."}')] * 3) as (url, bodies),
        pytest.raises(ApiStatusError, match=r"Busy\.") as refused,
    ):
        ask(url, tries=3)
    assert refused.value.status == 503
    assert len(bodies) == 3


@pytest.mark.parametrize("status", [400, 401, 413, 422, 500, 502])
def test_every_other_refusal_is_final(status: int) -> None:
    with (
        misbehaving((status, b"<html>a proxy's page</html>")) as (url, bodies),
        pytest.raises(ApiStatusError, match="a proxy's page") as refused,
    ):
        ask(url)
    assert refused.value.status == status
    assert len(bodies) == 1


def test_the_time_is_limited_and_not_spent_twice() -> None:
    with misbehaving(60.0) as (url, bodies), pytest.raises(ApiTimeoutError, match=r"within 0\.2 s"):
        ask(url, timeout_seconds=0.2)
    assert len(bodies) == 1


def test_a_connection_that_always_breaks_is_an_error() -> None:
    with misbehaving(None, None) as (url, bodies), pytest.raises(ApiConnectionError, match="cannot be reached"):
        ask(url, tries=2)
    assert len(bodies) == 2


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(ApiConnectionError, match="cannot be reached"):
        ask(f"http://127.0.0.1:{free_port()}", tries=1)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no URL"):
        Client(url, "k")


@pytest.mark.parametrize("key", ["abc…", "secret\ny", "secret\x7f", "schlüssel", " secret", "secret\t"])
def test_a_key_that_no_request_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UsageError, match="visible ASCII") as refused:
        Client("http://127.0.0.1:8000", key)
    assert not any(part in str(refused.value) for part in ("abc", "…", "secret", "schl"))


def test_without_a_key_the_server_says_whether_it_wants_one(server: Server) -> None:
    with pytest.raises(ApiStatusError) as refused:
        ask(server.url, key="")
    assert refused.value.status == 401


def test_importing_preptime_loads_next_to_nothing() -> None:
    looking = "import sys, preptime\npreptime.Client\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", looking], capture_output=True, text=True, check=True)
    assert {"numpy", "flask", "onnxruntime", "polars", "click"}.isdisjoint(done.stdout.split())
    light = "import sys, preptime\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert "preptime.client" not in done.stdout.split()


def test_the_package_offers_nothing_else() -> None:
    import preptime

    with pytest.raises(AttributeError, match="Server"):
        preptime.__getattr__("Server")
    assert preptime.__all__ == ["Client"]
    assert Path(preptime.__file__).name == "__init__.py"
