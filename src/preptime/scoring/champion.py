"""Which bundle answers for a day: the champion as of its logical date, or the newest before it that opens (D8)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champions import ChampionLog
from preptime.bundle.manifest import bundle_date
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, OperationError, UsageError
from preptime.tables.results import SCORE_FILE, ResultsFolder


@dataclass(frozen=True, slots=True)
class SkippedBundle:
    """A champion of the day that does not open, and why."""

    bundle: str
    reason: str


@dataclass(frozen=True, slots=True)
class SelectedBundle:
    """The bundle that answers; None where nobody was champion by then."""

    bundle: Bundle | None
    skipped: tuple[SkippedBundle, ...] = ()


class _ScoredBundle(msgspec.Struct):
    """All that is read of a day's `score.json`."""

    bundle: str | None


def select_champion(store: Store, day: dt.date, results: ResultsFolder) -> SelectedBundle:
    """The champion of the morning of `day`, whatever was promoted for later mornings.

    While it is the newest champion, one that does not open is passed over for the one that a rollback would return to:
    this morning's orders with answers of yesterday's champion are better than without, and what was passed over is
    said. Not so where `results` has answers of another bundle for the day, nor where champions of later mornings
    followed: there it can only have been pruned or damaged since, nobody is waiting, and training its morning again
    gives the same bundle back. Raises `UsageError` then, `BundleVerificationError` when none of them opens.
    """
    log, skipped = ChampionLog(store), list[SkippedBundle]()
    newest = entry = log.as_of(day)
    while entry is not None:
        try:
            bundle = fetch_verified(store, entry.bundle)
        except (BundleVerificationError, UsageError) as error:  # the latter: it is gone from the store
            current = log.current()
            if current is not None and current != newest:
                failed = SkippedBundle(entry.bundle, error.facts)
                raise _other_bundle_error(
                    day, failed, f"{current.bundle} is champion by now, so that day is past"
                ) from error
            if entry.bundle not in {skipped_bundle.bundle for skipped_bundle in skipped}:
                skipped.append(SkippedBundle(entry.bundle, error.facts))
            entry = log.rollback_target(entry)
            continue
        if skipped:
            scored_by = _scored_by(results, day)
            if scored_by not in {None, entry.bundle}:
                raise _other_bundle_error(day, skipped[0], f"the results of that day are answers of {scored_by}")
        return SelectedBundle(bundle, tuple(skipped))
    if skipped:
        raise BundleVerificationError(
            f"No champion up to {day} opens. {' '.join(f'{skipped_bundle.bundle}: {skipped_bundle.reason}' for skipped_bundle in skipped)}",
            "Restore the bundle from a copy of the store, or run preptime train --date "
            f"{bundle_date(skipped[0].bundle)} again.",
        )
    return SelectedBundle(None)


def _other_bundle_error(day: dt.date, failed: SkippedBundle, reason: str) -> UsageError:
    return UsageError(
        f"{failed.bundle}, the champion of the morning of {day}, does not open: {failed.reason} Another bundle's answers are "
        f"not put in its place: {reason}.",
        f"Run preptime train --date {bundle_date(failed.bundle)} again first: the same content has the same id. Or name "
        "another bundle that shall answer (--bundle).",
    )


def _scored_by(results: ResultsFolder, day: dt.date) -> str | None:
    """The bundle of the day's results, if it has any."""
    path = results.path(day, SCORE_FILE)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ScoredBundle).bundle
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OperationError(
            f"{path} cannot be read, so it is not known whose answers the day has: {error}.",
            "Repair or remove it, then run again.",
        ) from error


def select_bundle(store: Store, bundle_id: str, day: dt.date) -> SelectedBundle:
    """The bundle that a person names for a day. Raises `UsageError` when it knows more than that morning did."""
    bundle = fetch_verified(store, bundle_id)
    if bundle.manifest.date > day:
        raise UsageError(
            f"{bundle_id} is of {bundle.manifest.date} and knows what happened after the morning of {day}.",
            "Take a bundle of that morning or an earlier one.",
        )
    return SelectedBundle(bundle)
