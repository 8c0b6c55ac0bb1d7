"""Connections of the client: responses before the end of a request, TLS, and proxies."""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest

from preptime import Client
from preptime.client import (
    ApiConnectionError,
    ApiStatusError,
    ApiTimeoutError,
    ApiUnreachableError,
    ProxyRejectedError,
)
from preptime.domain.prediction_records import PredictionResponse
from preptime.errors import PreptimeError, UsageError
from tests.api.processes import free_port
from tests.tls import server_context, write_certificate

ORDER: dict[str, object] = {"restaurant_id": 10, "number_of_items": 3}
LARGE_ORDERS = [ORDER | {"city": "x" * 2_000}] * 4_500
"""A body of 9 MB. No kernel buffers that much, so that a server that doesn't read it blocks the client."""
RESPONSE = json.dumps({"bundle": "b", "predictions": [{"prep_time_seconds": 600, "p50": 600.2}]}).encode()
CREDENTIALS = "kitchen:s3cret p@ss"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate and key for localhost."""
    return write_certificate(tmp_path_factory.mktemp("tls"))


def predict(url: str, orders: object = ORDER, *, timeout_seconds: float = 30.0, proxy: str | None = None) -> int:
    """Return how many predictions a new client gets with one attempt."""
    with Client(url, "k", timeout_seconds=timeout_seconds, max_attempts=1, proxy=proxy) as client:
        response: PredictionResponse = client.predict(orders)  # type: ignore[arg-type]
        return len(response)


@contextmanager
def rejecting_server(
    status: int, *, closes: bool, certificate: Path | None = None, responds: bool = True
) -> Iterator[str]:
    """Run a server that responds after the request headers, without reading the body. Yields its host and port."""
    connections: list[socket.socket] = []
    body = b'{"title": "Rejected", "detail": "Rejected early."}'
    response = f"HTTP/1.1 {status} Rejected\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            if stopped.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if certificate is not None:
                connection = server_context(certificate).wrap_socket(connection, server_side=True)
            connections.append(connection)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(1024)
            if received.startswith(b"GET"):  # the request for the schema, which an older server doesn't have
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                connection.close()
                continue
            if responds:
                connection.sendall(response)
            if closes:
                connection.close()

    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"localhost:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()
            for connection in connections:
                connection.close()


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("status", [401, 408, 413, 503])
def test_large_request_rejected_early_raises_its_status(status: int, closes: bool) -> None:
    with rejecting_server(status, closes=closes) as address:
        for _ in range(5):
            with pytest.raises(ApiStatusError, match=r"Rejected early\.") as refused:
                predict(f"http://{address}", LARGE_ORDERS)
            assert refused.value.status == status


def test_next_request_after_an_early_response_is_complete() -> None:
    with rejecting_server(413, closes=False) as address, Client(f"http://{address}", "k", max_attempts=1) as client:
        for orders in (LARGE_ORDERS, [ORDER], LARGE_ORDERS, [ORDER]):
            with pytest.raises(ApiStatusError) as refused:
                client.predict(orders)
            assert refused.value.status == 413


@pytest.mark.parametrize(("closes", "timeout_seconds"), [(True, 30.0), (False, 2.0)])
def test_large_tls_request_rejected_early_raises_its_status(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, closes: bool, timeout_seconds: float
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with rejecting_server(413, closes=closes, certificate=certificate) as address:
        with pytest.raises(ApiStatusError) as refused:
            predict(f"https://{address}", LARGE_ORDERS, timeout_seconds=timeout_seconds)
        assert refused.value.status == 413


def test_large_request_to_a_silent_server_times_out() -> None:
    with (
        rejecting_server(413, closes=False, responds=False) as address,
        pytest.raises(ApiTimeoutError, match=r"did not respond within 0\.3 s"),
    ):
        predict(f"http://{address}", LARGE_ORDERS, timeout_seconds=0.3)


def test_connection_closed_without_response_names_the_size() -> None:
    with (
        rejecting_server(413, closes=True, responds=False) as address,
        pytest.raises(ApiConnectionError, match=r"closed the connection .* has 9,\d+,\d+ bytes") as broken,
    ):
        predict(f"http://{address}", LARGE_ORDERS)
    assert not isinstance(broken.value, ApiUnreachableError)


def test_unreachable_server_is_reported_as_unreachable() -> None:
    with pytest.raises(ApiUnreachableError, match="cannot be reached"):
        predict(f"http://127.0.0.1:{free_port()}", LARGE_ORDERS)


class ApiHandler(BaseHTTPRequestHandler):
    """Predicts one order. It has no `/v1/schema`, like an older server."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(RESPONSE)))
        self.end_headers()
        self.wfile.write(RESPONSE)

    def log_message(self, *_: object, **__: object) -> None:
        """Log nothing."""


