"""The champion log: appending, reading, rolling back, and errors."""

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
from tests.bundle.factories import DAY, damage_remote_bundle, put_bundle, put_placeholder, remote_store


class Audit(TypedDict):
    """Why, who, and when."""

    reason: str
    by: str
    at: str


AUDIT = Audit(reason="better by 5 s", by="train", at="2015-06-17T05:00:00Z")
NEXT_DAY = DAY + dt.timedelta(days=1)
LATER_DAY = DAY + dt.timedelta(days=9)


def promotion_draft(bundle: str, day: dt.date = DAY, action: Action = "promote", by: str = "train") -> LogEntryDraft:
    return LogEntryDraft(
        bundle=bundle,
        date=day,
        action=action,
        reason=AUDIT["reason"],
        by=by,
        at=AUDIT["at"],
        comparison={"mae": {"champion": 440.0, "challenger": 435.0}},
    )


def numbered_bundles(log: ChampionLog) -> list[tuple[int, str]]:
    return [(entry.number, entry.bundle) for entry in log.entries()]


def test_champion_log_new_has_no_champion(store: Store) -> None:
    log = ChampionLog(store)
    assert log.current() is None
    assert log.as_of(DAY) is None
    assert log.entries() == []
    assert log.rollback_chain(3) == []


def test_append_numbers_entries_and_highest_is_champion(store: Store) -> None:
    log = ChampionLog(store)
    a, b = put_placeholder(store, DAY, "a"), put_placeholder(store, NEXT_DAY, "b")
    first = log.append(promotion_draft(a), expected_champion=None)
    second = log.append(promotion_draft(b, NEXT_DAY, "refresh"), expected_champion=first)

    assert store.log_file_names() == ["000001.json", "000002.json"]
    assert log.current() == second == ChampionLog(store).current()
    assert log.entries() == [first, second]
    assert (second.number, second.previous, second.action) == (2, a, "refresh")
    assert second.comparison == {"mae": {"champion": 440.0, "challenger": 435.0}}
    assert first.previous is None


def test_entries_of_date_returns_only_that_date(store: Store) -> None:
    log = ChampionLog(store)
    assert log.entries_of_date(DAY) == []
    entries = list[LogEntry]()
    for name, day in (("a", DAY), ("b", NEXT_DAY), ("c", NEXT_DAY), ("d", LATER_DAY)):
        draft = promotion_draft(put_placeholder(store, day, name), day)
        entries.append(log.append(draft, expected_champion=entries[-1] if entries else None))
    assert log.entries_of_date(DAY) == entries[:1]
    assert log.entries_of_date(NEXT_DAY) == entries[1:3]
    assert log.entries_of_date(LATER_DAY) == entries[3:]
    assert log.entries_of_date(NEXT_DAY + dt.timedelta(days=1)) == []
    assert log.rollback_target(entries[2]) == entries[1]
    assert log.rollback_target(entries[0]) is None


def test_as_of_uses_logical_date(store: Store) -> None:
    log = ChampionLog(store)
    a, b, c = (put_placeholder(store, day, name) for day, name in ((DAY, "a"), (LATER_DAY, "b"), (LATER_DAY, "c")))
    first = log.append(promotion_draft(a), expected_champion=None)
    second = log.append(promotion_draft(b, LATER_DAY), expected_champion=first)
    third = log.append(promotion_draft(c, LATER_DAY), expected_champion=second)

    assert log.as_of(DAY - dt.timedelta(days=1)) is None
    assert log.as_of(DAY) == log.as_of(LATER_DAY - dt.timedelta(days=1)) == first
    assert log.as_of(LATER_DAY) == log.as_of(LATER_DAY + dt.timedelta(days=400)) == third


def test_append_backfilled_bundle_before_champion_raises(store: Store) -> None:
    log = ChampionLog(store)
    late, backfilled = put_placeholder(store, LATER_DAY, "a"), put_placeholder(store, DAY, "b")
    champion = log.append(promotion_draft(late, LATER_DAY), expected_champion=None)
    actions: tuple[Action, ...] = ("promote", "refresh")
    for action in actions:
        with pytest.raises(UsageError, match=f"{backfilled} of 2015-06-17 cannot replace {late}"):
            log.append(promotion_draft(backfilled, DAY, action), expected_champion=champion)
    assert log.entries() == [champion]


