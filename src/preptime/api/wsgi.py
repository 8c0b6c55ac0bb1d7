"""The entry point for other WSGI servers: import `preptime.api.wsgi:app` in each worker process.

This is the only module with effects at import, because a WSGI server imports a name instead of calling a function. It
reads the settings (environment, and `.env` in the working directory), loads the champion, and starts the service's
threads. A process that is forked later has none of these threads: it would log no predictions and never see a new
champion. Therefore it responds with an error. `preptime serve` uses the same parts without this module.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from http import HTTPStatus
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.api.handler import error_response, get_request_id
from preptime.api.schema import ApiError, format_problem
from preptime.api.worker import DEFAULT_APPLICATION, WorkerApplicationLoader
from preptime.env_file import ENV_FILE
from preptime.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_FORKED = ApiError(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The application was loaded before this worker process was forked.",
    "Load the application in each worker: gunicorn without --preload, uWSGI with --lazy-apps and --enable-threads.",
)
logger = logging.getLogger(__name__)


class SingleProcessApplication:
    """A WSGI application that works only in the process that made it."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._process = os.getpid()
        self._is_reported = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        # Not `os.register_at_fork`: uWSGI forks without calling its functions.
        if os.getpid() == self._process:
            return self._application(environ, start_response)
        if not self._is_reported:
            self._is_reported = True
            logger.critical("%s", _FORKED)
        response = error_response(_FORKED, format_problem, get_request_id(environ))
        start_response(f"{response.status.value} {response.status.phrase}", response.headers)
        return [response.body]


_loader = WorkerApplicationLoader(Settings.load(os.environ, Path(ENV_FILE)), DEFAULT_APPLICATION)
app = SingleProcessApplication(_loader())
# Not `atexit`: before Python 3.13, a multiprocessing process runs only its own finalizers.
Finalize(_loader, _loader.close, exitpriority=10)
