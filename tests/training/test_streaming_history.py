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
from preptime.features.history import build_history, feature_matrix
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.sources.files import open_files
from preptime.sources.source import DataSource
from preptime.training.refresh import RECENT_BATCHES, stream_history_state
from preptime.training.training_data import rows_as_of
from preptime.validation.audit import audit_orders, to_order_columns
from tests.features.factories import state_bytes
from tests.validation.factories import directory, month, order, orders

MORNING = dt.date(2015, 6, 3)
Row = dict[str, str | None]


@dataclass(frozen=True)
class Frames:
    """A table in memory, one batch a frame."""

    frames: tuple[pl.DataFrame, ...]
    name: str = "frames"

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


def frames(*parts: list[Row]) -> Frames:
    schema = {name: pl.String() for part in parts for row in part for name in row}
    return Frames(tuple(pl.DataFrame(part, schema=schema, orient="row") for part in parts))


def whole(table: DataSource, before: dt.date = MORNING) -> HistoryState:
    """The same state by way of the whole table in one frame."""
    audited = rows_as_of(audit_orders(table.frame(), directory(), need_label=True), directory(), before)
    known = audited.frame.filter(pl.Series(audited.usable_for(Purpose.HISTORY)))
    ready = known["ready_local"].to_physical().to_numpy() // MICROSECONDS
    label = known["prep_time_seconds"].cast(pl.Int64).to_numpy()
    return HistoryState.from_orders(directory(), CompletedOrders(to_order_columns(known), ready, label))


def counted(table: DataSource, before: dt.date = MORNING) -> HistoryState:
    return stream_history_state(table, directory(), before)


GOOD = [
    order(),
    order(restaurant_id="20", order_acknowledged_at="2015-06-02 12:00:00+01:00", order_ready_at=None),
    order(restaurant_id="30", order_acknowledged_at="2015-06-02 23:55:00+02:00", order_ready_at=None),
    order(order_acknowledged_at="2015-06-02 23:50:00+01:00", order_ready_at="2015-06-03 00:00:00+01:00"),
    order(order_acknowledged_at="2015-06-03 19:00:00+01:00", order_ready_at=None),
    order(prep_time_seconds=None),
]
FAULTS: list[Row] = [
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
ROWS = st.builds(lambda good, fault: good | fault, st.sampled_from(GOOD), st.sampled_from([{}, {}, {}, *FAULTS]))
NAMED = st.builds(
    lambda row, name: row | {"order_id": name}, ROWS, st.sampled_from([*"abcdef", " a", "", None, *map(str, range(30))])
)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(*(st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=10) for rows in (ROWS, NAMED)))
)
def test_stream_equals_whole_frame_on_invalid_orders(parts: list[list[Row]]) -> None:
    table = frames(*parts)
    assert state_bytes(counted(table)) == state_bytes(whole(table))


def test_stream_counts_repeated_duplicates_once() -> None:
    """Near its first, near a later one, and far from both."""
    others = [[order(order_id=f"{count}", restaurant_id="20")] for count in range(3 * RECENT_BATCHES)]
    for places in ((1, 2, 3), (0, 3, 6, 9), (0, 11), (2, 3, 10, 11)):
        parts = [[*other, order(order_id="again")] if at in places else other for at, other in enumerate(others)]
        assert counted(frames(*parts)).orders.tolist() == [1, len(others), 0, 0], places


def test_stream_keeps_first_of_duplicates_in_any_batch() -> None:
    one, other = order(order_id="1"), order(order_id="2", restaurant_id="20")
    table = frames([one], [other, one], [one | {"restaurant_id": "20"}, other])
    assert counted(table).orders.tolist() == [1, 1, 0, 0]


def test_stream_reads_twice_only_for_distant_duplicates() -> None:
    one, other = order(order_id="1"), order(order_id="2", restaurant_id="20")
    told: list[str] = []

    def tell(stage: str, done: float) -> None:
        told.append(stage)

    near = frames([one], [one, other], [other], [order(order_id="3")])
    assert stream_history_state(near, directory(), MORNING, tell).orders.tolist() == [2, 1, 0, 0]
    assert told == ["History"] * 4
    far = frames([one], *([order(order_id=f"between {count}")] for count in range(RECENT_BATCHES)), [one])
    assert stream_history_state(far, directory(), MORNING, tell).orders.tolist() == [1 + RECENT_BATCHES, 0, 0, 0]
    batches = RECENT_BATCHES + 2
    assert told[4:] == ["History"] * batches + ["History, again without duplicates"] * batches


