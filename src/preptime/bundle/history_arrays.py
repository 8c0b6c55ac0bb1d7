"""The arrays of a bundle's history: parsing the bytes of their files, and the invariants of their values.

Arrays are parsed without an interpreter of headers: a file must start with exactly the header that NumPy writes for the
declared type and shape. docs/bundle-format.md lists the invariants; a test compares the page with `INVARIANTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.manifest import HISTORY_FOLDER, ArrayInfo, refused_bundle_error
from preptime.domain.orders import FALLBACK_LEVELS, UNKNOWN_CODE
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.history import History
from preptime.features.spec import HISTORY_FEATURES, MEDIAN_COLUMN

_MAGIC = b"\x93NUMPY\x01\x00"
"""The first bytes of an `.npy` file of version 1.0, which NumPy writes for simple types."""
_HEADER_START = len(_MAGIC) + 2
_MAX_SHOWN_HEADER = 120

_ROUNDING_SECONDS = 0.01
"""Quantiles are ascending before they're rounded to float32."""
_ROUNDING_SHARE = 1e-6

_COLUMNS = {feature.name: column for column, feature in enumerate(HISTORY_FEATURES)}
_QUANTILE_COLUMNS = [_COLUMNS[f"restaurant_p{level}_seconds"] for level in (10, 25, 50, 75, 90)]
_TIME_OF_DAY_COLUMNS = [_COLUMNS["restaurant_first_lunch_second"], _COLUMNS["restaurant_first_dinner_second"]]
_RESTAURANT_LEVEL = FALLBACK_LEVELS.index("restaurant")


@dataclass(frozen=True, slots=True)
class Invariant:
    """A condition on the values of one array. Conditions of an array are checked in order."""

    array: str
    expected: str
    """The condition, for the message and the docs."""
    find_violations: Callable[[History], NDArray[np.bool_]]
    """Returns a mask with the shape of the array that is true where the condition isn't met."""


def _outside_vocabulary(name: str, lowest: int) -> Callable[[History], NDArray[np.bool_]]:
    def find(history: History) -> NDArray[np.bool_]:
        codes: NDArray[np.int32] = getattr(history.restaurants, name)
        return (codes < lowest) | (codes >= len(getattr(history.vocabularies, name)))

    return find


def _unsorted_ids(history: History) -> NDArray[np.bool_]:
    ids = history.restaurants.restaurant_id
    return np.concatenate([np.zeros(min(len(ids), 1), bool), ids[1:] <= ids[:-1]])


def _columns_above(history: History, columns: list[int], maximum: float) -> NDArray[np.bool_]:
    violations = np.zeros(history.rows.shape, bool)
    violations[:, columns] = history.rows[:, columns] > maximum
    return violations


def _crossing_quantiles(history: History) -> NDArray[np.bool_]:
    violations = np.zeros(history.rows.shape, bool)
    quantiles = history.rows[:, _QUANTILE_COLUMNS]
    violations[:, _QUANTILE_COLUMNS[1:]] = quantiles[:, 1:] < quantiles[:, :-1] - _ROUNDING_SECONDS
    return violations


def _groups_with_orders(history: History) -> NDArray[np.bool_]:
    violations = np.zeros(history.rows.shape, bool)
    columns = [_COLUMNS["restaurant_orders"], _COLUMNS["restaurant_orders_per_day"]]
    violations[len(history.restaurants) :, columns] = history.rows[len(history.restaurants) :, columns] != 0
    return violations


def _wrong_restaurant_level(history: History) -> NDArray[np.bool_]:
    """Level 0 means that the restaurant has orders."""
    has_orders = history.rows[:, _COLUMNS["restaurant_orders"]] > 0
    violations: NDArray[np.bool_] = (history.fallback_level == _RESTAURANT_LEVEL) != has_orders
    return violations


def _wrong_group_level(history: History) -> NDArray[np.bool_]:
    """A restaurant without orders has the level of its group."""
    restaurants, size = history.restaurants, len(history.restaurants)
    violations = np.zeros(history.fallback_level.shape, bool)
    group = size + restaurants.group_index(restaurants.city, restaurants.type_of_food)
    own = history.fallback_level[:size]
    violations[:size] = (own != _RESTAURANT_LEVEL) & (own != history.fallback_level[group])
    return violations


def _text_ids(history: History) -> NDArray[np.int64]:
    ids = history.restaurants.restaurant_id
    return ids[ids < 0]


def _ids_without_name(history: History) -> NDArray[np.bool_]:
    """The key of an unknown restaurant, and more negative keys than names."""
    ids = history.restaurants.restaurant_id
    is_text = ids < 0
    violations: NDArray[np.bool_] = (ids == UNKNOWN_RESTAURANT_KEY) | (
        is_text & (np.cumsum(is_text) > len(history.restaurants.names))
    )
    return violations


def _outside_custom_vocabularies(history: History) -> NDArray[np.bool_]:
    restaurants = history.restaurants
    codes = np.empty((0, 0), np.int32) if restaurants.categories is None else restaurants.categories
    owned = [
        len(values)
        for feature, values in zip(history.feature_set.categories, history.vocabularies.custom, strict=True)
        if feature.of == "restaurant"
    ]
    violations: NDArray[np.bool_] = (codes < UNKNOWN_CODE) | (codes >= np.array(owned, np.int32))
    return violations


