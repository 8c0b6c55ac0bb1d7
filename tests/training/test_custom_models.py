"""Custom models in trainings: classes and hyperparameters of `[models]`, `--models`, and offered graphs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.errors import DataError, UsageError
from preptime.models.custom import CustomQuantileModel
from preptime.models.onnx_export import merge_to_onnx
from preptime.models.quantile import FittedQuantileModel
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.schema.toml_file import read_schema
from preptime.training import offer as offer_module
from preptime.training.as_of_features import FeatureMatrix
from preptime.training.backtest import backtest
from preptime.training.fitting import FitPlan, fitted_rows
from preptime.training.offer import CHECKED_DAYS, Offer, _latest_features, offer
from preptime.training.train import TrainDocument
from preptime.training.training_data import date_from_day_number
from preptime.validation.data_gate import GateThresholds
from tests.models.custom_models import Fitted
from tests.training.factories import (
    ACTOR,
    IDLE_QUANTILE,
    QUANTILE,
    SyntheticData,
    TrainedStore,
    june,
    quick_plan,
    run_training,
)

CLASSES = Path(__file__).parents[1] / "models" / "custom_models.py"
SMALL = "[models.quantile]\ntree_count = 40\nlearning_rate = 0.1\nborder_count = 32\n"
LOOKUP_COLUMN = 12
DATE = june(14)
FITTED_THROUGH = june(8)


def schema_of(folder: Path, models: str) -> Schema:
    (folder / "my_models.py").write_bytes(CLASSES.read_bytes())
    (folder / "schema.toml").write_text(f"[models]\n{models}", encoding="utf-8")
    return read_schema(folder / "schema.toml")


def lookup_column(features: FeatureMatrix) -> int:
    return features.data.restaurants.feature_set.names.index("restaurant_p50_seconds")


def test_custom_class_goes_through_the_gate_like_any_model(
    data: SyntheticData, features: FeatureMatrix, folder_store: Store, tmp_path: Path
) -> None:
    column = lookup_column(features)
    schema = schema_of(tmp_path, f'mine = {{ class = "my_models.py:Scaled", column = {column} }}\n{SMALL}')
    plan = FitPlan.from_schema(schema, 1, ["mine"])
    document = run_training(data, DATE, folder_store, plan=plan, schema=schema, with_report=True)
    manifest = folder_store.read_manifest(document.bundle)
    assert (document.outcome, manifest.models) == ("promoted", ("mine", "quantile"))
    assert document.parity_seconds["mine"] < 0.01
    assert document.evaluation is not None
    assert "mine" in {score.name for score in document.evaluation.scores}
    assert manifest.schema == TAKE_HOME_SCHEMA
    assert not manifest.schema.models
    details = manifest.model_details["mine"]
    assert (details.source, details.hyperparameters) == ("my_models.py:Scaled", {"factor": 1.0, "column": column})
    assert len(details.sha256) == 64
    assert manifest.model_details["quantile"].hyperparameters["tree_count"] == 40
    folder = folder_store.fetch(document.bundle)
    assert not any(b"class Scaled" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert "mine" in (folder / "report.html").read_text(encoding="utf-8")
    bundle = fetch_verified(folder_store, document.bundle)
    assert bundle.predict(bundle.golden_orders()).points.keys() == {"mine"}


def test_bundle_id_depends_only_on_the_models_that_are_fitted(
    data: SyntheticData, folder_store: Store, tmp_path: Path
) -> None:
    def bundle_of(models: str, names: Sequence[str]) -> str:
        schema = schema_of(tmp_path, models)
        plan = FitPlan.from_schema(schema, 1, names)
        return run_training(data, DATE, folder_store, plan=plan, schema=schema, with_gate=False).bundle

    first = bundle_of(SMALL, ["quantile"])
    assert bundle_of(f'mine = "my_models.py:Scaled"\n[models.xgb]\ndepth = 3\n{SMALL}', ["quantile"]) == first
    assert bundle_of(SMALL.replace("40", "41"), ["quantile"]) != first


def test_broken_custom_class_fails_before_the_gate(data: SyntheticData, folder_store: Store, tmp_path: Path) -> None:
    schema = schema_of(tmp_path, f'mine = {{ class = "my_models.py:Broken", what = "parity" }}\n{SMALL}')
    steps: list[str] = []
    with pytest.raises(Exception, match=r"The model mine failed its check on 60 rows, at the step 'parity of the ONNX"):
        run_training_with_progress(data, folder_store, FitPlan.from_schema(schema, 1, ["mine"]), steps)
    assert steps
    assert not any(step.startswith("Gate") for step in steps)
    assert folder_store.bundle_ids() == []


def run_training_with_progress(data: SyntheticData, store: Store, plan: FitPlan, steps: list[str]) -> None:
    from preptime.training.train import train

    train(
        data.audited,
        data.restaurant_index,
        DATE,
        store,
        ACTOR,
        plan=plan,
        progress=lambda step, _: steps.append(step),
    )


def test_custom_quantiles_are_the_calibrated_default_prediction(
    data: SyntheticData, features: FeatureMatrix, folder_store: Store, tmp_path: Path
) -> None:
    """The class underestimates every quantile by half. Calibration corrects it."""
    options = f"column = {lookup_column(features)}, spread = 0.5"
    schema = schema_of(tmp_path, f'quantile = {{ class = "my_models.py:Levels", {options} }}\n')
    plan = FitPlan.from_schema(schema, 1, ["quantile"])
    assert isinstance(plan.quantile_model, CustomQuantileModel)
    document = run_training(data, DATE, folder_store, plan=plan, schema=schema)
    manifest = folder_store.read_manifest(document.bundle)
    assert manifest.models == ("quantile",)
    scale = msgspec.convert(manifest.calibration["scale"], list[float])
    assert scale[1] == pytest.approx(1.0, abs=0.25), "the p50 is doubled"
    assert document.evaluation is not None
    assert document.evaluation.interval.coverage == pytest.approx(0.8, abs=0.05)


def test_left_out_model_of_the_champion_prevents_a_promotion(
    data: SyntheticData, weak: TrainedStore, tmp_path: Path
) -> None:
    """The champion has `rf`. A try with --models, however good, doesn't take it away from clients."""
    store = weak.copy(tmp_path / "models")
    plan = FitPlan({"quantile": QUANTILE}, 1, with_live_model=False)
    document = run_training(data, DATE, store, plan=replace(plan, left_out=("rf", "gbr")), allow_promotion=True)
    assert document.comparison is not None
    failed = [check for check in document.comparison.checks if not check.passed]
    assert [(check.rule, check.result.partition(" ")[0]) for check in failed] == [("Has the champion's models", "rf")]
    assert document.outcome == "refreshed"
    assert run_training(data, DATE, weak.copy(tmp_path / "again"), plan=plan).outcome == "promoted"


