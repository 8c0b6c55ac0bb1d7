"""The processor time of a request in ONNX Runtime and in the pure function around it.

    python -m benchmarks.api.inside STORE BODIES ROUNDS

Prints the median processor time per request in µs: {"graph": …, "outside": …}.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.references.bare import MAX_ORDERS, open_active_model
from preptime.api.predict import predict
from preptime.bundle.bundle import Bundle
from preptime.bundle.graph import BundleGraphs, OnnxGraph
from preptime.bundle.manifest import LIVE_FILE, MODEL_FILE, QUANTILE_FILE
from preptime.domain.orders import DEFAULT_MODEL
from preptime.features.kitchen import LIVE_FEATURES


class TimedGraph(OnnxGraph):
    """A graph that adds the processor time of its runs to a timer."""

    def __init__(self, timer: Timer, content: bytes, columns: int, models: tuple[str, ...], file: str) -> None:
        super().__init__(content, columns, models, file)
        self.timer = timer

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Run the graph and add the processor time."""
        with self.timer:
            return super().run(features)

    def run_quantiles(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph and add the processor time."""
        with self.timer:
            return super().run_quantiles(features)


class Timer:
    """The sum of the processor times of its blocks, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started_at = 0.0

    def __enter__(self) -> None:
        self._started_at = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.thread_time() - self._started_at


def time_graphs(bundle: Bundle) -> Timer:
    """Replace the graphs of a bundle by timed ones. Return their timer."""
    timer, files, columns = Timer(), bundle.graph_files(), len(bundle.manifest.features)

    def timed(file: str, models: tuple[str, ...], more_columns: int = 0) -> TimedGraph:
        return TimedGraph(timer, files[file], columns + more_columns, models, file)

    bundle.graphs = BundleGraphs(
        timed(MODEL_FILE, bundle.manifest.models),
        timed(QUANTILE_FILE, (DEFAULT_MODEL,)),
        timed(LIVE_FILE, (DEFAULT_MODEL,), len(LIVE_FEATURES)) if LIVE_FILE in files else None,
    )
    return timer


def measure(store: str, bodies: Path, rounds: int) -> dict[str, float]:
    """Predict every body once to warm up, then `rounds` times. Return the medians."""
    active_model = open_active_model(store)
    timer = time_graphs(active_model.bundle)
    lines = bodies.read_bytes().splitlines()
    for line in lines:
        predict(line, active_model, MAX_ORDERS)
    graph_times, outside_times = [], []
    for line in lines * rounds:
        timer.seconds, started_at = 0.0, time.thread_time()
        predict(line, active_model, MAX_ORDERS)
        total = time.thread_time() - started_at
        graph_times.append(timer.seconds * 1e6)
        outside_times.append((total - timer.seconds) * 1e6)
    return {"graph": statistics.median(graph_times), "outside": statistics.median(outside_times)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
