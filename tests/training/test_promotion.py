"""Tests of the decision about a challenger, also with damaged bundles and concurrent trainings."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from preptime.bundle.backends.local import LocalBackend
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.copying import copy_store
from preptime.bundle.manifest import MODEL_FILE
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, PreptimeError, StoreError, UsageError
from preptime.training.comparison import Comparison
from preptime.training.promotion import BACKFILL_REASON, evaluate_served_champions
from preptime.training.train import TrainDocument
from preptime.training.training_data import ONE_DAY
from tests.bundle.factories import damage_remote_bundle, remote_store
from tests.training.factories import (
    IDLE_QUANTILE,
    WEAK_DATE,
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
"""A plan whose bundle loses every comparison."""


def test_better_challenger_is_promoted(data: SyntheticData, weak: TrainedStore, weak_store: Store) -> None:
    document = run_training(data, june(14), weak_store)
    assert (document.outcome, document.champion) == ("promoted", document.bundle)
    assert document.comparison is not None
    # The days of the gate. The champion served on all three, and was fitted on the days before them.
    assert (document.comparison.first_day, document.comparison.last_day) == (june(11), june(13))
    assert (document.comparison.challenger, document.comparison.champion) == (document.bundle, weak.document.bundle)
    entry = ChampionLog(weak_store).entries()[-1]
    assert (entry.number, entry.action, entry.previous, entry.reason) == (
        2, "promote", weak.document.bundle, document.reason,
    )  # fmt: skip
    assert msgspec.convert(entry.comparison, Comparison, strict=False) == document.comparison


def test_first_challenger_worse_than_lookup_is_kept(data: SyntheticData, folder_store: Store) -> None:
    document = run_training(data, june(13), folder_store, plan=IDLE)
    assert (document.outcome, document.champion) == ("kept", None)
    assert document.reason.startswith("Failed: Significantly better than the better baseline")
    assert folder_store.bundle_ids() == [document.bundle]
    assert folder_store.log_file_names() == []


def test_losing_challenger_is_kept_and_champion_refreshed(
    data: SyntheticData, good: TrainedStore, good_store: Store
) -> None:
    document = run_training(data, june(14), good_store, plan=IDLE)
    assert document.outcome == "refreshed"
    assert document.reason.startswith("Failed: Significantly better than the champion")
    assert document.champion is not None
    assert sorted(good_store.bundle_ids()) == sorted([good.document.bundle, document.bundle, document.champion])
    fresh, parent = good_store.read_manifest(document.champion), good_store.read_manifest(good.document.bundle)
    assert (fresh.kind, fresh.parent, fresh.date) == ("refresh", good.document.bundle, june(14))
    assert (fresh.window, fresh.files[MODEL_FILE]) == (parent.window, parent.files[MODEL_FILE])
    assert Bundle.load(good_store.fetch(fresh.id)).history.date == "2015-06-14"
    entry = ChampionLog(good_store).entries()[-1]
    assert (entry.action, entry.bundle, entry.date) == ("refresh", fresh.id, june(14))
    assert entry.reason == f"New history. {document.reason}"
    assert entry.comparison is not None
    assert msgspec.convert(entry.comparison, Comparison, strict=False) == document.comparison

    again = run_training(data, june(14), good_store, plan=IDLE)
    assert (again.outcome, again.bundle, again.champion) == ("refreshed", document.bundle, document.champion)
    assert good_store.log_file_names() == ["000001.json", "000002.json"]

    next_day = run_training(data, june(15), good_store, plan=IDLE)
    assert next_day.outcome == "refreshed"
    assert next_day.champion is not None
    # The parent is the trained bundle, also after several refreshes.
    assert good_store.read_manifest(next_day.champion).parent == good.document.bundle


def test_losing_challenger_publishes_same_bundle_as_refresh(
    data: SyntheticData, good: TrainedStore, good_store: Store, tmp_path: Path
) -> None:
    other = good.copy(tmp_path / "other")
    document = run_training(data, june(14), good_store, plan=IDLE)
    assert run_refresh(data, june(14), other).bundle == document.champion
    assert document.champion is not None
    assert bundle_bytes(other, document.champion) == bundle_bytes(good_store, document.champion)


def test_lost_comparison_after_refresh_is_repeated_later(data: SyntheticData, good_store: Store) -> None:
    """`preptime refresh` published the same history and has no comparison in the log."""
    refreshed = run_refresh(data, june(14), good_store).bundle
    document = run_training(data, june(14), good_store, plan=IDLE)
    assert (document.outcome, document.champion) == ("refreshed", refreshed)
    run_refresh(data, june(15), good_store)
    log = good_store.log_file_names()
    assert run_training(data, june(14), good_store, plan=IDLE) == document
    corrected = SyntheticData.from_frames(data.orders.slice(1), data.restaurants)
    other = run_training(corrected, june(14), good_store, plan=IDLE)
    assert (other.outcome, other.champion) == ("kept", refreshed)
    assert other.reason.startswith(BACKFILL_REASON)
    assert good_store.log_file_names() == log


def test_backfill_keeps_champion_with_later_date(data: SyntheticData, weak: TrainedStore, weak_store: Store) -> None:
    document = run_training(data, WEAK_DATE - ONE_DAY, weak_store)
    # As of the 10th, there was no champion, so the comparison passed.
    assert (document.outcome, document.champion) == ("kept", None)
    assert document.comparison is not None
    assert document.comparison.champion is None
    assert document.reason == f"{BACKFILL_REASON} {document.comparison.summary}"
    assert weak_store.has_bundle(document.bundle)
    assert weak_store.log_file_names() == ["000001.json"]


def test_disabled_promotion_keeps_challenger(
    data: SyntheticData, weak: TrainedStore, weak_store: Store, folder_store: Store
) -> None:
    second = run_training(data, june(14), weak_store, allow_promotion=False)
    assert (second.outcome, second.champion) == ("kept", weak.document.bundle)
    assert second.reason.startswith("Promotion is disabled by --promote never. Passed. ")
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
    log.rollback(reason="Couriers wait.", by="user", at="")

    again = run_training(data, june(14), weak_store)
    assert (again.bundle, again.outcome) == (promoted.bundle, "refreshed")
    assert again.reason == f"A user rolled back {promoted.bundle} earlier."
    assert again.champion is not None
    assert weak_store.read_manifest(again.champion).parent == weak.document.bundle
    assert log.entries()[-1].reason == f"New history. {again.reason}"

    # A refresh that is rolled back isn't published again either.
    log.rollback(reason="The history too.", by="user", at="")
    third = run_training(data, june(14), weak_store)
    assert (third.outcome, third.champion) == ("kept", weak.document.bundle)
    assert third.reason.endswith("A user rolled back the refresh of 2015-06-14 earlier.")
    with pytest.raises(UsageError, match=f"A user rolled back the refresh of {weak.document.bundle} for 2015-06-14"):
        run_refresh(data, june(14), weak_store)
    assert log.entries()[-1].action == "rollback"


def damage(store: Store, bundle_id: str) -> None:
    """Change a byte of a bundle's models in the store."""
    model = store.fetch(bundle_id) / MODEL_FILE
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def test_damaged_champion_raises_and_keeps_challenger(
    data: SyntheticData, weak: TrainedStore, weak_store: Store
) -> None:
    damage(weak_store, weak.document.bundle)
    with pytest.raises(BundleVerificationError) as caught:
        run_training(data, june(14), weak_store)
    (kept,) = set(weak_store.bundle_ids()) - {weak.document.bundle}
    facts = caught.value.facts
    assert facts.startswith(
        f"The champion {weak.document.bundle} failed verification: {weak.document.bundle}/{MODEL_FILE}: expected"
    )
    assert facts.endswith(f"It remains the champion. The challenger {kept} stays in the store.")
    assert "bundles rollback" in caught.value.hint
    assert weak_store.log_file_names() == ["000001.json"]
    Bundle.load(weak_store.fetch(kept))


