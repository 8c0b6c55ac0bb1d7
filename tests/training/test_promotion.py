"""What becomes of a challenger: promoted, refreshed, kept, unchanged; and who is left standing when things go wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.backends import LocalBackend
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import MODEL_FILE
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, PreptimeError, StoreError, UsageError
from preptime.training.comparison import Comparison
from preptime.training.promotion import BACKFILL_REASON
from preptime.training.train import TrainDocument
from tests.training.factories import (
    IDLE_QUANTILE,
    Data,
    Stocked,
    bundle_bytes,
    june,
    override,
    quick_plan,
    refresh_with,
    run,
)

IDLE = quick_plan(IDLE_QUANTILE)
"""What loses against anything."""


def test_a_better_challenger_replaces_the_champion(data: Data, weak: Stocked, weak_store: Store) -> None:
    told = run(data, june(14), weak_store)
    assert (told.outcome, told.champion) == ("promoted", told.bundle)
    assert told.comparison is not None
    # Only days after both were fitted are compared on: the champion through the 9th, the challenger through the 10th.
    assert (told.comparison.first_day, told.comparison.last_day) == (june(11), june(13))
    assert (told.comparison.challenger, told.comparison.champion) == (told.bundle, weak.document.bundle)
    entry = ChampionLog(weak_store).entries()[-1]
    assert (entry.number, entry.action, entry.previous, entry.reason) == (
        2, "promote", weak.document.bundle, told.reason,
    )  # fmt: skip
    assert msgspec.convert(entry.comparison, Comparison, strict=False) == told.comparison


def test_a_challenger_that_does_not_beat_the_lookup_is_no_first_champion(data: Data, folder_store: Store) -> None:
    told = run(data, june(13), folder_store, plan=IDLE)
    assert (told.outcome, told.champion) == ("kept", None)
    assert told.reason.startswith("Lost on: Better than the restaurant lookup")
    assert folder_store.bundle_ids() == [told.bundle]
    assert folder_store.log_file_names() == []


def test_a_loser_is_kept_and_the_champions_models_get_this_mornings_history(
    data: Data, good: Stocked, good_store: Store
) -> None:
    told = run(data, june(14), good_store, plan=IDLE)
    assert told.outcome == "refreshed"
    assert told.reason.startswith("Lost on: Better than the champion")
    assert told.champion is not None
    assert sorted(good_store.bundle_ids()) == sorted([good.document.bundle, told.bundle, told.champion])
    fresh, parent = good_store.read_manifest(told.champion), good_store.read_manifest(good.document.bundle)
    assert (fresh.kind, fresh.parent, fresh.date) == ("refresh", good.document.bundle, june(14))
    assert (fresh.window, fresh.files[MODEL_FILE]) == (parent.window, parent.files[MODEL_FILE])
    assert Bundle.load(good_store.fetch(fresh.id)).history.date == "2015-06-14"
    entry = ChampionLog(good_store).entries()[-1]
    assert (entry.action, entry.bundle, entry.date) == ("refresh", fresh.id, june(14))
    assert entry.reason == f"New history. {told.reason}"
    assert entry.comparison is not None
    assert msgspec.convert(entry.comparison, Comparison, strict=False) == told.comparison

    again = run(data, june(14), good_store, plan=IDLE)
    assert (again.outcome, again.bundle, again.champion) == ("refreshed", told.bundle, told.champion)
    assert good_store.log_file_names() == ["000001.json", "000002.json"]

    next_day = run(data, june(15), good_store, plan=IDLE)
    assert next_day.outcome == "refreshed"
    assert next_day.champion is not None
    # However many refreshes ago: the parent is the bundle that was trained.
    assert good_store.read_manifest(next_day.champion).parent == good.document.bundle


def test_a_lost_comparison_leaves_what_refresh_would(
    data: Data, good: Stocked, good_store: Store, tmp_path: Path
) -> None:
    other = good.copy(tmp_path / "other")
    told = run(data, june(14), good_store, plan=IDLE)
    assert refresh_with(data, june(14), other).bundle == told.champion
    assert told.champion is not None
    assert bundle_bytes(other, told.champion) == bundle_bytes(good_store, told.champion)


def test_a_backfill_never_replaces_a_champion_of_a_later_date(data: Data, weak: Stocked, weak_store: Store) -> None:
    told = run(data, june(12), weak_store)
    # As of the 12th there was no champion, and compared with none it won.
    assert (told.outcome, told.champion) == ("kept", None)
    assert told.comparison is not None
    assert told.comparison.champion is None
    assert told.reason == f"{BACKFILL_REASON} {told.comparison.summary}"
    assert weak_store.has_bundle(told.bundle)
    assert weak_store.log_file_names() == ["000001.json"]


def test_promotion_that_is_not_asked_for_does_not_happen(
    data: Data, weak: Stocked, weak_store: Store, folder_store: Store
) -> None:
    against = run(data, june(14), weak_store, may_promote=False)
    assert (against.outcome, against.champion) == ("kept", weak.document.bundle)
    assert against.reason.startswith("Promotion was not asked for. Won. ")
    assert weak_store.log_file_names() == ["000001.json"]
    first = run(data, june(13), folder_store, may_promote=False)
    assert (first.outcome, first.champion) == ("kept", None)
    assert first.comparison is not None
    assert first.comparison.passed
    assert folder_store.log_file_names() == []


def test_what_a_person_rolled_back_does_not_come_back_by_itself(data: Data, weak: Stocked, weak_store: Store) -> None:
    promoted = run(data, june(14), weak_store)
    log = ChampionLog(weak_store)
    log.rollback(reason="Riders wait.", by="me", at="")

    again = run(data, june(14), weak_store)
    assert (again.bundle, again.outcome) == (promoted.bundle, "refreshed")
    assert again.reason == f"A person rolled {promoted.bundle} back before."
    assert again.champion is not None
    assert weak_store.read_manifest(again.champion).parent == weak.document.bundle
    assert log.entries()[-1].reason == f"New history. {again.reason}"

    # Nor does the refresh, when that is rolled back as well.
    log.rollback(reason="The history too.", by="me", at="")
    third = run(data, june(14), weak_store)
    assert (third.outcome, third.champion) == ("kept", weak.document.bundle)
    assert third.reason.endswith("A person rolled this morning's refresh back before.")
    with pytest.raises(UsageError, match="A person rolled back the history of 2015-06-14"):
        refresh_with(data, june(14), weak_store)
    assert log.entries()[-1].action == "rollback"


def test_a_damaged_champion_stays_and_the_challenger_is_kept(data: Data, weak: Stocked, weak_store: Store) -> None:
    model = weak_store.fetch(weak.document.bundle) / MODEL_FILE
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleVerificationError) as caught:
        run(data, june(14), weak_store)
    (kept,) = set(weak_store.bundle_ids()) - {weak.document.bundle}
    facts = caught.value.facts
    assert facts.startswith(
        f"The champion {weak.document.bundle} is refused: {weak.document.bundle}/{MODEL_FILE}: expected"
    )
    assert facts.endswith(f"It stays champion; the challenger {kept} is kept.")
    assert "bundles rollback" in caught.value.hint
    assert weak_store.log_file_names() == ["000001.json"]
    Bundle.load(weak_store.fetch(kept))


def test_a_champion_that_is_gone_stays_and_the_morning_that_makes_it_again_is_named(
    data: Data, weak: Stocked, weak_store: Store
) -> None:
    weak_store.delete(weak.document.bundle)
    with pytest.raises(
        UsageError, match=f"The champion {weak.document.bundle} is not in .* It stays champion"
    ) as caught:
        run(data, june(14), weak_store)
    assert caught.value.hint.startswith("Run preptime train --date 2015-06-13 again first.")
    assert len(weak_store.bundle_ids()) == 1
    assert weak_store.log_file_names() == ["000001.json"]


class Interrupted(Store):
    """A store in which a person promotes another bundle while a training compares its own."""

    def __init__(self, root: Path, other: str) -> None:
        super().__init__(str(root), LocalBackend(root))
        self.other = other

    def fetch(self, bundle_id: str) -> Path:
        """Fetching the challenger is when it happens."""
        if bundle_id.startswith("2015-06-14"):
            override(Store.open(self.url), self.other, june(13))
        return super().fetch(bundle_id)


def test_a_decision_made_against_a_champion_that_has_gone_by_is_not_carried_out(
    data: Data, weak: Stocked, tmp_path: Path
) -> None:
    store = weak.copy(tmp_path / "models")
    other = run(data, june(13), store, may_promote=False).bundle
    with pytest.raises(StoreError, match=f"Someone else promoted first: {other}"):
        run(data, june(14), Interrupted(tmp_path / "models", other))
    assert [entry.bundle for entry in ChampionLog(store).entries()] == [weak.document.bundle, other]
    assert len(store.bundle_ids()) == 3


class Together(Store):
    """A store whose writers of the log wait until there are two of them."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), LocalBackend(root))
        self.barrier = threading.Barrier(2)

    def create_log(self, name: str, content: bytes) -> bool:
        """Wait for the other, then write."""
        self.barrier.wait(timeout=60)
        return super().create_log(name, content)


