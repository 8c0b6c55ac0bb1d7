"""The append-only log of champions. Why it is made this way: docs/decisions/0007-promotion-log.md."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

import msgspec

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.manifest import FormatHeader, JsonObject
from preptime.bundle.store import Store
from preptime.errors import StoreError, UsageError

Action = Literal["promote", "refresh", "override", "rollback"]

LOG_FORMAT = 1
"""The format of an entry this code writes and reads: docs/bundle-format.md, "Changing the format"."""

_ENTRY_FILE_PATTERN = re.compile(r"(\d{6})\.json")


class LogEntryDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the promoting side knows of a promotion."""

    bundle: str
    date: date
    """Logical date: from this morning on, the bundle is the champion."""
    action: Action
    reason: str
    by: str
    at: str
    """UTC time of the promotion as text, told by the caller; nothing is decided by it."""
    comparison: JsonObject | None = None


class LogEntry(LogEntryDraft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One promotion, as it stands in the log."""

    format: int = LOG_FORMAT
    number: int
    previous: str | None
    """The champion that this one replaced."""
    rollback_to: int | None
    """Number of the entry that a rollback of this one goes back to."""


class ChampionLog:
    """Entries 1, 2, 3, …; the champion is the highest-numbered. Numbers and logical dates only ever go up."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def current(self) -> LogEntry | None:
        """The champion, or nothing before the first promotion."""
        number = self._latest_number()
        return self._read_entry(number) if number else None

    def as_of(self, day: date) -> LogEntry | None:
        """The champion as of the logical date `day`: the highest-numbered entry of that date or an earlier one."""
        for number in range(self._latest_number(), 0, -1):
            entry = self._read_entry(number)
            if entry.date <= day:
                return entry
        return None

    def entries_of_date(self, day: date) -> list[LogEntry]:
        """The entries of the logical date `day`, first to last. Reads none of an earlier date but the last."""
        entries = list[LogEntry]()
        for number in range(self._latest_number(), 0, -1):
            entry = self._read_entry(number)
            if entry.date < day:
                break
            if entry.date == day:
                entries.append(entry)
        return entries[::-1]

    def rollback_target(self, entry: LogEntry) -> LogEntry | None:
        """The entry that a rollback of this one goes back to."""
        return self._read_entry(entry.rollback_to) if entry.rollback_to else None

    def entries(self) -> list[LogEntry]:
        """Every entry, first to last."""
        return [self._read_entry(number) for number in range(1, self._latest_number() + 1)]

    def append(self, draft: LogEntryDraft, expected_champion: LogEntry | None) -> LogEntry:
        """Make a bundle the champion. `expected_champion` is the champion that the decision was made against.

        A bundle that already is the champion stays it, without a new entry. An override takes effect no earlier than
        the champion it replaces. Raises `StoreError` when another promotion came first, `UsageError` when the bundle
        is not in the store or `draft.date` is before the champion's: a backfilled training never replaces a champion
        of a later date.
        """
        if draft.action == "rollback":
            raise UsageError("A rollback cannot be appended as such.", "Call `rollback`.")
        return self._append(
            draft, expected_champion, rollback_to=expected_champion.number if expected_champion else None
        )

    def rollback(
        self, *, reason: str, by: str, at: str, expected_number: int | None = None, comparison: JsonObject | None = None
    ) -> LogEntry:
        """Undo the latest promotion that has not been undone: the champion before it is champion again.

        As of its own logical date the undone bundle then never was champion. `expected_number` is the number of the champion that
        was looked at before deciding, `comparison` what it was decided by. Raises `UsageError` without a reason or a
        champion to go back to, `StoreError` when another one was promoted since, `BundleVerificationError` when the one
        before fails verification.
        """
        _require_reason(reason)
        current = self._require_current(expected_number)
        if current is None or current.rollback_to is None:
            raise UsageError(
                f"{self._store.url}: there is no earlier champion to go back to.", "Promote one by its id."
            )
        target = self._read_entry(current.rollback_to)
        fetch_verified(self._store, target.bundle)
        draft = LogEntryDraft(
            bundle=target.bundle,
            date=current.date,
            action="rollback",
            reason=reason,
            by=by,
            at=at,
            comparison=comparison,
        )
        return self._append(draft, current, rollback_to=target.rollback_to)

    def _require_current(self, expected_number: int | None) -> LogEntry | None:
        """The champion, which must still be the one of this number when one is given (0: none)."""
        current = self.current()
        if current is not None and expected_number is not None and current.number != expected_number:
            raise _promotion_conflict(current)
        return current

    def override(
        self, bundle_id: str, *, reason: str, by: str, at: str, expected_number: int | None = None
    ) -> LogEntry:
        """Make a bundle champion because a person says so, past the comparison and never past verification.

        `expected_number` as in `rollback`; 0 when there was no champion. Raises `StoreError` likewise, `UsageError` without a
        reason or for a bundle that is not there, `BundleVerificationError` for one that fails verification.
        """
        _require_reason(reason)
        current = self._require_current(expected_number)
        day = fetch_verified(self._store, bundle_id).manifest.date
        return self.append(
            LogEntryDraft(bundle=bundle_id, date=day, action="override", reason=reason, by=by, at=at), current
        )

    def was_rolled_back(self, bundle_id: str) -> bool:
        """Whether a person has rolled this bundle back. Running its job again must not bring it back by itself."""
        return any(entry.action == "rollback" and entry.previous == bundle_id for entry in self.entries())

    def training_by_refresh(self) -> dict[str, str]:
        """Of every refresh that was champion, the bundle that was trained, however many mornings before.

        Out of the log alone: the bundles themselves, whose manifests name their parents, may have been pruned.
        """
        trained = dict[str, str]()
        for entry in self.entries():
            if entry.action == "refresh" and entry.previous is not None:
                trained.setdefault(entry.bundle, trained.get(entry.previous, entry.previous))
        return trained

    def rollback_chain(self, steps: int) -> list[str]:
        """The champion's bundle and those that up to `steps` rollbacks would return to, in that order."""
        entry, bundle_ids = self.current(), list[str]()
        while entry is not None and len(bundle_ids) <= steps:
            bundle_ids.append(entry.bundle)
            entry = self.rollback_target(entry)
        return bundle_ids

    def _append(self, draft: LogEntryDraft, expected_champion: LogEntry | None, rollback_to: int | None) -> LogEntry:
        current = self.current()
        if current is not None and current.bundle == draft.bundle:
            return current
        if current is not None and (expected_champion is None or current.number != expected_champion.number):
            raise _promotion_conflict(current)
        day = draft.date
        if expected_champion is not None and day < expected_champion.date:
            if draft.action != "override":
                raise UsageError(
                    f"{draft.bundle} of {day} cannot replace {expected_champion.bundle}, champion from {expected_champion.date} on.",
                    "A backfilled bundle is kept, not promoted; a person can override with a reason.",
                )
            day = expected_champion.date
        if not self._store.has_bundle(draft.bundle):
            raise UsageError(
                f"{self._store.url} has no bundle {draft.bundle!r}.", "Write it there before promoting it."
            )
        entry = LogEntry(
            bundle=draft.bundle,
            date=day,
            action=draft.action,
            reason=draft.reason,
            by=draft.by,
            at=draft.at,
            comparison=draft.comparison,
            number=expected_champion.number + 1 if expected_champion else 1,
            previous=expected_champion.bundle if expected_champion else None,
            rollback_to=rollback_to,
        )
        return self._write_entry(entry)

    def _write_entry(self, entry: LogEntry) -> LogEntry:
        content = msgspec.json.format(msgspec.json.encode(entry, order="sorted"), indent=1) + b"\n"
        if not self._store.create_log(_entry_file_name(entry.number), content):
            winner = self._read_entry(entry.number)
            if winner.bundle != entry.bundle:
                raise _promotion_conflict(winner)
            return winner  # a twin promoted the same, or our own request was sent twice because its answer was lost
        return entry

    def _latest_number(self) -> int:
        matches = (_ENTRY_FILE_PATTERN.fullmatch(name) for name in self._store.log_file_names())
        return max((int(match[1]) for match in matches if match), default=0)

    def _read_entry(self, number: int) -> LogEntry:
        try:
            raw = self._store.read_log(_entry_file_name(number))
            entry_format = msgspec.json.decode(raw, type=FormatHeader).format
            if entry_format != LOG_FORMAT:
                raise StoreError(
                    f"{self._store.url}: champion/{_entry_file_name(number)} has format {entry_format}, expected {LOG_FORMAT}.",
                    "Use the preptime release that wrote it, or a newer one.",
                )
            entry = msgspec.json.decode(raw, type=LogEntry)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self._store.url}: champion/{_entry_file_name(number)} cannot be read: {error}.",
                "Entries are written whole; restore the file from a copy of the store.",
            ) from error
        if entry.number != number:
            raise StoreError(
                f"{self._store.url}: champion/{_entry_file_name(number)} says it is number {entry.number}."
            )
        return entry


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("No reason is given.", "Say why: it stays in the log of champions.")


def _promotion_conflict(winner: LogEntry) -> StoreError:
    return StoreError(
        f"Someone else promoted first: {winner.bundle} is champion number {winner.number} (by {winner.by}).",
        "Compare with the new champion and decide again.",
    )


def _entry_file_name(number: int) -> str:
    return f"{number:06d}.json"


def resolve_bundle_id(store: Store, bundle_id: str | None) -> str:
    """The bundle asked for, or the champion. Raises `UsageError` when neither is there."""
    if bundle_id is not None:
        if not store.has_bundle(bundle_id):
            raise UsageError(f"{store.url} has no bundle {bundle_id!r}.", "List them: preptime bundles list.")
        return bundle_id
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion yet.", "Train one (preptime train) or name a bundle.")
    return entry.bundle
