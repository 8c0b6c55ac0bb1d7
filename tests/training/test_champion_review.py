"""Tests of the champion review: it rolls back worse models once, and changes nothing otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

import msgspec
import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import Action, ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.copying import copy_store
from preptime.bundle.manifest import MODEL_FILE, JsonObject
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError, UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA, Target
from preptime.training import champion_review as reviewing
from preptime.training.champion_review import ChampionReview, review_champion, training_bundle_of
from preptime.training.publishing import build_champion_history, publish_refresh
from tests.bundle.factories import damage_remote_bundle, remote_store
from tests.training.factories import (
    ACTOR,
    IDLE_QUANTILE,
    SyntheticData,
    TrainedStore,
    june,
    override_champion,
    quick_plan,
    run_refresh,
    run_training,
)


class RollbackOptions(TypedDict):
    """The options of `ChampionLog.rollback`."""

    reason: str
    by: str
    at: str
    expected_number: NotRequired[int | None]
    comparison: NotRequired[JsonObject | None]


REVIEWED = june(16)
"""As of this date, the orders of the 14th and 15th are known, which neither bundle was fitted on."""


@pytest.fixture(scope="session")
def worse(data: SyntheticData, good: TrainedStore, tmp_path_factory: pytest.TempPathFactory) -> TrainedStore:
    """Return a store whose accurate champion of the 13th was replaced by an inaccurate one on the 14th."""
    root = tmp_path_factory.mktemp("worse") / "models"
    store = good.copy(root)
    document = run_training(data, june(14), store, plan=quick_plan(IDLE_QUANTILE), allow_promotion=False)
    promote(store, document.bundle, 14)
    return TrainedStore(root, document)


def promote(store: Store, bundle: str, day: int) -> None:
    """Write the log entry of a promotion."""
    log = ChampionLog(store)
    log.append(
        LogEntryDraft(bundle=bundle, date=june(day), action="promote", reason="Passed.", by="test", at=""),
        log.current(),
    )


@pytest.fixture
def store(worse: TrainedStore, tmp_path: Path) -> Store:
    """Return a copy of the store of `worse`."""
    return worse.copy(tmp_path / "worse")


def review(data: SyntheticData, store: Store, *, allow_rollback: bool = True, day: int = 16) -> ChampionReview:
    return review_champion(
        data.training_data, store, june(day), ACTOR, schema=data.audited.schema, allow_rollback=allow_rollback
    )


def current_models(store: Store) -> str:
    """Return the trained bundle whose models the champion has."""
    current = ChampionLog(store).current()
    assert current is not None
    return training_bundle_of(store, current.bundle)


def test_review_rolls_back_worse_models_with_new_history(
    data: SyntheticData, store: Store, good: TrainedStore, worse: TrainedStore
) -> None:
    result = review(data, store)
    assert (result.outcome, result.champion, result.previous) == (
        "rolled_back", worse.document.bundle, good.document.bundle,
    )  # fmt: skip
    comparison = result.comparison
    assert comparison is not None
    assert (comparison.first_day, comparison.last_day) == (june(14), june(15))
    fitted_through = [
        store.read_manifest(document.bundle).window.fitted_through for document in (good.document, worse.document)
    ]
    assert fitted_through == [june(12), june(13)]
    assert comparison.champion_mae is not None
    assert comparison.challenger_mae is not None
    assert comparison.challenger_mae > 1.02 * comparison.champion_mae
    rollback, refresh = ChampionLog(store).entries()[-2:]
    assert (rollback.action, rollback.bundle, rollback.previous) == (
        "rollback",
        good.document.bundle,
        worse.document.bundle,
    )
    assert rollback.reason.startswith("Review of 2015-06-16. Not worse than")
    assert (refresh.action, training_bundle_of(store, refresh.bundle)) == ("refresh", good.document.bundle)
    assert store.read_manifest(refresh.bundle).date == REVIEWED


def with_target(data: SyntheticData) -> SyntheticData:
    """Return the same orders with another target."""
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, target=Target(name="delivery", title="delivery time"))
    return SyntheticData.from_frames(data.orders, data.restaurants, schema)


def test_review_refuses_orders_of_another_target(data: SyntheticData, store: Store) -> None:
    before = ChampionLog(store).entries(), store.bundle_ids()
    with pytest.raises(UsageError, match=r"orders have the target delivery .* predict preparation") as refused:
        review(with_target(data), store)
    assert "--schema" in refused.value.hint
    assert (ChampionLog(store).entries(), store.bundle_ids()) == before


def test_interrupted_review_refuses_orders_of_another_target(
    data: SyntheticData, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history of delivery times is never published with models that predict preparation times."""
    interrupt_review(data, store, monkeypatch)
    with pytest.raises(UsageError, match="orders have the target delivery"):
        review(with_target(data), store)
    assert {entry.action for entry in ChampionLog(store).entries()[-2:]} == {"rollback"}