def both(data: Data, root: Path, seeds: tuple[int, int]) -> list[TrainDocument | PreptimeError]:
    """What two trainings of 14 June make of it that decide at the same moment."""
    store = Together(root)

    def one(seed: int) -> TrainDocument | PreptimeError:
        try:
            return run(data, june(14), store, plan=quick_plan(seed=seed))
        except PreptimeError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, seeds))


def test_of_two_trainings_at_once_one_wins(data: Data, weak: Stocked, tmp_path: Path) -> None:
    weak.copy(tmp_path / "models")
    found = both(data, tmp_path / "models", (12, 13))
    (won,) = [one for one in found if isinstance(one, TrainDocument)]
    (lost,) = [one for one in found if isinstance(one, PreptimeError)]
    assert isinstance(lost, StoreError)
    assert f"Someone else promoted first: {won.bundle}" in lost.facts
    store = Store.open(str(tmp_path / "models"))
    current = ChampionLog(store).current()
    assert current is not None
    assert (current.number, current.bundle) == (2, won.bundle)
    # The loser's training is not lost.
    assert len(store.bundle_ids()) == 3


def test_two_trainings_of_the_same_at_once_agree(data: Data, weak: Stocked, tmp_path: Path) -> None:
    weak.copy(tmp_path / "models")
    one, other = both(data, tmp_path / "models", (12, 12))
    assert one == other
    assert isinstance(one, TrainDocument)
    assert one.outcome == "promoted"
    assert Store.open(str(tmp_path / "models")).log_file_names() == ["000001.json", "000002.json"]
