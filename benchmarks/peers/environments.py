"""An environment for each peer, outside the repository, with the pinned and hashed packages of its lock."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import platformdirs

LOCKS = Path(__file__).with_name("requirements")
STAMP = "installed.txt"
_ERROR_CHARACTERS = 2000


class PeerError(Exception):
    """A peer couldn't be installed or measured. The message is for the user."""


def default_folder() -> Path:
    """Return the folder of the environments, below the user's cache folder."""
    return Path(platformdirs.user_cache_dir("preptime", appauthor=False)) / "benchmark-peers"


def install(package: str, folder: Path) -> Path:
    """Return the environment of a peer in `folder`. Creates it unless it exists with the same lock and Python.

    Raises `PeerError` if a command fails.
    """
    environment, stamp = folder / package, _stamp(package)
    stamp_file = environment / STAMP
    if stamp_file.is_file() and stamp_file.read_text(encoding="utf-8") == stamp:
        return environment
    for command in install_commands(package, environment):
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        except OSError as error:
            raise PeerError(f"{' '.join(command)}\n{error}") from error
        if done.returncode:
            raise PeerError(f"{' '.join(command)}\n{_last_errors(done.stderr or done.stdout)}")
    stamp_file.write_text(stamp, encoding="utf-8")
    return environment


def install_commands(package: str, environment: Path) -> list[list[str]]:
    """Return the commands that create an environment from a lock. pip uses the index that the machine configures."""
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    hashed = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(LOCKS / f"{package}.lock")]
    return [
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [*pip, "install", "--no-deps", *hashed],
    ]


def locked_version(package: str) -> str:
    """Return the version of a peer in its lock."""
    lock = (LOCKS / f"{package}.lock").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==(\S+)", lock, flags=re.MULTILINE)
    if found is None:
        raise PeerError(f"{LOCKS.name}/{package}.lock doesn't contain {package}.")
    return found[1]


def _stamp(package: str) -> str:
    """Return the content of an installed environment's stamp, which changes with the lock and with Python."""
    return f"{sys.version} {hashlib.sha256((LOCKS / f'{package}.lock').read_bytes()).hexdigest()}\n"


def _last_errors(output: str) -> str:
    """Return the end of a command's output, without pip's warnings."""
    lines = [line for line in output.splitlines() if not line.startswith("WARNING: ")]
    return "\n".join(lines)[-_ERROR_CHARACTERS:]
