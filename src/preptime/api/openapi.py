"""`/openapi.json`: written from the types that decode requests and encode answers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import msgspec

from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.schema import (
    ActiveBundle,
    DataDictionary,
    HealthStatus,
    Prediction,
    PredictionError,
    PredictionRequest,
    PredictionResponse,
    Problem,
    Readiness,
    TakeHomeError,
    TakeHomeRequest,
    TakeHomeResponse,
    VertexRequest,
    VertexResponse,
)
from preptime.api.service import ApiSettings
from preptime.errors import OperationError

_SCHEMA_TYPES: tuple[type[msgspec.Struct], ...] = (
    *(
        PredictionRequest,
        PredictionResponse,
        Prediction,
        PredictionError,
        TakeHomeRequest,
        TakeHomeResponse,
        TakeHomeError,
    ),
    *(VertexRequest, VertexResponse, Problem, HealthStatus, Readiness, ActiveBundle, DataDictionary),
)
_SECURITY = ({"aikey": list[str]()}, {"bearer": list[str]()})
_ERROR_DESCRIPTIONS = {
    400: "The body is not JSON.",
    401: "The key is missing or wrong.",
    413: "The body is over the limit.",
    415: "A type or an encoding that is not taken.",
    422: "JSON, but not orders; more orders than the limit; an unknown model.",
    500: "A fault of the server's. The request id finds it in the log.",
    503: "No champion yet, or too many requests waiting: `Retry-After` says when to ask again.",
}
_TAKE_HOME_ERROR_DESCRIPTIONS = _ERROR_DESCRIPTIONS | {
    400: "Not JSON, or a column is missing.",
    422: "More rows than the limit.",
}
_EXAMPLE_ORDER = {
    "order_id": "A-10017",
    "order_acknowledged_at": "2015-06-01 12:28:28+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 1326,
    "number_of_items": 3,
}

JsonObject = dict[str, object]


def build_openapi(settings: ApiSettings, models: Sequence[str]) -> JsonObject:
    """The OpenAPI document of a server with these limits, whose bundle has these `models` (none: not known yet)."""
    _, components = msgspec.json.schema_components(
        _SCHEMA_TYPES, ref_template="#/components/schemas/{name}", schema_hook=_any_value_schema
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "preptime",
            "version": version("preptime"),
            "summary": "When will the food be ready?",
            "description": "Times in seconds; moments as text with an offset. Keys go in the header `aikey`.",
        },
        "paths": _path_items(settings),
        "components": {
            "schemas": _apply_limits(components, settings, models),
            "securitySchemes": {
                "aikey": {"type": "apiKey", "in": "header", "name": "aikey"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _any_value_schema(field_type: type) -> JsonObject:
    """The schema of a field that takes any value."""
    if field_type is object:
        return {"type": ["string", "number", "boolean", "object", "array", "null"]}
    raise OperationError(f"A field of type {field_type} has no schema.")


def _apply_limits(components: dict[str, JsonObject], settings: ApiSettings, models: Sequence[str]) -> JsonObject:
    """The schemas with what only a running server knows: its limits, and its bundle's models."""
    for type_name, name in (("PredictionRequest", "orders"), ("VertexRequest", "instances")):
        _property_schema(components[type_name], name)["maxItems"] = settings.max_orders
    json_data = _property_schema(components["TakeHomeRequest"], "json_data")
    json_data["description"] = f"{json_data['description']} At most {settings.max_orders:,} rows."
    if models:
        model_list = {"type": "array", "items": {"enum": list(models)}}
        for type_name in ("PredictionRequest", "VertexParameters"):
            schema = _property_schema(components[type_name], "models")
            schema["anyOf"] = [model_list, {"type": "null"}]
    return dict(components)


def _property_schema(schema: JsonObject, name: str) -> JsonObject:
    properties = msgspec.convert(schema["properties"], dict[str, JsonObject])
    schema["properties"] = properties
    return properties[name]


def _path_items(settings: ApiSettings) -> JsonObject:
    paths: JsonObject = {
        PREDICTIONS_PATH: {
            "post": _post_operation("predictions", "Predict orders", "PredictionRequest", "PredictionResponse")
        },
        TAKE_HOME_PATH: {
            "post": _post_operation(
                "take_home",
                "The demo's contract, kept",
                "TakeHomeRequest",
                "TakeHomeResponse",
                status=201,
                error_schema="TakeHomeError",
            )
        },
        "/v1/bundle": {
            "get": _get_operation(
                "bundle", "The bundle in use", "ActiveBundle", requires_key=True, error_statuses=(401, 500, 503)
            )
        },
        "/v1/data-dictionary": {
            "get": _get_operation(
                "data_dictionary",
                "Columns of orders and restaurants",
                "DataDictionary",
                requires_key=True,
                error_statuses=(401, 500),
            )
        },
        "/healthz": {"get": _get_operation("healthz", "The process lives", "HealthStatus", error_statuses=(500,))},
        "/readyz": {
            "get": _get_operation("readyz", "A verified bundle is loaded", "Readiness", not_ready_schema="Readiness")
        },
        "/metrics": {"get": _metrics_operation()},
    }
    if settings.vertex_predict_route is not None:
        vertex = _post_operation("vertex", "Vertex AI's contract", "VertexRequest", "VertexResponse")
        del vertex["security"]
        paths[settings.vertex_predict_route] = {"post": vertex}
    if settings.vertex_health_route is not None and settings.vertex_health_route not in paths:
        paths[settings.vertex_health_route] = {
            "get": _get_operation("vertex_health", "As /readyz", "Readiness", not_ready_schema="Readiness")
        }
    return paths


def _post_operation(
    operation_id: str, summary: str, request: str, response: str, *, status: int = 200, error_schema: str = "Problem"
) -> JsonObject:
    media: JsonObject = {"schema": _schema_ref(request)}
    if request == "PredictionRequest":
        media["examples"] = {
            "one order": {"value": _EXAMPLE_ORDER},
            "several": {"value": {"orders": [_EXAMPLE_ORDER, _EXAMPLE_ORDER], "models": []}},
        }
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": list(_SECURITY),
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": {str(status): _json_response("An answer to every order.", response)}
        | _error_responses(error_schema, tuple(_ERROR_DESCRIPTIONS)),
    }


def _get_operation(
    operation_id: str,
    summary: str,
    response: str,
    *,
    requires_key: bool = False,
    error_statuses: tuple[int, ...] = (),
    not_ready_schema: str | None = None,
) -> JsonObject:
    operation: JsonObject = {"operationId": operation_id, "summary": summary}
    if requires_key:
        operation["security"] = list(_SECURITY)
    responses = {"200": _json_response(summary, response)} | _error_responses("Problem", error_statuses)
    if not_ready_schema:
        responses["503"] = _json_response("No bundle is loaded yet.", not_ready_schema)
    return operation | {"responses": responses}


def _metrics_operation() -> JsonObject:
    text = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": "metrics", "summary": "Counts of all workers", "responses": {"200": text}}


def _error_responses(schema: str, statuses: Sequence[int]) -> dict[str, JsonObject]:
    media = "application/json" if schema == "TakeHomeError" else "application/problem+json"
    descriptions = _TAKE_HOME_ERROR_DESCRIPTIONS if schema == "TakeHomeError" else _ERROR_DESCRIPTIONS
    responses = {str(status): _json_response(descriptions[status], schema, media) for status in statuses}
    if "503" in responses:
        responses["503"]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return responses


def _json_response(description: str, schema: str, media: str = "application/json") -> JsonObject:
    return {"description": description, "content": {media: {"schema": _schema_ref(schema)}}}


def _schema_ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}
