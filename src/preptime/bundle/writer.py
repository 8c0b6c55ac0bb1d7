"""Writing a bundle to a store."""

from __future__ import annotations

import io
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.explanations_file import check_explanations, decode_explanations
from preptime.bundle.golden import check_golden, decode_golden, encode_golden, predict_golden_live
from preptime.bundle.graph import BundleGraphs
from preptime.bundle.history_arrays import check_history
from preptime.bundle.manifest import (
    EXPLANATIONS_FILE,
    GOLDEN_FILE,
    HISTORY_FOLDER,
    LIVE_FILE,
    MANIFEST_FILE,
    MODEL_FILES,
    ArrayInfo,
    FeatureInfo,
    Manifest,
    ManifestDraft,
    check_arrays,
    check_vocabularies,
    compute_bundle_id,
    describe_files,
    encode_manifest,
)
from preptime.bundle.store import Store
from preptime.domain.orders import OrderColumns, Predictions
from preptime.errors import OperationError
from preptime.features.feature_set import FeatureSet
from preptime.features.history import History, feature_matrix


def write_bundle(
    store: Store,
    draft: ManifestDraft,
    *,
    graphs: Mapping[str, bytes],
    history: History,
    golden_orders: OrderColumns,
    extra_files: Mapping[str, bytes] | None = None,
    expected_id: str | None = None,
) -> Manifest:
    """Write a bundle to a store and return its manifest. The same content gives the same id.

    An existing bundle doesn't change, unless its files are damaged: then it's replaced, so that training a date again
    repairs its bundle.

    Args:
        store: The store.
        draft: The fields of the manifest that don't follow from the files.
        graphs: The ONNX graphs, and the explanations if the models have some, by file name (`MODEL_FILES`). For inputs
            and outputs, see `preptime.bundle.graph`.
        history: The history as of the bundle's date.
        golden_orders: At least one order, usually from `choose_golden_orders`.
        extra_files: Additional files by name, for example, `report.html`.
        expected_id: If given, the bundle is written only if it has this id. The caller must compare the ids.

    Raises:
        OperationError: The parts don't match each other or, for a refresh, its parent.
        BundleVerificationError: The graph or the arrays don't match the format.
        StoreError: The storage failed.
    """
    if draft.parent is not None:
        _check_parent(store.read_manifest(draft.parent), graphs, history)
    manifest, files = build_bundle_files(
        draft, graphs=graphs, history=history, golden_orders=golden_orders, extra_files=extra_files
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
    graphs: Mapping[str, bytes],
    history: History,
    golden_orders: OrderColumns,
    extra_files: Mapping[str, bytes] | None = None,
) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest and all files of a bundle by path, including `manifest.json`. See `write_bundle`."""
    if history.date != draft.date.isoformat():
        raise OperationError(f"The history is as of {history.date}, but the bundle as of {draft.date}.")
    if FeatureSet.from_schema(draft.schema) != history.feature_set:
        raise OperationError("The history has other features than the schema of the bundle.")
    if not len(golden_orders):
        raise OperationError("A bundle needs at least one golden order.")
    if (LIVE_FILE in graphs) != (draft.live_calibration is not None):
        raise OperationError("A bundle has either a live model and its calibration, or neither of them.")
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(history.arrays().items())}
    files = dict(extra_files or {})
    files |= {f"{HISTORY_FOLDER}/{name}.npy": _npy_content(array) for name, array in arrays.items()}
    files |= {**graphs, GOLDEN_FILE: _golden_content(draft, graphs, history, golden_orders)}
    manifest = Manifest(
        **msgspec.structs.asdict(draft),
        id="",
        features=tuple(FeatureInfo(name=feature.name, unit=feature.unit) for feature in history.feature_set.features),
        vocabularies=history.vocabularies,
        arrays={name: ArrayInfo(dtype=array.dtype.str, shape=array.shape) for name, array in arrays.items()},
        files=describe_files(files),
    )
    check_arrays(manifest.arrays, manifest.vocabularies, history.feature_set)
    check_vocabularies(manifest.vocabularies, history.feature_set)
    check_history(history)
    manifest = msgspec.structs.replace(manifest, id=compute_bundle_id(manifest))
    return manifest, files | {MANIFEST_FILE: encode_manifest(manifest)}


def _check_parent(parent: Manifest, graphs: Mapping[str, bytes], history: History) -> None:
    """Raise `OperationError` unless a refresh has its parent's models and the category codes they were fitted with."""
    if describe_files(graphs) != {name: parent.files[name] for name in MODEL_FILES if name in parent.files}:
        raise OperationError(f"The models of the refresh differ from those of its parent {parent.id}.")
    for name in ("country", "city", "type_of_food", "custom"):
        if getattr(history.vocabularies, name) != getattr(parent.vocabularies, name):
            raise OperationError(
                f"The codes of {name} in the history differ from those in the models of {parent.id}.",
                "Recode the restaurants with the parent's vocabularies first.",
            )


def _golden_content(draft: ManifestDraft, graphs: Mapping[str, bytes], history: History, orders: OrderColumns) -> bytes:
    features = feature_matrix(orders, history)
    loaded = BundleGraphs.from_files(graphs, features.shape[1], draft.models)
    points, quantiles = loaded.models.run(features)
    predictions = Predictions(points, quantiles, history.fallback_level_for(orders))
    live_quantiles = predict_golden_live(loaded, history, orders, features)
    content = encode_golden(orders, features, predictions, live_quantiles)
    # Run the check of `Bundle.load` now, so that a feature that isn't finite never gets into a store.
    check_golden(decode_golden(content), history.feature_set.names, features, predictions, live_quantiles)
    if EXPLANATIONS_FILE in graphs:
        trees = decode_explanations(
            graphs[EXPLANATIONS_FILE], features.shape[1], has_live_model=loaded.live is not None
        )
        check_explanations(trees, history, orders, features, (quantiles, live_quantiles))
    return content


def _npy_content(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
