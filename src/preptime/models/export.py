"""From fitted models to the one ONNX graph a bundle carries, and the gate that compares the two."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from preptime.domain.prediction import LEVELS
from preptime.errors import FaultError
from preptime.models import graph
from preptime.models.model import CombinedFitted, Fitted

PARITY_SECONDS = 0.01
PARITY_RELATIVE = 1e-5
"""|ONNX − estimator| may be 0.01 s + 1e-5 of the value: what float32 sums of a few hundred trees differ by (D2)."""

CHUNK_ROWS = 8192
"""Rows compared at a time, so that memory does not grow with the matrix."""


def merge(fitted: Mapping[str, Fitted], n_features: int) -> bytes:
    """All models as one graph with one `run`; the same models give the same bytes.

    Input `features` float32 [N, n_features]; one output per model, by its name: float32 [N], or [N, 4] for quantiles.
    A model that others stand on is in it once. Raises FaultError where one stands on another fit than the one given.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    outputs: dict[str, onnx.ValueInfoProto] = {}
    placed: dict[str, Fitted] = {}

    def place(name: str, model: Fitted) -> None:
        if name in placed:
            if placed[name] is not model:
                raise FaultError(f"Two fits of {name} in one graph.", "Fit the models together.")
            return
        placed[name] = model
        if isinstance(model, CombinedFitted):
            for base_name, base in model.bases.items():
                place(base_name, base)
        part = _prefixed(model.to_onnx(), name)
        nodes.extend(part.node)
        constants.extend(part.initializer)
        outputs[name] = part.output[0]

    for name, model in fitted.items():
        place(name, model)
    merged = graph.model(nodes, constants, [graph.features_info(n_features)], [outputs[name] for name in fitted])
    onnx.checker.check_model(merged)
    contents: bytes = merged.SerializeToString(deterministic=True)
    return contents


def _prefixed(model: onnx.ModelProto, name: str) -> onnx.GraphProto:
    """Its graph with every name below `name/`, but for its inputs (shared) and its output (`name`)."""
    part = model.graph
    kept = {value.name: value.name for value in part.input} | {graph.SECONDS: name}
    for number, node in enumerate(part.node):
        node.name = f"{name}/{number}_{node.op_type}"
        for tensors in (node.input, node.output):
            tensors[:] = [kept.get(tensor, f"{name}/{tensor}") for tensor in tensors]
    for constant in part.initializer:
        constant.name = f"{name}/{constant.name}"
    part.output[0].name = name
    return part


def check_parity(model_bytes: bytes, fitted: Mapping[str, Fitted], X: NDArray[np.float32]) -> dict[str, float]:
    """The largest |ONNX − estimator| per model over all rows of X, seconds.

    Raises FaultError where one is over 0.01 s + 1e-5 of the value, with the model, the row and both values.
    """
    session = _session(model_bytes)
    largest = dict.fromkeys(fitted, 0.0)
    for start in range(0, len(X), CHUNK_ROWS):
        rows = np.ascontiguousarray(X[start : start + CHUNK_ROWS])
        answers = session.run(list(fitted), {graph.FEATURES: rows})
        for (name, model), answer in zip(fitted.items(), answers, strict=True):
            largest[name] = max(largest[name], _difference(name, answer, model.predict(rows), start))
    return largest


def _difference(name: str, answer: NDArray[np.float32], expected: NDArray[np.float32], start: int) -> float:
    """The largest difference of two predictions for the same rows, the first of which is row `start`."""
    if answer.shape != expected.shape:
        raise FaultError(f"{name}: ONNX gives the shape {answer.shape}, the estimator {expected.shape}.")
    difference = np.abs(answer.astype(np.float64) - expected)
    # `difference > bound` would let a NaN pass, and an infinite value has an infinite bound.
    inside = np.isfinite(difference) & (difference <= PARITY_SECONDS + PARITY_RELATIVE * np.abs(expected))
    if not inside.all():
        place = tuple(np.argwhere(~inside)[0])
        level = f" p{LEVELS[place[1]] * 100:.0f}" if len(place) > 1 else ""
        raise FaultError(
            f"{name}{level}, row {start + place[0]}: ONNX says {answer[place]:.4f} s, the estimator "
            f"{expected[place]:.4f} s; at most {PARITY_SECONDS} s + {PARITY_RELATIVE} of the value may lie between.",
            "Compare the converter's version with the lock.",
        )
    return float(difference.max())


def _session(model_bytes: bytes) -> onnxruntime.InferenceSession:
    """As the bundle's: one thread, since more give other floats (D2)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
