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
from preptime.training.training_data import rows_as_of
from preptime.validation.data_gate import GateThresholds
from preptime.validation.gate_checks import evaluate_gate, evaluate_history
from preptime.validation.label_counts import LabelCounts
from tests.training.factories import SyntheticData, TrainedStore, bundle_bytes, june, run_refresh

LABEL = pl.col("prep_time_seconds")
ON_LAST_DAY = pl.col("order_acknowledged_at").cast(pl.String).str.starts_with("2015-06-14")


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
    assert fresh.graph_files() == parent.graph_files()
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


def _with_labels(data: SyntheticData, label: pl.Expr) -> SyntheticData:
    """Return the same orders with other labels, without the ready times that they would contradict."""
    orders = data.orders.with_columns(prep_time_seconds=label.cast(pl.Int64)).drop("order_ready_at")
    return SyntheticData.from_frames(orders, data.restaurants)


@pytest.mark.parametrize(
    ("label", "fact", "option"),
    [
        (LABEL // 60, "Are the labels in minutes?", "max_short_label_share=0.9"),
        (LABEL * 1_000, "Are the labels in milliseconds?", "max_long_label_share=0.9"),
        (pl.when(ON_LAST_DAY).then(LABEL // 60).otherwise(LABEL), "On 2015-06-14, 9", "max_share_rise=0."),
        (
            pl.when(ON_LAST_DAY).then(LABEL * 3).otherwise(LABEL),
            "The median label of 2015-06-14 is",
            "max_median_ratio=3.",
        ),
    ],
    ids=["minutes", "milliseconds", "minutes-of-the-last-day", "jump-of-the-last-day"],
)
def test_refresh_refuses_labels_before_publishing(
    data: SyntheticData, weak_store: Store, label: pl.Expr, fact: str, option: str
) -> None:
    wrong = _with_labels(data, label)
    bundles, entries = weak_store.bundle_ids(), weak_store.log_file_names()
    with pytest.raises(DataError, match="didn't pass the data gate") as refused:
        run_refresh(wrong, june(15), weak_store)
    assert fact in refused.value.facts
    assert f"--gate {option}" in refused.value.hint
    assert (weak_store.bundle_ids(), weak_store.log_file_names()) == (bundles, entries)


def test_refresh_checks_labels_as_training_does(data: SyntheticData) -> None:
    """Both check the same labels, so both refuse or accept the same data."""
    wrong = _with_labels(data, pl.when(ON_LAST_DAY).then(LABEL // 60).otherwise(LABEL))
    gate = evaluate_gate(wrong.audited, june(15), GateThresholds())
    counts = LabelCounts.from_audited(rows_as_of(wrong.audited, wrong.restaurant_index, june(15)), june(15))
    history = evaluate_history({june(14): 200}, counts, june(15), GateThresholds(), wrong.audited.schema)
    names = {"short_labels", "long_labels", "latest_short_labels", "latest_long_labels", "latest_median"}
    names.add("weekly_median")
    assert [check for check in gate.checks if check.name in names] == [
        check for check in history.checks if check.name in names
    ]
    assert {check.name for check in history.checks} == names | {"freshness", "volume"}
