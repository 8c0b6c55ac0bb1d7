"""Checks every request to the dashboard before Streamlit gets it, and ends unused sessions.

Streamlit itself accepts files from every visitor, at any rate, and keeps them as long as the session exists. It also
serves its metrics to everyone, and asks the internet for its own address when it refuses an origin.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime import Runtime

from preptime.ui.session_registry import SessionRegistry, UploadRefusedError

_LOG = logging.getLogger(__name__)

HEALTH_PATH = "/_stcore/health"
CONNECTION_HEADER = "X-Preptime-Connection"
"""The guard adds it to a websocket request, so that the script can tell which connection its session uses."""
MAX_CONNECTIONS = 200
"""Open browser tabs, including those of visitors who haven't signed in. Each costs memory."""
UPLOAD_STALL_SECONDS = 30.0
"""Maximum time between two parts of an upload."""
UPLOAD_SECONDS = 600.0
"""Maximum time of a whole upload. 200 MB then need 2.7 Mbit/s."""
RECONNECT_SECONDS = 20.0
"""Time in which a browser can reconnect to its session. Afterward, the session and its files are deleted."""
_REFUSED_PATHS = ("/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")
"""Streamlit's metrics name its sessions. The agent interface would run pages without a browser."""
_READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""Origins on the user's machine, for a tunnel that changes the host, such as `gcloud run services proxy`."""
_POLICY_VIOLATION, _GOING_AWAY, _TRY_AGAIN_LATER = 1008, 1001, 1013


def security_headers(inline_script_hashes: Iterable[str]) -> dict[str, str]:
    """Return the headers of every response. Only the inline scripts with these SHA-256 hashes (base64) can run."""
    hashes = " ".join(f"'sha256-{value}'" for value in inline_script_hashes)
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'wasm-unsafe-eval' {hashes}".strip(),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }


@dataclass(frozen=True)
class GuardOptions:
    """What the guard needs to know about the dashboard."""

    base_path: str
    """Prefix of every path, without a slash at the end; or empty."""
    idle_seconds: float
    """Time without activity after which a session ends."""
    headers: dict[str, str]
    """Headers of every response."""


