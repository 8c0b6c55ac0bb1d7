"""Small pieces of ONNX that every model's graph is made of.

A library's converter is trusted with its trees only; shapes, clipping and versions are ours. So what CatBoost declares
wrongly (its output's shape, which makes onnxruntime warn at every call) never gets in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from preptime.errors import OperationError

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
