"""The Flask API of the demo on this machine: `AIKEY` and `FLASK_PORT` from .env, over what `make demo` trained.

`python dev.py serve` calls this. Where there is no key yet one is made and written into .env; where there is no
PREPTIME_STORE the demo's store is served. Arguments go to `preptime serve`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from preptime.cli import main as preptime
from preptime.settings import ENV_FILE, read_env_file

DEMO_STORE = Path("demo") / "models"


def ensure_api_key(settings: Mapping[str, str], env_file: Path) -> str | None:
    """Make a key and add it to the file, unless there is one; the key that was made."""
    if settings.get("AIKEY") or settings.get("PREPTIME_API_KEYS"):
        return None
    key = secrets.token_urlsafe(24)
    old_content = env_file.read_text(encoding="utf-8") if env_file.is_file() else ""
    if old_content and not old_content.endswith("\n"):
        old_content += "\n"
    env_file.touch(mode=0o600)
    env_file.write_text(f"{old_content}AIKEY={key}\n", encoding="utf-8")
    return key


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status of `preptime serve`."""
    env_file = Path(ENV_FILE)
    settings = (read_env_file(env_file) if env_file.is_file() else {}) | dict(os.environ)
    if not settings.get("PREPTIME_STORE") and "--store" not in arguments:
        if not DEMO_STORE.is_dir():
            sys.stderr.write(f"There is nothing to serve in {DEMO_STORE}: scripts/00_prepare_demo (make demo) first.\n")
            return 1
        arguments = ["--store", str(DEMO_STORE), *arguments]
    new_key = ensure_api_key(settings, env_file)
    if new_key:
        sys.stderr.write(f"{env_file} had no AIKEY: one was made and written there.\n")
    return preptime(["serve", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
