"""A bundle: models, history, and manifest. It's the only object that predicts.

Loading verifies the folder before anything is built from it. It then predicts the golden orders, whose features and
predictions are stored in the bundle, and compares the results. This detects code that computes other values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.graph import OnnxGraph
from preptime.bundle.manifest import (
    GOLDEN_FILE,
    HISTORY_FOLDER,
    MANIFEST_FILE,
    MODEL_FILE,
    TRAINING_FILES,
    FileInfo,
    Manifest,
    check_arrays,
    decode_manifest,
    refused_bundle_error,
)
from preptime.bundle.store import Store
from preptime.domain.orders import QUANTILE_LEVELS, UNKNOWN_CODE, OrderColumns, Predictions
from preptime.errors import BundleVerificationError, UsageError
from preptime.features.history import History, feature_matrix
from preptime.features.spec import FEATURE_NAMES

GOLDEN_ORDER_COUNT = 50
ABSOLUTE_TOLERANCE_SECONDS = 0.01
RELATIVE_TOLERANCE = 1e-5
"""The parity limit of the ONNX export (decision 2). The arithmetic of another processor stays within it."""

_UNKNOWN_RESTAURANT_COUNT = 8
_UNKNOWN_RESTAURANT_ID = -1
"""An id that isn't in any restaurant index."""

_CODE_CHANGED_HINT = (
    "This preptime release computes different features than the one that made the bundle. Train or refresh with it."
)


class Bundle:
    """A verified, loaded bundle. Threads can share it."""

    def __init__(self, folder: Path, manifest: Manifest, history: History, graph: OnnxGraph) -> None:
        self.folder = folder
        self.manifest = manifest
        self.history = history
        self.graph = graph

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> Bundle:
        """Verify and load the bundle in a folder, and check its golden orders.

        Args:
            folder: The folder of one bundle.
            verify: Whether to check the files' hashes. Pass False only for a folder that this machine has verified
                already. Names, sizes, and golden orders are always checked.

        Raises:
            BundleVerificationError: The bundle is damaged, or this release can't use it.
            UsageError: The folder isn't a bundle.
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
                "Train or refresh with this preptime release.",
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
            raise refused_bundle_error(
                MODEL_FILE, "the same quantiles with and without the other models", "different quantiles"
            )
        return bundle

    def features(self, orders: OrderColumns) -> NDArray[np.float32]:
        """Return the features of the orders, float32 [N, F]."""
        return feature_matrix(orders, self.history)

    def predict(self, orders: OrderColumns, models: Collection[str] | None = None) -> Predictions:
        """Return predictions for N orders, in the same order. N can be 0.

        Args:
            orders: N orders, as known at acknowledgement.
            models: Names of the point models to compute. None computes all of them. The quantiles are always computed;
                without point models, a prediction takes one third less time.

        Raises:
            KeyError: The bundle doesn't contain a model of that name.
        """
        row_index = self.history.row_index(orders)
        features = feature_matrix(orders, self.history, row_index)
        fallback_level = self.history.fallback_level[row_index]
        if models is not None and not models:
            return Predictions({}, self.graph.run_default(features), fallback_level)
        points, quantiles = self.graph.run(features)
        if models is not None:
            points = {name: points[name] for name in models}
        return Predictions(points, quantiles, fallback_level)

    def training_files(self) -> dict[str, bytes]:
        """Return the report and the evaluation of the training run by file name, as far as the bundle has them."""
        return {name: (self.folder / name).read_bytes() for name in TRAINING_FILES if name in self.manifest.files}

    def golden_orders(self) -> OrderColumns:
        """Return the golden orders."""
        return to_order_columns(decode_golden((self.folder / GOLDEN_FILE).read_bytes()).orders)

    def model_bytes(self) -> bytes:
        """Return the ONNX graph as bytes."""
        return (self.folder / MODEL_FILE).read_bytes()


def fetch_verified(store: Store, bundle_id: str) -> Bundle:
    """Fetch a bundle from the store, and load it with every check.

    Raises `UsageError` for an unknown bundle, `BundleVerificationError`, or `StoreError`.
    """
    try:
        bundle = Bundle.load(store.fetch(bundle_id))
    except BundleVerificationError:
        store.drop_cached_copy(bundle_id)  # maybe only the cached copy is damaged
        raise
    if bundle.manifest.id != bundle_id:
        raise refused_bundle_error(f"{bundle_id}/{MANIFEST_FILE}", f"id {bundle_id}", bundle.manifest.id)
    return bundle


def verify_folder(folder: Path, *, hashes: bool) -> Manifest:
    """Verify the files of a bundle's folder and return its manifest.

    The folder must contain exactly the files in the manifest, with their sizes and, if `hashes` is true, their hashes.
    The arrays must be those of this format.

    Raises `BundleVerificationError`, or `UsageError` if the folder isn't a bundle.
    """
    try:
        manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is not a bundle: it has no {MANIFEST_FILE}.", "Pass the folder of one bundle."
        ) from None
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST_FILE}
    for name in sorted(present ^ manifest.files.keys()):
        expected_and_actual = ("no file", "a file") if name in present else ("a file", "no file")
        raise refused_bundle_error(name, *expected_and_actual)
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected, hashes=hashes)
    check_arrays(manifest.arrays, manifest.vocabularies)
    required = {MODEL_FILE, GOLDEN_FILE} | {f"{HISTORY_FOLDER}/{name}.npy" for name in manifest.arrays}
    for name in sorted(required - manifest.files.keys()):
        raise refused_bundle_error(name, "a file", "no file")
    return manifest


def open_arrays(folder: Path, manifest: Manifest) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the history, memory-mapped, by name.

    Raises `BundleVerificationError` unless each has the type and shape in the manifest.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, expected in manifest.arrays.items():
        file = f"{HISTORY_FOLDER}/{name}.npy"
        try:
            # Mapping an empty file is an error on every system, so an empty array is read instead.
            empty = 0 in expected.shape
            array: NDArray[np.generic] = np.load(folder / file, mmap_mode=None if empty else "r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise refused_bundle_error(file, "an array", f"no array ({error})") from error
        if (array.dtype.str, array.shape) != (expected.dtype, expected.shape):
            raise refused_bundle_error(
                file, f"{expected.dtype}{list(expected.shape)}", f"{array.dtype.str}{list(array.shape)}"
            )
        arrays[name] = array
    return arrays


class GoldenOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The golden orders: the columns of `OrderColumns` as lists."""

    acknowledged_at: tuple[int, ...]
    restaurant_id: tuple[int, ...]
    order_value_gbp: tuple[float, ...]
    number_of_items: tuple[int, ...]
    country: tuple[int, ...]
    city: tuple[int, ...]
    type_of_food: tuple[int, ...]


class GoldenDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `golden.json`. Numbers are finite, and reading restores every bit of a float32."""

    orders: GoldenOrders
    features: tuple[tuple[float, ...], ...]
    points: dict[str, tuple[float, ...]]
    quantiles: tuple[tuple[float, ...], ...]
    fallback_level: tuple[int, ...]


def choose_golden_orders(orders: OrderColumns) -> OrderColumns:
    """Return 50 orders, evenly sampled from `orders` (at least one), the last eight with an unknown restaurant.

    Some of those eight also have an unknown city, an unknown type of food, or both, so that the golden orders cover
    every fallback level.
    """
    rows = np.linspace(0, len(orders) - 1, GOLDEN_ORDER_COUNT).round().astype(np.intp)
    sampled = orders.take(rows)
    is_unknown = np.arange(GOLDEN_ORDER_COUNT) >= GOLDEN_ORDER_COUNT - _UNKNOWN_RESTAURANT_COUNT
    variant = np.arange(GOLDEN_ORDER_COUNT) % 4
    return OrderColumns(
        acknowledged_at=sampled.acknowledged_at,
        restaurant_id=np.where(is_unknown, _UNKNOWN_RESTAURANT_ID, sampled.restaurant_id),
        order_value_gbp=sampled.order_value_gbp,
        number_of_items=sampled.number_of_items,
        country=sampled.country,
        city=np.where(is_unknown & (variant % 2 == 1), UNKNOWN_CODE, sampled.city).astype(np.int32),
        type_of_food=np.where(is_unknown & (variant >= 2), UNKNOWN_CODE, sampled.type_of_food).astype(np.int32),
    )


def encode_golden(orders: OrderColumns, features: NDArray[np.float32], predictions: Predictions) -> bytes:
    """Return the content of `golden.json` for N orders, their features [N, F], and their predictions."""
    columns = {name: getattr(orders, name).tolist() for name in GoldenOrders.__struct_fields__}
    points = {name: values.tolist() for name, values in sorted(predictions.points.items())}
    return msgspec.json.encode(
        {
            "orders": columns,
            "features": features.tolist(),
            "points": points,
            "quantiles": predictions.quantiles.tolist(),
            "fallback_level": predictions.fallback_level.tolist(),
        }
    )


def decode_golden(raw: bytes) -> GoldenDocument:
    """Return the decoded content of `golden.json`. Raises `BundleVerificationError` if it's invalid."""
    try:
        return msgspec.json.decode(raw, type=GoldenDocument)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused_bundle_error(GOLDEN_FILE, "golden orders", str(error)) from error


