"""`POST /v1/explanations`: predictions, and how many seconds each feature adds to the p50."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest
from werkzeug.test import Client

from preptime import AsyncClient
from preptime.api.active_model import ActiveModel
from preptime.api.app import create_app
from preptime.api.handler import EXPLANATIONS_PATH, PREDICTIONS_PATH
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.client import Client as ApiClient
from preptime.domain.prediction_records import ExplanationResponse
from tests.api.factories import (
    HEADERS,
    ORDER,
    FakeSettings,
    ServiceSetup,
    http_client,
    load_active_model,
    make_service,
)
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, running_server
from tests.event_loop import run_coroutine
from tests.explanations.bundles import release_store

Document = dict[str, Any]
SUM_SECONDS = 1e-3
KITCHEN = {"open_orders": 4}


@pytest.fixture(scope="module")
def explained_model(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """Return the bundle of this release, which has a live model and explanations."""
    return load_active_model(*release_store(tmp_path_factory.mktemp("release")))


@pytest.fixture
def explained(explained_model: ActiveModel) -> ServiceSetup:
    return make_service(explained_model)


@pytest.fixture
def explained_http(explained: ServiceSetup, app_kind: str) -> Client:
    return http_client(explained.service, app_kind)


def post(http: Client, content: object, path: str = EXPLANATIONS_PATH) -> list[Document]:
    response = http.post(path, json=content, headers=HEADERS)
    assert response.status_code == 200, response.text
    return cast(list[Document], cast(Document, response.json)["predictions"])


def parts(item: Document) -> list[float]:
    explanation = item["explanation"]
    return [explanation["base"], explanation["rounding"], *(group["seconds"] for group in explanation["groups"])]


def test_explanations_add_up_to_the_p50_of_the_prediction(explained_http: Client) -> None:
    orders = [ORDER | {"order_id": "A-1"}, ORDER | {"number_of_items": 9, "kitchen": KITCHEN}]
    items = post(explained_http, {"orders": orders, "models": ["rf"]})
    predictions = post(explained_http, {"orders": orders, "models": ["rf"]}, PREDICTIONS_PATH)
    for item, prediction in zip(items, predictions, strict=True):
        assert {name: item[name] for name in prediction} == prediction
        assert sum(parts(item)) == pytest.approx(item["p50"], abs=SUM_SECONDS)
        for group in item["explanation"]["groups"]:
            assert sum(group["features"].values()) == pytest.approx(group["seconds"], abs=SUM_SECONDS)
        assert item["explanation"]["sentence"].endswith(".")
    first, second = items
    assert [group["name"] for group in first["explanation"]["groups"]] == [
        "restaurant",
        "time",
        "basket",
        "place",
        "kitchen",
    ]
    assert first["explanation"]["groups"][4]["features"] == {"open_orders": 0.0, "recent_residual": 0.0}
    assert (first["live"], second["live"]) == (False, True)
    assert second["explanation"]["groups"][4]["features"]["open_orders"] != 0
    assert first["explanation"]["base"] != second["explanation"]["base"]


def test_explanations_of_several_requests_are_their_own(explained_http: Client) -> None:
    """Invalid orders get errors, and the others the explanation that they get alone."""
    orders = [ORDER, ORDER | {"number_of_items": None}, ORDER | {"order_value_gbp": 90, "kitchen": KITCHEN}]
    first, invalid, last = post(explained_http, {"orders": orders})
    assert invalid["error"]["code"] == "missing_value"
    assert post(explained_http, orders[0]) == [first]
    assert post(explained_http, orders[2]) == [last]
    assert post(explained_http, {"orders": []}) == []


def test_explanations_are_counted_and_not_recorded(explained: ServiceSetup, explained_http: Client) -> None:
    post(explained_http, ORDER)
    assert explained.log.records == []
    post(explained_http, ORDER, PREDICTIONS_PATH)
    assert len(explained.log.records) == 1
    metrics = explained_http.get("/metrics").text
    assert 'preptime_requests_total{endpoint="/v1/explanations",key="dispatch",status="200"} 1.0' in metrics


def test_explanations_require_a_key_and_a_bundle_with_trees(http: Client) -> None:
    assert http.post(EXPLANATIONS_PATH, json=ORDER).status_code == 401
    response = http.post(EXPLANATIONS_PATH, json=ORDER, headers=HEADERS)
    problem = cast(Document, response.json)
    assert (response.status_code, problem["status"]) == (409, 409)
    assert "has no explanations: its model quantile doesn't consist of trees of CatBoost" in problem["detail"]
    assert http.get(EXPLANATIONS_PATH, headers=HEADERS).status_code == 405


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 422), (b'{"models": ["none"]}', 422), (b"x" * 200_001, 413)]
)
def test_explanations_have_the_errors_of_predictions(explained_http: Client, body: bytes, status: int) -> None:
    responses = [
        explained_http.post(path, data=body, headers=HEADERS | {"Content-Type": "application/json"})
        for path in (EXPLANATIONS_PATH, PREDICTIONS_PATH)
    ]
    assert [response.status_code for response in responses] == [status, status]
    documents = [cast(Document, response.json) | {"request_id": ""} for response in responses]
    assert documents[0] == documents[1]


def test_response_has_the_documented_schema(explained: ServiceSetup, explained_http: Client) -> None:
    document = cast(Document, create_app(explained.service).test_client().get("/openapi.json").json)
    operation = document["paths"][EXPLANATIONS_PATH]["post"]
    media = operation["responses"]["200"]["content"]["application/json"]
    schema = media["schema"] | {"components": document["components"]}
    validator = jsonschema_rs.validator_for(schema)
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        validator.validate(explained_http.post(EXPLANATIONS_PATH, json=example["value"], headers=HEADERS).json)
    response = explained_http.post(EXPLANATIONS_PATH, json={"orders": [ORDER, {}]}, headers=HEADERS)
    validator.validate(response.json)
    validator.validate(media["example"])
    item = cast(Document, response.json)["predictions"][0]
    del item["explanation"]["groups"]
    assert not validator.is_valid({"bundle": "b", "predictions": [item]})


def test_client_explains_through_a_server(tmp_path: Path) -> None:
    store, bundle_id = release_store(tmp_path / "models")
    day = Bundle.load(store.fetch(bundle_id)).manifest.date
    ChampionLog(store).append(
        LogEntryDraft(bundle=bundle_id, date=day, action="promote", reason="test", by="test", at="now"), None
    )
    order = ORDER | {"order_acknowledged_at": str(dt.datetime.combine(day, dt.time(18, 30)))}
    with running_server(tmp_path, SERVE_COMMAND) as server, ApiClient(server.url, PLAIN_KEY) as client:
        server.wait_until("/readyz")
        response = client.explain([order, {**order, "number_of_items": "many"}])
        predicted, invalid = response
        assert predicted.explanation is not None
        parts = (group.seconds for group in predicted.explanation.groups)
        total = predicted.explanation.base + predicted.explanation.rounding + sum(parts)
        assert total == pytest.approx(predicted.p50, abs=SUM_SECONDS)
        assert predicted.p50 == client.predict(order)[0].p50
        assert (invalid.explanation, invalid.error is not None, response.bundle) == (None, True, bundle_id)
        assert run_coroutine(explain_with_tasks(server.url, [order, {**order, "number_of_items": "many"}])) == response


async def explain_with_tasks(url: str, orders: list[dict[str, object]]) -> ExplanationResponse:
    """Return the response that the client for asyncio gets."""
    async with AsyncClient(url, PLAIN_KEY) as client:
        return await client.explain(orders)


def test_explained_order_counts_twice_in_the_limit(explained_model: ActiveModel, app_kind: str) -> None:
    """An explanation takes several times the memory of a prediction."""
    setup = make_service(explained_model, FakeSettings(max_orders=1000, max_concurrent_orders=1000))
    http, limits = http_client(setup.service, app_kind), setup.service.limits
    other = limits.admit(0)
    limits.add_orders(other, 500)
    statuses = [
        http.post(path, json={"orders": [ORDER] * count}, headers=HEADERS).status_code
        for path, count in ((EXPLANATIONS_PATH, 251), (EXPLANATIONS_PATH, 250), (PREDICTIONS_PATH, 251))
    ]
    assert statuses == [503, 200, 200]
    limits.release(other)
    assert len(post(http, {"orders": [ORDER] * 1000})) == 1000, "an idle worker accepts the largest request"
    assert setup.service.concurrent_orders == 0


def test_explanations_of_an_empty_list_are_empty(explained_http: Client) -> None:
    assert post(explained_http, {"orders": []}) == []
