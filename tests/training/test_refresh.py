"""The champion's models with this morning's history."""

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
from preptime.features.history import build_history
from preptime.features.history_state import HistoryState
from tests.training.factories import Data, Stocked, bundle_bytes, june, refresh_with


def moved(data: Data, city: str, ids: list[int]) -> Data:
    """The same orders; some restaurants have moved to another city since."""
    there = pl.col("restaurant_id").is_in(ids)
    restaurants = data.restaurants.with_columns(city=pl.when(there).then(pl.lit(city)).otherwise("city"))
    return Data.of(data.orders, restaurants)


def test_the_new_champion_has_the_old_models_and_this_mornings_history(
    data: Data, good: Stocked, good_store: Store
) -> None:
    told = refresh_with(data, june(15), good_store)
    assert (told.date, told.parent, told.champion_number) == (june(15), good.document.bundle, 2)
    known = data.corpus.as_of(june(15))
    assert (told.orders, told.unknown_values) == (int(known.is_history.sum()), {})
    fresh, parent = fetch_verified(good_store, told.bundle), fetch_verified(good_store, good.document.bundle)
    assert fresh.model_bytes() == parent.model_bytes()
    expected = build_history(
        HistoryState.from_orders(data.directory, known.completed.take(known.is_history)), data.directory, june(15)
    )
    arrays = fresh.history.arrays()
    assert all(np.array_equal(arrays[name], array) for name, array in expected.arrays().items())
    entry = ChampionLog(good_store).current()
    assert entry is not None
    assert (entry.bundle, entry.action, entry.comparison) == (told.bundle, "refresh", None)
    assert entry.reason == "New history. The champion's models."


def test_refreshing_again_changes_nothing(data: Data, good_store: Store) -> None:
    first = refresh_with(data, june(14), good_store)
    before = bundle_bytes(good_store, first.bundle)
    assert refresh_with(data, june(14), good_store) == first
    assert bundle_bytes(good_store, first.bundle) == before
    assert good_store.log_file_names() == ["000001.json", "000002.json"]


def test_a_refresh_of_a_refresh_has_the_trained_bundle_as_parent(data: Data, good: Stocked, good_store: Store) -> None:
    first = refresh_with(data, june(14), good_store)
    second = refresh_with(data, june(15), good_store)
    assert second.bundle != first.bundle
    assert (first.parent, second.parent) == (good.document.bundle, good.document.bundle)
    assert second.champion_number == 3


def test_corrected_orders_of_the_same_morning_make_another_history(data: Data, good_store: Store) -> None:
    first = refresh_with(data, june(14), good_store)
    corrected = Data.of(data.orders.slice(50), data.restaurants)
    second = refresh_with(corrected, june(14), good_store)
    assert (second.bundle != first.bundle, second.champion_number) == (True, 3)


def test_a_city_that_the_models_have_never_seen_is_unknown_to_them(
    data: Data, good: Stocked, good_store: Store
) -> None:
    """It sorts before every other, so every code but for the champion's own would be another city's."""
    ids = data.restaurants["restaurant_id"].head(3).to_list()
    now = moved(data, "Aachen", ids)
    assert now.directory.vocabularies.city[0] == "Aachen"
    told = refresh_with(now, june(14), good_store)
    assert told.unknown_values == {"city": 3}
    bundle = fetch_verified(good_store, told.bundle)
    history, old = bundle.history, data.directory
    assert history.vocabularies.city == old.vocabularies.city
    there = np.isin(history.restaurants.restaurant_id, ids)
    assert (history.restaurants.city[there] == UNKNOWN_CODE).all()
    assert np.array_equal(history.restaurants.city[~there], old.city[~np.isin(old.restaurant_id, ids)])
    assert (
        good_store.read_manifest(told.bundle).files[MODEL_FILE]
        == good_store.read_manifest(good.document.bundle).files[MODEL_FILE]
    )


def test_without_a_champion_there_is_nothing_to_refresh(data: Data, folder_store: Store) -> None:
    with pytest.raises(UsageError, match="has no champion"):
        refresh_with(data, june(14), folder_store)


def test_an_earlier_morning_than_the_champions_is_refused(data: Data, good_store: Store) -> None:
    with pytest.raises(UsageError, match="is of 2015-06-13, later than 2015-06-12"):
        refresh_with(data, june(12), good_store)
    assert good_store.log_file_names() == ["000001.json"]


def test_orders_of_later_days_alone_are_refused(data: Data, good_store: Store) -> None:
    later = Data.of(
        data.orders.filter(data.audited.frame["acknowledged_local"].dt.date() >= june(15)), data.restaurants
    )
    with pytest.raises(DataError, match=r"The last order was acknowledged never"):
        refresh_with(later, june(14), good_store)


def test_a_damaged_champion_is_refused_and_stays(data: Data, good: Stocked, good_store: Store) -> None:
    (good_store.fetch(good.document.bundle) / "golden.json").write_bytes(b"{}")
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected"):
        refresh_with(data, june(14), good_store)
    assert good_store.bundle_ids() == [good.document.bundle]
    assert good_store.log_file_names() == ["000001.json"]
