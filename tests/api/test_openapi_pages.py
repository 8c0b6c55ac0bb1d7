"""The endpoints for metadata, health, metrics, and the OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import cast

import jsonschema_rs
import msgspec
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.app import create_app
from preptime.api.handler import EXPLANATIONS_PATH, PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.worker import OWN_GET_ROUTES
from preptime.bundle.manifest import encode_manifest
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY
from tests.api.factories import (
    HEADERS,
    KEY_NAME,
    ORDER,
    TAKE_HOME_FIELDS,
    TAKE_HOME_TYPES,
    FakeSettings,
    ServiceSetup,
    http_client,
    make_service,
)

Document = dict[str, object]


def get(http: Client, path: str) -> Document:
    response = http.get(path, headers=HEADERS)
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    assert response.headers["X-Request-ID"]
    return msgspec.json.decode(response.data, type=Document)


def schemas(http: Client) -> dict[str, dict[str, dict[str, Document]]]:
    """Return the schemas of the OpenAPI document by name."""
    components = cast(Document, get(http, "/openapi.json")["components"])
    return cast(dict[str, dict[str, dict[str, Document]]], components["schemas"])


def post_operations(http: Client) -> dict[str, Document]:
    """Return the operations with a request body, by path."""
    paths = cast(dict[str, dict[str, Document]], get(http, "/openapi.json")["paths"])
    return {path: item["post"] for path, item in paths.items() if "post" in item}


def request_examples(operation: Document) -> Document:
    """Return the example bodies of an operation, by name."""
    content = cast(dict[str, dict[str, Document]], cast(Document, operation["requestBody"])["content"])
    examples = cast(dict[str, Document], content["application/json"]["examples"])
    return {name: example["value"] for name, example in examples.items()}


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
        "store_available": True,
    }
    setup.champions.error = "damaged"
    assert (get(http, "/readyz")["champion_error"], get(http, "/v1/bundle")["champion_error"]) == ("damaged", "damaged")


def test_data_dictionary_endpoint_matches_the_declaration(http: Client) -> None:
    document = get(http, "/v1/data-dictionary")
    for table, columns in (("orders", ORDERS_DICTIONARY), ("restaurants", RESTAURANTS_DICTIONARY)):
        described = cast(list[Document], document[table])
        assert [(item["name"], item["description"], item["unit"], item["expected"]) for item in described] == [
            ("order_value_gbp", column.description, "GBP", column.expected_text)
            if column.name == "order_value"
            else (column.name, column.description, column.unit, column.expected_text)
            for column in columns
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
    for field in TAKE_HOME_TYPES.fields:
        assert field.expected in str(request[field.name]["description"])
        assert field.unit in str(request[field.name]["description"])
    for name in ("p10", "p50", "p80", "p90"):
        assert str(schemas["Prediction"]["properties"][name]["description"]).startswith("Seconds")
    assert request["models"]["anyOf"] == [
        {
            "type": "array",
            "items": {"type": "string", "enum": ["rf", "quantile"]},
            "maxItems": 2,
            "uniqueItems": True,
        },
        {"type": "null"},
    ]
    assert request["orders"]["maxItems"] == schemas["VertexRequest"]["properties"]["instances"]["maxItems"] == 1000
    assert str(schemas["TakeHomeRequest"]["properties"]["json_data"]["description"]).endswith("At most 1,000 rows.")


@pytest.mark.parametrize("type_name", ["Order", "PredictionRequest", "DispatchOrder", "DispatchRequest"])
def test_openapi_order_fields_have_precise_types(http: Client, type_name: str) -> None:
    properties = schemas(http)[type_name]["properties"]
    types = {name: (properties[name]["type"], properties[name].get("format")) for name in TAKE_HOME_FIELDS}
    assert types == {
        "order_acknowledged_at": ("string", "date-time"),
        "order_value_gbp": ("number", None),
        "restaurant_id": (["integer", "string"], None),
        "number_of_items": ("integer", None),
        "order_id": (["string", "number", "null"], None),
        "country": (["string", "integer", "null"], None),
        "city": (["string", "integer", "null"], None),
        "type_of_food": (["string", "integer", "null"], None),
        "open_orders": (["integer", "null"], None),
    }
    ranges = {name: (field["minimum"], field["maximum"]) for name, field in properties.items() if "minimum" in field}
    assert ranges == {"order_value_gbp": (0, 100_000), "number_of_items": (1, 10_000), "open_orders": (0, 10_000)}
    for name in TAKE_HOME_FIELDS:
        (example,) = cast(list[object], properties[name]["examples"])
        jsonschema_rs.validator_for(properties[name], validate_formats=True).validate(example)


def test_openapi_order_requires_the_columns_of_the_dictionary(http: Client) -> None:
    assert cast(object, schemas(http)["Order"]["required"]) == list(TAKE_HOME_FIELDS[:4])
    items = cast(Document, schemas(http)["VertexRequest"]["properties"]["instances"]["items"])
    array = cast(list[Document], items["anyOf"])[1]
    assert (array["minItems"], array["maxItems"]) == (4, len(TAKE_HOME_FIELDS))


def test_openapi_schemas_are_valid_json_schemas(http: Client) -> None:
    for name, schema in schemas(http).items():
        jsonschema_rs.meta.validate(schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
        assert cast(object, schema["title"]) == name


def test_openapi_examples_have_the_date_of_the_bundle(http: Client, active_model: ActiveModel) -> None:
    for path, operation in post_operations(http).items():
        if path == EXPLANATIONS_PATH:
            continue  # this bundle has no explanations: see `test_explanations`
        for name, example in request_examples(operation).items():
            response = http.post(path, json=example, headers=HEADERS)
            assert response.status_code in {200, 201}, (name, response.text)
            assert "error" not in response.text, (name, response.text)
            text = json.dumps(example)
            assert active_model.bundle.manifest.date.isoformat() in text
            assert len(set(re.findall(r"A-\d+", text))) == (1 if name == "one order" else 2)


def test_openapi_response_examples_match_their_schemas(http: Client) -> None:
    document = get(http, "/openapi.json")
    examples = 0
    for operation in post_operations(http).values():
        for status, response in cast(dict[str, dict[str, dict[str, Document]]], operation["responses"]).items():
            (content,) = response["content"].values()
            example = content["example"]
            schema = cast(Document, content["schema"]) | {"components": document["components"]}
            jsonschema_rs.validator_for(schema, validate_formats=True).validate(example)
            assert cast(Document, example).get("status", int(status)) == int(status)
            examples += 1
    assert examples == 45


def test_openapi_without_a_bundle_has_valid_examples(app_kind: str) -> None:
    http = http_client(make_service(None).service, app_kind)
    texts = [
        json.dumps(example) for item in post_operations(http).values() for example in request_examples(item).values()
    ]
    assert len(texts) == 9
    assert all("2015-06-01T" in text for text in texts)


def test_openapi_operations_have_a_group_and_all_statuses(http: Client) -> None:
    document = get(http, "/openapi.json")
    groups = {tag["name"] for tag in cast(list[Document], document["tags"])}
    operations = [
        operation
        for item in cast(dict[str, dict[str, Document]], document["paths"]).values()
        for operation in item.values()
    ]
    assert groups == {name for operation in operations for name in cast(list[str], operation["tags"])}
    assert all(len(cast(list[str], operation["tags"])) == 1 for operation in operations)
    for path, operation in post_operations(http).items():
        responses = cast(dict[str, Document], operation["responses"])
        key_statuses = set() if path == "/vertex/predict" else {"401"}
        conflicts = {"409"} if path == EXPLANATIONS_PATH else set()
        common = {"400", "408", "413", "415", "422", "500", "503"}
        assert set(responses) - {"200", "201"} == common | key_statuses | conflicts
        assert "Retry-After" in cast(Document, responses["503"]["headers"])
        assert bool(operation["security"]) == bool(key_statuses)
        for status in key_statuses:
            assert "WWW-Authenticate" in cast(Document, responses[status]["headers"])


def test_openapi_references_resolve(http: Client) -> None:
    text = http.get("/openapi.json").text
    document = get(http, "/openapi.json")
    schemas = cast(dict[str, object], cast(Document, document["components"])["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= schemas.keys()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_root_redirects_to_the_docs_of_any_host(http: Client, method: str) -> None:
    response = http.open("/", method=method, headers={"Host": "evil.example"})
    assert (response.status_code, response.headers["Location"]) == (302, "/docs")
    assert http.open("/", method=method, follow_redirects=True).status_code == 200
    assert http.post("/").status_code == 405


def test_health_route_of_vertex_can_be_the_root(active_model: ActiveModel, app_kind: str) -> None:
    settings = FakeSettings(vertex_health_route="/")
    assert http_client(make_service(active_model, settings).service, app_kind).get("/").json is not None


def test_own_get_routes_are_those_of_the_application(active_model: ActiveModel) -> None:
    app = create_app(make_service(active_model, FakeSettings(vertex_health_route=None)).service)
    routes = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    pages = {route for route in routes if route.startswith("/docs/")}
    assert routes - pages == OWN_GET_ROUTES - {"/docs"} | {"/", "/healthz", "/readyz"}
    assert pages


@pytest.mark.parametrize(
    ("predict_route", "health_route", "operations"),
    [
        ("/v", "/v", {"/v": {"predict_vertex", "check_vertex_readiness"}}),
        (
            "/readyz",
            "/predict",
            {
                "/readyz": {"predict_vertex", "check_readiness"},
                "/predict": {"predict_take_home", "check_vertex_readiness"},
            },
        ),
        ("/predict", "/healthz", {"/predict": {"predict_vertex"}, "/healthz": {"check_liveness"}}),
    ],
)
def test_openapi_has_all_operations_of_a_shared_path(
    active_model: ActiveModel, predict_route: str, health_route: str, operations: dict[str, set[str]]
) -> None:
    settings = FakeSettings(vertex_predict_route=predict_route, vertex_health_route=health_route)
    document = get(http_client(make_service(active_model, settings).service, "flask"), "/openapi.json")
    paths = cast(dict[str, dict[str, Document]], document["paths"])
    names = {path: {operation["operationId"] for operation in paths[path].values()} for path in operations}
    assert names == operations


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
    assert '"defaultModelsExpandDepth": 0' in response.text
    assert "localhost" not in response.text, "the page doesn't repeat the Host header"


def test_swagger_ui_path_traversal_returns_404(http: Client) -> None:
    assert http.get("/docs/../app.py").status_code == 404
    assert http.get("/docs/%2e%2e/flask_swagger_ui.py").status_code == 404
