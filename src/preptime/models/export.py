"""From fitted models to the one ONNX graph a bundle carries, and the gate that compares the two."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from preptime.domain.prediction import QUANTILE_LEVELS
from preptime.errors import OperationError
from preptime.models import graph
from preptime.models.model import FittedModel, FittedStackedModel

PARITY_ABSOLUTE_SECONDS = 0.01
PARITY_RELATIVE = 1e-5
"""|ONNX − estimator| may be 0.01 s + 1e-5 of the value: what float32 sums of a few hundred trees differ by (D2)."""

CHUNK_ROWS = 8192
"""Rows compared at a time, so that memory does not grow with the matrix."""


def merge_to_onnx(fitted: Mapping[str, FittedModel], n_features: int) -> bytes:
    """All models as one graph with one `run`; the same models give the same bytes.

    Input `features` float32 [N, n_features]; one output per model, by its name: float32 [N], or [N, 4] for quantiles.
    A model that others stand on is in it once. Raises OperationError where one stands on another fit than the one given.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    outputs: dict[str, onnx.ValueInfoProto] = {}
    added: dict[str, FittedModel] = {}

    def add_model(name: str, model: FittedModel) -> None:
        if name in added:
            if added[name] is not model:
                raise OperationError(f"Two fits of {name} in one graph.", "Fit the models together.")
            return
        added[name] = model
        if isinstance(model, FittedStackedModel):
            for base_name, base in model.bases.items():
                add_model(base_name, base)
        subgraph = _prefix_names(model.to_onnx(), name)
        nodes.extend(subgraph.node)
        constants.extend(subgraph.initializer)
        outputs[name] = subgraph.output[0]

    for name, model in fitted.items():
        add_model(name, model)
    merged = graph.make_model(nodes, constants, [graph.features_info(n_features)], [outputs[name] for name in fitted])
    onnx.checker.check_model(merged)
    contents: bytes = merged.SerializeToString(deterministic=True)
    return contents


def _prefix_names(model: onnx.ModelProto, name: str) -> onnx.GraphProto:
    """Its graph with every name below `name/`, but for its inputs (shared) and its output (`name`)."""
    subgraph = model.graph
    fixed_names = {value.name: value.name for value in subgraph.input} | {graph.OUTPUT_NAME: name}
    for number, node in enumerate(subgraph.node):
        node.name = f"{name}/{number}_{node.op_type}"
        for tensors in (node.input, node.output):
            tensors[:] = [fixed_names.get(tensor, f"{name}/{tensor}") for tensor in tensors]
    for constant in subgraph.initializer:
        constant.name = f"{name}/{constant.name}"
    subgraph.output[0].name = name
    return subgraph


def check_parity(model_bytes: bytes, fitted: Mapping[str, FittedModel], X: NDArray[np.float32]) -> dict[str, float]:
    """The largest |ONNX − estimator| per model over all rows of X, seconds.

    Raises OperationError where one is over 0.01 s + 1e-5 of the value, with the model, the row and both values.
    """
    session = _create_session(model_bytes)
    largest = dict.fromkeys(fitted, 0.0)
    for start in range(0, len(X), CHUNK_ROWS):
        rows = np.ascontiguousarray(X[start : start + CHUNK_ROWS])
        outputs = session.run(list(fitted), {graph.INPUT_NAME: rows})
        for (name, model), output in zip(fitted.items(), outputs, strict=True):
            largest[name] = max(largest[name], _max_difference(name, output, model.predict(rows), start))
    return largest


def _max_difference(name: str, output: NDArray[np.float32], expected: NDArray[np.float32], start: int) -> float:
    """The largest difference of two predictions for the same rows, the first of which is row `start`."""
    if output.shape != expected.shape:
        raise OperationError(f"{name}: ONNX gives the shape {output.shape}, the estimator {expected.shape}.")
    difference = np.abs(output.astype(np.float64) - expected)
    # `difference > bound` would let a NaN pass, and an infinite value has an infinite bound.
    inside = np.isfinite(difference) & (difference <= PARITY_ABSOLUTE_SECONDS + PARITY_RELATIVE * np.abs(expected))
    if not inside.all():
        index = tuple(np.argwhere(~inside)[0])
        level = f" p{QUANTILE_LEVELS[index[1]] * 100:.0f}" if len(index) > 1 else ""
        raise OperationError(
            f"{name}{level}, row {start + index[0]}: ONNX says {output[index]:.4f} s, the estimator "
            f"{expected[index]:.4f} s; at most {PARITY_ABSOLUTE_SECONDS} s + {PARITY_RELATIVE} of the value may lie between.",
            "Compare the converter's version with the lock.",
        )
    return float(difference.max())


def _create_session(model_bytes: bytes) -> onnxruntime.InferenceSession:
    """As the bundle's: one thread, since more give other floats (D2)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
