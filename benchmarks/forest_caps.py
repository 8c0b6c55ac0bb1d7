"""What the cap on the forest's leaves costs and brings: error, size, memory, time to load.

    python -m benchmarks.forest_caps          caps of 100, 500, 1,500 leaves, and none
    python -m benchmarks.forest_caps --json   one document instead of the table

Error: as in `benchmarks.accuracy`, fitted on what was known on the morning of the first day and asked about the days.
Size: the forest alone as ONNX, fitted on 32,394 synthetic orders, loaded in a process of its own that has loaded
onnxruntime before.
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


class Cap(msgspec.Struct, frozen=True):
    """One cap's figures; memory is null where the system does not tell it."""

    leaves: int | None
    mae: float | None
    r2: float | None
    megabytes: float
    resident_mb: float | None
    load_seconds: float


class CapsDocument(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    days: str
    orders: int
    resident_mb_without_a_model: float | None
    caps: list[Cap]


class Loaded(msgspec.Struct, frozen=True):
    """What a process of its own says of a graph it loaded and ran once."""

    seconds: float
    before_mb: float | None
    resident_mb: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
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
        print(f"{error} PREPTIME_REAL_DATA names the folder of the real data.", file=sys.stderr)
        return 1
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def measure(arguments: argparse.Namespace) -> CapsDocument:
    """Fit each cap on both data sets."""
    from benchmarks.real_data import asked
    from preptime.models.onnx_export import merge_to_onnx
    from preptime.models.sklearn_models import RandomForestModel
    from preptime.synthetic import SynthesisPlan, synthesize_frames
    from preptime.training.as_of_features import build_feature_matrix
    from preptime.training.training_data import TrainingData, day_number
    from preptime.validation.audit import audit_orders
    from preptime.validation.restaurants import read_restaurants

    data = asked(arguments)
    corpus = TrainingData.from_orders(data.audited, data.directory)
    real = build_feature_matrix(corpus, corpus.first_day, data.last)
    label, first = corpus.labels[real.rows], day_number(data.first)
    learned = corpus.is_fitting[real.rows] & (corpus.ready_day[real.rows] < first)
    week = corpus.is_evaluation[real.rows] & (corpus.acknowledged_day[real.rows] >= first)

    orders, restaurants, _ = synthesize_frames(SynthesisPlan())
    directory = read_restaurants(restaurants)
    many = TrainingData.from_orders(audit_orders(orders, directory, need_label=True), directory)
    X = build_feature_matrix(many, many.first_day, many.last_day).X[many.is_fitting]

    found, before = [], None
    with tempfile.TemporaryDirectory(prefix="preptime-caps-") as folder:
        path = Path(folder) / "rf.onnx"
        for leaves in CAPS:
            forest = RandomForestModel(max_leaf_nodes=leaves)
            answers = forest.fit(real.X[learned], label[learned], threads=1, seed=SEED).predict(real.X[week])
            fitted = forest.fit(X, many.labels[many.is_fitting], threads=1, seed=SEED)
            path.write_bytes(merge_to_onnx({forest.name: fitted}, X.shape[1]))
            command = [sys.executable, "-m", "benchmarks.forest_caps", "--load", str(path)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            loaded = msgspec.json.decode(said, type=Loaded)
            found.append(_cap(leaves, label[week], answers, path.stat().st_size, loaded))
            before = loaded.before_mb
    return CapsDocument(data.days, len(orders), before, found)


def _cap(
    leaves: int | None, actual: NDArray[np.float64], answers: NDArray[np.float32], size: int, loaded: Loaded
) -> Cap:
    from preptime.evaluation.metrics import MAE, R2

    return Cap(leaves, MAE(actual, answers), R2(actual, answers), size / 1e6, loaded.resident_mb, loaded.seconds)


def _load(path: Path) -> Loaded:
    """Load a graph as a bundle's is and answer one order."""
    from onnxruntime import InferenceSession, SessionOptions

    from preptime.features.spec import FEATURES

    options = SessionOptions()
    options.intra_op_num_threads = 1
    before, start = _resident_mb(), time.perf_counter()
    session = InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - start
    session.run(None, {"features": np.zeros((1, len(FEATURES)), np.float32)})
    return Loaded(seconds, before, _resident_mb())


def _resident_mb() -> float | None:
    """Memory this process holds now; only Linux says so without a library."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


def _markdown(document: CapsDocument) -> str:
    def mb(value: float | None) -> str:
        return "–" if value is None else f"{value:.0f}"

    lines = [
        f"MAE and R² on {document.days}; the rest fitted on {document.orders:,} synthetic orders. Before a model is",
        f"loaded the process holds {mb(document.resident_mb_without_a_model)} MB.",
        "",
        "| leaves a tree | MAE s | R² | ONNX MB | resident MB | load s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for cap in document.caps:
        leaves = "uncapped" if cap.leaves is None else f"{cap.leaves:,}"
        accuracy = "– | –" if cap.mae is None or cap.r2 is None else f"{cap.mae:.0f} | {cap.r2:.3f}"
        lines.append(
            f"| {leaves} | {accuracy} | {cap.megabytes:.1f} | {mb(cap.resident_mb)} | {cap.load_seconds:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
