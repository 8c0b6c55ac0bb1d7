"""The prediction log on standard output, for platforms that store each line as an entry, such as Cloud Logging.

A platform limits the size of an entry, and a BigQuery table needs the same type for a field of all entries. Therefore,
a large request has several entries, and `orders` and `response` are JSON in text. Each entry has the predictions of its
own orders, so that it can be read alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from preptime.api.service import PredictionRecord

MAX_ENTRY_BYTES = 200_000
"""Cloud Logging stores entries of up to 256 KiB, with its own fields."""
MAX_ENTRY_ORDERS = 500
_OTHER_FIELDS_BYTES = 1_000
"""More than the names and the other fields of an entry need."""


def encode_entries(
    record: PredictionRecord, max_orders: int = MAX_ENTRY_ORDERS, max_bytes: int = MAX_ENTRY_BYTES
) -> list[bytes]:
    """Return a record as JSON documents of at most `max_orders` orders and `max_bytes` bytes.

    An order that doesn't fit into an entry alone is null. Its prediction is kept.

    Raises an error of `msgspec` if JSON can't represent the record.
    """
    orders = _encode_orders(record)
    response = msgspec.json.decode(record.response, type=dict[str, msgspec.Raw])
    columns = {name: items for name, value in response.items() if len(items := _items(value)) == len(orders)}
    fixed = {name: bytes(value) for name, value in response.items() if name not in columns}
    room = max_bytes - _OTHER_FIELDS_BYTES - _text_bytes(fixed.values())
    parts = []
    for start, end in _split(orders, list(columns.values()), max_orders, room):
        values = fixed | {name: _array(items[start:end]) for name, items in columns.items()}
        body = {name: msgspec.Raw(values[name]) for name in response}
        texts = [order if _text_bytes([order]) <= room else b"null" for order in orders[start:end]]
        parts.append({"orders": _array(texts).decode(), "response": msgspec.json.encode(body).decode()})
    common = {
        "time": record.time,
        "request_id": record.request_id,
        "key_name": record.key_name,
        "endpoint": record.endpoint,
        "bundle": record.bundle,
        "parts": len(parts),
    }
    return [msgspec.json.encode(common | {"part": number} | part) for number, part in enumerate(parts, 1)]


def _encode_orders(record: PredictionRecord) -> list[bytes]:
    """Return each order as JSON. If one is nested too deeply to encode in this thread, all of them are null."""
    try:
        return [msgspec.json.encode(order) for order in record.orders]
    except RecursionError:
        return [b"null"] * len(record.orders)


def _items(value: msgspec.Raw) -> list[bytes]:
    """Return the elements of a JSON array. Another value has none."""
    content = bytes(value)
    return [bytes(item) for item in msgspec.json.decode(content, type=list[msgspec.Raw])] if content[:1] == b"[" else []


def _split(
    orders: Sequence[bytes], columns: Sequence[Sequence[bytes]], max_orders: int, max_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yield the index of the first order of each part, and the one after its last order."""
    start = size = 0
    for index, order in enumerate(orders):
        item_bytes = _text_bytes([order, *(column[index] for column in columns)])
        if index > start and (index - start == max_orders or size + item_bytes > max_bytes):
            yield start, index
            start, size = index, 0
        size += item_bytes
    yield start, len(orders)


def _text_bytes(values: Iterable[bytes]) -> int:
    """Return the size of JSON values as a text in JSON, with their separators."""
    return sum(len(value) + value.count(b'"') + value.count(b"\\") + 1 for value in values)


def _array(items: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"
