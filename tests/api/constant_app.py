"""Test applications: one with constant responses, and the real one with an extra path.

`python constant_app.py` serves the first, `python constant_app.py real` the second. Settings come from the environment.
With `broken`, the workers fail at their start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from preptime.api.server import serve
from preptime.api.service import PredictionRecord, Service
from preptime.api.worker import Application
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def make_application(service: Service) -> Application:
    """Return an application that responds with the process ID and the bundle ID.

    /record logs one prediction, /slow takes one second, /forever takes 30 seconds, /busy computes for 3 seconds, /fail
    raises an exception, and /metrics returns the metrics.
    """

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        active_model = service.active_model()
        bundle = active_model.bundle.manifest.id if active_model else ""
        body = f"{os.getpid()} {bundle}"
        if path == "/record":
            service.record(
                PredictionRecord(
                    time=time.time(),
                    request_id=environ["QUERY_STRING"],
                    key_name="test",
                    endpoint=path,
                    bundle=bundle,
                    orders=({"restaurant_id": 10},),
                    response=b'{"seconds":1}',
                )
            )
        if path == "/forever":
            time.sleep(30.0)
        if path == "/busy":
            end = time.monotonic() + 3.0
            while time.monotonic() < end:
                sum(range(1000))
        if path == "/fail":
            raise ValueError("a failing application")
        if path == "/slow":
            time.sleep(1.0)
        if path == "/metrics":
            body = service.metrics.render().decode()
        service.metrics.observe(path, 200, 0.001, 1, "test")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body.encode()]

    return application


def make_broken_application(service: Service) -> Application:
    """Fail at the start of the worker."""
    raise ValueError(f"can't start with {type(service).__name__}")


def make_real_application(service: Service) -> Application:
    """Return the application of `preptime serve`, with a path /test/modules that lists the loaded modules."""
    from preptime.api.app import make_application as make_app

    app = make_app(service)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/test/modules":
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(sys.modules).encode()]

    return application


if __name__ == "__main__":
    kind = f"{sys.argv[1]}_" if len(sys.argv) > 1 else ""
    factory = f"make_{kind}application"
    serve(Settings.load(os.environ), f"constant_app:{factory}")
