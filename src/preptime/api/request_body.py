"""Request bodies: size, content type, completeness, and the deadline of their arrival.

A rejected request's body is read and discarded if possible, because a response to an unread body breaks the connection
of a client that sends before it receives.

A WSGI server reads a body in the thread of the request, and a read has no timeout. Therefore, one thread per worker
watches all reads. For a read that takes too long, it returns the request's share in the limits and stops receiving from
the client, which ends the read (docs/decisions/0013-request-limits.md). Only Linux can find the connection. Elsewhere,
the share is returned too, but the blocked thread stays until the client sends the rest or closes the connection.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import struct
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Set
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from preptime.api.limits import SMALL_BODY_BYTES, Admission, LimitExceededError
from preptime.api.schema import JSON, ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PIECE_BYTES = SMALL_BODY_BYTES
"""Bytes that are read from a large body at a time. A single large read takes three times the memory of the body."""
MAX_DISCARDED_BODIES = 4
"""How many times the maximum size of a body is read from the body of a rejected request."""

MAX_LENGTH_DIGITS = 15
"""A longer `Content-Length` is larger than every limit."""

_JSON_TYPE = re.compile(
    r'application/(?:json|[!#$&^_.+a-z0-9-]+\+json)\s*(?:;\s*charset="?utf-?8"?\s*)?', re.IGNORECASE
)

MAX_CHECK_SECONDS = 0.5
"""Maximum interval at which the reads are checked: a body gets at most this much more time than its timeout."""

GRANIAN = "Granian"
"""`SERVER_SOFTWARE` of Granian."""
TCP_INFO, TCP_USER_TIMEOUT, SO_ACCEPTCONN = 11, 18, 30
"""Options of Linux. Not every system has them."""
_TCP_INFO = struct.Struct("=B43xI80xQ")
"""Linux' `struct tcp_info`: `tcpi_state`, `tcpi_last_data_sent` in milliseconds, and `tcpi_bytes_received`."""
TCP_CLOSE, TCP_CLOSE_WAIT = 7, 8
"""States of a connection that the client reset, and of one on which the client has ended sending."""
TRUNCATION_PAUSES = (0.002, 0.01, 0.04, 0.15)
"""Seconds between the looks at connections that the client closed. Only that of a truncated body stays that long."""

logger = logging.getLogger(__name__)


class IncompleteBodyError(ApiError):
    """The client ended the body early."""

    def __init__(self, facts: str) -> None:
        super().__init__(
            HTTPStatus.BAD_REQUEST,
            f"The request body is incomplete: {facts}.",
            "Send the request again. If a proxy is in between, check its log.",
        )


def check_body_headers(environ: WSGIEnvironment, max_bytes: int) -> int | None:
    """Return the size of the body according to the headers, or None if it arrives in chunks.

    Raises `ApiError` if the size, the content type, or the encoding isn't accepted.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    content_type = environ.get("CONTENT_TYPE", "")
    size = None if "HTTP_TRANSFER_ENCODING" in environ else 0
    if length.isdecimal():  # not `isdigit`, which accepts ² of Latin-1
        size = int(length) if len(length) <= MAX_LENGTH_DIGITS else sys.maxsize
        if size > max_bytes:
            raise _too_large_error(max_bytes)
    if content_type != JSON and not _JSON_TYPE.fullmatch(content_type.strip()):
        raise _unsupported_media_error("Content-Type", content_type, "application/json in UTF-8")
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    if encoding is not None and encoding.lower() != "identity":
        raise _unsupported_media_error("Content-Encoding", encoding, "an uncompressed body")
    return size


def read_body(environ: WSGIEnvironment, size: int | None, max_bytes: int, admission: Admission) -> bytes:
    """Return the whole body.

    Raises `ApiError` if it's incomplete or larger than `max_bytes`, and `LimitExceededError` if a body in chunks
    doesn't fit into the limit of the worker.
    """
    if size is None:
        return _read_chunked_body(environ, max_bytes, admission)
    body = bytes(environ["wsgi.input"].read(size)) if size <= PIECE_BYTES else b"".join(_read_pieces(environ, size))
    if len(body) < size:
        raise IncompleteBodyError(f"{len(body):,} of {size:,} bytes arrived")
    return body


def discard_body(environ: WSGIEnvironment, max_bytes: int) -> None:
    """Read the body of a rejected request without keeping it, up to a multiple of `max_bytes`."""
    length = environ.get("CONTENT_LENGTH") or ""
    size = int(length) if length.isdecimal() and len(length) <= MAX_LENGTH_DIGITS else sys.maxsize
    # Not beyond the length: a server whose input doesn't end there would wait for more.
    for _ in _read_pieces(environ, min(size, MAX_DISCARDED_BODIES * max_bytes)):
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
    if is_truncated(environ):
        raise IncompleteBodyError("the connection was closed before the last chunk")
    return b"".join(pieces)


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


class PendingBody(msgspec.Struct, gc=False, eq=False):
    """The body of a request, which a thread reads."""

    environ: WSGIEnvironment
    started_at: float
    """Time at which the request began, as `time.perf_counter()`."""
    admission: Admission | None
    """The request's share in the limits, or None if its body is discarded."""
    is_late: bool
    """Whether the body didn't arrive within the timeout."""
    is_interrupted: bool
    """Whether its connection can have been ended with those of late bodies. Then it's late if it's incomplete."""


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
        self._pending[threading.get_ident()] = pending

    def finish(self) -> None:
        """Stop watching the body that this thread has read. `is_late` is then final."""
        del self._pending[threading.get_ident()]

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
        """End all reads that are late, and return their shares in the limits.

        A read whose connection was used shortly after the request began, for `100 Continue`, ends at the next check.
        """
        earliest = time.perf_counter() - self.timeout_seconds
        pending = tuple(self._pending.values())
        late = [body for body in pending if body.started_at < earliest]
        for body in late:
            body.is_late = True
            if body.admission is not None:
                body.admission.limits.release(body.admission)
        addresses = {body.environ["REMOTE_ADDR"] for body in late if body.environ.get("SERVER_SOFTWARE") == GRANIAN}
        if addresses:
            for body in pending:
                body.is_interrupted |= body.environ["REMOTE_ADDR"] in addresses
            _stop_receiving(addresses, self.timeout_seconds)


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


