"""Granian for the reference servers: one worker and one thread, which is its fastest configuration, without a log."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import HTTPModes, Interfaces

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def host(port: int, make_app: Callable[[], WSGIApplication], threads: int = 1) -> None:
    """Serve until the process ends. The worker calls `make_app`."""
    multiprocessing.set_start_method("spawn", force=True)
    server = Granian(
        "benchmarks.references:app",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        blocking_threads=threads,
        backpressure=1024,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    server.serve(target_loader=make_app, wrap_loader=False)
