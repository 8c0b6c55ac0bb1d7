"""The page's server: what is done before anybody is let in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_nobody_is_let_in_before_the_first_page_is_loaded(tmp_path: Path) -> None:
    looking = (
        "import asyncio, sys; from preptime.settings import Settings; from preptime.ui import server\n"
        "async def look():\n"
        "    async with server._lifespan(Settings.read({}), server.App('app.py')):\n"
        "        print('preptime.ui.pages.predict' in sys.modules)\n"
        "asyncio.run(look())"
    )
    done = subprocess.run([sys.executable, "-c", looking], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
