"""Train this release's test bundle: `python scripts/make_release_bundle.py`.

It trains every model of the catalogue with a few trees on a few hundred synthetic orders, with `train`. On one machine,
repeated runs give the same bytes. It writes the bundle to `tests/bundle/releases/<release>/<id>` once. The bundle of a
release is never replaced (docs/bundle-format.md, "Changing the format").
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

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
from preptime.validation.data_gate import GateThresholds
from preptime.validation.restaurants import read_restaurants

RELEASES_DIR = Path(__file__).resolve().parent.parent / "tests" / "bundle" / "releases"
MAX_BUNDLE_BYTES = 300_000
SYNTHESIS_PLAN = SynthesisPlan(orders=900, restaurants=25, days=14)
TREE_COUNT = 4


def small_models() -> tuple[Model, ...]:
    """Return the models of the catalogue with a few trees each."""
    bases: tuple[Model, ...] = (
        RandomForestModel(tree_count=TREE_COUNT, max_leaf_nodes=12),
        GradientBoostingModel(tree_count=TREE_COUNT),
        CatBoostModel(tree_count=TREE_COUNT, depth=3),
        XGBoostModel(tree_count=TREE_COUNT, depth=3),
    )
    return (
        *bases,
        StackingModel(bases),
        QuantileModel(tree_count=2 * TREE_COUNT, learning_rate=0.3, depth=3, border_count=32),
    )


def train_bundle(store: Store) -> str:
    """Train the small bundle, write it to a store, and return its id."""
    orders, restaurants, _ = synthesize_frames(SYNTHESIS_PLAN)
    restaurant_index = read_restaurants(restaurants)
    training = train(
        audit_orders(orders, restaurant_index, need_label=True),
        restaurant_index,
        SYNTHESIS_PLAN.start + dt.timedelta(days=SYNTHESIS_PLAN.days),
        store,
        AuditActor(by="scripts/make_release_bundle.py", at=""),
        plan=FitPlan({model.name: model for model in small_models()}, threads=1),
        thresholds=GateThresholds(min_orders=500),
        allow_promotion=False,
        with_report=False,
    )
    return training.bundle


def main() -> int:
    """Write the bundle of the installed release, unless it exists."""
    release_folder = RELEASES_DIR / version("preptime")
    if release_folder.exists():
        sys.stderr.write(f"{release_folder} exists. The bundle of a release is never replaced.\n")
        return 1
    with tempfile.TemporaryDirectory() as root:
        store = Store.open(root)
        bundle_folder = store.fetch(train_bundle(store))
        size = sum(path.stat().st_size for path in bundle_folder.rglob("*") if path.is_file())
        if size >= MAX_BUNDLE_BYTES:
            sys.stderr.write(f"The bundle has {size:,} bytes; expected fewer than {MAX_BUNDLE_BYTES:,}.\n")
            return 1
        shutil.copytree(bundle_folder, release_folder / bundle_folder.name)
    sys.stdout.write(f"{release_folder / bundle_folder.name}: {size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
