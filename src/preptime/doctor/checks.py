"""The checks: machine, server settings, store, and the sources of the daily jobs. Each returns one or more results."""

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

from preptime.api.worker import configured_api_keys
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import MAX_DAYS_AHEAD, ChampionLog, LogEntry
from preptime.bundle.isolated_check import load_checked
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import DATA_DICTIONARY, OUTCOME_COLUMNS, required_columns
from preptime.errors import PreptimeError, StoreError, UsageError, install_hint
from preptime.formatting import format_count, join_names
from preptime.keys import EXAMPLE_KEY, UNNAMED_KEY_NAME, Keys
from preptime.network import resolve_free_address
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.schema.toml_file import find_schema
from preptime.settings import Settings

CheckState = Literal["ok", "warning", "error", "skipped"]

Role = Literal["serve", "jobs"]
"""What runs in the environment: the API, which reads the store, or the daily jobs, which write to it."""


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check."""

    name: str
    state: CheckState
    """`error`: preptime won't work correctly. `skipped`: an earlier error prevented the check."""
    message: str
    hint: str = ""
    """How to fix it."""


def ok_result(name: str, message: str) -> CheckResult:
    """Return a result without a problem."""
    return CheckResult(name, "ok", message)


def warning_result(name: str, message: str, hint: str) -> CheckResult:
    """Return a result for something that works but needs attention."""
    return CheckResult(name, "warning", message, hint)


def error_result(name: str, message: str, hint: str) -> CheckResult:
    """Return a result for something that won't work."""
    return CheckResult(name, "error", message, hint)


def skipped_result(name: str, message: str) -> CheckResult:
    """Return a result for a check that an earlier error prevented."""
    return CheckResult(name, "skipped", message)


MIN_PYTHON_VERSION = (3, 11)
LOW_DISK_SPACE_BYTES = 1024**3
"""More than enough for a day of predictions and a few bundles of 20 MB each."""
CRITICAL_DISK_SPACE_BYTES = 100 * 1024**2
MAX_CLOCK_SKEW_SECONDS = 120.0
"""NTP keeps clocks much closer than this. A difference of this size doesn't affect the hours of a history."""
MAX_CLOCK_STEP_SECONDS = 1.0
"""Maximum drift between wall clock and monotonic clock during the checks."""


def check_python() -> CheckResult:
    """Check the version of Python."""
    message = f"Python {platform.python_version()} on {platform.system()}"
    if sys.version_info[:2] < MIN_PYTHON_VERSION:
        return error_result("python", message, "preptime needs Python 3.11 or newer.")
    return ok_result("python", message)


def check_time_zones(names: Iterable[str]) -> CheckResult:
    """Check that time zone data is installed. Local hours and ready times need it."""
    missing = []
    for name in sorted(set(names)):
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            missing.append(name)
    if missing:
        return error_result(
            "time zones",
            f"No data for {join_names(missing)}.",
            "Install the system package tzdata, or the Python package tzdata.",
        )
    return ok_result("time zones", "Data for all required time zones is installed.")


def check_disks(folders: dict[str, Path]) -> list[CheckResult]:
    """Check free space and permissions of the folders that are written to, by purpose."""
    return [_check_disk(purpose, path.absolute()) for purpose, path in folders.items()]


def _check_disk(purpose: str, path: Path) -> CheckResult:
    name = f"disk: {purpose}"
    # Not Path.exists, which raises if a parent folder isn't accessible.
    existing_path = next(candidate for candidate in (path, *path.parents) if os.access(candidate, os.F_OK))
    if not existing_path.is_dir() or not os.access(existing_path, os.W_OK | os.X_OK):
        return error_result(
            name,
            f"{existing_path} isn't writable.",
            f"Give this user write access, or set another folder for {purpose}.",
        )
    free_bytes = shutil.disk_usage(existing_path).free
    message = f"{free_bytes / 1024**3:.1f} GiB free at {existing_path}."
    if free_bytes < CRITICAL_DISK_SPACE_BYTES:
        return error_result(name, message, "Free some space. The next files may be lost.")
    if free_bytes < LOW_DISK_SPACE_BYTES:
        return warning_result(name, message, "Free some space soon.")
    return ok_result(name, message)


