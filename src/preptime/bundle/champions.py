"""The append-only log of champions. Why it is made this way: docs/decisions/0007-promotion-log.md."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

import msgspec

from preptime.bundle.bundle import verify
from preptime.bundle.manifest import Document, Head
from preptime.bundle.store import Store
from preptime.errors import StoreError, UsageError

Action = Literal["promote", "refresh", "override", "rollback"]

LOG_FORMAT = 1
"""The format of an entry this code writes and reads: docs/bundle-format.md, "Changing the format"."""

_ENTRY = re.compile(r"(\d{6})\.json")


class EntryDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the promoting side knows of a promotion."""

    bundle: str
    date: date
    """Logical date: from this morning on, the bundle is the champion."""
    action: Action
    reason: str
    by: str
    at: str
    """UTC time of the promotion as text, told by the caller; nothing is decided by it."""
    comparison: Document | None = None


class Entry(EntryDraft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One promotion, as it stands in the log."""

    format: int = LOG_FORMAT
    number: int
    previous: str | None
    """The champion that this one replaced."""
    returns_to: int | None
    """Number of the entry that a rollback of this one goes back to."""


class ChampionLog:
    """Entries 1, 2, 3, …; the champion is the highest-numbered. Numbers and logical dates only ever go up."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def current(self) -> Entry | None:
        """The champion, or nothing before the first promotion."""
        number = self._last_number()
        return self._read(number) if number else None

    def as_of(self, day: date) -> Entry | None:
        """The champion as of the logical date `day`: the highest-numbered entry of that date or an earlier one."""
        for number in range(self._last_number(), 0, -1):
            entry = self._read(number)
            if entry.date <= day:
                return entry
        return None

    def of_date(self, day: date) -> list[Entry]:
        """The entries of the logical date `day`, first to last. Reads none of an earlier date but the last."""
        found = list[Entry]()
        for number in range(self._last_number(), 0, -1):
            entry = self._read(number)
            if entry.date < day:
                break
            if entry.date == day:
                found.append(entry)
        return found[::-1]

    def before(self, entry: Entry) -> Entry | None:
        """The entry that a rollback of this one goes back to."""
        return self._read(entry.returns_to) if entry.returns_to else None

    def history(self) -> list[Entry]:
        """Every entry, first to last."""
        return [self._read(number) for number in range(1, self._last_number() + 1)]

    def append(self, draft: EntryDraft, after: Entry | None) -> Entry:
        """Make a bundle the champion. `after` is the champion that the decision was made against.

        A bundle that already is the champion stays it, without a new entry. An override takes effect no earlier than
        the champion it replaces. Raises `StoreError` when another promotion came first, `UsageError` when the bundle
        is not in the store or `draft.date` is before the champion's: a backfilled training never replaces a champion
        of a later date.
        """
        if draft.action == "rollback":
            raise UsageError("A rollback cannot be appended as such.", "Call `rollback`.")
        return self._append(draft, after, returns_to=after.number if after else None)

    def rollback(
        self, *, reason: str, by: str, at: str, seen: int | None = None, comparison: Document | None = None
    ) -> Entry:
        """Undo the latest promotion that has not been undone: the champion before it is champion again.

        As of its own logical date the undone bundle then never was champion. `seen` is the number of the champion that
        was looked at before deciding, `comparison` what it was decided by. Raises `UsageError` without a reason or a
        champion to go back to, `StoreError` when another one was promoted since, `RefusedBundleError` when the one
        before fails verification.
        """
        _require_reason(reason)
        current = self._seen(seen)
        if current is None or current.returns_to is None:
            raise UsageError(
                f"{self._store.url}: there is no earlier champion to go back to.", "Promote one by its id."
            )
        target = self._read(current.returns_to)
        verify(self._store, target.bundle)
        draft = EntryDraft(
            bundle=target.bundle,
            date=current.date,
            action="rollback",
            reason=reason,
            by=by,
            at=at,
            comparison=comparison,
        )
        return self._append(draft, current, returns_to=target.returns_to)

    def _seen(self, number: int | None) -> Entry | None:
        """The champion, which must still be the one of this number when one is given (0: none)."""
        current = self.current()
        if current is not None and number is not None and current.number != number:
            raise _lost(current)
        return current

    def override(self, bundle_id: str, *, reason: str, by: str, at: str, seen: int | None = None) -> Entry:
        """Make a bundle champion because a person says so, past the comparison and never past verification.

        `seen` as in `rollback`; 0 when there was no champion. Raises `StoreError` likewise, `UsageError` without a
        reason or for a bundle that is not there, `RefusedBundleError` for one that fails verification.
        """
        _require_reason(reason)
        current = self._seen(seen)
        day = verify(self._store, bundle_id).manifest.date
        return self.append(
            EntryDraft(bundle=bundle_id, date=day, action="override", reason=reason, by=by, at=at), current
        )

    def was_undone(self, bundle_id: str) -> bool:
        """Whether a person has rolled this bundle back. Running its job again must not bring it back by itself."""
        return any(entry.action == "rollback" and entry.previous == bundle_id for entry in self.history())

    def trainings(self) -> dict[str, str]:
        """Of every refresh that was champion, the bundle that was trained, however many mornings before.

        Out of the log alone: the bundles themselves, whose manifests name their parents, may have been pruned.
        """
        found = dict[str, str]()
        for entry in self.history():
            if entry.action == "refresh" and entry.previous is not None:
                found.setdefault(entry.bundle, found.get(entry.previous, entry.previous))
        return found

    def reachable(self, steps: int) -> list[str]:
        """The champion's bundle and those that up to `steps` rollbacks would return to, in that order."""
        entry, found = self.current(), list[str]()
        while entry is not None and len(found) <= steps:
            found.append(entry.bundle)
            entry = self.before(entry)
        return found

    def _append(self, draft: EntryDraft, after: Entry | None, returns_to: int | None) -> Entry:
        current = self.current()
        if current is not None and current.bundle == draft.bundle:
            return current
        if current is not None and (after is None or current.number != after.number):
            raise _lost(current)
        day = draft.date
        if after is not None and day < after.date:
            if draft.action != "override":
                raise UsageError(
                    f"{draft.bundle} of {day} cannot replace {after.bundle}, champion from {after.date} on.",
                    "A backfilled bundle is kept, not promoted; a person can override with a reason.",
                )
            day = after.date
        if not self._store.has(draft.bundle):
            raise UsageError(
                f"{self._store.url} has no bundle {draft.bundle!r}.", "Write it there before promoting it."
            )
        entry = Entry(
            bundle=draft.bundle,
            date=day,
            action=draft.action,
            reason=draft.reason,
            by=draft.by,
            at=draft.at,
            comparison=draft.comparison,
            number=after.number + 1 if after else 1,
            previous=after.bundle if after else None,
            returns_to=returns_to,
        )
        return self._create(entry)

    def _create(self, entry: Entry) -> Entry:
        content = msgspec.json.format(msgspec.json.encode(entry, order="sorted"), indent=1) + b"\n"
        if not self._store.create_log(_name(entry.number), content):
            first = self._read(entry.number)
            if first.bundle != entry.bundle:
                raise _lost(first)
            return first  # a twin promoted the same, or our own request was sent twice because its answer was lost
        return entry

    def _last_number(self) -> int:
        matches = (_ENTRY.fullmatch(name) for name in self._store.log_names())
        return max((int(match[1]) for match in matches if match), default=0)

    def _read(self, number: int) -> Entry:
        try:
            raw = self._store.read_log(_name(number))
            found = msgspec.json.decode(raw, type=Head).format
            if found != LOG_FORMAT:
                raise StoreError(
                    f"{self._store.url}: champion/{_name(number)} has format {found}, expected {LOG_FORMAT}.",
                    "Use the preptime release that wrote it, or a newer one.",
                )
            entry = msgspec.json.decode(raw, type=Entry)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self._store.url}: champion/{_name(number)} cannot be read: {error}.",
                "Entries are written whole; restore the file from a copy of the store.",
            ) from error
        if entry.number != number:
            raise StoreError(f"{self._store.url}: champion/{_name(number)} says it is number {entry.number}.")
        return entry


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("No reason is given.", "Say why: it stays in the log of champions.")


def _lost(first: Entry) -> StoreError:
    return StoreError(
        f"Someone else promoted first: {first.bundle} is champion number {first.number} (by {first.by}).",
        "Compare with the new champion and decide again.",
    )


def _name(number: int) -> str:
    return f"{number:06d}.json"


def chosen(store: Store, bundle_id: str | None) -> str:
    """The bundle asked for, or the champion. Raises `UsageError` when neither is there."""
    if bundle_id is not None:
        if not store.has(bundle_id):
            raise UsageError(f"{store.url} has no bundle {bundle_id!r}.", "List them: preptime bundles list.")
        return bundle_id
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion yet.", "Train one (preptime train) or name a bundle.")
    return entry.bundle
