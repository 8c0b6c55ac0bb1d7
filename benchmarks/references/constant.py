"""A WSGI callable with a constant response on Granian, which measures the server alone. It doesn't read the body.

python -m benchmarks.references.constant PORT
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.references.hosting import host

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

RESPONSE = b'{"prep_time_seconds":1112}'
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(RESPONSE)))]


def make_app() -> WSGIApplication:
    """Return the application. Called in the worker."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", HEADERS)
        return (RESPONSE,)

    return app


if __name__ == "__main__":
    host(int(sys.argv[1]), make_app)
