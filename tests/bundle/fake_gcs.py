"""A fake of Google Cloud Storage that enforces preconditions, as the emulator does not.

It speaks the part of the JSON API that google-cloud-storage uses for a store, over real HTTP, so that the real client
with its retries is what is tested. It can refuse every write (an account that may only read), fail for a while, hang
up without an answer, and do what was asked and then hang up.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from preptime.bundle import gcs

BUCKET = "a-bucket"

Trouble = Literal["503", "429", "hang up", "hang up after"]


@dataclass
class FakeGoogleStorage:
    """The objects of one bucket, and what goes wrong next."""

    objects: dict[str, bytes] = field(default_factory=dict)
    troubles: deque[Trouble] = field(default_factory=deque)
    """One is taken by each request."""
    write_troubles: deque[Trouble] = field(default_factory=deque)
    """One is taken by each upload."""
    vanishing: set[str] = field(default_factory=set)
    """Someone else removes these just before our next removal."""
    read_only: bool = False
    away: bool = False
    """Every connection is closed without an answer."""
    stuck: str = ""
    """Contents of objects whose name ends so are begun and never finished, until `unstick` is set."""
    is_stuck: threading.Event = field(default_factory=threading.Event)
    unstick: threading.Event = field(default_factory=threading.Event)
    refused_writes: list[str] = field(default_factory=list)
    """Writes that were asked for while `read_only`."""
    requests: list[str] = field(default_factory=list)
    clock_ahead: float = 0.0
    """Seconds that its clock is ahead of this machine's."""
    updated: dt.datetime = dt.datetime(2015, 6, 17, 5, tzinfo=dt.UTC)
    lock: threading.Lock = field(default_factory=threading.Lock)
    address: str = ""

    def create(self, name: str, content: bytes, generation: str | None) -> int:
        """Write an object under its precondition; the HTTP status."""
        with self.lock:
            if generation == "0" and name in self.objects:
                return 412
            self.objects[name] = content
            return 200


@contextlib.contextmanager
def clients_that_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client keeps its connections until its process ends; a test ends them sooner."""
    made, connect = list[Client](), gcs._create_client

    def remembered() -> Client:
        made.append(connect())
        return made[-1]

    with monkeypatch.context() as patched:
        patched.setattr(gcs, "_create_client", remembered)
        yield
    for client in made:
        client.close()
    gc.collect()  # here, not in the middle of another file's test


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogleStorage]:
    """A fake that answers whoever opens `gs://`; retries wait a tenth as long as they would."""
    quick = DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.1, multiplier=2.0)
    monkeypatch.setattr(gcs, "READ_RETRY", quick.with_timeout(1.5))
    monkeypatch.setattr(gcs, "WRITE_RETRY", quick.with_timeout(2.5))
    with _answering() as fake:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.address)
        yield fake


@contextlib.contextmanager
def _answering() -> Iterator[FakeGoogleStorage]:
    fake = FakeGoogleStorage()

    class Handler(_Handler):
        storage = fake

    server = _Server(("127.0.0.1", 0), Handler)
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no matter for standard error."""


