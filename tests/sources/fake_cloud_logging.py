"""A fake of Cloud Logging's method `entries.list`: pages, time ranges, order, and errors. It ignores other filters."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Document = dict[str, object]


@dataclass
class FakeCloudLogging:
    """The entries of one project."""

    entries: list[Document] = field(default_factory=list)
    """As the service returns them, with `timestamp`, `insertId`, and `jsonPayload`."""
    page_entries: int = 3
    fail: list[int] = field(default_factory=list)
    """Statuses to answer with, each once."""
    contents: list[bytes] = field(default_factory=list)
    """Contents to answer with in place of a page, each once."""
    requests: list[Document] = field(default_factory=list)

    def list_entries(self, request: Document) -> Document:
        """Return a page of the entries in the time range of the filter."""
        first, after_last = re.findall(r'timestamp(?:>=|<)"([^"]+)"', str(request["filter"]))
        found = [entry for entry in self.entries if first <= str(entry["timestamp"]) < after_last]
        found.sort(key=lambda entry: str(entry["timestamp"]))
        start = int(str(request.get("pageToken", 0)))
        end = start + self.page_entries
        page: Document = {"entries": found[start:end]} if found[start:end] else {}
        return page | ({"nextPageToken": str(end)} if end < len(found) else {})


@contextmanager
def serve_fake_cloud_logging() -> Iterator[tuple[str, FakeCloudLogging]]:
    """Yield the URL and the state of a fake service."""
    fake = FakeCloudLogging()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # `http.server` calls this name
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            fake.requests.append(request)
            status = fake.fail.pop(0) if fake.fail else 200
            document = fake.list_entries(request) if status == 200 else {"error": {"message": "refused by the fake"}}
            content = fake.contents.pop(0) if fake.contents else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", fake
        finally:
            server.shutdown()
