"""`POST /v1/dispatch`: predictions with the time to send a courier and the expected waiting times."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import msgspec
import numpy as np
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import DISPATCH_PATH, PREDICTIONS_PATH
from preptime.api.request_types import EXPECTED_TRAVEL, RequestTypes
from preptime.api.server import serve
from preptime.api.worker import check_settings
from preptime.domain.dispatch import MAX_TRAVEL_SECONDS, decide
from preptime.errors import UsageError
from preptime.monitoring.recorded_predictions import LogReader
from preptime.settings import Settings
from preptime.sources.prediction_logs import PredictionLogFolder
from tests.api.company import COMPANY_ORDER
from tests.api.factories import (
    HEADERS,
    ORDER,
    FakeSettings,
    ServiceSetup,
    http_client,
    make_service,
    make_wsgi_app,
)

Document = dict[str, object]
TRIP = ORDER | {"travel_seconds": 240}
ACKNOWLEDGED = dt.datetime.fromisoformat(str(ORDER["order_acknowledged_at"]))


def post(http: Client, content: object, path: str = DISPATCH_PATH) -> list[Document]:
    response = http.post(path, json=content, headers=HEADERS)
    assert response.status_code == 200, response.text
    return cast(list[Document], cast(Document, response.json)["predictions"])


def error_of(item: Document) -> dict[str, str]:
    return cast(dict[str, str], item["error"])


def seconds_until(item: Document) -> float:
    """Return the dispatch time in seconds after acknowledgement."""
    return (dt.datetime.fromisoformat(str(item["dispatch_at"])) - ACKNOWLEDGED).total_seconds()


def later(seconds: float) -> str:
    return str(ACKNOWLEDGED + dt.timedelta(seconds=seconds))


@pytest.mark.parametrize("travel", [240, "240", 240.5, 0, {"p10": 180, "p50": 240, "p90": "400"}])
@pytest.mark.parametrize("elapsed", [None, 0, 100.5])
def test_dispatch_equals_the_decision_of_the_prediction(
    http: Client, travel: float | dict[str, float], elapsed: float | None
) -> None:
    now = {} if elapsed is None else {"now": later(elapsed)}
    request = ORDER | {"travel_seconds": travel, "order_id": "A-1", "courier_cost": 2, "models": ["rf"], **now}
    (item,) = post(http, request)
    (prediction,) = post(http, ORDER | {"order_id": "A-1", "models": ["rf"]}, PREDICTIONS_PATH)
    assert {name: item[name] for name in prediction} == prediction
    decisions = decide(
        np.array([[prediction[name] for name in ("p10", "p50", "p80", "p90")]]),
        np.array([[float(value) for value in travel.values()] if isinstance(travel, dict) else float(travel)]),
        2 / 3,
        None if elapsed is None else np.array([elapsed]),
    )
    assert abs(seconds_until(item) - decisions.dispatch_seconds[0]) <= 0.51
    assert item["courier_wait_seconds"] == round(decisions.courier_wait_seconds[0])
    assert item["food_wait_seconds"] == round(decisions.food_wait_seconds[0])
    assert item["quantile"] == 0.6667
    assert list(cast(dict[str, int], item["remaining"]).values()) == [round(s) for s in decisions.remaining_seconds[0]]
    assert "note" not in item


def test_dispatch_older_order_is_sent_now_without_estimate(http: Client) -> None:
    (item,) = post(http, TRIP | {"now": later(7_000)})
    assert seconds_until(item) == pytest.approx(7_000, abs=0.51)
    unknown = ("courier_wait_seconds", "food_wait_seconds", "quantile", "remaining")
    assert [item[name] for name in unknown] == [None] * 4
    p90 = cast(float, item["p90"])
    assert item["note"] == f"No estimate is available: the order is older than its p90 of {p90:,.0f} s. Dispatch now."


def test_dispatch_reads_now_in_the_formats_of_orders(http: Client) -> None:
    moment = ACKNOWLEDGED + dt.timedelta(seconds=90)
    forms = [str(moment), moment.timestamp(), str(moment.replace(tzinfo=None)), moment.astimezone(dt.UTC).isoformat()]
    first, *others = post(http, {"orders": [TRIP | {"now": form} for form in forms]})
    assert [other["remaining"] for other in others] == [first["remaining"]] * 3
    without_now = post(http, {"orders": [TRIP, TRIP | {"now": None}, TRIP | {"now": " "}]})
    assert without_now == [without_now[0]] * 3
    assert without_now[0]["remaining"] != first["remaining"]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (
            {"travel_seconds": None},
            "missing_value",
            "travel_seconds is missing; expected a number of seconds from 0 to",
        ),
        ({"travel_seconds": "soon"}, "unparsable_number", "travel_seconds is 'soon'; expected"),
        ({"travel_seconds": True}, "unparsable_number", "travel_seconds is True; expected"),
        ({"travel_seconds": [1]}, "unparsable_number", "travel_seconds is a list; expected"),
        ({"travel_seconds": -1}, "negative_value", "travel_seconds is -1; expected"),
        ({"travel_seconds": MAX_TRAVEL_SECONDS + 1}, "out_of_range", "travel_seconds is 21601; expected a number of"),
        (
            {"travel_seconds": {"p10": 1}},
            "missing_value",
            "travel_seconds.p50 is missing; expected a number of seconds",
        ),
        (
            {"travel_seconds": {"p10": 1, "p50": "x", "p90": 3}},
            "unparsable_number",
            "travel_seconds.p50 is 'x'; expected a number of seconds from 0 to 21,600.",
        ),
        (
            {"travel_seconds": {"p10": 500, "p50": 400, "p90": 600}},
            "out_of_range",
            f"travel_seconds is 'p10 500, p50 400, p90 600'; expected {EXPECTED_TRAVEL}.",
        ),
        ({"now": "later"}, "unparsable_time", "now is 'later'; expected a time between 2000 and 2099 such as"),
        ({"now": later(-1)}, "out_of_range", f"now is '{later(-1)}'; expected a time that isn't before order_ack"),
        ({"number_of_items": 0, "travel_seconds": -1}, "out_of_range", "number_of_items is 0; expected"),
    ],
)
def test_dispatch_invalid_trip_affects_only_its_order(http: Client, change: Document, code: str, message: str) -> None:
    before, invalid, after = post(http, {"orders": [TRIP, TRIP | change | {"order_id": 7}, TRIP | {"country": "UK"}]})
    assert (error_of(invalid)["code"], invalid["order_id"]) == (code, 7)
    assert error_of(invalid)["message"].startswith(message)
    assert before["dispatch_at"] == after["dispatch_at"]
    (alone,) = post(http, TRIP | change)
    assert error_of(alone) == error_of(invalid)


def test_dispatch_huge_numbers_are_out_of_range(http: Client) -> None:
    body = msgspec.json.encode({"orders": [TRIP, TRIP, TRIP], "food_cost": 2})
    body = body.replace(b"240}", b"1e999}", 1).replace(b"240}", b'{"p10":1,"p50":2,"p90":1e999}}', 1)
    response = http.post(DISPATCH_PATH, data=body, headers=HEADERS, content_type="application/json")
    items = msgspec.json.decode(response.data)["predictions"]
    assert [item.get("error", {}).get("code") for item in items] == ["out_of_range", "out_of_range", None]
    assert items[2]["quantile"] == 0.3333


@pytest.mark.parametrize(
    ("costs", "level"),
    [
        ({}, 0.75),
        ({"courier_cost": 1}, 0.5),
        ({"food_cost": 27}, 0.1),
        ({"courier_cost": 5, "food_cost": None}, 0.8333),
    ],
)
def test_dispatch_costs_come_from_request_or_settings(
    active_model: ActiveModel, app_kind: str, costs: Document, level: float
) -> None:
    http = http_client(make_service(active_model, FakeSettings(courier_cost=3.0)).service, app_kind)
    assert [item["quantile"] for item in post(http, {"orders": [TRIP], **costs})] == [level]


@pytest.mark.parametrize(
    ("costs", "detail"),
    [
        (
            {"courier_cost": 10},
            "The cost of a minute is 10 for a courier and 1 for food. A prediction has quantiles from",
        ),
        ({"food_cost": 0}, "The cost of a minute is 1 for a courier and 0 for food."),
        ({"courier_cost": "2"}, "In courier_cost: Expected float | null, got str."),
    ],
)
def test_dispatch_rejects_costs_with_the_reason(http: Client, costs: Document, detail: str) -> None:
    response = http.post(DISPATCH_PATH, json={"orders": [TRIP], **costs}, headers=HEADERS)
    problem = cast(Document, response.json)
    assert (response.status_code, problem["field"]) == (422, "courier_cost")
    assert str(problem["detail"]).startswith(detail)
    huge = msgspec.json.encode(TRIP)[:-1] + b',"courier_cost":1e999}'
    response = http.post(DISPATCH_PATH, data=huge, headers=HEADERS, content_type="application/json")
    assert (response.status_code, cast(Document, response.json)["field"]) == (422, "courier_cost")


def test_dispatch_has_the_errors_of_predictions(http: Client) -> None:
    for content in ({"orders": [TRIP] * 1_001}, {"orders": [1]}, {"models": ["none"], **TRIP}):
        responses = [http.post(path, json=content, headers=HEADERS) for path in (DISPATCH_PATH, PREDICTIONS_PATH)]
        assert responses[0].status_code == responses[1].status_code == 422
        problems = [cast(Document, response.json) | {"request_id": ""} for response in responses]
        assert problems[0] == problems[1]
    assert http.post(DISPATCH_PATH, json=TRIP).status_code == 401
    assert post(http, {"orders": []}) == []


def test_dispatch_responses_match_the_openapi_schema(http: Client) -> None:
    document = cast(Document, http.get("/openapi.json").json)
    operation = cast(dict[str, dict[str, Document]], cast(dict[str, object], document["paths"])[DISPATCH_PATH])["post"]
    text = msgspec.json.encode(operation["responses"]).decode()
    assert "#/components/schemas/DispatchResponse" in text
    validator = jsonschema_rs.validator_for(
        {"$ref": "#/components/schemas/DispatchResponse", "components": document["components"]}, validate_formats=True
    )
    orders = [TRIP, TRIP | {"now": later(5)}, TRIP | {"now": later(9_000)}, ORDER, {}]
    response = http.post(DISPATCH_PATH, json={"orders": orders}, headers=HEADERS)
    validator.validate(response.json)


def test_dispatch_is_logged_and_read_by_monitoring(http: Client, setup: ServiceSetup, tmp_path: Path) -> None:
    orders = [TRIP | {"now": later(60), "order_id": "A-1"}, ORDER]
    items = post(http, {"orders": [*orders, TRIP | {"travel_seconds": {"p10": 1, "p50": 2, "p90": 3}, "x": 1}]})
    (record,) = setup.log.records
    line = record.to_json_line()
    (tmp_path / "predictions-2015-06-17-1.jsonl").write_bytes(line + b"\n")
    document = msgspec.json.decode(line)
    assert document["endpoint"] == DISPATCH_PATH
    assert document["orders"] == [*orders, TRIP | {"travel_seconds": {"p10": 1, "p50": 2, "p90": 3}}]
    reader = LogReader(PredictionLogFolder(tmp_path))
    logged = list(reader.iter_orders(dt.date(2015, 6, 17), dt.date(2015, 6, 17)))
    assert reader.unreadable_lines == 0
    assert [order.prediction.p50 for order in logged] == [items[0]["p50"], items[2]["p50"]]
    assert [order.prediction.fallback_level for order in logged] == ["restaurant"] * 2
    assert f'endpoint="{DISPATCH_PATH}"' in http.get("/metrics").text


def test_concurrent_dispatch_and_predictions_are_separate(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(max_concurrent_requests=16))
    app = make_wsgi_app(setup.service, app_kind)
    rows = [TRIP | {"order_id": index, "number_of_items": index % 23, "travel_seconds": index} for index in range(60)]
    requests = [((DISPATCH_PATH, PREDICTIONS_PATH)[index % 2], row) for index, row in enumerate(rows)]
    requests += [(DISPATCH_PATH, {"orders": rows[start : start + 7]}) for start in range(0, 49, 7)]
    separate = [post(Client(app), content, path) for path, content in requests]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            together = pool.map(lambda request: post(Client(app), request[1], request[0]), requests)
            assert list(together) == separate


def test_dispatch_uses_the_formats_of_a_company(company_model: ActiveModel) -> None:
    http = http_client(make_service(company_model).service, "fast_path")
    created = dt.datetime.strptime(str(COMPANY_ORDER["created"]), "%d/%m/%Y %I:%M %p")
    now = (created + dt.timedelta(minutes=2)).strftime("%d/%m/%Y %I:%M %p")
    trip = COMPANY_ORDER | {"travel_seconds": 0}
    usual, in_progress, invalid = post(http, {"orders": [trip, trip | {"now": now}, trip | {"now": "2015-06-17"}]})
    assert usual["remaining"] != in_progress["remaining"] is not None
    assert error_of(invalid)["code"] == "unparsable_time"


def test_column_named_like_a_dispatch_field_is_that_field(company_model: ActiveModel) -> None:
    schema = company_model.bundle.schema
    features = (msgspec.structs.replace(schema.order_features[0], column="travel_seconds"), *schema.order_features[1:])
    schema = msgspec.structs.replace(schema, features=features)
    types = RequestTypes.for_dispatch(schema)
    request: Any = types.decode_request(b'{"travel_seconds": 5, "now": 7, "orders": [{"travel_seconds": 6}]}')
    assert (request.travel_seconds, request.now, request.feature_0) == (5, 7, 5)
    (order,) = request.orders
    assert (order.travel_seconds, order.feature_0, order.now) == (6, 6, None)


@pytest.mark.parametrize(("courier_cost", "food_cost"), [("9.1", "1"), ("1", "100")])
def test_costs_in_settings_are_checked_at_the_start(courier_cost: str, food_cost: str) -> None:
    environ = {"PREPTIME_COURIER_COST": courier_cost, "PREPTIME_FOOD_COST": food_cost}
    with pytest.raises(
        UsageError, match=r"ratio must be from 1:9 to 9:1.*Change PREPTIME_COURIER_COST or PREPTIME_FOOD"
    ):
        serve(Settings.load(environ))
    check_settings(Settings.load({"PREPTIME_COURIER_COST": "2"}))
    with pytest.raises(UsageError, match=r"PREPTIME_FOOD_COST: expected a number from 0.001 to 1000000"):
        Settings.load({"PREPTIME_FOOD_COST": "0"})
