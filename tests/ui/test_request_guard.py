"""Tests of the request guard with a real dashboard: uploads, sessions, headers, and paths, without a browser."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from preptime.ui import request_guard
from preptime.ui.request_guard import is_allowed_origin
from preptime.ui.session_registry import UploadRefusedError
from tests.api.processes import Server
from tests.ui.browser import API_KEY, key_entry, make_store, run_dashboard

MEGABYTE = 1024 * 1024
BOUNDARY = "boundary"
WAIT_SECONDS = 60
"""A limit against hanging. No test depends on it."""


def run_coroutine(coroutine: Coroutine[object, object, None]) -> None:
    """Run a coroutine in a thread of its own, because Playwright's browser has an event loop in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard without sign-in, under a prefix. A session can hold 2 MB, all sessions 3 MB.

    A disconnected session can be resumed for 3 s instead of 20, so that tests don't wait for it.
    """
    folder = tmp_path_factory.mktemp("local")
    make_store(folder)
    settings = {
        "PREPTIME_UI_MAX_UPLOAD_MB": "2",
        "PREPTIME_UI_MAX_TOTAL_UPLOAD_MB": "3",
        "PREPTIME_UI_BASE_PATH": "/team/preptime/",
    }
    start_code = "from preptime.ui import request_guard\nrequest_guard.RECONNECT_SECONDS = 3.0"
    with run_dashboard(folder, start_code=start_code, **settings) as dashboard:
        dashboard.wait_until("/_stcore/health")
        yield dashboard


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard that requires sign-in and ends idle sessions after 3 seconds. Its HTTP proxy is a closed port."""
    folder = tmp_path_factory.mktemp("public")
    make_store(folder)
    settings = {
        "PREPTIME_UI_HOST": "0.0.0.0",  # noqa: S104
        "PREPTIME_API_KEYS": key_entry("dispatch", API_KEY),
        "PREPTIME_UI_SESSION_TIMEOUT_MINUTES": "0.05",
    }
    with run_dashboard(folder, **settings) as dashboard:
        dashboard.wait_until("/_stcore/health")
        yield dashboard


@dataclass
class BrowserSession:
    """A websocket connection with its session, as a browser has it."""

    server: Server
    prefix: str
    id: str
    cookie: str
    socket: websockets.ClientConnection

    def request(self, method: str, file_id: str, *, body: bytes = b"", chunked: bool = False) -> tuple[int, str]:
        """Send an upload request and return its status and its text."""
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Cookie": self.cookie}
        headers["X-Xsrftoken"] = self.cookie.partition("=")[2]
        content = iter([body[start : start + 65_536] for start in range(0, len(body), 65_536)]) if chunked else body
        path = f"{self.prefix}/_stcore/upload_file/{self.id}/{file_id}"
        with connect(self.server) as connection:
            # The server can respond and close the connection before it has read the body.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, content, headers, encode_chunked=chunked)
            response = connection.getresponse()
            return response.status, response.read().decode()

    async def upload(self, file_id: str, size: int, *, chunked: bool = False) -> tuple[int, str]:
        """Upload a file of this size."""
        return await asyncio.to_thread(self.request, "PUT", file_id, body=multipart(size), chunked=chunked)

    async def receive(self, kind: str) -> ForwardMsg:
        """Return the next message of this kind."""
        while True:
            message = ForwardMsg()
            message.ParseFromString(await asyncio.wait_for(self.socket.recv(), WAIT_SECONDS))
            if message.WhichOneof("type") == kind:
                return message


def multipart(size: int) -> bytes:
    """Return a form with one file of this size."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="orders.csv"\r\n\r\n'
    return head.encode() + b"a" * size + f"\r\n--{BOUNDARY}--\r\n".encode()


def connect(server: Server) -> contextlib.closing[http.client.HTTPConnection]:
    """Return a connection that's closed at the end of its block."""
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS))


@asynccontextmanager
async def open_session(
    server: Server, prefix: str = "", *, earlier_session_id: str = ""
) -> AsyncIterator[BrowserSession]:
    """Connect, run the script, and wait until it has finished. A browser reconnects to its earlier session."""
    with connect(server) as connection:
        connection.request("GET", f"{prefix}/_stcore/health")
        cookie = (connection.getresponse().getheader("set-cookie") or "").partition(";")[0]
    protocols = ("streamlit", "no-token", earlier_session_id) if earlier_session_id else ("streamlit",)
    async with websockets.connect(
        f"ws://127.0.0.1:{server.port}{prefix}/_stcore/stream",
        subprotocols=[websockets.Subprotocol(name) for name in protocols],
        max_size=None,
        additional_headers={"Cookie": cookie},
    ) as client:
        session = BrowserSession(server, prefix, "", cookie, client)
        message = BackMsg()
        message.rerun_script.query_string = ""
        await client.send(message.SerializeToString())
        session.id = (await session.receive("new_session")).new_session.initialize.session_id
        await session.receive("script_finished")
        yield session


PREFIX = "/team/preptime"


def test_visitor_without_a_key_cannot_upload(public: Server) -> None:
    async def attack() -> None:
        async with open_session(public) as visitor:
            status, text = await visitor.upload("file", 50 * MEGABYTE)
            assert (status, "isn't signed in" in text) == (403, True)
            assert (await visitor.upload("file", 10, chunked=True))[0] == 403
            assert visitor.request("DELETE", "file")[0] == 403

    run_coroutine(attack())