def _invalid_custom_rows(history: History) -> NDArray[np.bool_]:
    """Indicators that aren't 0 or 1."""
    violations = np.zeros(history.rows.shape, bool)
    first = len(HISTORY_FEATURES) + len(history.feature_set.restaurant_numbers)
    violations[:, first:] = (history.rows[:, first:] != 0) & (history.rows[:, first:] != 1)
    return violations


def _negative_rows(history: History) -> NDArray[np.bool_]:
    violations = np.zeros(history.rows.shape, bool)
    violations[:, : len(HISTORY_FEATURES)] = history.rows[:, : len(HISTORY_FEATURES)] < 0
    return violations


INVARIANTS = (
    Invariant("restaurant_id", "ascending and without duplicates", _unsorted_ids),
    Invariant("restaurant_id", "0 or more, or the key of a name", _ids_without_name),
    Invariant(
        "restaurant_name_ends",
        "ascending ends of the names of all restaurants with a negative key",
        lambda history: history.restaurants.names.invalid_ends(len(_text_ids(history))),
    ),
    Invariant(
        "restaurant_name_ends",
        "ends of names in UTF-8, with 1 to 200 characters, that have the keys of their restaurants",
        lambda history: history.restaurants.names.invalid_texts(_text_ids(history)),
    ),
    Invariant("restaurant_categories", "positions in the custom vocabularies, or -1", _outside_custom_vocabularies),
    *(
        Invariant(name, "a position in the vocabulary, or -1", _outside_vocabulary(name, UNKNOWN_CODE))
        for name in ("country", "city", "type_of_food")
    ),
    Invariant("time_zone", "a position in the vocabulary", _outside_vocabulary("time_zone", 0)),
    Invariant("rows", "finite", lambda history: ~np.isfinite(history.rows)),
    Invariant("rows", "0 or more, except custom numbers", _negative_rows),
    Invariant("rows", "indicators of missing custom numbers that are 0 or 1", _invalid_custom_rows),
    Invariant("rows", "quantiles that ascend from p10 to p90", _crossing_quantiles),
    Invariant(
        "rows",
        "a lunch share of at most 1",
        lambda history: _columns_above(history, [_COLUMNS["restaurant_lunch_share"]], 1 + _ROUNDING_SHARE),
    ),
    Invariant(
        "rows",
        "times of day of at most 86,400 s",
        lambda history: _columns_above(history, _TIME_OF_DAY_COLUMNS, SECONDS_PER_DAY),
    ),
    Invariant("rows", "no orders in the rows of groups", _groups_with_orders),
    Invariant("category_means", "finite", lambda history: ~np.isfinite(history.category_means)),
    Invariant("category_means", "0 or more", lambda history: history.category_means < 0),
    Invariant("category_orders", "finite", lambda history: ~np.isfinite(history.category_orders)),
    Invariant("category_orders", "0 or more", lambda history: history.category_orders < 0),
    Invariant("slots", "finite", lambda history: ~np.isfinite(history.slots)),
    Invariant("slots", "0 or more", lambda history: history.slots < 0),
    Invariant(
        "fallback_level",
        "from 0 to 4",
        lambda history: (history.fallback_level < 0) | (history.fallback_level >= len(FALLBACK_LEVELS)),
    ),
    Invariant("fallback_level", "0 exactly for restaurants with orders", _wrong_restaurant_level),
    Invariant("fallback_level", "that of its group for a restaurant without orders", _wrong_group_level),
    Invariant(
        "global_median_seconds",
        "the p50 of the last row",
        lambda history: np.array([history.global_median_seconds != history.rows[-1, MEDIAN_COLUMN]]),
    ),
)
"""The conditions on values, in the order of the checks: a later condition may rely on an earlier one."""


def array_file(name: str) -> str:
    """Return the file of an array, relative to the bundle's folder."""
    return f"{HISTORY_FOLDER}/{name}.npy"


def parse_array(name: str, content: bytes, expected: ArrayInfo) -> NDArray[np.generic]:
    """Return the array in the bytes of its file, without copying them.

    Raises `BundleVerificationError` unless the bytes are exactly an array of this type and shape.
    """
    header_end = _HEADER_START + int.from_bytes(content[len(_MAGIC) : _HEADER_START], "little")
    header = content[_HEADER_START:header_end].decode("latin-1").strip()
    expected_header = f"{{'descr': '{expected.dtype}', 'fortran_order': False, 'shape': {expected.shape}, }}"
    description = f"{expected.dtype}{list(expected.shape)}"
    if not content.startswith(_MAGIC) or header != expected_header:
        found = header[:_MAX_SHOWN_HEADER] if content.startswith(_MAGIC) else "no array"
        raise refused_bundle_error(array_file(name), description, found)
    dtype = np.dtype(expected.dtype)
    count = int(np.prod(expected.shape, dtype=object))
    if len(content) - header_end != count * dtype.itemsize:
        raise refused_bundle_error(
            array_file(name),
            f"{description}, {count * dtype.itemsize:,} bytes of values",
            f"{len(content) - header_end:,} bytes",
        )
    if not count:
        return np.zeros(expected.shape, dtype)
    return np.frombuffer(content, dtype, count, header_end).reshape(expected.shape)


def check_history(history: History) -> None:
    """Raise `BundleVerificationError` unless the vocabularies and all values meet the format's conditions."""
    for invariant in INVARIANTS:
        violations = invariant.find_violations(history)
        if violations.any():
            position = tuple(int(index) for index in np.argwhere(violations)[0])
            value = np.atleast_1d(history.arrays()[invariant.array])[position]
            raise refused_bundle_error(array_file(invariant.array), invariant.expected, f"{value} at {list(position)}")