def test_review_publishes_no_history_without_its_features(data: SyntheticData, store: Store) -> None:
    """The orders have no values, so their history would lack those of the restored models."""
    orders = {name: column for name, column in TAKE_HOME_SCHEMA.orders.items() if name != "order_value"}
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, orders=orders)
    plain = SyntheticData.from_frames(data.orders, data.restaurants, schema)
    first = review(plain, store)
    assert first.outcome == "rolled_back"
    assert "needs order_value, which the schema lacks" in first.reason
    assert f"preptime refresh --date {REVIEWED}" in first.reason
    entries = ChampionLog(store).entries()
    assert entries[-1].action == "rollback"
    assert review(plain, store) == first
    assert ChampionLog(store).entries() == entries


def test_review_rerun_returns_same_result_without_new_entries(data: SyntheticData, store: Store) -> None:
    first = review(data, store)
    entries = ChampionLog(store).entries()
    assert msgspec.json.encode(review(data, store)) == msgspec.json.encode(first)
    assert ChampionLog(store).entries() == entries


def test_review_rolls_back_refreshes_of_worse_models(data: SyntheticData, store: Store, good: TrainedStore) -> None:
    run_refresh(data.as_of(june(15)), june(15), store)
    assert review(data, store).outcome == "rolled_back"
    assert current_models(store) == good.document.bundle


