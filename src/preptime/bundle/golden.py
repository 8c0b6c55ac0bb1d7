"""Golden orders: what a bundle answered when it was made, so that code which answers otherwise is found out."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.manifest import GOLDEN_FILE, refused_bundle_error
from preptime.domain.order import UNKNOWN_CODE, OrderColumns
from preptime.domain.prediction import QUANTILE_LEVELS, Predictions

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
