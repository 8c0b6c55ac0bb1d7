"""Request bodies: size, content type, completeness, and the deadline of their arrival.

A rejected request's body is read and discarded if possible, because a response to an unread body breaks the connection
of a client that sends before it receives.

A WSGI server reads a body in the thread of the request, and a read has no timeout. Therefore, one thread per worker
watches all reads. For a read that takes too long, it answers in place of the blocked thread, and returns the request's
share in the limits. It then ends the connection, which ends the read. docs/decisions/0013-request-limits.md has the
reasons. Answering needs Granian, and ending the connection needs Linux. Elsewhere, the share is returned all the same,
but the blocked thread stays until the client sends the rest or closes the connection.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import stat
import struct
import sys
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from preptime.api.limits import SMALL_BODY_BYTES, Admission, LimitExceededError
from preptime.api.schema import JSON, ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PIECE_BYTES = SMALL_BODY_BYTES
"""Bytes that are read from a large body at a time. A single large read takes three times the memory of the body."""
MAX_DISCARDED_BODIES = 4
"""How many times the maximum size of a body is read from the body of a rejected request."""

_JSON_TYPE = re.compile(
    r'application/(?:json|[!#$&^_.+a-z0-9-]+\+json)\s*(?:;\s*charset="?utf-?8"?\s*)?', re.IGNORECASE
)

MAX_CHECK_SECONDS = 0.5
"""Maximum interval at which the reads are checked: a body gets at most this much more time than its timeout."""
WRITE_SECONDS = 1.0
"""How long the server's write of a response is awaited before its connection is searched no longer."""
WRITE_POLL_SECONDS = 0.005
MAX_PADDING = 1000

GRANIAN = "Granian"
"""`SERVER_SOFTWARE` of Granian."""
SERVER_HEADER, DATE_HEADER = "server: granian", "date: Sun, 29 Nov 2026 12:00:00 GMT"
"""Headers that Granian adds to a response. Only their lengths matter."""

TCP_INFO, TCP_USER_TIMEOUT, SO_ACCEPTCONN = 11, 18, 30
"""Options of Linux. Not every system has them."""
_TCP_INFO = struct.Struct("=44xI96xI52xQQ")
"""The fields of Linux' `struct tcp_info` that this module reads: milliseconds since the last sent data, bytes that
aren't sent yet, sent bytes, and repeated bytes."""

logger = logging.getLogger(__name__)


def check_body_headers(environ: WSGIEnvironment, max_bytes: int) -> int | None:
    """Return the size of the body according to the headers, or None if it arrives in chunks.

    Raises `ApiError` if the size, the content type, or the encoding isn't accepted.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    content_type = environ.get("CONTENT_TYPE", "")
    if length.isdecimal() and (len(length) > 15 or int(length) > max_bytes):
        raise _too_large_error(max_bytes)
    if content_type != JSON and not _JSON_TYPE.fullmatch(content_type.strip()):
        raise _unsupported_media_error("Content-Type", content_type, "application/json in UTF-8")
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity")
    if encoding.lower() != "identity":
        raise _unsupported_media_error("Content-Encoding", encoding, "an uncompressed body")
    if length.isdecimal():  # not `isdigit`, which accepts ² of Latin-1
        return int(length)
    return None if "HTTP_TRANSFER_ENCODING" in environ else 0


def read_body(environ: WSGIEnvironment, size: int | None, max_bytes: int, admission: Admission) -> bytes:
    """Return the whole body.

    Raises `ApiError` if it's incomplete or larger than `max_bytes`, and `LimitExceededError` if a body in chunks
    doesn't fit into the limit of the worker.
    """
    if size is None:
        return _read_chunked_body(environ, max_bytes, admission)
    body = bytes(environ["wsgi.input"].read(size)) if size <= PIECE_BYTES else b"".join(_read_pieces(environ, size))
    if len(body) < size:
        raise _incomplete_error(f"{len(body):,} of {size:,} bytes arrived")
    return body


def discard_body(environ: WSGIEnvironment, max_bytes: int) -> None:
    """Read the body of a rejected request without keeping it, up to a multiple of `max_bytes`."""
    for _ in _read_pieces(environ, MAX_DISCARDED_BODIES * max_bytes):
        pass


def has_body(environ: WSGIEnvironment) -> bool:
    """Return whether the request has a body."""
    return environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ


def _read_pieces(environ: WSGIEnvironment, size: int) -> Iterator[bytes]:
    """Yield at most `size` bytes of the body. A piece that is shorter than `PIECE_BYTES` is the last one."""
    read = environ["wsgi.input"].read
    while size > 0:
        piece = bytes(read(min(size, PIECE_BYTES)))
        yield piece
        size = size - len(piece) if len(piece) == PIECE_BYTES else 0


def _read_chunked_body(environ: WSGIEnvironment, max_bytes: int, admission: Admission) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in _read_pieces(environ, max_bytes + 1):
        size += len(piece)
        if size > max_bytes:
            discard_body(environ, max_bytes)
            raise _too_large_error(max_bytes)
        try:
            admission.limits.add_bytes(admission, len(piece))
        except LimitExceededError:
            discard_body(environ, max_bytes)
            raise
        pieces.append(piece)
    return b"".join(pieces)


def _incomplete_error(facts: str) -> ApiError:
    return ApiError(
        HTTPStatus.BAD_REQUEST,
        f"The request body is incomplete: {facts}.",
        "Send the request again. If a proxy is in between, check its log.",
    )


def _unsupported_media_error(header: str, value: str, expected: str) -> ApiError:
    return ApiError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"{header} is {value[:60]!r}." if value else f"The header {header} is missing.",
        f"Send {expected}.",
        field=header,
        value=value[:60],
        expected=expected,
    )


def _too_large_error(max_bytes: int) -> ApiError:
    return ApiError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The request body is larger than {max_bytes:,} bytes.",
        "Send fewer orders per request, or use `preptime score` for a file.",
        expected=f"at most {max_bytes} bytes",
    )


class HttpResponse(msgspec.Struct, frozen=True, gc=False):
    """An HTTP response."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