def test_upload_beyond_the_session_limit_is_refused(local: Server) -> None:
    async def attack() -> None:
        async with open_session(local, PREFIX) as user:
            assert await user.upload("large", 3 * MEGABYTE) == (
                413,
                "The file is larger than 2 MB (PREPTIME_UI_MAX_UPLOAD_MB). For larger files, use `preptime score`.\n",
            )
            await user.receive("script_finished")  # the page is drawn again, with the message
            status, text = await user.upload("large", 9 * MEGABYTE, chunked=True)
            assert (status, "larger than 2 MB" in text) == (413, True)
            assert await user.upload("small", MEGABYTE) == (204, "")
            status, text = await user.upload("second", MEGABYTE + 1)
            assert (status, "With the files of this session, 1.0 MB" in text) == (413, True)
            assert user.request("DELETE", "small") == (204, "")
            assert await user.upload("second", MEGABYTE + 1) == (204, "")

    run_coroutine(attack())
    assert [name for name in (local.folder / "temporary").iterdir() if name.suffix] == []


def test_upload_beyond_the_total_limit_gets_503(local: Server) -> None:
    async def attack() -> None:
        async with open_session(local, PREFIX) as first, open_session(local, PREFIX) as second:
            while (answer := await first.upload("first", 2 * MEGABYTE - 1000))[0] == 503:
                await asyncio.sleep(1)  # until the sessions of other tests have ended
            assert answer == (204, "")
            status, text = await second.upload("second", MEGABYTE + 1000)
            assert (status, "all users together can't exceed 3 MB" in text) == (503, True)

    run_coroutine(attack())


def test_files_of_a_disconnected_session_are_released(local: Server) -> None:
    async def fill() -> None:
        async with open_session(local, PREFIX) as session:
            while (await session.upload("file", 2 * MEGABYTE - 1000))[0] == 503:
                await asyncio.sleep(1)

    async def wait_until_released() -> None:
        # The session exists before the other one ends, so that no later connection triggers the release.
        async with open_session(local, PREFIX) as session:
            await fill()
            end = time.monotonic() + WAIT_SECONDS
            while (status := (await session.upload("file", 2 * MEGABYTE - 1000))[0]) == 503 and time.monotonic() < end:
                await asyncio.sleep(1)
            assert status == 204

    run_coroutine(wait_until_released())


def test_idle_session_is_closed_and_cannot_be_resumed(public: Server) -> None:
    async def wait() -> None:
        async with open_session(public) as session:
            await asyncio.wait_for(session.socket.wait_closed(), WAIT_SECONDS)
            assert session.socket.close_code == 1001
            async with open_session(public, earlier_session_id=session.id) as other:
                assert other.id != session.id

    run_coroutine(wait())


def test_slow_upload_gets_408_and_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_guard, "UPLOAD_STALL_SECONDS", 0.05)

    class Registry:
        def reserve(self, _session_id: str, _size: int) -> None:
            """Accept every size."""

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    async def read() -> None:
        body = request_guard._UploadBody(Registry(), "a", receive)  # type: ignore[arg-type]
        with pytest.raises(UploadRefusedError) as refusal:
            await body.receive()
        assert refusal.value.status == 408
        assert isinstance(refusal.value, OSError)  # Starlette then deletes what it received

    run_coroutine(read())


@pytest.mark.parametrize("path", ["/", "/models", "/_stcore/health", "/nowhere", "/_stcore/metrics", "/downloads/x"])
def test_every_response_has_security_headers(local: Server, path: str) -> None:
    with connect(local) as connection:
        connection.request("GET", PREFIX + path)
        response = connection.getresponse()
        response.read()
    assert response.getheader("X-Frame-Options") == "DENY"
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("Referrer-Policy") == "same-origin"
    policy = response.getheader("Content-Security-Policy") or ""
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval", "")
    assert not re.search(r"script-src[^;]*unsafe-inline", policy)


def test_metrics_and_the_agent_interface_are_not_served(local: Server) -> None:
    for path in ("/_stcore/metrics", "/_stcore/agent/openapi.json", "/_stcore/agent/mcp"):
        assert local.get_response(PREFIX + path) == (404, "Not found.\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused_before_the_body(local: Server, method: str) -> None:
    with connect(local) as connection:
        connection.putrequest(method, f"{PREFIX}/models")
        connection.putheader("Content-Length", str(MEGABYTE))
        connection.endheaders()  # the body never follows
        assert connection.getresponse().status == 405


def test_paths_are_below_the_prefix_and_health_is_at_both(local: Server) -> None:
    assert local.get(f"{PREFIX}/_stcore/health") == local.get("/_stcore/health") == "ok"
    assert "window.__streamlit" in local.get(f"{PREFIX}/models")
    assert local.get_response("/models")[0] == 404
    assert f"http://127.0.0.1:{local.port}{PREFIX}/ " in local.stdout_text()


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "ui:8501", True),
        ("https://ui.example", "ui.example", True),
        ("http://localhost:8501", "preptime-ui.run.app", True),
        ("https://evil.example", "ui.example", False),
        ("http://localhost.evil.example", "ui.example", False),
        ("null", "ui.example", False),
        ("http://[", "ui.example", False),
    ],
)
def test_origin_must_be_the_host_or_this_machine(origin: str | None, host: str, *, allowed: bool) -> None:
    assert is_allowed_origin(origin, host) == allowed


def test_refused_origin_asks_no_other_server(tmp_path: Path) -> None:
    make_store(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        with run_dashboard(tmp_path, http_proxy=url, https_proxy=url, no_proxy="") as dashboard:
            dashboard.wait_until("/_stcore/health")

            async def connect() -> None:
                await websockets.connect(
                    f"ws://127.0.0.1:{dashboard.port}/_stcore/stream", origin=websockets.Origin("https://evil.example")
                )

            with pytest.raises(websockets.InvalidStatus, match="403"):
                run_coroutine(connect())
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
