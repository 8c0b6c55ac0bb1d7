"""A store that `train` filled, with the synthetic orders of the training."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.models.catboost_models import CatBoostModel
from preptime.models.model import Model
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import GradientBoostingModel, RandomForestModel, StackingModel
from preptime.models.xgboost_models import XGBoostModel
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.fitting import FitPlan
from preptime.training.publishing import AuditActor
from preptime.training.train import train
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants

PLAN = SynthesisPlan(orders=4_000, restaurants=40, days=16)
TRAINING_DATE = PLAN.start + dt.timedelta(days=PLAN.days - 2)


@dataclass(frozen=True)
class TrainedStore:
    """A store, its champion, and the synthetic orders up to some days after the training date."""

    store: Store
    champion: LogEntry
    orders: pl.DataFrame


def make_trained_store(folder: Path) -> TrainedStore:
    """Train all models with few trees, and promote the bundle in the store `folder`."""
    bases: tuple[Model, ...] = (
        RandomForestModel(tree_count=5, max_leaf_nodes=20),
        GradientBoostingModel(tree_count=5),
        CatBoostModel(tree_count=5, depth=3),
        XGBoostModel(tree_count=5),
    )
    models = (*bases, StackingModel(bases), QuantileModel(tree_count=30, learning_rate=0.2, depth=4, border_count=32))
    orders, restaurant_rows, _ = synthesize_frames(PLAN)
    restaurants = read_restaurants(restaurant_rows)
    store = Store.open(str(folder))
    train(
        audit_orders(orders, restaurants, need_label=True),
        restaurants,
        TRAINING_DATE,
        store,
        AuditActor(by="test", at="2015-06-14T05:00:00Z"),
        plan=FitPlan({model.name: model for model in models}, threads=1),
    )
    champion = ChampionLog(store).current()
    assert champion is not None
    return TrainedStore(store, champion, orders)