def test_append_override_with_older_bundle_takes_effect_now(store: Store) -> None:
    log = ChampionLog(store)
    late, old = put_placeholder(store, LATER_DAY, "a"), put_placeholder(store, DAY, "b")
    champion = log.append(promotion_draft(late, LATER_DAY), expected_champion=None)
    override = log.append(promotion_draft(old, DAY, "override"), expected_champion=champion)
    assert override.date == LATER_DAY
    assert log.as_of(DAY) is None
    assert log.as_of(LATER_DAY) == log.current() == override


def test_append_champion_again_changes_nothing(store: Store) -> None:
    log = ChampionLog(store)
    a = put_placeholder(store, DAY, "a")
    first = log.append(promotion_draft(a), expected_champion=None)
    assert log.append(promotion_draft(a), expected_champion=first) == first
    assert log.append(promotion_draft(a, by="someone else"), expected_champion=None) == first
    assert log.entries() == [first]


def test_append_with_outdated_champion_raises(store: Store) -> None:
    log = ChampionLog(store)
    a, b, c = (put_placeholder(store, DAY, name) for name in "abc")
    first = log.append(promotion_draft(a), expected_champion=None)
    log.append(promotion_draft(b), expected_champion=first)
    for stale in (first, None):
        with pytest.raises(StoreError, match=f"Someone else promoted first: {b} is champion number 2"):
            log.append(promotion_draft(c), expected_champion=stale)
    assert numbered_bundles(log) == [(1, a), (2, b)]


def test_append_unknown_bundle_raises(store: Store) -> None:
    with pytest.raises(UsageError, match="has no bundle"):
        ChampionLog(store).append(promotion_draft("2015-06-17-000000000000"), expected_champion=None)
    assert store.log_file_names() == []


def test_rollback_skips_promotions_that_were_undone(store: Store) -> None:
    log = ChampionLog(store)
    a, b, c = (put_bundle(store, DAY, shift) for shift in (0.0, 1.0, 2.0))
    first = log.append(promotion_draft(a), expected_champion=None)
    log.append(promotion_draft(b), expected_champion=first)
    assert log.rollback(**AUDIT).bundle == a
    undone = log.current()
    assert undone is not None
    assert (undone.action, undone.previous, undone.date) == ("rollback", b, DAY)
    log.append(promotion_draft(c), expected_champion=undone)
    assert log.rollback_chain(5) == [c, a]
    assert log.rollback_chain(0) == [c]

    assert log.rollback(**AUDIT).bundle == a
    with pytest.raises(UsageError, match="no earlier champion"):
        log.rollback(**AUDIT)
    assert numbered_bundles(log) == [(1, a), (2, b), (3, a), (4, c), (5, a)]
    assert [log.was_rolled_back(bundle) for bundle in (a, b, c)] == [False, True, True]


def test_override_ends_the_rollback_of_its_bundle(store: Store) -> None:
    """A rerun of the job that wrote the bundle is then a rerun of the champion's job."""
    log = ChampionLog(store)
    a, b = put_bundle(store), put_bundle(store, shift=1.0)
    log.append(promotion_draft(b), expected_champion=log.append(promotion_draft(a), expected_champion=None))
    log.rollback(**AUDIT)
    assert log.was_rolled_back(b)
    log.override(b, **AUDIT)
    assert not log.was_rolled_back(b)
    log.rollback(**AUDIT)
    assert log.was_rolled_back(b)


def test_rollback_several_times_restores_earlier_champions(store: Store) -> None:
    log = ChampionLog(store)
    days = [DAY + dt.timedelta(days=day) for day in range(4)]
    bundles = [put_bundle(store, day) for day in days]
    entry: LogEntry | None = None
    for bundle, day in zip(bundles, days, strict=True):
        entry = log.append(promotion_draft(bundle, day), expected_champion=entry)
    assert log.rollback_chain(3) == bundles[::-1]
    assert [log.rollback(**AUDIT).bundle for _ in range(3)] == bundles[2::-1]
    assert [entry.date for entry in log.entries()[4:]] == [days[3]] * 3
    as_of = [log.as_of(day) for day in days]
    assert [entry.bundle for entry in as_of if entry] == [*bundles[:3], bundles[0]]


