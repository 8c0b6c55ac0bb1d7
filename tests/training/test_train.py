"""Tests of a training run from audited orders to the champion, in a folder and in memory."""

from __future__ import annotations

import datetime as dt
import re
from typing import NoReturn

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import to_json_object
from preptime.bundle.store import Store
from preptime.cli.options import parse_thresholds
from preptime.errors import DataError
from preptime.evaluation.documents import BacktestDocument
from preptime.features.history_state import HistoryState
from preptime.features.shrinkage import build_history
from preptime.models.quantile import QuantileModel
from preptime.synthetic import SynthesisPlan
from preptime.training.comparison import Comparison
from preptime.training.fitting import FitPlan
from preptime.training.requirements import choose_mode, first_counted_day
from preptime.training.training_data import TrainingData, rows_as_of
from preptime.validation.data_gate import GateThresholds, thresholds_from_settings
from tests.training.factories import (
    ACTOR,
    SyntheticData,
    TrainedStore,
    bundle_bytes,
    full_plan,
    june,
    make_challenger,
    make_synthetic_data,
    quick_plan,
    run_training,
    with_stray_orders,
)


def assert_history_as_of(store: Store, bundle_id: str, data: TrainingData, date: dt.date) -> None:
    """Check that the bundle's history has all orders that were ready before `date`."""
    known = data.as_of(date)
    state = HistoryState.from_orders(known.restaurants, known.completed.take(known.is_history))
    expected = build_history(state, known.restaurants, date).arrays()
    history = fetch_verified(store, bundle_id).history.arrays()
    assert all(np.array_equal(history[name], expected[name]) for name in expected)


def test_train_first_passing_bundle_becomes_champion(
    data: SyntheticData, good: TrainedStore, good_store: Store
) -> None:
    document = good.document
    assert (document.outcome, document.champion, document.date) == ("promoted", document.bundle, june(13))
    assert document.comparison is not None
    assert document.comparison.passed
    assert document.reason == document.comparison.summary
    (entry,) = ChampionLog(good_store).entries()
    assert (entry.bundle, entry.action, entry.by, entry.at, entry.date) == (
        document.bundle, "promote", ACTOR.by, ACTOR.at, june(13),
    )  # fmt: skip
    assert msgspec.convert(entry.comparison, Comparison, strict=False) == document.comparison
    manifest = fetch_verified(good_store, document.bundle).manifest
    assert (manifest.kind, manifest.parent, manifest.models) == ("training", None, ("rf", "quantile"))
    known = rows_as_of(data.audited, data.restaurant_index, june(13))
    expected = TrainingData.from_orders(known, data.restaurant_index).as_of(june(13))
    assert manifest.data_fingerprint == expected.fingerprint()
    assert manifest.metrics == to_json_object(document.evaluation)
    assert msgspec.convert(manifest.metrics, BacktestDocument) == document.evaluation
    assert document.parity_seconds.keys() == {"rf", "quantile"}
    assert document.data_gate.passed


def test_train_refits_on_the_days_of_the_gate(data: SyntheticData, good: TrainedStore, good_store: Store) -> None:
    manifest = good_store.read_manifest(good.document.bundle)
    window = manifest.window
    assert (window.first_day, window.last_day, window.fitted_through) == (june(1), june(12), june(12))
    assert (window.gated_from, window.gated_through) == (june(10), june(12))
    known = data.training_data.as_of(june(13))
    assert good.document.orders == int(known.is_fitting.sum())
    assert good.document.evaluation is not None
    assert (good.document.evaluation.first_day, good.document.evaluation.last_day) == ("2015-06-10", "2015-06-12")
    assert_history_as_of(good_store, manifest.id, data.training_data, june(13))


def test_train_with_four_weeks_has_a_gate_of_a_week(folder_store: Store) -> None:
    month = make_synthetic_data(SynthesisPlan(orders=3_000, restaurants=40, days=29))
    challenger = make_challenger(
        month.audited, month.training_data.as_of(june(29)), june(29), folder_store, quick_plan()
    )
    window = challenger.manifest.window
    assert (window.fitted_through, window.gated_from, window.gated_through) == (june(28), june(22), june(28))
    assert_history_as_of(folder_store, challenger.manifest.id, month.training_data, june(29))


