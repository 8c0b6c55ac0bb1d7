"""Time of scoring inside and outside ONNX Runtime, and memory, by number of orders.

    python -m benchmarks.score             100,000 and 1,000,000 orders
    python -m benchmarks.score --all       also 10,000,000 (a few minutes, 4 GB on disk)
    python -m benchmarks.score --json      one JSON document instead of the table

Orders are synthesized to a temporary folder, and scored from Parquet to Parquet. The models are the whole catalogue,
fitted on 8,000 orders. The time per row depends on the number of trees, which is always the same. Each size runs in a
new process, so that its peak memory is its own. "Inside ONNX" is the CPU time of the threads in `OnnxGraph.run`.
"Outside" is the CPU time of everything else: reading, validation, features, formatting, compression, and writing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peak_memory import peak_mb

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from preptime.domain.validation_reasons import Purpose
    from preptime.features.history_state import CompletedOrders
    from preptime.features.restaurant_index import RestaurantIndex

# Only the standard library here: the peak memory of a process includes the memory of its parent when it starts.

SIZES = (100_000, 1_000_000)
ALL_SIZES = (*SIZES, 10_000_000)
FITTED_ORDERS = 8_000
HISTORY_ORDERS = 100_000


def main() -> None:
    """Measure every size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="also 10 million orders")
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of orders to measure instead")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _step(*arguments.step)
        return
    results = []
    with tempfile.TemporaryDirectory(prefix="preptime-score-") as name:
        folder = Path(name)
        _run_step("fit", folder)
        for rows in arguments.rows or (ALL_SIZES if arguments.all else SIZES):
            _run_step("make", folder, str(rows))
            results.append(json.loads(_run_step("measure", folder)))
    print(json.dumps({"cpus": os.cpu_count(), "results": results}) if arguments.json else _markdown(results))


def _run_step(step: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.score", "--step", step, str(folder), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def _step(name: str, folder: str, rows: str = "0") -> None:
    if name == "fit":
        fit_graphs(Path(folder))
    elif name == "make":
        write_inputs(Path(folder), int(rows))
    else:
        print(json.dumps(_measure(Path(folder))))


def fit_graphs(folder: Path) -> None:
    """Write the graphs of a bundle to the folder."""
    from preptime.bundle.manifest import MODEL_FILE, QUANTILE_FILE
    from preptime.domain.orders import DEFAULT_MODEL
    from preptime.domain.validation_reasons import Purpose
    from preptime.features.history import feature_matrix
    from preptime.features.history_state import HistoryState
    from preptime.features.shrinkage import build_history
    from preptime.models.catalogue import CATALOGUE
    from preptime.models.fitting import fit_all
    from preptime.models.onnx_export import merge_to_onnx
    from preptime.synthetic import SynthesisPlan, synthesize_frames

    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=FITTED_ORDERS))
    restaurant_index, completed, as_of = _completed_orders(orders, restaurants, Purpose.FITTING)
    history = build_history(HistoryState.from_orders(restaurant_index, completed), restaurant_index, as_of)
    X = feature_matrix(completed.orders, history)
    fitted = fit_all(CATALOGUE, X, completed.prep_time_seconds.astype("float64"), threads=os.cpu_count() or 1, seed=12)
    for file, models in ((MODEL_FILE, fitted), (QUANTILE_FILE, {DEFAULT_MODEL: fitted[DEFAULT_MODEL]})):
        (folder / file).write_bytes(merge_to_onnx(models, X.shape[1]))


