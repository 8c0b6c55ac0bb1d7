"""`POST /v1/predictions`: every order is answered, in its place, by the bundle that the answer names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import msgspec
import numpy as np
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH
from preptime.api.order_validation import read_orders
from preptime.api.schema import Order
from tests.api.factories import HEADERS, KEY, KEY_NAME, ORDER, ServiceSetup, FakeSettings, make_wsgi_app, http_client, make_service

Answer = dict[str, object]


def ask(http: Client, content: object) -> Answer:
    response = http.post(PREDICTIONS_PATH, json=content, headers=HEADERS)
    assert response.status_code == 200, response.text
    return cast(Answer, response.json)


def predictions(http: Client, content: object) -> list[Answer]:
    return cast(list[Answer], ask(http, content)["predictions"])


def test_predictions_single_order_equals_the_bundle(http: Client, made: ServiceSetup, serving: ActiveModel) -> None:
    answer = ask(http, ORDER)
    found = serving.bundle.predict(read_orders([Order(**ORDER)], serving.lookup).columns)
    p10, p50, p80, p90 = (round(float(one), 4) for one in found.quantiles[0])
    assert answer["bundle"] == serving.bundle.manifest.id
    (one,) = cast(list[Answer], answer["predictions"])
    ready_at = one.pop("ready_at")
    assert one == {
        "prep_time_seconds": round(p50),
        "p10": p10,
        "p50": p50,
        "p80": p80,
        "p90": p90,
        "fallback_level": "restaurant",
    }
    since = np.datetime64(str(ready_at).removesuffix("+01:00")) - np.datetime64("2015-06-17T12:28:28.952789")
    assert abs(since / np.timedelta64(1, "s") - p50) <= 0.5


def test_predictions_are_recorded_in_the_log(http: Client, made: ServiceSetup, serving: ActiveModel) -> None:
    response = http.post(
        PREDICTIONS_PATH, json={"orders": [ORDER | {"customer": "Ann"}]}, headers=HEADERS | {"X-Request-ID": "r-1"}
    )
    assert response.headers["X-Request-ID"] == "r-1"
    (record,) = made.log.records
    line = msgspec.json.decode(record.to_json_line())
    assert b"\n" not in record.to_json_line()
    assert line["orders"] == [ORDER], "only what a prediction reads is kept"
    assert line["response"] == response.json
    assert (line["request_id"], line["key_name"], line["bundle"], line["endpoint"]) == (
        "r-1",
        KEY_NAME,
        serving.bundle.manifest.id,
        PREDICTIONS_PATH,
    )


def test_record_too_deeply_nested_order_becomes_null(http: Client, made: ServiceSetup) -> None:
    body = msgspec.json.encode(ORDER)[:-1] + b', "order_id": ' + b"[" * 850 + b"]" * 850 + b"}"
    assert http.post(PREDICTIONS_PATH, data=body, headers=HEADERS, content_type="application/json").status_code == 200
    (record,) = made.log.records

    def deeper(calls: int) -> bytes:
        return deeper(calls - 1) if calls else record.to_json_line()

    assert msgspec.json.decode(deeper(300))["orders"] == [None]


@pytest.mark.parametrize("order_id", ["A-1", "", "é🍕\u2028", 7, -3, 2**63, 10**30, 1.5])
def test_predictions_echo_the_order_id(http: Client, order_id: object) -> None:
    (good, bad) = predictions(http, {"orders": [ORDER | {"order_id": order_id}, {"order_id": order_id}]})
    assert (good["order_id"], bad["order_id"]) == (order_id, order_id)
    assert "error" in bad


@pytest.mark.parametrize("order_id", [None, [1], {"a": 1}, True])
def test_predictions_omit_an_invalid_order_id(http: Client, order_id: object) -> None:
    (one,) = predictions(http, ORDER | {"order_id": order_id})
    assert "order_id" not in one


def test_predictions_include_requested_models(http: Client) -> None:
    (one,) = predictions(http, ORDER | {"models": ["rf", "quantile"]})
    models = cast(dict[str, float], one["models"])
    assert list(models) == ["rf", "quantile"]
    assert models["quantile"] == one["p50"]
    (same,) = predictions(http, {"orders": [ORDER], "models": []})
    assert "models" not in same
    assert same["p50"] == one["p50"]


def test_predictions_invalid_order_gets_an_error_in_its_place(http: Client) -> None:
    rows = [ORDER, ORDER | {"order_value_gbp": "abc"}, {}, ORDER | {"number_of_items": 0, "restaurant_id": -1}, ORDER]
    found = predictions(http, {"orders": rows})
    errors = [cast(dict[str, str] | None, one.get("error")) for one in found]
    assert [error and (error["code"], error["field"]) for error in errors] == [
        None,
        ("unparsable_number", "order_value_gbp"),
        ("missing_value", "restaurant_id"),
        ("negative_value", "restaurant_id"),
        None,
    ]
    assert errors[1] is not None
    assert errors[1]["message"] == "order_value_gbp is 'abc'; expected a number from 0 to 100,000."


def test_predictions_huge_number_affects_only_its_order(http: Client) -> None:
    body = b'{"models": ["rf"], "orders": [%s, {"order_value_gbp": 1e999}, %s, {"restaurant_id": -1e999}]}'
    one = msgspec.json.encode(ORDER)
    alone = ORDER | {"order_id": 1}
    response = http.post(PREDICTIONS_PATH, data=body % (one, one), headers=HEADERS, content_type="application/json")
    found = msgspec.json.decode(response.data)["predictions"]
    assert [("error" in row) for row in found] == [False, True, False, True]
    assert "models" in found[0]
    response = http.post(
        PREDICTIONS_PATH,
        data=msgspec.json.encode(alone)[:-1] + b', "order_value_gbp": 1e400}',
        headers=HEADERS,
        content_type="application/json",
    )
    assert msgspec.json.decode(response.data)["predictions"] == [
        {
            "order_id": 1,
            "error": {
                "code": "out_of_range",
                "field": "order_value_gbp",
                "message": "order_value_gbp is inf; expected a number from 0 to 100,000.",
            },
        }
    ]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2015-06-17T11:28:28Z", "+01:00"),
        ("2015-06-17 12:28:28", "+01:00"),
        (1434540508, "+01:00"),
        (1434540508000, "+01:00"),
        ("1434540508000000", "+01:00"),
        ("2015-06-17 06:28:28-05:00", "-05:00"),
    ],
)
def test_predictions_accept_every_timestamp_form(http: Client, cell: object, expected: str) -> None:
    (one,) = predictions(http, ORDER | {"order_acknowledged_at": cell})
    assert str(one["ready_at"]).endswith(expected)


def test_predictions_unknown_restaurant_uses_its_country_zone(http: Client) -> None:
    stranger = ORDER | {"restaurant_id": 99, "order_acknowledged_at": "2015-06-17T11:00:00Z"}
    japan, usual = predictions(http, {"orders": [stranger | {"country": "Japan"}, stranger]})
    assert (str(japan["ready_at"])[-6:], str(usual["ready_at"])[-6:]) == ("+09:00", "+01:00")
    assert japan["fallback_level"] != "restaurant"


def test_predictions_shuffled_orders_get_their_own_result(http: Client) -> None:
    dice = np.random.default_rng(11)
    rows = [
        ORDER
        | {
            "order_id": f"A-{i}",
            "restaurant_id": int(dice.choice([10, 20, 30, 40])),
            "number_of_items": int(dice.integers(-1, 30)),
        }
        for i in range(150)
    ]
    alone = {row["order_id"]: predictions(http, row)[0] for row in rows}
    for _ in range(3):
        rows = [rows[place] for place in dice.permutation(len(rows))]
        found = predictions(http, {"orders": rows})
        assert [one["order_id"] for one in found] == [row["order_id"] for row in rows]
        for one in found:
            assert one == alone[cast(str, one["order_id"])]


def test_predictions_concurrent_requests_get_their_own_result(serving: ActiveModel, kind: str) -> None:
    made = make_service(serving, FakeSettings(max_concurrent_requests=16))
    app = make_wsgi_app(made.service, kind)  # one, as in a worker: making some at once trips over Python's own parser
    http = Client(app)
    rows = [
        ORDER | {"order_id": place, "restaurant_id": (10, 20, 30, 40)[place % 4], "number_of_items": place % 23 - 1}
        for place in range(120)
    ]
    asked = [row | {"models": ["rf"]} if place % 3 else row for place, row in enumerate(rows)]
    asked += [{"orders": rows[start : start + 7]} for start in range(0, 70, 7)]
    alone = [predictions(http, one) for one in asked]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            assert list(pool.map(lambda one: predictions(Client(app), one), asked)) == alone


def test_predictions_empty_list_returns_empty_list(http: Client) -> None:
    assert predictions(http, {"orders": []}) == []


def test_predictions_accept_a_bearer_token(http: Client) -> None:
    response = http.post(PREDICTIONS_PATH, json=ORDER, headers={"Authorization": f"Bearer {KEY}"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "Application/JSON",
        "application/vnd.shop+json",
    ],
)
def test_predictions_accept_json_content_types(http: Client, content_type: str) -> None:
    response = http.post(PREDICTIONS_PATH, data=msgspec.json.encode(ORDER), headers=HEADERS, content_type=content_type)
    assert response.status_code == 200


def test_predictions_flask_and_fast_path_responses_are_equal(made: ServiceSetup) -> None:
    bodies = [ORDER, {"orders": [ORDER, {}], "models": ["rf"]}, {"orders": 5}, [], {"models": ["x"]}]
    for body in bodies:
        replies = [
            http_client(made.service, kind).post(PREDICTIONS_PATH, json=body, headers=HEADERS | {"X-Request-ID": "same"})
            for kind in ("flask", "front")
        ]
        assert replies[0].data == replies[1].data
        assert replies[0].status_code == replies[1].status_code
        assert sorted(replies[0].headers) == sorted(replies[1].headers)


def test_predictions_use_the_new_champion_after_a_change(
    tmp_path_factory: pytest.TempPathFactory, serving: ActiveModel
) -> None:
    from tests.api.factories import make_active_model

    made = make_service(serving)
    http = Client(make_wsgi_app(made.service, "front"))
    first = ask(http, ORDER)
    made.champions.model = make_active_model(tmp_path_factory.mktemp("next"), shift=50.0)
    second = ask(http, ORDER)
    assert first["bundle"] != second["bundle"]
    assert cast(list[dict[str, float]], second["predictions"])[0]["p50"] == pytest.approx(
        cast(list[dict[str, float]], first["predictions"])[0]["p50"] + 50, abs=0.001
    )


def test_vertex_routes_predict_and_report_readiness(http: Client, made: ServiceSetup, serving: ActiveModel) -> None:
    response = http.post("/vertex/predict", json={"instances": [ORDER, {}], "parameters": {"models": ["rf"]}})
    assert response.status_code == 200
    good, bad = msgspec.json.decode(response.data)["predictions"]
    assert list(good["models"]) == ["rf"]
    assert bad["error"]["code"] == "missing_value"
    assert good["p50"] == predictions(http, ORDER)[0]["p50"]
    assert made.log.records[0].key_name == "vertex"
    assert msgspec.json.decode(http.get("/vertex/health").data)["bundle"] == serving.bundle.manifest.id
    refused = http.post("/vertex/predict", json={"orders": [ORDER]})
    assert refused.status_code == 422
    assert "instances" in refused.text


def test_vertex_route_can_replace_the_take_home_path(serving: ActiveModel, kind: str) -> None:
    made = make_service(serving, FakeSettings(vertex_predict_route="/predict", vertex_health_route="/healthz"))
    response = http_client(made.service, kind).post("/predict", json={"instances": [ORDER]})
    assert response.status_code == 200
    assert len(msgspec.json.decode(response.data)["predictions"]) == 1


def test_vertex_routes_can_share_one_path(serving: ActiveModel, kind: str) -> None:
    http = http_client(make_service(serving, FakeSettings(vertex_predict_route="/v", vertex_health_route="/v")).service, kind)
    assert (http.get("/v").status_code, http.post("/v", json={"instances": []}).status_code) == (200, 200)


def test_vertex_route_without_setting_returns_404(serving: ActiveModel, kind: str) -> None:
    made = make_service(serving, FakeSettings(vertex_predict_route=None, vertex_health_route=None))
    assert http_client(made.service, kind).post("/vertex/predict", json={"instances": []}).status_code == 404
