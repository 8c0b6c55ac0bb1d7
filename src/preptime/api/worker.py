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

from preptime.api.prediction_log import StdoutLock
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from preptime.api.service import Service

Application = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]
"""A WSGI application."""
ApplicationFactory = Callable[["Service"], Application]

logger = logging.getLogger(__name__)


def start_worker(
    settings: Settings, application_factory: ApplicationFactory, stdout_lock: StdoutLock | None
) -> Application:
    """Start the service of this process and give the application over it. Called in the worker, before it listens.

    What the prediction log took is written when the process ends of itself, and that is also when its parent is gone.
    """
    from preptime.api.runtime import build_runtime

    runtime = build_runtime(settings, stdout_lock=stdout_lock)
    runtime.start()
    # Not `atexit`: a process of multiprocessing runs its own finalizers, and before Python 3.13 only those.
    Finalize(runtime, runtime.close, kwargs={"timeout_seconds": settings.shutdown_timeout_seconds}, exitpriority=10)
    threading.Thread(target=_exit_when_parent_dies, name="parent-watcher", daemon=True).start()
    application = application_factory(runtime.service)
    # Everything made so far stays: looking through it for cycles would hold every request up for 20 ms, now and then.
    gc.collect()
    gc.freeze()
    return application


def start_worker_from_spec(settings: Settings, application_spec: str, stdout_lock: StdoutLock | None) -> Application:
    """The same for a `module:function` that makes the application; the main process never imports it."""
    module, _, function = application_spec.partition(":")
    application_factory: ApplicationFactory = getattr(import_module(module), function)
    return start_worker(settings, application_factory, stdout_lock)


def _exit_when_parent_dies() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    logger.error("The main process is gone; this worker ends")
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)  # to the process, which wakes the main thread
    else:
        signal.raise_signal(signal.SIGTERM)
