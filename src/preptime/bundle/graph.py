"""The ONNX graphs of a bundle: features in, predictions out, in one `run`.

ONNX Runtime computes every output of a graph, even if only one is requested. Therefore, a bundle has one graph with all
models, and one with only `quantile` for the default prediction. The optional live graph is another `quantile`, which
also reads the state of the kitchen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnxruntime import ExecutionMode, InferenceSession, SessionOptions
from onnxruntime.capi import onnxruntime_pybind11_state as state

from preptime.bundle.manifest import LIVE_FILE, MODEL_FILE, QUANTILE_FILE, damage_reported, refused_bundle_error
from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS
from preptime.features.kitchen import LIVE_FEATURES

INPUT_NAME = "features"
"""The only input, float32 [N, F]. Each output has the name of its model: `quantile` [N, 4], the others [N]."""

_FLOAT_TENSOR = "tensor(float)"
LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
"""The errors of ONNX Runtime for a graph that it can't load or run."""


class OnnxGraph:
    """An ONNX Runtime session. Raises `BundleVerificationError` unless the graph matches the manifest."""

    def __init__(self, model: bytes, feature_count: int, models: tuple[str, ...], file: str = MODEL_FILE) -> None:
        self._models = models
        self._file = file
        self._session = _create_session(model, file)
        inputs = [(node.name, node.type, node.shape[-1]) for node in self._session.get_inputs()]
        if inputs != [(INPUT_NAME, _FLOAT_TENSOR, feature_count)]:
            raise refused_bundle_error(
                file, f"one input {INPUT_NAME!r} of {_FLOAT_TENSOR} with {feature_count} columns", str(inputs)
            )
        outputs = {node.name: node.type for node in self._session.get_outputs()}
        if outputs != dict.fromkeys(models, _FLOAT_TENSOR):
            raise refused_bundle_error(file, f"outputs {', '.join(models)} of {_FLOAT_TENSOR}", str(outputs))
        if DEFAULT_MODEL not in models:
            raise refused_bundle_error(file, f"an output {DEFAULT_MODEL!r}", ", ".join(models))

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Return the seconds of each point model, [N], and the quantiles, [N, 4], for features [N, F]. N can be 0."""
        row_count = len(features)
        if row_count == 0:  # some operators don't accept an empty batch
            points = {name: np.empty(0, np.float32) for name in self._models if name != DEFAULT_MODEL}
            return points, np.empty((0, len(QUANTILE_LEVELS)), np.float32)
        outputs = dict(zip(self._models, self._session.run(self._models, {INPUT_NAME: features}), strict=True))
        quantiles = outputs.pop(DEFAULT_MODEL)
        return (
            {name: self._check_shape(output, name, (row_count,)) for name, output in outputs.items()},
            self._check_shape(quantiles, DEFAULT_MODEL, (row_count, len(QUANTILE_LEVELS))),
        )

    def run_quantiles(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the quantiles, [N, 4], for features [N, F], of a graph with no other output. N can be 0."""
        if not len(features):
            return np.empty((0, len(QUANTILE_LEVELS)), np.float32)
        (quantiles,) = self._session.run(self._models, {INPUT_NAME: features})
        return self._check_shape(quantiles, DEFAULT_MODEL, (len(features), len(QUANTILE_LEVELS)))

    def _check_shape(self, output: NDArray[np.float32], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if output.shape != shape:
            raise refused_bundle_error(self._file, f"shape {shape} from {name!r}", str(output.shape))
        return output


@dataclass(frozen=True, slots=True)
class BundleGraphs:
    """The graphs of a bundle, ready to run."""

    models: OnnxGraph
    """All models."""
    quantile: OnnxGraph
    """Only `quantile`, with the same quantiles as `models`."""
    live: OnnxGraph | None
    """The quantiles of orders with a known state of the kitchen, if the bundle has a live model."""

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], feature_count: int, models: tuple[str, ...]) -> BundleGraphs:
        """Return the graphs in the files of a bundle, by name.

        `feature_count` is without the live features. Raises `BundleVerificationError` for a graph that doesn't match.
        """

        def load(file: str, columns: int, names: tuple[str, ...]) -> OnnxGraph:
            with damage_reported(file, "a graph that ONNX Runtime can run"):
                return OnnxGraph(files[file], columns, names, file)

        return cls(
            load(MODEL_FILE, feature_count, models),
            load(QUANTILE_FILE, feature_count, (DEFAULT_MODEL,)),
            load(LIVE_FILE, feature_count + len(LIVE_FEATURES), (DEFAULT_MODEL,)) if LIVE_FILE in files else None,
        )


def _create_session(model: bytes, file: str) -> InferenceSession:
    try:
        return InferenceSession(model, _session_options(), providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise refused_bundle_error(file, "a graph that ONNX Runtime can run", f"({error})") from error


def _session_options() -> SessionOptions:
    """Return options for one thread: several threads round differently (decision 2), and callers run in parallel."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only, which are raised as well
    return options