class ProxyServer(ThreadingHTTPServer):
    """A forward proxy. It connects to one address, whatever host a request names, and records the requests."""

    daemon_threads = True

    def __init__(self, api_port: int, credentials: str = "") -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandlerOfTests)
        self.api_port = api_port
        self.required = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else None
        self.requests: list[str] = []
        self.targets_received_credentials: list[bool] = []


class ProxyHandlerOfTests(BaseHTTPRequestHandler):
    """Handles CONNECT with a tunnel, and other methods with an absolute URL by forwarding them."""

    server: ProxyServer
    hop_headers: ClassVar = {"proxy-authorization", "connection", "host"}

    def _is_allowed(self) -> bool:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.required in {None, self.headers.get("Proxy-Authorization")}:
            return True
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_CONNECT(self) -> None:
        if not self._is_allowed():
            return
        with socket.create_connection(("127.0.0.1", self.server.api_port)) as target:
            self.send_response(200)
            self.end_headers()
            pairs = {self.connection: target, target: self.connection}
            with contextlib.suppress(OSError):
                while True:
                    for readable in select.select(list(pairs), [], [], 30)[0]:
                        data = readable.recv(65_536)
                        if not data:
                            return
                        pairs[readable].sendall(data)

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        if not self._is_allowed():
            return
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        head = f"{self.command} {urlsplit(self.path).path} HTTP/1.0\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in self.headers.items() if name.lower() not in self.hop_headers
        )
        with socket.create_connection(("127.0.0.1", self.server.api_port)) as target:
            target.sendall(head.encode() + b"\r\n" + body)
            while data := target.recv(65_536):
                self.wfile.write(data)

    def log_message(self, *_: object, **__: object) -> None:
        """Log nothing."""


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    """Run a server in a thread. Yields its port."""
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def running_proxy(credentials: str = "", certificate: Path | None = None) -> Iterator[tuple[int, ProxyServer]]:
    """Run an API and a proxy that leads to it. Yields the proxy's port and the proxy."""
    api = ThreadingHTTPServer(("127.0.0.1", 0), ApiHandler)
    if certificate is not None:
        api.socket = server_context(certificate).wrap_socket(api.socket, server_side=True)
    with serving(api) as api_port:
        proxy = ProxyServer(api_port, credentials)
        with serving(proxy) as port:
            yield port, proxy


