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
    SyntheticData,
    TrainedStore,
    bundle_bytes,
    june,
    override_champion,
    quick_plan,
    run_refresh,
    run_training,
)

IDLE = quick_plan(IDLE_QUANTILE)
"""What loses against anything."""


def test_better_challenger_is_promoted(data: SyntheticData, weak: TrainedStore, weak_store: Store) -> None:
    told = run_training(data, june(14), weak_store)
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


def test_first_challenger_worse_than_lookup_is_kept(data: SyntheticData, folder_store: Store) -> None:
    told = run_training(data, june(13), folder_store, plan=IDLE)
    assert (told.outcome, told.champion) == ("kept", None)
    assert told.reason.startswith("Lost on: Better than the restaurant lookup")
    assert folder_store.bundle_ids() == [told.bundle]
    assert folder_store.log_file_names() == []


def test_losing_challenger_is_kept_and_champion_refreshed(
    data: SyntheticData, good: TrainedStore, good_store: Store
) -> None:
    told = run_training(data, june(14), good_store, plan=IDLE)
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

    again = run_training(data, june(14), good_store, plan=IDLE)
    assert (again.outcome, again.bundle, again.champion) == ("refreshed", told.bundle, told.champion)
    assert good_store.log_file_names() == ["000001.json", "000002.json"]

    next_day = run_training(data, june(15), good_store, plan=IDLE)
    assert next_day.outcome == "refreshed"
    assert next_day.champion is not None
    # However many refreshes ago: the parent is the bundle that was trained.
    assert good_store.read_manifest(next_day.champion).parent == good.document.bundle


def test_losing_challenger_publishes_same_bundle_as_refresh(
    data: SyntheticData, good: TrainedStore, good_store: Store, tmp_path: Path
) -> None:
    other = good.copy(tmp_path / "other")
    told = run_training(data, june(14), good_store, plan=IDLE)
    assert run_refresh(data, june(14), other).bundle == told.champion
    assert told.champion is not None
    assert bundle_bytes(other, told.champion) == bundle_bytes(good_store, told.champion)


def test_backfill_keeps_champion_with_later_date(data: SyntheticData, weak: TrainedStore, weak_store: Store) -> None:
    told = run_training(data, june(12), weak_store)
    # As of the 12th there was no champion, and compared with none it won.
    assert (told.outcome, told.champion) == ("kept", None)
    assert told.comparison is not None
    assert told.comparison.champion is None
    assert told.reason == f"{BACKFILL_REASON} {told.comparison.summary}"
    assert weak_store.has_bundle(told.bundle)
    assert weak_store.log_file_names() == ["000001.json"]


def test_disabled_promotion_keeps_challenger(
    data: SyntheticData, weak: TrainedStore, weak_store: Store, folder_store: Store
) -> None:
    against = run_training(data, june(14), weak_store, allow_promotion=False)
    assert (against.outcome, against.champion) == ("kept", weak.document.bundle)
    assert against.reason.startswith("Promotion was not asked for. Won. ")
    assert weak_store.log_file_names() == ["000001.json"]
    first = run_training(data, june(13), folder_store, allow_promotion=False)
    assert (first.outcome, first.champion) == ("kept", None)
    assert first.comparison is not None
    assert first.comparison.passed
    assert folder_store.log_file_names() == []


def test_rolled_back_bundle_is_not_promoted_by_rerun(
    data: SyntheticData, weak: TrainedStore, weak_store: Store
) -> None:
    promoted = run_training(data, june(14), weak_store)
    log = ChampionLog(weak_store)
    log.rollback(reason="Riders wait.", by="me", at="")

    again = run_training(data, june(14), weak_store)
    assert (again.bundle, again.outcome) == (promoted.bundle, "refreshed")
    assert again.reason == f"A person rolled {promoted.bundle} back before."
    assert again.champion is not None
    assert weak_store.read_manifest(again.champion).parent == weak.document.bundle
    assert log.entries()[-1].reason == f"New history. {again.reason}"

    # Nor does the refresh, when that is rolled back as well.
    log.rollback(reason="The history too.", by="me", at="")
    third = run_training(data, june(14), weak_store)
    assert (third.outcome, third.champion) == ("kept", weak.document.bundle)
    assert third.reason.endswith("A person rolled this morning's refresh back before.")
    with pytest.raises(UsageError, match="A person rolled back the history of 2015-06-14"):
        run_refresh(data, june(14), weak_store)
    assert log.entries()[-1].action == "rollback"


def test_damaged_champion_raises_and_keeps_challenger(
    data: SyntheticData, weak: TrainedStore, weak_store: Store
) -> None:
    model = weak_store.fetch(weak.document.bundle) / MODEL_FILE
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleVerificationError) as caught:
        run_training(data, june(14), weak_store)
    (kept,) = set(weak_store.bundle_ids()) - {weak.document.bundle}
    facts = caught.value.facts
    assert facts.startswith(
        f"The champion {weak.document.bundle} is refused: {weak.document.bundle}/{MODEL_FILE}: expected"
    )
    assert facts.endswith(f"It stays champion; the challenger {kept} is kept.")
    assert "bundles rollback" in caught.value.hint
    assert weak_store.log_file_names() == ["000001.json"]
    Bundle.load(weak_store.fetch(kept))


def test_missing_champion_raises_and_names_training_date(
    data: SyntheticData, weak: TrainedStore, weak_store: Store
) -> None:
    weak_store.delete(weak.document.bundle)
    with pytest.raises(
        UsageError, match=f"The champion {weak.document.bundle} is not in .* It stays champion"
    ) as caught:
        run_training(data, june(14), weak_store)
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
            override_champion(Store.open(self.url), self.other, june(13))
        return super().fetch(bundle_id)


def test_decision_against_replaced_champion_raises(data: SyntheticData, weak: TrainedStore, tmp_path: Path) -> None:
    store = weak.copy(tmp_path / "models")
    other = run_training(data, june(13), store, allow_promotion=False).bundle
    with pytest.raises(StoreError, match=f"Someone else promoted first: {other}"):
        run_training(data, june(14), Interrupted(tmp_path / "models", other))
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


def both(data: SyntheticData, root: Path, seeds: tuple[int, int]) -> list[TrainDocument | PreptimeError]:
    """What two trainings of 14 June make of it that decide at the same moment."""
    store = Together(root)

    def one(seed: int) -> TrainDocument | PreptimeError:
        try:
            return run_training(data, june(14), store, plan=quick_plan(seed=seed))
        except PreptimeError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, seeds))


def test_concurrent_trainings_promote_one_challenger(data: SyntheticData, weak: TrainedStore, tmp_path: Path) -> None:
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


def test_concurrent_equal_trainings_agree(data: SyntheticData, weak: TrainedStore, tmp_path: Path) -> None:
    weak.copy(tmp_path / "models")
    one, other = both(data, tmp_path / "models", (12, 12))
    assert one == other
    assert isinstance(one, TrainDocument)
    assert one.outcome == "promoted"
    assert Store.open(str(tmp_path / "models")).log_file_names() == ["000001.json", "000002.json"]
