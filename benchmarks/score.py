"""What scoring costs: time inside and outside ONNX Runtime, and memory, by number of orders.

    python benchmarks/score.py             100,000 and 1,000,000 orders
    python benchmarks/score.py --all       10,000,000 too (a few minutes, 4 GB on disk)
    python benchmarks/score.py --json      one document instead of the table

Orders are synthesized into a temporary folder and go from parquet to parquet. The models are the whole catalogue,
fitted on 8,000 orders: what a row costs depends on their trees, which number what they always do. Each size is
measured in a process of its own, so that its peak memory is its own. "Inside ONNX" is the processor time of the
threads that are inside `Graph.run`; "outside" is everything else that the process's threads do while scoring: reading,
judging, features, text, compression, writing. Both are processor time, so neither hides behind the other on a second
core.
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

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from preptime.domain.validation_reasons import Purpose
    from preptime.features.history_state import CompletedOrders
    from preptime.features.restaurant_index import RestaurantIndex

# Only the standard library up here: a process's peak memory counts from what its parent held when starting it.

SIZES = (100_000, 1_000_000)
ALL_SIZES = (*SIZES, 10_000_000)
FITTED_ORDERS = 8_000
HISTORY_ORDERS = 100_000


def main() -> None:
    """Measure every size and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="10 million orders too")
    parser.add_argument("--rows", type=int, nargs="+", help="these numbers of orders instead")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _step(*arguments.step)
        return
    results = []
    with tempfile.TemporaryDirectory(prefix="preptime-score-") as name:
        folder = Path(name)
        _in_a_process("fit", folder)
        for rows in arguments.rows or (ALL_SIZES if arguments.all else SIZES):
            _in_a_process("make", folder, str(rows))
            results.append(json.loads(_in_a_process("measure", folder)))
    print(json.dumps({"cpus": os.cpu_count(), "results": results}) if arguments.json else _markdown(results))


def _in_a_process(step: str, folder: Path, *more: str) -> str:
    command = [sys.executable, __file__, "--step", step, str(folder), *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def _step(name: str, folder: str, rows: str = "0") -> None:
    if name == "fit":
        _fit(Path(folder))
    elif name == "make":
        _make(Path(folder), int(rows))
    else:
        print(json.dumps(_measure(Path(folder))))


def _fit(folder: Path) -> None:
    """The catalogue as one graph, in `model.onnx`."""
    from preptime.domain.validation_reasons import Purpose
    from preptime.features.history import build_history, feature_matrix
    from preptime.features.history_state import HistoryState
    from preptime.models.catalogue import CATALOGUE
    from preptime.models.fitting import fit_all
    from preptime.models.onnx_export import merge_to_onnx
    from preptime.synthetic import SynthesisPlan, synthesize_frames

    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=FITTED_ORDERS))
    directory, completed, morning = _completed(orders, restaurants, Purpose.FITTING)
    history = build_history(HistoryState.from_orders(directory, completed), directory, morning)
    X = feature_matrix(completed.orders, history)
    fitted = fit_all(CATALOGUE, X, completed.prep_time_seconds.astype("float64"), threads=os.cpu_count() or 1, seed=12)
    (folder / "model.onnx").write_bytes(merge_to_onnx(fitted, X.shape[1]))


