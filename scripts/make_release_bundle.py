"""Make the bundle of this release that the tests keep for ever: `python scripts/make_release_bundle.py`.

A few hundred synthetic orders, every model of the catalogue with a few trees, through `train` itself; again on the same
machine gives the same bytes. It goes to `tests/bundle/releases/<release>/<id>`, once: what a release made is never made
anew (docs/bundle-format.md, "Changing the format").
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

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
from preptime.tables.gate import GateThresholds
from preptime.tables.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.fit import FitPlan
from preptime.training.publish import Who
from preptime.training.train import train

RELEASES = Path(__file__).resolve().parent.parent / "tests" / "bundle" / "releases"
LARGEST_BYTES = 300_000
ORDERS = SynthesisPlan(orders=900, restaurants=25, days=14)
TREES = 4


def recipes() -> tuple[Model, ...]:
    """The catalogue, small."""
    bases: tuple[Model, ...] = (
        Forest(trees=TREES, max_leaf_nodes=12),
        GradientBoosting(trees=TREES),
        Cat(recipe=CatTrees(trees=TREES, depth=3)),
        XGBoost(trees=TREES, depth=3),
    )
    return (*bases, Stacking(bases), Quantile(trees=2 * TREES, rate=0.3, depth=3, borders=32))


def make(store: Store) -> str:
    """Train the small bundle into a store; its id."""
    orders, restaurants, _ = synthesize_frames(ORDERS)
    directory = read_directory(restaurants)
    told = train(
        audit(orders, directory, need_label=True),
        directory,
        ORDERS.start + dt.timedelta(days=ORDERS.days),
        store,
        Who(by="scripts/make_release_bundle.py", at=""),
        plan=FitPlan({model.name: model for model in recipes()}, threads=1),
        thresholds=GateThresholds(min_orders=500),
        may_promote=False,
        report=False,
    )
    return told.bundle


def main() -> int:
    """Write the bundle of the installed release, unless there is one."""
    release = RELEASES / version("preptime")
    if release.exists():
        sys.stderr.write(f"{release} is there already, and what a release made is never made anew.\n")
        return 1
    with tempfile.TemporaryDirectory() as root:
        store = Store.open(root)
        made = store.fetch(make(store))
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if size >= LARGEST_BYTES:
            sys.stderr.write(f"The bundle has {size:,} bytes; the tests keep fewer than {LARGEST_BYTES:,}.\n")
            return 1
        shutil.copytree(made, release / made.name)
    sys.stdout.write(f"{release / made.name}: {size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
