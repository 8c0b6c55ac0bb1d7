"""A worker process: starts the service from settings and returns its WSGI application.

The main process imports this module too. Therefore it imports nothing that predicts at module level.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.api.limits import check_limits
from preptime.errors import UsageError
from preptime.keys import Keys, load_api_keys
from preptime.redaction import has_secret, redact_address, redact_log_records
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from preptime.api.prediction_log import StdoutLock
    from preptime.api.runtime import ServiceRuntime
    from preptime.api.service import Service

DEFAULT_APPLICATION = "preptime.api.app:make_application"
"""The application of the prediction API, by name: only workers import it."""
OWN_GET_ROUTES = frozenset({"/v1/bundle", "/v1/schema", "/v1/data-dictionary", "/metrics", "/openapi.json", "/docs"})
"""Paths of the API that AIP_HEALTH_ROUTE can't replace."""
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


def require_store_folder(settings: Settings) -> None:
    """Raise an error for a store that can't be opened, before anything starts.

    Raises `UsageError` for a URL with credentials, and for a folder that doesn't exist, such as a typing error, or
    `StoreError` for a `file://` URL without an absolute path.
    """
    if has_secret(settings.store) and ("://" in settings.store or not Path(settings.store).is_dir()):
        raise UsageError(
            f"PREPTIME_STORE: {redact_address(settings.store)} can't be the URL of a store.",
            "Use a folder or a gs:// URL without credentials. For credentials, see docs/operations.md.",
        )
    folder = settings.local_store
    if folder is not None and not folder.is_dir():
        create = f"preptime train --store {folder} --orders ORDERS --date DATE"
        raise UsageError(
            f"The store {folder} doesn't exist.", f"Correct PREPTIME_STORE, or create the store: {create}."
        )


def check_settings(settings: Settings) -> None:
    """Raise `UsageError` for settings that are valid only alone, or not in this process."""
    check_limits(settings)
    _check_costs(settings)
    route = settings.vertex_health_route
    if route is not None and (route.rstrip("/") in OWN_GET_ROUTES or route.startswith("/docs/")):
        raise UsageError(
            f"AIP_HEALTH_ROUTE is {route}, which is another endpoint of the API.",
            "Set another path, for example /readyz.",
        )
    if settings.prediction_log == "stdout" and sys.stdout is None:
        raise UsageError(
            "PREPTIME_PREDICTION_LOG is stdout, but standard output is closed.",
            "Set PREPTIME_PREDICTION_LOG to folder or off, or start the server with an open standard output.",
        )


def _check_costs(settings: Settings) -> None:
    """Raise `UsageError` if the ratio of the costs of dispatch decisions is outside the valid range."""
    if settings.courier_cost == settings.food_cost:
        return
    from preptime.domain.dispatch import dispatch_level  # imports NumPy, which the main process doesn't need otherwise

    try:
        dispatch_level(settings.courier_cost, settings.food_cost)
    except UsageError as error:
        raise UsageError(error.facts, "Change PREPTIME_COURIER_COST or PREPTIME_FOOD_COST.") from None


class WorkerApplicationLoader:
    """Starts the service of a worker process and returns its application. It's created in the main process."""

    def __init__(self, settings: Settings, application_spec: str, stdout_lock: StdoutLock | None = None) -> None:
        """`application_spec` is the application factory `module:function`, which the main process never imports."""
        self._settings = settings
        self._application_spec = application_spec
        self._stdout_lock = stdout_lock
        self._runtime: ServiceRuntime | None = None

    def __call__(self) -> Application:
        """Start the service and return the application. Called in the worker before it listens."""
        from preptime.api.runtime import build_runtime

        redact_log_records()
        self._settings.remember_secrets()
        check_settings(self._settings)
        module, _, function = self._application_spec.partition(":")
        application_factory: ApplicationFactory = getattr(import_module(module), function)
        self._runtime = build_runtime(
            self._settings, configured_api_keys(self._settings), stdout_lock=self._stdout_lock
        )
        self._runtime.start()
        threading.Thread(target=_exit_when_parent_dies, name="parent-watcher", daemon=True).start()
        application = application_factory(self._runtime.service)
        # All objects so far are permanent. Without freezing, a garbage collection delays every request by 20 ms.
        gc.collect()
        gc.freeze()
        return application

    def close(self) -> None:
        """Write the prediction log and stop the service, within the shutdown timeout. A second call does nothing."""
        if self._runtime is not None:
            self._runtime.close(timeout_seconds=self._settings.shutdown_timeout_seconds)


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