def test_rollback_to_damaged_bundle_raises(folder_store: Store, tmp_path: Path) -> None:
    log = ChampionLog(folder_store)
    a, b = put_bundle(folder_store), put_bundle(folder_store, shift=1.0)
    champion = log.append(promotion_draft(b), expected_champion=log.append(promotion_draft(a), expected_champion=None))
    model = folder_store.fetch(a) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(BundleVerificationError, match=r"model\.onnx"):
        log.rollback(**AUDIT)
    assert log.current() == champion
    with pytest.raises(UsageError, match="Call `rollback`"):
        log.append(promotion_draft(a, action="rollback"), expected_champion=champion)


def test_override_and_rollback_check_the_store_not_the_cache(tmp_path: Path) -> None:
    store = remote_store(tmp_path)
    log = ChampionLog(store)
    a, b = put_bundle(store), put_bundle(store, shift=1.0)
    log.append(promotion_draft(b), expected_champion=log.append(promotion_draft(a), expected_champion=None))
    store.fetch(a)
    damage_remote_bundle(store, a)
    with pytest.raises(BundleVerificationError, match=r"golden\.json"):
        log.rollback(**AUDIT)
    with pytest.raises(BundleVerificationError, match=r"golden\.json"):
        log.override(a, **AUDIT)
    assert [entry.bundle for entry in log.entries()] == [a, b]