def test_damaged_earlier_champion_is_left_out_with_a_note(
    data: SyntheticData, weak: TrainedStore, weak_store: Store
) -> None:
    """A refresh has the same models. Without one, the days of the damaged bundle have no champion."""
    parent = weak.document.bundle
    refreshed = run_refresh(data, june(12), weak_store).bundle
    intact = evaluate_served_champions(data.as_of(june(14)).training_data, weak_store, (WEAK_DATE, june(13)))
    damage(weak_store, parent)
    store = Store.open(weak_store.url)
    document = run_training(data, june(14), store)
    assert document.outcome == "promoted"
    assert document.comparison is not None
    assert document.comparison.notes == (f"{parent} is damaged in the store, so it isn't compared.",)
    assert document.reason.endswith(document.comparison.notes[0])
    assert document.comparison.differences[0].days == 3
    assert intact.evaluated is not None
    assert document.comparison.champion_mae == pytest.approx(
        np.abs(intact.evaluated.default_predictions - intact.evaluated.actual).mean()
    )
    damage(store, refreshed)
    known = data.as_of(june(14)).training_data
    without = evaluate_served_champions(known, Store.open(weak_store.url), (WEAK_DATE, june(13)))
    assert (without.evaluated, without.damaged) == (None, (parent, refreshed))


