"""What the pages' pictures show beside the demo: mornings that were answered and looked at, and a second bundle.

Mornings as the daily run has them, with few trees: one training on synthetic weeks, then each morning the history anew
and the day's orders scored, and for the last ones a look at how it went.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.errors import UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import RandomForestModel
from preptime.monitoring.bundles import StoreBundleSource
from preptime.monitoring.document import encode
from preptime.monitoring.monitor import MonitoringInputs, monitor_day
from preptime.scoring.score_day import score_day, select_champion
from preptime.sources.registry import open_source
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from preptime.sources.source import DataSource
from preptime.synthetic import Drift, SynthesisPlan, synthesize_frames
from preptime.training.fitting import FitPlan
from preptime.training.publishing import AuditActor
from preptime.training.refresh import refresh_champion
from preptime.training.train import train
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants

LOOKED_AT = 10
"""Mornings with a document."""
PLAN = SynthesisPlan(orders=36_000, restaurants=400, days=51, drift=Drift("London", 50, 1.15))
"""London takes 15 % longer in the last two days: the last morning fires."""
TRAINED_DAYS = 14
"""Days before the first answer: the first morning that is looked at has four weeks of answers behind it."""
FEW_TREES = FitPlan(
    {
        model.name: model
        for model in (RandomForestModel(tree_count=10, max_leaf_nodes=30), QuantileModel(tree_count=120))
    },
    1,
)
"""One point model and the quantiles, as good as a minute allows."""
ONE_DAY = dt.timedelta(days=1)
_WHO = AuditActor(by="example", at="2015-06-22T05:00:00Z")


def mornings(own: Path, folder: Path) -> Path:
    """The folder of results to show: `own` where it has a monitored morning, else one made in `folder`."""
    return own if ResultsFolder(own).days(MONITORING_FILE) else make_mornings(folder, PLAN)


def make_mornings(folder: Path, plan: SynthesisPlan, looked_at: int = LOOKED_AT) -> Path:
    """Results in `folder`, of orders drawn by the plan; the latest `looked_at` mornings have a document."""
    orders, restaurants, _ = synthesize_frames(plan)
    folder.mkdir(parents=True, exist_ok=True)
    orders.write_parquet(folder / "orders.parquet")
    table, directory = open_source(folder / "orders.parquet"), read_restaurants(restaurants)
    store, results = Store.open(str(folder / "models")), ResultsFolder(folder / "results")
    days = [plan.start + place * ONE_DAY for place in range(TRAINED_DAYS, plan.days)]
    train(
        audit_orders(orders, directory, need_label=True),
        directory,
        days[0],
        store,
        _WHO,
        plan=FEW_TREES,
        with_report=False,
    )
    _answer(table, directory, store, results, days)
    watch = MonitoringInputs(table, directory, results, StoreBundleSource(store))
    for back in range(looked_at):
        date = days[-1] + (1 - back) * ONE_DAY
        results.write(date, MONITORING_FILE, encode(monitor_day(watch, date)))
    return results.root


def add_challenger(root: Path, orders: Path, restaurants: Path) -> None:
    """Put a second bundle of the champion's morning, with few trees, into the store at `root`. It does not serve."""
    store, directory = Store.open(str(root)), read_restaurants(open_source(restaurants).frame())
    champion = ChampionLog(store).current()
    if champion is None:
        raise UsageError(f"{root} has no champion.", "Make one: make demo")
    read = audit_orders(open_source(orders).frame(), directory, need_label=True)
    train(read, directory, champion.date, store, _WHO, plan=FEW_TREES, allow_promotion=False, with_report=False)


def _answer(
    table: DataSource, directory: RestaurantIndex, store: Store, results: ResultsFolder, days: Sequence[dt.date]
) -> None:
    """Score these days, each by the champion with that morning's history; the champion is of the first."""
    for date in days:
        if date > days[0]:
            refresh_champion(table, directory, date, store, _WHO)
        score_day(table, date, select_champion(store, date, results), directory, results)
