"""The state of a kitchen in a request, and the predictions of the live model."""

from __future__ import annotations

from dataclasses import replace
from typing import cast
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import DISPATCH_PATH, PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.kitchen import MAX_KITCHEN_ORDERS, KitchenError, read_kitchen
from preptime.api.parsing import LocalTimestamp, timestamp_parser
from preptime.bundle.store import Store
from preptime.domain.timestamps import ISO_TIMESTAMPS, MICROSECONDS, SECONDS_PER_DAY
from preptime.features.kitchen import LOG_UNITS, KitchenEvents
from tests.api.factories import HEADERS, ORDER, http_client, load_active_model, make_service
from tests.bundle.factories import SECONDS_PER_OPEN_ORDER, put_bundle, some_orders

JsonObject = dict[str, object]
OPEN = {"acknowledged_at": "2015-06-17T12:20:00+01:00", "items": 2}
COMPLETED = {"ready_at": "2015-06-17T12:10:00+01:00", "prep_time_seconds": 1_500}
KITCHEN = {"open_orders": [OPEN] * 5, "completed_orders": [COMPLETED]}
COUNT = "a whole number from 0 to 500, or a list of orders"
TIME = "a time in the format of the order's acknowledgement"
LONDON = ZoneInfo("Europe/London")
NOW = 1_434_503_600_000_000, 1_434_500_000_000_000
parse_time = timestamp_parser(ISO_TIMESTAMPS)


@pytest.fixture(scope="module")
def live_model(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    store = Store.open(str(tmp_path_factory.mktemp("live") / "models"))
    return load_active_model(store, put_bundle(store, is_live=True))


@pytest.fixture
def live_http(live_model: ActiveModel, app_kind: str) -> Client:
    return http_client(make_service(live_model).service, app_kind)


def post(http: Client, orders: list[JsonObject], path: str = PREDICTIONS_PATH) -> list[JsonObject]:
    response = http.post(path, json={"orders": orders}, headers=HEADERS)
    assert response.status_code == 200, response.text
    return cast(list[JsonObject], cast(JsonObject, response.json)["predictions"])


def test_only_orders_with_a_kitchen_use_the_live_model(live_http: Client) -> None:
    (alone,) = post(live_http, [ORDER])
    orders = [ORDER, {**ORDER, "kitchen": KITCHEN}, {**ORDER, "kitchen": {"open_orders": 5}}]
    plain, live, number = post(live_http, orders)
    assert plain == alone
    assert post(live_http, [orders[1]]) == [live]  # the bits don't depend on the other orders in the run
    assert plain["live"] is False
    assert live["live"] is number["live"] is True
    assert live["p50"] == number["p50"] != plain["p50"]  # this model reads only the number of open orders


def test_live_prediction_equals_the_bundle(live_http: Client, live_model: ActiveModel) -> None:
    for open_orders in (0, 1, 7):
        (item,) = post(live_http, [{**ORDER, "kitchen": {"open_orders": open_orders}}])
        (none,) = post(live_http, [{**ORDER, "kitchen": {"open_orders": 0}}])
        added = cast(float, item["p50"]) - cast(float, none["p50"])
        assert added == pytest.approx(SECONDS_PER_OPEN_ORDER * open_orders, abs=0.01)
    assert live_model.bundle.has_live_model


def test_bundle_without_live_model_ignores_the_kitchen(http: Client) -> None:
    plain, kitchen = post(http, [ORDER, {**ORDER, "kitchen": KITCHEN}])
    assert plain == kitchen
    assert kitchen["live"] is False


def test_dispatch_uses_the_live_model(live_http: Client) -> None:
    order = {**ORDER, "travel_seconds": 300}
    plain, broken, live = post(
        live_http, [order, {**order, "travel_seconds": "x"}, {**order, "kitchen": KITCHEN}], DISPATCH_PATH
    )
    assert "error" in broken
    assert (plain["live"], live["live"]) == (False, True)
    assert cast(float, live["p50"]) > cast(float, plain["p50"])


def test_take_home_contract_has_no_kitchen(live_http: Client) -> None:
    response = live_http.post(TAKE_HOME_PATH, json={"json_data": "[]"}, headers=HEADERS)
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("kitchen", "error"),
    [
        (3, "kitchen is 3; expected an object with open_orders and completed_orders."),
        ({"open_orders": -1}, f"kitchen.open_orders is -1; expected {COUNT}."),
        ({"open_orders": 501.0}, f"kitchen.open_orders is 501.0; expected {COUNT}."),
        ({"open_orders": 5.5}, f"kitchen.open_orders is 5.5; expected {COUNT}."),
        ({"open_orders": True}, f"kitchen.open_orders is True; expected {COUNT}."),
        ({"open_orders": {}}, f"kitchen.open_orders is an object; expected {COUNT}."),
        ({"open_orders": "many"}, f"kitchen.open_orders is 'many'; expected {COUNT}."),
        ({"completed_orders": 3}, "kitchen.completed_orders is 3; expected a list of orders."),
        (
            {"completed_orders": [{**COMPLETED, "prep_time_seconds": True}]},
            "kitchen.completed_orders[0].prep_time_seconds is True; expected a number of seconds from 0.",
        ),
        ({"open_orders": [7]}, "kitchen.open_orders[0] is 7; expected an object."),
        (
            {"open_orders": [OPEN, {"acknowledged_at": "noon"}]},
            f"kitchen.open_orders[1].acknowledged_at is 'noon'; expected {TIME}.",
        ),
        (
            {"completed_orders": [{"ready_at": "2015-06-17T12:10:00+01:00"}]},
            "kitchen.completed_orders[0].prep_time_seconds is missing; expected a number of seconds from 0.",
        ),
        (
            {"completed_orders": [COMPLETED] * (MAX_KITCHEN_ORDERS + 1)},
            "kitchen.completed_orders has 501 orders; expected at most 500.",
        ),
    ],
)
def test_invalid_kitchen_keeps_the_prediction(live_http: Client, kitchen: object, error: str) -> None:
    (plain,) = post(live_http, [ORDER])
    (item,) = post(live_http, [{**ORDER, "kitchen": kitchen}])
    assert item == {**plain, "kitchen_error": error}
    metrics = live_http.get("/metrics").text
    assert "preptime_invalid_kitchen_total 1.0" in metrics


