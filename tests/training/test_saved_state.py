"""Tests of states in a folder: what is read is what was written, and a refresh from it publishes the same bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.store import Store
from preptime.errors import DataError, UsageError
from preptime.features.history_state import HistoryState
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.sources.registry import open_source
from preptime.training.refresh import refresh_from_state, stream_history
from preptime.training.saved_state import STATE_FILE, SavedState, read_state
from tests.features.factories import state_bytes
from tests.training.factories import ACTOR, SyntheticData, TrainedStore, june, run_refresh
from tests.validation.factories import equal_counts


def count_state(data: SyntheticData, folder: Path) -> SavedState:
    """Return the state of the orders as of 15 June."""
    data.orders.write_parquet(folder / "orders.parquet")
    history = stream_history(open_source(folder / "orders.parquet"), data.restaurant_index, june(15))
    return SavedState(june(15), TAKE_HOME_SCHEMA, data.restaurant_index, history.state, history.labels, history.orders)


def write_state(saved: SavedState, folder: Path) -> Path:
    """Write a state as Spark's driver does, and return its folder."""
    document, files = saved.encode(f"{folder}/run-1")
    (folder / "run-1").mkdir(parents=True)
    for name, content in files.items():
        (folder / "run-1" / name).write_bytes(content)
    (folder / STATE_FILE).write_bytes(msgspec.json.encode(document))
    return folder


def test_saved_state_is_read_as_written(data: SyntheticData, tmp_path: Path) -> None:
    saved = count_state(data, tmp_path)
    written = write_state(saved, tmp_path / "state")
    # A copied state has its arrays next to its document.
    found = read_state(str(written.rename(tmp_path / "moved")))
    assert (found.date, found.schema) == (june(15), TAKE_HOME_SCHEMA)
    assert state_bytes(found.state) == state_bytes(saved.state)
    assert equal_counts(found.labels, saved.labels)
    assert found.orders.reason_counts == saved.orders.reason_counts
    assert found.orders.by_day == saved.orders.by_day
    assert found.orders.arrays()["order_totals"].tolist() == saved.orders.arrays()["order_totals"].tolist()
    assert found.restaurants.vocabularies == saved.restaurants.vocabularies
    for name in ("restaurant_id", "country", "city", "type_of_food", "time_zone"):
        assert np.array_equal(getattr(found.restaurants, name), getattr(saved.restaurants, name))


def test_refresh_from_state_publishes_bundle_of_refresh(
    data: SyntheticData, good: TrainedStore, good_store: Store, tmp_path: Path
) -> None:
    saved = count_state(data, tmp_path)
    with pytest.raises(UsageError, match="The state is as of 2015-06-15, not 2015-06-14"):
        refresh_from_state(saved, june(14), good_store, ACTOR)
    other = replace(saved, schema=msgspec.structs.replace(saved.schema, orders={}))
    with pytest.raises(UsageError, match="was counted for another champion"):
        refresh_from_state(other, june(15), good_store, ACTOR)
    from_state = refresh_from_state(saved, june(15), good_store, ACTOR)
    assert from_state == run_refresh(data, june(15), good.copy(tmp_path / "other"))


def test_refresh_from_state_refuses_what_refresh_refuses(
    data: SyntheticData, good_store: Store, tmp_path: Path
) -> None:
    """A state also has the orders that can't be used, which its history doesn't count."""
    half = pl.int_range(pl.len()) % 2 == 0
    cells = pl.when(half).then(pl.lit("many")).otherwise(pl.col("number_of_items").cast(pl.String))
    wrong = SyntheticData.from_frames(data.orders.with_columns(number_of_items=cells), data.restaurants)
    found = read_state(str(write_state(count_state(wrong, tmp_path), tmp_path / "state")))
    bundles = good_store.bundle_ids()
    with pytest.raises(DataError, match=r"orders can't be used for fitting \(unparsable_number 1,\d+") as refused:
        refresh_from_state(found, june(15), good_store, ACTOR)
    assert "--gate max_unusable_share=" in refused.value.hint
    assert good_store.bundle_ids() == bundles


def test_damaged_state_is_refused(data: SyntheticData, tmp_path: Path) -> None:
    folder = write_state(count_state(data, tmp_path), tmp_path / "state")
    items = folder / "run-1" / "items.npy"
    content = items.read_bytes()
    items.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"state/run-1/items\.npy is damaged: its SHA-256"):
        read_state(str(folder))
    items.unlink()
    with pytest.raises(DataError, match="has no readable state"):
        read_state(str(folder))
    document = msgspec.json.decode((folder / STATE_FILE).read_bytes())
    (folder / STATE_FILE).write_bytes(msgspec.json.encode(document | {"format": 3}))
    with pytest.raises(DataError, match="has the format 3; expected 2"):
        read_state(str(folder))


def test_joined_states_keep_latest_days_of_all() -> None:
    """A part whose last day is older has days that the whole doesn't have."""
    old, new = HistoryState.empty(1), HistoryState.empty(2)
    for state, days in ((old, (60, 72, 73)), (new, (80, 100))):
        state.recent_days.update({day: np.full((2, len(state.items)), day, np.int32) for day in days})
    joined = HistoryState.join_restaurants([old, new])
    assert sorted(joined.recent_days) == [73, 80, 100]
    assert joined.recent_days[73][0].tolist() == [73, 0, 0]
    assert joined.recent_days[100][1].tolist() == [0, 100, 100]
