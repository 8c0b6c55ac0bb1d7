"""Tests of the dashboard's server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_lifespan_imports_the_default_page_before_serving(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from preptime.settings import Settings; from preptime.ui import server\n"
        "async def start():\n"
        "    async with server._lifespan(Settings.load({}), server.App('app.py')):\n"
        "        print('preptime.ui.app_pages.predict' in sys.modules)\n"
        "asyncio.run(start())"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"
