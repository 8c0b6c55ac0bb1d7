"""The API server with a timer around the graph, to measure the time in and outside of the graph in one run.

    python -m benchmarks.api.timed          serve with settings from the environment

`GET /bench/graph` returns the processor time of the graph so far, in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.api.inside import time_graphs
from preptime.api.app import make_application as make_api
from preptime.api.server import serve
from preptime.api.service import Service
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/bench/graph"


def make_application(service: Service) -> WSGIApplication:
    """Return the application. Called in the worker, which has loaded its champion."""
    active_model = service.active_model()
    if active_model is None:
        raise SystemExit("The store has no champion.")
    timer = time_graphs(active_model.bundle)
    api = make_api(service)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            return api(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(timer.seconds).encode()]

    return application


if __name__ == "__main__":
    serve(Settings.load(os.environ), "benchmarks.api.timed:make_application")
