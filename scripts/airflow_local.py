"""Run Airflow on this machine without Docker: API server, scheduler, and DAG processor, until Ctrl-C or SIGTERM.

`python dev.py airflow` creates both environments and runs this script. Settings come from `.env` or the environment:
`_AIRFLOW_WWW_USER_USERNAME`, `_AIRFLOW_WWW_USER_PASSWORD`, and `AIRFLOW_PORT`, as in the take-home exercise, and
`AIRFLOW_HOST` (default: 127.0.0.1) and `AIRFLOW_HOME` (default: `.airflow/`, which holds the database and the logs).
Without fresh orders, it offers synthetic ones: `--demo` uses them without a question, and `--no-demo` never.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from preptime.env_file import ENV_FILE, read_variables
from preptime.errors import PreptimeError
from scripts.airflow_demo import demo_settings

ROOT = Path(__file__).resolve().parent.parent
AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
SERVICES = {"api-server": (), "scheduler": ("--skip-serve-logs",), "dag-processor": ()}
"""The services and their arguments. The API server reads the log files, so the scheduler doesn't serve them."""

DEFAULT_USER = "airflow"
DEFAULT_PORT = 8080
STARTUP_TIMEOUT_SECONDS = 180
"""Airflow takes 10 to 30 s, and much longer on a busy machine."""
SHUTDOWN_TIMEOUT_SECONDS = 20
COMMON_PASSWORDS = {"airflow", "admin", "password"}
"""Passwords that an attacker tries first."""


class SetupError(Exception):
    """Airflow can't start. The message is for the user."""