class ResponseSender(Protocol):
    """Granian's object that sends the response of one request. Only its first response is sent."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send a response."""


class PendingBody(msgspec.Struct, gc=False, eq=False):
    """The body of a request, which a thread reads."""

    environ: WSGIEnvironment
    started_at: float
    """Time at which the request began, as `time.perf_counter()`."""
    thread_id: int
    claim: list[None]
    """While the body is read, one element. The reading or the watching thread removes it, and decides the outcome."""

    def time_out(self) -> HttpResponse:
        """Return the request's share in the limits, and the response to a body that is too late."""
        raise NotImplementedError


class BodyDeadline:
    """Ends the reading of bodies that don't arrive within a timeout."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._pending: dict[int, PendingBody] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, pending: PendingBody) -> None:
        """Watch the body that this thread is about to read."""
        if self._thread is None:
            self._start_thread(pending.environ)
        pending.thread_id = threading.get_ident()
        pending.claim.append(None)
        self._pending[pending.thread_id] = pending

    def finish(self, pending: PendingBody) -> bool:
        """Stop watching a body. Return False if it was too late, so that the request has got its response."""
        del self._pending[pending.thread_id]
        return _claim(pending)

    def _start_thread(self, environ: WSGIEnvironment) -> None:
        with self._lock:
            if self._thread is not None:
                return
            if environ.get("SERVER_SOFTWARE") == GRANIAN:  # Otherwise, the process can have other connections.
                _limit_unread_responses(self.timeout_seconds)
            self._thread = threading.Thread(
                target=_watch, args=(weakref.ref(self), self.timeout_seconds), name="body-deadline", daemon=True
            )
            self._thread.start()

    def end_late_bodies(self) -> None:
        """Answer all requests whose bodies are late, and end their connections."""
        earliest = time.perf_counter() - self.timeout_seconds
        late = [body for body in tuple(self._pending.values()) if body.started_at < earliest and _claim(body)]
        if late:
            _answer([(body, body.time_out()) for body in late], self.timeout_seconds)


def _watch(reference: weakref.ref[BodyDeadline], timeout_seconds: float) -> None:
    """End late bodies until their `BodyDeadline` doesn't exist anymore."""
    while True:
        time.sleep(min(MAX_CHECK_SECONDS, timeout_seconds / 4))
        body_deadline = reference()
        if body_deadline is None:
            return
        try:
            body_deadline.end_late_bodies()
        except Exception:  # The thread has to go on: without it, slow clients can occupy all threads.
            logger.exception("The deadline of request bodies can't be checked.")
        del body_deadline


def _limit_unread_responses(timeout_seconds: float) -> None:
    """Let the system end a connection if the client receives nothing for this time. Only on Linux.

    A response that the client doesn't receive stays in memory. Accepted connections inherit the option.
    """
    with ExitStack() as exit_stack:
        sockets = list(_tcp_sockets(exit_stack))
        ports = {opened.getsockname()[1] for opened in sockets if _is_listening(opened)}
        for opened in sockets:
            with suppress(OSError):  # The client closed it.
                if opened.getsockname()[1] in ports:
                    opened.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, round(timeout_seconds * 1000))


def _is_listening(opened: socket.socket) -> bool:
    return bool(opened.getsockopt(socket.SOL_SOCKET, SO_ACCEPTCONN))