@pytest.mark.parametrize(
    ("day", "gate_days", "is_reduced"), [(5, 1, True), (6, 3, False), (14, 3, False), (15, 7, False)]
)
def test_choose_mode_depends_on_days_of_data(data: SyntheticData, day: int, gate_days: int, is_reduced: bool) -> None:
    """There are 4 days of data as of 5 June, and 14 as of 15 June."""
    mode = choose_mode(data.training_data, june(day))
    assert (mode.gate_days, mode.is_reduced) == (gate_days, is_reduced)


def test_train_is_byte_identical_in_other_store(
    data: SyntheticData, good: TrainedStore, good_store: Store, memory_store: Store
) -> None:
    document = run_training(data, june(13), memory_store)
    assert document == good.document
    assert bundle_bytes(memory_store, document.bundle) == bundle_bytes(good_store, document.bundle)


def test_train_ignores_orders_after_the_date(data: SyntheticData, folder_store: Store, memory_store: Store) -> None:
    """The report is included, because it shows the audit."""
    all_orders = run_training(data, june(11), folder_store, with_report=True)
    known = run_training(data.as_of(june(11)), june(11), memory_store, with_report=True)
    assert all_orders.bundle == known.bundle
    files = bundle_bytes(folder_store, all_orders.bundle)
    assert files == bundle_bytes(memory_store, known.bundle)
    assert b"<html" in files["report.html"]


def test_train_rerun_changes_nothing(data: SyntheticData, good: TrainedStore, good_store: Store) -> None:
    before = bundle_bytes(good_store, good.document.bundle)
    again = run_training(data, june(13), good_store)
    assert again == good.document
    assert again.outcome == "promoted"
    assert good_store.bundle_ids() == [good.document.bundle]
    assert bundle_bytes(good_store, good.document.bundle) == before
    assert good_store.log_file_names() == ["000001.json"]


def test_train_document_round_trips_as_json(good: TrainedStore) -> None:
    assert msgspec.json.decode(msgspec.json.encode(good.document), type=type(good.document)) == good.document


def test_train_rejects_half_a_day_of_orders(data: SyntheticData, folder_store: Store) -> None:
    local = data.audited.frame["acknowledged_local"]
    half = SyntheticData.from_frames(data.orders.filter(local < dt.datetime(2015, 6, 12, 15)), data.restaurants)
    with pytest.raises(DataError, match="didn't pass the data gate") as caught:
        run_training(half, june(13), folder_store)
    assert "2015-06-12" in caught.value.facts
    assert folder_store.bundle_ids() == []
    assert folder_store.log_file_names() == []


def test_train_uses_given_gate_thresholds(data: SyntheticData, folder_store: Store) -> None:
    with pytest.raises(DataError, match="the minimum is 9,999"):
        run_training(data, june(13), folder_store, thresholds=GateThresholds(min_orders=9_999))
    assert folder_store.bundle_ids() == []


def test_train_rejects_data_of_two_days(data: SyntheticData, folder_store: Store) -> None:
    lenient = GateThresholds(min_days=1, min_orders=1, max_unusable_share=1.0)
    with pytest.raises(DataError) as refused:
        run_training(data, june(3), folder_store, thresholds=lenient)
    assert "Training needs 3 days: 2 to fit on, and 1 to evaluate. The first completed order is of 2015-06-01." in (
        refused.value.facts
    )
    assert refused.value.hint == "Provide orders from 2015-05-31 or earlier."
    assert folder_store.bundle_ids() == []


@pytest.fixture
def plan_without_fits() -> FitPlan:
    """A plan whose models fail the test if they're fitted."""

    class NeverFitted(QuantileModel):
        def fit(self, *_data: object, **_options: object) -> NoReturn:
            raise AssertionError("A model was fitted before all requirements were checked.")

    return FitPlan({"quantile": NeverFitted()}, threads=1)


