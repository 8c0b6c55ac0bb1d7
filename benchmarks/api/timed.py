"""The server as it is, with a clock around the graph: what it costs outside is then measured in one and the same run.

    python -m benchmarks.api.timed          serves, by the environment's settings

`GET /bench/graph` tells the processor seconds that the graph has taken so far.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.api.inside import TimedGraph
from preptime.api.app import make_application as make_real
from preptime.api.server import serve
from preptime.api.service import Service
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/bench/graph"


def make_application(service: Service) -> WSGIApplication:
    """Made in the worker, which has its champion by then."""
    serving = service.active_model()
    if serving is None:
        raise SystemExit("The store has no champion.")
    graph = serving.bundle.graph = TimedGraph(serving.bundle)
    real = make_real(service)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            return real(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(graph.seconds).encode()]

    return application


if __name__ == "__main__":
    serve(Settings.load(os.environ), "benchmarks.api.timed:make_application")
