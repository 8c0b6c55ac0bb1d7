"""What a request costs in ONNX Runtime and in the pure function around it.

    python -m benchmarks.api.inside STORE BODIES ROUNDS

Prints the processor time in µs a request: {"graph": …, "outside": …}, medians over requests.
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
    """A graph that adds up the processor time of its runs."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        super().__init__(bundle.model_bytes(), len(manifest.features), manifest.models)
        self.seconds = 0.0

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """As the graph's."""
        began = time.thread_time()
        try:
            return super().run(features)
        finally:
            self.seconds += time.thread_time() - began

    def run_default(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the graph's."""
        began = time.thread_time()
        try:
            return super().run_default(features)
        finally:
            self.seconds += time.thread_time() - began


def measure(store: str, bodies: Path, rounds: int) -> dict[str, float]:
    """Ask every body `rounds` times and once before."""
    serving = open_active_model(store)
    graph = TimedGraph(serving.bundle)
    serving.bundle.graph = graph
    lines = bodies.read_bytes().splitlines()
    for line in lines:
        predict(line, serving, MAX_ORDERS)
    inside, outside = [], []
    for line in lines * rounds:
        graph.seconds, began = 0.0, time.thread_time()
        predict(line, serving, MAX_ORDERS)
        whole = time.thread_time() - began
        inside.append(graph.seconds * 1e6)
        outside.append((whole - graph.seconds) * 1e6)
    return {"graph": statistics.median(inside), "outside": statistics.median(outside)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
