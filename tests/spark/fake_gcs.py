"""A fake of Google Cloud Storage for Google's connector for Spark, which is the real one.

It has the parts of the JSON API that the connector uses: listings, downloads of ranges, resumable uploads, copies,
deletions, preconditions by generation, and batches of requests.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from itertools import count
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fake_server import serve

BUCKET = "orders-bucket"
_TIME = "2015-07-02T05:00:00.000Z"

Response = tuple[int, dict[str, str], bytes]


@dataclass
class StoredObject:
    """An object of the bucket."""

    content: bytes
    generation: int
    metadata: dict[str, str]


@dataclass
class FakeGcs:
    """One bucket."""

    objects: dict[str, StoredObject] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    address: str = ""
    uploads: dict[str, tuple[str, dict[str, str], dict[str, str], bytearray]] = field(default_factory=dict)
    """Unfinished uploads by ID: the name, the query, the metadata, and the content so far."""
    generations: Iterator[int] = field(default_factory=lambda: count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, name: str, content: bytes) -> None:
        """Write an object."""
        self.objects[name] = StoredObject(content, next(self.generations), {})

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Response:
        """Return the response to a request."""
        parts = urlsplit(target)
        query, path = dict(parse_qsl(parts.query, keep_blank_values=True)), parts.path
        self.requests.append(f"{method} {target}")
        if path.startswith("/batch/"):
            return self._batch(headers, body)
        with self.lock:
            if path.startswith("/upload/"):
                return self._upload(method, query, headers, body)
            rest = re.sub("^(/download)?/storage/v1/b/", "", path)
            bucket, _, rest = rest.partition("/")
            if bucket != BUCKET:
                return _error(404, f"The bucket {bucket} does not exist.")
            if not rest:
                return _json({"kind": "storage#bucket", "name": BUCKET, "timeCreated": _TIME, "updated": _TIME})
            if rest == "o":
                return _json(self._listing(query))
            name, _, action = rest.removeprefix("o/").partition("/")
            return self._object(method, unquote(name), action, query, headers)

    def _object(self, method: str, name: str, action: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        found = self.objects.get(name)
        if found is None:
            return _error(404, f"No such object: {BUCKET}/{name}")
        if action:
            copied = self._write(unquote(action.rpartition("/o/")[2]), query, found.metadata, found.content)
            is_rewrite = action.startswith("rewriteTo/") and copied[0] == 200
            return _json({"done": True, "resource": json.loads(copied[2])}) if is_rewrite else copied
        if method == "DELETE":
            return self._delete(name, query)
        return _content(found.content, headers) if query.get("alt") == "media" else _json(self._resource(name))

    def _delete(self, name: str, query: dict[str, str]) -> Response:
        if self._is_changed(name, query):
            return _error(412, "The generation doesn't match.")
        del self.objects[name]
        return 204, {}, b""

    def _upload(self, method: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Response:
        if method == "POST" and query["uploadType"] == "resumable":
            document = json.loads(body or b"{}")
            upload = str(len(self.uploads))
            self.uploads[upload] = (
                query.get("name") or document["name"],
                query,
                document.get("metadata", {}),
                bytearray(),
            )
            return 200, {"Location": f"{self.address}/upload/storage/v1/b/{BUCKET}/o?upload_id={upload}"}, b""
        if method == "POST":
            document, content = _parts(headers, body)
            described = json.loads(document.content)
            name = query.get("name") or described["name"]
            return self._write(name, query, described.get("metadata", {}), content.content)
        name, start_query, metadata, received = self.uploads[query["upload_id"]]
        received += body
        if headers.get("content-range", "bytes */0").endswith("/*"):
            return 308, {"Range": f"bytes=0-{len(received) - 1}"} if received else {}, b""
        return self._write(name, start_query, metadata, bytes(received))

    def _write(self, name: str, query: dict[str, str], metadata: dict[str, str], content: bytes) -> Response:
        if self._is_changed(name, query):
            return _error(412, "The generation doesn't match.")
        self.objects[name] = StoredObject(content, next(self.generations), metadata)
        return _json(self._resource(name))

    def _is_changed(self, name: str, query: dict[str, str]) -> bool:
        found = self.objects.get(name)
        generation = query.get("ifGenerationMatch")
        return generation is not None and int(generation) != (found.generation if found else 0)

    def _resource(self, name: str) -> dict[str, object]:
        found = self.objects[name]
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": BUCKET,
            "generation": str(found.generation),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "timeCreated": _TIME,
            "updated": _TIME,
            "size": str(len(found.content)),
            "md5Hash": base64.b64encode(hashlib.md5(found.content, usedforsecurity=False).digest()).decode(),
            "metadata": found.metadata,
        }

    def _listing(self, query: dict[str, str]) -> dict[str, object]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        with_folders = query.get("includeTrailingDelimiter") == "true"
        names, folders = list[str](), set[str]()
        for name in sorted(self.objects):
            inside = name.removeprefix(prefix)
            if not name.startswith(prefix):
                continue
            folder, separator, rest = inside.partition(delimiter) if delimiter else (inside, "", "")
            if separator:
                folders.add(f"{prefix}{folder}{delimiter}")
            if not separator or (with_folders and not rest):
                names.append(name)
        return {
            "kind": "storage#objects",
            "items": [self._resource(name) for name in names],
            "prefixes": sorted(folders),
        }

    def _batch(self, headers: dict[str, str], body: bytes) -> Response:
        """Return the responses to the requests in a body."""
        answers = []
        for part in _parts(headers, body):
            head, _, content = part.content.partition(b"\r\n\r\n")
            line, *lines = head.decode().splitlines()
            method, target, *_ = line.split(" ")
            pairs = (one.partition(":") for one in lines)
            relative = urlsplit(target)._replace(scheme="", netloc="").geturl()
            status, found, answer = self.handle(
                method, relative, {name.lower(): value.strip() for name, _, value in pairs}, content
            )
            fields = {"Content-Length": str(len(answer)), **found}
            head_of_answer = [
                "--answer",
                "Content-Type: application/http",
                f"Content-ID: <response-{part.identity}>",
                "",
                f"HTTP/1.1 {status} -",
                *(f"{name}: {value}" for name, value in fields.items()),
                "\r\n",
            ]
            answers.append("\r\n".join(head_of_answer).encode() + answer + b"\r\n")
        return 200, {"Content-Type": "multipart/mixed; boundary=answer"}, b"".join(answers) + b"--answer--\r\n"


@dataclass(frozen=True)
class _Part:
    """A part of a body with several."""

    identity: str
    content: bytes


def _parts(headers: dict[str, str], body: bytes) -> list[_Part]:
    message = message_from_bytes(f"Content-Type: {headers['content-type']}\r\n\r\n".encode() + body)
    parts = [part for part in message.walk() if not part.is_multipart()]
    contents = [part.get_payload(decode=True) for part in parts]
    return [
        _Part(str(part["Content-ID"]).strip("<>"), content)
        for part, content in zip(parts, contents, strict=True)
        if isinstance(content, bytes)
    ]


def _content(content: bytes, headers: dict[str, str]) -> Response:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if found is None:
        return 200, {"Content-Type": "application/octet-stream"}, content
    start = int(found[1])
    end = min(int(found[2] or len(content) - 1), len(content) - 1)
    if start > end:
        return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
    place = {"Content-Range": f"bytes {start}-{end}/{len(content)}", "Content-Type": "application/octet-stream"}
    return 206, place, content[start : end + 1]


def _json(document: object, status: int = 200) -> Response:
    return status, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(document).encode()


def _error(status: int, message: str) -> Response:
    errors = [{"domain": "global", "reason": "notFound" if status == 404 else "conditionNotMet", "message": message}]
    return _json({"error": {"code": status, "message": message, "errors": errors}}, status)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: FakeGcs

    def do_GET(self) -> None:
        """Answer the request."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, found, content = self.storage.handle(self.command, self.path, headers, self._body(headers))
        self.send_response(status)
        for name, value in {**found, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Answer the request."""
        self.do_GET()

    def do_PUT(self) -> None:
        """Answer the request."""
        self.do_GET()

    def do_DELETE(self) -> None:
        """Answer the request."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Don't log."""

    def _body(self, headers: dict[str, str]) -> bytes:
        body = self.rfile.read(int(headers.get("content-length", "0")))
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


@contextlib.contextmanager
def run_fake_gcs() -> Iterator[FakeGcs]:
    """Run the fake as a server on this machine."""
    fake = FakeGcs()

    class Handler(_Handler):
        storage = fake

    with serve(Handler) as fake.address:
        yield fake
