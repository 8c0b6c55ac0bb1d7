from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.validation.row_checks import infer_opening_times, is_before_opening, seconds_since_day_start

LABEL_SECONDS = 600


def _microseconds(*moments: datetime) -> NDArray[np.int64]:
    return pl.Series(moments).dt.cast_time_unit("us").to_physical().to_numpy()


def _evening(day: int, *, opens: int = 18, orders: int = 10) -> list[datetime]:
    """Ready times of one evening, every half hour from opening, past midnight if it comes to that."""
    first = datetime(2015, 6, day, opens) + timedelta(seconds=LABEL_SECONDS)
    return [first + index * timedelta(minutes=30) for index in range(orders)]


def _opening(ready: list[datetime], position: list[int], city: list[int]) -> NDArray[np.float64]:
    label = np.full(len(ready), LABEL_SECONDS, np.int64)
    return infer_opening_times(4, np.array(position), np.array(city, np.int32), _microseconds(*ready), label)


def test_a_kitchens_day_begins_at_five() -> None:
    moments = _microseconds(datetime(2015, 6, 1, 5), datetime(2015, 6, 2, 0, 30), datetime(2015, 6, 2, 4, 59, 59))
    assert seconds_since_day_start(moments).tolist() == [0, 19.5 * 3600, 86_399]


def test_food_ready_after_midnight_does_not_open_a_restaurant_at_dawn() -> None:
    ready = _evening(1, opens=20) + _evening(2, opens=20)
    opening = _opening(ready, [0] * 20, [0] * 20)
    assert abs(opening[0] - 15 * 3600) < 60
    assert np.isnan(opening[1:]).all()


def test_with_few_orders_the_city_stands_in_and_then_everybody() -> None:
    ready = [*_evening(1), *_evening(1, opens=12, orders=2), *_evening(1, opens=21, orders=1)]
    opening = _opening(ready, [0] * 10 + [1] * 2 + [2], [0] * 12 + [1])
    of_city, of_all = opening[1], opening[2]
    assert abs(of_city - 7 * 3600) < 3600
    assert abs(of_all - 7 * 3600) < 3600
    assert abs(opening[0] - 13 * 3600) < 900


def test_only_orders_clearly_before_a_known_opening_are_flagged() -> None:
    opening = np.array([13 * 3600.0, np.nan])
    at = _microseconds(
        datetime(2015, 6, 1, 17, 44), datetime(2015, 6, 1, 17, 46), datetime(2015, 6, 2, 1), datetime(2015, 6, 1, 9)
    )
    assert is_before_opening(at, np.array([0, 0, 0, 1]), opening).tolist() == [True, False, False, False]
    assert not is_before_opening(at[:1], np.array([-1]), opening).any()
