"""`POST /v1/predictions`: every order gets a prediction or an error, from the bundle that the response names."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from werkzeug.test import Client, TestResponse

from preptime.api.active_model import ActiveModel
from preptime.api.handler import DISPATCH_PATH, PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.order_validation import read_orders
from preptime.bundle.store import Store
from tests.api.factories import (
    HEADERS,
    KEY,
    KEY_NAME,
    ORDER,
    TAKE_HOME_FIELDS,
    FakeSettings,
    ServiceSetup,
    http_client,
    load_active_model,
    make_service,
    make_wsgi_app,
)
from tests.bundle.factories import put_bundle
from tests.training.factories import copy_bundle

JsonObject = dict[str, object]


def post_json(http: Client, content: object) -> JsonObject:
    response = http.post(PREDICTIONS_PATH, json=content, headers=HEADERS)
    assert response.status_code == 200, response.text
    return cast(JsonObject, response.json)


def predictions(http: Client, content: object) -> list[JsonObject]:
    return cast(list[JsonObject], post_json(http, content)["predictions"])


def test_predictions_single_order_equals_the_bundle(
    http: Client, setup: ServiceSetup, active_model: ActiveModel
) -> None:
    document = post_json(http, ORDER)
    orders = active_model.types.decode_records(msgspec.json.encode([ORDER]))
    predicted = active_model.bundle.predict(read_orders(orders, active_model.lookup).columns)
    p10, p50, p80, p90 = (round(float(seconds), 4) for seconds in predicted.quantiles[0])
    assert document["bundle"] == active_model.bundle.manifest.id
    (prediction,) = cast(list[JsonObject], document["predictions"])
    ready_at = prediction.pop("ready_at")
    assert prediction == {
        "prep_time_seconds": round(p50),
        "p10": p10,
        "p50": p50,
        "p80": p80,
        "p90": p90,
        "fallback_level": "restaurant",
        "live": False,
    }
    difference = np.datetime64(str(ready_at).removesuffix("+01:00")) - np.datetime64("2015-06-17T12:28:28.952789")
    assert abs(difference / np.timedelta64(1, "s") - p50) <= 0.5


def test_predictions_are_recorded_in_the_log(http: Client, setup: ServiceSetup, active_model: ActiveModel) -> None:
    response = http.post(
        PREDICTIONS_PATH, json={"orders": [ORDER | {"customer": "Ann"}]}, headers=HEADERS | {"X-Request-ID": "r-1"}
    )
    assert response.headers["X-Request-ID"] == "r-1"
    (record,) = setup.log.records
    line = msgspec.json.decode(record.to_json_line())
    assert b"\n" not in record.to_json_line()
    assert line["orders"] == [ORDER], "only the fields that a prediction reads are recorded"
    assert line["response"] == response.json
    assert (line["request_id"], line["key_name"], line["bundle"], line["endpoint"]) == (
        "r-1",
        KEY_NAME,
        active_model.bundle.manifest.id,
        PREDICTIONS_PATH,
    )


def test_record_too_deeply_nested_order_becomes_null(http: Client, setup: ServiceSetup) -> None:
    body = msgspec.json.encode(ORDER)[:-1] + b', "order_id": ' + b"[" * 850 + b"]" * 850 + b"}"
    assert http.post(PREDICTIONS_PATH, data=body, headers=HEADERS, content_type="application/json").status_code == 200
    (record,) = setup.log.records

    def encode_in_deeper_call(calls: int) -> bytes:
        return encode_in_deeper_call(calls - 1) if calls else record.to_json_line()

    # Since Python 3.12, calls of C code have a limit of their own, so the order isn't too deep for the record.
    expected = None if sys.version_info < (3, 12) else msgspec.json.decode(body)
    assert msgspec.json.decode(encode_in_deeper_call(300))["orders"] == [expected]


@pytest.mark.parametrize("order_id", ["A-1", "", "é🍕\u2028", 7, -3, 2**63, 10**30, 1.5])
def test_predictions_echo_the_order_id(http: Client, order_id: object) -> None:
    (valid, invalid) = predictions(http, {"orders": [ORDER | {"order_id": order_id}, {"order_id": order_id}]})
    assert (valid["order_id"], invalid["order_id"]) == (order_id, order_id)
    assert "error" in invalid


@pytest.mark.parametrize("order_id", [None, [1], {"a": 1}, True])
def test_predictions_omit_an_invalid_order_id(http: Client, order_id: object) -> None:
    (prediction,) = predictions(http, ORDER | {"order_id": order_id})
    assert "order_id" not in prediction


def test_predictions_null_fields_are_missing(http: Client) -> None:
    """Code generators write null for an optional field that isn't set."""
    nulls = dict.fromkeys(("models", "order_id", "country", "city", "type_of_food", "open_orders"))
    assert predictions(http, nulls | ORDER) == predictions(http, ORDER)
    many = dict.fromkeys(ORDER) | {"orders": [nulls | ORDER], "models": None}
    assert predictions(http, many) == predictions(http, ORDER)


