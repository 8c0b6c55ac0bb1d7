"""Serve the take-home API contract on this machine, with `AIKEY` and `FLASK_PORT` from .env.

`python dev.py serve` runs this script. Without a key in .env, it generates one and adds it to .env. Without
PREPTIME_STORE, it serves the store of `make demo`. Arguments go to `preptime serve`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from preptime.cli import main as preptime
from preptime.env_file import ENV_FILE, read_variables
from preptime.errors import PreptimeError

DEMO_STORE = Path("demo") / "models"


def ensure_api_key(settings: Mapping[str, str], env_file: Path) -> str | None:
    """Generate a key, add it to the file, and return it. Return None if the settings have a key."""
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
    """Serve until SIGTERM or Ctrl-C, and return the exit status of `preptime serve`, or 2 for an invalid .env."""
    env_file = Path(ENV_FILE)
    try:
        settings = read_variables(os.environ, env_file)
    except PreptimeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not settings.get("PREPTIME_STORE") and "--store" not in arguments:
        if not DEMO_STORE.is_dir():
            sys.stderr.write(f"The store {DEMO_STORE} doesn't exist. Run scripts/00_prepare_demo (make demo) first.\n")
            return 1
        arguments = ["--store", str(DEMO_STORE), *arguments]
    new_key = ensure_api_key(settings, env_file)
    if new_key:
        sys.stderr.write(f"Generated an AIKEY and added it to {env_file}.\n")
    elif not settings.get("AIKEY"):
        sys.stderr.write(f"Send PREPTIME_API_KEY from {env_file} in the header aikey.\n")
    return preptime(["serve", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
