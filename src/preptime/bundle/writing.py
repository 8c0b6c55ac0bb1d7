"""Making a bundle: content in, files out, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.golden import compare, decode_golden, encode_golden
from preptime.bundle.graph import Graph
from preptime.bundle.layout import check_layout
from preptime.bundle.manifest import (
    GOLDEN,
    HISTORY,
    MANIFEST,
    MODEL,
    Array,
    Draft,
    Feature,
    Manifest,
    describe,
    encode,
    identify,
)
from preptime.bundle.store import Store
from preptime.domain.order import OrderColumns
from preptime.domain.prediction import Predictions
from preptime.errors import FaultError
from preptime.features.history import History
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURES


def write_bundle(
    store: Store,
    draft: Draft,
    *,
    model: bytes,
    history: History,
    golden: OrderColumns,
    extra: Mapping[str, bytes] | None = None,
    only: str | None = None,
) -> Manifest:
    """Write a bundle into `store`: the same content gives the same id, and one that is there already stays.

    Unless it was damaged there: the right bytes are at hand, so that training a morning again mends its bundle.

    `model` is the graph (`graph.py` says its inputs and outputs), `golden` at least one order (see `choose_golden`),
    `extra` further files by name (`report.html`). With `only`, nothing is written unless that is the id that comes out:
    the caller compares. Raises `FaultError` when the parts don't fit each other (a refresh: its parent),
    `RefusedBundleError` when the graph or the arrays are not what they must be, `StoreError`.
    """
    if draft.parent is not None:
        _check_parent(store.manifest(draft.parent), model, history)
    manifest, files = bundle_files(draft, model=model, history=history, golden=golden, extra=extra)
    if only not in {None, manifest.id}:
        return manifest
    store.put(manifest.id, files)
    if not store.holds(manifest.id, files):
        store.delete(manifest.id)
        store.put(manifest.id, files)
    return manifest


def bundle_files(
    draft: Draft,
    *,
    model: bytes,
    history: History,
    golden: OrderColumns,
    extra: Mapping[str, bytes] | None = None,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and every file of a bundle by path, `manifest.json` among them. See `write_bundle`."""
    if history.date != draft.date.isoformat():
        raise FaultError(f"The history is of {history.date}, the bundle of {draft.date}.")
    if not len(golden):
        raise FaultError("A bundle needs at least one golden order.")
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(history.arrays().items())}
    files = dict(extra or {})
    files |= {f"{HISTORY}/{name}.npy": _npy(array) for name, array in arrays.items()}
    files |= {MODEL: model, GOLDEN: _golden(draft, model, history, golden)}
    manifest = Manifest(
        **msgspec.structs.asdict(draft),
        id="",
        features=tuple(Feature(name=feature.name, unit=feature.unit) for feature in FEATURES),
        vocabularies=history.vocabularies,
        arrays={name: Array(dtype=array.dtype.str, shape=array.shape) for name, array in arrays.items()},
        files=describe(files),
    )
    check_layout(manifest.arrays, manifest.vocabularies)
    manifest = msgspec.structs.replace(manifest, id=identify(manifest))
    return manifest, files | {MANIFEST: encode(manifest)}


def _check_parent(parent: Manifest, model: bytes, history: History) -> None:
    """A refresh has its parent's models, and the codes those were fitted with."""
    if describe({MODEL: model})[MODEL] != parent.files[MODEL]:
        raise FaultError(f"The models of the refresh are not those of its parent {parent.id}.")
    for name in ("country", "city", "type_of_food"):
        if getattr(history.vocabularies, name) != getattr(parent.vocabularies, name):
            raise FaultError(
                f"The history numbers {name} otherwise than the models of {parent.id} know it.",
                "Name the directory by the parent's vocabularies first.",
            )


def _golden(draft: Draft, model: bytes, history: History, orders: OrderColumns) -> bytes:
    features = feature_matrix(orders, history)
    points, quantiles = Graph(model, features.shape[1], draft.models).run(features)
    predictions = Predictions(points, quantiles, history.basis_of(orders))
    content = encode_golden(orders, features, predictions)
    # What loading will ask is asked now: a feature that is not a finite number must not get into a store.
    compare(decode_golden(content), tuple(feature.name for feature in FEATURES), features, predictions)
    return content


def _npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
