"""Checks of an offered graph in a separate process, with limits on time and memory, before this process runs it.

The graph is a file of another program. Its operators, size, and constants are checked before it runs (decision 18).
`python -m preptime.training.offered_graph FOLDER SECONDS MEGABYTES` is the process. It prints one line of JSON.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.graph import LOAD_ERRORS
from preptime.bundle.isolated_check import OUT_OF_MEMORY_TEXTS, IsolatedRun, run_isolated, serve_isolated
from preptime.bundle.store import CheckLimits
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import OperationError, PreptimeError, UsageError
from preptime.models.custom import CustomModel, CustomPointModel, CustomQuantileModel
from preptime.models.graph_requirements import check_graph, parse_graph, refused
from preptime.models.onnx_export import INPUT_NAME, Session, check_batch_invariance, create_session, merge_to_onnx
from preptime.models.user_code import UserCode

MAX_RELATIVE_TIME = 20.0
"""How many times longer than the model `quantile` a graph can take for the same orders. With this limit, an order takes
less time in the graph than in the rest of a request."""
_TIMED_ROWS = 256
_TIMED_RUNS = 5
_NAME_FILE, _GRAPH_FILE, _ROWS_FILE, _REFERENCE_FILE = "name.txt", "graph.onnx", "rows.npy", "reference.onnx"


class GraphCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of the checks."""

    columns: int = 0
    """Of the output: 1 for a point model, 4 for quantiles."""
    relative_time: float = 0.0
    """The time for an order, as a multiple of that of the model `quantile`."""
    facts: str = ""
    """The broken requirement, and what to do, or empty texts."""
    hint: str = ""


@dataclass(frozen=True)
class OfferedGraph:
    """A graph as the `instance` of a custom model: it's fitted already, so `fit` ignores the rows."""

    content: bytes
    name: str

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedGraph:
        """Return the graph. Raises `UsageError` if it reads another number of columns than X has."""
        del y, threads, seed
        check_graph(parse_graph(self.content, self.name), self.name, X.shape[1])
        return FittedGraph(self.content, create_session(self.content))


