"""The models as one ONNX graph: features in, every model's answer out, in one `run`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnxruntime import ExecutionMode, InferenceSession, SessionOptions
from onnxruntime.capi import onnxruntime_pybind11_state as state

from preptime.bundle.manifest import MODEL_FILE, refused_bundle_error
from preptime.bundle.subgraph import extract_output
from preptime.domain.prediction import DEFAULT_MODEL, QUANTILE_LEVELS

INPUT_NAME = "features"
"""The graph's one input, float32[N, F]. Outputs bear the models' names: `quantile` [N, 4], the others [N]."""

_FLOAT_TENSOR = "tensor(float)"
_LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


class OnnxGraph:
    """One session over a graph that is what the manifest says. Raises `BundleVerificationError` when it is not."""

    def __init__(self, model: bytes, feature_count: int, models: tuple[str, ...]) -> None:
        self._models = models
        self._session = _create_session(model)
        inputs = [(node.name, node.type, node.shape[-1]) for node in self._session.get_inputs()]
        if inputs != [(INPUT_NAME, _FLOAT_TENSOR, feature_count)]:
            raise refused_bundle_error(
                MODEL_FILE, f"one input {INPUT_NAME!r} of {_FLOAT_TENSOR} with {feature_count} columns", str(inputs)
            )
        outputs = {node.name: node.type for node in self._session.get_outputs()}
        if outputs != dict.fromkeys(models, _FLOAT_TENSOR):
            raise refused_bundle_error(MODEL_FILE, f"outputs {', '.join(models)} of {_FLOAT_TENSOR}", str(outputs))
        if DEFAULT_MODEL not in models:
            raise refused_bundle_error(MODEL_FILE, f"an output {DEFAULT_MODEL!r}", ", ".join(models))
        try:
            self._default_session = _create_session(extract_output(model, DEFAULT_MODEL))
        except ValueError as error:
            raise refused_bundle_error(
                MODEL_FILE, f"a graph whose {DEFAULT_MODEL!r} can be taken out", f"({error})"
            ) from error

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Seconds per point model, [N] each, and the quantiles, [N, 4], for features [N, F]. N may be 0."""
        row_count = len(features)
        if row_count == 0:  # not every operator accepts an empty batch
            points = {name: np.empty(0, np.float32) for name in self._models if name != DEFAULT_MODEL}
            return points, np.empty((0, len(QUANTILE_LEVELS)), np.float32)
        outputs = dict(zip(self._models, self._session.run(self._models, {INPUT_NAME: features}), strict=True))
        quantiles = outputs.pop(DEFAULT_MODEL)
        return (
            {name: _check_shape(output, name, (row_count,)) for name, output in outputs.items()},
            _check_shape(quantiles, DEFAULT_MODEL, (row_count, len(QUANTILE_LEVELS))),
        )

    def run_default(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The quantiles alone, [N, 4], the same as `run` gives, without computing the other models."""
        row_count = len(features)
        if row_count == 0:
            return np.empty((0, len(QUANTILE_LEVELS)), np.float32)
        (quantiles,) = self._default_session.run((DEFAULT_MODEL,), {INPUT_NAME: features})
        return _check_shape(quantiles, DEFAULT_MODEL, (row_count, len(QUANTILE_LEVELS)))


def _create_session(model: bytes) -> InferenceSession:
    try:
        return InferenceSession(model, _session_options(), providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise refused_bundle_error(MODEL_FILE, "a graph that ONNX Runtime can run", f"({error})") from error


def _check_shape(output: NDArray[np.float32], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if output.shape != shape:
        raise refused_bundle_error(MODEL_FILE, f"shape {shape} from {name!r}", str(output.shape))
    return output


def _session_options() -> SessionOptions:
    """One thread: several give other floats (D2), and callers run sessions side by side."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; what they say is raised as well
    return options
