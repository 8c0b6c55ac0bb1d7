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
from preptime.bundle.graph import OnnxGraph


class TimedGraph(OnnxGraph):
    """A graph that sums the processor time of its runs."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        super().__init__(bundle.model_bytes(), len(manifest.features), manifest.models)
        self.seconds = 0.0

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Run the graph and add the processor time."""
        started_at = time.thread_time()
        try:
            return super().run(features)
        finally:
            self.seconds += time.thread_time() - started_at

    def run_default(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph and add the processor time."""
        started_at = time.thread_time()
        try:
            return super().run_default(features)
        finally:
            self.seconds += time.thread_time() - started_at


def measure(store: str, bodies: Path, rounds: int) -> dict[str, float]:
    """Predict every body once to warm up, then `rounds` times. Return the medians."""
    active_model = open_active_model(store)
    graph = TimedGraph(active_model.bundle)
    active_model.bundle.graph = graph
    lines = bodies.read_bytes().splitlines()
    for line in lines:
        predict(line, active_model, MAX_ORDERS)
    graph_times, outside_times = [], []
    for line in lines * rounds:
        graph.seconds, started_at = 0.0, time.thread_time()
        predict(line, active_model, MAX_ORDERS)
        total = time.thread_time() - started_at
        graph_times.append(graph.seconds * 1e6)
        outside_times.append((total - graph.seconds) * 1e6)
    return {"graph": statistics.median(graph_times), "outside": statistics.median(outside_times)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