class RequestGuard:
    """ASGI middleware around Streamlit."""

    def __init__(self, app: ASGIApp, *, options: GuardOptions, get_registry: Callable[[], SessionRegistry]) -> None:
        self._app = app
        self._options = options
        self._get_registry = get_registry
        self._connections = 0
        self._upload_path = re.compile(re.escape(options.base_path) + "/_stcore/upload_file/([^/]+)/([^/]+)")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a websocket connection."""
        if scope["type"] == "http":
            await self._handle_request(scope, receive, self._with_headers(send))
        elif scope["type"] == "websocket":
            await self._handle_connection(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._options.headers)
            await send(message)

        return send_with_headers

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method, base_path = scope["path"], scope["method"], self._options.base_path
        if base_path and path == HEALTH_PATH:  # probes don't need to know the prefix
            path = base_path + HEALTH_PATH
            scope = {**scope, "path": path, "raw_path": path.encode()}
        upload = self._upload_path.fullmatch(path)
        if path.removeprefix(base_path).startswith(_REFUSED_PATHS):
            await _respond(HTTPStatus.NOT_FOUND, "Not found.", scope, receive, send)
        elif upload and method == "PUT":
            await self._handle_upload(upload[1], upload[2], scope, receive, send)
        elif upload and method == "DELETE" and not self._get_registry().is_signed_in(upload[1]):
            await _respond(HTTPStatus.FORBIDDEN, "This session isn't signed in.", scope, receive, send)
        elif method in _READ_METHODS or (upload and method == "DELETE"):
            await self._app(scope, receive, send)
        else:
            await _respond(HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed.", scope, receive, send)

    async def _handle_upload(self, session_id: str, file_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        registry = self._get_registry()
        try:
            registry.start_upload(session_id)
        except UploadRefusedError as error:
            await _respond(error.status, str(error), scope, receive, send)
            _show_refusal(registry, session_id, error)
            return
        body = _UploadBody(registry, session_id, receive)
        status = 0

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        refusal: UploadRefusedError | None = None
        try:
            body.reserve_declared_length(Headers(scope=scope))
            await self._app(scope, body.receive, send_and_note_status)
        except UploadRefusedError as error:
            refusal = error
        finally:
            is_stored = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
            stored_file = (file_id, body.received_bytes) if is_stored else None
            if not registry.finish_upload(session_id, body.reserved_bytes, stored_file):
                # The session ended during the upload. Streamlit would keep the file forever.
                Runtime.instance().uploaded_file_mgr.remove_session_files(session_id)
        if refusal is not None:
            await _respond(refusal.status, str(refusal), scope, receive, send)
            _show_refusal(registry, session_id, refusal)

    async def _handle_connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not is_allowed_origin(headers.get("origin"), headers.get("host", "")):
            _LOG.warning("Refused a websocket connection from another origin.")
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if self._connections >= MAX_CONNECTIONS:
            _LOG.warning("Refused a websocket connection: %d are open.", self._connections)
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
            return
        registry, connection = self._get_registry(), secrets.token_hex(16)
        name = CONNECTION_HEADER.lower().encode()
        other_headers = [item for item in scope["headers"] if item[0].lower() != name]
        scope = {**scope, "headers": [*other_headers, (name, connection.encode())]}
        activity = _Activity(registry, connection, self._options.idle_seconds, receive, send)
        self._connections += 1
        try:
            await self._app(scope, activity.receive, activity.send)
        finally:
            self._connections -= 1
            asyncio.get_running_loop().call_later(RECONNECT_SECONDS, _end_disconnected_session, registry, connection)


class _UploadBody:
    """The body of an upload: counted, limited, and with deadlines."""

    def __init__(self, registry: SessionRegistry, session_id: str, receive: Receive) -> None:
        self.reserved_bytes = 0
        self.received_bytes = 0
        self._registry = registry
        self._session_id = session_id
        self._receive = receive
        self._end = asyncio.get_running_loop().time() + UPLOAD_SECONDS

    def reserve_declared_length(self, headers: Headers) -> None:
        """Reserve the declared size, so that an upload beyond a limit is refused before its body is read."""
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit():
            self._reserve(int(length))

    def _reserve(self, size_bytes: int) -> None:
        self._registry.reserve(self._session_id, size_bytes)
        self.reserved_bytes += size_bytes

    async def receive(self) -> Message:
        """Return the next part of the body. Raises `UploadRefusedError` beyond a limit and after a deadline."""
        seconds = min(UPLOAD_STALL_SECONDS, self._end - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                message = await self._receive()
        except TimeoutError as error:
            raise UploadRefusedError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The upload stopped for {UPLOAD_STALL_SECONDS:.0f} seconds, or took longer than "
                f"{UPLOAD_SECONDS / 60:.0f} minutes.",
                "Upload the file again over a faster connection, or use `preptime score`.",
            ) from error
        self.received_bytes += len(message.get("body", b""))
        if self.received_bytes > self.reserved_bytes:
            self._reserve(self.received_bytes - self.reserved_bytes)
        return message


class _Activity:
    """The messages of a websocket connection. Without any for `idle_seconds`, the connection and its session end."""

    def __init__(
        self, registry: SessionRegistry, connection: str, idle_seconds: float, receive: Receive, send: Send
    ) -> None:
        self._registry = registry
        self._connection = connection
        self._idle_seconds = idle_seconds
        self._receive = receive
        self._send = send
        self._latest = self._now()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def send(self, message: Message) -> None:
        """Send a message to the browser. A page that is being drawn isn't idle."""
        self._latest = self._now()
        await self._send(message)

    async def receive(self) -> Message:
        """Return the next message of the browser, or a disconnection after `idle_seconds` without activity."""
        while True:
            try:
                async with asyncio.timeout(max(0.0, self._latest + self._idle_seconds - self._now())):
                    message = await self._receive()
            except TimeoutError:
                session_id = self._registry.session_of(self._connection)
                if session_id is not None and self._registry.is_uploading(session_id):
                    self._latest = self._now()
                elif self._now() >= self._latest + self._idle_seconds:
                    return await self._end_session(session_id)
            else:
                self._latest = self._now()
                return message

    async def _end_session(self, session_id: str | None) -> Message:
        if session_id is not None:
            # The browser reconnects immediately. It then gets a new session.
            Runtime.instance().mark_session_nonresumable(session_id)
            self._registry.end(session_id)
        await self._send({"type": "websocket.close", "code": _GOING_AWAY})
        return {"type": "websocket.disconnect", "code": _GOING_AWAY}


def is_allowed_origin(origin: str | None, host: str) -> bool:
    """Return whether a page of this origin can connect. A client that isn't a browser sends no origin."""
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.netloc == host or parts.hostname in _LOCAL_HOSTS


def _end_disconnected_session(registry: SessionRegistry, connection: str) -> None:
    """End the session of a closed connection unless it has another one. Streamlit deletes its state and its files."""
    session_id = registry.session_of(connection)
    if session_id is None or not Runtime.exists():
        return  # the browser has reconnected, or the server has stopped
    runtime = Runtime.instance()
    if not runtime.is_active_session(session_id):
        runtime.close_session(session_id)
        registry.end(session_id)


def _show_refusal(registry: SessionRegistry, session_id: str, error: UploadRefusedError) -> None:
    """Draw the page again with the message, because Streamlit shows only the status."""
    _LOG.warning("Refused an upload with status %d: %s", error.status, error.facts)
    session = Runtime.instance().get_app_session(session_id) if registry.is_signed_in(session_id) else None
    if session is not None:
        registry.set_refusal(session_id, error)
        # The state with which Streamlit itself draws a page again. It has no public name.
        session.request_rerun(session._client_state)  # noqa: SLF001


async def _respond(status: HTTPStatus, text: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Respond and close the connection, because the body of the request hasn't been read."""
    headers = {"Connection": "close"} | ({"Retry-After": "60"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
    await PlainTextResponse(f"{text}\n", status, headers)(scope, receive, send)
