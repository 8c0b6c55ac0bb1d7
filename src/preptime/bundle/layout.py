"""The arrays of a history in this format: which there are, of what type and shape. Others are not opened."""

from __future__ import annotations

from preptime.bundle.manifest import HISTORY_FOLDER, ArrayInfo, refused_bundle_error
from preptime.features.clock import TIME_SLOT_COUNT
from preptime.features.directory import Vocabularies
from preptime.features.spec import HISTORY_FEATURES


def expected_arrays(restaurant_count: int, vocabularies: Vocabularies) -> dict[str, ArrayInfo]:
    """By name; little-endian. Subjects are the restaurants, then every (city, food) with one more of each: unknown."""
    row_count = restaurant_count + (len(vocabularies.city) + 1) * (len(vocabularies.type_of_food) + 1)
    return {
        "restaurant_id": ArrayInfo(dtype="<i8", shape=(restaurant_count,)),
        "country": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "city": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "type_of_food": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "time_zone": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "rows": ArrayInfo(dtype="<f4", shape=(row_count, len(HISTORY_FEATURES))),
        "slots": ArrayInfo(dtype="<f4", shape=(row_count, TIME_SLOT_COUNT)),
        "fallback_level": ArrayInfo(dtype="|i1", shape=(row_count,)),
        "global_median_seconds": ArrayInfo(dtype="<f4", shape=(1,)),
    }


def check_arrays(arrays: dict[str, ArrayInfo], vocabularies: Vocabularies) -> None:
    """Raise `BundleVerificationError` unless these are the arrays of this format, for however many restaurants."""
    restaurant_count = (
        arrays["restaurant_id"].shape[0] if "restaurant_id" in arrays and arrays["restaurant_id"].shape else 0
    )
    expected = expected_arrays(restaurant_count, vocabularies)
    for name in sorted(arrays.keys() | expected.keys()):
        if arrays.get(name) != expected.get(name):
            raise refused_bundle_error(
                f"{HISTORY_FOLDER}/{name}.npy", _describe_array(expected.get(name)), _describe_array(arrays.get(name))
            )


def _describe_array(array: ArrayInfo | None) -> str:
    return "no such array" if array is None else f"{array.dtype}{list(array.shape)}"
