"""Export of fitted models as one ONNX graph, and the parity check between the graph and the models.

From a library's converter, only the trees are used. Shapes, clipping, and versions are set here. For example, the
output shape that CatBoost declares is wrong and makes ONNX Runtime warn at every call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import OperationError, UsageError
from preptime.models.model import FittedModel, FittedStackedModel
from preptime.models.quantile import FittedQuantileModel

IR_VERSION = 8
OPSETS = {"": 17, "ai.onnx.ml": 3}
"""Operator versions of 2022: every ONNX Runtime since 1.12 reads them, and no newer operator is needed."""

PARITY_ABSOLUTE_SECONDS = 0.01
PARITY_RELATIVE = 1e-5
"""The limit of |ONNX − estimator| is 0.01 s + 1e-5 × value: the rounding of float32 sums of a few hundred trees
(decision 2)."""

CHUNK_ROWS = 8192
"""Rows compared at a time, so that memory doesn't grow with the matrix."""

Session = onnxruntime.InferenceSession
BATCH_SIZES = (1, 2, 3, 7, 16)
"""Sizes of batches that must give the same bits."""

OUTPUT_NAME = "seconds"
INPUT_NAME = "features"

_TREE_OP_TYPE = "TreeEnsembleRegressor"
_HARMLESS_OP_TYPES = {"Identity", "Reshape", "Squeeze", "Cast"}
"""Nodes that converters add before or after the trees. Without them, the trees give the same numbers, as [N, 1]."""
_UNUSED_TREE_ATTRIBUTES = {"nodes_hitrates", "nodes_missing_value_tracks_true"}
"""Attributes without effect on finite features. They would take one sixth of the file."""


def merge_to_onnx(fitted: Mapping[str, FittedModel], n_features: int) -> bytes:
    """Return all models as one ONNX graph. The same models give the same bytes.

    The input is `features`, float32 [N, n_features]. Each model is one output with its name: float32 [N], or [N, 4] for
    `quantile`. The graph contains a base model once.

    Raises `OperationError` if a stacked model was fitted with other base models than those in `fitted`.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    outputs: dict[str, onnx.ValueInfoProto] = {}
    added: dict[str, FittedModel] = {}

    def add_model(name: str, model: FittedModel) -> None:
        if name in added:
            if added[name] is not model:
                raise OperationError(
                    f"The models contain two different fits of {name}; expected one.",
                    "Fit all models together with `fit_all`.",
                )
            return
        added[name] = model
        if isinstance(model, FittedStackedModel):
            for base_name, base in model.bases.items():
                add_model(base_name, base)
        subgraph = prefix_names(model.to_onnx(), name)
        nodes.extend(subgraph.node)
        constants.extend(subgraph.initializer)
        outputs[name] = subgraph.output[0]

    for name, model in fitted.items():
        add_model(name, model)
    merged = make_model(nodes, constants, [features_info(n_features)], [outputs[name] for name in fitted])
    onnx.checker.check_model(merged)
    model_bytes: bytes = merged.SerializeToString(deterministic=True)
    return model_bytes


def check_parity(model_bytes: bytes, fitted: Mapping[str, FittedModel], X: NDArray[np.float32]) -> dict[str, float]:
    """Return the largest |ONNX − estimator| of each model over the rows of X [N, F], in seconds.

    Raises `OperationError` if a difference exceeds the limit. The message has the model, the row, and both values.
    """
    session = create_session(model_bytes)
    largest = dict.fromkeys(fitted, 0.0)
    for start in range(0, len(X), CHUNK_ROWS):
        rows = np.ascontiguousarray(X[start : start + CHUNK_ROWS])
        outputs = session.run(list(fitted), {INPUT_NAME: rows})
        for (name, model), output in zip(fitted.items(), outputs, strict=True):
            expected = _expected_seconds(model, rows, output)
            largest[name] = max(largest[name], _max_difference(name, output, expected, start))
    return largest


def check_batch_invariance(model_bytes: bytes, name: str, X: NDArray[np.float32]) -> None:
    """Raise `UsageError` unless an output has the same bits for a row of X [N, F] in every batch.

    The API answers orders alone and in batches, and scoring in large batches. All must give the same prediction.
    """
    session = create_session(model_bytes)
    expected = session.run([name], {INPUT_NAME: X})[0]
    for size in BATCH_SIZES:
        for start in range(0, min(len(X), 4 * size), size):
            batch = session.run([name], {INPUT_NAME: X[start : start + size]})[0]
            differs = ~np.equal(batch, expected[start : start + size]).reshape(len(batch), -1).all(axis=1)
            if differs.any():
                row = int(np.argmax(differs))
                raise UsageError(
                    f"Expected the same bits in every batch. Row {start + row} is {expected[start + row]} s in a batch "
                    f"of {len(X)}, and {batch[row]} s in one of {size}.",
                    "LinearRegressor, Gemm, and MatMul can round differently for few rows. "
                    "Use Mul and ReduceSum instead.",
                )


def _expected_seconds(
    model: FittedModel, rows: NDArray[np.float32], output: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the estimator's predictions. A quantile within the limit of a border can be the label value beyond it."""
    expected = model.predict(rows)
    if isinstance(model, FittedQuantileModel) and len(model.label_values) and output.shape == expected.shape:
        for seconds in (-PARITY_ABSOLUTE_SECONDS, PARITY_ABSOLUTE_SECONDS):
            moved = model.predict_moved(rows, seconds)
            expected = np.where(output == moved, moved, expected)
    return expected


