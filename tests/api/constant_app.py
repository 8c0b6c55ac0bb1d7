"""A tiny WSGI application over a service, and the real one with a window in it; `python tiny.py` serves the tiny one.

With the argument `real` the program serves the real application. Settings are the environment's.
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
    """Paths: /record logs one prediction, /slow takes a second, /metrics; every other tells process and bundle."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        serving = service.active_model()
        bundle = serving.bundle.manifest.id if serving else ""
        answer = f"{os.getpid()} {bundle}"
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
        if path == "/slow":
            time.sleep(1.0)
        if path == "/metrics":
            answer = service.metrics.render().decode()
        service.metrics.observe(path, 200, 0.001, 1, "test")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [answer.encode()]

    return application


def make_real_application(service: Service) -> Application:
    """What `preptime serve` runs, and one path more: /test/modules lists what the process has loaded."""
    from preptime.api.app import make_application as make_real

    real = make_real(service)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/test/modules":
            return real(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(sys.modules).encode()]

    return application


if __name__ == "__main__":
    name = "make_real_application" if "real" in sys.argv else "make_application"
    serve(Settings.load(os.environ), f"constant_app:{name}")
