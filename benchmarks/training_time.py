"""What training costs: seconds and processor seconds of each step of `train`.

    python -m benchmarks.training_time                  32,394 synthetic orders
    python -m benchmarks.training_time --orders 100000  another number
    python -m benchmarks.training_time --json           one document instead of the table

`train` runs as a user runs it, into an empty store that is thrown away; it holds the last week out of fitting. So the
models are fitted once more on every order, which is the figure that 60 s are promised for.
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
    """What a step took."""

    name: str
    seconds: float
    cpu_seconds: float


class TrainingTime(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    cpus: int | None
    orders: int
    fitted_orders: int
    train: list[Step]
    all_fitted_orders: int
    all: list[Step]


class Stopwatch:
    """Steps one after the other; time belongs to the step whose end is told next."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stage(self, stage: str, _done: float) -> None:
        """Take what `preptime.training` tells of its progress: a stage's share is told when that share is done."""
        # Models are fitted several at once: whose end is told says nothing of what the time went into.
        model = stage.startswith(FITTING) and stage.endswith(" fitted")
        self.end(f"{FITTING}all fitted" if model else stage)

    def end(self, name: str) -> None:
        """Everything since the last end was this step's."""
        wall, cpu = time.perf_counter(), time.process_time()
        if not self.steps or self.steps[-1].name != name:
            self.steps.append(Step(name, 0.0, 0.0))
        self.steps[-1].seconds += wall - self._wall
        self.steps[-1].cpu_seconds += cpu - self._cpu
        self._wall, self._cpu = wall, cpu


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=SynthesisPlan().orders, help="how many (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    document = measure(SynthesisPlan(orders=arguments.orders))
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def measure(plan: SynthesisPlan) -> TrainingTime:
    """Train on a plan's orders on the morning after the last of them, then fit on all of them."""
    orders, restaurants, _ = synthesize_frames(plan)
    morning = plan.start + dt.timedelta(days=plan.days)
    cpus = os.cpu_count()
    fit_plan = FitPlan.default(cpus or 1)
    watch = Stopwatch()
    directory = read_restaurants(restaurants)
    audited = audit_orders(orders, directory, need_label=True)
    watch.end("Audit")
    with tempfile.TemporaryDirectory(prefix="preptime-train-") as folder:
        who = AuditActor("benchmark", "")
        trained = train(audited, directory, morning, Store.open(folder), who, plan=fit_plan, progress=watch.stage)
        watch.end("Bundle, comparison, promotion")
    again = Stopwatch()
    corpus = TrainingData.from_orders(audited, directory).as_of(morning)
    days = build_feature_matrix(corpus, corpus.first_day, morning - ONE_DAY, again.stage)
    fitted = fit_window(days, morning - ONE_DAY, fit_plan, again.stage)
    return TrainingTime(cpus, plan.orders, trained.orders, watch.steps, fitted.orders, again.steps)


def _markdown(document: TrainingTime) -> str:
    lines = [
        f"{document.orders:,} synthetic orders. `train` holds a week out and fits on {document.fitted_orders:,};",
        f"beside it the steps of fitting on all {document.all_fitted_orders:,} that can be fitted.",
        "",
        "| step | `train` s | processor s | all orders s | processor s |",
        "|---|---:|---:|---:|---:|",
    ]
    beside = {step.name: step for step in document.all}
    lines += [_row(step, beside.get(step.name)) for step in document.train]
    lines.append(_row(_total(document.train), _total(document.all)))
    return "\n".join(lines)


def _row(step: Step, beside: Step | None) -> str:
    figures = [figure for one in (step, beside) if one is not None for figure in (one.seconds, one.cpu_seconds)]
    cells = [f"{figure:.1f}" for figure in figures] + ["–"] * (4 - len(figures))
    return f"| {step.name} | " + " | ".join(cells) + " |"


def _total(steps: Sequence[Step]) -> Step:
    return Step("together", sum(step.seconds for step in steps), sum(step.cpu_seconds for step in steps))


if __name__ == "__main__":
    sys.exit(main())
