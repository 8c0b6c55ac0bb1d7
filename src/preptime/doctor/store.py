"""The store: reachable, for reading or writing as it should be, its champion whole, its history of this morning."""

from __future__ import annotations

from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champions import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.doctor.finding import CheckResult, Role, error_result, ok_result, skipped_result, warning_result
from preptime.doctor.machine import ClockCheck
from preptime.errors import PreptimeError, StoreError

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
