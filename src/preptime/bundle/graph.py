"""The models as one ONNX graph: features in, every model's answer out, in one `run`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnxruntime import ExecutionMode, InferenceSession, SessionOptions
from onnxruntime.capi import onnxruntime_pybind11_state as state

from preptime.bundle.manifest import MODEL, refused
from preptime.bundle.subgraph import only_output
from preptime.domain.prediction import DEFAULT_MODEL, LEVELS

INPUT = "features"
"""The graph's one input, float32[N, F]. Outputs bear the models' names: `quantile` [N, 4], the others [N]."""

_FLOATS = "tensor(float)"
_REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


class Graph:
    """One session over a graph that is what the manifest says. Raises `RefusedBundleError` when it is not."""

    def __init__(self, model: bytes, features: int, models: tuple[str, ...]) -> None:
        self._models = models
        self._session = _session(model)
        inputs = [(node.name, node.type, node.shape[-1]) for node in self._session.get_inputs()]
        if inputs != [(INPUT, _FLOATS, features)]:
            raise refused(MODEL, f"one input {INPUT!r} of {_FLOATS} with {features} columns", str(inputs))
        outputs = {node.name: node.type for node in self._session.get_outputs()}
        if outputs != dict.fromkeys(models, _FLOATS):
            raise refused(MODEL, f"outputs {', '.join(models)} of {_FLOATS}", str(outputs))
        if DEFAULT_MODEL not in models:
            raise refused(MODEL, f"an output {DEFAULT_MODEL!r}", ", ".join(models))
        try:
            self._default = _session(only_output(model, DEFAULT_MODEL))
        except ValueError as error:
            raise refused(MODEL, f"a graph whose {DEFAULT_MODEL!r} can be taken out", f"({error})") from error

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Seconds per point model, [N] each, and the quantiles, [N, 4], for features [N, F]. N may be 0."""
        n = len(features)
        if n == 0:  # not every operator accepts an empty batch
            points = {name: np.empty(0, np.float32) for name in self._models if name != DEFAULT_MODEL}
            return points, np.empty((0, len(LEVELS)), np.float32)
        answers = dict(zip(self._models, self._session.run(self._models, {INPUT: features}), strict=True))
        quantiles = answers.pop(DEFAULT_MODEL)
        return (
            {name: _shaped(answer, name, (n,)) for name, answer in answers.items()},
            _shaped(quantiles, DEFAULT_MODEL, (n, len(LEVELS))),
        )

    def run_default(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The quantiles alone, [N, 4], the same as `run` gives, without computing the other models."""
        n = len(features)
        if n == 0:
            return np.empty((0, len(LEVELS)), np.float32)
        (quantiles,) = self._default.run((DEFAULT_MODEL,), {INPUT: features})
        return _shaped(quantiles, DEFAULT_MODEL, (n, len(LEVELS)))


def _session(model: bytes) -> InferenceSession:
    try:
        return InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise refused(MODEL, "a graph that ONNX Runtime can run", f"({error})") from error


def _shaped(answer: NDArray[np.float32], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if answer.shape != shape:
        raise refused(MODEL, f"shape {shape} from {name!r}", str(answer.shape))
    return answer


def _options() -> SessionOptions:
    """One thread: several give other floats (D2), and callers run sessions side by side."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; what they say is raised as well
    return options
