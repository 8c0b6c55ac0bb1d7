from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.validation.row_checks import infer_opening_times, is_before_opening, seconds_since_day_start

LABEL_SECONDS = 600


def _to_microseconds(*times: datetime) -> NDArray[np.int64]:
    return pl.Series(times).dt.cast_time_unit("us").to_physical().to_numpy()


def _evening(day: int, *, opens: int = 18, orders: int = 10) -> list[datetime]:
    """Return ready times of an evening, every 30 minutes from opening, possibly past midnight."""
    first = datetime(2015, 6, day, opens) + timedelta(seconds=LABEL_SECONDS)
    return [first + index * timedelta(minutes=30) for index in range(orders)]


def _infer_opening(ready: list[datetime], restaurants: list[int], cities: list[int]) -> NDArray[np.float64]:
    label = np.full(len(ready), LABEL_SECONDS, np.int64)
    return infer_opening_times(4, np.array(restaurants), np.array(cities, np.int32), _to_microseconds(*ready), label)


def test_seconds_since_day_start_begins_at_five() -> None:
    times = _to_microseconds(datetime(2015, 6, 1, 5), datetime(2015, 6, 2, 0, 30), datetime(2015, 6, 2, 4, 59, 59))
    assert seconds_since_day_start(times).tolist() == [0, 19.5 * 3600, 86_399]


def test_infer_opening_times_after_midnight_is_evening() -> None:
    ready = _evening(1, opens=20) + _evening(2, opens=20)
    opening = _infer_opening(ready, [0] * 20, [0] * 20)
    assert abs(opening[0] - 15 * 3600) < 60
    assert np.isnan(opening[1:]).all()


def test_infer_opening_times_few_orders_use_city_or_all() -> None:
    ready = [*_evening(1), *_evening(1, opens=12, orders=2), *_evening(1, opens=21, orders=1)]
    opening = _infer_opening(ready, [0] * 10 + [1] * 2 + [2], [0] * 12 + [1])
    city_opening, overall_opening = opening[1], opening[2]
    assert abs(city_opening - 7 * 3600) < 3600
    assert abs(overall_opening - 7 * 3600) < 3600
    assert abs(opening[0] - 13 * 3600) < 900


def test_is_before_opening_allows_a_margin() -> None:
    opening = np.array([13 * 3600.0, np.nan])
    acknowledged = _to_microseconds(
        datetime(2015, 6, 1, 17, 44), datetime(2015, 6, 1, 17, 46), datetime(2015, 6, 2, 1), datetime(2015, 6, 1, 9)
    )
    assert is_before_opening(acknowledged, np.array([0, 0, 0, 1]), opening).tolist() == [True, False, False, False]
    assert not is_before_opening(acknowledged[:1], np.array([-1]), opening).any()
