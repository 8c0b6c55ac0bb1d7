"""The entry point for other WSGI servers: import `preptime.api.wsgi:app`.

This is the only module with effects at import, because a WSGI server imports a name instead of calling a function. It
reads the settings (environment, and `.env` in the working directory), loads the champion, and starts the service's
threads. `preptime serve` uses the same parts without this module.
"""

from __future__ import annotations

import os
from pathlib import Path

from preptime.api.worker import DEFAULT_APPLICATION, start_worker_from_spec
from preptime.settings import ENV_FILE, Settings

app = start_worker_from_spec(Settings.load(os.environ, Path(ENV_FILE)), DEFAULT_APPLICATION, None)
