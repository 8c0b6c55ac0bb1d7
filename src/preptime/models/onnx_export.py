"""Small pieces of ONNX that every model's graph is made of.

A library's converter is trusted with its trees only; shapes, clipping and versions are ours. So what CatBoost declares
wrongly (its output's shape, which makes onnxruntime warn at every call) never gets in.

From fitted models to the one ONNX graph a bundle carries, and the gate that compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import OperationError
from preptime.models.model import FittedModel, FittedStackedModel

IR_VERSION = 8
OPSETS = {"": 17, "ai.onnx.ml": 3}
"""Of 2022, and enough: every onnxruntime since 1.12 reads them, and nothing newer is used."""

OUTPUT_NAME = "seconds"
INPUT_NAME = "features"

_TREE_OP_TYPE = "TreeEnsembleRegressor"
_UNUSED_TREE_ATTRIBUTES = {"nodes_hitrates", "nodes_missing_value_tracks_true"}
"""Attributes that change nothing for finite features, and take a sixth of the file."""


def extract_tree_node(converted: ModelProto) -> NodeProto:
    """The trees of a converter's graph: one node, without what changes nothing. Raises OperationError for anything more."""
    nodes = converted.graph.node
    if [node.op_type for node in nodes] != [_TREE_OP_TYPE]:
        op_types = ", ".join(node.op_type for node in nodes)
        raise OperationError(
            f"A converter gave the nodes {op_types}; expected one {_TREE_OP_TYPE}.", "Pin the converter's version."
        )
    kept = [attribute for attribute in nodes[0].attribute if attribute.name not in _UNUSED_TREE_ATTRIBUTES]
    return _make_tree_node(sorted(kept, key=lambda attribute: attribute.name))


def _make_tree_node(attributes: Sequence[AttributeProto]) -> NodeProto:
    node = helper.make_node(_TREE_OP_TYPE, [INPUT_NAME], ["trees"], domain="ai.onnx.ml")
    node.attribute.extend(attributes)
    return node


def with_output_name(trees: NodeProto, output: str) -> NodeProto:
    """The same trees under another output name: [N, 1]."""
    node = _make_tree_node(trees.attribute)
    node.output[0] = output
    return node


def float_constant(name: str, values: Sequence[float]) -> TensorProto:
    """A float32 constant [len(values)]."""
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def point_model(trees: NodeProto, n_features: int) -> ModelProto:
    """Trees over `features` as a point model: [N], never negative."""
    nodes = [
        with_output_name(trees, "column"),
        helper.make_node("Squeeze", ["column", "axis"], ["raw"]),
        helper.make_node("Relu", ["raw"], [OUTPUT_NAME]),
    ]
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    return make_model(nodes, [axis], [features_info(n_features)], [vector_info(OUTPUT_NAME)])


def features_info(n_features: int) -> ValueInfoProto:
    """The input all models share: `features`, float32 [N, F]."""
    return helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", n_features])


def vector_info(name: str) -> ValueInfoProto:
    """A float32 [N]."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])


def matrix_info(name: str, columns: int) -> ValueInfoProto:
    """A float32 [N, columns]."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])


def make_model(
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
) -> ModelProto:
    """A whole model at the versions chosen here."""
    graph = helper.make_graph(list(nodes), "preptime", list(inputs), list(outputs), list(constants))
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="preptime")


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
    merged = make_model(nodes, constants, [features_info(n_features)], [outputs[name] for name in fitted])
    onnx.checker.check_model(merged)
    contents: bytes = merged.SerializeToString(deterministic=True)
    return contents


def _prefix_names(model: onnx.ModelProto, name: str) -> onnx.GraphProto:
    """Its graph with every name below `name/`, but for its inputs (shared) and its output (`name`)."""
    subgraph = model.graph
    fixed_names = {value.name: value.name for value in subgraph.input} | {OUTPUT_NAME: name}
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
        outputs = session.run(list(fitted), {INPUT_NAME: rows})
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
