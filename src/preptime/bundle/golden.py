"""Golden orders: what a bundle answered when it was made, so that code which answers otherwise is found out."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.manifest import GOLDEN, refused
from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.domain.prediction import LEVELS, Predictions

GOLDEN_ORDERS = 50
ABSOLUTE_SECONDS = 0.01
RELATIVE = 1e-5
"""The export's parity bound (D2), which is also what another processor's arithmetic may differ by."""

_STRANGERS = 8
_NOBODY = -1
"""A restaurant id that no directory holds."""


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`OrderColumns` as lists."""

    acknowledged_at: tuple[int, ...]
    restaurant_id: tuple[int, ...]
    order_value_gbp: tuple[float, ...]
    number_of_items: tuple[int, ...]
    country: tuple[int, ...]
    city: tuple[int, ...]
    type_of_food: tuple[int, ...]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`golden.json`. Every number is finite; float32 values are written in full, so they come back bit for bit."""

    orders: Orders
    features: tuple[tuple[float, ...], ...]
    points: dict[str, tuple[float, ...]]
    quantiles: tuple[tuple[float, ...], ...]
    basis: tuple[int, ...]


def choose_golden(orders: OrderColumns) -> OrderColumns:
    """50 orders evenly from `orders` (at least one), the last eight made strangers to the history.

    Those eight are of a restaurant nobody knows, in turn also of an unknown city, food and both, so that every level a
    prediction can fall back to is pinned down.
    """
    rows = np.linspace(0, len(orders) - 1, GOLDEN_ORDERS).round().astype(np.intp)
    chosen = orders.take(rows)
    strangers = np.arange(GOLDEN_ORDERS) >= GOLDEN_ORDERS - _STRANGERS
    turn = np.arange(GOLDEN_ORDERS) % 4
    return OrderColumns(
        acknowledged_at=chosen.acknowledged_at,
        restaurant_id=np.where(strangers, _NOBODY, chosen.restaurant_id),
        order_value_gbp=chosen.order_value_gbp,
        number_of_items=chosen.number_of_items,
        country=chosen.country,
        city=np.where(strangers & (turn % 2 == 1), UNKNOWN, chosen.city).astype(np.int32),
        type_of_food=np.where(strangers & (turn >= 2), UNKNOWN, chosen.type_of_food).astype(np.int32),
    )


def encode_golden(orders: OrderColumns, features: NDArray[np.float32], predictions: Predictions) -> bytes:
    """`golden.json` for orders [N], their features [N, F] and what was predicted from them."""
    columns = {name: getattr(orders, name).tolist() for name in Orders.__struct_fields__}
    points = {name: values.tolist() for name, values in sorted(predictions.points.items())}
    return msgspec.json.encode(
        {
            "orders": columns,
            "features": features.tolist(),
            "points": points,
            "quantiles": predictions.quantiles.tolist(),
            "basis": predictions.basis.tolist(),
        }
    )


def decode_golden(raw: bytes) -> Golden:
    """Read `golden.json`. Raises `RefusedBundleError`."""
    try:
        return msgspec.json.decode(raw, type=Golden)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused(GOLDEN, "golden orders", str(error)) from error


def golden_columns(orders: Orders) -> OrderColumns:
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


def compare(golden: Golden, names: tuple[str, ...], features: NDArray[np.float32], found: Predictions) -> None:
    """Refuse (`RefusedBundleError`) unless the features are equal and the predictions within the bound.

    `names` are the features' names; `features` [N, F] and `found` are what this code computes for the stored orders.
    """
    stored = np.array(golden.features, np.float32)
    if stored.shape != features.shape:
        raise refused(GOLDEN, f"features of shape {features.shape}", str(stored.shape))
    differs = stored != features
    if differs.any():
        row, column = (int(place) for place in np.argwhere(differs)[0])
        was, now = float(stored[row, column]), float(features[row, column])
        raise refused(GOLDEN, f"{names[column]} = {was!r} of golden order {row}", repr(now), _CODE_CHANGED)
    if golden.basis != tuple(found.basis.tolist()):
        raise refused(GOLDEN, f"basis {golden.basis}", str(tuple(found.basis.tolist())), _CODE_CHANGED)
    if golden.points.keys() != found.points.keys():
        raise refused(GOLDEN, f"predictions of {sorted(found.points)}", str(sorted(golden.points)))
    for name, values in found.points.items():
        _compare_seconds(name, np.array(golden.points[name], np.float32), values)
    for column, level in enumerate(LEVELS):
        stored_level = np.array([row[column] if column < len(row) else np.nan for row in golden.quantiles], np.float32)
        _compare_seconds(f"p{level * 100:.0f}", stored_level, found.quantiles[:, column])


_CODE_CHANGED = "This preptime computes features otherwise than the one that made the bundle: train or refresh with it."


def _compare_seconds(name: str, stored: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    if stored.shape != found.shape:
        raise refused(GOLDEN, f"{len(found)} predictions of {name}", str(len(stored)))
    # Written so that a NaN on either side counts as a difference.
    differs = ~(np.abs(stored - found) <= ABSOLUTE_SECONDS + RELATIVE * np.abs(stored))
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise refused(GOLDEN, f"{name} = {float(stored[row])} s for golden order {row}", f"{float(found[row])} s")