def test_stream_drops_duplicate_of_unusable_order() -> None:
    useless = order(order_id="1", order_value_gbp="a lot")
    assert counted(frames([useless], [order(order_id="1")])).orders.sum() == 0
    assert counted(frames([useless], [order(order_id="2")])).orders.sum() == 1


def test_stream_ignores_duplicate_after_as_of_date() -> None:
    later = order(order_id="1", order_acknowledged_at="2015-06-03 19:00:00+01:00", order_ready_at=None)
    assert counted(frames([later], [order(order_id="1")])).orders.sum() == 1


def test_stream_keeps_orders_with_colliding_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    table = frames(*([order(order_id=str(name))] for name in (1, 2, 3, 2)))
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda self: pl.Series(np.zeros(len(self), np.uint64)))
    assert counted(table).orders.tolist() == [3, 0, 0, 0]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_stream_reads_partitioned_files_with_progress(tmp_path: Path, suffix: str) -> None:
    made = month(days=6)
    days = made.with_columns(day=pl.col("order_acknowledged_at").dt.date()).partition_by("day", include_key=False)
    again = [pl.concat([later, earlier.head(2)]) for earlier, later in pairwise(days)]
    again[-1] = pl.concat([again[-1], days[0].tail(1)])
    for number, part in enumerate([days[0], *again]):
        path = tmp_path / f"{number}.{suffix}"
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
    table = open_files(str(tmp_path))
    told: list[tuple[str, float]] = []
    state = stream_history_state(
        table, directory(), dt.date(2015, 6, 5), lambda stage, done: told.append((stage, done))
    )
    assert state_bytes(state) == state_bytes(whole(table, dt.date(2015, 6, 5)))
    assert state.last_day == (dt.date(2015, 6, 4) - dt.date(1970, 1, 1)).days
    stages = [stage for stage, _ in told]
    assert stages == ["History"] * 6 + ["History, again without duplicates"] * 6
    assert [done for _, done in told] == [(count + 1) / 6 for count in range(6)] * 2


def test_stream_matches_ids_of_different_integer_widths(tmp_path: Path) -> None:
    made = month(days=1).with_columns(order_id=pl.int_range(pl.len()))
    made.with_columns(pl.col("order_id", "restaurant_id").cast(pl.Int32)).write_parquet(tmp_path / "a.parquet")
    made.write_parquet(tmp_path / "b.parquet")
    table = open_files(str(tmp_path))
    assert counted(table).orders.sum() == len(made)
    assert state_bytes(counted(table)) == state_bytes(whole(table))


def test_stream_before_first_order_is_empty_state() -> None:
    assert state_bytes(counted(frames([order()]), dt.date(2015, 6, 1))) == state_bytes(HistoryState.empty(4))


def test_stream_raises_audit_errors() -> None:
    with pytest.raises(DataError, match="number_of_items"):
        counted(Frames((orders(order()).drop("number_of_items"),)))


def timed(ready: int, label: int, value: str = "21.40") -> Row:
    """An order of restaurant 10 that was ready so many seconds after the midnight."""
    midnight = dt.datetime.combine(MORNING, dt.time())
    acknowledged = midnight + dt.timedelta(seconds=ready - label)
    done = midnight + dt.timedelta(seconds=ready)
    return order(
        order_acknowledged_at=acknowledged.isoformat(sep=" "),
        order_ready_at=done.isoformat(sep=" "),
        prep_time_seconds=str(label),
        order_value_gbp=value,
    )


LATE = st.builds(timed, st.integers(0, 3 * 86_400), st.integers(60, 10_000), st.sampled_from(["1", "900"]))
LAST_SECOND = st.builds(timed, st.just(-1), st.integers(60, 10_000))


@settings(max_examples=40, deadline=None)
@given(LATE, LATE, LAST_SECOND, st.data())
def test_stream_features_use_only_orders_before_midnight(
    late: Row, changed: Row, last_second: Row, data: st.DataObject
) -> None:
    """From files' cells to the features of the day, with the control beside it."""
    today = audit_orders(orders(timed(43_200, 600), timed(70_000, 900)), directory(), need_label=False)
    past = [timed(-86_000 + 7_000 * count, 500) for count in range(5)]

    def features(*more: Row) -> bytes:
        rows = data.draw(st.permutations([*past, *more]))
        state = counted(frames(rows[:3], rows[3:]))
        return feature_matrix(to_order_columns(today.frame), build_history(state, directory(), MORNING)).tobytes()

    seen = features(late)
    assert features(changed) == seen
    assert features() == seen
    assert features(last_second) != seen
