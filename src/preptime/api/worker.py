"""What one worker process runs: the service from its settings, behind the application."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

from preptime.api.log_targets import Guard
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from preptime.api.service import Service

Application = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]
"""A WSGI application."""
MakeApplication = Callable[["Service"], Application]

_LOG = logging.getLogger(__name__)


def open_worker(settings: Settings, make_application: MakeApplication, guard: Guard | None) -> Application:
    """Start the service of this process and give the application over it. Called in the worker, before it listens.

    What the prediction log took is written when the process ends of itself, and that is also when its parent is gone.
    """
    from preptime.api.running import assemble

    running = assemble(settings, guard=guard)
    running.start()
    # Not `atexit`: a process of multiprocessing runs its own finalizers, and before Python 3.13 only those.
    Finalize(running, running.close, kwargs={"seconds": settings.grace_seconds}, exitpriority=10)
    threading.Thread(target=_end_with_parent, name="parent-watcher", daemon=True).start()
    application = make_application(running.service)
    # Everything made so far stays: looking through it for cycles would hold every request up for 20 ms, now and then.
    gc.collect()
    gc.freeze()
    return application


def open_named(settings: Settings, application: str, guard: Guard | None) -> Application:
    """The same for a `module:function` that makes the application; the main process never imports it."""
    module, _, function = application.partition(":")
    make_application: MakeApplication = getattr(import_module(module), function)
    return open_worker(settings, make_application, guard)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    _LOG.error("The main process is gone; this worker ends")
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)  # to the process, which wakes the main thread
    else:
        signal.raise_signal(signal.SIGTERM)
