"""Time and CPU time of each step of `train`.

    python -m benchmarks.training_time                  32,394 synthetic orders
    python -m benchmarks.training_time --orders 100000  another number
    python -m benchmarks.training_time --json           one JSON document instead of the table

`train` runs with an empty temporary store. It holds out the last week, so the models are fitted once more on all
orders. The target of 60 s is for that fit.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Sequence

import msgspec

from preptime.bundle.store import Store
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.fitting import FitPlan, fit_window
from preptime.training.publishing import AuditActor
from preptime.training.train import train
from preptime.training.training_data import TrainingData
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants

ONE_DAY = dt.timedelta(days=1)
FITTING = "Models: "


class Step(msgspec.Struct):
    """The time of a step."""

    name: str
    seconds: float
    cpu_seconds: float


class TrainingTime(msgspec.Struct, frozen=True):
    """The document of `--json`."""

    cpus: int | None
    orders: int
    fitted_orders: int
    train: list[Step]
    all_fitted_orders: int
    all: list[Step]


class Stopwatch:
    """Measures consecutive steps. Time counts for the step that ends next."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stage(self, stage: str, _done: float) -> None:
        """Count the time since the last report for a stage. Training reports progress when a part is done."""
        # Several models are fitted at the same time, so the time can't be assigned to one of them.
        model = stage.startswith(FITTING) and stage.endswith(" fitted")
        self.end(f"{FITTING}all fitted" if model else stage)

    def end(self, name: str) -> None:
        """Count the time since the last end for this step."""
        wall, cpu = time.perf_counter(), time.process_time()
        if not self.steps or self.steps[-1].name != name:
            self.steps.append(Step(name, 0.0, 0.0))
        self.steps[-1].seconds += wall - self._wall
        self.steps[-1].cpu_seconds += cpu - self._cpu
        self._wall, self._cpu = wall, cpu


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the steps, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--orders", type=int, default=SynthesisPlan().orders, help="number of orders (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    document = measure(SynthesisPlan(orders=arguments.orders))
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def measure(plan: SynthesisPlan) -> TrainingTime:
    """Train on a plan's orders as of the day after the last one, then fit on all of them."""
    orders, restaurants, _ = synthesize_frames(plan)
    as_of = plan.start + dt.timedelta(days=plan.days)
    cpus = os.cpu_count()
    fit_plan = FitPlan.default(cpus or 1)
    train_stopwatch = Stopwatch()
    restaurant_index = read_restaurants(restaurants)
    audited = audit_orders(orders, restaurant_index, need_label=True)
    train_stopwatch.end("Audit")
    with tempfile.TemporaryDirectory(prefix="preptime-train-") as folder:
        actor = AuditActor("benchmark", "")
        trained = train(
            audited, restaurant_index, as_of, Store.open(folder), actor, plan=fit_plan, progress=train_stopwatch.stage
        )
        train_stopwatch.end("Bundle, comparison, promotion")
    fit_stopwatch = Stopwatch()
    training_data = TrainingData.from_orders(audited, restaurant_index).as_of(as_of)
    features = build_feature_matrix(training_data, training_data.first_day, as_of - ONE_DAY, fit_stopwatch.stage)
    fitted = fit_window(features, as_of - ONE_DAY, fit_plan, fit_stopwatch.stage)
    return TrainingTime(cpus, plan.orders, trained.orders, train_stopwatch.steps, fitted.orders, fit_stopwatch.steps)


def _markdown(document: TrainingTime) -> str:
    lines = [
        f"{document.orders:,} synthetic orders. `train` holds out a week and fits on {document.fitted_orders:,}. The",
        f"other columns are for a fit on all {document.all_fitted_orders:,} orders that can be used for fitting.",
        "",
        "| step | `train` s | CPU s | all orders s | CPU s |",
        "|---|---:|---:|---:|---:|",
    ]
    all_orders_steps = {step.name: step for step in document.all}
    lines += [_row(step, all_orders_steps.get(step.name)) for step in document.train]
    lines.append(_row(_total(document.train), _total(document.all)))
    return "\n".join(lines)


def _row(step: Step, all_orders_step: Step | None) -> str:
    steps = [step] if all_orders_step is None else [step, all_orders_step]
    cells = [f"{seconds:.1f}" for item in steps for seconds in (item.seconds, item.cpu_seconds)]
    cells += ["–"] * (4 - len(cells))
    return f"| {step.name} | " + " | ".join(cells) + " |"


def _total(steps: Sequence[Step]) -> Step:
    return Step("total", sum(step.seconds for step in steps), sum(step.cpu_seconds for step in steps))


if __name__ == "__main__":
    sys.exit(main())
