"""Golden orders: orders with stored features and predictions, which loading a bundle computes again and compares."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.graph import BundleGraphs
from preptime.bundle.manifest import GOLDEN_FILE, Manifest, damage_reported, named_vocabularies, refused_bundle_error
from preptime.domain.orders import QUANTILE_LEVELS, UNKNOWN_CODE, OrderColumns, Predictions
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.features.feature_set import FeatureSet
from preptime.features.history import History
from preptime.features.kitchen import LOG_UNITS, RECENT_ORDERS, KitchenStates, live_features

GOLDEN_ORDER_COUNT = 50
ABSOLUTE_TOLERANCE_SECONDS = 0.01
RELATIVE_TOLERANCE = 1e-5
"""The parity limit of the ONNX export (decision 2). The arithmetic of another processor stays within it."""

_UNKNOWN_RESTAURANT_COUNT = 8
_CODE_CHANGED_HINT = (
    "This preptime release computes different features than the one that made the bundle. Train or refresh with it."
)


class GoldenOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The golden orders: the columns of `OrderColumns` as lists."""

    acknowledged_at: tuple[int, ...]
    restaurant_id: tuple[int, ...]
    order_value: tuple[float, ...]
    number_of_items: tuple[int, ...]
    country: tuple[int, ...]
    city: tuple[int, ...]
    type_of_food: tuple[int, ...]
    numbers: tuple[tuple[float | None, ...], ...] = ()
    """Custom numbers, one tuple per order. None means missing."""
    categories: tuple[tuple[int, ...], ...] = ()
    """Codes of custom categories, one tuple per order."""


class GoldenDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `golden.json`. Numbers are finite, and reading restores every bit of a float32."""

    orders: GoldenOrders
    features: tuple[tuple[float, ...], ...]
    points: dict[str, tuple[float, ...]]
    quantiles: tuple[tuple[float, ...], ...]
    live_quantiles: tuple[tuple[float, ...], ...] = ()
    """The quantiles with the states `_golden_kitchens`, if the bundle has a live model."""
    fallback_level: tuple[int, ...]


def choose_golden_orders(orders: OrderColumns) -> OrderColumns:
    """Return 50 orders, evenly sampled from `orders` (at least one), the last eight with an unknown restaurant.

    Some of those eight also have an unknown city, an unknown type of food, or both, so that the golden orders cover
    every fallback level. All eight lack every custom feature.
    """
    rows = np.linspace(0, len(orders) - 1, GOLDEN_ORDER_COUNT).round().astype(np.intp)
    sampled = orders.take(rows)
    is_unknown = np.arange(GOLDEN_ORDER_COUNT) >= GOLDEN_ORDER_COUNT - _UNKNOWN_RESTAURANT_COUNT
    variant = np.arange(GOLDEN_ORDER_COUNT) % 4
    return replace(
        sampled,
        restaurant_id=np.where(is_unknown, UNKNOWN_RESTAURANT_KEY, sampled.restaurant_id),
        city=np.where(is_unknown & (variant % 2 == 1), UNKNOWN_CODE, sampled.city).astype(np.int32),
        type_of_food=np.where(is_unknown & (variant >= 2), UNKNOWN_CODE, sampled.type_of_food).astype(np.int32),
        numbers=None if sampled.numbers is None else np.where(is_unknown[:, None], np.nan, sampled.numbers),
        categories=None
        if sampled.categories is None
        else np.where(is_unknown[:, None], UNKNOWN_CODE, sampled.categories).astype(np.int32),
    )


def encode_golden(
    orders: OrderColumns,
    features: NDArray[np.float32],
    predictions: Predictions,
    live_quantiles: NDArray[np.float32],
) -> bytes:
    """Return the content of `golden.json` for N orders, their features [N, F], and their predictions."""
    columns = {
        name: column.tolist()
        for name in GoldenOrders.__struct_fields__
        if (column := getattr(orders, name)) is not None
    }
    if orders.numbers is not None:
        columns["numbers"] = [[None if np.isnan(value) else value for value in row] for row in orders.numbers.tolist()]
    points = {name: values.tolist() for name, values in sorted(predictions.points.items())}
    return msgspec.json.encode(
        {
            "orders": columns,
            "features": features.tolist(),
            "points": points,
            "quantiles": predictions.quantiles.tolist(),
            "live_quantiles": live_quantiles.tolist(),
            "fallback_level": predictions.fallback_level.tolist(),
        }
    )


def decode_golden(raw: bytes) -> GoldenDocument:
    """Return the decoded content of `golden.json`. Raises `BundleVerificationError` if it's invalid."""
    with damage_reported(GOLDEN_FILE, "golden orders"):
        return msgspec.json.decode(raw, type=GoldenDocument)


