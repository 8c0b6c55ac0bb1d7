"""A bundle: models, history, and manifest. It's the only object that predicts.

Loading verifies the folder before anything is built from it. It then predicts the golden orders, whose features and
predictions are stored in the bundle, and compares the results. This detects code that computes other values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.backends.local import list_files
from preptime.bundle.explanations_file import ExplanationTrees, check_explanations, decode_explanations
from preptime.bundle.golden import (
    ABSOLUTE_TOLERANCE_SECONDS,
    RELATIVE_TOLERANCE,
    check_golden,
    check_golden_orders,
    decode_golden,
    predict_golden_live,
    to_order_columns,
)
from preptime.bundle.graph import BundleGraphs
from preptime.bundle.history_arrays import array_file, check_history, parse_array
from preptime.bundle.manifest import (
    EXPLANATIONS_FILE,
    GOLDEN_FILE,
    GRAPH_FILES,
    LIVE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    QUANTILE_FILE,
    TRAINING_FILES,
    FileInfo,
    Manifest,
    check_arrays,
    check_vocabularies,
    damage_reported,
    decode_manifest,
    refused_bundle_error,
)
from preptime.bundle.store import Store
from preptime.domain.orders import QUANTILE_LEVELS, UNKNOWN_CODE, OrderColumns, Predictions
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.errors import BundleVerificationError, UsageError
from preptime.explanations.explanations import Explanations
from preptime.explanations.groups import explained_features, feature_groups
from preptime.features.feature_set import FeatureSet
from preptime.features.history import History, feature_matrix
from preptime.features.kitchen import KitchenStates, live_features
from preptime.features.spec import MEDIAN_COLUMN
from preptime.schema.schema import Schema

_Result = TypeVar("_Result")

_WARM_UP_RUNS = 3
"""The first run of a graph allocates memory that later runs reuse."""


@dataclass(frozen=True, slots=True)
class BundleContents:
    """A bundle's files in memory, read once: the bytes that were verified are those that are used."""

    manifest: Manifest
    manifest_sha256: str
    """Because the manifest has the hashes of all files, this value identifies the whole content."""
    files: dict[str, bytes]
    """The files that a prediction needs, by name: graphs, golden orders, and arrays."""


