"""A bundle: models, history and manifest, opened. The only thing that predicts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.golden import (
    ABSOLUTE_TOLERANCE_SECONDS,
    RELATIVE_TOLERANCE,
    check_golden,
    decode_golden,
    to_order_columns,
)
from preptime.bundle.graph import OnnxGraph
from preptime.bundle.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    REPORT_FILE,
    TRAINING_FILES,
    Manifest,
    refused_bundle_error,
)
from preptime.bundle.store import Store
from preptime.bundle.verification import open_arrays, verify_folder
from preptime.domain.order import OrderColumns
from preptime.domain.prediction import Predictions
from preptime.errors import BundleVerificationError
from preptime.features.history import History
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURE_NAMES


class Bundle:
    """A verified, opened bundle. Threads may share it."""

    def __init__(self, folder: Path, manifest: Manifest, history: History, graph: OnnxGraph) -> None:
        self.folder = folder
        self.manifest = manifest
        self.history = history
        self.graph = graph

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> Bundle:
        """Inspect `folder`, open it, and ask it the golden orders.

        Without `verify` the files' hashes are taken on trust (their names and sizes are not): for a folder that this
        machine has verified before. Raises `BundleVerificationError`, `UsageError` when `folder` is no bundle.
        """
        try:
            return cls._open(folder, verify_folder(folder, hashes=verify))
        except BundleVerificationError as error:
            raise BundleVerificationError(f"{folder.name}/{error.facts}", error.hint) from error

    @classmethod
    def _open(cls, folder: Path, manifest: Manifest) -> Bundle:
        feature_names = tuple(feature.name for feature in manifest.features)
        if feature_names != FEATURE_NAMES:
            raise refused_bundle_error(
                MANIFEST_FILE,
                f"the features {FEATURE_NAMES}",
                str(feature_names),
                "Train or refresh with this preptime.",
            )
        arrays = open_arrays(folder, manifest)
        history = History.from_arrays(manifest.date.isoformat(), manifest.vocabularies, arrays)
        graph = OnnxGraph((folder / MODEL_FILE).read_bytes(), len(feature_names), manifest.models)
        bundle = cls(folder, manifest, history, graph)
        golden = decode_golden((folder / GOLDEN_FILE).read_bytes())
        orders = to_order_columns(golden.orders)
        predictions = bundle.predict(orders)
        check_golden(golden, feature_names, bundle.features(orders), predictions)
        default_only = bundle.predict(orders, ()).quantiles
        if not np.allclose(
            default_only, predictions.quantiles, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE_SECONDS
        ):
            raise refused_bundle_error(MODEL_FILE, "the same quantiles with and without the other models", "others")
        return bundle

    def features(self, orders: OrderColumns) -> NDArray[np.float32]:
        """The matrix [N, F] that the models read for these orders."""
        return feature_matrix(orders, self.history)

    def predict(self, orders: OrderColumns, models: Collection[str] | None = None) -> Predictions:
        """Predictions for N orders, in their places. N may be 0.

        `models` names the point models wanted, all by default; the quantiles are always there, and alone they take a
        third less time. A name that the bundle does not have is a `KeyError`.
        """
        row_index = self.history.row_index(orders)
        features, fallback_level = (
            feature_matrix(orders, self.history, row_index),
            self.history.fallback_level[row_index],
        )
        if models is not None and not models:
            return Predictions({}, self.graph.run_default(features), fallback_level)
        points, quantiles = self.graph.run(features)
        return Predictions(
            points if models is None else {name: points[name] for name in models}, quantiles, fallback_level
        )

    @property
    def report_path(self) -> Path | None:
        """The report of the training run, when the bundle carries one."""
        return self.folder / REPORT_FILE if REPORT_FILE in self.manifest.files else None

    def training_files(self) -> dict[str, bytes]:
        """What it carries of the training run (report and evaluation), by file name, for a refresh."""
        return {name: (self.folder / name).read_bytes() for name in TRAINING_FILES if name in self.manifest.files}

    def golden_orders(self) -> OrderColumns:
        """The orders that every load asks, for a refresh."""
        return to_order_columns(decode_golden((self.folder / GOLDEN_FILE).read_bytes()).orders)

    def model_bytes(self) -> bytes:
        """The ONNX graph, for a refresh."""
        return (self.folder / MODEL_FILE).read_bytes()


def fetch_verified(store: Store, bundle_id: str) -> Bundle:
    """Fetch a bundle and load it with every check. Raises `UsageError`, `BundleVerificationError`, `StoreError`."""
    try:
        bundle = Bundle.load(store.fetch(bundle_id))
    except BundleVerificationError:
        store.drop_cached_copy(bundle_id)  # the damage may be the copy's alone
        raise
    if bundle.manifest.id != bundle_id:
        raise refused_bundle_error(f"{bundle_id}/{MANIFEST_FILE}", f"id {bundle_id}", bundle.manifest.id)
    return bundle
