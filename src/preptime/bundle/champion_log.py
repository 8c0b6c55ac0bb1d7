"""The champion log: an append-only record of promotions. For the design, see docs/decisions/0007-promotion-log.md."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from preptime.bundle.isolated_check import check_bundle
from preptime.bundle.manifest import FormatHeader, JsonObject, Manifest, bundle_date
from preptime.bundle.store import Store
from preptime.errors import StoreError, UsageError

Action = Literal["promote", "refresh", "override", "rollback"]

LOG_FORMAT = 1
"""The entry format that this code writes and reads. To change it, see docs/bundle-format.md, "Changing the format"."""

MAX_DAYS_AHEAD = 1
"""How far the date of a promotion can be after today in UTC. In the Pacific, it's already tomorrow."""

_CONTROL_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_BIDIRECTIONAL_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which a terminal or browser shows other characters."""


class LogEntryDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of an entry that the caller provides."""

    bundle: str
    date: date
    """Logical date: the bundle is the champion as of this date."""
    action: Action
    reason: str
    by: str
    at: str
    """UTC time of the promotion as text, from the caller. No decision depends on it."""
    comparison: JsonObject | None = None


class LogEntry(LogEntryDraft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One promotion in the log."""

    format: int = LOG_FORMAT
    number: int
    previous: str | None
    """The champion that this promotion replaced."""
    rollback_to: int | None
    """Number of the entry whose bundle a rollback of this promotion restores."""


@dataclass(frozen=True, slots=True)
class LogListing:
    """The readable entries of a log, first to last, and the numbers without a file."""

    entries: tuple[LogEntry, ...]
    missing: tuple[int, ...]


def training_by_refresh(entries: Iterable[LogEntry]) -> dict[str, str]:
    """Return the trained bundle of each refresh that was champion, by the id of the refresh. First entries first."""
    trained = dict[str, str]()
    for entry in entries:
        if entry.action == "refresh" and entry.previous is not None:
            trained.setdefault(entry.bundle, trained.get(entry.previous, entry.previous))
    return trained


def utc_today() -> date:
    """Return the current date in UTC."""
    return datetime.now(UTC).date()


class ChampionLog:
    """The entries 1, 2, 3, and so on. The champion is the bundle of the entry with the highest number.

    Numbers increase, and logical dates never decrease.
    """

    def __init__(
        self,
        store: Store,
        *,
        check: Callable[[Store, str], Manifest] = check_bundle,
        today: Callable[[], date] = utc_today,
    ) -> None:
        """Return the log of a store.

        Args:
            store: The store.
            check: Checks a bundle before `override` and `rollback` make it the champion.
            today: Returns the current date, which limits the date of a promotion.
        """
        self._store = store
        self._check = check
        self._today = today

    def current(self) -> LogEntry | None:
        """Return the champion's entry, or None before the first promotion."""
        number = self._latest_number()
        return self._read_entry(number) if number else None

    def as_of(self, day: date) -> LogEntry | None:
        """Return the champion's entry as of `day`: the last one with that logical date or an earlier one, or None."""
        entries = (self._read_entry(number) for number in range(self._latest_number(), 0, -1))
        return next((entry for entry in entries if entry.date <= day), None)

    def entries_of_date(self, day: date) -> list[LogEntry]:
        """Return the entries of the logical date `day`, first to last."""
        entries = list[LogEntry]()
        for number in range(self._latest_number(), 0, -1):
            entry = self._read_entry(number)
            if entry.date < day:
                break
            if entry.date == day:
                entries.append(entry)
        return entries[::-1]

    def rollback_target(self, entry: LogEntry) -> LogEntry | None:
        """Return the entry whose bundle a rollback of `entry` restores, or None."""
        return self._read_entry(entry.rollback_to) if entry.rollback_to else None

    def entries(self) -> list[LogEntry]:
        """Return every entry, first to last. Raises `StoreError` if one is missing."""
        return [self._read_entry(number) for number in range(1, self._latest_number() + 1)]

    def read_all(self) -> LogListing:
        """Return the entries, and the numbers whose files are missing."""
        numbers = self._numbers()
        missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        return LogListing(tuple(self._read_entry(number) for number in numbers), tuple(missing))

    def repair(self, *, by: str, at: str) -> list[LogEntry]:
        """Write an entry for each missing number, and return them. Existing entries don't change.

        The next entry states which bundle the missing entry made the champion. If a rollback of the entry before it
        restores this bundle, the new entry is a rollback, otherwise an override. Its reason states this assumption.
        It has the date of the entry before it, or its own bundle's date if it's the first.

        Args:
            by: Who, for the log.
            at: UTC time as text, for the log.

        Raises:
            StoreError: Two adjacent entries are missing, so that a bundle isn't known.
        """
        listing = self.read_all()
        by_number = {entry.number: entry for entry in listing.entries}
        repaired = list[LogEntry]()
        for number in listing.missing:
            before, after = by_number.get(number - 1), by_number.get(number + 1)
            if after is None or after.previous is None or (before is None and number > 1):
                raise self._missing_entry_error(number)
            restored = None if before is None else _find_restored(by_number, before, after)
            assumption = "it was an override" if restored is None else f"it was a rollback to entry {restored.number}"
            entry = LogEntry(
                bundle=after.previous,
                date=min(bundle_date(after.previous), after.date) if before is None else before.date,
                action="override" if restored is None else "rollback",
                reason=f"Repaired: the file of entry {number} was missing. Assumption: {assumption}.",
                by=by,
                at=at,
                number=number,
                previous=None if before is None else before.bundle,
                rollback_to=restored.rollback_to if restored else before.number if before else None,
            )
            by_number[number] = self._write_entry(entry)
            repaired.append(by_number[number])
        return repaired

    def append(self, draft: LogEntryDraft, expected_champion: LogEntry | None) -> LogEntry:
        """Make a bundle the champion and return the entry.

        If the bundle is the champion already, return its entry without writing a new one. An override takes effect no
        earlier than the champion that it replaces.

        Args:
            draft: The promotion.
            expected_champion: The champion that the decision is based on.

        Raises:
            StoreError: Another promotion came first.
            UsageError: The bundle isn't in the store, or `draft.date` is before the champion's date. A backfilled
                training never replaces a champion of a later date.
        """
        if draft.action == "rollback":
            raise UsageError('`append` doesn\'t accept the action "rollback".', "Call `rollback`.")
        return self._append(
            draft, expected_champion, rollback_to=expected_champion.number if expected_champion else None
        )

    def rollback(
        self, *, reason: str, by: str, at: str, expected_number: int | None = None, comparison: JsonObject | None = None
    ) -> LogEntry:
        """Undo the latest promotion that hasn't been undone yet, and return the new entry.

        The previous champion becomes the champion again. As of its logical date, the undone bundle then isn't the
        champion.

        Args:
            reason: Why, for the log.
            by: Who, for the log.
            at: UTC time as text, for the log.
            expected_number: Number of the champion that the decision is based on.
            comparison: The comparison that the decision is based on.

        Raises:
            UsageError: The reason is empty, or there is no earlier champion.
            StoreError: Another promotion came first.
            BundleVerificationError: The previous champion fails verification.
        """
        _require_reason(reason)
        current = self._require_current(expected_number)
        if current is None or current.rollback_to is None:
            raise UsageError(
                f"{self._store.url}: there is no earlier champion to go back to.",
                "Promote a bundle: preptime bundles promote BUNDLE.",
            )
        target = self._read_entry(current.rollback_to)
        self._check(self._store, target.bundle)
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
        """Return the champion. Raises `StoreError` if `expected_number` is given (0: no champion) and differs."""
        current = self.current()
        if current is not None and expected_number is not None and current.number != expected_number:
            raise _promotion_conflict(current)
        return current

    def override(
        self, bundle_id: str, *, reason: str, by: str, at: str, expected_number: int | None = None
    ) -> LogEntry:
        """Make a bundle the champion without a comparison, but with verification, and return the new entry.

        Args:
            bundle_id: A bundle of the store.
            reason: Why, for the log.
            by: Who, for the log.
            at: UTC time as text, for the log.
            expected_number: Number of the champion that the decision is based on. 0: there was no champion.

        Raises:
            UsageError: The reason is empty, or the store doesn't have the bundle.
            StoreError: Another promotion came first.
            BundleVerificationError: The bundle fails verification.
        """
        _require_reason(reason)
        current = self._require_current(expected_number)
        day = self._check(self._store, bundle_id).date
        return self.append(
            LogEntryDraft(bundle=bundle_id, date=day, action="override", reason=reason, by=by, at=at), current
        )

    def was_rolled_back(self, bundle_id: str) -> bool:
        """Return whether this bundle was rolled back, without a later promotion with a reason.

        A job that runs again must not promote such a bundle.
        """
        decisions = [
            entry.action == "rollback"
            for entry in self.entries()
            if (entry.action == "rollback" and entry.previous == bundle_id)
            or (entry.action == "override" and entry.bundle == bundle_id)
        ]
        return bool(decisions) and decisions[-1]

    def training_by_refresh(self) -> dict[str, str]:
        """Return the trained bundle of each refresh that was champion, by the id of the refresh.

        It reads only the log, because the bundles, whose manifests name their parents, may have been pruned.
        """
        return training_by_refresh(self.entries())

    def rollback_chain(self, steps: int) -> list[str]:
        """Return the champion's bundle, and the bundles that up to `steps` rollbacks would restore, in that order."""
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
        _require_printable("reason", draft.reason)
        _require_printable("name of the user", draft.by)
        day = draft.date
        if draft.action != "rollback":
            self._require_no_future_date(draft)
        if expected_champion is not None and day < expected_champion.date:
            if draft.action != "override":
                raise UsageError(
                    f"{draft.bundle} of {day} cannot replace {expected_champion.bundle}, "
                    f"the champion as of {expected_champion.date}.",
                    "The bundle is stored, but not promoted. To promote it: preptime bundles promote BUNDLE.",
                )
            day = expected_champion.date
        if not self._store.has_bundle(draft.bundle):
            raise UsageError(
                f"{self._store.url} has no bundle {draft.bundle!r}.", "Write it to the store before you promote it."
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

    def _require_no_future_date(self, draft: LogEntryDraft) -> None:
        today = self._today()
        if draft.date > today + timedelta(days=MAX_DAYS_AHEAD):
            raise UsageError(
                f"{draft.bundle} is dated {draft.date}, but today is {today} (UTC). A champion of a future date would "
                "block the promotions of all earlier days.",
                f"Train or refresh with --date {today} or earlier, or correct the clock of this machine.",
            )

    def _write_entry(self, entry: LogEntry) -> LogEntry:
        content = msgspec.json.format(msgspec.json.encode(entry, order="sorted"), indent=1) + b"\n"
        if not self._store.create_log(_entry_file_name(entry.number), content):
            winner = self._read_entry(entry.number)
            if winner.bundle != entry.bundle:
                raise _promotion_conflict(winner)
            # Another process promoted the same bundle, or this request was repeated because its response was lost.
            return winner
        return entry

    def _latest_number(self) -> int:
        return max(self._numbers(), default=0)

    def _numbers(self) -> list[int]:
        return [int(name.removesuffix(".json")) for name in self._store.log_file_names()]

    def _missing_entry_error(self, number: int) -> StoreError:
        return StoreError(
            f"{self._store.url}: the champion log has a gap: champion/{_entry_file_name(number)} is missing.",
            'Restore the file from a backup of the store, or see docs/bundle-format.md, "Repairing the log".',
        )

    def _read_entry(self, number: int) -> LogEntry:
        try:
            raw = self._store.read_log(_entry_file_name(number))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise self._missing_entry_error(number) from error
            raise
        try:
            entry_format = msgspec.json.decode(raw, type=FormatHeader).format
            if entry_format != LOG_FORMAT:
                raise StoreError(
                    f"{self._store.url}: champion/{_entry_file_name(number)} has format {entry_format}, "
                    f"expected {LOG_FORMAT}.",
                    "Use the preptime release that wrote it, or a newer one.",
                )
            entry = msgspec.json.decode(raw, type=LogEntry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(
                f"{self._store.url}: champion/{_entry_file_name(number)} cannot be read: {error}.",
                "Restore the file from a backup of the store.",
            ) from error
        if entry.number != number:
            raise StoreError(
                f"{self._store.url}: champion/{_entry_file_name(number)} contains entry {entry.number}; "
                f"expected entry {number}.",
                "Restore the file from a backup of the store.",
            )
        return entry


def resolve_bundle_id(store: Store, bundle_id: str | None) -> str:
    """Return `bundle_id`, or the champion's id if None. Raises `UsageError` if the store has no such bundle."""
    if bundle_id is not None:
        if not store.has_bundle(bundle_id):
            list_bundles = f"preptime bundles list {store.option}"
            raise UsageError(f"{store.url} has no bundle {bundle_id!r}.", f"To list its bundles: {list_bundles}.")
        return bundle_id
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion yet.", "Run `preptime train`, or specify a bundle.")
    return entry.bundle


def _find_restored(by_number: Mapping[int, LogEntry], before: LogEntry, after: LogEntry) -> LogEntry | None:
    """Return the entry that a missing entry restored, if a rollback fits to the entries before and after it."""
    restored = by_number.get(before.rollback_to or 0)
    if restored is None or restored.bundle != after.previous:
        return None
    if after.action == "rollback":  # it states what the missing entry's rollback restores
        target = by_number.get(restored.rollback_to or 0)
        if target is None or (after.bundle, after.rollback_to) != (target.bundle, target.rollback_to):
            return None
    return restored


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("No reason is given.", "Enter a reason. The champion log keeps it.")
    _require_printable("reason", reason)


def _require_printable(name: str, text: str) -> None:
    """Raise `UsageError` if the text has a character that controls a terminal."""
    for position, character in enumerate(text, 1):
        if unicodedata.category(character) in _CONTROL_CATEGORIES or character in _BIDIRECTIONAL_CONTROLS:
            raise UsageError(
                f"The {name} has the control character U+{ord(character):04X} at position {position}.",
                "Write it as one line of printable text.",
            )


def _promotion_conflict(winner: LogEntry) -> StoreError:
    return StoreError(
        f"Someone else promoted first: {winner.bundle} is champion number {winner.number} (by {winner.by}).",
        "Compare the bundle with the new champion, and decide again.",
    )


def _entry_file_name(number: int) -> str:
    return f"{number:06d}.json"