def _make(folder: Path, rows: int) -> None:
    """`orders.parquet`, and a bundle that knows their restaurants."""
    import datetime as dt

    import polars as pl

    from preptime.bundle.bundle import choose_golden_orders
    from preptime.bundle.manifest import ManifestDraft, TrainingWindow
    from preptime.bundle.store import Store
    from preptime.bundle.writer import write_bundle
    from preptime.domain.validation_reasons import Purpose
    from preptime.features.history import build_history
    from preptime.features.history_state import HistoryState
    from preptime.models.catalogue import CATALOGUE
    from preptime.synthetic import SynthesisPlan, synthesize

    plan = SynthesisPlan(orders=rows)
    written = synthesize(plan, folder, "parquet")
    some = pl.scan_parquet(written.orders).gather_every(max(1, rows // HISTORY_ORDERS)).collect()
    directory, completed, morning = _completed(some, pl.read_parquet(written.restaurants), Purpose.HISTORY)
    last = morning - dt.timedelta(days=1)
    draft = ManifestDraft(
        kind="training",
        date=morning,
        window=TrainingWindow(first_day=plan.start, last_day=last, fitted_through=last, gate_days=0),
        models=tuple(CATALOGUE),
        calibration={},
        data_fingerprint="synthetic",
        metrics={},
        libraries={},
    )
    history = build_history(HistoryState.from_orders(directory, completed), directory, morning)
    model = (folder / "model.onnx").read_bytes()
    store = Store.open(str(folder / "store"))
    for old in store.bundle_ids():
        store.delete(old)
    write_bundle(store, draft, model=model, history=history, golden_orders=choose_golden_orders(completed.orders))


def _completed(
    orders: pl.DataFrame, restaurants: pl.DataFrame, purpose: Purpose
) -> tuple[RestaurantIndex, CompletedOrders, dt.date]:
    """The restaurants, those of the orders that may be used for `purpose`, and a morning after all of them."""
    import datetime as dt

    import polars as pl

    from preptime.features.history_state import CompletedOrders
    from preptime.validation.audit import audit_orders, to_order_columns
    from preptime.validation.restaurants import read_restaurants

    directory = read_restaurants(restaurants)
    audited = audit_orders(orders, directory, need_label=True)
    frame = audited.frame.filter(pl.Series(audited.usable_for(purpose)))
    columns = to_order_columns(frame)
    label = frame["prep_time_seconds"].cast(pl.Int64).to_numpy()
    ready = columns.acknowledged_at + label
    morning = dt.date(1970, 1, 1) + dt.timedelta(days=int(ready.max()) // 86_400 + 1)
    return directory, CompletedOrders(columns, ready, label), morning


def _measure(folder: Path) -> dict[str, float]:
    """Score `orders.parquet` once, with as many workers as scoring takes by itself."""
    import threading
    import time

    from numpy import float32
    from numpy.typing import NDArray

    from preptime.bundle.bundle import Bundle
    from preptime.bundle.graph import OnnxGraph
    from preptime.bundle.store import Store
    from preptime.features.spec import FEATURES
    from preptime.scoring.score_file import score_file

    class TimedGraph(OnnxGraph):
        """A graph that adds up the processor time of its runs: one thread each, so a thread's time is all of it."""

        seconds = 0.0
        lock = threading.Lock()

        def run(self, features: NDArray[float32]) -> tuple[dict[str, NDArray[float32]], NDArray[float32]]:
            start = time.thread_time()
            answers = super().run(features)
            spent = time.thread_time() - start
            with self.lock:
                self.seconds += spent
            return answers

    store = Store.open(str(folder / "store"))
    bundle = Bundle.load(store.fetch(store.bundle_ids()[0]))
    graph = TimedGraph(bundle.model_bytes(), len(FEATURES), bundle.manifest.models)
    timed = Bundle(bundle.folder, bundle.manifest, bundle.history, graph)
    wall, cpu = time.perf_counter(), time.process_time()
    document = score_file(str(folder / "orders.parquet"), folder / "scored.parquet", timed)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    per_row = 1e6 / document.rows
    return {
        "rows": document.rows,
        "restaurants": len(bundle.history.restaurants),
        "wall_seconds": round(wall, 2),
        "rows_per_second": round(document.rows / wall),
        "inside_onnx_us_per_row": round(graph.seconds * per_row, 2),
        "outside_onnx_us_per_row": round((cpu - graph.seconds) * per_row, 2),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """Peak resident memory of this process; NaN where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def _markdown(results: list[dict[str, float]]) -> str:
    lines = [
        f"Parquet to parquet, all six models, {os.cpu_count()} processors; processor time per row, in microseconds.",
        "",
        "| orders | restaurants | wall | orders/s | inside ONNX | outside ONNX | peak memory |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['rows']:,} | {one['restaurants']:,} | {one['wall_seconds']:.1f} s | {one['rows_per_second']:,} "
        f"| {one['inside_onnx_us_per_row']:.2f} | {one['outside_onnx_us_per_row']:.2f} | {one['peak_mb']:,} MB |"
        for one in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
