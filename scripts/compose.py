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

from preptime.errors import OperationError, PreptimeError, UsageError
from preptime.keys import new_key
from preptime.settings import ENV_FILE, read_env_file
from scripts.image_digests import read_digests
from scripts.images import find_docker

ROOT = Path(__file__).resolve().parent.parent
SECRETS_FILE = ROOT / ".env.secrets"
PROFILES = ("api", "ui", "airflow", "all")
STARTUP_TIMEOUT_SECONDS = 300

SECRET_GENERATORS: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(16),
    "AIRFLOW_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "_AIRFLOW_WWW_USER_PASSWORD": lambda: secrets.token_urlsafe(12),
}
"""What Compose needs that no two installations may share, and how it is made."""
DASHBOARD_KEY_NAME = "dashboard"
"""The name of the key that the page asks the API with."""


def compose_command(client: str) -> list[str]:
    """The command that speaks Compose: Docker's plugin, or the program of its own. Raises `UsageError`."""
    if subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [client, "compose"]
    standalone = shutil.which("docker-compose") or str(ROOT / ".venv-deploy" / "bin" / "docker-compose")
    if Path(standalone).is_file():
        return [standalone]
    raise UsageError("Docker Compose is not installed.", "Install its plugin, or: python dev.py setup deploy.")


def add_missing_secrets(settings: Mapping[str, str], saved_secrets: Mapping[str, str]) -> dict[str, str]:
    """What .env.secrets holds from now on: the secrets of before, and new ones for what neither it nor .env has."""
    generated = dict(saved_secrets)
    for name, generate in SECRET_GENERATORS.items():
        if not settings.get(name) and not generated.get(name):
            generated[name] = generate()
    if not settings.get("PREPTIME_API_KEY") and not generated.get("PREPTIME_API_KEY"):
        key = new_key(DASHBOARD_KEY_NAME)
        generated["PREPTIME_API_KEY"] = key.key
        generated["PREPTIME_API_KEYS"] = key.setting
    return generated


def compose_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """What Compose puts into compose.yaml: the environment wins over .env, which wins over what was made here.

    Raises `UsageError` while the published PostgreSQL is not pinned and none is named.
    """
    saved_secrets = read_env_file(SECRETS_FILE) if SECRETS_FILE.is_file() else {}
    all_secrets = add_missing_secrets(settings, saved_secrets)
    if all_secrets != saved_secrets:
        SECRETS_FILE.touch(mode=0o600)
        SECRETS_FILE.write_text("".join(f"{name}={value}\n" for name, value in all_secrets.items()), encoding="utf-8")
    result = {**all_secrets, **{name: value for name, value in settings.items() if value}}
    # The page's key is one of the API's, beside those that .env names now: one may be added or taken away at any time.
    if "PREPTIME_API_KEYS" in all_secrets:
        result["PREPTIME_API_KEYS"] = ",".join(
            filter(None, (settings.get("PREPTIME_API_KEYS"), all_secrets["PREPTIME_API_KEYS"]))
        )
    result.setdefault("POSTGRES_IMAGE", settings.get("POSTGRES_IMAGE") or read_digests()["POSTGRES_IMAGE"])
    return result


def up(profile: str) -> None:
    """Start a profile. Raises `PreptimeError`."""
    env_file = ROOT / (os.environ.get("ENV_FILE") or ENV_FILE)
    settings = {**(read_env_file(env_file) if env_file.is_file() else {}), **os.environ}
    environment_values = compose_environment(settings)
    command = [
        *compose_command(find_docker()),
        "--profile",
        profile,
        "up",
        "--detach",
        "--wait",
        "--wait-timeout",
        str(STARTUP_TIMEOUT_SECONDS),
    ]
    if subprocess.run(command, cwd=ROOT, env=environment_values, check=False).returncode:
        raise OperationError(
            "Not everything is healthy.", "`docker compose logs` says why; `make images` builds the images."
        )
    for line in describe_addresses(profile, environment_values, settings):
        print(line)


def describe_addresses(profile: str, environment_values: Mapping[str, str], settings: Mapping[str, str]) -> list[str]:
    """Where things are, and what opens them: what was made here is shown, what a person chose is known to them."""

    def describe_secret(name: str) -> str:
        return "as in .env" if settings.get(name) else f"{environment_values[name]} (made up, in .env.secrets)"

    lines = []
    if profile != "airflow":
        lines.append(f"The API is at http://localhost:{environment_values.get('PREPTIME_PORT') or 8000}/docs")
    if profile in {"ui", "all"}:
        lines.append(f"The page is at http://localhost:{environment_values.get('PREPTIME_UI_PORT') or 8501}")
    if lines:
        lines.append(f"Key of both: {describe_secret('PREPTIME_API_KEY')}")
    if profile in {"airflow", "all"}:
        user = environment_values.get("_AIRFLOW_WWW_USER_USERNAME") or "airflow"
        lines.append(f"Airflow is at http://localhost:{environment_values.get('AIRFLOW_PORT') or 8080}")
        lines.append(f"User {user}, password: {describe_secret('_AIRFLOW_WWW_USER_PASSWORD')}")
    return lines


def down(*, volumes: bool) -> None:
    """Remove what `up` started. Raises `OperationError`."""
    # Compose wants every variable of the file even to remove; what they are no longer matters.
    environment_values = {
        **os.environ,
        **dict.fromkeys((*SECRET_GENERATORS, "PREPTIME_API_KEY", "PREPTIME_API_KEYS", "POSTGRES_IMAGE"), "gone"),
    }
    command = [*compose_command(find_docker()), "--profile", "all", "down", "--remove-orphans"]
    if volumes:
        command.append("--volumes")
    if subprocess.run(command, cwd=ROOT, env=environment_values, check=False).returncode:
        raise OperationError("Not everything could be removed.", "`docker compose ps --all` shows what is left.")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it is done, 1 when not, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="dev.py", description="The whole system on one machine, by Docker Compose.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    up_parser = subparsers.add_parser("up")
    up_parser.add_argument("profile", nargs="?", default="all", choices=PROFILES)
    subparsers.add_parser("down").add_argument("--volumes", action="store_true", help="remove the data too")
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            up(options.profile)
        else:
            down(volumes=options.volumes)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except PreptimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