def write_inputs(folder: Path, rows: int, restaurants: int | None = None) -> None:
    """Write `orders.parquet`, and a bundle with their restaurants, in a folder with the graphs of `fit_graphs`."""
    import datetime as dt

    import polars as pl

    from preptime.bundle.golden import choose_golden_orders
    from preptime.bundle.manifest import MODEL_FILE, QUANTILE_FILE, ManifestDraft, TrainingWindow
    from preptime.bundle.store import Store
    from preptime.bundle.writer import write_bundle
    from preptime.domain.validation_reasons import Purpose
    from preptime.features.history_state import HistoryState
    from preptime.features.shrinkage import build_history
    from preptime.models.catalogue import CATALOGUE
    from preptime.synthetic import SynthesisPlan, synthesize

    plan = SynthesisPlan(orders=rows, restaurants=restaurants)
    files = synthesize(plan, folder, "parquet")
    sample = pl.scan_parquet(files.orders).gather_every(max(1, rows // HISTORY_ORDERS)).collect()
    restaurant_index, completed, as_of = _completed_orders(sample, pl.read_parquet(files.restaurants), Purpose.HISTORY)
    last = as_of - dt.timedelta(days=1)
    draft = ManifestDraft(
        kind="training",
        date=as_of,
        window=TrainingWindow(first_day=plan.start, last_day=last, fitted_through=last),
        models=tuple(CATALOGUE),
        calibration={},
        data_fingerprint="synthetic",
        metrics={},
        libraries={},
    )
    history = build_history(HistoryState.from_orders(restaurant_index, completed), restaurant_index, as_of)
    graphs = {name: (folder / name).read_bytes() for name in (MODEL_FILE, QUANTILE_FILE)}
    store = Store.open(str(folder / "store"))
    for bundle_id in store.bundle_ids():
        store.delete(bundle_id)
    write_bundle(store, draft, graphs=graphs, history=history, golden_orders=choose_golden_orders(completed.orders))


def _completed_orders(
    orders: pl.DataFrame, restaurants: pl.DataFrame, purpose: Purpose
) -> tuple[RestaurantIndex, CompletedOrders, dt.date]:
    """Return the restaurants, the orders that can be used for `purpose`, and an as-of date after all of them."""
    import datetime as dt

    import polars as pl

    from preptime.features.history_state import CompletedOrders
    from preptime.validation.audit import audit_orders, to_order_columns
    from preptime.validation.restaurants import read_restaurants

    restaurant_index = read_restaurants(restaurants)
    audited = audit_orders(orders, restaurant_index, need_label=True)
    frame = audited.frame.filter(pl.Series(audited.usable_for(purpose)))
    columns = to_order_columns(frame, restaurant_index)
    label = frame["prep_time_seconds"].cast(pl.Int64).to_numpy()
    ready = columns.acknowledged_at + label
    as_of = dt.date(1970, 1, 1) + dt.timedelta(days=int(ready.max()) // 86_400 + 1)
    return restaurant_index, CompletedOrders(columns, ready, label), as_of


def _measure(folder: Path) -> dict[str, float]:
    """Score `orders.parquet` once, with the default number of workers."""
    import threading
    import time

    from numpy import float32
    from numpy.typing import NDArray

    from preptime.bundle.bundle import Bundle
    from preptime.bundle.graph import BundleGraphs, OnnxGraph
    from preptime.bundle.store import Store
    from preptime.scoring.score_file import score_file

    class TimedGraph(OnnxGraph):
        """A graph that adds up the CPU time of its runs. Each run uses one thread."""

        seconds = 0.0
        lock = threading.Lock()

        def __init__(self, graph: OnnxGraph) -> None:
            self.__dict__.update(graph.__dict__)

        def run(self, features: NDArray[float32]) -> tuple[dict[str, NDArray[float32]], NDArray[float32]]:
            start = time.thread_time()
            predictions = super().run(features)
            spent = time.thread_time() - start
            with self.lock:
                self.seconds += spent
            return predictions

    store = Store.open(str(folder / "store"))
    bundle = Bundle.load(store.fetch(store.bundle_ids()[0]))
    graph = TimedGraph(bundle.graphs.models)
    graphs = BundleGraphs(graph, bundle.graphs.quantile, bundle.graphs.live)
    timed_bundle = Bundle(bundle.folder, bundle.manifest, bundle.history, graphs)
    wall, cpu = time.perf_counter(), time.process_time()
    document = score_file(str(folder / "orders.parquet"), folder / "scored.parquet", timed_bundle)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    per_row = 1e6 / document.rows
    return {
        "rows": document.rows,
        "restaurants": len(bundle.history.restaurants),
        "wall_seconds": round(wall, 2),
        "rows_per_second": round(document.rows / wall),
        "inside_onnx_us_per_row": round(graph.seconds * per_row, 2),
        "outside_onnx_us_per_row": round((cpu - graph.seconds) * per_row, 2),
        "peak_mb": peak_mb(),
    }


def _markdown(results: list[dict[str, float]]) -> str:
    lines = [
        f"Parquet to Parquet, all six models, {os.cpu_count()} processors. CPU time per row, in microseconds.",
        "",
        "| orders | restaurants | wall | orders/s | inside ONNX | outside ONNX | peak memory |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {result['rows']:,} | {result['restaurants']:,} | {result['wall_seconds']:.1f} s "
        f"| {result['rows_per_second']:,} | {result['inside_onnx_us_per_row']:.2f} "
        f"| {result['outside_onnx_us_per_row']:.2f} | {result['peak_mb']:,} MB |"
        for result in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
