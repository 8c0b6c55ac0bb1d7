"""A bundle: models, history and manifest, opened. The only thing that predicts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.golden import ABSOLUTE_SECONDS, RELATIVE, compare, decode_golden, golden_columns
from preptime.bundle.graph import Graph
from preptime.bundle.manifest import GOLDEN, MANIFEST, MODEL, REPORT, TOLD, Manifest, refused
from preptime.bundle.store import Store
from preptime.bundle.verification import inspect_folder, open_arrays
from preptime.domain.order import OrderColumns
from preptime.domain.prediction import Predictions
from preptime.errors import RefusedBundleError
from preptime.features.history import History
from preptime.features.matrix import feature_matrix
from preptime.features.spec import FEATURE_NAMES


class Bundle:
    """A verified, opened bundle. Threads may share it."""

    def __init__(self, folder: Path, manifest: Manifest, history: History, graph: Graph) -> None:
        self.folder = folder
        self.manifest = manifest
        self.history = history
        self.graph = graph

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> Bundle:
        """Inspect `folder`, open it, and ask it the golden orders.

        Without `verify` the files' hashes are taken on trust (their names and sizes are not): for a folder that this
        machine has verified before. Raises `RefusedBundleError`, `UsageError` when `folder` is no bundle.
        """
        try:
            return cls._open(folder, inspect_folder(folder, hashes=verify))
        except RefusedBundleError as error:
            raise RefusedBundleError(f"{folder.name}/{error.facts}", error.hint) from error

    @classmethod
    def _open(cls, folder: Path, manifest: Manifest) -> Bundle:
        names = tuple(feature.name for feature in manifest.features)
        if names != FEATURE_NAMES:
            raise refused(MANIFEST, f"the features {FEATURE_NAMES}", str(names), "Train or refresh with this preptime.")
        arrays = open_arrays(folder, manifest)
        history = History.from_arrays(manifest.date.isoformat(), manifest.vocabularies, arrays)
        graph = Graph((folder / MODEL).read_bytes(), len(names), manifest.models)
        bundle = cls(folder, manifest, history, graph)
        golden = decode_golden((folder / GOLDEN).read_bytes())
        orders = golden_columns(golden.orders)
        found = bundle.predict(orders)
        compare(golden, names, bundle.features(orders), found)
        alone = bundle.predict(orders, ()).quantiles
        if not np.allclose(alone, found.quantiles, rtol=RELATIVE, atol=ABSOLUTE_SECONDS):
            raise refused(MODEL, "the same quantiles with and without the other models", "others")
        return bundle

    def features(self, orders: OrderColumns) -> NDArray[np.float32]:
        """The matrix [N, F] that the models read for these orders."""
        return feature_matrix(orders, self.history)

    def predict(self, orders: OrderColumns, models: Collection[str] | None = None) -> Predictions:
        """Predictions for N orders, in their places. N may be 0.

        `models` names the point models wanted, all by default; the quantiles are always there, and alone they take a
        third less time. A name that the bundle does not have is a `KeyError`.
        """
        subject = self.history.subject(orders)
        features, basis = feature_matrix(orders, self.history, subject), self.history.basis[subject]
        if models is not None and not models:
            return Predictions({}, self.graph.run_default(features), basis)
        points, quantiles = self.graph.run(features)
        return Predictions(points if models is None else {name: points[name] for name in models}, quantiles, basis)

    @property
    def report_path(self) -> Path | None:
        """The report of the training run, when the bundle carries one."""
        return self.folder / REPORT if REPORT in self.manifest.files else None

    def told(self) -> dict[str, bytes]:
        """What it carries of the training run (report and evaluation), by file name, for a refresh."""
        return {name: (self.folder / name).read_bytes() for name in TOLD if name in self.manifest.files}

    def golden_orders(self) -> OrderColumns:
        """The orders that every load asks, for a refresh."""
        return golden_columns(decode_golden((self.folder / GOLDEN).read_bytes()).orders)

    def model_bytes(self) -> bytes:
        """The ONNX graph, for a refresh."""
        return (self.folder / MODEL).read_bytes()


def verify(store: Store, bundle_id: str) -> Bundle:
    """Fetch a bundle and load it with every check. Raises `UsageError`, `RefusedBundleError`, `StoreError`."""
    try:
        bundle = Bundle.load(store.fetch(bundle_id))
    except RefusedBundleError:
        store.forget(bundle_id)  # the damage may be the copy's alone
        raise
    if bundle.manifest.id != bundle_id:
        raise refused(f"{bundle_id}/{MANIFEST}", f"id {bundle_id}", bundle.manifest.id)
    return bundle
