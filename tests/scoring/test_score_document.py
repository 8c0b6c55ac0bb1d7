"""Tests that the counts don't depend on the chunks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.validation_reasons import ValidationReason
from preptime.scoring.score_document import ScoreCounts, ScoreDocument
from preptime.scoring.scorer import OrderFlags

SECONDS = st.lists(st.floats(0, 90_000, width=32), max_size=30)


def flags(is_unknown: NDArray[np.bool_]) -> OrderFlags:
    """Return flags of orders that agree with their restaurants and have every feature."""
    return OrderFlags(is_unknown, np.zeros(len(is_unknown), np.bool_), {}, {})


def count_chunks(*chunks: list[float]) -> ScoreCounts:
    counts = ScoreCounts()
    for chunk in chunks:
        counts.add(
            len(chunk) + 1,
            np.array(chunk, np.float32),
            np.zeros(len(chunk), np.int8),
            {ValidationReason.DUPLICATE: 1},
            flags(np.zeros(len(chunk), np.bool_)),
        )
    return counts


@given(SECONDS, SECONDS)
def test_score_counts_median_is_lower_median(first: list[float], second: list[float]) -> None:
    document = count_chunks(first, second).to_document("in.csv", Path("out.csv"), "b")
    values = np.sort(np.minimum(np.rint(np.array(first + second, np.float32)), 86_400))
    assert document.median_predicted_seconds == (int(values[(len(values) - 1) // 2]) if len(values) else None)
    assert document.rows == document.predicted + sum(document.rejected.values())
    assert document.predicted == sum(document.fallback_level.values())


def test_score_document_json_is_stable() -> None:
    counts = ScoreCounts()
    later, earlier = ValidationReason.OUT_OF_RANGE, ValidationReason.MISSING_VALUE
    counts.add(
        5,
        np.array([600, 900], np.float32),
        np.array([0, 4], np.int8),
        {later: 1, earlier: 2},
        OrderFlags(np.array([False, True]), np.array([True, False]), {"distance": 2}, {"distance": 1}),
    )
    document = counts.to_document("in.csv", Path("out.csv"), "2015-06-20-0123456789ab")
    assert msgspec.json.encode(document) == (
        b'{"source":"in.csv","out":"out.csv","bundle":"2015-06-20-0123456789ab","rows":5,"predicted":2,'
        b'"rejected":{"missing_value":2,"out_of_range":1},'
        b'"fallback_level":{"restaurant":1,"city_food":0,"food":0,"city":0,"global":1},'
        b'"unknown_restaurants":{"global":1},"restaurant_differs":1,"missing_features":{"distance":2},'
        b'"invalid_features":{"distance":1},"median_predicted_seconds":600,"without_dispatch":{}}'
    )
    assert tuple(document.fallback_level) == FALLBACK_LEVELS
    assert msgspec.json.decode(msgspec.json.encode(document), type=ScoreDocument) == document


def test_score_counts_unknown_restaurants_need_every_chunk() -> None:
    """If one chunk can't say which restaurants are unknown, no total is stated."""
    counts = ScoreCounts()
    seconds, levels = np.array([600, 900, 300], np.float32), np.array([1, 4, 1], np.int8)
    counts.add(3, seconds, levels, {}, flags(np.array([True, True, True])))
    counts.add(3, seconds, levels, {}, flags(np.array([True, False, False])))
    assert counts.unknown_restaurants == {"city_food": 3, "global": 1}
    assert counts.restaurant_differs == 0
    counts.add(3, seconds, levels, {}, OrderFlags(None, None, {}, {}))
    document = counts.to_document("in.csv", Path("out.csv"), "b")
    assert (document.unknown_restaurants, document.restaurant_differs) == (None, None)


def test_score_counts_of_other_processes_add_up() -> None:
    """A part whose unknown restaurants can't be said makes those of all parts unknown."""
    parts = [count_chunks([600.0, 700.5]), count_chunks([], [90_000.0]), count_chunks()]
    total, expected = ScoreCounts(), count_chunks([600.0, 700.5], [], [90_000.0])
    for part in parts:
        part.add_without_dispatch({"missing_value": 2})
        expected.add_without_dispatch({"missing_value": 2})
        total.add_encoded(part.encode())
    documents = [counts.to_document("in", "out", "b") for counts in (total, expected)]
    assert documents[0] == documents[1]
    assert documents[0].without_dispatch == {"missing_value": 6}
    unsaid = OrderFlags(None, None, {"distance": 1}, {})
    part = ScoreCounts()
    part.add(1, np.array([600], np.float32), np.array([0], np.int8), {}, unsaid)
    total.add_encoded(part.encode())
    document = total.to_document("in", "out", "b")
    assert (document.unknown_restaurants, document.restaurant_differs) == (None, None)
    assert document.missing_features == {"distance": 1}
