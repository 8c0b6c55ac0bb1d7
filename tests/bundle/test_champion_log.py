"""The log of champions: what is appended, what it says, and what it refuses."""

from __future__ import annotations

import datetime as dt
import errno
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from preptime.bundle.champion_log import Action, ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError, UsageError
from tests.bundle.factories import DAY, put_bundle, put_placeholder


class How(TypedDict):
    """Why, who and when."""

    reason: str
    by: str
    at: str


HOW = How(reason="better by 5 s", by="train", at="2015-06-17T05:00:00Z")
NEXT = DAY + dt.timedelta(days=1)
LATER = DAY + dt.timedelta(days=9)


def promoted(bundle: str, day: dt.date = DAY, action: Action = "promote", by: str = "train") -> LogEntryDraft:
    return LogEntryDraft(
        bundle=bundle,
        date=day,
        action=action,
        reason=HOW["reason"],
        by=by,
        at=HOW["at"],
        comparison={"mae": {"champion": 440.0, "challenger": 435.0}},
    )


def numbers(log: ChampionLog) -> list[tuple[int, str]]:
    return [(entry.number, entry.bundle) for entry in log.entries()]


def test_a_new_log_has_no_champion(store: Store) -> None:
    log = ChampionLog(store)
    assert log.current() is None
    assert log.as_of(DAY) is None
    assert log.entries() == []
    assert log.rollback_chain(3) == []


def test_entries_are_numbered_and_the_highest_is_the_champion(store: Store) -> None:
    log = ChampionLog(store)
    a, b = put_placeholder(store, DAY, "a"), put_placeholder(store, NEXT, "b")
    first = log.append(promoted(a), expected_champion=None)
    second = log.append(promoted(b, NEXT, "refresh"), expected_champion=first)

    assert store.log_file_names() == ["000001.json", "000002.json"]
    assert log.current() == second == ChampionLog(store).current()
    assert log.entries() == [first, second]
    assert (second.number, second.previous, second.action) == (2, a, "refresh")
    assert second.comparison == {"mae": {"champion": 440.0, "challenger": 435.0}}
    assert first.previous is None


def test_the_entries_of_a_date_are_found_among_earlier_and_later_ones(store: Store) -> None:
    log = ChampionLog(store)
    assert log.entries_of_date(DAY) == []
    entries = list[LogEntry]()
    for name, day in (("a", DAY), ("b", NEXT), ("c", NEXT), ("d", LATER)):
        draft = promoted(put_placeholder(store, day, name), day)
        entries.append(log.append(draft, expected_champion=entries[-1] if entries else None))
    assert log.entries_of_date(DAY) == entries[:1]
    assert log.entries_of_date(NEXT) == entries[1:3]
    assert log.entries_of_date(LATER) == entries[3:]
    assert log.entries_of_date(NEXT + dt.timedelta(days=1)) == []
    assert log.rollback_target(entries[2]) == entries[1]
    assert log.rollback_target(entries[0]) is None


def test_the_champion_as_of_a_day_goes_by_logical_date(store: Store) -> None:
    log = ChampionLog(store)
    a, b, c = (put_placeholder(store, day, name) for day, name in ((DAY, "a"), (LATER, "b"), (LATER, "c")))
    first = log.append(promoted(a), expected_champion=None)
    second = log.append(promoted(b, LATER), expected_champion=first)
    third = log.append(promoted(c, LATER), expected_champion=second)

    assert log.as_of(DAY - dt.timedelta(days=1)) is None
    assert log.as_of(DAY) == log.as_of(LATER - dt.timedelta(days=1)) == first
    assert log.as_of(LATER) == log.as_of(LATER + dt.timedelta(days=400)) == third