@pytest.fixture(autouse=True)
def no_proxy_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_proxy_of_environment_forwards_http(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    with running_proxy() as (port, proxy):
        monkeypatch.setenv(variable, f"127.0.0.1:{port}")
        assert predict("http://preptime.invalid/base") == 1
    assert proxy.requests == [
        "GET http://preptime.invalid/base/v1/schema",
        "POST http://preptime.invalid/base/v1/predictions",
    ]


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
def test_proxy_of_environment_tunnels_https(monkeypatch: pytest.MonkeyPatch, certificate: Path, variable: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running_proxy(certificate=certificate) as (port, proxy):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
        # The certificate is for localhost, which never uses the environment's proxy. So TLS fails within the tunnel.
        with pytest.raises(ApiUnreachableError, match=r"preptime\.invalid:8443 .*certificate"):
            predict("https://preptime.invalid:8443")
    assert proxy.requests == ["CONNECT preptime.invalid:8443"]


@pytest.mark.parametrize("credentials", ["", CREDENTIALS, "käse:münchen"])
def test_explicit_proxy_tunnels_https_with_credentials(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, credentials: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running_proxy(credentials, certificate) as (port, proxy):
        assert predict("https://localhost:8443", proxy=proxy_url(port, credentials)) == 1
    assert proxy.requests == ["CONNECT localhost:8443"] * 2  # the test API closes each connection


@pytest.mark.parametrize("credentials", ["", CREDENTIALS, "käse:münchen"])
def test_explicit_proxy_forwards_http_with_credentials(credentials: str) -> None:
    with running_proxy(credentials) as (port, proxy):
        assert predict("http://127.0.0.1:8000", proxy=proxy_url(port, credentials)) == 1
    assert proxy.requests == [
        "GET http://127.0.0.1:8000/v1/schema",
        "POST http://127.0.0.1:8000/v1/predictions",
    ]


def proxy_url(port: int, credentials: str) -> str:
    """Return the URL of the proxy, with encoded credentials."""
    user, colon, password = credentials.partition(":")
    return f"http://{quote(user)}{colon}{quote(password)}{'@' if colon else ''}127.0.0.1:{port}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("sent", ["", "kitchen:wr0ng-secret@"])
def test_rejected_credentials_are_sent_once_and_not_shown(scheme: str, sent: str) -> None:
    with (
        running_proxy(CREDENTIALS) as (port, proxy),
        Client(f"{scheme}://preptime.invalid", "k", proxy=f"http://{sent}127.0.0.1:{port}") as client,
    ):
        with pytest.raises(ProxyRejectedError, match=rf"The proxy 127\.0\.0\.1:{port} rejected .*407") as refused:
            client.predict(ORDER)
        assert "wr0ng" not in chain_text(refused.value)
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unreachable_proxy_is_named_without_credentials(scheme: str) -> None:
    port = free_port()
    with pytest.raises(ApiUnreachableError, match=f"The proxy 127.0.0.1:{port} cannot be reached") as refused:
        predict(f"{scheme}://preptime.invalid", proxy=f"http://kitchen:s3cret@127.0.0.1:{port}")
    assert "s3cret" not in chain_text(refused.value)


def chain_text(error: BaseException | None) -> str:
    """Return the text of an error and of all its causes."""
    return "" if error is None else f"{error!r} {chain_text(error.__cause__ or error.__context__)}"


@pytest.mark.parametrize(
    ("no_proxy", "is_bypassed"),
    [
        ("preptime.invalid", True),
        (".invalid", True),
        ("*", True),
        ("other.invalid", False),
        ("preptime.invalid:9", False),
    ],
)
def test_no_proxy_names_hosts_without_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_bypassed: bool) -> None:
    with running_proxy() as (port, proxy):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", no_proxy)
        expected = pytest.raises(ApiUnreachableError, match=r"^preptime") if is_bypassed else nullcontext()
        with expected:
            assert predict("http://preptime.invalid:8") == 1
    assert bool(proxy.requests) != is_bypassed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_server_needs_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), ApiHandler)) as port:
        assert predict(f"http://{host}:{port}") == 1


def test_empty_proxy_disables_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_proxy() as (port, proxy):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(ApiUnreachableError, match=r"^preptime\.invalid"):
            predict("http://preptime.invalid", proxy="")
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://me:s3cret@127.0.0.1:1080", "is a socks5 proxy"),
        ("http://me:s3cret@host:port", "isn't a URL"),
        ("http://me:s3/cret@host", "isn't"),
        ("http://", "isn't"),
    ],
)
def test_invalid_proxy_raises_without_credentials(proxy: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        Client("http://preptime.invalid", "k", proxy=proxy)
    assert "s3" not in str(refused.value)


def test_test_proxy_serves_other_http_clients() -> None:
    """The proxy of these tests is a real one: urllib's own client gets through it."""
    with running_proxy() as (port, proxy):
        opener = build_opener(ProxyHandler({"http": f"http://127.0.0.1:{port}"}))
        with opener.open("http://preptime.invalid/v1/predictions", b"{}", timeout=30) as response:
            assert json.load(response)["bundle"] == "b"
    assert proxy.requests == ["POST http://preptime.invalid/v1/predictions"]


def test_invalid_server_url_raises_without_credentials() -> None:
    with pytest.raises(PreptimeError, match="isn't the URL") as refused:
        Client("htp://me:s3cret@host", "k")
    assert "s3cret" not in str(refused.value)