def to_order_columns(orders: GoldenOrders) -> OrderColumns:
    """Return the golden orders as columns."""
    return OrderColumns(
        acknowledged_at=np.array(orders.acknowledged_at, np.int64),
        restaurant_id=np.array(orders.restaurant_id, np.int64),
        order_value=np.array(orders.order_value, np.float64),
        number_of_items=np.array(orders.number_of_items, np.int64),
        country=np.array(orders.country, np.int32),
        city=np.array(orders.city, np.int32),
        type_of_food=np.array(orders.type_of_food, np.int32),
        numbers=np.array(orders.numbers, np.float64) if orders.numbers else None,
        categories=np.array(orders.categories, np.int32) if orders.categories else None,
    )


def check_golden_orders(orders: OrderColumns, manifest: Manifest) -> None:
    """Raise `BundleVerificationError` unless there are orders, and their codes are positions in the vocabularies."""
    lengths = {len(part) for name in GoldenOrders.__struct_fields__ if (part := getattr(orders, name)) is not None}
    if len(lengths) != 1 or lengths == {0}:
        raise refused_bundle_error(GOLDEN_FILE, "columns with the same number of orders", f"{sorted(lengths)} orders")
    features = FeatureSet.from_schema(manifest.schema)
    for name, width in (("numbers", len(features.order_numbers)), ("categories", len(features.categories))):
        values = getattr(orders, name)
        shape = (len(orders), 0) if values is None else values.shape
        if shape != (len(orders), width):
            raise refused_bundle_error(GOLDEN_FILE, f"{name} of shape {(len(orders), width)}", str(shape))
    codes_by_name = {name: getattr(orders, name) for name in ("country", "city", "type_of_food")}
    if orders.categories is not None:
        codes_by_name |= dict(zip((feature.name for feature in features.categories), orders.categories.T, strict=True))
    vocabularies = named_vocabularies(manifest.vocabularies, features)
    for name, codes in codes_by_name.items():
        vocabulary_size = len(vocabularies[name])
        outside = codes[(codes < UNKNOWN_CODE) | (codes >= vocabulary_size)]
        if len(outside):
            expected = f"codes of {name} from {UNKNOWN_CODE} to {vocabulary_size - 1}"
            raise refused_bundle_error(GOLDEN_FILE, expected, str(outside[0]))


def check_golden(
    golden: GoldenDocument,
    feature_names: tuple[str, ...],
    features: NDArray[np.float32],
    predictions: Predictions,
    live_quantiles: NDArray[np.float32],
) -> None:
    """Raise `BundleVerificationError` unless the stored features are equal and the predictions within the tolerance.

    Args:
        golden: The stored golden orders.
        feature_names: Names of the F features.
        features: The features that this code computes for the golden orders, [N, F].
        predictions: The predictions that this code computes for the golden orders.
        live_quantiles: The live quantiles that this code computes for them, [N, 4] or [0, 4].
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
    _check_quantiles("", golden.quantiles, predictions.quantiles)
    _check_quantiles("live ", golden.live_quantiles, live_quantiles)


def _check_quantiles(kind: str, stored: tuple[tuple[float, ...], ...], predicted: NDArray[np.float32]) -> None:
    for column, level in enumerate(QUANTILE_LEVELS):
        stored_level = np.array([row[column] if column < len(row) else np.nan for row in stored], np.float32)
        _check_seconds(f"{kind}p{level * 100:.0f}", stored_level, predicted[:, column])


def _check_seconds(name: str, stored: NDArray[np.float32], predicted: NDArray[np.float32]) -> None:
    if stored.shape != predicted.shape:
        raise refused_bundle_error(GOLDEN_FILE, f"{len(predicted)} predictions of {name}", str(len(stored)))
    # The negation makes NaN on either side a difference.
    differs = ~(np.abs(stored - predicted) <= ABSOLUTE_TOLERANCE_SECONDS + RELATIVE_TOLERANCE * np.abs(predicted))
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise refused_bundle_error(
            GOLDEN_FILE, f"{name} = {float(stored[row])} s for golden order {row}", f"{float(predicted[row])} s"
        )


def predict_golden_live(
    graphs: BundleGraphs, history: History, orders: OrderColumns, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the live quantiles of the golden orders, [N, 4], or [0, 4] if the bundle has no live model."""
    if graphs.live is None:
        return np.empty((0, len(QUANTILE_LEVELS)), np.float32)
    return graphs.live.run_quantiles(golden_live_features(history, orders, features))


def golden_live_features(history: History, orders: OrderColumns, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the features [N, F] of the golden orders, followed by the live features."""
    return np.hstack([features, live_features(_golden_kitchens(len(orders)), history.lookup(orders))])


def _golden_kitchens(order_count: int) -> KitchenStates:
    """Return different states of the kitchens of the golden orders."""
    number = np.arange(order_count)
    recent = number % (RECENT_ORDERS + 1)
    return KitchenStates(number % 7, recent, recent * LOG_UNITS[300 + 20 * (number % GOLDEN_ORDER_COUNT)])
