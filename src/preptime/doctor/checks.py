"""What a check found.

The machine: Python, disks, time zones, the clock.

What the server is told: settings, keys, its port.

The store: reachable, for reading or writing as it should be, its champion whole, its history of this morning.

The tables that the daily jobs read: there, readable, with the columns that training needs.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from preptime.api.runtime import configured_api_keys
from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import DATA_DICTIONARY, OUTCOME_COLUMNS, required_columns
from preptime.errors import PreptimeError, StoreError, UsageError
from preptime.keys import EXAMPLE_KEY, UNNAMED_KEY_NAME, Keys
from preptime.settings import Settings, resolve_free_address

CheckState = Literal["ok", "warning", "error", "skipped"]

Role = Literal["serve", "jobs"]
"""What the environment is for: answering orders, which reads the store, or the daily jobs, which write to it."""


class CheckResult(msgspec.Struct, frozen=True):
    """One thing looked at."""

    name: str
    state: CheckState
    """`error`: preptime will not work as it should. `skipped`: another fault stood in the way."""
    message: str
    hint: str = ""
    """How to mend it."""


def ok_result(name: str, message: str) -> CheckResult:
    """As it should be."""
    return CheckResult(name, "ok", message)


def warning_result(name: str, message: str, hint: str) -> CheckResult:
    """It works, and somebody should know."""
    return CheckResult(name, "warning", message, hint)


def error_result(name: str, message: str, hint: str) -> CheckResult:
    """It will not work."""
    return CheckResult(name, "error", message, hint)


def skipped_result(name: str, message: str) -> CheckResult:
    """Another fault stood in the way."""
    return CheckResult(name, "skipped", message)


MIN_PYTHON_VERSION = (3, 11)
LOW_DISK_SPACE_BYTES = 1024**3
"""A day's predictions and a few bundles of 20 MB each, with plenty to spare."""
CRITICAL_DISK_SPACE_BYTES = 100 * 1024**2
MAX_CLOCK_SKEW_SECONDS = 120.0
"""Clocks that are kept by NTP differ by far less; a bundle's hours would not notice this much."""
MAX_CLOCK_STEP_SECONDS = 1.0
"""How far wall clock and monotonic clock may part while the doctor looks around."""


def check_python() -> CheckResult:
    """The interpreter."""
    message = f"Python {platform.python_version()} on {platform.system()}"
    if sys.version_info[:2] < MIN_PYTHON_VERSION:
        return error_result("python", message, "preptime needs Python 3.11 or newer.")
    return ok_result("python", message)


def check_time_zones(names: Iterable[str]) -> CheckResult:
    """The data of these time zones is there: local hours and the moment of readiness need it."""
    missing = []
    for name in sorted(set(names)):
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            missing.append(name)
    if missing:
        return error_result(
            "time zones",
            f"No data for {', '.join(missing[:5])}" + (f" and {len(missing) - 5} more." if len(missing) > 5 else "."),
            "Install the system's tzdata, or the Python package of that name.",
        )
    return ok_result("time zones", "The data of every zone needed is there.")


def check_disks(folders: dict[str, Path]) -> list[CheckResult]:
    """Room and permission for what is written, by what it is."""
    return [_check_disk(purpose, path.absolute()) for purpose, path in folders.items()]


def _check_disk(purpose: str, path: Path) -> CheckResult:
    name = f"disk: {purpose}"
    # Not Path.exists: it raises where a folder above may not be looked into.
    existing_path = next(candidate for candidate in (path, *path.parents) if os.access(candidate, os.F_OK))
    if not existing_path.is_dir() or not os.access(existing_path, os.W_OK | os.X_OK):
        return error_result(
            name, f"{existing_path} cannot be written to.", f"Let this user write there, or name another for {purpose}."
        )
    free_bytes = shutil.disk_usage(existing_path).free
    message = f"{free_bytes / 1024**3:.1f} GiB free at {existing_path}."
    if free_bytes < CRITICAL_DISK_SPACE_BYTES:
        return error_result(name, message, "Make room: what is written next may be lost.")
    if free_bytes < LOW_DISK_SPACE_BYTES:
        return warning_result(name, message, "Make room soon.")
    return ok_result(name, message)


