"""What a platform imports, as `preptime.api.wsgi:app`: the whole service of one process, from its environment.

The one module where importing does something: a WSGI server asks for a name, not for a call. It reads the settings
(environment, `.env` in the working directory), looks at the store, and starts to watch it. `preptime serve` calls the
same parts without this module.
"""

from __future__ import annotations

import os
from pathlib import Path

from preptime.api.fast_path import make_application
from preptime.api.worker import start_worker
from preptime.settings import ENV_FILE, Settings

app = start_worker(Settings.load(os.environ, Path(ENV_FILE)), make_application, None)
