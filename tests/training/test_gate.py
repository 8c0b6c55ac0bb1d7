"""The gate is fair: no model predicts an order that it was fitted on, and each day has the champion that served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import EVALUATION_FILE, MODEL_FILE, QUANTILE_FILE
from preptime.bundle.store import Store
from preptime.domain.orders import MIN_SCALED_SECONDS
from preptime.evaluation.evaluated_orders import EvaluatedOrders
from preptime.models.model import Model
from preptime.models.quantile import order_quantiles, shift_quantiles, snap
from preptime.models.sklearn_models import GradientBoostingModel
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.backtest import backtest
from preptime.training.calibration import conformal_scale, conformal_scores, few_label_values
from preptime.training.comparison import evaluate_bundle
from preptime.training.fitting import FitPlan, fitted_rows
from preptime.training.gate import calibrate_by_day, has_better_live_model, walk_forward
from preptime.training.promotion import evaluate_served_champions
from preptime.training.train import NO_GATE_REASON
from preptime.training.training_data import ONE_DAY, TrainingData, day_number
from tests.training.factories import (
    QUANTILE,
    WEAK_DATE,
    SyntheticData,
    TrainedStore,
    june,
    make_challenger,
    override_champion,
    quick_plan,
    run_refresh,
    run_training,
)

FIRST, LAST = june(12), june(14)
LIVE_PLAN = quick_plan(with_live_model=True)


@pytest.fixture(scope="module")
def gate(features: FeatureMatrix) -> EvaluatedOrders:
    """Return the gate's predictions of three days."""
    return walk_forward(features, FIRST, LAST, LIVE_PLAN)


