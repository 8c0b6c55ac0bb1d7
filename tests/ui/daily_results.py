"""Creates results of the daily run and a second bundle, for screenshots of the dashboard.

One small bundle is trained on synthetic weeks. Then each date gets a refreshed history and scored orders, and the last
dates are monitored.
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

MONITORED_DATES = 10
"""Number of dates with a monitoring document."""
PLAN = SynthesisPlan(orders=36_000, restaurants=400, days=51, drift=Drift("London", 50, 1.15))
"""Preparation in London takes 15% longer on the last two days, so the last date has an alert."""
TRAINED_DAYS = 14
"""Days before the first prediction. The first monitored date then has four weeks of predictions."""
FAST_FIT_PLAN = FitPlan(
    {
        model.name: model
        for model in (RandomForestModel(tree_count=10, max_leaf_nodes=30), QuantileModel(tree_count=120))
    },
    1,
    with_live_model=False,
)
"""One point model and the quantile model, with few trees."""
ONE_DAY = dt.timedelta(days=1)
_ACTOR = AuditActor(by="example", at="2015-06-22T05:00:00Z")


def find_or_make_results(existing: Path, folder: Path) -> Path:
    """Return `existing` if it has a monitored date, or else results created in `folder`."""
    return existing if ResultsFolder(existing).days(MONITORING_FILE) else make_results(folder, PLAN)


def make_results(folder: Path, plan: SynthesisPlan, monitored_dates: int = MONITORED_DATES) -> Path:
    """Create results of synthetic orders in `folder`. The latest `monitored_dates` dates have a document."""
    orders, restaurants, _ = synthesize_frames(plan)
    folder.mkdir(parents=True, exist_ok=True)
    orders.write_parquet(folder / "orders.parquet")
    source, restaurant_index = open_source(folder / "orders.parquet"), read_restaurants(restaurants)
    store, results = Store.open(str(folder / "models")), ResultsFolder(folder / "results")
    days = [plan.start + offset * ONE_DAY for offset in range(TRAINED_DAYS, plan.days)]
    train(
        audit_orders(orders, restaurant_index, need_label=True),
        restaurant_index,
        days[0],
        store,
        _ACTOR,
        plan=FAST_FIT_PLAN,
        with_report=False,
    )
    _score_days(source, restaurant_index, store, results, days)
    inputs = MonitoringInputs(source, restaurant_index, results, StoreBundleSource(store))
    for days_back in range(monitored_dates):
        date = days[-1] + (1 - days_back) * ONE_DAY
        results.write(date, MONITORING_FILE, encode(monitor_day(inputs, date)))
    return results.root


def add_challenger(root: Path, orders: Path, restaurants: Path) -> None:
    """Add a small bundle for the champion's as-of date to the store at `root`, without promoting it."""
    store, restaurant_index = Store.open(str(root)), read_restaurants(open_source(restaurants).frame())
    champion = ChampionLog(store).current()
    if champion is None:
        raise UsageError(f"{root} has no champion.", "Create one: make demo")
    audited = audit_orders(open_source(orders).frame(), restaurant_index, need_label=True)
    train(
        audited,
        restaurant_index,
        champion.date,
        store,
        _ACTOR,
        plan=FAST_FIT_PLAN,
        allow_promotion=False,
        with_report=False,
    )


def _score_days(
    source: DataSource, restaurants: RestaurantIndex, store: Store, results: ResultsFolder, days: Sequence[dt.date]
) -> None:
    """Score each day with the champion as of that day. The champion is trained for the first day."""
    for date in days:
        if date > days[0]:
            refresh_champion(source, restaurants, date, store, _ACTOR)
        score_day(source, date, select_champion(store, date, results), restaurants, results)
