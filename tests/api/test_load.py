"""Load over the limits, slow clients, and incomplete bodies: other requests and health checks aren't delayed."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from preptime.api.limits import RESERVED_THREADS
from tests.api.factories import ORDER
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, START_SECONDS, Server, running_server
from tests.api.test_server import promote
from tests.requirements import requires

MAX_REQUESTS = 4
DISCONNECTED = 0
BODY = json.dumps(ORDER).encode()
BODY_TIMEOUT_SECONDS = 2.0
CONNECTION_COUNT = 2 * (MAX_REQUESTS + RESERVED_THREADS)
"""More slow clients than the worker has threads."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a worker that accepts four concurrent requests."""
    requires(os.name == "posix", "the server has one thread per request only on POSIX systems")
    folder = tmp_path_factory.mktemp("load")
    promote(folder)
    with running_server(
        folder,
        SERVE_COMMAND,
        PREPTIME_MAX_CONCURRENT_REQUESTS=str(MAX_REQUESTS),
        PREPTIME_BODY_TIMEOUT_SECONDS=str(BODY_TIMEOUT_SECONDS),
    ) as server:
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
        clients = slow_clients(server, CONNECTION_COUNT, exit_stack)
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


def open_post(server: Server, *headers: str, part: bytes = b"{") -> socket.socket:
    """Send the head of a request and a part of its body."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS)
    lines = ("POST /v1/predictions HTTP/1.1", "Host: test", "Content-Type: application/json", *headers)
    client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + part)
    return client


def read_all(client: socket.socket) -> bytes:
    """Return everything until the server ends the connection."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionError:  # The server had unread data when it closed the connection.
        pass
    return received


def status_of(response: bytes) -> int:
    """Return the status of a response, or `DISCONNECTED`."""
    return int(response.split()[1]) if response else DISCONNECTED


@pytest.mark.parametrize("key", ["", "aikey: wrong"])
def test_slow_bodies_without_a_key_reject_no_prediction(server: Server, key: str) -> None:
    with ExitStack() as exit_stack:
        headers = [header for header in (key, "Content-Length: 100000") if header]
        clients = [open_post(server, *headers) for _ in range(CONNECTION_COUNT)]
        for client in clients:
            exit_stack.callback(client.close)
        assert {send_request(server) for _ in range(50)} == {(200, None)}
        assert server.get_response("/healthz")[0] == 200
        outcomes = {status_of(read_all(client)) for client in clients}
        assert 401 in outcomes
        assert outcomes <= {401, DISCONNECTED}


@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("trickling", [False, True])
def test_slow_bodies_with_a_key_lose_their_slots(server: Server, length: str, trickling: bool) -> None:
    requires(sys.platform == "linux", "connections of slow clients are ended only on Linux")
    with ExitStack() as exit_stack:
        clients = [open_post(server, f"aikey: {PLAIN_KEY}", length, part=b"") for _ in range(MAX_REQUESTS)]
        for client in clients:
            exit_stack.callback(client.close)
        stopped = threading.Event()
        if trickling:
            thread = threading.Thread(target=trickle, args=(clients, length, stopped))
            thread.start()
            exit_stack.callback(thread.join)
            exit_stack.callback(stopped.set)
        responses = [read_all(client) for client in clients]
        assert {status_of(response) for response in responses} <= {408, 503, DISCONNECTED}
        assert 408 in {status_of(response) for response in responses}
        assert any(b"2 seconds" in response for response in responses)
        assert send_request(server) == (200, None)
    assert 'preptime_rejected_requests_total{cause="body_timeout"}' in server.get("/metrics")


def test_late_body_ends_no_used_connection(server: Server) -> None:
    requires(sys.platform == "linux", "connections of slow clients are ended only on Linux")
    with ExitStack() as exit_stack:
        other = HTTPConnection("127.0.0.1", server.port, timeout=START_SECONDS)
        exit_stack.callback(other.close)
        late = open_post(server, f"aikey: {PLAIN_KEY}", "Content-Length: 100000")
        exit_stack.callback(late.close)
        with ThreadPoolExecutor(1) as pool:
            response = pool.submit(read_all, late)
            used_at = time.monotonic()
            while not response.done():
                try:
                    assert predict_on(other) == 200
                except (OSError, HTTPException):  # A busy machine can leave it unused for that long.
                    assert time.monotonic() - used_at > BODY_TIMEOUT_SECONDS, "the connection was in use"
                    other.close()
                used_at = time.monotonic()
        assert status_of(response.result()) == 408


