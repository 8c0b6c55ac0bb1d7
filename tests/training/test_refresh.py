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
from preptime.validation.data_gate import THRESHOLDS_BY_CHECK, GateThresholds
from preptime.validation.gate_checks import evaluate_gate, evaluate_history
from preptime.validation.label_counts import LabelCounts, day_number
from preptime.validation.order_counts import OrderCounts
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


def assert_refused(orders: SyntheticData, store: Store, fact: str, option: str) -> None:
    """Check that a refresh is refused with a fact and an option, and publishes nothing."""
    bundles, entries = store.bundle_ids(), store.log_file_names()
    with pytest.raises(DataError, match="didn't pass the data gate") as refused:
        run_refresh(orders, june(15), store)
    assert fact in refused.value.facts
    assert f"--gate {option}" in refused.value.hint
    assert (store.bundle_ids(), store.log_file_names()) == (bundles, entries)


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
    assert_refused(wrong, weak_store, fact, option)


def test_refresh_checks_labels_as_training_does(data: SyntheticData) -> None:
    """Both check the same labels, so both refuse or accept the same data."""
    wrong = _with_labels(data, pl.when(ON_LAST_DAY).then(LABEL // 60).otherwise(LABEL))
    gate = evaluate_gate(wrong.audited, june(15), GateThresholds())
    counts = LabelCounts.from_audited(rows_as_of(wrong.audited, wrong.restaurant_index, june(15)), june(15))
    orders = OrderCounts.from_audited(wrong.audited, june(15))
    history = evaluate_history(
        {day_number(june(14)): 200}, counts, june(15), GateThresholds(), orders=orders, schema=wrong.audited.schema
    )
    own = {"freshness", "volume"}
    assert [check for check in gate.checks if check.name not in {*own, "days", "orders"}] == [
        check for check in history.checks if check.name not in own
    ]
    assert {check.name for check in history.checks} == THRESHOLDS_BY_CHECK.keys() - {"days", "orders"}


NUMBER = pl.int_range(pl.len())
AT = pl.col("order_acknowledged_at").cast(pl.String)


@pytest.mark.parametrize(
    ("change", "fact", "option"),
    [
        (
            pl.when(NUMBER % 8 != 0).then(pl.col("number_of_items")).alias("number_of_items"),
            "orders can't be used for fitting (missing_value ",
            "max_unusable_share=0.14",
        ),
        (
            pl.when(NUMBER % 8 != 0).then(pl.col("restaurant_id")).otherwise(99_999_999).alias("restaurant_id"),
            "orders are of restaurants that aren't in the restaurants file; the maximum is 10%",
            "max_unknown_restaurant_share=0.13",
        ),
        (
            pl.when(NUMBER % 5 > 1).then(LABEL).alias("prep_time_seconds"),
            "orders have no label as of 2015-06-15, so they are open; the maximum is 30% (now 4",
            "max_open_share=0.4",
        ),
        (
            pl.when(~ON_LAST_DAY | (NUMBER % 2 != 0)).then(LABEL).alias("prep_time_seconds"),
            "orders were open at the end of the day",
            "max_open_share=0.",
        ),
    ],
    ids=["unusable", "unknown-restaurants", "open", "open-on-the-last-day"],
)
def test_refresh_refuses_orders_before_publishing(
    data: SyntheticData, weak_store: Store, change: pl.Expr, fact: str, option: str
) -> None:
    """The same shares as before training, although a history needs no open and no unusable order."""
    changed = data.orders.with_columns(change).drop("order_ready_at")
    wrong = SyntheticData.from_frames(changed, data.restaurants)
    assert_refused(wrong, weak_store, fact, option)


def test_refresh_refuses_day_without_evening(data: SyntheticData, weak_store: Store) -> None:
    """The number of orders is usual, so only the time of the last one shows that the export is incomplete."""
    earlier = data.orders.filter(~ON_LAST_DAY | (AT.str.slice(11, 2) < "18"))
    lunch = earlier.filter(ON_LAST_DAY)
    again = pl.concat([earlier, *[lunch.with_columns(pl.col("order_value_gbp") + n) for n in (1, 2, 3)]])
    with pytest.raises(DataError, match=r"The last order of 2015-06-14 came .* h earlier") as refused:
        run_refresh(SyntheticData.from_frames(again, data.restaurants), june(15), weak_store)
    assert "The maximum is 60%" not in refused.value.facts
    assert "--gate max_evening_gap_hours=" in refused.value.hint


def test_refresh_accepts_open_orders(data: SyntheticData, good_store: Store) -> None:
    """A fifth of the orders has no label, and none of the other orders is unusable."""
    label = pl.when(NUMBER % 5 != 0).then(LABEL)
    open_data = SyntheticData.from_frames(
        data.orders.with_columns(label.alias("prep_time_seconds")).drop("order_ready_at"), data.restaurants
    )
    document = run_refresh(open_data, june(15), good_store)
    usable = open_data.training_data.as_of(june(15)).is_history
    assert document.orders == int(usable.sum()) < 0.82 * len(data.orders)