class ClockCheck:
    """Compares the clock of this machine with itself and with other clocks."""

    def __init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()

    def check_steady(self) -> CheckResult | None:
        """Return an error if the clock jumped since this object was created, else None."""
        step_seconds = (time.time() - self._wall) - (time.monotonic() - self._monotonic)
        if abs(step_seconds) > MAX_CLOCK_STEP_SECONDS:
            return error_result("clock", f"The clock jumped by {step_seconds:+.1f} s during the checks.", _CLOCK_HINT)
        return None

    def check_against(self, reference_time: float, reference_name: str) -> CheckResult:
        """Compare the clock with the current time of another clock, in seconds since 1970."""
        ahead = time.time() - reference_time
        if abs(ahead) > MAX_CLOCK_SKEW_SECONDS:
            direction = "ahead of" if ahead > 0 else "behind"
            return error_result("clock", f"{abs(ahead) / 60:,.0f} minutes {direction} {reference_name}.", _CLOCK_HINT)
        return ok_result("clock", f"Within {MAX_CLOCK_SKEW_SECONDS:.0f} s of {reference_name}.")

    def check_not_before(self, past_events: dict[str, float]) -> CheckResult:
        """Compare the clock with times of past events. This can't detect a clock that is ahead."""
        if not past_events:
            return ok_result("clock", f"{_format_utc(time.time())}. There is no other time to compare it with.")
        event, event_time = max(past_events.items(), key=lambda item: item[1])
        if event_time - time.time() > MAX_CLOCK_SKEW_SECONDS:
            minutes = (event_time - time.time()) / 60
            return error_result(
                "clock", f"{minutes:,.0f} minutes behind: {event} was at {_format_utc(event_time)}.", _CLOCK_HINT
            )
        return ok_result(
            "clock", f"{_format_utc(time.time())}, after {event}. A clock that is ahead can't be detected here."
        )


_DATABASE_PREFIXES = ("postgresql://", "postgres://", "bigquery://")
_CLOCK_HINT = "Synchronize the clock by NTP (see timedatectl status). If it's correct, the other clock was wrong."


