"""Segments: partitions, values, and regressions between champion and challenger."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.orders import FALLBACK_LEVELS, QUANTILE_LEVELS, UNKNOWN_CODE, OrderColumns
from preptime.errors import OperationError
from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.metrics import MAE, compute_interval, compute_score, quantile_scores, segment_regressions
from preptime.evaluation.segments import DIMENSIONS, UNKNOWN_VALUE, SegmentColumns, score_segments
from preptime.features.restaurant_index import Vocabularies


def make_orders(n: int, seed: int = 0) -> tuple[SegmentColumns, np.ndarray, np.ndarray, np.ndarray]:
    """Return segment columns, labels, quantiles, and lookup predictions of `n` orders."""
    rng = np.random.default_rng(seed)
    columns = SegmentColumns(
        city=rng.choice(["London", "Lyon", "Cork"], n),
        type_of_food=rng.choice(["thai", "pizza"], n),
        hour=rng.integers(0, 24, n),
        number_of_items=rng.integers(0, 15, n),
        fallback_level=rng.integers(0, len(FALLBACK_LEVELS), n).astype(np.int8),
    )
    actual = rng.gamma(2.0, 500.0, n)
    quantiles = np.sort(rng.gamma(2.0, 500.0, (n, len(QUANTILE_LEVELS))), axis=1).astype(np.float32)
    return columns, actual, quantiles, rng.gamma(2.0, 500.0, n)


@given(n=st.integers(0, 60), seed=st.integers(0, 10_000))
def test_score_segments_partitions_orders(n: int, seed: int) -> None:
    columns, actual, quantiles, lookup = make_orders(n, seed)
    segments = score_segments(columns, actual, quantiles, lookup)
    counts: Counter[str] = Counter()
    for segment in segments:
        counts[segment.segment] += segment.n
        assert segment.n > 0
        assert segment.coverage is not None
        assert 0 <= segment.coverage <= 1
    assert counts == ({definition.name: n for definition in DIMENSIONS} if n else {})
    assert len({(segment.segment, segment.value) for segment in segments}) == len(segments)


def test_score_segments_matches_metrics_of_rows() -> None:
    columns, actual, quantiles, lookup = make_orders(500)
    segments = {
        (segment.segment, segment.value): segment for segment in score_segments(columns, actual, quantiles, lookup)
    }
    rows = columns.city == "Lyon"
    lyon = segments["city", "Lyon"]
    assert lyon.n == rows.sum()
    assert lyon.mae == MAE(actual[rows], quantiles[rows, 1])
    assert lyon.lookup_mae == MAE(actual[rows], lookup[rows])
    assert lyon.quantiles == quantile_scores(actual[rows], quantiles[rows])
    assert segments["overall", "all"].coverage == compute_interval(actual, quantiles).coverage
    assert segments["hour", "13"].n == (columns.hour == 13).sum()
    assert segments["fallback_level", "city_food"].n == (columns.fallback_level == 1).sum()


def test_score_segments_sorts_values_for_display() -> None:
    segments = score_segments(*make_orders(3000))
    assert [s.value for s in segments if s.segment == "items"] == ["1", "2", "3", "4–5", "6–8", "9+"]
    assert [s.value for s in segments if s.segment == "hour"] == [str(hour) for hour in range(24)]
    assert [s.value for s in segments if s.segment == "fallback_level"] == list(FALLBACK_LEVELS)


def test_dimensions_bin_number_of_items() -> None:
    items = np.array([0, 1, 2, 3, 4, 5, 6, 8, 9, 38])
    columns = SegmentColumns(np.full(10, "x"), np.full(10, "x"), np.zeros(10, np.int64), items, np.zeros(10, np.int8))
    segmentation = next(definition for definition in DIMENSIONS if definition.name == "items").split(columns)
    assert [segmentation.values[code] for code in segmentation.codes] == [
        "1",
        "1",
        "2",
        "3",
        "4–5",
        "4–5",
        "6–8",
        "6–8",
        "9+",
        "9+",
    ]


def test_segment_columns_from_orders_decodes_categories() -> None:
    half_past_nine = 1_434_447_000  # 2015-06-16 09:30 local time
    orders = OrderColumns(
        acknowledged_at=np.array([half_past_nine, half_past_nine + 86_400 - 9 * 3600]),
        restaurant_id=np.array([1, 2]),
        order_value=np.array([10.0, 20.0]),
        number_of_items=np.array([1, 2]),
        country=np.array([0, UNKNOWN_CODE], dtype=np.int32),
        city=np.array([1, UNKNOWN_CODE], dtype=np.int32),
        type_of_food=np.array([UNKNOWN_CODE, 0], dtype=np.int32),
    )
    vocabularies = Vocabularies(("UK",), ("Cork", "London"), ("thai",), ("Europe/London",))
    columns = SegmentColumns.from_orders(orders, vocabularies, np.array([0, 4], dtype=np.int8))
    assert columns.city.tolist() == ["London", UNKNOWN_VALUE]
    assert columns.type_of_food.tolist() == [UNKNOWN_VALUE, "thai"]
    assert columns.hour.tolist() == [9, 0]
    twice = SegmentColumns.concatenate([columns, columns.take(slice(1, 2))])
    assert len(twice) == 3
    assert twice.fallback_level.tolist() == [0, 4, 4]


def test_segment_regressions_needs_large_segments() -> None:
    columns, actual, _, lookup = make_orders(2000)
    columns.city[:150] = "Leeds"  # fewer than 200 orders
    champion = np.repeat(actual[:, None] + 100, len(QUANTILE_LEVELS), axis=1)
    challenger = np.repeat(actual[:, None] + 90, len(QUANTILE_LEVELS), axis=1)
    challenger[columns.city == "Cork"] += 16  # 106 instead of 100: 6% worse
    challenger[columns.city == "Lyon"] += 14  # 4% worse
    challenger[columns.city == "Leeds"] += 500
    before = score_segments(columns, actual, champion, lookup)
    after = score_segments(columns, actual, challenger, lookup)
    segments = [regression for regression in segment_regressions(after, before) if regression.segment == "city"]
    assert [(regression.value, regression.n) for regression in segments] == [
        ("Cork", int((columns.city == "Cork").sum()))
    ]
    assert segments[0].champion_mae == pytest.approx(100)
    assert segments[0].challenger_mae == pytest.approx(106)
    assert "Leeds" in [regression.value for regression in segment_regressions(after, before, min_orders=150)]
    assert segment_regressions(before, before) == []
    with pytest.raises(OperationError, match="different orders"):
        segment_regressions(after, score_segments(columns.take(slice(1, None)), actual[1:], champion[1:], lookup[1:]))


def test_backtest_document_has_documented_fields() -> None:
    columns, actual, quantiles, lookup = make_orders(40)
    empty = np.empty(0)
    document = BacktestDocument(
        first_day="2015-06-17",
        last_day="2015-06-23",
        default_model="quantile",
        scores=(
            compute_score("quantile", "model", "up_to_3h", actual, quantiles[:, 1]),
            compute_score("restaurant_lookup", "baseline", "within_label_limit", empty, empty),
        ),
        interval=compute_interval(actual, quantiles),
        quantiles=quantile_scores(actual, quantiles),
        segments=score_segments(columns, actual, quantiles, lookup),
    )
    text = msgspec.json.encode(document)
    plain = msgspec.json.decode(text)
    assert list(plain)[:5] == ["from", "to", "default_model", "scores", "interval"]
    assert list(plain)[5:] == ["quantiles", "segments", "waiting_costs"]
    assert list(plain["scores"][0]) == list(Score.__struct_fields__)
    assert plain["scores"][1]["n"] == 0
    assert plain["scores"][1]["mae"] is None
    assert list(plain["interval"]) == ["level", "coverage", "median_width_seconds", "coverage_inside"]
    assert plain["interval"]["level"] == 0.8
    assert [list(entry) for entry in plain["quantiles"]] == [["p", "coverage", "pinball"]] * len(QUANTILE_LEVELS)
    assert [entry["p"] for entry in plain["quantiles"]] == list(QUANTILE_LEVELS)
    assert msgspec.json.decode(text, type=BacktestDocument) == document
