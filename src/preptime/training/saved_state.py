"""The state of a history in a folder or a bucket.

`preptime spark state` writes it, and `preptime refresh --state` reads it. A state is a folder of `.npy` files, and the
document `state.json` with their types, sizes, and SHA-256. The document names the folder. It's written last, so a state
is complete, or it's the previous one.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.history_arrays import parse_array
from preptime.bundle.manifest import ArrayInfo, FileInfo, describe_files
from preptime.bundle.store import open_backend
from preptime.errors import BundleVerificationError, DataError
from preptime.features.feature_set import FeatureSet
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.restaurant_names import RestaurantNames
from preptime.schema.schema import Schema
from preptime.validation.label_counts import LabelCounts
from preptime.validation.order_counts import OrderCounts

STATE_FILE = "state.json"
STATE_FORMAT = 2
"""The format of `state.json` and of the arrays (docs/scale.md)."""
_RESTAURANT_COLUMNS = ("restaurant_id", "country", "city", "type_of_food", "time_zone")
_REPEAT_HINT = "Make the state again: preptime spark state."


class _Versioned(Protocol):
    @property
    def format(self) -> int: ...


_Document = TypeVar("_Document", bound=_Versioned)


class StateDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `state.json`."""

    format: int = STATE_FORMAT
    date: dt.date
    """The state has the orders that were ready before local midnight of this date."""
    orders: int
    """Completed orders."""
    restaurants: int
    schema: Schema
    """The schema of the orders: that of the champion."""
    vocabularies: Vocabularies
    """The vocabularies of the restaurants. Those of custom categories are the champion's."""
    out: str
    """The folder of the arrays, which is next to the document."""
    arrays: dict[str, ArrayInfo]
    files: dict[str, FileInfo]
    """The files of the arrays by name, with their SHA-256."""

    @property
    def folder(self) -> str:
        """The name of the folder of the arrays. A state that was copied or moved has it, too."""
        return self.out.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class SavedState:
    """The state of all completed orders as of a date, and what the data gate needs to know about all orders."""

    date: dt.date
    schema: Schema
    restaurants: RestaurantIndex
    """The restaurants as in their file. The codes of custom categories are the champion's."""
    state: HistoryState
    labels: LabelCounts
    orders: OrderCounts
    """Counts of all orders, including open and unusable ones."""

    def encode(self, out: str) -> tuple[StateDocument, dict[str, bytes]]:
        """Return the document of a state in the folder `out`, and the content of its files by name."""
        counts = {**self.state.arrays(), **self.labels.arrays(), **self.orders.arrays()}
        arrays = {**restaurant_arrays(self.restaurants), **counts}
        little_endian = {name: _little_endian(array) for name, array in sorted(arrays.items())}
        files = {f"{name}.npy": npy_bytes(array) for name, array in little_endian.items()}
        document = StateDocument(
            date=self.date,
            orders=int(self.state.orders.sum()),
            restaurants=len(self.restaurants),
            schema=self.schema,
            vocabularies=self.restaurants.vocabularies,
            out=out,
            arrays={name: ArrayInfo(dtype=array.dtype.str, shape=array.shape) for name, array in little_endian.items()},
            files=describe_files(files),
        )
        return document, files


def read_state(address: str) -> SavedState:
    """Return the state in a folder or at a URL. It's checked for damage.

    Raises:
        DataError: There is no state, it's damaged, or it has another format.
        StoreError: The URL is invalid, or its package isn't installed.
    """
    backend = open_backend(address)
    try:
        document = decode_document(address, backend.read(STATE_FILE))
        files = {name: backend.read(f"{document.folder}/{name}") for name in document.files}
    except OSError as error:
        raise DataError(f"{address} has no readable state: {error}.", _REPEAT_HINT) from error
    return decode_state(address, document, files)


