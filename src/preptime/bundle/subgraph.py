"""The part of an ONNX model that one output needs, as a model of its own.

ONNX Runtime computes every output of a graph whichever of them it is asked for, so whoever wants the default answer
alone would wait for all six models. The `onnx` library belongs to training (D3); what is needed of protocol buffers
here is to tell fields apart, drop some, and copy the others as they are. Field numbers are those of `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT = 1, 2
_INITIALIZER_NAME, _OUTPUT_NAME = 8, 1

Field = tuple[int, int, int, int]
"""Number; where the field starts, where its content starts, where both end."""


def extract_output(model: bytes, output: str) -> bytes:
    """`model` with the nodes, initializers and outputs that `output` depends on, and no others.

    Raises `ValueError` for bytes that are no protocol buffer, which a model that ONNX Runtime has opened never is.
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
    for number, first, content, last in reversed(fields):  # nodes stand in the order they are computed in
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
    """The fields of the message between two places."""
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
