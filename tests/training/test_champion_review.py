"""A champion that was a mistake gives way, once, to what was there before; everything else is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.manifest import MODEL_FILE, JsonObject
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError, UsageError
from preptime.training import champion_review as reviewing
from preptime.training.champion_review import ChampionReview, review_champion, training_bundle_of
from tests.training.factories import (
    IDLE_QUANTILE,
    ACTOR,
    SyntheticData,
    TrainedStore,
    june,
    override_champion,
    quick_plan,
    run_refresh,
    run_training,
)

REVIEWED = june(16)
"""Orders of the 14th and 15th are known, which neither was fitted on."""


@pytest.fixture(scope="session")
def mistaken(data: SyntheticData, good: TrainedStore, tmp_path_factory: pytest.TempPathFactory) -> TrainedStore:
    """A store whose good champion of the 13th was replaced on the 14th by models that have learned next to nothing."""
    root = tmp_path_factory.mktemp("mistaken") / "models"
    store = good.copy(root)
    document = run_training(data, june(14), store, plan=quick_plan(IDLE_QUANTILE), allow_promotion=False)
    promote(store, document.bundle, 14)
    return TrainedStore(root, document)


def promote(store: Store, bundle: str, day: int) -> None:
    """What a comparison that went wrong would have written."""
    log = ChampionLog(store)
    log.append(
        LogEntryDraft(bundle=bundle, date=june(day), action="promote", reason="Won.", by="test", at=""), log.current()
    )


@pytest.fixture
def store(mistaken: TrainedStore, tmp_path: Path) -> Store:
    """A copy of it."""
    return mistaken.copy(tmp_path / "mistaken")


def ran(data: SyntheticData, store: Store, *, may: bool = True, day: int = 16) -> ChampionReview:
    return review_champion(data.training_data, store, june(day), ACTOR, allow_rollback=may)


def test_review_rolls_back_worse_models_with_new_history(
    data: SyntheticData, store: Store, good: TrainedStore, mistaken: TrainedStore
) -> None:
    found = ran(data, store)
    assert (found.outcome, found.champion, found.previous) == (
        "rolled_back", mistaken.document.bundle, good.document.bundle,
    )  # fmt: skip
    comparison = found.comparison
    assert comparison is not None
    assert (comparison.first_day, comparison.last_day) == (june(14), june(15))
    assert comparison.champion_mae is not None
    assert comparison.challenger_mae is not None
    assert comparison.challenger_mae > 1.02 * comparison.champion_mae
    back, refreshed = ChampionLog(store).entries()[-2:]
    assert (back.action, back.bundle, back.previous) == ("rollback", good.document.bundle, mistaken.document.bundle)
    assert back.reason.startswith("Review of 2015-06-16. Not worse than")
    assert (refreshed.action, training_bundle_of(store, refreshed.bundle)) == ("refresh", good.document.bundle)
    assert store.read_manifest(refreshed.bundle).date == REVIEWED


def test_review_rerun_returns_same_result_without_new_entries(data: SyntheticData, store: Store) -> None:
    first = ran(data, store)
    entries = ChampionLog(store).entries()
    assert msgspec.json.encode(ran(data, store)) == msgspec.json.encode(first)
    assert ChampionLog(store).entries() == entries


def test_review_rolls_back_refreshes_of_worse_models(data: SyntheticData, store: Store, good: TrainedStore) -> None:
    run_refresh(data.as_of(june(15)), june(15), store)
    assert ran(data, store).outcome == "rolled_back"
    current = ChampionLog(store).current()
    assert current is not None
    assert training_bundle_of(store, current.bundle) == good.document.bundle


def test_review_rerun_completes_interrupted_review(
    data: SyntheticData, store: Store, good: TrainedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first of two steps back, and again before the history was published."""
    run_refresh(data.as_of(june(15)), june(15), store)
    real = ChampionLog.rollback
    calls: list[int] = []

    def once(
        self: ChampionLog,
        *,
        reason: str,
        by: str,
        at: str,
        expected_number: int | None = None,
        comparison: JsonObject | None = None,
    ) -> LogEntry:
        calls.append(1)
        if len(calls) == 2:
            raise StoreError("gone")
        return real(self, reason=reason, by=by, at=at, expected_number=expected_number, comparison=comparison)

    monkeypatch.setattr(ChampionLog, "rollback", once)
    with pytest.raises(StoreError):
        ran(data, store)
    monkeypatch.setattr(ChampionLog, "rollback", real)

    def killed(*_: object, **__: object) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(reviewing, "publish_refresh", killed)
        with pytest.raises(StoreError):
            ran(data, store)
    assert ran(data, store).outcome == "rolled_back"
    current = ChampionLog(store).current()
    assert current is not None
    assert training_bundle_of(store, current.bundle) == good.document.bundle
    assert store.read_manifest(current.bundle).date == REVIEWED
    assert [entry.action for entry in ChampionLog(store).entries()].count("rollback") == 2


