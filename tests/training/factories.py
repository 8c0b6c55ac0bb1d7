"""Synthetic data of fifteen days and forty restaurants, small models, and helpers to train and promote them."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.manifest import ManifestDraft
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.features.restaurant_index import RestaurantIndex
from preptime.models.catboost_models import CatBoostModel
from preptime.models.model import Model
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import GradientBoostingModel, RandomForestModel, StackingModel
from preptime.models.xgboost_models import XGBoostModel
from preptime.progress import no_progress
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.registry import open_source
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.challenger import Challenger, train_challenger
from preptime.training.fitting import FitPlan
from preptime.training.publishing import AuditActor
from preptime.training.refresh import RefreshDocument, refresh_champion
from preptime.training.train import TrainDocument, train
from preptime.training.training_data import TrainingData
from preptime.validation.audit import LABEL_COLUMNS, AuditedOrders, audit_orders
from preptime.validation.data_gate import GateThresholds
from preptime.validation.restaurants import read_restaurants

PLAN = SynthesisPlan(orders=3_000, restaurants=40, days=15, seed=7)
"""With this seed, small models are significantly better than the lookup on each date from the 11th."""
ACTOR = AuditActor(by="test", at="2015-06-17T05:00:00Z")

QUANTILE = QuantileModel(tree_count=40, learning_rate=0.1, depth=4, border_count=32)
IDLE_QUANTILE = QuantileModel(tree_count=1, learning_rate=0.001, depth=1, border_count=8)
"""Barely fits the data, so it loses every comparison."""


def june(day: int) -> dt.date:
    """Return a date in the synthetic month, which starts on `PLAN.start`."""
    return dt.date(2015, 6, day)


WEAK_DATE = june(11)
"""The date of the champion of the fixture `weak`."""


@dataclass(frozen=True)
class SyntheticData:
    """Synthetic orders and restaurants, as tables and parsed."""

    orders: pl.DataFrame
    restaurants: pl.DataFrame
    restaurant_index: RestaurantIndex
    audited: AuditedOrders
    training_data: TrainingData

    @classmethod
    def from_frames(
        cls, orders: pl.DataFrame, restaurants: pl.DataFrame, schema: Schema = TAKE_HOME_SCHEMA
    ) -> SyntheticData:
        """Parse the two tables."""
        restaurant_index = read_restaurants(restaurants, schema)
        audited = audit_orders(orders, restaurant_index, need_label=True, schema=schema)
        return cls(orders, restaurants, restaurant_index, audited, TrainingData.from_orders(audited, restaurant_index))

    def as_of(self, date: dt.date) -> SyntheticData:
        """Return the data as of local midnight of `date`: without later orders, and without later outcomes."""
        midnight, frame, schema = dt.datetime.combine(date, dt.time()), self.audited.frame, self.audited.schema
        outcomes = {schema.orders[name].column for name in LABEL_COLUMNS if schema.has(name)} & {*self.orders.columns}
        is_ready = frame["ready_local"] < midnight
        known = self.orders.with_columns(pl.when(is_ready).then(pl.col(name)).alias(name) for name in sorted(outcomes))
        return SyntheticData.from_frames(known.filter(frame["acknowledged_local"] < midnight), self.restaurants, schema)


def run_refresh(data: SyntheticData, date: dt.date, store: Store) -> RefreshDocument:
    """Refresh the champion from a file of these orders."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.parquet"
        data.orders.write_parquet(path)
        return refresh_champion(open_source(path, data.audited.schema), data.restaurant_index, date, store, ACTOR)


def make_synthetic_data(plan: SynthesisPlan = PLAN) -> SyntheticData:
    """Synthesize and parse orders and restaurants."""
    orders, restaurants, _ = synthesize_frames(plan)
    return SyntheticData.from_frames(orders, restaurants)


def with_stray_orders(data: SyntheticData, first: dt.date, strays: int) -> SyntheticData:
    """Return the orders from `first`, and some orders a year before the month, as with a wrong year."""
    shift = dt.timedelta(days=365)
    stray = data.orders.head(strays).with_columns(
        pl.col("order_id") + 100_000,
        pl.col("order_acknowledged_at") - shift,
        pl.col("order_ready_at") - shift,
    )
    kept = data.orders.filter(data.audited.frame["acknowledged_local"] >= dt.datetime.combine(first, dt.time()))
    return SyntheticData.from_frames(pl.concat([stray, kept]), data.restaurants)