def test_damage_in_a_remote_store_is_found_despite_a_cached_copy(
    data: SyntheticData, weak: TrainedStore, tmp_path: Path
) -> None:
    store, bundle = remote_store(tmp_path), weak.document.bundle
    copy_store(Store.open(str(weak.root)), store)
    store.fetch(bundle)
    damage_remote_bundle(store, bundle)
    served = evaluate_served_champions(data.as_of(june(14)).training_data, store, (WEAK_DATE, june(13)))
    assert (served.evaluated, served.damaged) == (None, (bundle,))


def test_missing_champion_raises_and_names_training_date(
    data: SyntheticData, weak: TrainedStore, weak_store: Store
) -> None:
    weak_store.delete(weak.document.bundle)
    with pytest.raises(
        UsageError, match=f"The champion {weak.document.bundle} isn't in .* It remains the champion"
    ) as caught:
        run_training(data, june(14), weak_store)
    assert caught.value.hint.startswith(f"First, run preptime train --date {WEAK_DATE} again.")
    assert len(weak_store.bundle_ids()) == 1
    assert weak_store.log_file_names() == ["000001.json"]


class InterruptedStore(Store):
    """A store in which a user promotes another bundle while a training compares its challenger."""

    def __init__(self, root: Path, other: str) -> None:
        super().__init__(str(root), LocalBackend(root))
        self.other = other

    def fetch(self, bundle_id: str) -> Path:
        """Promote the other bundle when the challenger is fetched."""
        if bundle_id.startswith("2015-06-14"):
            override_champion(Store.open(self.url), self.other, june(13))
        return super().fetch(bundle_id)


def test_decision_against_replaced_champion_raises(data: SyntheticData, weak: TrainedStore, tmp_path: Path) -> None:
    store = weak.copy(tmp_path / "models")
    other = run_training(data, june(13), store, allow_promotion=False).bundle
    with pytest.raises(StoreError, match=f"Someone else promoted first: {other}"):
        run_training(data, june(14), InterruptedStore(tmp_path / "models", other))
    assert [entry.bundle for entry in ChampionLog(store).entries()] == [weak.document.bundle, other]
    assert len(store.bundle_ids()) == 3


class SynchronizedStore(Store):
    """A store in which writing to the champion log waits for a second writer."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), LocalBackend(root))
        self.barrier = threading.Barrier(2)

    def create_log(self, name: str, content: bytes) -> bool:
        """Wait for the other writer, then write."""
        self.barrier.wait(timeout=60)
        return super().create_log(name, content)


def train_concurrently(data: SyntheticData, root: Path, seeds: tuple[int, int]) -> list[TrainDocument | PreptimeError]:
    """Return the results of two trainings for 14 June that decide at the same time."""
    store = SynchronizedStore(root)

    def train_with_seed(seed: int) -> TrainDocument | PreptimeError:
        try:
            return run_training(data, june(14), store, plan=quick_plan(seed=seed))
        except PreptimeError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(train_with_seed, seeds))


def test_concurrent_trainings_promote_one_challenger(data: SyntheticData, weak: TrainedStore, tmp_path: Path) -> None:
    weak.copy(tmp_path / "models")
    results = train_concurrently(data, tmp_path / "models", (12, 13))
    (winner,) = [result for result in results if isinstance(result, TrainDocument)]
    (loser,) = [result for result in results if isinstance(result, PreptimeError)]
    assert isinstance(loser, StoreError)
    assert f"Someone else promoted first: {winner.bundle}" in loser.facts
    store = Store.open(str(tmp_path / "models"))
    current = ChampionLog(store).current()
    assert current is not None
    assert (current.number, current.bundle) == (2, winner.bundle)
    # The loser's bundle stays in the store.
    assert len(store.bundle_ids()) == 3


def test_concurrent_equal_trainings_agree(data: SyntheticData, weak: TrainedStore, tmp_path: Path) -> None:
    weak.copy(tmp_path / "models")
    first, second = train_concurrently(data, tmp_path / "models", (12, 12))
    assert first == second
    assert isinstance(first, TrainDocument)
    assert first.outcome == "promoted"
    assert Store.open(str(tmp_path / "models")).log_file_names() == ["000001.json", "000002.json"]
