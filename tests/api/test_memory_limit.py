"""A server with the settings and the memory limit of Kubernetes survives more load than its limits allow."""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException

import msgspec
import pytest

from preptime.api.handler import EXPLANATIONS_PATH, PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.settings import Settings
from tests.api.processes import PLAIN_KEY, START_SECONDS, Server, running_server
from tests.api.storm_training import make_trained_store
from tests.bundle.factories import put_bundle
from tests.deploy.test_memory_arithmetic import kubernetes
from tests.requirements import MemoryGroup, memory_group

SERVE_IN_GROUP = """
import os, sys
with open({path!r}, "w") as group:
    group.write(str(os.getpid()))
from preptime.cli import main
sys.exit(main(["serve"]))
"""
DISCONNECTED = 0
KEY = {"aikey": PLAIN_KEY}
FULL_ORDER = {
    "order_id": "order-1234",
    "order_acknowledged_at": "2015-06-14T19:00:00+01:00",
    "order_value_gbp": 24.5,
    "restaurant_id": 12,
    "number_of_items": 3,
    "country": "UK",
    "city": "London",
    "type_of_food": "italian",
}
MODELS = ["rf", "gbr", "cat", "xgb", "stacking"]
LIMITS = Settings()
MAX_ORDERS, MAX_BYTES = LIMITS.max_orders, LIMITS.max_body_bytes


@pytest.fixture(scope="module")
def group() -> Iterator[MemoryGroup]:
    """Return a cgroup with the memory limit of the API's manifest."""
    with memory_group(int(kubernetes()[1])) as group:
        yield group


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, group: MemoryGroup) -> Iterator[Server]:
    """Return a server in the cgroup, with all six models and the settings of the API's manifest."""
    folder = tmp_path_factory.mktemp("memory")
    make_trained_store(folder / "models")
    settings = kubernetes()[0]
    names = ("workers", "max_concurrent_requests", "max_concurrent_bytes", "max_concurrent_orders", "prediction_log")
    variables = {f"PREPTIME_{name.upper()}": str(getattr(settings, name)) for name in (*names, "bundle_load_memory_mb")}
    program = ("-c", SERVE_IN_GROUP.format(path=str(group.processes_file)))
    with running_server(folder, program, **variables) as server:
        server.wait_until("/readyz")
        yield server


def promote(server: Server, bundle: str) -> None:
    """Make a bundle the champion, and wait until the server has it."""
    log = ChampionLog(Store.open(str(server.folder / "models")))
    current = log.current()
    assert current is not None
    draft = LogEntryDraft(
        bundle=bundle,
        date=current.date + dt.timedelta(days=1),
        action="promote",
        reason="test",
        by="test",
        at="2015-06-30T05:00:00Z",
    )
    log.append(draft, current)
    server.wait_until("/readyz", bundle)


def promote_all(server: Server, bundles: list[str]) -> None:
    """Make each bundle the champion, one after another."""
    for bundle in bundles:
        promote(server, bundle)


def post(server: Server, body: bytes, path: str = PREDICTIONS_PATH) -> int:
    """Send a request and return its status, or `DISCONNECTED` if the body was rejected unread."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=4 * START_SECONDS)
    try:
        connection.request("POST", path, body, KEY | {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException):
        return DISCONNECTED
    else:
        return response.status
    finally:
        connection.close()


def post_all(server: Server, bodies: list[tuple[str, bytes]]) -> Counter[int]:
    """Send all requests at the same time. Return the number of responses by status."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return Counter(pool.map(lambda body: post(server, body[1], body[0]), bodies))


def processes(group: MemoryGroup) -> set[str]:
    """Return the processes in the cgroup."""
    return set(group.processes_file.read_text(encoding="ascii").split())


def large_requests(count: int) -> list[tuple[str, bytes]]:
    """Return requests with the maximum number of complete orders, for all models."""
    body = msgspec.json.encode({"orders": [FULL_ORDER] * MAX_ORDERS, "models": MODELS})
    return [(PREDICTIONS_PATH, body)] * count


def explanation_requests(count: int) -> list[tuple[str, bytes]]:
    """Return requests with the maximum number of complete orders, for explanations."""
    return [(EXPLANATIONS_PATH, msgspec.json.encode({"orders": [FULL_ORDER] * MAX_ORDERS}))] * count


def array(start: bytes, item: bytes, end: bytes) -> bytes:
    """Return a body with as many items as the limit on values allows."""
    return start + b",".join([item] * (50 * MAX_ORDERS - 100)) + end


def expensive_requests() -> list[tuple[str, bytes]]:
    """Return bodies within all limits of one request that take as much memory as possible."""
    empty = array(b"[", b"{}", b"]")
    return [
        (PREDICTIONS_PATH, b'{"orders":' + empty + b"}"),
        (PREDICTIONS_PATH, b'{"orders":[{"order_value_gbp":1e999},' + empty[1:] + b"}"),
        (PREDICTIONS_PATH, b'{"restaurant_id":12,"order_id":' + empty + b"}"),
        (PREDICTIONS_PATH, b'{"order_id":"' + "🍕".encode() * (MAX_BYTES // 4 - 10) + b'"}'),
        (TAKE_HOME_PATH, msgspec.json.encode({"json_data": empty.decode()})),
        (PREDICTIONS_PATH, array(b'{"models":[', b'"rf"', b"]}")),
    ]


def unread_body(server: Server, exit_stack: ExitStack) -> None:
    """Send all but the last byte of the largest body, without a key."""
    client = exit_stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS))
    head = f"POST {PREDICTIONS_PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {MAX_BYTES}\r\n\r\n"
    try:
        client.sendall(head.encode() + b" " * (MAX_BYTES - 1))
    except OSError:  # Rejected unread.
        return


def test_load_over_all_limits_is_rejected_not_killed(server: Server, group: MemoryGroup) -> None:
    trained = json.loads(server.get("/readyz"))["bundle"]
    other = put_bundle(Store.open(str(server.folder / "models")))
    before = processes(group)
    with ExitStack() as exit_stack, ThreadPoolExecutor(1) as pool:
        outcomes = Counter[int]()
        changes = pool.submit(promote_all, server, [other, trained, other, trained])
        for count in (4, 16, 64):
            outcomes += post_all(server, large_requests(count))
            outcomes += post_all(server, explanation_requests(count))
            for _ in range(20):
                unread_body(server, exit_stack)
            outcomes += post_all(server, expensive_requests() * 3)
        changes.result(START_SECONDS)
    assert outcomes[200] >= 3
    assert outcomes[503] >= 3
    # 409: the other bundle has no explanations.
    assert set(outcomes) <= {200, 201, 409, 422, 503, DISCONNECTED}, outcomes
    assert group.kill_count() == 0
    assert processes(group) == before, "no worker was replaced"
    assert post(server, msgspec.json.encode(FULL_ORDER)) == 200
    assert post_all(server, explanation_requests(1)) == {200: 1}
    assert group.peak_bytes() <= kubernetes()[1]
