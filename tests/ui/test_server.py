"""The page's server: what is done before anybody is let in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.api.processes import free_port


def test_nobody_is_let_in_before_the_first_page_is_loaded(tmp_path: Path) -> None:
    looking = (
        "import sys; from preptime.settings import Settings; from preptime.ui import server\n"
        "server.App.run = lambda *_, **__: print('preptime.ui.sheets.predict' in sys.modules)\n"
        f"server.serve(Settings.read({{'PREPTIME_UI_PORT': '{free_port()}'}}), {{}}, lambda _: None)"
    )
    done = subprocess.run([sys.executable, "-c", looking], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