def test_train_checks_everything_in_one_message(
    data: SyntheticData, folder_store: Store, plan_without_fits: FitPlan
) -> None:
    """Few days and few orders: one message names the gate's limits, the days, and the options, before any fit."""
    few = SyntheticData.from_frames(
        data.orders.filter(data.audited.frame["acknowledged_local"] >= dt.datetime(2015, 6, 11)), data.restaurants
    )
    with pytest.raises(DataError) as refused:
        run_training(few, june(13), folder_store, plan=plan_without_fits)
    for fact in (
        "There are 2 days with orders; the minimum is 7.",
        "can be used for fitting; the minimum is 1,000.",
        "Training needs 3 days: 2 to fit on, and 1 to evaluate.",
    ):
        assert fact in refused.value.facts
    assert "Provide orders from 2015-06-10 or earlier" in refused.value.hint
    assert "--gate min_days=3 --gate min_orders=" in refused.value.hint


def test_train_checks_calibration_before_fitting(
    data: SyntheticData, folder_store: Store, plan_without_fits: FitPlan
) -> None:
    sparse = SyntheticData.from_frames(data.orders.gather_every(60), data.restaurants)
    with pytest.raises(DataError) as refused:
        run_training(sparse, june(13), folder_store, plan=plan_without_fits, thresholds=GateThresholds(min_orders=1))
    assert "Calibration needs 30 orders that can be used for fitting from 2015-06-07 to 2015-06-12" in (
        refused.value.facts
    )
    assert "more orders from 2015-06-07 to 2015-06-12, or choose a later date." in refused.value.hint


def test_train_least_days_of_the_message_are_enough(data: SyntheticData, folder_store: Store) -> None:
    """With five days, the option of the message is all that is missing."""
    five_days = SyntheticData.from_frames(
        data.orders.filter(data.audited.frame["acknowledged_local"] >= dt.datetime(2015, 6, 5)), data.restaurants
    )
    with pytest.raises(DataError) as refused:
        run_training(five_days, june(10), folder_store)
    options = re.findall(r"--gate (\w+=[\d.]+)\b", refused.value.hint)
    assert "min_days=5" in options
    thresholds = thresholds_from_settings(parse_thresholds(tuple(options)))
    assert run_training(five_days, june(10), folder_store, thresholds=thresholds).bundle in folder_store.bundle_ids()


def test_train_rejects_holdout_without_labels(data: SyntheticData, folder_store: Store) -> None:
    lenient = GateThresholds(max_days_behind=10)
    with pytest.raises(DataError, match="No order from 2015-06-16 to 2015-06-22 has a label"):
        run_training(data, june(23), folder_store, thresholds=lenient)
    assert folder_store.bundle_ids() == []


def test_train_evaluates_orders_of_unknown_restaurants(data: SyntheticData, folder_store: Store) -> None:
    unknown_restaurants = data.orders.with_columns(
        restaurant_id=pl.when(pl.int_range(pl.len()) % 20 == 0).then(10_000 + pl.int_range(pl.len())).otherwise(
            "restaurant_id"
        )
    )  # fmt: skip
    document = run_training(SyntheticData.from_frames(unknown_restaurants, data.restaurants), june(13), folder_store)
    assert document.evaluation is not None
    counts = {row.value: row.n for row in document.evaluation.segments if row.segment == "fallback_level"}
    assert counts.keys() - {"restaurant"}
    assert sum(counts.values()) == document.evaluation.scores[0].n


def test_train_with_few_days_trains_the_reduced_set(data: SyntheticData, folder_store: Store) -> None:
    few = GateThresholds(min_days=3, min_orders=1)
    document = run_training(data, june(5), folder_store, thresholds=few, plan=quick_plan(with_live_model=True))
    assert document.reduced_reason == "There are 4 days of orders, and all models need 5."
    assert document.comparison is not None
    assert document.comparison.reduced
    assert "(reduced set, and there is no champion)" in document.comparison.checks[0].rule
    manifest = fetch_verified(folder_store, document.bundle).manifest
    assert (manifest.models, manifest.live_calibration, manifest.weak_models) == (("lookup", "quantile"), None, ())
    assert (manifest.window.gated_from, manifest.window.gated_through) == (june(4), june(4))
    assert_history_as_of(folder_store, document.bundle, data.training_data, june(5))


def test_train_with_few_orders_trains_the_reduced_set(data: SyntheticData, folder_store: Store) -> None:
    few = SyntheticData.from_frames(data.orders.gather_every(15), data.restaurants)
    document = run_training(few, june(15), folder_store, thresholds=GateThresholds(min_orders=100))
    assert document.reduced_reason is not None
    assert document.reduced_reason.startswith("Calibration needs 100 orders that can be used for fitting")
    assert folder_store.read_manifest(document.bundle).models == ("lookup", "quantile")


