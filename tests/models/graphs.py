"""Looking into an exported graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray


def tree_nodes(model_bytes: bytes) -> list[onnx.NodeProto]:
    """The nodes that hold trees."""
    return [node for node in onnx.load_from_string(model_bytes).graph.node if node.op_type == "TreeEnsembleRegressor"]


def splits(model_bytes: bytes) -> list[tuple[int, float]]:
    """Every (feature, threshold) that a tree of the graph asks for."""
    return [split for node in tree_nodes(model_bytes) for split in _splits(node)]


def _splits(node: onnx.NodeProto) -> Iterator[tuple[int, float]]:
    found = {attribute.name: attribute for attribute in node.attribute}
    columns = found["nodes_featureids"].ints, found["nodes_values"].floats, found["nodes_modes"].strings
    return ((feature, value) for feature, value, mode in zip(*columns, strict=True) if mode != b"LEAF")


def run(model_bytes: bytes, X: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Every output of the graph for X, by name, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": X}), strict=True))
