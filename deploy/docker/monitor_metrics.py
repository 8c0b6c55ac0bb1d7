"""The newest `monitoring.prom` of the results: `monitor_metrics.py RESULTS ADDRESS PORT` serves it at /metrics.

`preptime monitor` writes a file for each date, and Prometheus reads pages. Standard library only.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def newest_metrics(results: Path) -> bytes:
    """Return the metrics of the newest date, or nothing before the first run."""
    files = sorted(results.glob("date=*/monitoring.prom"), key=lambda path: path.parent.name)
    return files[-1].read_bytes() if files else b""


def serve(results: Path, address: str, port: int) -> None:
    """Serve the metrics until SIGTERM."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            try:
                content = newest_metrics(results)
            except OSError as error:
                self.log_error("%s", error)
                self.send_error(503, "The results can't be read.")
                return
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_request(self, *_: object) -> None:
            """Log errors only."""

    def stop(*_: int | FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    ThreadingHTTPServer((address, port), Handler).serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
