"""The ONNX graph of a bundle: features in, the predictions of every model out, in one `run`.

ONNX Runtime computes every output of a graph, even if only one is requested. A second session therefore contains only
the part of the graph that `quantile` needs. `extract_output` cuts it out at the level of protocol buffers: it reads
fields, drops some, and copies the others unchanged. The `onnx` library isn't used, because it belongs to training
(decision 3). Field numbers are those of `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from onnxruntime import ExecutionMode, InferenceSession, SessionOptions
from onnxruntime.capi import onnxruntime_pybind11_state as state

from preptime.bundle.manifest import MODEL_FILE, refused_bundle_error
from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS

INPUT_NAME = "features"
"""The only input, float32 [N, F]. Each output has the name of its model: `quantile` [N, 4], the others [N]."""

_FLOAT_TENSOR = "tensor(float)"
_LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT = 1, 2
_INITIALIZER_NAME, _OUTPUT_NAME = 8, 1

Field = tuple[int, int, int, int]
"""Field number, start of the field, start of its content, and end of both, in bytes."""


class OnnxGraph:
    """An ONNX Runtime session. Raises `BundleVerificationError` unless the graph matches the manifest."""

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
                MODEL_FILE, f"a graph from which {DEFAULT_MODEL!r} can be extracted", f"({error})"
            ) from error

    def run(self, features: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Return the seconds of each point model, [N], and the quantiles, [N, 4], for features [N, F]. N can be 0."""
        row_count = len(features)
        if row_count == 0:  # some operators don't accept an empty batch
            points = {name: np.empty(0, np.float32) for name in self._models if name != DEFAULT_MODEL}
            return points, np.empty((0, len(QUANTILE_LEVELS)), np.float32)
        outputs = dict(zip(self._models, self._session.run(self._models, {INPUT_NAME: features}), strict=True))
        quantiles = outputs.pop(DEFAULT_MODEL)
        return (
            {name: _check_shape(output, name, (row_count,)) for name, output in outputs.items()},
            _check_shape(quantiles, DEFAULT_MODEL, (row_count, len(QUANTILE_LEVELS))),
        )

    def run_default(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same quantiles as `run`, [N, 4], without computing the other models."""
        if not len(features):
            return np.empty((0, len(QUANTILE_LEVELS)), np.float32)
        (quantiles,) = self._default_session.run((DEFAULT_MODEL,), {INPUT_NAME: features})
        return _check_shape(quantiles, DEFAULT_MODEL, (len(features), len(QUANTILE_LEVELS)))


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
    """Return options for one thread: several threads round differently (decision 2), and callers run in parallel."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only, which are raised as well
    return options


def extract_output(model: bytes, output: str) -> bytes:
    """Return the serialized model with only those nodes, initializers, and outputs that `output` depends on.

    Raises `ValueError` if the bytes aren't a protocol buffer. A model that ONNX Runtime has loaded always is one.
    """
    parts = list[bytes]()
    for number, start, content, end in _fields(model, 0, len(model)):
        if number == _GRAPH:
            graph = _prune_graph(model, content, end, output.encode())
            parts += [_encode_varint(_GRAPH << 3 | _BYTES), _encode_varint(len(graph)), graph]
        else:
            parts.append(model[start:end])
    return b"".join(parts)


def _prune_graph(model: bytes, start: int, end: int, output: bytes) -> bytes:
    fields = list(_fields(model, start, end))
    needed, kept = {output}, set[int]()
    for number, first, content, last in reversed(fields):  # nodes are in the order of computation
        if number == _NODE and needed & _field_values(model, content, last, _NODE_OUTPUT):
            needed |= _field_values(model, content, last, _NODE_INPUT)
            kept.add(first)
    for number, first, content, last in fields:
        if number == _INITIALIZER:
            if needed & _field_values(model, content, last, _INITIALIZER_NAME):
                kept.add(first)
        elif number == _OUTPUT:
            if output in _field_values(model, content, last, _OUTPUT_NAME):
                kept.add(first)
        elif number != _NODE:
            kept.add(first)
    return b"".join(model[first:last] for _, first, _, last in fields if first in kept)


def _field_values(model: bytes, start: int, end: int, field_number: int) -> set[bytes]:
    return {model[content:last] for number, _, content, last in _fields(model, start, end) if number == field_number}


def _fields(model: bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message between two byte offsets."""
    offset = start
    while offset < end:
        first = offset
        key, offset = _read_varint(model, offset)
        wire_type = key & 7
        if wire_type == _BYTES:
            size, offset = _read_varint(model, offset)
        elif wire_type == _VARINT:
            _, after = _read_varint(model, offset)
            size = after - offset
        elif wire_type in {_FIXED64, _FIXED32}:
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {first}")
        if offset + size > end:
            raise ValueError(f"a field that starts at byte {first} ends beyond its message")
        yield key >> 3, first, offset, offset + size
        offset += size


def _read_varint(model: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if offset >= len(model) or shift > 63:
            raise ValueError(f"no number at byte {offset}")
        byte = model[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
