"""The endpoints for metadata, health, metrics, and the OpenAPI document."""

from __future__ import annotations

import re
from typing import cast

import msgspec
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.bundle.manifest import encode_manifest
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY
from tests.api.factories import HEADERS, KEY_NAME, ORDER, ServiceSetup

Document = dict[str, object]


def get(http: Client, path: str) -> Document:
    response = http.get(path, headers=HEADERS)
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    assert response.headers["X-Request-ID"]
    return msgspec.json.decode(response.data, type=Document)


def test_bundle_endpoint_returns_the_active_bundle(http: Client, active_model: ActiveModel) -> None:
    document = get(http, "/v1/bundle")
    assert document["manifest"] == msgspec.json.decode(encode_manifest(active_model.bundle.manifest))
    assert (document["champion"], document["champion_since"]) == (1, "2015-06-17T04:00:00Z")
    assert document["metrics"] == active_model.bundle.manifest.metrics
    assert "champion_error" not in document


def test_readyz_rejected_champion_reports_the_error(
    http: Client, setup: ServiceSetup, active_model: ActiveModel
) -> None:
    assert get(http, "/readyz") == {
        "ready": True,
        "bundle": active_model.bundle.manifest.id,
        "champion": 1,
        "loaded_at": active_model.loaded_at,
    }
    setup.champions.error = "damaged"
    assert (get(http, "/readyz")["champion_error"], get(http, "/v1/bundle")["champion_error"]) == ("damaged", "damaged")


def test_data_dictionary_endpoint_matches_the_declaration(http: Client) -> None:
    document = get(http, "/v1/data-dictionary")
    for table, columns in (("orders", ORDERS_DICTIONARY), ("restaurants", RESTAURANTS_DICTIONARY)):
        described = cast(list[Document], document[table])
        assert [(item["name"], item["description"], item["unit"], item["expected"]) for item in described] == [
            (column.name, column.description, column.unit, column.expected_text) for column in columns
        ]


def test_healthz_returns_ok(http: Client) -> None:
    assert http.get("/healthz").json == {"status": "ok"}


def test_metrics_endpoint_counts_requests_by_key_name(http: Client) -> None:
    http.post(PREDICTIONS_PATH, json={"orders": [ORDER, {}]}, headers=HEADERS)
    http.post(TAKE_HOME_PATH, json={"json_data": "[]"}, headers={"aikey": "wrong key"})
    response = http.get("/metrics")
    assert response.content_type.startswith("text/plain; version=0.0.4")
    counters = [line for line in response.text.splitlines() if "_total" in line and not line.startswith("#")]
    assert any(
        PREDICTIONS_PATH in line and "200" in line and KEY_NAME in line and line.endswith(" 1.0") for line in counters
    )
    assert any(TAKE_HOME_PATH in line and "401" in line for line in counters)
    assert "wrong key" not in response.text


def test_openapi_documents_every_field_with_its_unit(http: Client) -> None:
    document = get(http, "/openapi.json")
    schemas = cast(dict[str, dict[str, dict[str, Document]]], cast(Document, document["components"])["schemas"])
    request = schemas["PredictionRequest"]["properties"]
    for column in ORDERS_DICTIONARY:
        if column.name not in {"order_ready_at", "prep_time_seconds"}:
            assert column.expected_text in str(request[column.name]["description"])
            assert column.unit in str(request[column.name]["description"])
    for name in ("p10", "p50", "p80", "p90"):
        assert str(schemas["Prediction"]["properties"][name]["description"]).startswith("Seconds")
    assert request["models"]["anyOf"] == [{"type": "array", "items": {"enum": ["rf", "quantile"]}}, {"type": "null"}]
    assert request["orders"]["maxItems"] == schemas["VertexRequest"]["properties"]["instances"]["maxItems"] == 1000
    assert str(schemas["TakeHomeRequest"]["properties"]["json_data"]["description"]).endswith("At most 1,000 rows.")


def test_openapi_references_resolve(http: Client) -> None:
    text = http.get("/openapi.json").text
    document = get(http, "/openapi.json")
    schemas = cast(dict[str, object], cast(Document, document["components"])["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= schemas.keys()


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/index.html"])
def test_swagger_ui_needs_no_network(http: Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 200
    assert '"/openapi.json"' in response.text
    assets = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert assets
    assert all(path.startswith("/docs/") for path in assets)
    for asset_path in assets:
        asset = http.get(asset_path)
        assert asset.status_code == 200, asset_path
        assert len(asset.data) > 100
        asset.close()
    assert '"validatorUrl": null' in response.text


def test_swagger_ui_path_traversal_returns_404(http: Client) -> None:
    assert http.get("/docs/../app.py").status_code == 404
    assert http.get("/docs/%2e%2e/flask_swagger_ui.py").status_code == 404