def predict_on(connection: HTTPConnection, body: bytes | Iterator[bytes] = BODY) -> int:
    """Send a request on an open connection, in chunks if the body is an iterator. Return its status."""
    connection.request("POST", "/v1/predictions", body, {"aikey": PLAIN_KEY, "Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def trickle(clients: list[socket.socket], length: str, stopped: threading.Event) -> None:
    """Send one byte of each body at a time, until the server ends the connections."""
    part = b" " if "Length" in length else b"1\r\n \r\n"
    while not stopped.wait(0.1):
        for client in clients:
            with suppress(OSError):
                client.sendall(part)


@pytest.mark.parametrize("arrived", [len(BODY), len(BODY) // 2, 0])
def test_body_shorter_than_its_length_is_not_logged(server: Server, arrived: int) -> None:
    name = f"incomplete-{arrived}"
    length = f"Content-Length: {len(BODY) + 1}"
    client = open_post(server, f"aikey: {PLAIN_KEY}", f"X-Request-ID: {name}", length, part=BODY[:arrived])
    client.shutdown(socket.SHUT_WR)
    assert status_of(read_all(client)) in {400, DISCONNECTED}
    client.close()
    assert_not_logged(server, name)


@pytest.mark.parametrize("end", [b"", b"ZZ\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"5\r\nab"])
def test_chunked_json_that_ends_early_is_not_logged(server: Server, end: bytes) -> None:
    name = f"chunked-{len(end)}-{end[:1].hex()}"
    client = open_chunked_post(server, name, BODY[:-1], end)
    client.shutdown(socket.SHUT_WR)
    assert status_of(read_all(client)) in {400, DISCONNECTED}
    client.close()
    assert_not_logged(server, name)


@pytest.mark.parametrize("end", [b"", b"5\r\n", b"1\r\n ", b"0\r\n"])
def test_chunked_body_without_its_last_chunk_is_400(server: Server, end: bytes) -> None:
    """Although its JSON is complete."""
    requires(sys.platform == "linux", "only Linux shows that the client has ended sending")
    name = f"no-last-chunk-{len(end)}-{end[:1].hex()}"
    client = open_chunked_post(server, name, BODY, end)
    client.shutdown(socket.SHUT_WR)
    response = read_all(client)
    client.close()
    assert (status_of(response), b"closed before the last chunk" in response) == (400, True), response
    assert_not_logged(server, name)


def test_chunked_body_on_a_reset_connection_is_not_logged(server: Server) -> None:
    requires(sys.platform == "linux", "only Linux shows that the client has reset the connection")
    client = open_chunked_post(server, "reset", BODY, b"")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert_not_logged(server, "reset")


def test_complete_chunked_bodies_are_200_while_clients_leave(server: Server) -> None:
    """Other connections of the same address, which their clients close, don't count as truncated bodies."""
    stopped = threading.Event()

    def come_and_go() -> None:
        while not stopped.is_set():
            client = open_post(server, f"aikey: {PLAIN_KEY}", f"Content-Length: {len(BODY)}", part=BODY)
            client.recv(65536)
            client.close()

    with ExitStack() as exit_stack:
        thread = threading.Thread(target=come_and_go)
        thread.start()
        exit_stack.callback(thread.join)
        exit_stack.callback(stopped.set)
        kept_alive = HTTPConnection("127.0.0.1", server.port, timeout=START_SECONDS)
        exit_stack.callback(kept_alive.close)
        for number in range(200):
            chunks = iter([BODY[:number], BODY[number:]] if 0 < number < len(BODY) else [BODY])
            assert predict_on(kept_alive, chunks) == 200
            assert predict_on(kept_alive) == 200


def open_chunked_post(server: Server, name: str, content: bytes, end: bytes) -> socket.socket:
    """Send a request whose body has one complete chunk and an incomplete end."""
    part = b"%x\r\n%s\r\n" % (len(content), content) + end
    return open_post(server, f"aikey: {PLAIN_KEY}", f"X-Request-ID: {name}", "Transfer-Encoding: chunked", part=part)


def assert_not_logged(server: Server, name: str) -> None:
    """Send another request, wait until it's in the prediction log, and check that the named one isn't."""
    client = open_post(
        server,
        f"aikey: {PLAIN_KEY}",
        f"X-Request-ID: after-{name}",
        "Connection: close",
        f"Content-Length: {len(BODY)}",
        part=BODY,
    )
    assert status_of(read_all(client)) == 200
    client.close()
    for _ in range(1000):
        names = [json.loads(line)["request_id"] for line in prediction_log_lines(server)]
        if f"after-{name}" in names:
            assert name not in names
            return
        time.sleep(0.02)
    pytest.fail("the prediction isn't logged")


def prediction_log_lines(server: Server) -> list[str]:
    """Return the complete lines of the prediction log that are written so far."""
    texts = [path.read_text(encoding="utf-8") for path in (server.folder / "predictions").glob("*.jsonl")]
    return [line for text in texts for line in text.rpartition("\n")[0].splitlines()]


def test_client_that_reads_no_response_is_disconnected(server: Server) -> None:
    requires(sys.platform == "linux", "clients that don't receive their response are disconnected only on Linux")
    assert send_request(server) == (200, None)
    body = json.dumps({"orders": [ORDER] * 5000}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(START_SECONDS)
        client.connect(("127.0.0.1", server.port))
        head = f"POST /v1/predictions HTTP/1.1\r\nHost: test\r\naikey: {PLAIN_KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert client.recv(1, socket.MSG_PEEK) == b"H"
        wait_for_disconnection(server.port, client.getsockname()[1])
        assert len(read_all(client)) < len(body)


def wait_for_disconnection(server_port: int, client_port: int) -> None:
    """Wait until the system has no connection between these ports on the side of the server."""
    local, remote = f":{server_port:04X}", f":{client_port:04X}"
    for _ in range(int(START_SECONDS * 20)):
        rows = [line.split()[1:3] for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()]
        if not any(row[0].endswith(local) and row[1].endswith(remote) for row in rows):
            return
        time.sleep(0.05)
    pytest.fail("the server keeps the connection")
