"""`/openapi.json`: written from the types that decode requests and encode answers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import msgspec

from preptime.api.answer import (
    BundleInUse,
    DataDictionary,
    DemoResponse,
    Failure,
    Health,
    Prediction,
    PredictionResponse,
    Readiness,
    VertexResponse,
)
from preptime.api.exchange import DEMO, PREDICTIONS
from preptime.api.order import DemoRequest, PredictionRequest, VertexRequest
from preptime.api.problems import DemoError, Problem
from preptime.api.service import ApiSettings
from preptime.errors import FaultError

_TYPES: tuple[type[msgspec.Struct], ...] = (
    *(PredictionRequest, PredictionResponse, Prediction, Failure, DemoRequest, DemoResponse, DemoError),
    *(VertexRequest, VertexResponse, Problem, Health, Readiness, BundleInUse, DataDictionary),
)
_SECURITY = ({"aikey": list[str]()}, {"bearer": list[str]()})
_REFUSALS = {
    400: "The body is not JSON.",
    401: "The key is missing or wrong.",
    413: "The body is over the limit.",
    415: "A type or an encoding that is not taken.",
    422: "JSON, but not orders; more orders than the limit; an unknown model.",
    500: "A fault of the server's. The request id finds it in the log.",
    503: "No champion yet, or too many requests waiting: `Retry-After` says when to ask again.",
}
_DEMO_REFUSALS = _REFUSALS | {
    400: "Not JSON, or a column is missing.",
    422: "More rows than the limit.",
}
_EXAMPLE = {
    "order_id": "A-10017",
    "order_acknowledged_at": "2015-06-01 12:28:28+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 1326,
    "number_of_items": 3,
}

Document = dict[str, object]


def document(settings: ApiSettings, models: Sequence[str]) -> Document:
    """The OpenAPI document of a server with these limits, whose bundle has these `models` (none: not known yet)."""
    _, components = msgspec.json.schema_components(
        _TYPES, ref_template="#/components/schemas/{name}", schema_hook=_anything
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "preptime",
            "version": version("preptime"),
            "summary": "When will the food be ready?",
            "description": "Times in seconds; moments as text with an offset. Keys go in the header `aikey`.",
        },
        "paths": _paths(settings),
        "components": {
            "schemas": _limited(components, settings, models),
            "securitySchemes": {
                "aikey": {"type": "apiKey", "in": "header", "name": "aikey"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _anything(kind: type) -> Document:
    """The schema of a field that takes any value."""
    if kind is object:
        return {"type": ["string", "number", "boolean", "object", "array", "null"]}
    raise FaultError(f"A field of type {kind} has no schema.")


def _limited(components: dict[str, Document], settings: ApiSettings, models: Sequence[str]) -> Document:
    """The schemas with what only a running server knows: its limits, and its bundle's models."""
    for owner, name in (("PredictionRequest", "orders"), ("VertexRequest", "instances")):
        _property(components[owner], name)["maxItems"] = settings.max_orders
    inside = _property(components["DemoRequest"], "json_data")
    inside["description"] = f"{inside['description']} At most {settings.max_orders:,} rows."
    if models:
        named = {"type": "array", "items": {"enum": list(models)}}
        for owner in ("PredictionRequest", "Parameters"):
            schema = _property(components[owner], "models")
            schema["anyOf"] = [named, {"type": "null"}]
    return dict(components)


def _property(schema: Document, name: str) -> Document:
    properties = msgspec.convert(schema["properties"], dict[str, Document])
    schema["properties"] = properties
    return properties[name]


def _paths(settings: ApiSettings) -> Document:
    paths: Document = {
        PREDICTIONS: {"post": _post("predictions", "Predict orders", "PredictionRequest", "PredictionResponse")},
        DEMO: {
            "post": _post(
                "demo", "The demo's contract, kept", "DemoRequest", "DemoResponse", status=201, refusal="DemoError"
            )
        },
        "/v1/bundle": {"get": _get("bundle", "The bundle in use", "BundleInUse", keyed=True, refusals=(401, 500, 503))},
        "/v1/data-dictionary": {
            "get": _get(
                "data_dictionary",
                "Columns of orders and restaurants",
                "DataDictionary",
                keyed=True,
                refusals=(401, 500),
            )
        },
        "/healthz": {"get": _get("healthz", "The process lives", "Health", refusals=(500,))},
        "/readyz": {"get": _get("readyz", "A verified bundle is loaded", "Readiness", not_ready="Readiness")},
        "/metrics": {"get": _metrics()},
    }
    if settings.vertex_predict_route is not None:
        vertex = _post("vertex", "Vertex AI's contract", "VertexRequest", "VertexResponse")
        del vertex["security"]
        paths[settings.vertex_predict_route] = {"post": vertex}
    if settings.vertex_health_route is not None and settings.vertex_health_route not in paths:
        paths[settings.vertex_health_route] = {
            "get": _get("vertex_health", "As /readyz", "Readiness", not_ready="Readiness")
        }
    return paths


def _post(
    name: str, summary: str, request: str, response: str, *, status: int = 200, refusal: str = "Problem"
) -> Document:
    media: Document = {"schema": _ref(request)}
    if request == "PredictionRequest":
        media["examples"] = {
            "one order": {"value": _EXAMPLE},
            "several": {"value": {"orders": [_EXAMPLE, _EXAMPLE], "models": []}},
        }
    return {
        "operationId": name,
        "summary": summary,
        "security": list(_SECURITY),
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": {str(status): _answer("An answer to every order.", response)}
        | _refused(refusal, tuple(_REFUSALS)),
    }


def _get(
    name: str,
    summary: str,
    response: str,
    *,
    keyed: bool = False,
    refusals: tuple[int, ...] = (),
    not_ready: str | None = None,
) -> Document:
    found: Document = {"operationId": name, "summary": summary}
    if keyed:
        found["security"] = list(_SECURITY)
    responses = {"200": _answer(summary, response)} | _refused("Problem", refusals)
    if not_ready:
        responses["503"] = _answer("No bundle is loaded yet.", not_ready)
    return found | {"responses": responses}


def _metrics() -> Document:
    text = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": "metrics", "summary": "Counts of all workers", "responses": {"200": text}}


def _refused(schema: str, statuses: Sequence[int]) -> dict[str, Document]:
    media = "application/json" if schema == "DemoError" else "application/problem+json"
    words = _DEMO_REFUSALS if schema == "DemoError" else _REFUSALS
    found = {str(status): _answer(words[status], schema, media) for status in statuses}
    if "503" in found:
        found["503"]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return found


def _answer(description: str, schema: str, media: str = "application/json") -> Document:
    return {"description": description, "content": {media: {"schema": _ref(schema)}}}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