def test_review_rerun_completes_interrupted_review(
    data: SyntheticData, store: Store, good: TrainedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The review fails after the first of two rollbacks, and then before the refresh."""
    run_refresh(data.as_of(june(15)), june(15), store)
    original = ChampionLog.rollback
    calls: list[int] = []

    def fail_second_call(
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
        return original(self, reason=reason, by=by, at=at, expected_number=expected_number, comparison=comparison)

    monkeypatch.setattr(ChampionLog, "rollback", fail_second_call)
    with pytest.raises(StoreError):
        review(data, store)
    monkeypatch.setattr(ChampionLog, "rollback", original)

    def fail(*_: object, **__: object) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(reviewing, "publish_refresh", fail)
        with pytest.raises(StoreError):
            review(data, store)
    assert review(data, store).outcome == "rolled_back"
    assert current_models(store) == good.document.bundle
    current = ChampionLog(store).current()
    assert current is not None
    assert store.read_manifest(current.bundle).date == REVIEWED
    assert [entry.action for entry in ChampionLog(store).entries()].count("rollback") == 2


def interrupt_review(data: SyntheticData, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh the worse models as of the 15th, and stop the review after the first of its two rollbacks."""
    run_refresh(data.as_of(june(15)), june(15), store)
    original = ChampionLog.rollback

    def roll_back_then_fail(self: ChampionLog, **options: Unpack[RollbackOptions]) -> LogEntry:
        original(self, **options)
        raise StoreError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(ChampionLog, "rollback", roll_back_then_fail)
        with pytest.raises(StoreError):
            review(data, store)


@pytest.mark.parametrize("allow_rollback", [True, False])
@pytest.mark.parametrize("action", ["override", "promote"])
def test_review_rerun_keeps_later_decision(
    data: SyntheticData, store: Store, worse: TrainedStore, action: Action, *, allow_rollback: bool
) -> None:
    """A person or a training makes the rejected models the champion again, dated the reviewed date."""
    first = review(data, store)
    log = ChampionLog(store)
    draft = LogEntryDraft(bundle=worse.document.bundle, date=REVIEWED, action=action, reason="Keep.", by="user", at="")
    log.append(draft, log.current())
    entries = log.entries()
    assert review(data, store, allow_rollback=allow_rollback) == first
    assert log.entries() == entries


def test_review_rerun_keeps_later_rollback_by_user(
    data: SyntheticData, store: Store, good: TrainedStore, worse: TrainedStore
) -> None:
    """The rejected models were also champion earlier, and a person returns to them."""
    for bundle in (good.document.bundle, worse.document.bundle):
        promote(store, bundle, 14)
    first = review(data, store)
    log = ChampionLog(store)
    for _ in range(2):  # the refresh of the review, and the models that it returned to
        log.rollback(reason="Back.", by="user", at="")
    entries = log.entries()
    assert (first.outcome, entries[-1].bundle) == ("rolled_back", worse.document.bundle)
    assert review(data, store) == first
    assert log.entries() == entries


def test_interrupted_review_keeps_champion_of_later_date(
    data: SyntheticData, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_review(data, store, monkeypatch)
    current = ChampionLog(store).current()
    assert current is not None
    champion = fetch_verified(store, current.bundle)
    history = build_champion_history(champion, data.training_data.as_of(june(17)), june(17))
    publish_refresh(store, champion, history, expected_current=current, actor=ACTOR)
    entries = ChampionLog(store).entries()
    assert (entries[-1].action, entries[-1].date) == ("refresh", june(17))
    assert review(data, store).outcome == "rolled_back"
    assert ChampionLog(store).entries() == entries


def test_interrupted_review_requires_permission(
    data: SyntheticData, store: Store, good: TrainedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_review(data, store, monkeypatch)
    entries = ChampionLog(store).entries()
    assert entries[-1].action == "rollback"
    assert review(data, store, allow_rollback=False).outcome == "rolled_back"
    assert ChampionLog(store).entries() == entries
    assert review(data, store).outcome == "rolled_back"
    assert current_models(store) == good.document.bundle


def test_interrupted_review_continues_through_refresh(
    data: SyntheticData, store: Store, good: TrainedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worse models are refreshed as of the reviewed date before the review runs again."""
    interrupt_review(data, store, monkeypatch)
    run_refresh(data.as_of(REVIEWED), REVIEWED, store)
    assert review(data, store).outcome == "rolled_back"
    assert current_models(store) == good.document.bundle


def test_review_without_permission_keeps_champion_and_reports(data: SyntheticData, store: Store) -> None:
    entries = ChampionLog(store).entries()
    result = review(data, store, allow_rollback=False)
    assert result.outcome == "kept"
    assert result.reason.startswith("Rollback isn't allowed. Not worse than")
    assert ChampionLog(store).entries() == entries


def test_review_keeps_better_champion(data: SyntheticData, weak_store: Store) -> None:
    document = run_training(data, june(14), weak_store)
    assert document.outcome == "promoted"
    promoted = ChampionLog(weak_store).entries()
    result = review(data, weak_store)
    assert (result.outcome, result.champion) == ("kept", document.bundle)
    assert ChampionLog(weak_store).entries() == promoted


def test_review_keeps_champion_promoted_by_override(data: SyntheticData, good_store: Store) -> None:
    document = run_training(data, june(14), good_store, plan=quick_plan(IDLE_QUANTILE), allow_promotion=False)
    override_champion(good_store, document.bundle, june(14))
    result = review(data, good_store)
    assert (result.outcome, result.comparison) == ("kept", None)
    assert "promoted by override" in result.reason


def test_review_after_rollback_keeps_champion(data: SyntheticData, store: Store, good: TrainedStore) -> None:
    """The review of another date keeps the models that a rollback returned to."""
    assert review(data, store).outcome == "rolled_back"
    entries = ChampionLog(store).entries()
    result = review(data, store, day=17)
    assert (result.outcome, result.reason) == ("kept", "There are no previous models to return to.")
    assert ChampionLog(store).entries() == entries


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        (14, "there are no orders yet that neither bundle was fitted on"),
        (13, "There are no previous models to return to."),
    ],
)
def test_review_without_new_orders_keeps_champion(data: SyntheticData, store: Store, day: int, reason: str) -> None:
    result = review(data, store, day=day)
    assert result.outcome == "kept"
    assert reason in result.reason


def test_review_with_too_few_orders_keeps_champion(data: SyntheticData, store: Store) -> None:
    few_orders = replace(
        data.training_data,
        is_evaluation=data.training_data.is_evaluation & (data.training_data.orders.restaurant_id % 7 == 0),
    )
    result = review_champion(few_orders, store, REVIEWED, ACTOR, schema=TAKE_HOME_SCHEMA, allow_rollback=True)
    assert result.outcome == "kept"
    assert "but a review requires 200. To roll back without a review, use preptime bundles rollback" in result.reason


def test_review_without_previous_models_keeps_champion(
    data: SyntheticData, folder_store: Store, good_store: Store
) -> None:
    assert review(data, folder_store).reason == "There is no champion yet."
    assert review(data, good_store).reason == "There are no previous models to return to."


def test_review_rejects_damaged_previous_bundle(
    data: SyntheticData, store: Store, good: TrainedStore, tmp_path: Path
) -> None:
    entries = ChampionLog(store).entries()
    path = tmp_path / "worse" / "bundles" / good.document.bundle / MODEL_FILE
    assert path.is_file()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleVerificationError):
        review(data, store)
    assert ChampionLog(store).entries() == entries


def test_review_checks_previous_bundle_despite_a_cached_copy(
    data: SyntheticData, store: Store, good: TrainedStore, tmp_path: Path
) -> None:
    remote = remote_store(tmp_path)
    copy_store(store, remote)
    remote.fetch(good.document.bundle)
    damage_remote_bundle(remote, good.document.bundle)
    entries = ChampionLog(remote).entries()
    with pytest.raises(BundleVerificationError):
        review(data, remote)
    assert ChampionLog(remote).entries() == entries


def promote_later_champion(data: SyntheticData, store: Store, worse: TrainedStore) -> None:
    """Refresh for the reviewed date, and promote a champion of the next day."""
    run_refresh(data.as_of(REVIEWED), REVIEWED, store)
    promote(store, worse.document.bundle, 17)


def test_review_works_after_older_refreshes_are_pruned(
    data: SyntheticData, store: Store, good: TrainedStore, worse: TrainedStore
) -> None:
    pruned = run_refresh(data.as_of(june(15)), june(15), store).bundle
    run_refresh(data.as_of(june(16)), june(16), store)
    store.delete(pruned)
    result = review(data, store, allow_rollback=False)
    assert (result.previous, result.comparison is not None) == (good.document.bundle, True)
    assert training_bundle_of(store, pruned) == worse.document.bundle


def test_review_keeps_champion_if_previous_is_pruned(
    data: SyntheticData, store: Store, good: TrainedStore, worse: TrainedStore
) -> None:
    store.delete(good.document.bundle)
    result = review(data, store)
    assert (result.outcome, result.previous) == ("kept", good.document.bundle)
    assert result.reason == "The previous models aren't in the store."
    promote_later_champion(data, store, worse)
    with pytest.raises(UsageError, match=f"The previous champion {good.document.bundle} isn't in") as caught:
        review(data, store)
    assert caught.value.hint == "First, run preptime train --date 2015-06-13 again."


def test_review_of_past_date_changes_nothing(
    data: SyntheticData, store: Store, good: TrainedStore, worse: TrainedStore
) -> None:
    promote_later_champion(data, store, worse)
    entries = ChampionLog(store).entries()
    result = review(data, store)
    assert (result.outcome, result.previous) == ("kept", good.document.bundle)
    assert result.champion == entries[-2].bundle
    assert result.reason.startswith(
        "A champion with a later date followed, and a backfill changes nothing. Not worse than"
    )
    assert ChampionLog(store).entries() == entries
