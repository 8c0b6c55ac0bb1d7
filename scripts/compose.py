"""The whole system on one machine by Docker Compose: `up [PROFILE]` and `down [--volumes]`.

`up` makes what secrets .env does not have and keeps them in .env.secrets, which no commit holds; starts; waits until
all of it is healthy; says where it is. `down` removes the containers and the network of this project, with
`--volumes` its data too, and nothing of anybody else's.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from preptime.errors import FaultError, PreptimeError, UsageError
from preptime.keys import new_key
from preptime.settings import ENV_FILE
from preptime.settings.env_file import read_env_file
from scripts.images import docker
from scripts.pins import pins

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ROOT / ".env.secrets"
PROFILES = ("api", "ui", "airflow", "all")
WAIT_SECONDS = 300

GENERATED: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(16),
    "AIRFLOW_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "_AIRFLOW_WWW_USER_PASSWORD": lambda: secrets.token_urlsafe(12),
}
"""What Compose needs that no two installations may share, and how it is made."""
PAGE = "page"
"""The name of the key that the page asks the API with."""


def compose(client: str) -> list[str]:
    """The command that speaks Compose: Docker's plugin, or the program of its own. Raises `UsageError`."""
    if subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [client, "compose"]
    alone = shutil.which("docker-compose") or str(ROOT / ".venv-deploy" / "bin" / "docker-compose")
    if Path(alone).is_file():
        return [alone]
    raise UsageError("Docker Compose is not installed.", "Install its plugin, or: python dev.py setup deploy.")


def completed(told: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    """What .env.secrets holds from now on: the secrets of before, and new ones for what neither it nor .env has."""
    found = dict(kept)
    for name, make in GENERATED.items():
        if not told.get(name) and not found.get(name):
            found[name] = make()
    if not told.get("PREPTIME_API_KEY") and not found.get("PREPTIME_API_KEY"):
        key = new_key(PAGE)
        found["PREPTIME_API_KEY"] = key.key
        found["PREPTIME_API_KEYS"] = key.setting
    return found


def environment(told: Mapping[str, str]) -> dict[str, str]:
    """What Compose puts into compose.yaml: the environment wins over .env, which wins over what was made here.

    Raises `UsageError` while the published PostgreSQL is not pinned and none is named.
    """
    kept = read_env_file(SECRETS) if SECRETS.is_file() else {}
    made = completed(told, kept)
    if made != kept:
        SECRETS.touch(mode=0o600)
        SECRETS.write_text("".join(f"{name}={value}\n" for name, value in made.items()), encoding="utf-8")
    result = {**made, **{name: value for name, value in told.items() if value}}
    # The page's key is one of the API's, beside those that .env names now: one may be added or taken away at any time.
    if "PREPTIME_API_KEYS" in made:
        result["PREPTIME_API_KEYS"] = ",".join(filter(None, (told.get("PREPTIME_API_KEYS"), made["PREPTIME_API_KEYS"])))
    result.setdefault("POSTGRES", told.get("POSTGRES") or pins()["POSTGRES"])
    return result


def up(profile: str) -> None:
    """Start a profile. Raises `PreptimeError`."""
    file = ROOT / (os.environ.get("ENV_FILE") or ENV_FILE)
    told = {**(read_env_file(file) if file.is_file() else {}), **os.environ}
    given = environment(told)
    command = [
        *compose(docker()),
        "--profile",
        profile,
        "up",
        "--detach",
        "--wait",
        "--wait-timeout",
        str(WAIT_SECONDS),
    ]
    if subprocess.run(command, cwd=ROOT, env=given, check=False).returncode:
        raise FaultError(
            "Not everything is healthy.", "`docker compose logs` says why; `make images` builds the images."
        )
    for line in addresses(profile, given, told):
        print(line)


def addresses(profile: str, given: Mapping[str, str], told: Mapping[str, str]) -> list[str]:
    """Where things are, and what opens them: what was made here is shown, what a person chose is known to them."""

    def opens(name: str) -> str:
        return "as in .env" if told.get(name) else f"{given[name]} (made up, in .env.secrets)"

    lines = []
    if profile != "airflow":
        lines.append(f"The API is at http://localhost:{given.get('PREPTIME_PORT') or 8000}/docs")
    if profile in {"ui", "all"}:
        lines.append(f"The page is at http://localhost:{given.get('PREPTIME_UI_PORT') or 8501}")
    if lines:
        lines.append(f"Key of both: {opens('PREPTIME_API_KEY')}")
    if profile in {"airflow", "all"}:
        user = given.get("_AIRFLOW_WWW_USER_USERNAME") or "airflow"
        lines.append(f"Airflow is at http://localhost:{given.get('AIRFLOW_PORT') or 8080}")
        lines.append(f"User {user}, password: {opens('_AIRFLOW_WWW_USER_PASSWORD')}")
    return lines


def down(*, volumes: bool) -> None:
    """Remove what `up` started. Raises `FaultError`."""
    # Compose wants every variable of the file even to remove; what they are no longer matters.
    given = {**os.environ, **dict.fromkeys((*GENERATED, "PREPTIME_API_KEY", "PREPTIME_API_KEYS", "POSTGRES"), "gone")}
    command = [*compose(docker()), "--profile", "all", "down", "--remove-orphans"]
    if volumes:
        command.append("--volumes")
    if subprocess.run(command, cwd=ROOT, env=given, check=False).returncode:
        raise FaultError("Not everything could be removed.", "`docker compose ps --all` shows what is left.")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it is done, 1 when not, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="dev.py", description="The whole system on one machine, by Docker Compose.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    starting = verbs.add_parser("up")
    starting.add_argument("profile", nargs="?", default="all", choices=PROFILES)
    verbs.add_parser("down").add_argument("--volumes", action="store_true", help="remove the data too")
    given = parser.parse_args(arguments)
    try:
        if given.verb == "up":
            up(given.profile)
        else:
            down(volumes=given.volumes)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except PreptimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
