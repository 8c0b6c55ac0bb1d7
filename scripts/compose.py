"""Run the whole system on one machine with Docker Compose: `up [PROFILE] [--monitoring]` and `down [--volumes]`.

`up` generates the secrets that .env doesn't have, stores them in .env.secrets (which git ignores), starts the services,
waits until they are healthy, and prints their URLs. `down` removes this project's containers and network. With
`--volumes`, it also removes the data.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from preptime.env_file import ENV_FILE, find_expanded_values, read_env_file, read_variables
from preptime.errors import OperationError, PreptimeError, UsageError
from preptime.keys import new_key
from preptime.redaction import redact_text, remember_environment
from scripts.image_digests import read_digest
from scripts.images import find_docker

ROOT = Path(__file__).resolve().parent.parent
SECRETS_FILE = ROOT / ".env.secrets"
PROFILES = ("api", "ui", "airflow", "all")
MONITORING_PROFILE = "monitoring"
"""The profile that `--monitoring` adds: Prometheus and Grafana, with the API."""
IMAGE_PROFILES = {
    "POSTGRES_IMAGE": {"airflow", "all"},
    "PROMETHEUS_IMAGE": {MONITORING_PROFILE},
    "GRAFANA_IMAGE": {MONITORING_PROFILE},
}
"""Variables of published images, and the profiles that use them."""
STARTUP_TIMEOUT_SECONDS = 300
UNUSED = "unused"
"""The value of a variable that no started service uses. Compose requires a value for every variable of the file."""

SECRET_GENERATORS: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(16),
    "AIRFLOW_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "_AIRFLOW_WWW_USER_PASSWORD": lambda: secrets.token_urlsafe(12),
    "GRAFANA_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
}
"""The secrets of an installation, and the functions that generate them."""
DASHBOARD_KEY_NAME = "dashboard"
"""The name of the dashboard's API key."""


def compose_command(client: str) -> list[str]:
    """Return the Compose command: Docker's plugin, or the standalone program. Raises `UsageError`."""
    if subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [client, "compose"]
    standalone = shutil.which("docker-compose") or str(ROOT / ".venv-deploy" / "bin" / "docker-compose")
    if Path(standalone).is_file():
        return [standalone]
    raise UsageError(
        "Docker Compose is not installed.",
        "Install Docker's Compose plugin. On Linux with x86-64, you can run instead: python dev.py setup deploy",
    )


