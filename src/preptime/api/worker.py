"""A worker process: starts the service from settings and returns its WSGI application.

The main process imports this module too. Therefore it imports nothing that predicts at module level.
"""

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

from preptime.keys import Keys, load_api_keys
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from preptime.api.prediction_log import StdoutLock
    from preptime.api.service import Service

DEFAULT_APPLICATION = "preptime.api.app:make_application"
"""The application of the prediction API, by name: only workers import it."""
Application = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]
"""A WSGI application."""
ApplicationFactory = Callable[["Service"], Application]

logger = logging.getLogger(__name__)


def configured_api_keys(settings: Settings) -> Keys:
    """Return the API keys in the settings. Operator keys are also parsed, so that an invalid one stops the start.

    A server with a Vertex AI route needs no key. Raises `UsageError` if a key is invalid or missing.
    """
    Keys.from_setting(settings.operator_keys, "PREPTIME_OPERATOR_KEYS")
    return load_api_keys(
        settings.api_keys,
        settings.aikey,
        loopback=settings.is_loopback,
        required=settings.vertex_predict_route is None,
    )


def start_worker(
    settings: Settings, application_factory: ApplicationFactory, stdout_lock: StdoutLock | None
) -> Application:
    """Start the service of this process and return its application. Called in the worker before it listens.

    When the process ends normally, for example because its parent ended, the prediction log is written.
    """
    from preptime.api.runtime import build_runtime

    runtime = build_runtime(settings, configured_api_keys(settings), stdout_lock=stdout_lock)
    runtime.start()
    # Not `atexit`: before Python 3.13, a multiprocessing process runs only its own finalizers.
    Finalize(runtime, runtime.close, kwargs={"timeout_seconds": settings.shutdown_timeout_seconds}, exitpriority=10)
    threading.Thread(target=_exit_when_parent_dies, name="parent-watcher", daemon=True).start()
    application = application_factory(runtime.service)
    # All objects so far are permanent. Without freezing, a garbage collection delays every request by 20 ms.
    gc.collect()
    gc.freeze()
    return application


def start_worker_from_spec(settings: Settings, application_spec: str, stdout_lock: StdoutLock | None) -> Application:
    """Start a worker with the application factory `module:function`, which the main process never imports."""
    module, _, function = application_spec.partition(":")
    application_factory: ApplicationFactory = getattr(import_module(module), function)
    return start_worker(settings, application_factory, stdout_lock)


def _exit_when_parent_dies() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    logger.error("The main process has ended. This worker stops.")
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)  # Sent to the process, which wakes the main thread.
    else:
        signal.raise_signal(signal.SIGTERM)
