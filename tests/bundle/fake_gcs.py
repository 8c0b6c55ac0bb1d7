"""A fake of Google Cloud Storage that enforces preconditions, unlike the emulator.

It implements the part of the JSON API that google-cloud-storage uses for a store, over HTTP, so that tests use the real
client with its retries. It can reject every write (a read-only account), fail temporarily, close connections without a
response, and close connections after it has processed a request.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import gc
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from preptime.bundle.backends import gcs
from tests.fake_server import serve

BUCKET = "a-bucket"

Failure = Literal["503", "429", "hang up", "hang up after"]


@dataclass
class FakeGcs:
    """The objects of one bucket, and the next failures."""

    objects: dict[str, bytes] = field(default_factory=dict)
    failures: deque[Failure] = field(default_factory=deque)
    """Each request takes one."""
    write_failures: deque[Failure] = field(default_factory=deque)
    """Each upload takes one."""
    deleted_concurrently: set[str] = field(default_factory=set)
    """Objects that another client deletes just before the next deletion."""
    read_only: bool = False
    is_unreachable: bool = False
    """Whether every connection is closed without a response."""
    unreachable_suffix: str = ""
    """Suffix of object names whose download is closed without a response."""
    blocked_suffix: str = ""
    """Suffix of object names whose download blocks until `unblock` is set."""
    is_blocked: threading.Event = field(default_factory=threading.Event)
    unblock: threading.Event = field(default_factory=threading.Event)
    rejected_writes: list[str] = field(default_factory=list)
    """Writes that were requested while `read_only`."""
    requests: list[str] = field(default_factory=list)
    clock_offset_seconds: float = 0.0
    """Clock of the server minus that of this machine, seconds."""
    updated: dt.datetime = dt.datetime(2015, 6, 17, 5, tzinfo=dt.UTC)
    lock: threading.Lock = field(default_factory=threading.Lock)
    address: str = ""

    def create(self, name: str, content: bytes, generation: str | None) -> int:
        """Write an object with its precondition and return the HTTP status."""
        with self.lock:
            if generation == "0" and name in self.objects:
                return 412
            self.objects[name] = content
            return 200


@contextlib.contextmanager
def closing_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the clients that a test creates. By default, a client keeps its connections until the process ends."""
    clients, create_client = list[Client](), gcs._create_client

    def create_recorded_client() -> Client:
        clients.append(create_client())
        return clients[-1]

    with monkeypatch.context() as patched:
        patched.setattr(gcs, "_create_client", create_recorded_client)
        yield
    for client in clients:
        client.close()
    gc.collect()  # here, not during the test of another file


@contextlib.contextmanager
def run_fake_gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    """Run a fake server for `gs://` URLs, with shorter waits between retries."""
    quick = DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.1, multiplier=2.0)
    monkeypatch.setattr(gcs, "READ_RETRY", quick.with_timeout(1.5))
    monkeypatch.setattr(gcs, "WRITE_RETRY", quick.with_timeout(2.5))
    with _run_server() as fake:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.address)
        yield fake


@contextlib.contextmanager
def _run_server() -> Iterator[FakeGcs]:
    fake = FakeGcs()

    class Handler(_Handler):
        storage = fake

    with serve(Handler) as fake.address:
        yield fake