def test_predictions_include_requested_models(http: Client) -> None:
    (prediction,) = predictions(http, ORDER | {"models": ["rf", "quantile"]})
    models = cast(dict[str, float], prediction["models"])
    assert list(models) == ["rf", "quantile"]
    assert models["quantile"] == prediction["p50"]
    (default,) = predictions(http, {"orders": [ORDER], "models": []})
    assert "models" not in default
    assert default["p50"] == prediction["p50"]


def test_weak_models_are_marked(tmp_path: Path, app_kind: str) -> None:
    store = Store.open(str(tmp_path))
    weak = load_active_model(store, copy_bundle(store, put_bundle(store), weak_models=("rf",)))
    http = http_client(make_service(weak).service, app_kind)
    order = ORDER | {"travel_seconds": 300}
    for path, content in ((PREDICTIONS_PATH, ORDER), (DISPATCH_PATH, order)):
        response = http.post(path, json=content | {"models": ["rf", "quantile"]}, headers=HEADERS)
        assert cast(JsonObject, response.json)["weak_models"] == ["rf"]
        for models in ([], ["quantile"]):
            response = http.post(path, json=content | {"models": models}, headers=HEADERS)
            assert "weak_models" not in cast(JsonObject, response.json)
    active = cast(JsonObject, http.get("/v1/bundle", headers=HEADERS).json)
    assert active["weak_models"] == ["rf"]


def test_predictions_without_weak_models_have_no_mark(http: Client) -> None:
    assert "weak_models" not in post_json(http, ORDER | {"models": ["rf"]})


def test_predictions_invalid_order_gets_an_error_in_its_place(http: Client) -> None:
    rows = [ORDER, ORDER | {"order_value_gbp": "abc"}, {}, ORDER | {"number_of_items": 0, "restaurant_id": ""}, ORDER]
    results = predictions(http, {"orders": rows})
    errors = [cast(dict[str, str] | None, result.get("error")) for result in results]
    assert [error and (error["code"], error["field"]) for error in errors] == [
        None,
        ("unparsable_number", "order_value_gbp"),
        ("missing_value", "restaurant_id"),
        ("missing_value", "restaurant_id"),
        None,
    ]
    assert errors[1] is not None
    assert errors[1]["message"] == "order_value_gbp is 'abc'; expected a number from 0 to 100,000."