@dataclass(frozen=True)
class LocalAirflow:
    """An installation of Airflow."""

    home: Path
    host: str
    port: int
    user: str
    password: str
    password_generated: bool
    """Whether this script generated the password."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> LocalAirflow:
        """Return the installation for settings from `.env` and the environment. Raises `SetupError`."""
        home = Path(settings.get("AIRFLOW_HOME") or ROOT / ".airflow").absolute()
        host = settings.get("AIRFLOW_HOST") or "127.0.0.1"
        user = settings.get("_AIRFLOW_WWW_USER_USERNAME") or DEFAULT_USER
        password = settings.get("_AIRFLOW_WWW_USER_PASSWORD") or ""
        port = settings.get("AIRFLOW_PORT") or str(DEFAULT_PORT)
        if not port.isdecimal() or not 1 <= int(port) <= 65_535:
            raise SetupError(f"AIRFLOW_PORT={port}: expected a whole number from 1 to 65535.")
        if not _is_loopback(host) and (not password or password in COMMON_PASSWORDS):
            raise SetupError(
                f"AIRFLOW_HOST={host} is not a loopback address. Set _AIRFLOW_WWW_USER_PASSWORD in .env "
                f"to a password other than {', '.join(sorted(COMMON_PASSWORDS))}."
            )
        return cls(home, host, int(port), user, password or _saved_or_new_password(home, user), not password)

    @property
    def url(self) -> str:
        """The URL of the API server and its web interface on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def passwords_file(self) -> Path:
        """Airflow's file of users and passwords."""
        return self.home / "passwords.json"

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return Airflow's environment. It overrides other settings, or tasks could connect to another server."""
        return {
            **settings,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__HOST": self.host,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # The default starts 32 processes. Three DAGs that run one task at a time need two.
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.passwords_file),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
            "PATH": f"{AIRFLOW.parent}{os.pathsep}{settings.get('PATH', '')}",
        }

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Create the home folder, the password file, and the database. Raises `SetupError`."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.passwords_file.touch(mode=0o600)
        self.passwords_file.chmod(0o600)
        self.passwords_file.write_text(json.dumps({self.user: self.password}), encoding="utf-8")
        (self.home / "logs").mkdir(exist_ok=True)
        log = self.log_path("migrate")
        with log.open("wb") as log_file:
            migration = subprocess.run(
                [AIRFLOW, "db", "migrate"], env=environment, stdout=log_file, stderr=log_file, check=False
            )
        if migration.returncode:
            raise SetupError(f"Airflow couldn't create its database:\n{_last_lines(log)}")

    def log_path(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.home / "logs" / f"{service}.log"

    def start_service(self, service: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a service in a new process group, because its children can outlive it."""
        with self.log_path(service).open("wb") as file:
            return subprocess.Popen(
                [AIRFLOW, service, *SERVICES[service]],
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        """Return whether Airflow reports all its components as healthy."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=5) as response:  # noqa: S310 (http)
                health = json.load(response)
        except (OSError, ValueError):
            return False
        component_states = (health.get(name) or {} for name in ("metadatabase", "scheduler", "dag_processor"))
        return all(component_state.get("status") == "healthy" for component_state in component_states)


def run(airflow: LocalAirflow, settings: Mapping[str, str]) -> int:
    """Start Airflow, wait until it's healthy, print the URL, and run until a signal arrives. Raises `SetupError`."""
    environment = airflow.environment(settings)
    print(f"Starting Airflow. Logs: {airflow.home / 'logs'}", flush=True)
    airflow.prepare(environment)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service in SERVICES:
            running[service] = airflow.start_service(service, environment)
        deadline = time.monotonic() + STARTUP_TIMEOUT_SECONDS
        while not airflow.is_healthy():
            _check_running(airflow, running)
            if time.monotonic() > deadline:
                raise SetupError(
                    f"Airflow isn't healthy after {STARTUP_TIMEOUT_SECONDS} s. Check {airflow.home / 'logs'}."
                )
            time.sleep(0.5)
        password = (
            f", generated password in {airflow.passwords_file} (set your own in .env)"
            if airflow.password_generated
            else ""
        )
        print(f"Airflow: {airflow.url}, user {airflow.user}{password}. Press Ctrl-C to stop.", flush=True)
        while True:
            _check_running(airflow, running)
            time.sleep(1)
    finally:
        for signal_number in (signal.SIGINT, signal.SIGTERM):  # A second signal must not interrupt the shutdown.
            signal.signal(signal_number, signal.SIG_IGN)
        _stop_services(running)
        print("Airflow stopped.", flush=True)


def _check_running(airflow: LocalAirflow, running: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for service, process in running.items():
        if process.poll() is not None:
            raise SetupError(
                f"The {service} exited with status {process.returncode}:\n{_last_lines(airflow.log_path(service))}"
            )


def _stop_services(running: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Send SIGTERM to all services, wait, then send SIGKILL. The scheduler stops running tasks."""
    for process in running.values():
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + SHUTDOWN_TIMEOUT_SECONDS
    for process in running.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for process in running.values():
        _signal_group(process, signal.SIGKILL)  # The group may outlive its leader.
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], signal_number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, signal_number)
    except ProcessLookupError:
        return


def _saved_or_new_password(home: Path, user: str) -> str:
    """Return the password that an earlier start generated, or a new one."""
    try:
        saved_passwords = json.loads((home / "passwords.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        saved_passwords = {}
    return str(saved_passwords.get(user) or secrets.token_urlsafe(12))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def _handle_sigterm(signal_number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(signal_number)


def _ask(question: str) -> bool:
    """Return whether the user agrees. Without a terminal, return False, and name the option."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(f"{question} To do so, run: make airflow ARGS=--demo", flush=True)
        return False
    return input(f"{question} [Y/n] ").strip().lower() in {"", "y", "yes"}


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make airflow ARGS=", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", action=argparse.BooleanOptionalAction, help="train and predict synthetic orders")
    parser.add_argument("--env-file", type=Path, default=ROOT / ENV_FILE, help="the file with the settings")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Return 0 after a signal, 1 if Airflow can't start or a service dies, or 2 if the settings can't be read."""
    options = _parse(arguments)
    if os.name == "nt":
        print("Airflow doesn't run on Windows. Use WSL or Docker.", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _handle_sigterm)
    try:
        settings = read_variables(os.environ, options.env_file)
        airflow = LocalAirflow.from_settings(settings)
        return run(airflow, demo_settings(settings, airflow.home, demo=options.demo, ask=_ask))
    except KeyboardInterrupt:
        return 0
    except PreptimeError as error:
        print(error, file=sys.stderr)
        return 2
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
