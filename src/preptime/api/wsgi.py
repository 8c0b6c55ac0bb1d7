"""The entry point for other WSGI servers: import `preptime.api.wsgi:app`.

This is the only module with effects at import, because a WSGI server imports a name instead of calling a function. It
reads the settings (environment, and `.env` in the working directory), loads the champion, and starts the service's
threads. `preptime serve` uses the same parts without this module.
"""

from __future__ import annotations

import os
from multiprocessing.util import Finalize
from pathlib import Path

from preptime.api.worker import DEFAULT_APPLICATION, WorkerApplicationLoader
from preptime.env_file import ENV_FILE
from preptime.settings import Settings

_loader = WorkerApplicationLoader(Settings.load(os.environ, Path(ENV_FILE)), DEFAULT_APPLICATION)
app = _loader()
# Not `atexit`: before Python 3.13, a multiprocessing process runs only its own finalizers.
Finalize(_loader, _loader.close, exitpriority=10)