class ClockCheck:
    """The machine's clock, against itself and against other clocks' times."""

    def __init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()

    def check_steady(self) -> CheckResult | None:
        """Whether it jumped since this was made; None when not."""
        step_seconds = (time.time() - self._wall) - (time.monotonic() - self._monotonic)
        if abs(step_seconds) > MAX_CLOCK_STEP_SECONDS:
            return error_result(
                "clock", f"The clock jumped by {step_seconds:+.1f} s while it was looked at.", _CLOCK_HINT
            )
        return None

    def check_against(self, reference_time: float, reference_name: str) -> CheckResult:
        """Against a clock that tells its present time (seconds since 1970)."""
        ahead = time.time() - reference_time
        if abs(ahead) > MAX_CLOCK_SKEW_SECONDS:
            direction = "ahead of" if ahead > 0 else "behind"
            return error_result("clock", f"{abs(ahead) / 60:,.0f} minutes {direction} {reference_name}.", _CLOCK_HINT)
        return ok_result("clock", f"Within {MAX_CLOCK_SKEW_SECONDS:.0f} s of {reference_name}.")

    def check_not_before(self, past_events: dict[str, float]) -> CheckResult:
        """Against moments that have been. It may be ahead: nothing here would tell."""
        if not past_events:
            return ok_result("clock", f"{_format_utc(time.time())}; there is nothing to compare it with.")
        event, event_time = max(past_events.items(), key=lambda item: item[1])
        if event_time - time.time() > MAX_CLOCK_SKEW_SECONDS:
            minutes = (event_time - time.time()) / 60
            return error_result(
                "clock", f"{minutes:,.0f} minutes behind: {event} is of {_format_utc(event_time)}.", _CLOCK_HINT
            )
        return ok_result(
            "clock", f"{_format_utc(time.time())}, after {event}; whether it is ahead, nothing here tells."
        )


_CLOCK_HINT = "Keep the time by NTP (timedatectl status says whether it is); if it is right, the other clock was wrong."


