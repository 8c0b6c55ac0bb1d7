"""Which bundle answers for a day: the champion as of its logical date, or the newest before it that opens (D8)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog
from preptime.bundle.store import Store
from preptime.errors import RefusedBundleError, UsageError


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A champion of the day that does not open, and why."""

    bundle: str
    why: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The bundle that answers; None where nobody was champion by then."""

    bundle: Bundle | None
    passed_over: tuple[PassedOver, ...] = ()


def champion_as_of(store: Store, day: dt.date) -> Chosen:
    """The champion of the morning of `day`, whatever was promoted for later mornings.

    One that fails verification is passed over for the one that a rollback would return to: a day with answers of
    yesterday's champion is better than a day without, and what was passed over is said. Raises `RefusedBundleError`
    when none of them opens.
    """
    log, passed = ChampionLog(store), list[PassedOver]()
    entry = log.as_of(day)
    while entry is not None:
        try:
            return Chosen(verify(store, entry.bundle), tuple(passed))
        except (RefusedBundleError, UsageError) as error:  # the latter: it is gone from the store
            if entry.bundle not in {one.bundle for one in passed}:
                passed.append(PassedOver(entry.bundle, error.facts))
        entry = log.before(entry)
    if passed:
        raise RefusedBundleError(
            f"No champion up to {day} opens. {' '.join(f'{one.bundle}: {one.why}' for one in passed)}",
            "Restore the bundle from a copy of the store, or train that morning again (preptime train).",
        )
    return Chosen(None)


def asked_for(store: Store, bundle_id: str, day: dt.date) -> Chosen:
    """The bundle that a person names for a day. Raises `UsageError` when it knows more than that morning did."""
    bundle = verify(store, bundle_id)
    if bundle.manifest.date > day:
        raise UsageError(
            f"{bundle_id} is of {bundle.manifest.date} and knows what happened after the morning of {day}.",
            "Take a bundle of that morning or an earlier one.",
        )
    return Chosen(bundle)