def _claim(pending: PendingBody) -> bool:
    try:
        pending.claim.pop()
    except IndexError:
        return False
    return True


def _answer(answers: Sequence[tuple[PendingBody, HttpResponse]], timeout_seconds: float) -> None:
    """Send the responses, and end the connections on which they're sent."""
    with ExitStack() as exit_stack:
        connections = list(_open_connections(exit_stack, silent_seconds=timeout_seconds - 1.0))
        addresses: dict[int, str] = {}
        for pending, response in answers:
            sender = _find_sender(pending)
            if sender is not None:
                addresses[_send(sender, response, addresses)] = pending.environ["REMOTE_ADDR"]
        _end_connections(connections, addresses)


def _find_sender(pending: PendingBody) -> ResponseSender | None:
    """Return Granian's object for the request, from the frame that called the application in the blocked thread."""
    frame = sys._current_frames().get(pending.thread_id)  # noqa: SLF001 The documented function for debuggers.
    while frame is not None:
        names = frame.f_locals
        if names.get("environ") is pending.environ and hasattr(names.get("proto"), "response_bytes"):
            sender: ResponseSender = names["proto"]
            return sender
        frame = frame.f_back
    return None


def _send(sender: ResponseSender, response: HttpResponse, other_sizes: Collection[int]) -> int:
    """Send a response whose size differs from all others, because spaces follow its JSON. Return the size."""
    body = response.body + b" " * secrets.randbelow(MAX_PADDING)
    while (size := _head_size(response, body) + len(body)) in other_sizes:
        body += b" "
    sender.response_bytes(response.status.value, _headers(response, body), body)
    return size


def _headers(response: HttpResponse, body: bytes) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in response.headers if name != "Content-Length"]
    return [*kept, ("Content-Length", str(len(body))), ("Connection", "close")]


def _head_size(response: HttpResponse, body: bytes) -> int:
    """Return the size of the response's head, as Granian writes it."""
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}", SERVER_HEADER, DATE_HEADER]
    lines += [f"{name}: {value}" for name, value in _headers(response, body)]
    return sum(len(line) + 2 for line in lines) + 2


class _Connection(msgspec.Struct, frozen=True, gc=False):
    """A connection of this process, and the bytes that the server had written to it."""

    socket: socket.socket
    address: str
    written: int


def _open_connections(exit_stack: ExitStack, *, silent_seconds: float) -> Iterator[_Connection]:
    """Yield the TCP connections of this process on which nothing was sent for this time. Only on Linux."""
    for connection in _tcp_sockets(exit_stack):
        try:
            address = str(connection.getpeername()[0])
            silent_milliseconds, written = _tcp_info(connection)
        except OSError:  # It's not connected.
            continue
        if silent_milliseconds >= silent_seconds * 1000:
            yield _Connection(connection, address.partition("%")[0], written)


def _tcp_sockets(exit_stack: ExitStack) -> Iterator[socket.socket]:
    """Yield duplicates of the TCP sockets of this process, which `exit_stack` closes. Only on Linux."""
    if sys.platform == "linux":
        for path in tuple(Path("/proc/self/fd").iterdir()):
            duplicate = _duplicate_socket(int(path.name))
            if duplicate is not None:
                exit_stack.callback(duplicate.close)
                yield duplicate


def _duplicate_socket(descriptor: int) -> socket.socket | None:
    """Return a duplicate, so that the system can't give the descriptor to another connection in the meantime."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        duplicate = socket.socket(fileno=os.dup(descriptor))
    except OSError:  # It was closed in the meantime.
        return None
    if duplicate.family in {socket.AF_INET, socket.AF_INET6} and duplicate.type == socket.SOCK_STREAM:
        return duplicate
    duplicate.close()
    return None


def _tcp_info(connection: socket.socket) -> tuple[int, int]:
    """Return the milliseconds since the last sent data, and the number of bytes that were written to the socket."""
    information = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, _TCP_INFO.size)
    silent_milliseconds, waiting, sent, repeated = _TCP_INFO.unpack(information.ljust(_TCP_INFO.size, b"\0"))
    return silent_milliseconds, sent - repeated + waiting


def _end_connections(connections: Sequence[_Connection], addresses: dict[int, str]) -> None:
    """End the connections to which the server writes responses of these sizes, each for one address."""
    give_up_at = time.monotonic() + WRITE_SECONDS
    while connections and addresses and time.monotonic() < give_up_at:
        time.sleep(WRITE_POLL_SECONDS)
        for connection in connections:
            with suppress(OSError):  # The client closed it.
                size = _tcp_info(connection.socket)[1] - connection.written
                if addresses.get(size) == connection.address:
                    del addresses[size]
                    connection.socket.shutdown(socket.SHUT_RDWR)