def quick_plan(
    quantile: QuantileModel = QUANTILE, seed: int = 12, threads: int = 1, *, with_live_model: bool = False
) -> FitPlan:
    """Return a plan with one small point model and the quantile model."""
    models = (RandomForestModel(tree_count=5, max_leaf_nodes=20), quantile)
    return _plan(models, threads, seed, with_live_model=with_live_model)


def full_plan(threads: int = 1) -> FitPlan:
    """Return a plan with all models of the catalogue, each with few trees."""
    bases: tuple[Model, ...] = (
        RandomForestModel(tree_count=5, max_leaf_nodes=20),
        GradientBoostingModel(tree_count=5),
        CatBoostModel(tree_count=5, depth=3),
        XGBoostModel(tree_count=5),
    )
    return _plan((*bases, StackingModel(bases), QUANTILE), threads, seed=12, with_live_model=True)


def make_challenger(
    audited: AuditedOrders, data: TrainingData, date: dt.date, store: Store, plan: FitPlan, *, with_gate: bool = True
) -> Challenger:
    """Train a challenger without a report. Nothing is decided."""
    return train_challenger(
        audited,
        data,
        date,
        store,
        plan=plan,
        schema=audited.schema,
        with_gate=with_gate,
        with_report=False,
        revisions=None,
        progress=no_progress,
    )


def run_training(
    data: SyntheticData,
    date: dt.date,
    store: Store,
    *,
    plan: FitPlan | None = None,
    allow_promotion: bool = True,
    with_gate: bool = True,
    with_report: bool = False,
    thresholds: GateThresholds | None = None,
    schema: Schema | None = None,
) -> TrainDocument:
    """Run `train` with small models and without the slow HTML report."""
    return train(
        data.audited,
        data.restaurant_index,
        date,
        store,
        ACTOR,
        plan=plan or quick_plan(),
        thresholds=thresholds,
        schema=schema,
        allow_promotion=allow_promotion,
        with_gate=with_gate,
        with_report=with_report,
    )


def override_champion(store: Store, bundle_id: str, date: dt.date) -> LogEntry:
    """Make a bundle the champion by override."""
    draft = LogEntryDraft(bundle=bundle_id, date=date, action="override", reason="Test.", by="user", at="")
    log = ChampionLog(store)
    return log.append(draft, log.current())


@dataclass(frozen=True)
class TrainedStore:
    """A store in a folder that can be copied, and the document of the training that filled it."""

    root: Path
    document: TrainDocument

    def copy(self, root: Path) -> Store:
        """Copy the store to `root`."""
        shutil.copytree(self.root, root)
        return Store.open(str(root))


def copy_bundle(store: Store, bundle_id: str, **changes: object) -> str:
    """Write another bundle with the same models and a changed manifest, without training files. Return its ID."""
    bundle = fetch_verified(store, bundle_id)
    draft = msgspec.convert(bundle.manifest, ManifestDraft, from_attributes=True)
    return write_bundle(
        store,
        msgspec.structs.replace(draft, **changes),
        graphs=bundle.graph_files(),
        history=bundle.history,
        golden_orders=bundle.golden_orders(),
    ).id


def bundle_bytes(store: Store, bundle_id: str) -> dict[str, bytes]:
    """Return the files of a bundle by relative path."""
    folder: Path = store.fetch(bundle_id)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def equal_training_data(first: TrainingData, second: TrainingData) -> bool:
    """Return whether two data sets have equal arrays."""
    return all(np.array_equal(*pair) for pair in zip(_arrays(first), _arrays(second), strict=True))


def _arrays(data: TrainingData) -> list[NDArray[np.generic]]:
    orders = data.orders
    columns = [getattr(orders, field.name) for field in fields(orders)]
    return [
        *columns,
        data.completed.ready_at,
        data.labels,
        data.is_fitting,
        data.is_history,
        data.is_evaluation,
    ]


def _plan(models: tuple[Model, ...], threads: int, seed: int, *, with_live_model: bool) -> FitPlan:
    return FitPlan({model.name: model for model in models}, threads, seed, with_live_model)
