"""A store that the real `train` filled, from synthetic orders that are kept beside it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.store import Store
from preptime.models.cat import Cat, CatTrees
from preptime.models.gbr import GradientBoosting
from preptime.models.model import Model
from preptime.models.quantile import Quantile
from preptime.models.rf import Forest
from preptime.models.stacking import Stacking
from preptime.models.xgb import XGBoost
from preptime.tables.audit import audit
from preptime.tables.directory import read_directory
from preptime.tables.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.fit import FitPlan
from preptime.training.publish import Who
from preptime.training.train import train

PLAN = SynthesisPlan(orders=3_000, restaurants=40, days=15)
MORNING = PLAN.start + dt.timedelta(days=PLAN.days - 2)


@dataclass(frozen=True)
class Trained:
    """A store, its champion, and the orders that it was trained on and a few later ones."""

    store: Store
    champion: Entry
    orders: pl.DataFrame


def make_trained(folder: Path) -> Trained:
    """The whole catalogue with few trees, trained and promoted into `folder`."""
    bases: tuple[Model, ...] = (
        Forest(trees=5, max_leaf_nodes=20),
        GradientBoosting(trees=5),
        Cat(recipe=CatTrees(trees=5, depth=3)),
        XGBoost(trees=5),
    )
    models = (*bases, Stacking(bases), Quantile(trees=30, rate=0.2, depth=4, borders=32))
    orders, restaurants, _ = synthesize_frames(PLAN)
    directory = read_directory(restaurants)
    store = Store.open(str(folder))
    train(
        audit(orders, directory, need_label=True),
        directory,
        MORNING,
        store,
        Who(by="test", at="2015-06-14T05:00:00Z"),
        plan=FitPlan({model.name: model for model in models}, threads=1),
    )
    champion = ChampionLog(store).current()
    assert champion is not None
    return Trained(store, champion, orders)