def test_review_without_permission_keeps_champion_and_reports(data: SyntheticData, store: Store) -> None:
    entries = ChampionLog(store).entries()
    found = ran(data, store, may=False)
    assert found.outcome == "kept"
    assert found.reason.startswith("Rolling back is forbidden. Not worse than")
    assert ChampionLog(store).entries() == entries


def test_review_keeps_better_champion(data: SyntheticData, weak_store: Store) -> None:
    told = run_training(data, june(14), weak_store)
    assert told.outcome == "promoted"
    promoted = ChampionLog(weak_store).entries()
    found = ran(data, weak_store)
    assert (found.outcome, found.champion) == ("kept", told.bundle)
    assert ChampionLog(weak_store).entries() == promoted


def test_review_keeps_champion_promoted_by_override(data: SyntheticData, good_store: Store) -> None:
    document = run_training(data, june(14), good_store, plan=quick_plan(IDLE_QUANTILE), allow_promotion=False)
    override_champion(good_store, document.bundle, june(14))
    found = ran(data, good_store)
    assert (found.outcome, found.comparison) == ("kept", None)
    assert "chosen by a person" in found.reason


def test_review_after_rollback_keeps_champion(data: SyntheticData, store: Store, good: TrainedStore) -> None:
    """Another date's review finds the models that returned, and leaves them."""
    assert ran(data, store).outcome == "rolled_back"
    entries = ChampionLog(store).entries()
    found = ran(data, store, day=17)
    assert (found.outcome, found.reason) == ("kept", "There are no other models to go back to.")
    assert ChampionLog(store).entries() == entries


@pytest.mark.parametrize(
    ("day", "reason"),
    [(14, "no order yet that neither has seen since it serves"), (13, "There are no other models to go back to.")],
)
def test_review_without_new_orders_keeps_champion(data: SyntheticData, store: Store, day: int, reason: str) -> None:
    found = ran(data, store, day=day)
    assert found.outcome == "kept"
    assert reason in found.reason


def test_review_with_too_few_orders_keeps_champion(data: SyntheticData, store: Store) -> None:
    few = replace(
        data.training_data,
        is_evaluation=data.training_data.is_evaluation & (data.training_data.orders.restaurant_id % 7 == 0),
    )
    found = review_champion(few, store, REVIEWED, ACTOR, allow_rollback=True)
    assert found.outcome == "kept"
    assert "too few" in found.reason


def test_review_without_previous_models_keeps_champion(
    data: SyntheticData, folder_store: Store, good_store: Store
) -> None:
    assert ran(data, folder_store).reason == "There is no champion yet."
    assert ran(data, good_store).reason == "There are no other models to go back to."


def test_review_rejects_damaged_previous_bundle(
    data: SyntheticData, store: Store, good: TrainedStore, tmp_path: Path
) -> None:
    entries = ChampionLog(store).entries()
    path = tmp_path / "mistaken" / "bundles" / good.document.bundle / MODEL_FILE
    assert path.is_file()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleVerificationError):
        ran(data, store)
    assert ChampionLog(store).entries() == entries


def followed(data: SyntheticData, store: Store, mistaken: TrainedStore) -> None:
    """A refresh on the reviewed date, and a champion of the day after."""
    run_refresh(data.as_of(REVIEWED), REVIEWED, store)
    promote(store, mistaken.document.bundle, 17)


def test_review_works_after_older_refreshes_are_pruned(
    data: SyntheticData, store: Store, good: TrainedStore, mistaken: TrainedStore
) -> None:
    lost = run_refresh(data.as_of(june(15)), june(15), store).bundle
    run_refresh(data.as_of(june(16)), june(16), store)
    store.delete(lost)
    found = ran(data, store, may=False)
    assert (found.previous, found.comparison is not None) == (good.document.bundle, True)
    assert training_bundle_of(store, lost) == mistaken.document.bundle


def test_review_keeps_champion_if_previous_is_pruned(
    data: SyntheticData, store: Store, good: TrainedStore, mistaken: TrainedStore
) -> None:
    store.delete(good.document.bundle)
    found = ran(data, store)
    assert (found.outcome, found.previous) == ("kept", good.document.bundle)
    assert found.reason == "The models before it are not in the store any more."
    followed(data, store, mistaken)
    with pytest.raises(UsageError, match=f"{good.document.bundle}, which served before, is not in") as caught:
        ran(data, store)
    assert caught.value.hint == "Run preptime train --date 2015-06-13 again first."


def test_review_of_past_date_changes_nothing(
    data: SyntheticData, store: Store, good: TrainedStore, mistaken: TrainedStore
) -> None:
    followed(data, store, mistaken)
    entries = ChampionLog(store).entries()
    found = ran(data, store)
    assert (found.outcome, found.previous) == ("kept", good.document.bundle)
    assert found.champion == entries[-2].bundle
    assert found.reason.startswith("A champion of a later date followed; a backfill changes nothing. Not worse than")
    assert ChampionLog(store).entries() == entries