def test_backtest_predicts_with_custom_models(data: SyntheticData, tmp_path: Path) -> None:
    schema = schema_of(tmp_path, f'mine = "my_models.py:Scaled"\n{SMALL}')
    evaluated = backtest(data.training_data, june(12), june(13), FitPlan.from_schema(schema, 1, ["mine"]))
    assert evaluated.point_predictions.keys() == {"mine"}
    assert np.isfinite(evaluated.point_predictions["mine"]).all()
    broken = schema_of(tmp_path, f'mine = {{ class = "my_models.py:Broken", what = "batch" }}\n{SMALL}')
    with pytest.raises(UsageError, match=r"The model mine failed its check"):
        backtest(data.training_data, june(12), june(13), FitPlan.from_schema(broken, 1, ["mine"]))


def run_offer(
    data: SyntheticData,
    store: Store,
    path: Path,
    *,
    name: str = "mine",
    fitted_through: dt.date = FITTED_THROUGH,
    date: dt.date = DATE,
    plan: FitPlan | None = None,
    thresholds: GateThresholds | None = None,
) -> TrainDocument:
    return offer(
        Offer(path, name, fitted_through),
        data.audited,
        data.restaurant_index,
        date,
        store,
        actor=ACTOR,
        plan=plan or quick_plan(),
        thresholds=thresholds,
        with_report=False,
    )