class _Handler(BaseHTTPRequestHandler):
    storage: FakeGoogleStorage
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Lists, metadata, contents, permissions."""
        if self._goes_wrong():
            return
        path, query = self._asked()
        if path.endswith("/iam/testPermissions"):
            writing = {"storage.objects.create", "storage.objects.delete"}
            refused = writing if self.storage.read_only else set()
            self._answer({"permissions": [one for one in query["permissions"] if one not in refused]})
        elif self._bucket(path) != BUCKET:
            self._refuse(404, "The specified bucket does not exist.")
        elif path.endswith("/o"):
            self._answer(_listed(self.storage, query))
        else:
            self._object(_name_in(path), alone="alt" not in query or query["alt"] == ["json"])

    def do_HEAD(self) -> None:
        """What only looks at the date of the answer."""
        if not self._goes_wrong():
            self._send(404, b"", {})

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The date that every answer carries."""
        return super().date_time_string((timestamp or time.time()) + self.storage.clock_ahead)

    def do_POST(self) -> None:
        """Uploads in one request, and the beginning of those in several."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._goes_wrong() or self._may_not_write():
            return
        path, query = self._asked()
        if self._bucket(path) != BUCKET:
            self._refuse(404, "The specified bucket does not exist.")
            return
        generation = query.get("ifGenerationMatch", [None])[0]
        if query["uploadType"] == ["resumable"]:
            name = json.loads(body)["name"]
            place = f"{self.storage.address}/resume?name={name}&generation={generation or ''}"
            self._answer({}, Location=place)
            return
        head, content = _parts(body, self.headers["Content-Type"])
        self._created(head["name"], content, generation)

    def do_PUT(self) -> None:
        """The content of an upload begun before, in one piece."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._goes_wrong() or self._may_not_write():
            return
        _, query = self._asked()
        self._created(query["name"][0], body, query.get("generation", [None])[0])

    def do_DELETE(self) -> None:
        """Removals."""
        if self._goes_wrong() or self._may_not_write():
            return
        with self.storage.lock:
            for name in self.storage.vanishing:
                self.storage.objects.pop(name, None)
            there = self.storage.objects.pop(_name_in(self._asked()[0]), None) is not None
        if there:
            self._answer(None, status=204)
        else:
            self._refuse(404, "No such object.")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query)

    def _bucket(self, path: str) -> str:
        return path.partition("/b/")[2].partition("/")[0]

    def _goes_wrong(self) -> bool:
        self.storage.requests.append(f"{self.command} {self.path}")
        writes = self.command in {"POST", "PUT"}
        queue = self.storage.write_troubles if writes and self.storage.write_troubles else self.storage.troubles
        trouble = queue.popleft() if queue else None
        if self.storage.away or trouble == "hang up":
            self.close_connection = True
            return True
        if trouble in {"503", "429"}:
            self._refuse(int(trouble), "Try again.")
            return True
        self._hangs_up_after = trouble == "hang up after"
        return False

    def _may_not_write(self) -> bool:
        if self.storage.read_only:
            self.storage.refused_writes.append(f"{self.command} {self.path}")
            self._refuse(403, "a-server@a-project does not have storage.objects.create access.")
        return self.storage.read_only

    def _created(self, name: str, content: bytes, generation: str | None) -> None:
        status = self.storage.create(name, content, generation)
        if status == 200:
            self._answer(_metadata(self.storage, name))
        else:
            self._refuse(status, "At least one of the pre-conditions you specified did not hold.")

    def _object(self, name: str, *, alone: bool) -> None:
        content = self.storage.objects.get(name)
        if content is None:
            self._refuse(404, f"No such object: {BUCKET}/{name}")
        elif alone:
            self._answer(_metadata(self.storage, name))
        else:
            if self.storage.stuck and name.endswith(self.storage.stuck):
                self.storage.is_stuck.set()
                self.storage.unstick.wait(60)
            checksum = f"crc32c={_metadata(self.storage, name)['crc32c']}"
            self._send(200, content, {"X-Goog-Hash": checksum, "Content-Type": "application/octet-stream"})

    def _answer(self, document: object, status: int = 200, **headers: str) -> None:
        if self._hangs_up_after:
            self.close_connection = True
            return
        content = b"" if document is None else json.dumps(document).encode()
        self._send(status, content, {"Content-Type": "application/json", **headers})

    def _refuse(self, status: int, message: str) -> None:
        document = {"error": {"code": status, "message": message}}
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _name_in(path: str) -> str:
    return unquote(path.partition("/o/")[2])


def _metadata(storage: FakeGoogleStorage, name: str) -> dict[str, str]:
    content = storage.objects[name]
    checksum = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
    return {
        "name": name,
        "bucket": BUCKET,
        "size": str(len(content)),
        "updated": f"{storage.updated:%Y-%m-%dT%H:%M:%SZ}",
        "crc32c": checksum,
    }


def _listed(storage: FakeGoogleStorage, query: dict[str, list[str]]) -> dict[str, object]:
    prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
    with storage.lock:
        names = [name for name in sorted(storage.objects) if name.startswith(prefix)]
        inside = {name: name.removeprefix(prefix).partition(delimiter) if delimiter else (name,) for name in names}
        folders = sorted({prefix + parts[0] + "/" for parts in inside.values() if len(parts) > 1 and parts[1]})
        items = [_metadata(storage, name) for name, parts in inside.items() if len(parts) == 1 or not parts[1]]
    return {"items": items, "prefixes": folders}


def _parts(body: bytes, content_type: str) -> tuple[dict[str, str], bytes]:
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    _, head, content, _ = body.split(b"--" + boundary)
    return json.loads(head.partition(b"\r\n\r\n")[2]), content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