def test_train_with_labels_of_five_minutes_predicts_them(data: SyntheticData, folder_store: Store) -> None:
    """Labels of 5, 10, and 15 minutes have ties, and the quantiles are values that occur."""
    rounded = (pl.col("prep_time_seconds") / 300).ceil().cast(pl.Int64) * 300
    coarse = data.orders.with_columns(
        prep_time_seconds=rounded,
        order_ready_at=pl.col("order_acknowledged_at") + pl.duration(seconds=rounded),
    )
    document = run_training(SyntheticData.from_frames(coarse, data.restaurants), june(13), folder_store)
    assert document.comparison is not None
    coverage_check = document.comparison.checks[1]
    assert coverage_check.passed
    assert "with the labels at its ends" in coverage_check.result
    bundle = fetch_verified(folder_store, document.bundle)
    assert bundle.manifest.calibration["label_values"]
    predicted = bundle.predict(data.training_data.orders).quantiles
    assert set(np.unique(predicted % 300).tolist()) == {0.0}
    assert document.parity_seconds["quantile"] == 0


def with_default_label(data: SyntheticData, before: dt.date) -> SyntheticData:
    """Return the data with labels of 600 s for all orders that were acknowledged before a date."""
    acknowledged, is_early = pl.col("order_acknowledged_at"), pl.col("order_acknowledged_at").dt.date() < before
    changed = data.orders.with_columns(
        order_ready_at=pl.when(is_early).then(acknowledged + dt.timedelta(minutes=10)).otherwise("order_ready_at"),
        prep_time_seconds=pl.when(is_early).then(600).otherwise("prep_time_seconds"),
    )
    return SyntheticData.from_frames(changed, data.restaurants)


@pytest.mark.parametrize("day", [16, 12])
def test_train_with_constant_labels_predicts_them(data: SyntheticData, folder_store: Store, day: int) -> None:
    """A till that writes a default time: in all orders, or before 12 June, the second day of the gate."""
    plan = full_plan()
    document = run_training(with_default_label(data, june(day)), june(14), folder_store, plan=plan)
    bundle = fetch_verified(folder_store, document.bundle)
    assert bundle.manifest.models == tuple(plan.models)
    assert document.evaluation is not None
    assert (document.evaluation.scores[0].mae == 0) is (day == 16)


@pytest.mark.parametrize("strays", [1, 3, 29])
def test_stray_old_orders_dont_lengthen_the_window(data: SyntheticData, folder_store: Store, strays: int) -> None:
    """Seven days of orders have a gate of three days, with or without some orders of the year before."""
    stray = with_stray_orders(data, june(9), strays)
    assert stray.training_data.first_day.year == 2014
    assert first_counted_day(stray.training_data) == june(9)
    assert choose_mode(stray.training_data, june(16)).gate_days == 3
    document = run_training(stray, june(16), folder_store, thresholds=GateThresholds(min_days=3, min_orders=100))
    window = folder_store.read_manifest(document.bundle).window
    assert (window.gated_from, window.gated_through) == (june(13), june(15))


def test_few_days_and_a_stray_order_are_refused_with_its_date(data: SyntheticData, folder_store: Store) -> None:
    lenient = GateThresholds(min_days=1, min_orders=1, max_unusable_share=1.0)
    with pytest.raises(DataError) as refused:
        run_training(with_stray_orders(data, june(14), 1), june(16), folder_store, thresholds=lenient)
    assert (
        "Training needs 3 days: 2 to fit on, and 1 to evaluate. The first completed order is of 2014-06-01, and days "
        "count from 2015-06-14, because there are fewer than 30 orders before it."
    ) in refused.value.facts
    assert refused.value.hint == "Provide orders from 2015-06-13 or earlier, or use --date 2015-06-17."


def test_reduced_set_with_a_stray_order_names_its_date(data: SyntheticData) -> None:
    mode = choose_mode(with_stray_orders(data, june(12), 1).training_data, june(16))
    assert mode.reduced_reason == (
        "There are 4 days of orders, and all models need 5. The first completed order is of 2014-06-01, and days count "
        "from 2015-06-12, because there are fewer than 30 orders before it."
    )
