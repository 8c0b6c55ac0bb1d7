"""Tests of the prediction columns: ready time, names, and types."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.orders import Predictions
from preptime.scoring.scorer import TimestampFormatter, prediction_columns

FORMATTER = TimestampFormatter()
SECOND = 1_000_000

timestamps = st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30))
offsets = st.integers(-14 * 4, 14 * 4).map(lambda quarters: quarters * 15)


@given(st.lists(st.tuples(timestamps, offsets, st.floats(0, 86_400, width=32)), min_size=1, max_size=20))
def test_format_ready_at_adds_prediction_to_acknowledgement(rows: list[tuple[datetime, int, float]]) -> None:
    local = np.array(
        [(acknowledged_at - datetime(1970, 1, 1)) // timedelta(microseconds=1) for acknowledged_at, _, _ in rows]
    )
    utc = local - np.array([minutes * 60 * SECOND for _, minutes, _ in rows])
    ready = FORMATTER.format_ready_at(np.array([seconds for *_, seconds in rows], np.float32), local, utc)
    for written, (acknowledged_at, minutes, seconds) in zip(ready, rows, strict=True):
        parsed = datetime.fromisoformat(written)
        exact = acknowledged_at.replace(tzinfo=timezone(timedelta(minutes=minutes))) + timedelta(seconds=seconds)
        assert abs((parsed - exact).total_seconds()) <= 0.500001
        assert parsed.utcoffset() == exact.utcoffset()


def test_format_ready_at_uses_format_of_the_orders_file() -> None:
    local = np.array([(datetime(2015, 6, 1, 23, 50, 0, 250_000) - datetime(1970, 1, 1)) // timedelta(microseconds=1)])
    assert FORMATTER.format_ready_at(np.array([900], np.float32), local, local - 3600 * SECOND).to_list() == [
        "2015-06-02 00:05:00+01:00"
    ]
    assert FORMATTER.format_ready_at(np.array([0], np.float32), local, local + 12_600 * SECOND).to_list() == [
        "2015-06-01 23:50:00-03:30"
    ]


def test_prediction_columns_are_the_documented_ones() -> None:
    none = np.empty(0, np.int64)
    empty = Predictions({"rf": np.empty(0, np.float32)}, np.empty((0, 4), np.float32), np.empty(0, np.int8))
    frame = prediction_columns(empty, none, none, FORMATTER, "bundle")
    assert {name: str(kind) for name, kind in frame.schema.items()} == {
        "predicted_seconds": "Float32",
        "predicted_p10_seconds": "Float32",
        "predicted_p50_seconds": "Float32",
        "predicted_p80_seconds": "Float32",
        "predicted_p90_seconds": "Float32",
        "predicted_ready_at": "String",
        "prediction_fallback_level": "String",
        "predicted_rf_seconds": "Float32",
        "prediction_reason": "String",
        "prediction_bundle": "String",
    }