@dataclass(frozen=True)
class FittedGraph:
    """A graph with the methods of a fitted custom model."""

    content: bytes
    session: Session

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return the output of the graph."""
        output: NDArray[np.floating] = self.session.run(None, {self.session.get_inputs()[0].name: X})[0]
        return output

    def to_onnx(self) -> bytes:
        """Return the graph."""
        return self.content


def check_offered_graph(
    content: bytes, name: str, X: NDArray[np.float32], reference: bytes, limits: CheckLimits
) -> GraphCheck:
    """Check a graph in a separate process, on rows X [N, F]. `reference` is the graph that its speed is compared with.

    Raises `UsageError` with the broken requirement, or `OperationError` if the process can't run.
    """
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        (folder / _NAME_FILE).write_text(name, encoding="utf-8")
        (folder / _GRAPH_FILE).write_bytes(content)
        (folder / _REFERENCE_FILE).write_bytes(reference)
        np.save(folder / _ROWS_FILE, X, allow_pickle=False)
        result = _read_result(run_isolated("preptime.training.offered_graph", folder, limits), name, limits)
    if result.facts:
        raise UsageError(result.facts, result.hint)
    return result


def as_model(content: bytes, code: UserCode, columns: int, fitted_through: dt.date | None = None) -> CustomModel:
    """Return an offered graph as a custom model."""
    model_type = CustomPointModel if columns == 1 else CustomQuantileModel
    sha256 = hashlib.sha256(content).hexdigest()
    return model_type(code.name, partial(OfferedGraph, content, str(code.path)), code, {}, sha256, fitted_through)


def _read_result(run: IsolatedRun, name: str, limits: CheckLimits) -> GraphCheck:
    try:
        return msgspec.json.decode(run.last_line, type=GraphCheck)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if run.timed_out:
            expected, found = f"a graph that runs within {limits.timeout_seconds:g} s", "no result"
            raise refused(name, "time", expected, found, "Use fewer or smaller operators.") from error
        if run.signal_name:
            raise _too_much_memory(name, limits, f"a process that ended with {run.signal_name}") from error
        output = run.last_line.decode(errors="replace")[-300:]
        raise OperationError(
            f"{name} can't be checked: the process ended with status {run.exit_status} ({output}).",
            "Check that this user can start processes, and that preptime is installed completely.",
        ) from error


def _too_much_memory(name: str, limits: CheckLimits, found: str) -> UsageError:
    hint = "Use smaller operators, or set PREPTIME_BUNDLE_LOAD_MEMORY_MB to a larger number."
    return refused(name, "memory", f"a graph that runs with {limits.memory_mb} MB", found, hint)


def _check_in_this_process(folder: Path, memory_mb: int) -> GraphCheck:
    name = (folder / _NAME_FILE).read_text(encoding="utf-8")
    try:
        return _check(
            (folder / _GRAPH_FILE).read_bytes(),
            name,
            np.load(folder / _ROWS_FILE, allow_pickle=False),
            (folder / _REFERENCE_FILE).read_bytes(),
        )
    except PreptimeError as error:
        return GraphCheck(facts=error.facts, hint=error.hint)
    except (MemoryError, *LOAD_ERRORS) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        refusal = refused(name, "format", "a graph that ONNX Runtime can run", first, "Export the model again.")
        if isinstance(error, MemoryError) or any(text in first for text in OUT_OF_MEMORY_TEXTS):
            refusal = _too_much_memory(name, CheckLimits(memory_mb=memory_mb), "one that needs more")
        return GraphCheck(facts=refusal.facts, hint=refusal.hint)


def _check(content: bytes, name: str, X: NDArray[np.float32], reference: bytes) -> GraphCheck:
    check_graph(parse_graph(content, name), name, X.shape[1])
    output = FittedGraph(content, create_session(content)).predict(X)
    columns = _columns(name, output, len(X))
    _check_seconds(name, output)
    fitted = as_model(content, UserCode("offered", Path(name), "", ""), columns).fit(
        X, np.zeros(len(X)), threads=1, seed=0
    )
    graph = merge_to_onnx({"offered": fitted}, X.shape[1])
    try:
        check_batch_invariance(graph, "offered", X)
    except UsageError as error:
        raise UsageError(f"{name} doesn't meet the requirement on batches: {error.facts}", error.hint) from error
    relative_time = _seconds(graph, X) / _seconds(reference, X)
    if relative_time > MAX_RELATIVE_TIME:
        expected = f"at most {MAX_RELATIVE_TIME:g} times the time of the model quantile"
        raise refused(name, "speed", expected, f"{relative_time:,.0f} times", "Use fewer or smaller operators.")
    return GraphCheck(columns, round(relative_time, 2))


def _columns(name: str, output: NDArray[np.floating], rows: int) -> int:
    if output.shape in {(rows,), (rows, 1)}:
        return 1
    if output.shape == (rows, len(QUANTILE_LEVELS)):
        return len(QUANTILE_LEVELS)
    raise refused(
        name,
        "output",
        f"[N] or [N, {len(QUANTILE_LEVELS)}] seconds",
        f"shape {output.shape} for {rows} rows",
        "One column is a point model. Four are p10, p50, p80, and p90.",
    )


def _check_seconds(name: str, output: NDArray[np.floating]) -> None:
    """Check predictions for rows of the training data, of which the last are those of `with_extreme_rows`."""
    for requirement, is_valid, hint in (
        ("finite", np.isfinite(output), "Avoid Log, Sqrt, and Div of values that can be 0 or negative."),
        ("non-negative", output >= 0, "Add Relu as the last operator, or Clip."),
    ):
        if not is_valid.all():
            row = int(np.argwhere(~is_valid)[0][0])
            raise refused(name, requirement, f"{requirement} seconds", f"{output[row]} in row {row}", hint)


def with_extreme_rows(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return X [N, F] with three more rows: zeros, and the smallest and the largest value of every column."""
    return np.vstack([X, np.zeros_like(X[:1]), X.min(axis=0, keepdims=True), X.max(axis=0, keepdims=True)])


def _seconds(graph: bytes, X: NDArray[np.float32]) -> float:
    """Return the shortest time of several runs of a graph."""
    session, rows = create_session(graph), np.ascontiguousarray(X[:_TIMED_ROWS])
    return min(_timed(lambda: session.run(None, {INPUT_NAME: rows})) for _ in range(_TIMED_RUNS))


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    _, checked_folder, time_limit, memory_limit = sys.argv
    serve_isolated(time_limit, memory_limit, lambda: _check_in_this_process(Path(checked_folder), int(memory_limit)))
