from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from preptime.domain.validation_reasons import ValidationReason
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants
from preptime.validation.row_checks import infer_opening_times, is_before_opening, seconds_since_day_start
from tests.validation.factories import make_order, make_orders

LABEL_SECONDS = 600


def _to_microseconds(*times: datetime) -> NDArray[np.int64]:
    return pl.Series(times).dt.cast_time_unit("us").to_physical().to_numpy()


def _evening(day: int, *, opens: int = 18, orders: int = 10) -> list[datetime]:
    """Return ready times of an evening, every 30 minutes from opening, possibly past midnight."""
    first = datetime(2015, 6, day, opens) + timedelta(seconds=LABEL_SECONDS)
    return [first + index * timedelta(minutes=30) for index in range(orders)]


def _infer_opening(
    ready: list[datetime], restaurants: list[int], cities: list[int], restaurant_city: tuple[int, ...] = (0, 0, 1, 1)
) -> NDArray[np.float64]:
    label = np.full(len(ready), LABEL_SECONDS, np.int64)
    return infer_opening_times(
        np.array(restaurant_city, np.int32),
        np.array(restaurants),
        np.array(cities, np.int32),
        _to_microseconds(*ready),
        label,
    )


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


@pytest.mark.parametrize("cities", [[0, 1], [1, 0], [1, 1]])
def test_infer_opening_times_use_the_restaurants_own_city(cities: list[int]) -> None:
    """The orders of restaurant 2, which is in city 0, name other cities, in any order."""
    ready = [*_evening(1, opens=12), *_evening(1, opens=20), *_evening(2, opens=15, orders=2)]
    opening = _infer_opening(ready, [0] * 10 + [1] * 10 + [2] * 2, [0] * 10 + [1] * 10 + cities, (0, 1, 0, 1))
    assert abs(opening[2] - 7 * 3600) < 60
    assert np.isnan(opening[3])


def test_before_opening_doesnt_depend_on_row_order() -> None:
    """Restaurant 3, in London, has two orders. Restaurant 1 opens at 18:00, and restaurant 2, in Leeds, at 9:00."""
    restaurants = read_restaurants(
        pl.DataFrame(
            {"restaurant_id": [1, 2, 3], "country": "UK", "city": ["London", "Leeds", "London"], "type_of_food": "thai"}
        )
    )
    rows = []
    for restaurant, city, times in (
        ("1", "London", [time for day in range(1, 11) for time in _evening(day)]),
        ("2", "Leeds", [time for day in range(1, 11) for time in _evening(day, opens=9)]),
        ("3", "London", [datetime(2015, 6, 3, 12)]),
        ("3", "Leeds", [datetime(2015, 6, 4, 12)]),
    ):
        for time in times:
            cells = {"order_acknowledged_at": str(time), "order_ready_at": str(time + timedelta(seconds=LABEL_SECONDS))}
            rows.append(make_order(restaurant_id=restaurant, city=city, **cells))
    orders = make_orders(*rows)
    audits = [audit_orders(frame, restaurants, need_label=True) for frame in (orders, orders.reverse())]
    early = [audited.reasons & np.uint32(ValidationReason.BEFORE_OPENING.bit) > 0 for audited in audits]
    assert np.flatnonzero(early[0]).tolist() == [200, 201]
    np.testing.assert_array_equal(early[0], early[1][::-1])


def test_is_before_opening_allows_a_margin() -> None:
    opening = np.array([13 * 3600.0, np.nan])
    acknowledged = _to_microseconds(
        datetime(2015, 6, 1, 17, 44), datetime(2015, 6, 1, 17, 46), datetime(2015, 6, 2, 1), datetime(2015, 6, 1, 9)
    )
    assert is_before_opening(acknowledged, np.array([0, 0, 0, 1]), opening).tolist() == [True, False, False, False]
    assert not is_before_opening(acknowledged[:1], np.array([-1]), opening).any()
