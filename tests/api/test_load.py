"""More than a server takes on, and clients that send slowly: nobody waits for them, and health is told."""

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

MOST = 4
HUNG_UP = 0
BODY = json.dumps(ORDER).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A worker that takes four requests in hand."""
    requires(os.name == "posix", "the server's threads are as many as requests on POSIX systems only")
    folder = tmp_path_factory.mktemp("pressure")
    promote(folder)
    with running_server(folder, SERVE_COMMAND, PREPTIME_MAX_CONCURRENT_REQUESTS=str(MOST)) as server:
        server.wait_until("/readyz")
        yield server


class Client:
    """A client that sends a request's head and this much of its body, and then takes its time."""

    def __init__(self, server: Server, part: bytes) -> None:
        self._rest = BODY[len(part) :]
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS)
        head = (
            f"POST /v1/predictions HTTP/1.1\r\nHost: test\r\naikey: {PLAIN_KEY}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + part)

    def finish(self) -> None:
        """Send the rest."""
        self.socket.sendall(self._rest)

    def answer(self) -> tuple[int, str | None]:
        """Status and `Retry-After`."""
        found = b""
        while part := self.socket.recv(65536):
            found += part
        head = found.partition(b"\r\n\r\n")[0].decode().lower().splitlines()
        after = [line.partition(": ")[2] for line in head if line.startswith("retry-after")]
        return int(head[0].split()[1]), after[0] if after else None


def ask(server: Server) -> tuple[int, str | None]:
    """A client that sends all at once, as one packet."""
    with ExitStack() as ending:
        client = Client(server, BODY)
        ending.callback(client.socket.close)
        return client.answer()


def slow(server: Server, count: int, ending: ExitStack) -> list[Client]:
    """So many slow clients."""
    clients = [Client(server, BODY[:-1]) for _ in range(count)]
    for client in clients:
        ending.callback(client.socket.close)
    return clients


def until_it_refuses(server: Server) -> None:
    """Wait until the worker has taken on all that it does."""
    time.sleep(0.5)  # a question asked at once might take the place of one that was here before
    for _ in range(500):
        if ask(server)[0] == 503:
            return
    pytest.fail("it takes on more than its bound")


def test_slow_client_delays_no_other_client(server: Server) -> None:
    with ExitStack() as ending:
        (client,) = slow(server, 1, ending)
        assert {ask(server) for _ in range(20)} == {(200, None)}
        client.finish()
        assert client.answer() == (200, None)


def test_slow_clients_over_the_limit_get_503(server: Server) -> None:
    with ExitStack() as ending:
        clients = slow(server, MOST, ending)
        until_it_refuses(server)
        assert ask(server) == (503, "1")
        assert server.get_response("/healthz")[0] == server.get_response("/readyz")[0] == server.get_response("/metrics")[0] == 200
        for client in clients:
            client.finish()
        assert [client.answer() for client in clients] == [(200, None)] * MOST
    assert ask(server) == (200, None)


def test_many_slow_clients_leave_health_and_503_responses(server: Server) -> None:
    with ExitStack() as ending:
        clients = slow(server, 2 * (MOST + RESERVED_THREADS), ending)
        until_it_refuses(server)
        assert server.get_response("/healthz")[0] == server.get_response("/readyz")[0] == 200
        found = Counter(outcome(client) for client in clients)
        assert found[200] >= MOST
        assert set(found) <= {200, 503, HUNG_UP}
    assert ask(server) == (200, None)


def outcome(client: Client) -> int:
    """What a client gets that sends the rest now; who was refused unread may be hung up on before it listens."""
    try:
        client.finish()
        return client.answer()[0]
    except OSError:
        return HUNG_UP
