"""Time and CPU time of each step of `train`.

    python -m benchmarks.training_time                  32,394 synthetic orders
    python -m benchmarks.training_time --orders 100000  another number
    python -m benchmarks.training_time --json           one JSON document instead of the table

`train` runs with an empty temporary store, once with the gate and once without it (`--quick`). The limit of 110 s is
for the first run.
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
from preptime.features.restaurant_index import RestaurantIndex
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.fitting import FitPlan
from preptime.training.publishing import AuditActor
from preptime.training.train import train
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.restaurants import read_restaurants

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
    quick: list[Step]
    """Without the gate."""


class Stopwatch:
    """Measures consecutive steps. Time counts for the step that ends next."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stage(self, stage: str, _done: float) -> None:
        """Count the time since the last report for a stage. Training reports progress when a part is done."""
        # Several models are fitted at the same time, so the time can't be assigned to one of them.
        model = stage.startswith(FITTING) and stage.endswith(" fitted")
        self.end(f"{FITTING}point models fitted" if model else stage)

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
    """Train on a plan's orders as of the day after the last one, with and without the gate."""
    orders, restaurants, _ = synthesize_frames(plan)
    as_of = plan.start + dt.timedelta(days=plan.days)
    restaurant_index = read_restaurants(restaurants)
    audited = audit_orders(orders, restaurant_index, need_label=True)
    fitted_orders, train_steps = _time_training(audited, restaurant_index, as_of, with_gate=True)
    _, quick_steps = _time_training(audited, restaurant_index, as_of, with_gate=False)
    return TrainingTime(os.cpu_count(), plan.orders, fitted_orders, train_steps, quick_steps)


def _time_training(
    audited: AuditedOrders, restaurants: RestaurantIndex, as_of: dt.date, *, with_gate: bool
) -> tuple[int, list[Step]]:
    """Return the number of fitted orders, and the steps of a training."""
    stopwatch, plan = Stopwatch(), FitPlan.default(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="preptime-train-") as folder:
        trained = train(
            audited,
            restaurants,
            as_of,
            Store.open(folder),
            AuditActor("benchmark", ""),
            plan=plan,
            with_gate=with_gate,
            progress=stopwatch.stage,
        )
        stopwatch.end("Bundle, comparison, promotion")
    return trained.orders, stopwatch.steps


def _markdown(document: TrainingTime) -> str:
    lines = [
        f"{document.orders:,} synthetic orders, {document.fitted_orders:,} of which are fitted on. The gate predicts a",
        "week. `--quick` trains without it.",
        "",
        "| step | `train` s | CPU s | `train --quick` s | CPU s |",
        "|---|---:|---:|---:|---:|",
    ]
    quick_steps = {step.name: step for step in document.quick}
    lines += [_row(step, quick_steps.get(step.name)) for step in document.train]
    lines.append(_row(_total(document.train), _total(document.quick)))
    return "\n".join(lines)


def _row(step: Step, quick_step: Step | None) -> str:
    steps = [step] if quick_step is None else [step, quick_step]
    cells = [f"{seconds:.1f}" for item in steps for seconds in (item.seconds, item.cpu_seconds)]
    cells += ["–"] * (4 - len(cells))
    return f"| {step.name} | " + " | ".join(cells) + " |"


def _total(steps: Sequence[Step]) -> Step:
    return Step("total", sum(step.seconds for step in steps), sum(step.cpu_seconds for step in steps))


if __name__ == "__main__":
    sys.exit(main())
