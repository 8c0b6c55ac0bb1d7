"""Effect of the maximum number of leaves per tree on the random forest: error, size, memory, and load time.

    python -m benchmarks.forest_caps          maximum of 100, 500, and 1,500 leaves, and no maximum
    python -m benchmarks.forest_caps --json   one JSON document instead of the table

Error: as in `benchmarks.accuracy`, fitted as of the first day. Size: the forest alone as ONNX, fitted on 32,394
synthetic orders, loaded in a new process that has already imported onnxruntime.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

CAPS = (100, 500, 1500, None)
SEED = 12


class CapResult(msgspec.Struct, frozen=True):
    """The results of one maximum. Memory is null if the system doesn't report it."""

    leaves: int | None
    mae: float | None
    r2: float | None
    megabytes: float
    resident_mb: float | None
    load_seconds: float


class CapsDocument(msgspec.Struct, frozen=True):
    """The document of `--json`."""

    days: str
    orders: int
    resident_mb_without_a_model: float | None
    caps: list[CapResult]


class LoadResult(msgspec.Struct, frozen=True):
    """Load time and memory of a process that loaded a graph and ran it once."""

    seconds: float
    before_mb: float | None
    resident_mb: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all maximums, and print the table."""
    from benchmarks.real_data import add_options
    from preptime.errors import PreptimeError

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.load:
        print(msgspec.json.encode(_load(arguments.load)).decode())
        return 0
    try:
        document = measure(arguments)
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def measure(arguments: argparse.Namespace) -> CapsDocument:
    """Fit a forest with each maximum on both data sets."""
    from benchmarks.real_data import load_data
    from preptime.models.onnx_export import merge_to_onnx
    from preptime.models.sklearn_models import RandomForestModel
    from preptime.synthetic import SynthesisPlan, synthesize_frames
    from preptime.training.as_of_features import build_feature_matrix
    from preptime.training.training_data import TrainingData, day_number
    from preptime.validation.audit import audit_orders
    from preptime.validation.restaurants import read_restaurants

    data = load_data(arguments)
    training_data = TrainingData.from_orders(data.audited, data.restaurant_index)
    real = build_feature_matrix(training_data, training_data.first_day, data.last)
    label, first = training_data.labels[real.rows], day_number(data.first)
    is_training = training_data.is_fitting[real.rows] & (training_data.ready_day[real.rows] < first)
    is_test = training_data.is_evaluation[real.rows] & (training_data.acknowledged_day[real.rows] >= first)

    orders, restaurants, _ = synthesize_frames(SynthesisPlan())
    restaurant_index = read_restaurants(restaurants)
    synthetic_data = TrainingData.from_orders(audit_orders(orders, restaurant_index, need_label=True), restaurant_index)
    X = build_feature_matrix(synthetic_data, synthetic_data.first_day, synthetic_data.last_day).X[
        synthetic_data.is_fitting
    ]

    results, resident_mb_before = [], None
    with tempfile.TemporaryDirectory(prefix="preptime-caps-") as folder:
        path = Path(folder) / "rf.onnx"
        for leaves in CAPS:
            forest = RandomForestModel(max_leaf_nodes=leaves)
            predictions = forest.fit(real.X[is_training], label[is_training], threads=1, seed=SEED).predict(
                real.X[is_test]
            )
            fitted = forest.fit(X, synthetic_data.labels[synthetic_data.is_fitting], threads=1, seed=SEED)
            path.write_bytes(merge_to_onnx({forest.name: fitted}, X.shape[1]))
            command = [sys.executable, "-m", "benchmarks.forest_caps", "--load", str(path)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            loaded = msgspec.json.decode(output, type=LoadResult)
            results.append(_cap_result(leaves, label[is_test], predictions, path.stat().st_size, loaded))
            resident_mb_before = loaded.before_mb
    return CapsDocument(data.days, len(orders), resident_mb_before, results)


def _cap_result(
    leaves: int | None, actual: NDArray[np.float64], predictions: NDArray[np.float32], size: int, loaded: LoadResult
) -> CapResult:
    from preptime.evaluation.metrics import MAE, R2

    return CapResult(
        leaves, MAE(actual, predictions), R2(actual, predictions), size / 1e6, loaded.resident_mb, loaded.seconds
    )


def _load(path: Path) -> LoadResult:
    """Load a graph as in a bundle, and predict one order."""
    from onnxruntime import InferenceSession, SessionOptions

    from preptime.features.feature_set import TAKE_HOME_FEATURES

    options = SessionOptions()
    options.intra_op_num_threads = 1
    resident_mb_before, start = _resident_mb(), time.perf_counter()
    session = InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - start
    session.run(None, {"features": np.zeros((1, len(TAKE_HOME_FEATURES.features)), np.float32)})
    return LoadResult(seconds, resident_mb_before, _resident_mb())


def _resident_mb() -> float | None:
    """Return the current memory of this process, or None. Only Linux reports it without a library."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


def _markdown(document: CapsDocument) -> str:
    def mb(value: float | None) -> str:
        return "–" if value is None else f"{value:.0f}"

    lines = [
        f"MAE and R² on {document.days}. The other columns are for {document.orders:,} synthetic orders. Before it",
        f"loads a model, the process uses {mb(document.resident_mb_without_a_model)} MB.",
        "",
        "| leaves per tree | MAE s | R² | ONNX MB | resident MB | load s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for cap in document.caps:
        leaves = "no maximum" if cap.leaves is None else f"{cap.leaves:,}"
        accuracy = "– | –" if cap.mae is None or cap.r2 is None else f"{cap.mae:.0f} | {cap.r2:.3f}"
        lines.append(
            f"| {leaves} | {accuracy} | {cap.megabytes:.1f} | {mb(cap.resident_mb)} | {cap.load_seconds:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