def raw_predictions(features: FeatureMatrix, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the uncalibrated quantiles of the gate's orders, with one fit for each day on the days before it."""
    labels, days = features.data.labels, features.data.acknowledged_day
    parts = []
    for day in (12, 13, 14):
        is_fitted = fitted_rows(features, june(day) - ONE_DAY)
        assert (days[is_fitted] < day_number(june(day))).all()
        fitted = QUANTILE.fit(X[is_fitted], labels[is_fitted], threads=1, seed=LIVE_PLAN.seed)
        parts.append(fitted.predict_raw(X[days == day_number(june(day))]))
    return np.concatenate(parts)


def test_walk_forward_predicts_each_day_from_the_days_before(features: FeatureMatrix, gate: EvaluatedOrders) -> None:
    days, labels = features.data.acknowledged_day, features.data.labels
    in_gate = (days >= day_number(FIRST)) & (days <= day_number(LAST))
    is_evaluated = features.data.is_evaluation[in_gate]
    no_values = dict.fromkeys(days[in_gate].tolist(), np.empty(0))
    assert np.array_equal(gate.day, days[in_gate][is_evaluated])
    for X, quantiles in ((features.X, gate.quantiles), (features.live_matrix, gate.live_quantiles)):
        raw = raw_predictions(features, X)
        expected = calibrate_by_day(raw, labels[in_gate], days[in_gate], features.data.is_fitting[in_gate], no_values)
        assert quantiles is not None
        assert np.array_equal(quantiles, expected[is_evaluated])
    is_fitted = fitted_rows(features, FIRST - ONE_DAY)
    forest = LIVE_PLAN.models["rf"].fit(features.X[is_fitted], labels[is_fitted], threads=1, seed=LIVE_PLAN.seed)
    assert np.array_equal(gate.point_predictions["rf"], forest.predict(features.X[in_gate])[is_evaluated])


def test_walk_forward_ignores_labels_of_later_days(data: SyntheticData, gate: EvaluatedOrders) -> None:
    """Other labels on the last day change no prediction of the first day, except through the calibration."""
    is_last = data.training_data.acknowledged_day == day_number(LAST)
    label = data.training_data.completed.prep_time_seconds
    changed = replace(data.training_data.completed, prep_time_seconds=np.where(is_last, label // 2 + 60, label))
    features = build_feature_matrix(replace(data.training_data, completed=changed), june(1), june(15))
    plan = replace(LIVE_PLAN, with_live_model=False)
    only_first, both = (walk_forward(features, FIRST, last, plan) for last in (FIRST, LAST))
    original = walk_forward(build_feature_matrix(data.training_data, june(1), june(15)), FIRST, FIRST, plan)
    assert np.array_equal(only_first.quantiles, original.quantiles)
    is_first = both.day == day_number(FIRST)
    assert np.array_equal(both.point_predictions["rf"][is_first], original.point_predictions["rf"])
    assert not np.array_equal(both.quantiles[is_first], gate.quantiles[gate.day == day_number(FIRST)])


def test_walk_forward_is_equal_for_any_threads(features: FeatureMatrix, gate: EvaluatedOrders) -> None:
    two_threads = walk_forward(features, FIRST, LAST, replace(LIVE_PLAN, threads=2))
    assert np.array_equal(two_threads.quantiles, gate.quantiles)
    assert np.array_equal(two_threads.point_predictions["rf"], gate.point_predictions["rf"])


def test_calibrate_by_day_uses_only_the_other_days() -> None:
    rng = np.random.default_rng(5)
    n = 900
    day, y = np.sort(rng.integers(0, 3, n)), rng.gamma(3.0, 300.0, n)
    raw = np.tile(np.array([[400.0, 700.0, 900.0, 1_100.0]], np.float32), (n, 1))
    is_label = rng.random(n) < 0.9
    no_values = dict.fromkeys(range(3), np.empty(0))
    calibrated = calibrate_by_day(raw, y, day, is_label, no_values)
    for number in range(3):
        others = (day != number) & is_label
        scale = np.array(conformal_scale(conformal_scores(raw[others], y[others], np.empty(0))), np.float32)
        expected = order_quantiles(raw + scale * np.maximum(raw, np.float32(MIN_SCALED_SECONDS)))
        assert np.array_equal(calibrated[day == number], expected[day == number])
    other_labels = np.where(day == 1, y * 2, y)
    again = calibrate_by_day(raw, other_labels, day, is_label, no_values)
    assert np.array_equal(again[day == 1], calibrated[day == 1])
    assert not np.array_equal(again[day != 1], calibrated[day != 1])
    one_day = calibrate_by_day(raw, y, np.zeros(n, np.int64), is_label, no_values)
    assert np.array_equal(one_day, raw)


def test_calibrate_by_day_uses_the_label_values_of_each_day() -> None:
    """Day 1 has values, and day 0 has none. The labels, which are all 600 s, don't become values."""
    raw = np.sort(np.random.default_rng(6).uniform(100, 3_000, (400, 4)), axis=1).astype(np.float32)
    day, y, is_label = np.repeat([0, 1], 200), np.full(400, 600.0), np.ones(400, np.bool_)
    values = np.array([250.0, 500.0])
    calibrated = calibrate_by_day(raw, y, day, is_label, {0: np.empty(0), 1: values})
    assert len(np.unique(calibrated[day == 0])) > 100
    assert set(np.unique(calibrated[day == 1]).tolist()) <= set(values.tolist())
    scale = np.array(conformal_scale(conformal_scores(raw[day == 0], y[day == 0], values)))
    expected = order_quantiles(snap(shift_quantiles(raw[day == 1], scale), values))
    assert np.array_equal(calibrated[day == 1], expected)


def with_labels(data: TrainingData, seconds: NDArray[np.float64]) -> FeatureMatrix:
    """Return the features of all days, with other labels [N]."""
    completed = replace(data.completed, prep_time_seconds=seconds.astype(data.completed.prep_time_seconds.dtype))
    return build_feature_matrix(replace(data, completed=completed), june(1), june(15))


@pytest.mark.parametrize("earlier_minutes", [None, 5])
def test_gate_predicts_with_label_values_of_the_days_before(data: SyntheticData, earlier_minutes: int | None) -> None:
    """All labels of the gate are 450 s. Models fitted on the days before don't know that, and neither do predictions.

    The days before have arbitrary seconds or multiples of 5 minutes.
    """
    known = data.training_data
    labels = known.labels
    if earlier_minutes:
        labels = np.maximum(np.round(labels / (60 * earlier_minutes)), 1) * 60 * earlier_minutes
    features = with_labels(known, np.where(known.acknowledged_day >= day_number(FIRST), 450, labels))
    for first, last in ((FIRST, LAST), (FIRST, FIRST)):
        gate = walk_forward(features, first, last, LIVE_PLAN)
        is_first = gate.day == day_number(FIRST)
        values = few_label_values(features.data.labels[fitted_rows(features, FIRST - ONE_DAY)])
        for quantiles in (gate.quantiles, gate.live_quantiles):
            assert quantiles is not None
            predicted = np.unique(quantiles[is_first])
            assert set(predicted.tolist()) <= set(values.tolist()) if earlier_minutes else len(predicted) > 100
        assert 450 not in np.unique(gate.quantiles[is_first]).tolist()
        assert np.abs(gate.default_predictions - gate.actual)[is_first].mean() > 60


@pytest.mark.parametrize("retrain_every", [None, 1])
def test_backtest_predicts_with_label_values_of_the_days_before(data: SyntheticData, retrain_every: int | None) -> None:
    known = data.training_data
    rounded = np.maximum(np.round(known.labels / 300), 1) * 300
    changed = with_labels(known, np.where(known.acknowledged_day >= day_number(FIRST), 450, rounded)).data
    evaluated = backtest(changed, FIRST, LAST, quick_plan(), retrain_every=retrain_every)
    is_first = evaluated.day == day_number(FIRST)
    assert (evaluated.quantiles[is_first] % 300 == 0).all()


def test_live_model_is_kept_only_if_better(data: SyntheticData, folder_store: Store, gate: EvaluatedOrders) -> None:
    assert gate.live_quantiles is not None
    actual = np.repeat(gate.actual[:, None], 4, axis=1).astype(np.float32)
    assert has_better_live_model(replace(gate, live_quantiles=actual))
    assert not has_better_live_model(replace(gate, live_quantiles=gate.quantiles))
    assert not has_better_live_model(replace(gate, live_quantiles=None))
    for date in (june(13), june(15)):
        challenger = make_challenger(data.audited, data.training_data.as_of(date), date, folder_store, LIVE_PLAN)
        assert challenger.evaluated is not None
        bundle = Bundle.load(folder_store.fetch(challenger.manifest.id))
        assert bundle.has_live_model is has_better_live_model(challenger.evaluated)
        assert (bundle.manifest.live_calibration is not None) is bundle.has_live_model


@pytest.fixture
def changed_champions(data: SyntheticData, weak_store: Store, good: TrainedStore) -> tuple[str, str, str]:
    """Refresh the champion on the 12th, and replace it on the 13th. Return the IDs of the three champions."""
    refreshed = run_refresh(data, june(12), weak_store).bundle
    other = run_training(data, june(13), weak_store, allow_promotion=False).bundle
    override_champion(weak_store, other, june(13))
    assert other == good.document.bundle
    return ChampionLog(weak_store).entries()[0].bundle, refreshed, other


def test_gate_uses_the_champion_that_served_each_day(
    data: SyntheticData, weak_store: Store, changed_champions: tuple[str, str, str]
) -> None:
    known = data.as_of(june(14)).training_data
    weak, _, other = (Bundle.load(weak_store.fetch(bundle_id)) for bundle_id in changed_champions)
    served = evaluate_served_champions(known, weak_store, (WEAK_DATE, june(13))).evaluated
    assert served is not None
    first, second = evaluate_bundle(known, weak, WEAK_DATE, june(12)), evaluate_bundle(known, other, june(13), june(13))
    assert np.array_equal(served.quantiles, np.concatenate([first.quantiles, second.quantiles]))
    assert np.array_equal(served.day, np.concatenate([first.day, second.day]))
    for part, bundle in ((first, weak), (second, other)):
        assert (part.day > day_number(bundle.manifest.window.fitted_through)).all()

    document = run_training(data, june(14), weak_store)
    assert document.comparison is not None
    errors = np.abs(np.concatenate([part.default_predictions - part.actual for part in (first, second)]))
    assert document.comparison.champion == other.manifest.id
    assert document.comparison.champion_mae == pytest.approx(errors.mean())
    difference = document.comparison.differences[0]
    assert (difference.reference, difference.days, difference.orders) == ("champion", 3, len(errors))
    assert difference.reference_mae == pytest.approx(errors.mean())


def test_gate_leaves_out_days_without_a_fair_champion(
    data: SyntheticData, weak_store: Store, changed_champions: tuple[str, str, str]
) -> None:
    """No champion, a champion that was fitted on the day, and a champion that isn't in the store."""
    known = data.as_of(june(15)).training_data
    days = june(9), june(14)
    later = run_training(data, june(14), weak_store, allow_promotion=False).bundle
    override_champion(weak_store, later, june(13))  # fitted through the 13th
    served = evaluate_served_champions(known, weak_store, days).evaluated
    assert served is not None
    assert np.unique(served.day).tolist() == [day_number(june(day)) for day in (11, 12, 14)]
    for bundle_id in changed_champions[:2]:
        weak_store.delete(bundle_id)
    served = evaluate_served_champions(known, weak_store, days).evaluated
    assert served is not None
    assert np.unique(served.day).tolist() == [day_number(june(14))]
    weak_store.delete(later)
    assert evaluate_served_champions(known, weak_store, days).evaluated is None


def test_gate_uses_a_refresh_if_its_parent_was_deleted(
    data: SyntheticData, weak_store: Store, changed_champions: tuple[str, str, str]
) -> None:
    """Both have the same models, and the history is that of each day."""
    known = data.as_of(june(14)).training_data
    before = evaluate_served_champions(known, weak_store, (WEAK_DATE, june(12))).evaluated
    weak_store.delete(changed_champions[0])
    after = evaluate_served_champions(known, weak_store, (WEAK_DATE, june(12))).evaluated
    assert before is not None
    assert after is not None
    assert np.array_equal(before.quantiles, after.quantiles)


def test_train_without_gate_is_never_promoted(data: SyntheticData, folder_store: Store, weak_store: Store) -> None:
    for store in (folder_store, weak_store):
        entries = ChampionLog(store).entries()
        document = run_training(data, june(14), store, with_gate=False, with_report=True)
        assert (document.outcome, document.reason) == ("kept", NO_GATE_REASON)
        assert (document.evaluation, document.comparison) == (None, None)
        assert ChampionLog(store).entries() == entries
        manifest = store.read_manifest(document.bundle)
        assert (manifest.window.fitted_through, manifest.window.gated_from, manifest.window.gated_through) == (
            june(13), None, None,
        )  # fmt: skip
        assert (manifest.metrics, manifest.weak_models) == ({}, ())
        assert EVALUATION_FILE not in manifest.files
        # The models are the same as with the gate.
        gated = store.read_manifest(run_training(data, june(14), store, allow_promotion=False).bundle)
        assert all(gated.files[name] == manifest.files[name] for name in (MODEL_FILE, QUANTILE_FILE))


def test_point_model_that_loses_to_the_median_is_weak(data: SyntheticData, tmp_path: Path) -> None:
    """One tree that learns almost nothing predicts the mean, which is far above the median."""
    models: dict[str, Model] = {**LIVE_PLAN.models, "gbr": GradientBoostingModel(tree_count=1, learning_rate=0.001)}
    plan = FitPlan(models, threads=1, with_live_model=False)
    challenger = make_challenger(
        data.audited, data.training_data.as_of(june(13)), june(13), Store.open(str(tmp_path / "models")), plan
    )
    assert challenger.manifest.weak_models == ("gbr",)
    assert challenger.evaluation is not None
    errors = {score.name: score.mae or 0 for score in challenger.evaluation.scores if score.labels == "up_to_3h"}
    assert errors["gbr"] >= errors["global_median"] > errors["rf"]


def test_walk_forward_of_one_day_is_calibrated_before_it(features: FeatureMatrix) -> None:
    """No other day of the gate can calibrate it, so it's predicted as by a bundle of that date."""
    plan = quick_plan()
    one_day = walk_forward(features, FIRST, FIRST, plan)
    expected = backtest(features.data, FIRST, FIRST, plan)
    np.testing.assert_allclose(one_day.quantiles, expected.quantiles, rtol=1e-4)
    np.testing.assert_allclose(one_day.point_predictions["rf"], expected.point_predictions["rf"], rtol=1e-4)
    of_three_days = walk_forward(features, FIRST, LAST, plan).quantiles[: len(one_day)]
    assert not np.allclose(one_day.quantiles, of_three_days, rtol=1e-3)
