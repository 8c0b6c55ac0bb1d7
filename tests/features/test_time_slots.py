from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.timestamps import EARLIEST_SECONDS, LATEST_SECONDS
from preptime.features.spec import (
    DINNER_START_SECOND,
    TIME_SLOT_COUNT,
    TIME_SLOT_STARTS,
    local_day,
    meal_period,
    second_of_day,
    time_slot,
    weekday,
)
from tests.reference_timestamps import timestamp_to_seconds

EPOCH = dt.datetime(1970, 1, 1)


@given(st.integers(EARLIEST_SECONDS, LATEST_SECONDS - 1))
def test_local_day_parts_match_datetime(local: int) -> None:
    wall = EPOCH + dt.timedelta(seconds=local)
    seconds = np.array([local], np.int64)
    assert local_day(seconds)[0] == (wall.date() - EPOCH.date()).days
    assert second_of_day(seconds)[0] == wall.hour * 3600 + wall.minute * 60 + wall.second
    assert weekday(seconds)[0] == wall.weekday()


@given(
    st.integers(EARLIEST_SECONDS + 86_400, LATEST_SECONDS - 86_400),
    st.sampled_from(["Europe/London", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_local_day_parts_of_instant_match_its_time_zone(instant: int, name: str) -> None:
    zone = ZoneInfo(name)
    wall = dt.datetime.fromtimestamp(instant, dt.UTC).astimezone(zone)
    local = np.array([timestamp_to_seconds(instant, zone)[0]], np.int64)
    assert second_of_day(local)[0] == wall.hour * 3600 + wall.minute * 60 + wall.second
    assert weekday(local)[0] == wall.weekday()
    assert local_day(local)[0] == wall.toordinal() - EPOCH.toordinal()


@given(st.integers(0, 86_399))
def test_time_slot_is_the_latest_that_has_started(second: int) -> None:
    assert time_slot(np.array([second], np.int64))[0] == max(
        k for k in range(TIME_SLOT_COUNT) if TIME_SLOT_STARTS[k] <= second
    )


@pytest.mark.parametrize(
    ("clock", "dinner"),
    [("00:00:00", 1), ("04:59:59", 1), ("05:00:00", 0), ("16:44:59", 0), ("16:45:00", 1), ("23:59:59", 1)],
)
def test_meal_period_after_midnight_is_dinner(clock: str, dinner: int) -> None:
    time = dt.time.fromisoformat(clock)
    assert meal_period(np.array([time.hour * 3600 + time.minute * 60 + time.second], np.int64))[0] == dinner
    assert DINNER_START_SECOND == (16 * 60 + 45) * 60
