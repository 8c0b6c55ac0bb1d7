"""Tests of the refresh: the champion's models with new history."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import MODEL_FILE
from preptime.bundle.store import Store
from preptime.domain.orders import UNKNOWN_CODE
from preptime.errors import BundleVerificationError, DataError, UsageError
from preptime.features.history_state import HistoryState
from preptime.features.shrinkage import build_history
from tests.training.factories import SyntheticData, TrainedStore, bundle_bytes, june, run_refresh


def move_restaurants(data: SyntheticData, city: str, ids: list[int]) -> SyntheticData:
    """Return the same orders with some restaurants in another city."""
    is_moved = pl.col("restaurant_id").is_in(ids)
    restaurants = data.restaurants.with_columns(city=pl.when(is_moved).then(pl.lit(city)).otherwise("city"))
    return SyntheticData.from_frames(data.orders, restaurants)


def test_refresh_publishes_champion_models_with_new_history(
    data: SyntheticData, good: TrainedStore, good_store: Store
) -> None:
    document = run_refresh(data, june(15), good_store)
    assert (document.date, document.parent, document.champion_number) == (june(15), good.document.bundle, 2)
    known = data.training_data.as_of(june(15))
    assert (document.orders, document.unknown_values) == (int(known.is_history.sum()), {})
    fresh, parent = fetch_verified(good_store, document.bundle), fetch_verified(good_store, good.document.bundle)
    assert fresh.model_bytes() == parent.model_bytes()
    expected = build_history(
        HistoryState.from_orders(data.restaurant_index, known.completed.take(known.is_history)),
        data.restaurant_index,
        june(15),
    )
    arrays = fresh.history.arrays()
    assert all(np.array_equal(arrays[name], array) for name, array in expected.arrays().items())
    entry = ChampionLog(good_store).current()
    assert entry is not None
    assert (entry.bundle, entry.action, entry.comparison) == (document.bundle, "refresh", None)
    assert entry.reason == "New history. The champion's models."


def test_refresh_rerun_changes_nothing(data: SyntheticData, good_store: Store) -> None:
    first = run_refresh(data, june(14), good_store)
    before = bundle_bytes(good_store, first.bundle)
    assert run_refresh(data, june(14), good_store) == first
    assert bundle_bytes(good_store, first.bundle) == before
    assert good_store.log_file_names() == ["000001.json", "000002.json"]


def test_refresh_of_refresh_has_trained_bundle_as_parent(
    data: SyntheticData, good: TrainedStore, good_store: Store
) -> None:
    first = run_refresh(data, june(14), good_store)
    second = run_refresh(data, june(15), good_store)
    assert second.bundle != first.bundle
    assert (first.parent, second.parent) == (good.document.bundle, good.document.bundle)
    assert second.champion_number == 3


def test_refresh_with_corrected_orders_publishes_other_bundle(data: SyntheticData, good_store: Store) -> None:
    first = run_refresh(data, june(14), good_store)
    corrected = SyntheticData.from_frames(data.orders.slice(50), data.restaurants)
    second = run_refresh(corrected, june(14), good_store)
    assert (second.bundle != first.bundle, second.champion_number) == (True, 3)


def test_refresh_encodes_new_city_as_unknown(data: SyntheticData, good: TrainedStore, good_store: Store) -> None:
    """The new city sorts first, so without the champion's codes, all cities would be wrong."""
    ids = data.restaurants["restaurant_id"].head(3).to_list()
    changed = move_restaurants(data, "Aachen", ids)
    assert changed.restaurant_index.vocabularies.city[0] == "Aachen"
    document = run_refresh(changed, june(14), good_store)
    assert document.unknown_values == {"city": 3}
    bundle = fetch_verified(good_store, document.bundle)
    history, old = bundle.history, data.restaurant_index
    assert history.vocabularies.city == old.vocabularies.city
    is_moved = np.isin(history.restaurants.restaurant_id, ids)
    assert (history.restaurants.city[is_moved] == UNKNOWN_CODE).all()
    assert np.array_equal(history.restaurants.city[~is_moved], old.city[~np.isin(old.restaurant_id, ids)])
    assert (
        good_store.read_manifest(document.bundle).files[MODEL_FILE]
        == good_store.read_manifest(good.document.bundle).files[MODEL_FILE]
    )


def test_refresh_without_champion_raises(data: SyntheticData, folder_store: Store) -> None:
    with pytest.raises(UsageError, match="has no champion"):
        run_refresh(data, june(14), folder_store)


def test_refresh_rejects_date_before_champion(data: SyntheticData, good_store: Store) -> None:
    with pytest.raises(UsageError, match="has the date 2015-06-13, which is later than 2015-06-12"):
        run_refresh(data, june(12), good_store)
    assert good_store.log_file_names() == ["000001.json"]


def test_refresh_rejects_orders_after_the_date_only(data: SyntheticData, good_store: Store) -> None:
    later = SyntheticData.from_frames(
        data.orders.filter(data.audited.frame["acknowledged_local"].dt.date() >= june(15)), data.restaurants
    )
    with pytest.raises(DataError, match=r"There is no order before"):
        run_refresh(later, june(14), good_store)


def test_refresh_rejects_damaged_champion(data: SyntheticData, good: TrainedStore, good_store: Store) -> None:
    (good_store.fetch(good.document.bundle) / "golden.json").write_bytes(b"{}")
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected"):
        run_refresh(data, june(14), good_store)
    assert good_store.bundle_ids() == [good.document.bundle]
    assert good_store.log_file_names() == ["000001.json"]