def decode_document(address: str, content: bytes) -> StateDocument:
    """Return the document in the bytes of `state.json`. Raises `DataError`."""
    return decode_versioned(StateDocument, content, f"{address}/{STATE_FILE}", STATE_FORMAT, _REPEAT_HINT)


def decode_versioned(kind: type[_Document], content: bytes, name: str, version: int, hint: str) -> _Document:
    """Return a document in JSON, named `name` in errors. Raises `DataError` if it's damaged or has another format."""
    try:
        document = msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise DataError(f"{name} can't be read: {error}.", hint) from error
    if document.format != version:
        raise DataError(f"{name} has the format {document.format}; expected {version}.", hint)
    return document


def decode_state(address: str, document: StateDocument, files: Mapping[str, bytes]) -> SavedState:
    """Return the state in the content of its files. Raises `DataError` if a file isn't what the document says."""
    found = describe_files(files)
    damaged = sorted(name for name, info in document.files.items() if found.get(name) != info)
    if damaged:
        raise DataError(
            f"{address}/{document.folder}/{damaged[0]} is damaged: its SHA-256 isn't that in {STATE_FILE}.",
            _REPEAT_HINT,
        )
    try:
        arrays = {name: parse_array(name, files[f"{name}.npy"], info) for name, info in document.arrays.items()}
        restaurants = restaurants_from_arrays(arrays, document.vocabularies, FeatureSet.from_schema(document.schema))
        state, labels = HistoryState.from_arrays(arrays), LabelCounts.from_arrays(arrays)
        orders = OrderCounts.from_arrays(arrays)
    except (BundleVerificationError, KeyError) as error:
        raise DataError(f"{address}/{document.folder} isn't a state: {error}.", _REPEAT_HINT) from error
    return SavedState(document.date, document.schema, restaurants, state, labels, orders)


def restaurant_arrays(restaurants: RestaurantIndex) -> dict[str, NDArray[np.generic]]:
    """Return the columns of restaurants as arrays by name, without their vocabularies."""
    arrays: dict[str, NDArray[np.generic]] = {name: getattr(restaurants, name) for name in _RESTAURANT_COLUMNS}
    optional = {"restaurant_numbers": restaurants.numbers, "restaurant_categories": restaurants.categories}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    return arrays | restaurants.names.arrays()


def restaurants_from_arrays(
    arrays: Mapping[str, NDArray[Any]], vocabularies: Vocabularies, feature_set: FeatureSet
) -> RestaurantIndex:
    """Return the restaurants that `restaurant_arrays` came from."""
    return RestaurantIndex(
        vocabularies,
        *(arrays[name] for name in _RESTAURANT_COLUMNS),
        feature_set=feature_set,
        numbers=arrays.get("restaurant_numbers"),
        categories=arrays.get("restaurant_categories"),
        names=RestaurantNames.from_arrays(arrays),
    )


def encode_restaurants(restaurants: RestaurantIndex, schema: Schema) -> bytes:
    """Return the restaurants as bytes for the workers."""
    texts = {"vocabularies": msgspec.json.encode(restaurants.vocabularies), "schema": msgspec.json.encode(schema)}
    arrays = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
    return pack_arrays({**restaurant_arrays(restaurants), **arrays})


@lru_cache(maxsize=2)
def decode_restaurants(content: bytes) -> RestaurantIndex:
    """Return the restaurants in the bytes of `encode_restaurants`, decoded once in a process."""
    arrays = unpack_arrays(content)
    vocabularies = msgspec.json.decode(arrays["vocabularies"].tobytes(), type=Vocabularies)
    schema = msgspec.json.decode(arrays["schema"].tobytes(), type=Schema)
    return restaurants_from_arrays(arrays, vocabularies, FeatureSet.from_schema(schema))


def pack_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return named arrays as the bytes of an `.npz` file, without pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays in the bytes of `pack_arrays`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def npy_bytes(array: NDArray[np.generic]) -> bytes:
    """Return the content of an `.npy` file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _little_endian(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