@pytest.fixture(scope="module")
def quantile_file(features: FeatureMatrix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the graph of a good model of quantiles, fitted through 8 June."""
    is_fitted = fitted_rows(features, june(8))
    y = features.data.labels[features.rows][is_fitted]
    fitted: FittedQuantileModel = QUANTILE.fit(features.X[is_fitted], y, threads=1, seed=3)
    path = tmp_path_factory.mktemp("offer") / "levels.onnx"
    path.write_bytes(merge_to_onnx({"quantile": fitted}, features.X.shape[1]))
    return path


@pytest.fixture
def point_file(features: FeatureMatrix, tmp_path: Path) -> Path:
    path = tmp_path / "point.onnx"
    path.write_bytes(Fitted(1.1, features.X.shape[1], lookup_column(features)).to_onnx().SerializeToString())
    return path


def test_offered_quantiles_become_the_default_prediction(
    data: SyntheticData, features: FeatureMatrix, weak: TrainedStore, quantile_file: Path, tmp_path: Path
) -> None:
    store = weak.copy(tmp_path / "models")
    document = run_offer(data, store, quantile_file)
    manifest = store.read_manifest(document.bundle)
    assert (document.outcome, document.reason.partition(" ")[0]) == ("promoted", "Passed.")
    assert manifest.models == ("rf", "quantile")
    details = manifest.model_details["quantile"]
    assert (details.source, details.fitted_through) == ("levels.onnx (mine)", june(8))
    assert (manifest.window.gated_from, manifest.window.gated_through) == (june(11), june(13))
    later = features.data.acknowledged_day[features.rows] > (june(8) - dt.date(1970, 1, 1)).days
    assert manifest.calibration["orders"] == (fitted_rows(features, june(13)) & later).sum()
    assert manifest.live_calibration is None
    assert document.parity_seconds["quantile"] == 0
    current = ChampionLog(store).current()
    assert current is not None
    assert current.bundle == document.bundle
    bundle = fetch_verified(store, document.bundle)
    with pytest.raises(UsageError, match="has no explanations"):
        bundle.explain(bundle.golden_orders())


def test_offered_point_model_is_added(data: SyntheticData, folder_store: Store, point_file: Path) -> None:
    document = run_offer(data, folder_store, point_file)
    manifest = folder_store.read_manifest(document.bundle)
    assert manifest.models == ("rf", "mine", "quantile")
    assert manifest.model_details["mine"].source == "point.onnx"
    assert document.evaluation is not None
    mine = next(score for score in document.evaluation.scores if score.name == "mine")
    assert mine.mae is not None
    assert mine.mae > 0


def without_days(data: SyntheticData, first: int, last: int) -> SyntheticData:
    """Return the data without the orders of these days in June."""
    day = pl.col("order_acknowledged_at").cast(pl.String).str.slice(8, 2).cast(pl.Int64)
    orders = data.orders.filter(~day.is_between(first, last))
    return SyntheticData.from_frames(orders, data.restaurants, data.audited.schema)


def test_data_gate_decides_about_an_offer_after_closed_days(
    data: SyntheticData, folder_store: Store, point_file: Path
) -> None:
    """As of 18 June, the three days before it have no orders."""
    late, day = without_days(data, 14, 30), june(18)
    with pytest.raises(DataError, match=r"The last order was acknowledged on 2015-06-13, 5 days before 2015-06-18"):
        run_offer(late, folder_store, point_file, date=day)
    accepted = GateThresholds(max_days_behind=5)
    document = run_offer(late, folder_store, point_file, date=day, thresholds=accepted)
    assert folder_store.read_manifest(document.bundle).models == ("rf", "mine", "quantile")


@pytest.mark.parametrize(("first", "last"), [(14, 14), (11, 13), (10, 12)])
def test_graph_is_checked_on_the_latest_days_with_orders(
    data: SyntheticData, monkeypatch: pytest.MonkeyPatch, first: int, last: int
) -> None:
    monkeypatch.setattr(offer_module, "CHECKED_ROWS", 1)
    remaining = without_days(data, first, last)
    expected = [day for day in range(1, 14) if not first <= day <= last][-CHECKED_DAYS:]
    features = _latest_features(remaining.audited, remaining.restaurant_index, DATE, TAKE_HOME_SCHEMA)
    days = np.unique(features.data.acknowledged_day[features.rows])
    assert [date_from_day_number(int(day)).day for day in days] == expected


def test_graph_is_checked_on_more_days_if_they_have_few_orders(
    data: SyntheticData, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = data.training_data.as_of(DATE)
    latest = int((rows.acknowledged_day[rows.is_fitting] >= (june(10) - dt.date(1970, 1, 1)).days).sum())
    for count, first in ((latest, june(10)), (latest + 1, june(9))):
        monkeypatch.setattr(offer_module, "CHECKED_ROWS", count)
        features = _latest_features(data.audited, data.restaurant_index, DATE, TAKE_HOME_SCHEMA)
        assert date_from_day_number(int(features.data.acknowledged_day[features.rows[0]])) == first


def test_offer_that_loses_changes_nothing(
    data: SyntheticData, weak: TrainedStore, point_file: Path, tmp_path: Path
) -> None:
    store = weak.copy(tmp_path / "models")
    before = ChampionLog(store).read_all().entries
    document = run_offer(data, store, point_file, plan=quick_plan(IDLE_QUANTILE))
    assert document.outcome == "kept"
    assert document.reason.startswith("Failed: Significantly better than")
    assert ChampionLog(store).read_all().entries == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rf"}, r"'rf' can't be the name .* in use: rf, quantile"),
        ({"name": "Mine"}, r"'Mine' can't be the name of an offered model"),
        ({"fitted_through": june(12)}, r"As of 2015-06-14, it wasn't fitted on 1 days.* through 2015-06-11 or earlier"),
        ({"fitted_through": june(20)}, r"point\.onnx was fitted through 2015-06-20\. .* it wasn't fitted on 0 days"),
    ],
)
def test_offer_with_wrong_name_or_days_is_refused(
    data: SyntheticData, folder_store: Store, point_file: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_offer(data, folder_store, point_file, **changes)  # type: ignore[arg-type]


def test_offered_quantiles_need_orders_to_calibrate(
    data: SyntheticData, folder_store: Store, quantile_file: Path
) -> None:
    """11 and 12 June have too few orders, because most of them were removed. Nothing is fitted."""
    frame = data.orders.with_row_index("number")
    late = pl.col("order_acknowledged_at").cast(pl.String) >= "2015-06-12"
    few = SyntheticData.from_frames(
        frame.filter(~late | (pl.col("number") % 6 == 0)).drop("number"), data.restaurants, data.audited.schema
    )
    steps: list[str] = []
    with pytest.raises(DataError, match=r"Calibration needs 100 orders after 2015-06-11, .*levels\.onnx was fitted on"):
        offer(
            Offer(quantile_file, "mine", june(11)),
            few.audited,
            few.restaurant_index,
            DATE,
            folder_store,
            actor=ACTOR,
            plan=quick_plan(),
            progress=lambda step, _: steps.append(step),
        )
    assert {*steps} == {"Checking the graph in a separate process"}


def test_offer_needs_orders_for_all_models(data: SyntheticData, folder_store: Store, point_file: Path) -> None:
    few = data.as_of(june(4))
    with pytest.raises(DataError, match="can only be offered if there are enough orders for all models"):
        offer(
            Offer(point_file, "mine", june(1)),
            few.audited,
            few.restaurant_index,
            june(4),
            folder_store,
            actor=ACTOR,
            plan=quick_plan(),
        )