def _format_utc(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"


def check_settings(environ: Mapping[str, str], env_file: Path) -> tuple[CheckResult, Settings | None]:
    """Check the settings, and return them if they're valid."""
    try:
        loaded = Settings.load(environ, env_file)
    except UsageError as error:
        return error_result("settings", error.facts, error.hint), None
    source = f"the environment, then {env_file}" if env_file.is_file() else "the environment only (there is no .env)"
    changed_names = [name for name, value in loaded.redacted().items() if value != Settings().redacted()[name]]
    return ok_result(
        "settings", f"From {source}. Changed from the default: {', '.join(changed_names) or 'none'}."
    ), loaded


def check_key_settings(server_settings: Settings) -> CheckResult:
    """Check the API keys and operator keys."""
    try:
        api_keys = configured_api_keys(server_settings)
    except UsageError as error:
        return error_result("keys", error.facts, error.hint)
    names = [name for name, _ in api_keys.entries]
    operator_keys = Keys.from_setting(server_settings.operator_keys)
    message = (
        f"{len(names)} for predictions ({', '.join(dict.fromkeys(names)) or 'Vertex AI needs none'}), "
        f"{len(operator_keys)} for operators."
    )
    shared_digests = {digest for _, digest in api_keys.entries} & {digest for _, digest in operator_keys.entries}
    if shared_digests:
        return warning_result(
            "keys", f"{message} One key is for both.", "Create another operator key with `preptime keys new NAME`."
        )
    if UNNAMED_KEY_NAME in names and api_keys.name_of(EXAMPLE_KEY):
        return warning_result(
            "keys",
            f"{message} AIKEY is the key of the examples.",
            "Change it before other machines can reach the port.",
        )
    return ok_result("keys", message)


def check_ports(server_settings: Settings) -> CheckResult:
    """Check that the server can listen on the API port, and on the health port if it's set."""
    ports = {"PREPTIME_PORT": server_settings.port}
    if server_settings.health_port is not None:
        ports["PREPTIME_HEALTH_PORT"] = server_settings.health_port
    if len(set(ports.values())) < len(ports):
        return error_result(
            "port", f"PREPTIME_HEALTH_PORT equals PREPTIME_PORT, {server_settings.port}.", "Set another port, or none."
        )
    try:
        addresses = {resolve_free_address(server_settings.host, number, setting) for setting, number in ports.items()}
    except UsageError as error:
        return error_result(
            "port", error.facts, f"{error.hint} If preptime itself uses the port, no change is needed.".strip()
        )
    port_list = " and ".join(map(str, ports.values()))
    return ok_result("port", f"{port_list} {'is' if len(ports) == 1 else 'are'} free on {', '.join(addresses)}.")


PREDICTION_LIBRARIES = ("numpy", "onnxruntime")
"""Libraries that compute predictions. The other libraries of a manifest are only used for training."""
MAX_HISTORY_AGE_DAYS = 1
"""The history is as of today, or as of yesterday until the daily job has run."""


def check_store(bundle_store: Store, settings: Settings, role: Role) -> CheckResult:
    """Check that the store is reachable and, depending on the role, writable."""
    try:
        bundles, writable = bundle_store.bundle_ids(), bundle_store.is_writable()
    except StoreError as error:
        return error_result("store", error.facts, error.hint)
    message = f"{bundle_store.url}: {format_count(len(bundles), 'bundle')}, {'writable' if writable else 'read-only'}."
    if role == "jobs" and not writable:
        return error_result(
            "store", message, "The jobs write bundles and promote them. Allow this account to create objects there."
        )
    if role == "serve" and writable and settings.local_store is None:
        return warning_result("store", message, "The API only reads. An account that can't create objects is safer.")
    return ok_result("store", message)


def check_champion(bundle_store: Store, role: Role) -> tuple[CheckResult, LogEntry | None, Bundle | None]:
    """Load the champion and verify it. Return the result, its log entry, and the bundle."""
    try:
        entry = ChampionLog(bundle_store).current()
        bundle = load_checked(bundle_store, entry.bundle) if entry else None
    except OSError as error:
        return (
            error_result(
                "champion", f"{error.filename}: {error.strerror}.", "Give this user read access to the store."
            ),
            None,
            None,
        )
    except PreptimeError as error:
        hint = f"{error.hint} To return to the previous champion, run preptime bundles rollback."
        return error_result("champion", error.facts, hint.strip()), None, None
    if entry is None:
        make_result = warning_result if role == "jobs" else error_result
        return (
            make_result("champion", "There is no champion yet.", "To train one, run preptime train --date DATE."),
            None,
            None,
        )
    message = f"{entry.bundle}, number {entry.number}. Files, hashes, and golden orders are verified."
    return ok_result("champion", message), entry, bundle


def check_history(bundle: Bundle | None, today: date) -> CheckResult:
    """Check the age of the champion's history, in days.

    Restaurants in the east have tomorrow's date already, so the champion log accepts it.
    """
    if bundle is None:
        return skipped_result("history", "There is no champion.")
    history_date = bundle.manifest.date
    age = (today - history_date).days
    message = f"As of {history_date}. Today is {today}."
    if age < -MAX_DAYS_AHEAD:
        return error_result(
            "history", message, "The date is in the future. Check the clock of this machine, or --date."
        )
    if age > MAX_HISTORY_AGE_DAYS:
        return warning_result(
            "history", f"{message} {age} days old.", "Run the daily job: preptime train or preptime refresh."
        )
    return ok_result("history", message)


def check_libraries(bundle: Bundle | None) -> CheckResult:
    """Compare the installed library versions with those of the bundle."""
    if bundle is None:
        return skipped_result("libraries", "There is no champion.")
    bundle_libraries = bundle.manifest.libraries
    differing = [
        f"{name} {installed} (bundle: {bundle_libraries[name]})"
        for name in PREDICTION_LIBRARIES
        if name in bundle_libraries
        for installed in [_installed_version(name)]
        if installed != bundle_libraries[name]
    ]
    if differing:
        return warning_result(
            "libraries",
            f"{'; '.join(differing)}. The predictions of the golden orders are correct.",
            "If possible, serve with the release that trained the bundle.",
        )
    return ok_result(
        "libraries",
        ", ".join(f"{name} {_installed_version(name)}" for name in PREDICTION_LIBRARIES)
        + ", the same as in the bundle.",
    )


def check_clock(bundle_store: Store, entry: LogEntry | None, machine_clock: ClockCheck) -> CheckResult:
    """Compare the clock with the current time of the storage, else with the times of past writes."""
    step_result = machine_clock.check_steady()
    if step_result is not None:
        return step_result
    try:
        storage_time = bundle_store.storage_time()
        if storage_time is not None:
            return machine_clock.check_against(storage_time, "the clock of the storage")
        return machine_clock.check_not_before(_past_events(bundle_store, entry))
    except StoreError as error:
        return skipped_result("clock", error.facts)


def _past_events(bundle_store: Store, entry: LogEntry | None) -> dict[str, float]:
    if entry is None:
        return {}
    events = {"the write of the champion's log entry": bundle_store.log_written_at(f"{entry.number:06d}.json")}
    try:
        promoted_at = datetime.fromisoformat(entry.at)
    except ValueError:  # the time in the log can be any text; nothing depends on it
        return events
    if promoted_at.tzinfo is None:
        promoted_at = promoted_at.replace(tzinfo=UTC)
    return {**events, "the promotion of the champion": promoted_at.timestamp()}


def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def check_sources(settings: Settings) -> list[CheckResult]:
    """Check the schema, the orders, and the restaurants. Reads only columns; the commands check the rows."""
    try:
        schema, origin = find_schema(settings.schema)
    except UsageError as error:
        unchecked = (skipped_result(name, "Fix the schema first.") for name in DATA_DICTIONARY)
        return [error_result("schema", error.facts, error.hint), *unchecked]
    features = format_count(len(schema.features) + len(schema.ratios), "custom feature")
    return [ok_result("schema", f"{origin}, with {features}."), *_check_locations(settings, schema)]


def _check_locations(settings: Settings, schema: Schema) -> list[CheckResult]:
    if settings.orders and settings.orders == settings.restaurants:
        message = "PREPTIME_ORDERS and PREPTIME_RESTAURANTS are equal."
        hint = "Set two files. For a database, add ?table=orders and ?table=restaurants."
        return [_check_source("orders", settings.orders, schema), error_result("restaurants", message, hint)]
    orders = _check_source("orders", settings.orders, schema)
    if settings.orders.lower().startswith(_DATABASE_PREFIXES) and not settings.restaurants:
        return [orders, ok_result("restaurants", "PREPTIME_RESTAURANTS is not set, so those in the database are used.")]
    if settings.orders and not settings.restaurants and _has_time_zones(schema):
        return [orders, ok_result("restaurants", "PREPTIME_RESTAURANTS is not set, so they are derived from orders.")]
    return [orders, _check_source("restaurants", settings.restaurants, schema)]


def _check_source(name: str, address: str, schema: Schema) -> CheckResult:
    variable_name = f"PREPTIME_{name.upper()}"
    if not address:
        return warning_result(
            name, f"{variable_name} is not set.", f"Set it, or use --{name} with every daily command."
        )
    # Polars may be missing where only the API runs.
    try:
        from preptime.domain.data_dictionary import require_columns
        from preptime.sources.registry import open_source

        source = open_source(address, schema)
        require_columns(source.columns, _required_sources(name, source.schema), source.name)
    except ModuleNotFoundError as error:
        hint = f"{install_hint('batch')} For PostgreSQL, the extra is postgres, and for BigQuery, gcp."
        return error_result(name, f"The package {error.name} is not installed.", hint)
    except OSError as error:
        return error_result(
            name, f"{error.filename}: {error.strerror}.", f"Give this user read access, or change {variable_name}."
        )
    except PreptimeError as error:
        return error_result(name, error.facts, f"{error.hint} The location is set by {variable_name}.".strip())
    outcomes = [source.schema.orders[outcome].column for outcome in OUTCOME_COLUMNS if source.schema.has(outcome)]
    if name == "orders" and not {*outcomes} & {*source.columns}:
        return error_result(
            name, f"{source.name} has neither {' nor '.join(outcomes)}.", "Add one of them. Training needs it."
        )
    return ok_result(name, f"{source.name} is readable and has the required columns.")


def _has_time_zones(schema: Schema) -> bool:
    """Return whether restaurants can be derived from orders with this schema."""
    has_constant = bool(schema.restaurants.country or schema.restaurants.time_zone)
    return has_constant or (schema != TAKE_HOME_SCHEMA and schema.has("country"))


def _required_sources(name: str, schema: Schema) -> list[str]:
    """Return the company's columns that a training requires."""
    if name == "orders":
        return [*schema.required_columns("training").values()]
    required = required_columns(DATA_DICTIONARY[name], "training")
    constants = {"country": schema.restaurants.country or schema.restaurants.time_zone}
    return [schema.restaurant_column(column) for column in required if not constants.get(column)]