@pytest.mark.parametrize("number", [5, 5.0, "5", " 5.0 "])
def test_kitchen_number_of_open_orders_has_each_form(number: object) -> None:
    assert read_kitchen({"open_orders": number}, NOW, LONDON, parse_time) == (5, 0, 0)


@pytest.mark.parametrize("prep_time_seconds", [0, 10_801, 1_209_600, 1e12, 10**400, "1209600"])
def test_kitchen_ignores_completed_orders_outside_the_range(prep_time_seconds: object) -> None:
    """The document of the API has no maximum."""
    acknowledged = parse_time("2015-06-17T12:28:28+01:00", LONDON)
    assert acknowledged is not None
    other = {"ready_at": "2015-06-17T12:15:00+01:00", "prep_time_seconds": prep_time_seconds}
    kitchen = {"completed_orders": [COMPLETED, other]}
    assert read_kitchen(kitchen, acknowledged, LONDON, parse_time) == (0, 1, int(LOG_UNITS[1_500]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_state_of_a_request_equals_the_replay(data: st.DataObject) -> None:
    """The orders of one restaurant, as a request sends them, give the integers that the replay gives."""

    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    # The last is within an hour of the second 01:00 of London.
    now = data.draw(st.sampled_from((1_434_500_000, 1_445_733_000, 1_445_736_000)))
    count = draw(0, 12)
    acknowledged = np.array([now - draw(-600, 14_000) for _ in range(count)], np.int64)
    prep = np.array([draw(0, 12_000) for _ in range(count)], np.int64)
    ready = acknowledged + prep

    def text(utc: int) -> str:
        return f"{np.datetime64(int(utc), 's')}Z"

    def parse(utc: int) -> LocalTimestamp:
        timestamp = parse_time(text(utc), LONDON)
        assert timestamp is not None
        return timestamp

    local = parse(now)[0] // MICROSECONDS
    orders = replace(some_orders(1), acknowledged_at=np.array([local]), acknowledged_utc=np.array([now]))
    restaurant = np.full(count, orders.restaurant_id[0])
    ready_day = np.array([parse(utc)[0] // MICROSECONDS // SECONDS_PER_DAY for utc in ready], np.int64)
    state = KitchenEvents(restaurant, acknowledged, ready, ready_day, prep).replay(orders)

    is_known = acknowledged < now
    kitchen = {
        "open_orders": [{"acknowledged_at": text(a)} for a, r in zip(acknowledged, ready, strict=True) if a < now <= r],
        "completed_orders": [
            {"ready_at": text(r), "prep_time_seconds": int(p)}
            for r, p, known in zip(ready, prep, is_known, strict=True)
            if known
        ],
    }
    expected = (int(state.open_orders[0]), int(state.recent_orders[0]), int(state.recent_log_sum[0]))
    assert read_kitchen(kitchen, parse(now), LONDON, parse_time) == expected


def test_state_of_a_request_in_a_repeated_hour_uses_instants() -> None:
    """In Cairo, 23:00 to 24:00 occurs twice on October 26, 2023. The orders of 23:50 and 23:55 are before 23:05."""
    cairo = ZoneInfo("Africa/Cairo")
    acknowledged = parse_time("2023-10-26T21:05:00Z", cairo)
    assert acknowledged is not None
    kitchen = {
        "open_orders": [{"acknowledged_at": "2023-10-26T20:50:00Z"}, {"acknowledged_at": "2023-10-26T20:55:00Z"}],
        "completed_orders": [{"ready_at": "2023-10-26T20:40:00Z", "prep_time_seconds": 900}],
    }
    assert read_kitchen(kitchen, acknowledged, cairo, parse_time) == (2, 1, int(LOG_UNITS[900]))


def test_kitchen_with_null_lists_is_empty() -> None:
    empty = {"open_orders": None, "completed_orders": None}
    assert read_kitchen(empty, NOW, LONDON, parse_time) == (0, 0, 0)
    with pytest.raises(KitchenError, match="kitchen is a list"):
        read_kitchen([], NOW, LONDON, parse_time)