def test_champion_log_ignores_other_files(folder_store: Store, tmp_path: Path) -> None:
    log = ChampionLog(folder_store)
    first = log.append(promotion_draft(put_placeholder(folder_store, DAY, "a")), expected_champion=None)
    folder = tmp_path / "models" / "champion"
    for name in ("README.md", "000002.json.bak", ".tmp-0123", "2.json"):
        (folder / name).write_text("not an entry", encoding="utf-8")
    assert log.current() == first


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames exclusively and needs no links")
def test_append_without_hard_links_raises(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_not_permitted(final: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    bundle = put_placeholder(folder_store, DAY, "a")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "hardlink_to", raise_not_permitted)
        with pytest.raises(StoreError, match="no hard links, which the champion log needs"):
            ChampionLog(folder_store).append(promotion_draft(bundle), expected_champion=None)
    assert ChampionLog(folder_store).current() is None
    assert list((Path(folder_store.url) / "champion").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", '{"number": 1}'])
def test_current_with_damaged_entry_raises_with_its_name(folder_store: Store, tmp_path: Path, content: str) -> None:
    log = ChampionLog(folder_store)
    first = log.append(promotion_draft(put_placeholder(folder_store, DAY, "a")), expected_champion=None)
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


def test_override_with_outdated_number_raises(store: Store) -> None:
    log = ChampionLog(store)
    first, second = put_bundle(store, DAY), put_bundle(store, DAY, shift=1.0)
    manual_audit = Audit(reason="riders wait", by="anna", at=AUDIT["at"])
    entry = log.override(first, **manual_audit, expected_number=0)
    assert (entry.number, entry.action, entry.by, entry.reason) == (1, "override", "anna", "riders wait")
    assert log.override(second, **manual_audit, expected_number=1).rollback_to == 1
    with pytest.raises(StoreError, match="Someone else promoted first"):
        log.override(first, **manual_audit, expected_number=1)
    with pytest.raises(StoreError, match="Someone else promoted first"):
        log.rollback(**manual_audit, expected_number=1)
    assert log.rollback(**manual_audit, expected_number=2).bundle == first
    assert numbered_bundles(log) == [(1, first), (2, second), (3, first)]


def test_override_and_rollback_without_reason_raise(store: Store) -> None:
    log = ChampionLog(store)
    bundle = put_bundle(store)
    with pytest.raises(UsageError, match="No reason is given"):
        log.override(bundle, reason=" ", by="anna", at="")
    with pytest.raises(UsageError, match="No reason is given"):
        log.rollback(reason="", by="anna", at="")
    assert log.entries() == []


def log_with_three_entries(store: Store, *, today: dt.date = LATER_DAY) -> ChampionLog:
    log = ChampionLog(store, today=lambda: today)
    entry = None
    for digit in "abc":
        entry = log.append(promotion_draft(put_placeholder(store, DAY, digit)), entry)
    return log


def remove_entries(store: Store, *numbers: int) -> None:
    for number in numbers:
        (Path(store.url) / "champion" / f"{number:06d}.json").unlink()


@pytest.mark.parametrize("action", ["promote", "refresh", "override"])
def test_append_of_future_date_raises(store: Store, action: Action) -> None:
    log = ChampionLog(store, today=lambda: DAY)
    tomorrow, later, last = (put_placeholder(store, day, "a") for day in (NEXT_DAY, LATER_DAY, dt.date.max))
    for bundle, day in ((later, LATER_DAY), (last, dt.date.max)):
        with pytest.raises(UsageError, match=f"is dated {day}, but today is {DAY} ") as error:
            log.append(promotion_draft(bundle, day, action), expected_champion=None)
        assert f"--date {DAY}" in error.value.hint
    assert log.current() is None
    assert log.append(promotion_draft(tomorrow, NEXT_DAY, action), expected_champion=None).date == NEXT_DAY


def test_override_of_future_date_raises_by_the_clock(folder_store: Store) -> None:
    future = put_bundle(folder_store, dt.date(9999, 12, 31))
    with pytest.raises(UsageError, match="is dated 9999-12-31, but today is"):
        ChampionLog(folder_store).override(future, **AUDIT)
    assert ChampionLog(folder_store).current() is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\x1b[2Jcleared", "U+001B at position 1"),
        ("one\ntwo", "U+000A at position 4"),
        ("tab\t", "U+0009"),
        ("\x9b31m", "U+009B"),
        ("a\u2028b", "U+2028"),
        ("abc\u202ecba", "U+202E"),
        ("\x00", "U+0000"),
    ],
)
def test_append_with_control_character_raises(store: Store, text: str, code: str) -> None:
    log = ChampionLog(store, check=lambda *_: pytest.fail("the text is checked first"))
    bundle = put_placeholder(store, DAY, "a")
    drafts = [
        LogEntryDraft(bundle=bundle, date=DAY, action="promote", reason=reason, by=by, at="now")
        for reason, by in ((text, "train"), ("better", text))
    ]
    for draft in drafts:
        with pytest.raises(UsageError, match=code.replace("+", r"\+")):
            log.append(draft, expected_champion=None)
    with pytest.raises(UsageError, match=code.replace("+", r"\+")):
        log.override(bundle, reason=text, by="test", at="now")
    assert log.current() is None


@pytest.mark.parametrize("reason", ["Besser für Zürich — 5 s", "更准确", "👩\u200d🍳 faster", "non\u00a0breaking"])
def test_append_accepts_printable_text_of_every_language(store: Store, reason: str) -> None:
    bundle = put_placeholder(store, DAY, "a")
    draft = LogEntryDraft(bundle=bundle, date=DAY, action="promote", reason=reason, by="José", at="now")
    assert ChampionLog(store).append(draft, None).reason == reason


def test_old_entry_with_control_characters_stays_readable(folder_store: Store) -> None:
    log = log_with_three_entries(folder_store)
    path = Path(folder_store.url) / "champion" / "000003.json"
    path.write_bytes(path.read_bytes().replace(b"better by 5 s", b"\\u001b[31mred"))
    current = log.current()
    assert current is not None
    assert current.reason == "\x1b[31mred"


def test_file_names_with_other_digits_are_no_entries(folder_store: Store) -> None:
    log = log_with_three_entries(folder_store)
    for name in ("０００００９.json", "٠٠٠٠٠٩.json", "00000９.json", "000009.json\n", "0000009.json"):
        (Path(folder_store.url) / "champion" / name).write_bytes(b"{}")
    current = log.current()
    assert current is not None
    assert current.number == 3
    assert log.read_all().missing == ()


def test_log_with_a_gap_names_the_missing_entry(folder_store: Store) -> None:
    log = log_with_three_entries(folder_store)
    remove_entries(folder_store, 2)
    listing = log.read_all()
    assert ([entry.number for entry in listing.entries], listing.missing) == ([1, 3], (2,))
    for read in (log.entries, lambda: log.as_of(DAY - dt.timedelta(days=1)), lambda: log.was_rolled_back("a")):
        with pytest.raises(StoreError, match=r"the champion log has a gap: champion/000002\.json is missing") as error:
            read()
        assert "docs/bundle-format.md" in error.value.hint
    assert log.current() == listing.entries[-1]


def test_repair_writes_the_missing_entry(folder_store: Store) -> None:
    log = log_with_three_entries(folder_store)
    before = log.entries()
    assert log.repair(by="test", at="now") == []
    remove_entries(folder_store, 2)
    (repaired,) = log.repair(by="test", at="now")
    assert (repaired.number, repaired.bundle, repaired.date) == (2, before[1].bundle, before[0].date)
    assert (repaired.previous, repaired.rollback_to, repaired.action) == (before[0].bundle, 1, "override")
    assert repaired.reason == "Repaired: the file of entry 2 was missing. Assumption: it was an override."
    assert log.entries() == [before[0], repaired, before[2]]
    assert log.rollback_chain(3) == [entry.bundle for entry in before[::-1]]


def test_repair_of_the_first_entry_uses_the_date_of_its_bundle(folder_store: Store) -> None:
    log = log_with_three_entries(folder_store)
    first = log.entries()[0]
    remove_entries(folder_store, 1)
    (repaired,) = log.repair(by="test", at="now")
    assert (repaired.number, repaired.bundle, repaired.date) == (1, first.bundle, DAY)
    assert (repaired.previous, repaired.rollback_to) == (None, None)


def test_repair_of_missing_rollback_writes_a_rollback(folder_store: Store) -> None:
    log = ChampionLog(folder_store)
    a, b, c = (put_bundle(folder_store, DAY, shift) for shift in (0.0, 1.0, 2.0))
    log.append(promotion_draft(b), expected_champion=log.append(promotion_draft(a), expected_champion=None))
    log.append(promotion_draft(c), expected_champion=log.rollback(**AUDIT))
    before = log.entries()
    remove_entries(folder_store, 3)
    (repaired,) = log.repair(by="test", at="now")
    assert (repaired.action, repaired.bundle, repaired.previous, repaired.rollback_to) == ("rollback", a, b, None)
    assert repaired.date == before[2].date
    assert repaired.reason.endswith("Assumption: it was a rollback to entry 1.")
    assert [log.was_rolled_back(bundle) for bundle in (a, b, c)] == [False, True, False]
    assert log.rollback_chain(5) == [c, a]


def test_repair_of_override_that_was_rolled_back(folder_store: Store) -> None:
    """The override returned to the bundle before. The next entry shows that it wasn't a rollback."""
    log = ChampionLog(folder_store)
    a, b = put_bundle(folder_store), put_bundle(folder_store, shift=1.0)
    log.append(promotion_draft(b), expected_champion=log.append(promotion_draft(a), expected_champion=None))
    log.override(a, **AUDIT)
    assert log.rollback(**AUDIT).bundle == b
    remove_entries(folder_store, 3)
    (repaired,) = log.repair(by="test", at="now")
    assert (repaired.action, repaired.bundle, repaired.rollback_to) == ("override", a, 2)
    assert [log.was_rolled_back(bundle) for bundle in (a, b)] == [True, False]


def test_repair_of_one_of_two_rollbacks_writes_a_rollback(folder_store: Store) -> None:
    log = ChampionLog(folder_store)
    entry: LogEntry | None = None
    for shift in (0.0, 1.0, 2.0):
        entry = log.append(promotion_draft(put_bundle(folder_store, DAY, shift)), expected_champion=entry)
    first, second = log.rollback(**AUDIT), log.rollback(**AUDIT)
    remove_entries(folder_store, 4)
    (repaired,) = log.repair(by="test", at="now")
    assert (repaired.action, repaired.bundle, repaired.rollback_to) == ("rollback", first.bundle, 1)
    assert log.current() == second


def test_repair_of_two_adjacent_entries_raises(folder_store: Store) -> None:
    log = log_with_three_entries(folder_store)
    log.append(promotion_draft(put_placeholder(folder_store, DAY, "d")), log.current())
    remove_entries(folder_store, 2, 3)
    with pytest.raises(StoreError, match=r"champion/000002\.json is missing"):
        log.repair(by="test", at="now")
    assert log.read_all().missing == (2, 3)
