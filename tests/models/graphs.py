"""Inspection of an exported ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray


def tree_nodes(model_bytes: bytes) -> list[onnx.NodeProto]:
    """Return the nodes with trees."""
    return [node for node in onnx.load_from_string(model_bytes).graph.node if node.op_type == "TreeEnsembleRegressor"]


def splits(model_bytes: bytes) -> list[tuple[int, float]]:
    """Return every (feature, threshold) of the trees in the graph."""
    return [split for node in tree_nodes(model_bytes) for split in _splits(node)]


def _splits(node: onnx.NodeProto) -> Iterator[tuple[int, float]]:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    features, values = attributes["nodes_featureids"].ints, attributes["nodes_values"].floats
    columns = features, values, attributes["nodes_modes"].strings
    return ((feature, value) for feature, value, mode in zip(*columns, strict=True) if mode != b"LEAF")


def run(model_bytes: bytes, X: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return every output of the graph for X by name, computed with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": X}), strict=True))
