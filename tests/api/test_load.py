"""Load over the concurrency limit and slow clients: other requests and health checks aren't delayed."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from preptime.api.batching import RESERVED_THREADS
from tests.api.factories import ORDER
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, START_SECONDS, Server, running_server
from tests.api.test_server import promote
from tests.requirements import requires

MAX_REQUESTS = 4
DISCONNECTED = 0
BODY = json.dumps(ORDER).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a worker that accepts four concurrent requests."""
    requires(os.name == "posix", "the server has one thread per request only on POSIX systems")
    folder = tmp_path_factory.mktemp("load")
    promote(folder)
    with running_server(folder, SERVE_COMMAND, PREPTIME_MAX_CONCURRENT_REQUESTS=str(MAX_REQUESTS)) as server:
        server.wait_until("/readyz")
        yield server


class SlowClient:
    """A client that sends the head and a part of the body of a request, and the rest later."""

    def __init__(self, server: Server, part: bytes) -> None:
        self._remaining_body = BODY[len(part) :]
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS)
        head = (
            f"POST /v1/predictions HTTP/1.1\r\nHost: test\r\naikey: {PLAIN_KEY}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + part)

    def finish(self) -> None:
        """Send the rest of the body."""
        self.socket.sendall(self._remaining_body)

    def read_response(self) -> tuple[int, str | None]:
        """Return the status and `Retry-After`."""
        response = b""
        while part := self.socket.recv(65536):
            response += part
        head = response.partition(b"\r\n\r\n")[0].decode().lower().splitlines()
        retry_after = [line.partition(": ")[2] for line in head if line.startswith("retry-after")]
        return int(head[0].split()[1]), retry_after[0] if retry_after else None


def send_request(server: Server) -> tuple[int, str | None]:
    """Send a request in one packet. Return the status and `Retry-After`."""
    with ExitStack() as exit_stack:
        client = SlowClient(server, BODY)
        exit_stack.callback(client.socket.close)
        return client.read_response()


def slow_clients(server: Server, count: int, exit_stack: ExitStack) -> list[SlowClient]:
    """Return slow clients that lack the last byte of their bodies."""
    clients = [SlowClient(server, BODY[:-1]) for _ in range(count)]
    for client in clients:
        exit_stack.callback(client.socket.close)
    return clients


def wait_for_rejection(server: Server) -> None:
    """Wait until the worker has its maximum number of requests."""
    time.sleep(0.5)  # An immediate request could be accepted before one of the slow clients.
    for _ in range(500):
        if send_request(server)[0] == 503:
            return
    pytest.fail("the server accepts more than its limit")


def test_slow_client_delays_no_other_client(server: Server) -> None:
    with ExitStack() as exit_stack:
        (client,) = slow_clients(server, 1, exit_stack)
        assert {send_request(server) for _ in range(20)} == {(200, None)}
        client.finish()
        assert client.read_response() == (200, None)


def test_slow_clients_over_the_limit_get_503(server: Server) -> None:
    with ExitStack() as exit_stack:
        clients = slow_clients(server, MAX_REQUESTS, exit_stack)
        wait_for_rejection(server)
        assert send_request(server) == (503, "1")
        assert (
            server.get_response("/healthz")[0]
            == server.get_response("/readyz")[0]
            == server.get_response("/metrics")[0]
            == 200
        )
        for client in clients:
            client.finish()
        assert [client.read_response() for client in clients] == [(200, None)] * MAX_REQUESTS
    assert send_request(server) == (200, None)


def test_many_slow_clients_leave_health_and_503_responses(server: Server) -> None:
    with ExitStack() as exit_stack:
        clients = slow_clients(server, 2 * (MAX_REQUESTS + RESERVED_THREADS), exit_stack)
        wait_for_rejection(server)
        assert server.get_response("/healthz")[0] == server.get_response("/readyz")[0] == 200
        outcomes = Counter(outcome(client) for client in clients)
        assert outcomes[200] >= MAX_REQUESTS
        assert set(outcomes) <= {200, 503, DISCONNECTED}
    assert send_request(server) == (200, None)


def outcome(client: SlowClient) -> int:
    """Send the rest and return the status. A client that was rejected unread can be disconnected before it reads."""
    try:
        client.finish()
        return client.read_response()[0]
    except OSError:
        return DISCONNECTED
