"""Which bundle answers for a day: the champion as of its logical date, or the newest before it that opens (D8)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog
from preptime.bundle.manifest import morning_of
from preptime.bundle.store import Store
from preptime.errors import FaultError, RefusedBundleError, UsageError
from preptime.tables.results import SCORE, Results


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


class _Answered(msgspec.Struct):
    """All that is read of a day's `score.json`."""

    bundle: str | None


def champion_as_of(store: Store, day: dt.date, results: Results) -> Chosen:
    """The champion of the morning of `day`, whatever was promoted for later mornings.

    While it is the newest champion, one that does not open is passed over for the one that a rollback would return to:
    this morning's orders with answers of yesterday's champion are better than without, and what was passed over is
    said. Not so where `results` has answers of another bundle for the day, nor where champions of later mornings
    followed: there it can only have been pruned or damaged since, nobody is waiting, and training its morning again
    gives the same bundle back. Raises `UsageError` then, `RefusedBundleError` when none of them opens.
    """
    log, passed = ChampionLog(store), list[PassedOver]()
    newest = entry = log.as_of(day)
    while entry is not None:
        try:
            bundle = verify(store, entry.bundle)
        except (RefusedBundleError, UsageError) as error:  # the latter: it is gone from the store
            current = log.current()
            if current is not None and current != newest:
                lost = PassedOver(entry.bundle, error.facts)
                raise _not_another(day, lost, f"{current.bundle} is champion by now, so that day is past") from error
            if entry.bundle not in {one.bundle for one in passed}:
                passed.append(PassedOver(entry.bundle, error.facts))
            entry = log.before(entry)
            continue
        if passed:
            before = _answered_by(results, day)
            if before not in {None, entry.bundle}:
                raise _not_another(day, passed[0], f"the results of that day are answers of {before}")
        return Chosen(bundle, tuple(passed))
    if passed:
        raise RefusedBundleError(
            f"No champion up to {day} opens. {' '.join(f'{one.bundle}: {one.why}' for one in passed)}",
            "Restore the bundle from a copy of the store, or run preptime train --date "
            f"{morning_of(passed[0].bundle)} again.",
        )
    return Chosen(None)


def _not_another(day: dt.date, lost: PassedOver, why: str) -> UsageError:
    return UsageError(
        f"{lost.bundle}, the champion of the morning of {day}, does not open: {lost.why} Another bundle's answers are "
        f"not put in its place: {why}.",
        f"Run preptime train --date {morning_of(lost.bundle)} again first: the same content has the same id. Or name "
        "another bundle that shall answer (--bundle).",
    )


def _answered_by(results: Results, day: dt.date) -> str | None:
    """The bundle of the day's results, if it has any."""
    path = results.path(day, SCORE)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Answered).bundle
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise FaultError(
            f"{path} cannot be read, so it is not known whose answers the day has: {error}.",
            "Repair or remove it, then run again.",
        ) from error


def asked_for(store: Store, bundle_id: str, day: dt.date) -> Chosen:
    """The bundle that a person names for a day. Raises `UsageError` when it knows more than that morning did."""
    bundle = verify(store, bundle_id)
    if bundle.manifest.date > day:
        raise UsageError(
            f"{bundle_id} is of {bundle.manifest.date} and knows what happened after the morning of {day}.",
            "Take a bundle of that morning or an earlier one.",
        )
    return Chosen(bundle)