def is_truncated(environ: WSGIEnvironment) -> bool:
    """Return whether the client closed its connection before the end of a body in chunks. Only on Linux.

    Granian's `read` returns the same for a complete and for a truncated body. After a truncated one, the connection
    stays open until the response is sent. The server closes other connections of the client immediately when the client
    ends sending: idle ones, and those with a complete request.
    """
    if environ.get("SERVER_SOFTWARE") != GRANIAN:  # The process can have other connections.
        return False
    address, port = environ["REMOTE_ADDR"], int(environ["SERVER_PORT"])
    closed = _connections_closed_by_client(address, port)
    for pause in TRUNCATION_PAUSES:
        if not closed:
            return False
        time.sleep(pause)
        closed &= _connections_closed_by_client(address, port)
    return bool(closed)


def _connections_closed_by_client(address: str, port: int) -> set[int]:
    """Return the inodes of connections to a port that a client at this address closed, or any client reset."""
    inodes = set[int]()
    for descriptor, state in _closed_sockets():
        connection = _duplicate_socket(descriptor)
        if connection is not None:
            with connection, suppress(OSError):  # It isn't connected anymore.
                # After a reset, it has no client's address.
                is_of_client = state == TCP_CLOSE or _client_address(connection) == address
                if is_of_client and connection.getsockname()[1] == port:
                    inodes.add(os.fstat(connection.fileno()).st_ino)
    return inodes


def _closed_sockets() -> Iterator[tuple[int, int]]:
    """Yield the descriptors of sockets of this process that clients closed or reset, and their states. Only on Linux.

    The sockets aren't duplicated, and the system is called directly: an object for each socket takes 20 times as long.
    """
    if sys.platform != "linux":
        return
    import ctypes

    getsockopt = ctypes.PyDLL(None).getsockopt
    information = ctypes.create_string_buffer(_TCP_INFO.size)
    length = ctypes.c_uint32(_TCP_INFO.size)
    with os.scandir("/proc/self/fd") as entries:
        descriptors = [int(entry.name) for entry in entries]
    for descriptor in descriptors:
        length.value = _TCP_INFO.size
        if getsockopt(descriptor, socket.IPPROTO_TCP, TCP_INFO, information, ctypes.byref(length)) == 0:
            state, _, received = _TCP_INFO.unpack(information)
            if state == TCP_CLOSE_WAIT or (state == TCP_CLOSE and received > 0):  # Not one that was never connected.
                yield descriptor, int(state)


def _client_address(connection: socket.socket) -> str:
    """Return the client's address as in `REMOTE_ADDR`. Raises `OSError` if the socket isn't connected."""
    return str(connection.getpeername()[0]).partition("%")[0]


def _stop_receiving(addresses: Set[str], timeout_seconds: float) -> None:
    """Stop receiving from clients at these addresses to which nothing was sent for the timeout. Only on Linux.

    A blocked read then ends, and its thread sends the response. The environment of a request has no client port, so
    idle connections of the same address end too. The server ends idle connections anyway
    (`PREPTIME_HEADER_TIMEOUT_SECONDS`).
    """
    with ExitStack() as exit_stack:
        for connection in _tcp_sockets(exit_stack):
            with suppress(OSError):  # It isn't connected.
                is_idle = _milliseconds_since_sent(connection) >= timeout_seconds * 1000
                if _client_address(connection) in addresses and is_idle:
                    connection.shutdown(socket.SHUT_RD)


def _milliseconds_since_sent(connection: socket.socket) -> int:
    """Return the time since the last data was sent on a connection, or since it began."""
    information = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, _TCP_INFO.size)
    return int(_TCP_INFO.unpack(information.ljust(_TCP_INFO.size, b"\0"))[1])  # old kernels return less


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