class Bundle:
    """A verified, loaded bundle. Threads can share it. Changes to its files have no effect on it."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        history: History,
        graphs: BundleGraphs,
        explanation_trees: ExplanationTrees | None = None,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.history = history
        self.graphs = graphs
        self._explanation_trees = explanation_trees
        self.fetch_again: Callable[[], object] | None = None
        """Restores the folder if it's a cached copy of a remote bundle that was deleted for newer copies."""

    @classmethod
    def load(cls, folder: Path, *, checked_sha256: str | None = None) -> Bundle:
        """Verify and load the bundle in a folder, and check its golden orders.

        Args:
            folder: The folder of one bundle.
            checked_sha256: The hash of the manifest, if the golden orders of this bundle were already checked in
                another process (see `preptime.bundle.isolated_check`). They aren't checked again, and a bundle with
                another manifest is rejected. Everything else is always checked.

        Raises:
            BundleVerificationError: The bundle is damaged, or this release can't use it.
            UsageError: The folder isn't a bundle.
        """
        try:
            contents = read_contents(folder)
            if checked_sha256 not in {None, contents.manifest_sha256}:
                raise refused_bundle_error(
                    MANIFEST_FILE, f"the checked manifest, SHA-256 {checked_sha256}", contents.manifest_sha256
                )
            bundle = cls._open(folder, contents)
            if checked_sha256 is None:
                _check_predictions(bundle, contents)
        except BundleVerificationError as error:
            raise BundleVerificationError(f"{folder.name}/{error.facts}", error.hint) from error
        return bundle

    @classmethod
    def _open(cls, folder: Path, contents: BundleContents) -> Bundle:
        manifest = contents.manifest
        feature_names = tuple(feature.name for feature in manifest.features)
        expected_names = FeatureSet.from_schema(manifest.schema).names
        if feature_names != expected_names:
            raise refused_bundle_error(
                MANIFEST_FILE,
                f"the features {expected_names}",
                str(feature_names),
                "Train or refresh with this preptime release.",
            )
        history = parse_history(manifest, contents.files)
        graphs = BundleGraphs.from_files(contents.files, len(feature_names), manifest.models)
        trees = None
        if EXPLANATIONS_FILE in contents.files:
            trees = decode_explanations(
                contents.files[EXPLANATIONS_FILE], len(feature_names), has_live_model=graphs.live is not None
            )
        return cls(folder, manifest, history, graphs, trees)

    @property
    def schema(self) -> Schema:
        """The schema of the orders that the bundle predicts."""
        return self.manifest.schema

    def features(self, orders: OrderColumns) -> NDArray[np.float32]:
        """Return the features of the orders, float32 [N, F]."""
        return feature_matrix(orders, self.history)

    @property
    def has_live_model(self) -> bool:
        """Whether the bundle can use the states of kitchens."""
        return self.graphs.live is not None

    def predict(
        self,
        orders: OrderColumns,
        models: Collection[str] | None = None,
        kitchens: tuple[NDArray[np.bool_], KitchenStates] | None = None,
        on_features: Callable[[], object] | None = None,
    ) -> Predictions:
        """Return predictions for N orders, in the same order. N can be 0.

        Args:
            orders: N orders, as known at acknowledgement.
            models: Names of the point models to compute. None computes all of them. The quantiles are always computed.
            kitchens: A mask [N] of the orders whose state of the kitchen is known, and these states. Their quantiles
                are those of the live model, if the bundle has one. The others don't change.
            on_features: Called when the features are computed, before the graph runs.

        Raises:
            KeyError: The bundle doesn't contain a model of that name.
        """
        row_index = self.history.row_index(orders)
        features = feature_matrix(orders, self.history, row_index)
        if on_features is not None:
            on_features()
        fallback_level = self.history.fallback_level[row_index]
        points: dict[str, NDArray[np.float32]] = {}
        if models is None or models:
            points, quantiles = self.graphs.models.run(features)
            if models is not None:
                points = {name: points[name] for name in models}
        elif kitchens is not None and self.graphs.live is not None and np.count_nonzero(kitchens[0]) == len(orders):
            quantiles = np.empty((len(orders), len(QUANTILE_LEVELS)), np.float32)  # the live model predicts all of them
        else:
            quantiles = self.graphs.quantile.run_quantiles(features)
        if kitchens is None or self.graphs.live is None:
            return Predictions(points, quantiles, fallback_level)
        is_live, states = kitchens
        usual_seconds = self.history.rows[row_index[is_live], MEDIAN_COLUMN]
        live_columns = live_features(states, usual_seconds)
        quantiles[is_live] = self.graphs.live.run_quantiles(np.hstack([features[is_live], live_columns]))
        return Predictions(points, quantiles, fallback_level, is_live)

    @property
    def has_explanations(self) -> bool:
        """Whether the bundle can explain its p50: `quantile` consists of trees of CatBoost."""
        return self._explanation_trees is not None

    def require_explanations(self) -> ExplanationTrees:
        """Return the trees of the p50. Raises `UsageError` if the bundle has no explanations."""
        if self._explanation_trees is None:
            raise UsageError(
                f"{self.manifest.id} has no explanations: its model quantile doesn't consist of trees of CatBoost.",
                "To get explanations, train without a custom model of that name.",
            )
        return self._explanation_trees

    def explain(
        self, orders: OrderColumns, kitchens: tuple[NDArray[np.bool_], KitchenStates] | None = None
    ) -> Explanations:
        """Return how many seconds each feature adds to the p50 of N orders, in the same order. N can be 0.

        The first explanation prepares the trees, which takes tens of milliseconds.

        Args:
            orders: N orders, as known at acknowledgement.
            kitchens: A mask [N] of the orders whose state of the kitchen is known, and these states. As in `predict`,
                the live model predicts these orders, if the bundle has one, so its p50 is explained.

        Raises:
            UsageError: The bundle has no explanations.
        """
        trees = self.require_explanations()
        p50 = self.predict(orders, (), kitchens).default
        X = self.features(orders)
        features = explained_features(self.history.feature_set, with_kitchen=self.has_live_model)
        is_live = np.zeros(len(orders), np.bool_)
        base, contributions = np.empty(len(orders)), np.zeros((len(orders), len(features)))
        if kitchens is not None and trees.live is not None:
            is_live, states = kitchens
            usual_seconds = self.history.lookup(orders.take(is_live))
            live_X = np.hstack([X[is_live], live_features(states, usual_seconds)])
            base[is_live], contributions[is_live] = trees.live.base_seconds, trees.live.contributions(live_X)
        if not is_live.all():
            base[~is_live] = trees.quantile.base_seconds
            contributions[~is_live, : X.shape[1]] = trees.quantile.contributions(X[~is_live])
        groups = feature_groups(self.history.feature_set, with_kitchen=self.has_live_model)
        return Explanations(p50, base, contributions, features, groups, is_live)

    def check_explanations(
        self,
        orders: OrderColumns,
        features: NDArray[np.float32],
        quantiles: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> None:
        """Check the golden orders' explanations, if the bundle has some. See `explanations_file.check_explanations`."""
        if self._explanation_trees is not None:
            check_explanations(self._explanation_trees, self.history, orders, features, quantiles)

    def warm_up(self) -> None:
        """Predict one order of an unknown restaurant a few times, so that the first real order is as fast as others."""
        unknown = np.array([UNKNOWN_CODE], np.int32)
        order = OrderColumns(
            acknowledged_at=np.array([0]),
            restaurant_id=np.array([UNKNOWN_RESTAURANT_KEY]),
            order_value=np.array([1.0]),
            number_of_items=np.array([1]),
            country=unknown,
            city=unknown,
            type_of_food=unknown,
        )
        kitchens = np.array([True]), KitchenStates.from_rows([(0, 0, 0)])
        for _ in range(_WARM_UP_RUNS):
            self.predict(order)
            self.predict(order, (), kitchens)

    def training_files(self) -> dict[str, bytes]:
        """Return the report and the evaluation of the training run by file name, as far as the bundle has them.

        This and the next three methods read the folder again, and raise `BundleVerificationError` if a file changed.
        """
        return {name: self._read_again(name) for name in TRAINING_FILES if name in self.manifest.files}

    def golden_orders(self) -> OrderColumns:
        """Return the golden orders."""
        return to_order_columns(decode_golden(self._read_again(GOLDEN_FILE)).orders)

    def graph_files(self) -> dict[str, bytes]:
        """Return the ONNX graphs by file name."""
        return {name: self._read_again(name) for name in GRAPH_FILES if name in self.manifest.files}

    def model_files(self) -> dict[str, bytes]:
        """Return the ONNX graphs, and the explanations if the bundle has some, by file name."""
        return {name: self._read_again(name) for name in MODEL_FILES if name in self.manifest.files}

    def _read_again(self, name: str) -> bytes:
        if self.fetch_again is not None and not (self.folder / name).is_file():
            self.fetch_again()
        return read_verified_file(self.folder, name, self.manifest.files[name])


def _check_predictions(bundle: Bundle, contents: BundleContents) -> None:
    """Raise `BundleVerificationError` unless the golden orders have the stored features and predictions."""
    golden = decode_golden(contents.files[GOLDEN_FILE])
    with damage_reported(GOLDEN_FILE, "golden orders"), np.errstate(all="ignore"):
        orders = to_order_columns(golden.orders)
        check_golden_orders(orders, bundle.manifest)
        features = bundle.features(orders)
    if not np.isfinite(features).all():
        raise refused_bundle_error(GOLDEN_FILE, "orders with finite features", "a feature that isn't finite")
    with damage_reported(MODEL_FILE, "graphs that predict the golden orders"):
        predictions = bundle.predict(orders)
        default_only = bundle.predict(orders, ()).quantiles
        live_quantiles = predict_golden_live(bundle.graphs, bundle.history, orders, features)
    with damage_reported(GOLDEN_FILE, "predictions of the golden orders"), np.errstate(all="ignore"):
        check_golden(golden, bundle.history.feature_set.names, features, predictions, live_quantiles)
        bundle.check_explanations(orders, features, (predictions.quantiles, live_quantiles))
    for file, quantiles in ((MODEL_FILE, predictions.quantiles), (LIVE_FILE, live_quantiles)):
        if (quantiles < 0).any() or (np.diff(quantiles, axis=1) < 0).any():
            raise refused_bundle_error(file, "ascending quantiles of 0 s or more", "other quantiles")
    if not np.allclose(default_only, predictions.quantiles, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE_SECONDS):
        raise refused_bundle_error(QUANTILE_FILE, f"the quantiles of {MODEL_FILE}", "different quantiles")


def fetch_verified(store: Store, bundle_id: str, *, checked_sha256: str | None = None) -> Bundle:
    """Fetch a bundle from the store, and load it with every check (see `Bundle.load`).

    Raises `UsageError` for an unknown bundle, `BundleVerificationError`, or `StoreError`.
    """
    bundle = read_fetched(store, bundle_id, partial(Bundle.load, checked_sha256=checked_sha256))
    if bundle.manifest.id != bundle_id:
        raise refused_bundle_error(f"{bundle_id}/{MANIFEST_FILE}", f"id {bundle_id}", bundle.manifest.id)
    bundle.fetch_again = partial(store.fetch, bundle_id)
    return bundle


def read_fetched(store: Store, bundle_id: str, read: Callable[[Path], _Result]) -> _Result:
    """Fetch a bundle, and return what `read` returns for its folder.

    If `read` finds damage, and only the cached copy of a remote bundle was damaged, it's called again with a new copy.
    Raises the errors of `Store.fetch` and `read`.
    """
    try:
        return read(store.fetch(bundle_id))
    except BundleVerificationError:
        if not store.update_cached_copy(bundle_id):
            raise
    return read(store.fetch(bundle_id))


def load_history(folder: Path) -> History:
    """Return only the history of the bundle in a folder. Its golden orders aren't checked.

    Raises `BundleVerificationError`, or `UsageError` if the folder isn't a bundle.
    """
    contents = read_contents(folder)
    return parse_history(contents.manifest, contents.files)


def read_contents(folder: Path) -> BundleContents:
    """Read the files of a bundle's folder once, and verify them.

    The folder must contain exactly the files in the manifest, with their sizes and hashes. The arrays must be those of
    this format.

    Raises `BundleVerificationError`, or `UsageError` if the folder isn't a bundle.
    """
    if not (folder / MANIFEST_FILE).is_file():
        raise UsageError(f"{folder} is not a bundle: it has no {MANIFEST_FILE}.", "Pass the folder of one bundle.")
    raw_manifest = (folder / MANIFEST_FILE).read_bytes()
    manifest = decode_manifest(raw_manifest)
    features = FeatureSet.from_schema(manifest.schema)
    check_vocabularies(manifest.vocabularies, features)
    present = list_files(folder) - {MANIFEST_FILE}
    for name in sorted(present ^ manifest.files.keys()):
        if name in present:
            raise refused_bundle_error(name, "no file", "a file", "Delete the file.")
        raise refused_bundle_error(name, "a file", "no file")
    check_arrays(manifest.arrays, manifest.vocabularies, features)
    required = {MODEL_FILE, QUANTILE_FILE, GOLDEN_FILE} | {array_file(name) for name in manifest.arrays}
    required |= {EXPLANATIONS_FILE} & manifest.files.keys()
    if manifest.live_calibration is not None:
        required |= {LIVE_FILE}
    for name in sorted(required - manifest.files.keys()):
        raise refused_bundle_error(name, "a file", "no file")
    contents = {name: read_verified_file(folder, name, expected) for name, expected in manifest.files.items()}
    return BundleContents(
        manifest, hashlib.sha256(raw_manifest).hexdigest(), {name: contents[name] for name in required}
    )


def parse_history(manifest: Manifest, files: Mapping[str, bytes]) -> History:
    """Return the history in the files of a bundle.

    Raises `BundleVerificationError` unless each array has the type and shape in the manifest, and valid values.
    """
    arrays = {name: parse_array(name, files[array_file(name)], info) for name, info in manifest.arrays.items()}
    features = FeatureSet.from_schema(manifest.schema)
    history = History.from_arrays(manifest.date.isoformat(), manifest.vocabularies, arrays, features)
    check_history(history)
    return history


def read_verified_file(folder: Path, name: str, expected: FileInfo) -> bytes:
    """Return the content of a file. Raises `BundleVerificationError` unless it's the one in the manifest."""
    path = folder / name
    if not path.is_file():
        raise refused_bundle_error(name, "a file", "no regular file" if path.exists() else "no file")
    if (size := path.stat().st_size) != expected.size_bytes:
        raise refused_bundle_error(name, f"{expected.size_bytes} bytes", str(size))
    content = path.read_bytes()
    if (sha256 := hashlib.sha256(content).hexdigest()) != expected.sha256:
        raise refused_bundle_error(name, f"SHA-256 {expected.sha256}", sha256)
    return content
