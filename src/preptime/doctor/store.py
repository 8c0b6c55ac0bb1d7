"""The store: reachable, for reading or writing as it should be, its champion whole, its history of this morning."""

from __future__ import annotations

from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.store import Store
from preptime.doctor.finding import Finding, Role, fault, fine, not_asked, warning
from preptime.doctor.machine import Clock
from preptime.errors import PreptimeError, StoreError

DECIDING = ("numpy", "onnxruntime")
"""Libraries that a prediction is computed with; the others of a manifest made the bundle and are not asked again."""
FRESH_DAYS = 1
"""A bundle of this morning or, before the daily job has run, of yesterday's."""


def store(opened: Store, role: Role) -> Finding:
    """Reachable, and writable or not as the role wants it."""
    try:
        bundles, writable = opened.bundle_ids(), opened.writable()
    except StoreError as error:
        return fault("store", error.facts, error.hint)
    found = f"{opened.url} holds {len(bundles)} bundle{'' if len(bundles) == 1 else 's'}, and may be "
    found += "written to." if writable else "read."
    if role == "jobs" and not writable:
        return fault("store", found, "The jobs write bundles and promote: give this account the right to create there.")
    if role == "serve" and writable and "://" in opened.url:
        return warning("store", found, "What serves only reads: an account without the right to create is safer.")
    return fine("store", found)


def champion(opened: Store, role: Role) -> tuple[Finding, Entry | None, Bundle | None]:
    """The champion, loaded with every check."""
    try:
        entry = ChampionLog(opened).current()
        bundle = verify(opened, entry.bundle) if entry else None
    except OSError as error:
        return fault("champion", f"{error.filename}: {error.strerror}.", "Let this user read the store."), None, None
    except PreptimeError as error:
        hint = f"{error.hint} To go back to the one before: preptime bundles rollback."
        return fault("champion", error.facts, hint.strip()), None, None
    if entry is None:
        finding = warning if role == "jobs" else fault
        return finding("champion", "There is none yet.", "Train one: preptime train --date D."), None, None
    found = f"{entry.bundle}, number {entry.number}, verified: files, hashes, golden orders."
    return fine("champion", found), entry, bundle


def history(bundle: Bundle | None, today: date) -> Finding:
    """The age of what the champion knows, in days."""
    if bundle is None:
        return not_asked("history", "There is no champion to ask.")
    day = bundle.manifest.date
    age = (today - day).days
    found = f"Of the morning of {day}; today is {today}."
    if age < 0:
        return fault("history", found, "It is of the future: look at this machine's clock, or at --date.")
    if age > FRESH_DAYS:
        return warning("history", f"{found} {age} days old.", "Run the daily job: preptime train, or preptime refresh.")
    return fine("history", found)


def libraries(bundle: Bundle | None) -> Finding:
    """The versions here beside those that the bundle was made with."""
    if bundle is None:
        return not_asked("libraries", "There is no champion to compare with.")
    told = bundle.manifest.libraries
    differing = [
        f"{name} {here} (the bundle: {told[name]})"
        for name in DECIDING
        if name in told
        for here in [_installed(name)]
        if here != told[name]
    ]
    if differing:
        return warning(
            "libraries",
            f"{'; '.join(differing)}. The golden orders came out as they should all the same.",
            "Serve with the release that trained, where you can.",
        )
    return fine("libraries", ", ".join(f"{name} {_installed(name)}" for name in DECIDING) + ", as the bundle's.")


def clock(opened: Store, entry: Entry | None, here: Clock) -> Finding:
    """The machine's clock against the store's: its present time where it tells it, else when things were written."""
    jumped = here.steady()
    if jumped is not None:
        return jumped
    try:
        told = opened.now()
        if told is not None:
            return here.against(told, "the storage's clock")
        return here.not_before(_written(opened, entry))
    except StoreError as error:
        return not_asked("clock", error.facts)


def _written(opened: Store, entry: Entry | None) -> dict[str, float]:
    if entry is None:
        return {}
    written = {"the champion's file": opened.log_written_at(f"{entry.number:06d}.json")}
    try:
        promoted = datetime.fromisoformat(entry.at)
    except ValueError:  # whoever promoted may have told anything; nothing depends on it
        return written
    if promoted.tzinfo is None:
        promoted = promoted.replace(tzinfo=UTC)
    return {**written, "the champion's promotion": promoted.timestamp()}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