def test_predictions_huge_number_affects_only_its_order(http: Client) -> None:
    body = b'{"models": ["rf"], "orders": [%s, {"order_value_gbp": 1e999}, %s, {"restaurant_id": -1e999}]}'
    encoded = msgspec.json.encode(ORDER)
    identified = ORDER | {"order_id": 1}
    response = http.post(
        PREDICTIONS_PATH, data=body % (encoded, encoded), headers=HEADERS, content_type="application/json"
    )
    results = msgspec.json.decode(response.data)["predictions"]
    assert ["error" in result for result in results] == [False, True, False, True]
    assert "models" in results[0]
    response = http.post(
        PREDICTIONS_PATH,
        data=msgspec.json.encode(identified)[:-1] + b', "order_value_gbp": 1e400}',
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


def test_predictions_accept_every_timestamp_form(http: Client) -> None:
    cells: list[object] = ["2015-06-17T11:28:28Z", "2015-06-17 12:28:28", "2015-06-17 06:28:28-05:00"]
    cells += [1434540508, 1434540508.0, 1434540508000, "1434540508.0", "1434540508000000"]
    ready_at = {
        str(prediction["ready_at"])
        for cell in cells
        for prediction in predictions(http, ORDER | {"order_acknowledged_at": cell})
    }
    assert len(ready_at) == 1
    assert ready_at.pop().endswith("+01:00")


def test_predictions_unknown_restaurant_uses_its_country_zone(http: Client) -> None:
    order = ORDER | {"restaurant_id": 99, "order_acknowledged_at": "2015-06-17T11:00:00Z"}
    japan, default = predictions(http, {"orders": [order | {"country": "Japan"}, order]})
    assert (str(japan["ready_at"])[-6:], str(default["ready_at"])[-6:]) == ("+09:00", "+01:00")
    assert japan["fallback_level"] != "restaurant"


def test_predictions_shuffled_orders_get_their_own_result(http: Client) -> None:
    rng = np.random.default_rng(11)
    rows = [
        ORDER
        | {
            "order_id": f"A-{index}",
            "restaurant_id": int(rng.choice([10, 20, 30, 40])),
            "number_of_items": int(rng.integers(-1, 30)),
        }
        for index in range(150)
    ]
    separate = {row["order_id"]: predictions(http, row)[0] for row in rows}
    for _ in range(3):
        rows = [rows[index] for index in rng.permutation(len(rows))]
        results = predictions(http, {"orders": rows})
        assert [result["order_id"] for result in results] == [row["order_id"] for row in rows]
        for result in results:
            assert result == separate[cast(str, result["order_id"])]


def test_predictions_concurrent_requests_get_their_own_result(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(max_concurrent_requests=16))
    app = make_wsgi_app(setup.service, app_kind)  # One application for all threads, as in a worker.
    http = Client(app)
    rows = [
        ORDER | {"order_id": index, "restaurant_id": (10, 20, 30, 40)[index % 4], "number_of_items": index % 23 - 1}
        for index in range(120)
    ]
    requests = [row | {"models": ["rf"]} if index % 3 else row for index, row in enumerate(rows)]
    requests += [{"orders": rows[start : start + 7]} for start in range(0, 70, 7)]
    separate = [predictions(http, request) for request in requests]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            assert list(pool.map(lambda request: predictions(Client(app), request), requests)) == separate


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
        "application/vnd.example+json",
    ],
)
def test_predictions_accept_json_content_types(http: Client, content_type: str) -> None:
    response = http.post(PREDICTIONS_PATH, data=msgspec.json.encode(ORDER), headers=HEADERS, content_type=content_type)
    assert response.status_code == 200


def test_predictions_flask_and_fast_path_responses_are_equal(setup: ServiceSetup) -> None:
    bodies = [ORDER, {"orders": [ORDER, {}], "models": ["rf"]}, {"orders": 5}, [], {"models": ["x"]}]
    for body in bodies:
        responses = [
            http_client(setup.service, app_kind).post(
                PREDICTIONS_PATH, json=body, headers=HEADERS | {"X-Request-ID": "r-1"}
            )
            for app_kind in ("flask", "fast_path")
        ]
        assert responses[0].data == responses[1].data
        assert responses[0].status_code == responses[1].status_code
        assert sorted(responses[0].headers) == sorted(responses[1].headers)


def test_predictions_use_the_new_champion_after_a_change(
    tmp_path_factory: pytest.TempPathFactory, active_model: ActiveModel
) -> None:
    from tests.api.factories import make_active_model

    setup = make_service(active_model)
    http = Client(make_wsgi_app(setup.service, "fast_path"))
    first = post_json(http, ORDER)
    setup.champions.model = make_active_model(tmp_path_factory.mktemp("next"), shift=50.0)
    second = post_json(http, ORDER)
    assert first["bundle"] != second["bundle"]
    assert cast(list[dict[str, float]], second["predictions"])[0]["p50"] == pytest.approx(
        cast(list[dict[str, float]], first["predictions"])[0]["p50"] + 50, abs=0.001
    )


def test_vertex_routes_predict_and_report_readiness(
    http: Client, setup: ServiceSetup, active_model: ActiveModel
) -> None:
    response = http.post("/vertex/predict", json={"instances": [ORDER, {}], "parameters": {"models": ["rf"]}})
    assert response.status_code == 200
    valid, invalid = msgspec.json.decode(response.data)["predictions"]
    assert list(valid["models"]) == ["rf"]
    assert invalid["error"]["code"] == "missing_value"
    assert valid["p50"] == predictions(http, ORDER)[0]["p50"]
    assert setup.log.records[0].key_name == "vertex"
    assert msgspec.json.decode(http.get("/vertex/health").data)["bundle"] == active_model.bundle.manifest.id
    response = http.post("/vertex/predict", json={"orders": [ORDER]})
    assert response.status_code == 422
    assert "instances" in response.text


VERTEX_VALUES = ("2015-06-17 12:28:28.952789+01:00", 21.4, 10, 3, "a-1", "UK", "London", "burgers", 2)


def post_instances(http: Client, *instances: object) -> TestResponse:
    return http.post("/vertex/predict", json={"instances": instances})


