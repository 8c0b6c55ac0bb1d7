"""Tests that a history from batches equals the history from a single frame."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose
from preptime.errors import DataError
from preptime.features.history import feature_matrix
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.shrinkage import build_history
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.files import open_files
from preptime.sources.source import DataSource
from preptime.training.refresh import RECENT_BATCHES, stream_history
from preptime.training.training_data import rows_as_of
from preptime.validation.audit import AuditedOrders, audit_orders, to_order_columns
from preptime.validation.label_counts import LabelCounts
from preptime.validation.order_counts import OrderCounts
from tests.features.factories import state_bytes
from tests.validation.factories import (
    equal_counts,
    make_month,
    make_order,
    make_orders,
    make_restaurant_index,
)

AS_OF = dt.date(2015, 6, 3)
RESTAURANTS = make_restaurant_index()
Row = dict[str, str | None]


@dataclass(frozen=True)
class Frames:
    """A data source in memory with one batch per frame."""

    frames: tuple[pl.DataFrame, ...]
    name: str = "frames"
    schema: Schema = TAKE_HOME_SCHEMA

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.frames[0].columns)

    def frame(self) -> pl.DataFrame:
        return pl.concat(self.frames)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        for frame in self.frames:
            yield from frame.iter_slices(rows)

    def partitions(self) -> tuple[DataSource, ...]:
        return (self,)


def make_source(*parts: list[Row]) -> Frames:
    schema = {name: pl.String() for part in parts for row in part for name in row}
    return Frames(tuple(pl.DataFrame(part, schema=schema, orient="row") for part in parts))


def whole_frame(source: DataSource, before: dt.date = AS_OF) -> AuditedOrders:
    """Return an audit of all rows in one frame, as of a date."""
    return rows_as_of(audit_orders(source.frame(), RESTAURANTS, need_label=True), RESTAURANTS, before)


def state_from_whole_frame(source: DataSource, before: dt.date = AS_OF) -> HistoryState:
    """Return the state from an audit of all rows in one frame."""
    audited = whole_frame(source, before)
    known = audited.frame.filter(pl.Series(audited.usable_for(Purpose.HISTORY)))
    ready = known["ready_local"].to_physical().to_numpy() // MICROSECONDS
    label = known["prep_time_seconds"].cast(pl.Int64).to_numpy()
    return HistoryState.from_orders(RESTAURANTS, CompletedOrders(to_order_columns(known, RESTAURANTS), ready, label))


def stream_state(source: DataSource, before: dt.date = AS_OF) -> HistoryState:
    return stream_history(source, RESTAURANTS, before).state


VALID = [
    make_order(),
    make_order(restaurant_id="20", order_acknowledged_at="2015-06-02 12:00:00+01:00", order_ready_at=None),
    make_order(restaurant_id="30", order_acknowledged_at="2015-06-02 23:55:00+02:00", order_ready_at=None),
    make_order(order_acknowledged_at="2015-06-02 23:50:00+01:00", order_ready_at="2015-06-03 00:00:00+01:00"),
    make_order(order_acknowledged_at="2015-06-03 19:00:00+01:00", order_ready_at=None),
    make_order(prep_time_seconds=None),
]
INVALID_CELLS: list[Row] = [
    {"order_acknowledged_at": "yesterday"},
    {"order_ready_at": "2015-06-01 12:00:00+01:00"},
    {"prep_time_seconds": "0", "order_ready_at": None},
    {"prep_time_seconds": "20000", "order_ready_at": None},
    {"prep_time_seconds": None, "order_ready_at": None},
    {"order_value_gbp": "a lot"},
    {"order_value_gbp": " 21.4 "},
    {"restaurant_id": "7"},
    {"number_of_items": "3.0"},
    {"number_of_items": "-1"},
]
ROWS = st.builds(
    lambda valid, invalid: valid | invalid, st.sampled_from(VALID), st.sampled_from([{}, {}, {}, *INVALID_CELLS])
)
ROWS_WITH_ID = st.builds(
    lambda row, order_id: row | {"order_id": order_id},
    ROWS,
    st.sampled_from([*"abcdef", " a", "", None, *map(str, range(30))]),
)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        *(st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=10) for rows in (ROWS, ROWS_WITH_ID))
    )
)
def test_stream_equals_whole_frame_on_invalid_orders(parts: list[list[Row]]) -> None:
    source = make_source(*parts)
    counted = stream_history(source, RESTAURANTS, AS_OF)
    assert state_bytes(counted.state) == state_bytes(state_from_whole_frame(source))
    assert equal_counts(counted.labels, LabelCounts.from_audited(whole_frame(source), AS_OF))


EARLIER_ROWS, EARLIER_ROWS_WITH_ID = (
    rows.filter(lambda row: not {row["order_acknowledged_at"]} & {row["order_acknowledged_at"] for row in VALID[2:5]})
    for rows in (ROWS, ROWS_WITH_ID)
)
LATER = [row | {"order_id": f"later {count}", "order_value_gbp": f"9{count}"} for count, row in enumerate(VALID[2:5])]
"""Two orders that are ready after the date, and one that is acknowledged after it. No other row is the same order."""


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.one_of(EARLIER_ROWS, EARLIER_ROWS_WITH_ID), max_size=4), max_size=10),
    st.integers(0, 10),
)
def test_stream_counts_orders_as_training_does(parts: list[list[Row]], later_at: int) -> None:
    source = make_source(*parts[:later_at], LATER, *parts[later_at:])
    counted = stream_history(source, RESTAURANTS, AS_OF).orders
    expected = OrderCounts.from_audited(audit_orders(source.frame(), RESTAURANTS, need_label=True), AS_OF)
    assert (counted.by_day, counted.reason_counts) == (expected.by_day, expected.reason_counts)
    assert (counted.open_orders, counted.usable, counted.unusable, counted.unknown_restaurants) == (
        expected.open_orders,
        expected.usable,
        expected.unusable,
        expected.unknown_restaurants,
    )


def test_stream_counts_repeated_duplicates_once() -> None:
    """The duplicates are near the first order, near a later one, or far from both."""
    others = [[make_order(order_id=f"{count}", restaurant_id="20")] for count in range(3 * RECENT_BATCHES)]
    for positions in ((1, 2, 3), (0, 3, 6, 9), (0, 11), (2, 3, 10, 11)):
        parts = [
            [*batch, make_order(order_id="again")] if index in positions else batch
            for index, batch in enumerate(others)
        ]
        assert stream_state(make_source(*parts)).orders.tolist() == [1, len(others), 0, 0], positions


def test_stream_keeps_first_of_duplicates_in_any_batch() -> None:
    first, second = make_order(order_id="1"), make_order(order_id="2", restaurant_id="20")
    source = make_source([first], [second, first], [first | {"restaurant_id": "20"}, second])
    assert stream_state(source).orders.tolist() == [1, 1, 0, 0]


def test_stream_reads_twice_only_for_distant_duplicates() -> None:
    first, second = make_order(order_id="1"), make_order(order_id="2", restaurant_id="20")
    stages: list[str] = []

    def report(stage: str, fraction: float) -> None:
        stages.append(stage)

    near = make_source([first], [first, second], [second], [make_order(order_id="3")])
    assert stream_history(near, RESTAURANTS, AS_OF, report).state.orders.tolist() == [2, 1, 0, 0]
    assert stages == ["History"] * 4
    far = make_source([first], *([make_order(order_id=f"between {count}")] for count in range(RECENT_BATCHES)), [first])
    assert stream_history(far, RESTAURANTS, AS_OF, report).state.orders.tolist() == [
        1 + RECENT_BATCHES,
        0,
        0,
        0,
    ]
    batches = RECENT_BATCHES + 2
    assert stages[4:] == ["History"] * batches + ["History, again without duplicates"] * batches


@pytest.mark.parametrize("time", ["garbled", None])
def test_stream_undated_row_makes_no_later_row_a_duplicate(time: str | None) -> None:
    """The undated row ends a batch, starts one, and is in the middle of one: the whole frame gives the same."""
    undated = make_order(order_id="7", order_acknowledged_at=time)
    later, other = make_order(order_id="7"), make_order(order_id="1", restaurant_id="20")
    for parts in (
        [[other, undated], [later]],
        [[other], [undated, later]],
        [[other, undated, later]],
        [
            [undated],
            *([make_order(order_id=f"b{n}", restaurant_id="20")] for n in range(RECENT_BATCHES)),
            [later, other],
        ],
        [[undated, undated], [later, undated], [later], [other]],
    ):
        source = make_source(*parts)
        counted = stream_history(source, RESTAURANTS, AS_OF)
        state, labels = counted.state, counted.labels
        assert state.orders[0] == 1, parts
        assert state_bytes(state) == state_bytes(state_from_whole_frame(source))
        assert equal_counts(labels, LabelCounts.from_audited(whole_frame(source), AS_OF))
        assert state_bytes(stream_state(source, dt.date(2015, 6, 10))) == state_bytes(state)


def test_stream_drops_duplicate_of_unusable_order() -> None:
    unusable = make_order(order_id="1", order_value_gbp="a lot")
    assert stream_state(make_source([unusable], [make_order(order_id="1")])).orders.sum() == 0
    assert stream_state(make_source([unusable], [make_order(order_id="2")])).orders.sum() == 1


def test_stream_ignores_duplicate_after_as_of_date() -> None:
    later = make_order(order_id="1", order_acknowledged_at="2015-06-03 19:00:00+01:00", order_ready_at=None)
    assert stream_state(make_source([later], [make_order(order_id="1")])).orders.sum() == 1


def test_stream_keeps_orders_with_colliding_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source(*([make_order(order_id=str(name))] for name in (1, 2, 3, 2)))
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda self: pl.Series(np.zeros(len(self), np.uint64)))
    assert stream_state(source).orders.tolist() == [3, 0, 0, 0]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_stream_reads_partitioned_files_with_progress(tmp_path: Path, suffix: str) -> None:
    orders_of_month = make_month(days=6)
    days = orders_of_month.with_columns(day=pl.col("order_acknowledged_at").dt.date()).partition_by(
        "day", include_key=False
    )
    batches = [pl.concat([later, earlier.head(2)]) for earlier, later in pairwise(days)]
    batches[-1] = pl.concat([batches[-1], days[0].tail(1)])
    for number, part in enumerate([days[0], *batches]):
        path = tmp_path / f"{number}.{suffix}"
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
    source = open_files(str(tmp_path), TAKE_HOME_SCHEMA)
    reports: list[tuple[str, float]] = []
    counted = stream_history(
        source, RESTAURANTS, dt.date(2015, 6, 5), lambda stage, fraction: reports.append((stage, fraction))
    )
    state, labels = counted.state, counted.labels
    expected_labels = LabelCounts.from_audited(whole_frame(source, dt.date(2015, 6, 5)), dt.date(2015, 6, 5))
    assert equal_counts(labels, expected_labels)
    assert state_bytes(state) == state_bytes(state_from_whole_frame(source, dt.date(2015, 6, 5)))
    assert state.last_day == (dt.date(2015, 6, 4) - dt.date(1970, 1, 1)).days
    stages = [stage for stage, _ in reports]
    assert stages == ["History"] * 6 + ["History, again without duplicates"] * 6
    assert [fraction for _, fraction in reports] == [(count + 1) / 6 for count in range(6)] * 2


def test_stream_matches_ids_of_different_integer_widths(tmp_path: Path) -> None:
    orders_of_month = make_month(days=1).with_columns(order_id=pl.int_range(pl.len()))
    orders_of_month.with_columns(pl.col("order_id", "restaurant_id").cast(pl.Int32)).write_parquet(
        tmp_path / "a.parquet"
    )
    orders_of_month.write_parquet(tmp_path / "b.parquet")
    source = open_files(str(tmp_path), TAKE_HOME_SCHEMA)
    assert stream_state(source).orders.sum() == len(orders_of_month)
    assert state_bytes(stream_state(source)) == state_bytes(state_from_whole_frame(source))


def test_stream_before_first_order_is_empty_state() -> None:
    assert state_bytes(stream_state(make_source([make_order()]), dt.date(2015, 6, 1))) == state_bytes(
        HistoryState.empty(4)
    )


def test_stream_raises_audit_errors() -> None:
    with pytest.raises(DataError, match="number_of_items"):
        stream_state(Frames((make_orders(make_order()).drop("number_of_items"),)))


def timed_order(ready: int, label: int, value: str = "21.40") -> Row:
    """Return an order of restaurant 10 that was ready `ready` seconds after midnight."""
    midnight = dt.datetime.combine(AS_OF, dt.time())
    acknowledged = midnight + dt.timedelta(seconds=ready - label)
    ready_at = midnight + dt.timedelta(seconds=ready)
    return make_order(
        order_acknowledged_at=acknowledged.isoformat(sep=" "),
        order_ready_at=ready_at.isoformat(sep=" "),
        prep_time_seconds=str(label),
        order_value_gbp=value,
    )


LATE = st.builds(timed_order, st.integers(0, 3 * 86_400), st.integers(60, 10_000), st.sampled_from(["1", "900"]))
LAST_SECOND = st.builds(timed_order, st.just(-1), st.integers(60, 10_000))


@settings(max_examples=40, deadline=None)
@given(LATE, LATE, LAST_SECOND, st.data())
def test_stream_features_use_only_orders_before_midnight(
    late: Row, changed: Row, last_second: Row, data: st.DataObject
) -> None:
    """Compare the day's features, including a control with an order that was ready before midnight."""
    today = audit_orders(make_orders(timed_order(43_200, 600), timed_order(70_000, 900)), RESTAURANTS, need_label=False)
    past = [timed_order(-86_000 + 7_000 * count, 500) for count in range(5)]

    def features(*more: Row) -> bytes:
        rows = data.draw(st.permutations([*past, *more]))
        state = stream_state(make_source(rows[:3], rows[3:]))
        return feature_matrix(
            to_order_columns(today.frame, RESTAURANTS), build_history(state, RESTAURANTS, AS_OF)
        ).tobytes()

    expected = features(late)
    assert features(changed) == expected
    assert features() == expected
    assert features(last_second) != expected