def test_a_backfilled_training_never_replaces_a_champion_of_a_later_date(store: Store) -> None:
    log = ChampionLog(store)
    late, backfilled = put_placeholder(store, LATER, "a"), put_placeholder(store, DAY, "b")
    champion = log.append(promoted(late, LATER), expected_champion=None)
    actions: tuple[Action, ...] = ("promote", "refresh")
    for action in actions:
        with pytest.raises(UsageError, match=f"{backfilled} of 2015-06-17 cannot replace {late}"):
            log.append(promoted(backfilled, DAY, action), expected_champion=champion)
    assert log.entries() == [champion]


def test_a_person_can_override_with_an_older_bundle_from_now_on(store: Store) -> None:
    log = ChampionLog(store)
    late, old = put_placeholder(store, LATER, "a"), put_placeholder(store, DAY, "b")
    champion = log.append(promoted(late, LATER), expected_champion=None)
    override = log.append(promoted(old, DAY, "override"), expected_champion=champion)
    assert override.date == LATER
    assert log.as_of(DAY) is None
    assert log.as_of(LATER) == log.current() == override


def test_promoting_the_champion_again_changes_nothing(store: Store) -> None:
    log = ChampionLog(store)
    a = put_placeholder(store, DAY, "a")
    first = log.append(promoted(a), expected_champion=None)
    assert log.append(promoted(a), expected_champion=first) == first
    assert log.append(promoted(a, by="someone else"), expected_champion=None) == first
    assert log.entries() == [first]


def test_a_decision_against_a_champion_that_is_no_more_is_refused(store: Store) -> None:
    log = ChampionLog(store)
    a, b, c = (put_placeholder(store, DAY, name) for name in "abc")
    first = log.append(promoted(a), expected_champion=None)
    log.append(promoted(b), expected_champion=first)
    for stale in (first, None):
        with pytest.raises(StoreError, match=f"Someone else promoted first: {b} is champion number 2"):
            log.append(promoted(c), expected_champion=stale)
    assert numbers(log) == [(1, a), (2, b)]


def test_a_bundle_that_is_not_in_the_store_is_not_promoted(store: Store) -> None:
    with pytest.raises(UsageError, match="has no bundle"):
        ChampionLog(store).append(promoted("2015-06-17-000000000000"), expected_champion=None)
    assert store.log_file_names() == []


def test_rollbacks_go_back_one_promotion_at_a_time_and_skip_what_was_undone(store: Store) -> None:
    log = ChampionLog(store)
    a, b, c = (put_bundle(store, DAY, shift) for shift in (0.0, 1.0, 2.0))
    first = log.append(promoted(a), expected_champion=None)
    log.append(promoted(b), expected_champion=first)
    assert log.rollback(**HOW).bundle == a
    undone = log.current()
    assert undone is not None
    assert (undone.action, undone.previous, undone.date) == ("rollback", b, DAY)
    log.append(promoted(c), expected_champion=undone)
    assert log.rollback_chain(5) == [c, a]
    assert log.rollback_chain(0) == [c]

    assert log.rollback(**HOW).bundle == a
    with pytest.raises(UsageError, match="no earlier champion"):
        log.rollback(**HOW)
    assert numbers(log) == [(1, a), (2, b), (3, a), (4, c), (5, a)]
    assert [log.was_rolled_back(bundle) for bundle in (a, b, c)] == [False, True, True]


def test_several_rollbacks_in_a_row(store: Store) -> None:
    log = ChampionLog(store)
    days = [DAY + dt.timedelta(days=day) for day in range(4)]
    bundles = [put_bundle(store, day) for day in days]
    entry: LogEntry | None = None
    for bundle, day in zip(bundles, days, strict=True):
        entry = log.append(promoted(bundle, day), expected_champion=entry)
    assert log.rollback_chain(3) == bundles[::-1]
    assert [log.rollback(**HOW).bundle for _ in range(3)] == bundles[2::-1]
    assert [entry.date for entry in log.entries()[4:]] == [days[3]] * 3
    as_of = [log.as_of(day) for day in days]
    assert [entry.bundle for entry in as_of if entry] == [*bundles[:3], bundles[0]]