def _format_utc(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"


def check_settings(environ: Mapping[str, str], env_file: Path) -> tuple[CheckResult, Settings | None]:
    """The settings, if they can be read."""
    try:
        loaded = Settings.load(environ, env_file)
    except UsageError as error:
        return error_result("settings", error.facts, error.hint), None
    source = f"the environment, then {env_file}" if env_file.is_file() else "the environment alone (there is no .env)"
    changed_names = [name for name, value in loaded.redacted().items() if value != Settings().redacted()[name]]
    return ok_result("settings", f"From {source}. Not the default: {', '.join(changed_names) or 'none'}."), loaded


def check_key_settings(server_settings: Settings) -> CheckResult:
    """How many, and whether they are any good."""
    try:
        api_keys = configured_api_keys(server_settings)
    except UsageError as error:
        return error_result("keys", error.facts, error.hint)
    names = [name for name, _ in api_keys.entries]
    operator_keys = Keys.from_setting(server_settings.operator_keys)
    message = (
        f"{len(names)} for predictions ({', '.join(dict.fromkeys(names)) or 'Vertex AI sends none'}), "
        f"{len(operator_keys)} for operators."
    )
    shared_digests = {digest for _, digest in api_keys.entries} & {digest for _, digest in operator_keys.entries}
    if shared_digests:
        return warning_result(
            "keys", f"{message} One key is for both.", "Make another for the operators: preptime keys new."
        )
    if UNNAMED_KEY_NAME in names and api_keys.name_of(EXAMPLE_KEY):
        return warning_result(
            "keys", f"{message} AIKEY is the examples'.", "Change it before anybody else can reach the port."
        )
    return ok_result("keys", message)


def check_ports(server_settings: Settings) -> CheckResult:
    """Whether the server could listen, on the port for health and metrics as well where there is one."""
    ports = {"PREPTIME_PORT": server_settings.port}
    if server_settings.health_port is not None:
        ports["PREPTIME_HEALTH_PORT"] = server_settings.health_port
    if len(set(ports.values())) < len(ports):
        return error_result(
            "port", f"PREPTIME_HEALTH_PORT is PREPTIME_PORT, {server_settings.port}.", "Give it another, or none."
        )
    try:
        addresses = {resolve_free_address(server_settings.host, number, setting) for setting, number in ports.items()}
    except UsageError as error:
        return error_result(
            "port", error.facts, f"{error.hint} If preptime itself is running here, all is well.".strip()
        )
    port_list = " and ".join(map(str, ports.values()))
    return ok_result("port", f"{port_list} {'is' if len(ports) == 1 else 'are'} free on {', '.join(addresses)}.")


PREDICTION_LIBRARIES = ("numpy", "onnxruntime")
"""Libraries that a prediction is computed with; the others of a manifest made the bundle and are not asked again."""
MAX_HISTORY_AGE_DAYS = 1
"""A bundle of this morning or, before the daily job has run, of yesterday's."""


def check_store(bundle_store: Store, role: Role) -> CheckResult:
    """Reachable, and writable or not as the role wants it."""
    try:
        bundles, writable = bundle_store.bundle_ids(), bundle_store.is_writable()
    except StoreError as error:
        return error_result("store", error.facts, error.hint)
    message = f"{bundle_store.url} holds {len(bundles)} bundle{'' if len(bundles) == 1 else 's'}, and may be "
    message += "written to." if writable else "read."
    if role == "jobs" and not writable:
        return error_result(
            "store", message, "The jobs write bundles and promote: give this account the right to create there."
        )
    if role == "serve" and writable and "://" in bundle_store.url:
        return warning_result(
            "store", message, "What serves only reads: an account without the right to create is safer."
        )
    return ok_result("store", message)


def check_champion(bundle_store: Store, role: Role) -> tuple[CheckResult, LogEntry | None, Bundle | None]:
    """The champion, loaded with every check."""
    try:
        entry = ChampionLog(bundle_store).current()
        bundle = fetch_verified(bundle_store, entry.bundle) if entry else None
    except OSError as error:
        return (
            error_result("champion", f"{error.filename}: {error.strerror}.", "Let this user read the store."),
            None,
            None,
        )
    except PreptimeError as error:
        hint = f"{error.hint} To go back to the one before: preptime bundles rollback."
        return error_result("champion", error.facts, hint.strip()), None, None
    if entry is None:
        make_result = warning_result if role == "jobs" else error_result
        return make_result("champion", "There is none yet.", "Train one: preptime train --date D."), None, None
    message = f"{entry.bundle}, number {entry.number}, verified: files, hashes, golden orders."
    return ok_result("champion", message), entry, bundle


def check_history(bundle: Bundle | None, today: date) -> CheckResult:
    """The age of what the champion knows, in days."""
    if bundle is None:
        return skipped_result("history", "There is no champion to ask.")
    history_date = bundle.manifest.date
    age = (today - history_date).days
    message = f"Of the morning of {history_date}; today is {today}."
    if age < 0:
        return error_result("history", message, "It is of the future: look at this machine's clock, or at --date.")
    if age > MAX_HISTORY_AGE_DAYS:
        return warning_result(
            "history", f"{message} {age} days old.", "Run the daily job: preptime train, or preptime refresh."
        )
    return ok_result("history", message)


def check_libraries(bundle: Bundle | None) -> CheckResult:
    """The versions here beside those that the bundle was made with."""
    if bundle is None:
        return skipped_result("libraries", "There is no champion to compare with.")
    bundle_libraries = bundle.manifest.libraries
    differing = [
        f"{name} {installed} (the bundle: {bundle_libraries[name]})"
        for name in PREDICTION_LIBRARIES
        if name in bundle_libraries
        for installed in [_installed_version(name)]
        if installed != bundle_libraries[name]
    ]
    if differing:
        return warning_result(
            "libraries",
            f"{'; '.join(differing)}. The golden orders came out as they should all the same.",
            "Serve with the release that trained, where you can.",
        )
    return ok_result(
        "libraries",
        ", ".join(f"{name} {_installed_version(name)}" for name in PREDICTION_LIBRARIES) + ", as the bundle's.",
    )


def check_clock(bundle_store: Store, entry: LogEntry | None, machine_clock: ClockCheck) -> CheckResult:
    """The machine's clock against the store's: its present time where it tells it, else when things were written."""
    step_result = machine_clock.check_steady()
    if step_result is not None:
        return step_result
    try:
        storage_time = bundle_store.storage_time()
        if storage_time is not None:
            return machine_clock.check_against(storage_time, "the storage's clock")
        return machine_clock.check_not_before(_past_events(bundle_store, entry))
    except StoreError as error:
        return skipped_result("clock", error.facts)


def _past_events(bundle_store: Store, entry: LogEntry | None) -> dict[str, float]:
    if entry is None:
        return {}
    events = {"the champion's file": bundle_store.log_written_at(f"{entry.number:06d}.json")}
    try:
        promoted_at = datetime.fromisoformat(entry.at)
    except ValueError:  # whoever promoted may have told anything; nothing depends on it
        return events
    if promoted_at.tzinfo is None:
        promoted_at = promoted_at.replace(tzinfo=UTC)
    return {**events, "the champion's promotion": promoted_at.timestamp()}


def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def check_sources(settings: Settings) -> list[CheckResult]:
    """Orders and restaurants. Only headers are read: what rows are worth is for the verbs to say."""
    if settings.orders and settings.orders == settings.restaurants:
        message = "PREPTIME_ORDERS and PREPTIME_RESTAURANTS are the same."
        hint = "Name two files; of a database, ?table=restaurants beside ?table=orders."
        return [_check_source("orders", settings.orders), error_result("restaurants", message, hint)]
    return [_check_source(name, str(getattr(settings, name))) for name in DATA_DICTIONARY]


def _check_source(name: str, address: str) -> CheckResult:
    variable_name = f"PREPTIME_{name.upper()}"
    if not address:
        return warning_result(name, f"{variable_name} is not set.", f"Set it, or give --{name} to every daily verb.")
    # Where the API runs there need be no library of tables.
    try:
        from preptime.domain.data_dictionary import require_columns
        from preptime.sources.registry import open_source

        source = open_source(address)
        require_columns(source.columns, required_columns(DATA_DICTIONARY[name], "training"), source.name)
    except ModuleNotFoundError as error:
        hint = "Install preptime with the extra for files (batch), PostgreSQL (postgres) or BigQuery (gcp)."
        return error_result(name, f"The package {error.name} is not installed.", hint)
    except OSError as error:
        return error_result(
            name, f"{error.filename}: {error.strerror}.", f"Let this user read it; {variable_name} names it."
        )
    except PreptimeError as error:
        return error_result(name, error.facts, f"{error.hint} {variable_name} names it.".strip())
    if name == "orders" and not set(OUTCOME_COLUMNS) & set(source.columns):
        return error_result(
            name, f"{source.name} has neither {' nor '.join(OUTCOME_COLUMNS)}.", "Add one: there is no label otherwise."
        )
    return ok_result(name, f"{source.name} can be read and has the columns needed.")
