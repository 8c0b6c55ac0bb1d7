"""The arrays of a history in this format: which there are, of what type and shape. Others are not opened."""

from __future__ import annotations

from preptime.bundle.manifest import HISTORY, Array, refused
from preptime.features.clock import SLOTS
from preptime.features.directory import Vocabularies
from preptime.features.spec import HISTORY_FEATURES


def array_layout(restaurants: int, vocabularies: Vocabularies) -> dict[str, Array]:
    """By name; little-endian. Subjects are the restaurants, then every (city, food) with one more of each: unknown."""
    subjects = restaurants + (len(vocabularies.city) + 1) * (len(vocabularies.type_of_food) + 1)
    return {
        "restaurant_id": Array(dtype="<i8", shape=(restaurants,)),
        "country": Array(dtype="<i4", shape=(restaurants,)),
        "city": Array(dtype="<i4", shape=(restaurants,)),
        "type_of_food": Array(dtype="<i4", shape=(restaurants,)),
        "time_zone": Array(dtype="<i4", shape=(restaurants,)),
        "rows": Array(dtype="<f4", shape=(subjects, len(HISTORY_FEATURES))),
        "slots": Array(dtype="<f4", shape=(subjects, SLOTS)),
        "basis": Array(dtype="|i1", shape=(subjects,)),
        "global_median_seconds": Array(dtype="<f4", shape=(1,)),
    }


def check_layout(found: dict[str, Array], vocabularies: Vocabularies) -> None:
    """Raise `RefusedBundleError` unless these are the arrays of this format, for however many restaurants."""
    restaurants = found["restaurant_id"].shape[0] if "restaurant_id" in found and found["restaurant_id"].shape else 0
    expected = array_layout(restaurants, vocabularies)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise refused(f"{HISTORY}/{name}.npy", _text(expected.get(name)), _text(found.get(name)))


def _text(array: Array | None) -> str:
    return "no such array" if array is None else f"{array.dtype}{list(array.shape)}"