class _Handler(BaseHTTPRequestHandler):
    storage: FakeGcs
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Handle listings, metadata, downloads, and permissions."""
        if self._fails():
            return
        path, query = self._parse_url()
        if path.endswith("/iam/testPermissions"):
            write_permissions = {"storage.objects.create", "storage.objects.delete"}
            denied = write_permissions if self.storage.read_only else set()
            self._respond({"permissions": [name for name in query["permissions"] if name not in denied]})
        elif self._bucket(path) != BUCKET:
            self._respond_error(404, "The specified bucket does not exist.")
        elif path.endswith("/o"):
            self._respond(_listing(self.storage, query))
        else:
            self._respond_object(_object_name(path), metadata_only="alt" not in query or query["alt"] == ["json"])

    def do_HEAD(self) -> None:
        """Handle requests for the date header only."""
        if not self._fails():
            self._send(404, b"", {})

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the date header of every response."""
        return super().date_time_string((timestamp or time.time()) + self.storage.clock_offset_seconds)

    def do_POST(self) -> None:
        """Handle uploads in one request, and the start of resumable uploads."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._fails() or self._rejects_write():
            return
        path, query = self._parse_url()
        if self._bucket(path) != BUCKET:
            self._respond_error(404, "The specified bucket does not exist.")
            return
        generation = query.get("ifGenerationMatch", [None])[0]
        if query["uploadType"] == ["resumable"]:
            name = json.loads(body)["name"]
            location = f"{self.storage.address}/resume?name={name}&generation={generation or ''}"
            self._respond({}, Location=location)
            return
        head, content = _split_multipart(body, self.headers["Content-Type"])
        self._respond_to_upload(head["name"], content, generation)

    def do_PUT(self) -> None:
        """Handle the content of a resumable upload."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._fails() or self._rejects_write():
            return
        _, query = self._parse_url()
        self._respond_to_upload(query["name"][0], body, query.get("generation", [None])[0])

    def do_DELETE(self) -> None:
        """Handle deletions."""
        if self._fails() or self._rejects_write():
            return
        with self.storage.lock:
            for name in self.storage.deleted_concurrently:
                self.storage.objects.pop(name, None)
            existed = self.storage.objects.pop(_object_name(self._parse_url()[0]), None) is not None
        if existed:
            self._respond(None, status=204)
        else:
            self._respond_error(404, "No such object.")

    def log_message(self, *_: object) -> None:
        """Don't log."""

    def _parse_url(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query)

    def _bucket(self, path: str) -> str:
        return path.partition("/b/")[2].partition("/")[0]

    def _fails(self) -> bool:
        self.storage.requests.append(f"{self.command} {self.path}")
        writes = self.command in {"POST", "PUT"}
        queue = self.storage.write_failures if writes and self.storage.write_failures else self.storage.failures
        failure = queue.popleft() if queue else None
        if self.storage.is_unreachable or failure == "hang up":
            self.close_connection = True
            return True
        if failure in {"503", "429"}:
            self._respond_error(int(failure), "Try again.")
            return True
        self._closes_after_request = failure == "hang up after"
        return False

    def _rejects_write(self) -> bool:
        if self.storage.read_only:
            self.storage.rejected_writes.append(f"{self.command} {self.path}")
            self._respond_error(403, "a-server@a-project does not have storage.objects.create access.")
        return self.storage.read_only

    def _respond_to_upload(self, name: str, content: bytes, generation: str | None) -> None:
        status = self.storage.create(name, content, generation)
        if status == 200:
            self._respond(_metadata(self.storage, name))
        else:
            self._respond_error(status, "At least one of the pre-conditions you specified did not hold.")

    def _respond_object(self, name: str, *, metadata_only: bool) -> None:
        content = self.storage.objects.get(name)
        if content is None:
            self._respond_error(404, f"No such object: {BUCKET}/{name}")
        elif metadata_only:
            self._respond(_metadata(self.storage, name))
        elif self.storage.unreachable_suffix and name.endswith(self.storage.unreachable_suffix):
            self.close_connection = True
        else:
            if self.storage.blocked_suffix and name.endswith(self.storage.blocked_suffix):
                self.storage.is_blocked.set()
                self.storage.unblock.wait(60)
            checksum = f"crc32c={_metadata(self.storage, name)['crc32c']}"
            self._send(200, content, {"X-Goog-Hash": checksum, "Content-Type": "application/octet-stream"})

    def _respond(self, document: object, status: int = 200, **headers: str) -> None:
        if self._closes_after_request:
            self.close_connection = True
            return
        content = b"" if document is None else json.dumps(document).encode()
        self._send(status, content, {"Content-Type": "application/json", **headers})

    def _respond_error(self, status: int, message: str) -> None:
        document = {"error": {"code": status, "message": message}}
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _object_name(path: str) -> str:
    return unquote(path.partition("/o/")[2])


def _metadata(storage: FakeGcs, name: str) -> dict[str, str]:
    content = storage.objects[name]
    checksum = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
    return {
        "name": name,
        "bucket": BUCKET,
        "size": str(len(content)),
        "updated": f"{storage.updated:%Y-%m-%dT%H:%M:%SZ}",
        "crc32c": checksum,
    }


def _listing(storage: FakeGcs, query: dict[str, list[str]]) -> dict[str, object]:
    prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
    with storage.lock:
        names = [name for name in sorted(storage.objects) if name.startswith(prefix)]
        inside = {name: name.removeprefix(prefix).partition(delimiter) if delimiter else (name,) for name in names}
        folders = sorted({prefix + parts[0] + "/" for parts in inside.values() if len(parts) > 1 and parts[1]})
        items = [_metadata(storage, name) for name, parts in inside.items() if len(parts) == 1 or not parts[1]]
    return {"items": items, "prefixes": folders}


def _split_multipart(body: bytes, content_type: str) -> tuple[dict[str, str], bytes]:
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    _, head, content, _ = body.split(b"--" + boundary)
    return json.loads(head.partition(b"\r\n\r\n")[2]), content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
