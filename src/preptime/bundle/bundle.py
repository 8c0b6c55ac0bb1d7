"""Golden orders: what a bundle answered when it was made, so that code which answers otherwise is found out.

A folder is looked at before anything is built from it.

A bundle: models, history and manifest, opened. The only thing that predicts.
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
    REPORT_FILE,
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
"""The export's parity bound (D2), which is also what another processor's arithmetic may differ by."""

_UNKNOWN_RESTAURANT_COUNT = 8
_UNKNOWN_RESTAURANT_ID = -1
"""A restaurant id that no directory holds."""


class GoldenOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`OrderColumns` as lists."""

    acknowledged_at: tuple[int, ...]
    restaurant_id: tuple[int, ...]
    order_value_gbp: tuple[float, ...]
    number_of_items: tuple[int, ...]
    country: tuple[int, ...]
    city: tuple[int, ...]
    type_of_food: tuple[int, ...]


class GoldenDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`golden.json`. Every number is finite; float32 values are written in full, so they come back bit for bit."""

    orders: GoldenOrders
    features: tuple[tuple[float, ...], ...]
    points: dict[str, tuple[float, ...]]
    quantiles: tuple[tuple[float, ...], ...]
    fallback_level: tuple[int, ...]


def choose_golden_orders(orders: OrderColumns) -> OrderColumns:
    """50 orders evenly from `orders` (at least one), the last eight made strangers to the history.

    Those eight are of a restaurant nobody knows, in turn also of an unknown city, food and both, so that every level a
    prediction can fall back to is pinned down.
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
    """`golden.json` for orders [N], their features [N, F] and what was predicted from them."""
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
    """Read `golden.json`. Raises `BundleVerificationError`."""
    try:
        return msgspec.json.decode(raw, type=GoldenDocument)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused_bundle_error(GOLDEN_FILE, "golden orders", str(error)) from error


def to_order_columns(orders: GoldenOrders) -> OrderColumns:
    """The stored orders as the columns that features are computed from."""
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
    """Refuse (`BundleVerificationError`) unless the features are equal and the predictions within the bound.

    `names` are the features' names; `features` [N, F] and `found` are what this code computes for the stored orders.
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


_CODE_CHANGED_HINT = (
    "This preptime computes features otherwise than the one that made the bundle: train or refresh with it."
)


def _check_seconds(name: str, stored: NDArray[np.float32], predicted: NDArray[np.float32]) -> None:
    if stored.shape != predicted.shape:
        raise refused_bundle_error(GOLDEN_FILE, f"{len(predicted)} predictions of {name}", str(len(stored)))
    # Written so that a NaN on either side counts as a difference.
    differs = ~(np.abs(stored - predicted) <= ABSOLUTE_TOLERANCE_SECONDS + RELATIVE_TOLERANCE * np.abs(stored))
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise refused_bundle_error(
            GOLDEN_FILE, f"{name} = {float(stored[row])} s for golden order {row}", f"{float(predicted[row])} s"
        )


def verify_folder(folder: Path, *, hashes: bool) -> Manifest:
    """The manifest of a folder that holds exactly the files it names, each of its size and, with `hashes`, its hash.

    The arrays it names are those of this format, with a file each.

    Raises `BundleVerificationError`, or `UsageError` when there is no bundle at all.
    """
    try:
        manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is not a bundle: it has no {MANIFEST_FILE}.", "Give the folder of one bundle."
        ) from None
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST_FILE}
    for name in sorted(present ^ manifest.files.keys()):
        is_present = name in present
        raise refused_bundle_error(name, "no such file" if is_present else "a file", "one" if is_present else "none")
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected, hashes=hashes)
    check_arrays(manifest.arrays, manifest.vocabularies)
    required = {MODEL_FILE, GOLDEN_FILE} | {f"{HISTORY_FOLDER}/{name}.npy" for name in manifest.arrays}
    for name in sorted(required - manifest.files.keys()):
        raise refused_bundle_error(name, "a file", "none")
    return manifest


def open_arrays(folder: Path, manifest: Manifest) -> dict[str, NDArray[np.generic]]:
    """The history's arrays, mapped from their files; each of the type and shape that the manifest names."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, expected in manifest.arrays.items():
        file = f"{HISTORY_FOLDER}/{name}.npy"
        try:
            # A mapping of nothing is an error on every system: an empty array is read.
            empty = 0 in expected.shape
            array: NDArray[np.generic] = np.load(folder / file, mmap_mode=None if empty else "r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise refused_bundle_error(file, "an array", f"none ({error})") from error
        if (array.dtype.str, array.shape) != (expected.dtype, expected.shape):
            raise refused_bundle_error(
                file, f"{expected.dtype}{list(expected.shape)}", f"{array.dtype.str}{list(array.shape)}"
            )
        arrays[name] = array
    return arrays


def _check_file(folder: Path, name: str, expected: FileInfo, *, hashes: bool) -> None:
    path = folder / name
    size = path.stat().st_size
    if size != expected.size_bytes:
        raise refused_bundle_error(name, f"{expected.size_bytes} bytes", str(size))
    if hashes:
        actual = _sha256(path)
        if actual != expected.sha256:
            raise refused_bundle_error(name, f"SHA-256 {expected.sha256}", actual)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
