"""Making a bundle: content in, files out, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.bundle import check_golden, decode_golden, encode_golden
from preptime.bundle.graph import OnnxGraph
from preptime.bundle.manifest import (
    GOLDEN_FILE,
    HISTORY_FOLDER,
    MANIFEST_FILE,
    MODEL_FILE,
    ArrayInfo,
    FeatureInfo,
    Manifest,
    ManifestDraft,
    check_arrays,
    compute_bundle_id,
    describe_files,
    encode_manifest,
)
from preptime.bundle.store import Store
from preptime.domain.orders import OrderColumns, Predictions
from preptime.errors import OperationError
from preptime.features.history import History, feature_matrix
from preptime.features.spec import FEATURES


def write_bundle(
    store: Store,
    draft: ManifestDraft,
    *,
    model: bytes,
    history: History,
    golden_orders: OrderColumns,
    extra_files: Mapping[str, bytes] | None = None,
    expected_id: str | None = None,
) -> Manifest:
    """Write a bundle into `store`: the same content gives the same id, and one that is there already stays.

    Unless it was damaged there: the right bytes are at hand, so that training a morning again mends its bundle.

    `model` is the graph (`graph.py` says its inputs and outputs), `golden_orders` at least one order (see `choose_golden_orders`),
    `extra_files` further files by name (`report.html`). With `expected_id`, nothing is written unless that is the id that comes out:
    the caller compares. Raises `OperationError` when the parts don't fit each other (a refresh: its parent),
    `BundleVerificationError` when the graph or the arrays are not what they must be, `StoreError`.
    """
    if draft.parent is not None:
        _check_parent(store.read_manifest(draft.parent), model, history)
    manifest, files = build_bundle_files(
        draft, model=model, history=history, golden_orders=golden_orders, extra_files=extra_files
    )
    if expected_id not in {None, manifest.id}:
        return manifest
    store.write_bundle_files(manifest.id, files)
    if not store.has_same_files(manifest.id, files):
        store.delete(manifest.id)
        store.write_bundle_files(manifest.id, files)
    return manifest


def build_bundle_files(
    draft: ManifestDraft,
    *,
    model: bytes,
    history: History,
    golden_orders: OrderColumns,
    extra_files: Mapping[str, bytes] | None = None,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and every file of a bundle by path, `manifest.json` among them. See `write_bundle`."""
    if history.date != draft.date.isoformat():
        raise OperationError(f"The history is of {history.date}, the bundle of {draft.date}.")
    if not len(golden_orders):
        raise OperationError("A bundle needs at least one golden order.")
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(history.arrays().items())}
    files = dict(extra_files or {})
    files |= {f"{HISTORY_FOLDER}/{name}.npy": _npy_content(array) for name, array in arrays.items()}
    files |= {MODEL_FILE: model, GOLDEN_FILE: _golden_content(draft, model, history, golden_orders)}
    manifest = Manifest(
        **msgspec.structs.asdict(draft),
        id="",
        features=tuple(FeatureInfo(name=feature.name, unit=feature.unit) for feature in FEATURES),
        vocabularies=history.vocabularies,
        arrays={name: ArrayInfo(dtype=array.dtype.str, shape=array.shape) for name, array in arrays.items()},
        files=describe_files(files),
    )
    check_arrays(manifest.arrays, manifest.vocabularies)
    manifest = msgspec.structs.replace(manifest, id=compute_bundle_id(manifest))
    return manifest, files | {MANIFEST_FILE: encode_manifest(manifest)}


def _check_parent(parent: Manifest, model: bytes, history: History) -> None:
    """A refresh has its parent's models, and the codes those were fitted with."""
    if describe_files({MODEL_FILE: model})[MODEL_FILE] != parent.files[MODEL_FILE]:
        raise OperationError(f"The models of the refresh are not those of its parent {parent.id}.")
    for name in ("country", "city", "type_of_food"):
        if getattr(history.vocabularies, name) != getattr(parent.vocabularies, name):
            raise OperationError(
                f"The history numbers {name} otherwise than the models of {parent.id} know it.",
                "Name the directory by the parent's vocabularies first.",
            )


def _golden_content(draft: ManifestDraft, model: bytes, history: History, orders: OrderColumns) -> bytes:
    features = feature_matrix(orders, history)
    points, quantiles = OnnxGraph(model, features.shape[1], draft.models).run(features)
    predictions = Predictions(points, quantiles, history.fallback_level_for(orders))
    content = encode_golden(orders, features, predictions)
    # What loading will ask is asked now: a feature that is not a finite number must not get into a store.
    check_golden(decode_golden(content), tuple(feature.name for feature in FEATURES), features, predictions)
    return content


def _npy_content(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