def add_missing_secrets(settings: Mapping[str, str], saved_secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the saved secrets, and new ones for those that neither the settings nor .env.secrets have."""
    generated = dict(saved_secrets)
    for name, generate in SECRET_GENERATORS.items():
        if not settings.get(name) and not generated.get(name):
            generated[name] = generate()
    if not settings.get("PREPTIME_API_KEY") and not generated.get("PREPTIME_API_KEY"):
        key = new_key(DASHBOARD_KEY_NAME)
        generated["PREPTIME_API_KEY"] = key.key
        generated["PREPTIME_API_KEYS"] = key.setting
    return generated


def compose_environment(settings: Mapping[str, str], profiles: Collection[str]) -> dict[str, str]:
    """Return the variables of compose.yaml. The environment and .env have precedence over generated secrets.

    An empty value is kept, because it can differ from the default of compose.yaml.

    Raises `UsageError` if a published image of these profiles is neither pinned nor set, or if the folder of the orders
    doesn't exist.
    """
    saved_secrets = read_env_file(SECRETS_FILE) if SECRETS_FILE.is_file() else {}
    all_secrets = add_missing_secrets(settings, saved_secrets)
    if all_secrets != saved_secrets:
        SECRETS_FILE.touch(mode=0o600)
        SECRETS_FILE.write_text("".join(f"{name}={value}\n" for name, value in all_secrets.items()), encoding="utf-8")
    required = {*all_secrets, *IMAGE_PROFILES}
    result = all_secrets | {name: value for name, value in settings.items() if value or name not in required}
    # The API accepts the dashboard's key and the current keys of .env, which can change at any time.
    own_keys = settings.get("PREPTIME_API_KEYS") or _hashed_entry(settings.get("PREPTIME_API_KEY"))
    result["PREPTIME_API_KEYS"] = ",".join(
        dict.fromkeys(filter(None, (own_keys, all_secrets.get("PREPTIME_API_KEYS"))))
    )
    if result.get("ORDERS_FOLDER"):
        result["ORDERS_FOLDER"] = str(_orders_folder(result["ORDERS_FOLDER"]))
    for name, profiles_with_image in IMAGE_PROFILES.items():
        if name not in result:
            result[name] = UNUSED if profiles_with_image.isdisjoint(profiles) else read_digest(name)
    return result


def _hashed_entry(key: str | None) -> str:
    """Return the entry of the dashboard's key for `PREPTIME_API_KEYS`, or an empty text without a key."""
    return f"{DASHBOARD_KEY_NAME}:{hashlib.sha256(key.encode()).hexdigest()}" if key else ""


def _orders_folder(value: str) -> Path:
    """Return the absolute path of a folder. Compose would take a name such as `orders` for that of a volume."""
    folder = ROOT / Path(value).expanduser()
    if not folder.is_dir():
        raise UsageError(f"ORDERS_FOLDER={value}: {folder} isn't a folder.", "Create it, or set another ORDERS_FOLDER.")
    return folder


def check_expansion(env_file: Path) -> None:
    """Raise `UsageError` if the containers would get another value than the commands, because of a `$`."""
    for line_number, name, value in find_expanded_values(env_file):
        remember_environment({name: value})
        escaped = value.replace("'", "\\'")
        line = f"{name}='{escaped}'"
        shown = line if redact_text(line) == line else f"{name}='…', with the value of this line"
        raise UsageError(
            f"{env_file.name}, line {line_number}: Compose would expand the $ in the value of {name}.",
            f"Write: {shown}",
        )


def up(profile: str, *, monitoring: bool) -> None:
    """Start a profile, with Prometheus and Grafana on request. Raises `PreptimeError`."""
    env_file = ROOT / (os.environ.get("ENV_FILE") or ENV_FILE)
    settings = read_variables(os.environ, env_file)
    if env_file.is_file():
        check_expansion(env_file)
    profiles = [profile, MONITORING_PROFILE] if monitoring else [profile]
    environment_values = compose_environment(settings, profiles)
    command = [
        *compose_command(find_docker()),
        *(f"--profile={name}" for name in profiles),
        "up",
        "--detach",
        "--wait",
        "--wait-timeout",
        str(STARTUP_TIMEOUT_SECONDS),
    ]
    if subprocess.run(command, cwd=ROOT, env=environment_values, check=False).returncode:
        raise OperationError(
            "Not all services are healthy.", "Check `docker compose logs`. To build the images, run `make images`."
        )
    for line in describe_addresses(profiles, environment_values, settings):
        print(line)


def describe_addresses(
    profiles: Collection[str], environment_values: Mapping[str, str], settings: Mapping[str, str]
) -> list[str]:
    """Return lines with URLs, and with the places of credentials, because the lines can be in the log of a job."""

    def url(name: str, default_port: int) -> str:
        return f"http://localhost:{environment_values.get(name) or default_port}"

    def describe_secret(name: str) -> str:
        return f"{name} in {'.env' if settings.get(name) else SECRETS_FILE.name}"

    started = set(profiles)
    lines = []
    if started != {"airflow"}:
        lines.append(f"API: {url('PREPTIME_PORT', 8000)}/docs")
    if started & {"ui", "all"}:
        lines.append(f"Dashboard: {url('PREPTIME_UI_PORT', 8501)}")
    if lines:
        lines.append(f"API key: {describe_secret('PREPTIME_API_KEY')}")
    if started & {"airflow", "all"}:
        user = environment_values.get("_AIRFLOW_WWW_USER_USERNAME") or "airflow"
        lines.append(f"Airflow: {url('AIRFLOW_PORT', 8080)}")
        lines.append(f"Airflow user: {user}, password: {describe_secret('_AIRFLOW_WWW_USER_PASSWORD')}")
    if MONITORING_PROFILE in started:
        lines.append(f"Prometheus: {url('PROMETHEUS_PORT', 9090)}")
        lines.append(f"Grafana: {url('GRAFANA_PORT', 3000)}")
        lines.append(f"Grafana user: admin, password: {describe_secret('GRAFANA_ADMIN_PASSWORD')}")
    return lines


def down(*, volumes: bool) -> None:
    """Remove the services that `up` started. Raises `OperationError`."""
    environment_values = {
        **os.environ,
        **dict.fromkeys((*SECRET_GENERATORS, "PREPTIME_API_KEY", "PREPTIME_API_KEYS", *IMAGE_PROFILES), UNUSED),
        "ORDERS_FOLDER": "",
    }
    profiles = ("--profile=all", f"--profile={MONITORING_PROFILE}")
    command = [*compose_command(find_docker()), *profiles, "down", "--remove-orphans"]
    if volumes:
        command.append("--volumes")
    if subprocess.run(command, cwd=ROOT, env=environment_values, check=False).returncode:
        raise OperationError("Some services couldn't be removed.", "To list them, run `docker compose ps --all`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 1 on failure, or 2 for a usage error."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description="Run the whole system on one machine with Docker Compose."
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    up_parser = subparsers.add_parser("up")
    up_parser.add_argument("profile", nargs="?", default="all", choices=PROFILES)
    up_parser.add_argument("--monitoring", action="store_true", help="also start Prometheus and Grafana")
    subparsers.add_parser("down").add_argument("--volumes", action="store_true", help="also remove the data")
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            up(options.profile, monitoring=options.monitoring)
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