def test_a_rollback_never_goes_back_to_a_bundle_that_fails_verification(folder_store: Store, tmp_path: Path) -> None:
    log = ChampionLog(folder_store)
    a, b = put_bundle(folder_store), put_bundle(folder_store, shift=1.0)
    champion = log.append(promoted(b), expected_champion=log.append(promoted(a), expected_champion=None))
    model = folder_store.fetch(a) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(BundleVerificationError, match=r"model\.onnx"):
        log.rollback(**HOW)
    assert log.current() == champion
    with pytest.raises(UsageError, match="Call `rollback`"):
        log.append(promoted(a, action="rollback"), expected_champion=champion)


def test_nothing_but_entries_is_read(folder_store: Store, tmp_path: Path) -> None:
    log = ChampionLog(folder_store)
    first = log.append(promoted(put_placeholder(folder_store, DAY, "a")), expected_champion=None)
    folder = tmp_path / "models" / "champion"
    for name in ("README.md", "000002.json.bak", ".tmp-0123", "2.json"):
        (folder / name).write_text("not an entry", encoding="utf-8")
    assert log.current() == first


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames exclusively and needs no links")
def test_a_file_system_without_hard_links_is_refused(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(final: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    bundle = put_placeholder(folder_store, DAY, "a")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "hardlink_to", refuse)
        with pytest.raises(StoreError, match="no hard links, which the champion log needs"):
            ChampionLog(folder_store).append(promoted(bundle), expected_champion=None)
    assert ChampionLog(folder_store).current() is None
    assert list((Path(folder_store.url) / "champion").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", '{"number": 1}'])
def test_a_damaged_entry_is_named_not_skipped(folder_store: Store, tmp_path: Path, content: str) -> None:
    log = ChampionLog(folder_store)
    first = log.append(promoted(put_placeholder(folder_store, DAY, "a")), expected_champion=None)
    (tmp_path / "models" / "champion" / "000002.json").write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=r"champion/000002\.json cannot be read"):
        log.current()
    (tmp_path / "models" / "champion" / "000002.json").write_bytes(folder_store.read_log("000001.json"))
    with pytest.raises(StoreError, match="contains entry 1; expected entry 2"):
        log.current()
    newer = folder_store.read_log("000001.json").replace(b'"format": 1', b'"format": 2, "mood": "good"')
    (tmp_path / "models" / "champion" / "000002.json").write_bytes(newer)
    with pytest.raises(StoreError, match=r"000002\.json has format 2, expected 1"):
        log.current()
    (tmp_path / "models" / "champion" / "000002.json").unlink()
    assert log.current() == first


def test_a_person_overrides_what_they_saw_and_nothing_else(store: Store) -> None:
    log = ChampionLog(store)
    first, second = put_bundle(store, DAY), put_bundle(store, DAY, shift=1.0)
    by_hand = How(reason="riders wait", by="anna", at=HOW["at"])
    entry = log.override(first, **by_hand, expected_number=0)
    assert (entry.number, entry.action, entry.by, entry.reason) == (1, "override", "anna", "riders wait")
    assert log.override(second, **by_hand, expected_number=1).rollback_to == 1
    with pytest.raises(StoreError, match="Someone else promoted first"):
        log.override(first, **by_hand, expected_number=1)
    with pytest.raises(StoreError, match="Someone else promoted first"):
        log.rollback(**by_hand, expected_number=1)
    assert log.rollback(**by_hand, expected_number=2).bundle == first
    assert numbers(log) == [(1, first), (2, second), (3, first)]


def test_a_person_gives_a_reason(store: Store) -> None:
    log = ChampionLog(store)
    bundle = put_bundle(store)
    with pytest.raises(UsageError, match="No reason is given"):
        log.override(bundle, reason=" ", by="anna", at="")
    with pytest.raises(UsageError, match="No reason is given"):
        log.rollback(reason="", by="anna", at="")
    assert log.entries() == []