@pytest.mark.parametrize("length", range(4, 10))
def test_vertex_array_equals_the_object_of_its_columns(http: Client, length: int) -> None:
    values = VERTEX_VALUES[:length]
    order = dict(zip(TAKE_HOME_FIELDS, values, strict=False))
    response = post_instances(http, values, order, [*values[:2], "10", *values[3:]])
    assert response.status_code == 200, response.text
    as_array, as_object, as_text = cast(list[JsonObject], cast(JsonObject, response.json)["predictions"])
    assert as_array == as_object == as_text
    assert "error" not in as_array


def test_vertex_array_invalid_value_affects_only_its_order(http: Client, setup: ServiceSetup) -> None:
    response = http.post(
        "/vertex/predict",
        data=b'{"instances": [["soon", 9, 10, 3], ["2015-06-17 12:00", 1e999, 10, 3], ["2015-06-17 12:00", 9, 10, 1]]}',
        content_type="application/json",
    )
    first, second, third = cast(list[JsonObject], cast(JsonObject, response.json)["predictions"])
    assert cast(JsonObject, first["error"])["field"] == "order_acknowledged_at"
    assert cast(JsonObject, second["error"])["code"] == "out_of_range"
    assert "error" not in third
    assert len(setup.log.records[0].orders) == 3


@pytest.mark.parametrize("length", [0, 3, 10])
def test_vertex_array_of_wrong_length_names_the_columns(http: Client, length: int) -> None:
    response = post_instances(http, ORDER, [1] * length)
    problem = cast(JsonObject, response.json)
    assert response.status_code == 422
    assert (problem["row"], problem["field"], problem["value"]) == (1, "instances[1]", f"{length} values")
    assert f"4 to 9 values in this order: {', '.join(TAKE_HOME_FIELDS)}" in str(problem["expected"])
    assert "instanceConfig.instanceType" in str(problem["detail"])


@pytest.mark.parametrize("instance", [7, "text", None, True])
def test_vertex_instance_of_another_type_returns_422(http: Client, instance: object) -> None:
    response = post_instances(http, VERTEX_VALUES, instance)
    assert response.status_code == 422
    assert cast(JsonObject, response.json)["row"] == 1


@pytest.mark.parametrize("path", [PREDICTIONS_PATH, DISPATCH_PATH])
def test_empty_list_of_orders_has_no_predictions(http: Client, path: str) -> None:
    response = http.post(path, json={"orders": []}, headers=HEADERS)
    assert (response.status_code, cast(JsonObject, response.json)["predictions"]) == (200, [])


def test_take_home_empty_list_has_no_predictions(http: Client) -> None:
    response = http.post(TAKE_HOME_PATH, json={"json_data": "[]"}, headers=HEADERS)
    assert response.status_code == 201
    assert set(map(len, cast(dict[str, list[float]], response.json).values())) == {0}


def test_object_without_orders_is_one_order(http: Client) -> None:
    response = http.post(PREDICTIONS_PATH, json={}, headers=HEADERS)
    (item,) = cast(dict[str, list[JsonObject]], response.json)["predictions"]
    assert response.status_code == 200
    assert cast(JsonObject, item["error"])["code"] == "missing_value"


@pytest.mark.parametrize("body", [[], 7, {"orders": 7}, {"orders": [7]}])
def test_other_structure_than_orders_returns_422(http: Client, body: object) -> None:
    assert http.post(PREDICTIONS_PATH, json=body, headers=HEADERS).status_code == 422


def test_predictions_reject_arrays(http: Client) -> None:
    response = http.post(PREDICTIONS_PATH, json={"orders": [VERTEX_VALUES]}, headers=HEADERS)
    assert response.status_code == 422


def test_vertex_route_can_replace_the_take_home_path(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(vertex_predict_route="/predict", vertex_health_route="/healthz"))
    response = http_client(setup.service, app_kind).post("/predict", json={"instances": [ORDER]})
    assert response.status_code == 200
    assert len(msgspec.json.decode(response.data)["predictions"]) == 1


def test_vertex_routes_can_share_one_path(active_model: ActiveModel, app_kind: str) -> None:
    http = http_client(
        make_service(active_model, FakeSettings(vertex_predict_route="/v", vertex_health_route="/v")).service, app_kind
    )
    assert (http.get("/v").status_code, http.post("/v", json={"instances": []}).status_code) == (200, 200)


def test_vertex_route_without_setting_returns_404(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(vertex_predict_route=None, vertex_health_route=None))
    assert http_client(setup.service, app_kind).post("/vertex/predict", json={"instances": []}).status_code == 404