@dataclass(frozen=True, slots=True)
class ObliviousTree:
    """A tree whose nodes at the same depth have the same split, as CatBoost fits them."""

    features: Sequence[int]
    """The column of each split."""
    borders: Sequence[float]
    """A row is above the border of a split if its value is larger."""
    leaf_values: NDArray[np.float64]
    """[2^splits, targets]. Bit k of a leaf's number is set if the row is above border k."""


def oblivious_tree_node(trees: Sequence[ObliviousTree], base_values: Sequence[float]) -> NodeProto:
    """Return oblivious trees as one node that adds them to the base values, [N, targets]."""
    columns = [_oblivious_tree_columns(tree, number) for number, tree in enumerate(trees)]
    return _make_tree_node(_tree_attributes(columns, base_values))


def snap_nodes(
    source: str, target: str, values: NDArray[np.float64], borders: NDArray[np.float32]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes and constants that replace each number of a matrix by one of K ascending values.

    A number above k of the ascending borders [K - 1] becomes value k. The values are the leaves of one balanced tree.
    """
    depth = max(int(np.ceil(np.log2(len(values)))), 0)
    padding = 2**depth - len(values)
    borders = np.pad(borders, (0, padding), constant_values=np.finfo(np.float32).max)
    level_of = [2 ** (depth - 1 - level) for level in range(depth)]
    in_heap_order = [borders[step - 1 :: 2 * step] for step in level_of]
    node_borders = np.concatenate([*in_heap_order, np.empty(0)])
    leaf_values = np.pad(values, (0, padding), mode="edge")[:, None]
    columns = _heap_tree_columns(np.zeros(len(node_borders), np.int64), node_borders, leaf_values, 0)
    tree = _make_tree_node(_tree_attributes([columns], [0.0]), f"{source}_column")
    nodes = [
        helper.make_node("Reshape", [source, "one_column"], [f"{source}_column"]),
        with_output_name(tree, f"{target}_column"),
        helper.make_node("Shape", [source], [f"{source}_shape"]),
        helper.make_node("Reshape", [f"{target}_column", f"{source}_shape"], [target]),
    ]
    return nodes, [numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), "one_column")]


def _tree_attributes(
    trees: Sequence[Mapping[str, NDArray[np.generic]]], base_values: Sequence[float]
) -> list[AttributeProto]:
    columns = {name: np.concatenate([tree[name] for tree in trees]).tolist() for name in trees[0]}
    columns |= {
        "n_targets": len(base_values),
        "base_values": [float(value) for value in base_values],
        "nodes_modes": ["LEAF" if is_leaf else "BRANCH_GT" for is_leaf in columns["nodes_modes"]],
    }
    return [helper.make_attribute(name, value) for name, value in sorted(columns.items())]


def _oblivious_tree_columns(tree: ObliviousTree, number: int) -> dict[str, NDArray[np.generic]]:
    # With the last split at the root, the leaves are in their order.
    widths = 2 ** np.arange(len(tree.features))
    features = np.repeat(np.array(tree.features[::-1], np.int64), widths)
    borders = np.repeat(np.array(tree.borders[::-1], np.float64), widths)
    return _heap_tree_columns(features, borders, tree.leaf_values, number)


def _heap_tree_columns(
    features: NDArray[np.int64], borders: NDArray[np.float64], leaf_values: NDArray[np.float64], number: int
) -> dict[str, NDArray[np.generic]]:
    """Return the attributes of one complete tree. `nodes_modes` is 1 for a leaf.

    Its nodes are numbered level by level from the root, so node n has the children 2n + 1 and 2n + 2.
    """
    leaf_count, target_count = leaf_values.shape
    node = np.arange(len(borders) + leaf_count)
    is_branch = node < len(borders)
    no_leaves = np.zeros(leaf_count, np.int64)
    return {
        "nodes_treeids": np.full(len(node), number),
        "nodes_nodeids": node,
        "nodes_featureids": np.concatenate([features, no_leaves]),
        "nodes_values": np.concatenate([borders, no_leaves.astype(np.float64)]),
        "nodes_modes": ~is_branch,
        "nodes_truenodeids": np.where(is_branch, 2 * node + 2, 0),
        "nodes_falsenodeids": np.where(is_branch, 2 * node + 1, 0),
        "target_treeids": np.full(leaf_values.size, number),
        "target_nodeids": np.repeat(node[~is_branch], target_count),
        "target_ids": np.tile(np.arange(target_count), leaf_count),
        "target_weights": leaf_values.ravel(),
    }


def extract_tree_node(converted: ModelProto) -> NodeProto:
    """Return the trees of a converted model as one node, without unused attributes.

    Converters add nodes that don't change the numbers: `Identity`, `Reshape`, `Squeeze`, and `Cast` to a float. They
    are dropped. `check_parity` compares the result with the estimator.

    Raises `OperationError` if the model has other nodes.
    """
    nodes = converted.graph.node
    trees = [node for node in nodes if node.op_type == _TREE_OP_TYPE]
    others = [node for node in nodes if node.op_type != _TREE_OP_TYPE]
    if len(trees) != 1 or not all(map(_is_harmless, others)):
        op_types = ", ".join(_describe_node(node) for node in nodes)
        raise OperationError(
            f"The converter returned the nodes {op_types}; expected one {_TREE_OP_TYPE}, and no others except "
            "Identity, Reshape, Squeeze, and Cast to float or double.",
            "Use another option of the converter, or build the graph in to_onnx (docs/custom-models.md).",
        )
    kept = [attribute for attribute in trees[0].attribute if attribute.name not in _UNUSED_TREE_ATTRIBUTES]
    return _make_tree_node(sorted(kept, key=lambda attribute: attribute.name))


def _is_harmless(node: NodeProto) -> bool:
    if node.op_type == "Cast":
        return _cast_target(node) in {TensorProto.FLOAT, TensorProto.DOUBLE}
    return node.op_type in _HARMLESS_OP_TYPES


def _describe_node(node: NodeProto) -> str:
    if node.op_type != "Cast":
        return node.op_type
    return f"Cast to {TensorProto.DataType.Name(_cast_target(node)).lower()}"


def _cast_target(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)


def with_output_name(trees: NodeProto, output: str) -> NodeProto:
    """Return the same trees with another name for their output, which is float32 [N, targets]."""
    node = _make_tree_node(trees.attribute, trees.input[0])
    node.output[0] = output
    return node


def point_model(trees: NodeProto, n_features: int) -> ModelProto:
    """Return a point model that reads the trees: seconds, [N], never negative."""
    nodes = [
        with_output_name(trees, "column"),
        helper.make_node("Squeeze", ["column", "axis"], ["raw"]),
        helper.make_node("Relu", ["raw"], [OUTPUT_NAME]),
    ]
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    return make_model(nodes, [axis], [features_info(n_features)], [vector_info(OUTPUT_NAME)])


def make_model(
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
) -> ModelProto:
    """Return an ONNX model of these nodes, with the versions `OPSETS` and `IR_VERSION`."""
    graph = helper.make_graph(list(nodes), "preptime", list(inputs), list(outputs), list(constants))
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="preptime")


def float_constant(name: str, values: Sequence[float]) -> TensorProto:
    """Return a float32 constant, [len(values)]."""
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def features_info(n_features: int) -> ValueInfoProto:
    """Return the input that all models share: `features`, float32 [N, F]."""
    return helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", n_features])


def vector_info(name: str) -> ValueInfoProto:
    """Return the declaration of an input or output, float32 [N]."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])


def matrix_info(name: str, columns: int) -> ValueInfoProto:
    """Return the declaration of an input or output, float32 [N, columns]."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])


def prefix_names(model: onnx.ModelProto, name: str) -> onnx.GraphProto:
    """Return the model's graph with the prefix `name/`, except for its inputs (unchanged) and its output (`name`)."""
    subgraph = model.graph
    fixed_names = {value.name: value.name for value in subgraph.input} | {OUTPUT_NAME: name}
    for number, node in enumerate(subgraph.node):
        node.name = f"{name}/{number}_{node.op_type}"
        for tensors in (node.input, node.output):
            # An omitted optional input has an empty name.
            tensors[:] = [fixed_names.get(tensor, f"{name}/{tensor}" if tensor else "") for tensor in tensors]
    for constant in subgraph.initializer:
        constant.name = f"{name}/{constant.name}"
    subgraph.output[0].name = name
    return subgraph


def _max_difference(name: str, output: NDArray[np.float32], expected: NDArray[np.float32], start: int) -> float:
    """Return the largest difference between two predictions for the same rows, the first of which is row `start`."""
    if output.shape != expected.shape:
        raise OperationError(f"{name}: the ONNX output has shape {output.shape}; expected {expected.shape}.")
    difference = np.abs(output.astype(np.float64) - expected)
    # `difference > limit` would accept NaN, and the limit of an infinite value is infinite.
    inside = np.isfinite(difference) & (difference <= PARITY_ABSOLUTE_SECONDS + PARITY_RELATIVE * np.abs(expected))
    if not inside.all():
        index = tuple(np.argwhere(~inside)[0])
        level = f" p{QUANTILE_LEVELS[index[1]] * 100:.0f}" if len(index) > 1 else ""
        raise OperationError(
            f"{name}{level}, row {start + index[0]}: ONNX predicts {output[index]:.4f} s, the estimator "
            f"{expected[index]:.4f} s. The limit is {PARITY_ABSOLUTE_SECONDS} s + {PARITY_RELATIVE} × the value.",
            "Compare the model's predict and to_onnx, and the converter's version with the locked one.",
        )
    return float(difference.max())


def create_session(model_bytes: bytes) -> onnxruntime.InferenceSession:
    """Return a session like the bundle's, with one thread: several threads round differently (decision 2)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])


def _make_tree_node(attributes: Sequence[AttributeProto], source: str = INPUT_NAME) -> NodeProto:
    node = helper.make_node(_TREE_OP_TYPE, [source], ["trees"], domain="ai.onnx.ml")
    node.attribute.extend(attributes)
    return node