def to_order_columns(orders: GoldenOrders) -> OrderColumns:
    """Return the golden orders as columns."""
    return OrderColumns(
        acknowledged_at=np.array(orders.acknowledged_at, np.int64),
        restaurant_id=np.array(orders.restaurant_id, np.int64),
        order_value_gbp=np.array(orders.order_value_gbp, np.float64),
        number_of_items=np.array(orders.number_of_items, np.int64),
        country=np.array(orders.country, np.int32),
        city=np.array(orders.city, np.int32),
        type_of_food=np.array(orders.type_of_food, np.int32),
    )


def check_golden(
    golden: GoldenDocument, feature_names: tuple[str, ...], features: NDArray[np.float32], predictions: Predictions
) -> None:
    """Raise `BundleVerificationError` unless the stored features are equal and the predictions within the tolerance.

    Args:
        golden: The stored golden orders.
        feature_names: Names of the F features.
        features: The features that this code computes for the golden orders, [N, F].
        predictions: The predictions that this code computes for the golden orders.
    """
    stored_features = np.array(golden.features, np.float32)
    if stored_features.shape != features.shape:
        raise refused_bundle_error(GOLDEN_FILE, f"features of shape {features.shape}", str(stored_features.shape))
    differs = stored_features != features
    if differs.any():
        row, column = (int(index) for index in np.argwhere(differs)[0])
        stored_value, computed_value = float(stored_features[row, column]), float(features[row, column])
        raise refused_bundle_error(
            GOLDEN_FILE,
            f"{feature_names[column]} = {stored_value!r} of golden order {row}",
            repr(computed_value),
            _CODE_CHANGED_HINT,
        )
    if golden.fallback_level != tuple(predictions.fallback_level.tolist()):
        raise refused_bundle_error(
            GOLDEN_FILE,
            f"fallback levels {golden.fallback_level}",
            str(tuple(predictions.fallback_level.tolist())),
            _CODE_CHANGED_HINT,
        )
    if golden.points.keys() != predictions.points.keys():
        raise refused_bundle_error(
            GOLDEN_FILE, f"predictions of {sorted(predictions.points)}", str(sorted(golden.points))
        )
    for name, values in predictions.points.items():
        _check_seconds(name, np.array(golden.points[name], np.float32), values)
    for column, level in enumerate(QUANTILE_LEVELS):
        stored_level = np.array([row[column] if column < len(row) else np.nan for row in golden.quantiles], np.float32)
        _check_seconds(f"p{level * 100:.0f}", stored_level, predictions.quantiles[:, column])


def _check_seconds(name: str, stored: NDArray[np.float32], predicted: NDArray[np.float32]) -> None:
    if stored.shape != predicted.shape:
        raise refused_bundle_error(GOLDEN_FILE, f"{len(predicted)} predictions of {name}", str(len(stored)))
    # The negation makes NaN on either side a difference.
    differs = ~(np.abs(stored - predicted) <= ABSOLUTE_TOLERANCE_SECONDS + RELATIVE_TOLERANCE * np.abs(stored))
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise refused_bundle_error(
            GOLDEN_FILE, f"{name} = {float(stored[row])} s for golden order {row}", f"{float(predicted[row])} s"
        )


def _check_file(folder: Path, name: str, expected: FileInfo, *, hashes: bool) -> None:
    path = folder / name
    if (size := path.stat().st_size) != expected.size_bytes:
        raise refused_bundle_error(name, f"{expected.size_bytes} bytes", str(size))
    if hashes and (sha256 := _sha256(path)) != expected.sha256:
        raise refused_bundle_error(name, f"SHA-256 {expected.sha256}", sha256)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
