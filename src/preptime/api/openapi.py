"""The OpenAPI document, generated from the types that decode requests and encode responses."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from inspect import cleandoc

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
    PredictionRequest,
    PredictionResponse,
    Prediction,
    PredictionError,
    TakeHomeRequest,
    TakeHomeResponse,
    TakeHomeError,
    VertexRequest,
    VertexResponse,
    Problem,
    HealthStatus,
    Readiness,
    ActiveBundle,
    DataDictionary,
)
_TAGS = (
    {"name": "predictions", "description": "Predict the preparation time of orders."},
    {"name": "metadata", "description": "Describe the active bundle and the columns of the data."},
    {"name": "monitoring", "description": "Check the health of the server and read its metrics."},
)
_SECURITY = ({"aikey": list[str]()}, {"bearer": list[str]()})
_ERROR_DESCRIPTIONS = {
    400: "The body isn't valid JSON.",
    401: "The API key is missing or invalid.",
    413: "The body is larger than the limit.",
    415: "The content type or the content encoding isn't supported.",
    422: "The JSON doesn't match the schema, has more orders than the limit, or names an unknown model.",
    500: "Unexpected error. The server log has details for the request ID.",
    503: "No bundle is loaded, or too many concurrent requests. Retry after the seconds in `Retry-After`.",
}
_TAKE_HOME_ERROR_DESCRIPTIONS = _ERROR_DESCRIPTIONS | {
    400: "The body or `json_data` isn't valid JSON, or a column is missing.",
    422: "There are more rows than the limit.",
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
    """Return the OpenAPI document of a server with these limits and models. No models: they aren't known yet."""
    _, components = msgspec.json.schema_components(
        _SCHEMA_TYPES, ref_template="#/components/schemas/{name}", schema_hook=_any_value_schema
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "preptime",
            "version": version("preptime"),
            "summary": "Predicts how long restaurants take to prepare orders.",
            "description": (
                "Durations are in seconds. Timestamps are text with a UTC offset. "
                "Send the API key in the header `aikey`, or as a bearer token."
            ),
        },
        "tags": list(_TAGS),
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
    """Return the schema of a field that accepts any value."""
    if field_type is object:
        return {"type": ["string", "number", "boolean", "object", "array", "null"]}
    raise OperationError(f"The type {field_type} has no JSON schema.")


def _apply_limits(components: dict[str, JsonObject], settings: ApiSettings, models: Sequence[str]) -> JsonObject:
    """Return the schemas with the limits of the server and the models of the active bundle."""
    for component in components.values():
        component["description"] = cleandoc(str(component.get("description", "")))
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
            "post": _post_operation("predict", "Predict preparation times", "PredictionRequest", "PredictionResponse")
        },
        TAKE_HOME_PATH: {
            "post": _post_operation(
                "predict_take_home",
                "Predict in the take-home API contract",
                "TakeHomeRequest",
                "TakeHomeResponse",
                status=201,
                error_schema="TakeHomeError",
            )
        },
        "/v1/bundle": {
            "get": _get_operation(
                "get_active_bundle",
                "Get the active bundle",
                "ActiveBundle",
                tag="metadata",
                error_statuses=(401, 500, 503),
            )
        },
        "/v1/data-dictionary": {
            "get": _get_operation(
                "get_data_dictionary",
                "Get the columns of orders and restaurants",
                "DataDictionary",
                tag="metadata",
                error_statuses=(401, 500),
            )
        },
        "/healthz": {
            "get": _get_operation(
                "check_liveness", "Check that the process is alive", "HealthStatus", error_statuses=(500,)
            )
        },
        "/readyz": {"get": _readiness_operation("check_readiness")},
        "/metrics": {"get": _metrics_operation()},
    }
    if settings.vertex_predict_route is not None:
        vertex = _post_operation(
            "predict_vertex", "Predict in the format of Vertex AI", "VertexRequest", "VertexResponse"
        )
        del vertex["security"]
        paths[settings.vertex_predict_route] = {"post": vertex}
    if settings.vertex_health_route is not None and settings.vertex_health_route not in paths:
        paths[settings.vertex_health_route] = {"get": _readiness_operation("check_vertex_readiness")}
    return paths


def _post_operation(
    operation_id: str, summary: str, request: str, response: str, *, status: int = 200, error_schema: str = "Problem"
) -> JsonObject:
    media: JsonObject = {"schema": _schema_ref(request)}
    if request == "PredictionRequest":
        media["examples"] = {
            "one order": {"value": _EXAMPLE_ORDER},
            "several orders": {"value": {"orders": [_EXAMPLE_ORDER, _EXAMPLE_ORDER], "models": []}},
        }
    return {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["predictions"],
        "security": list(_SECURITY),
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": {str(status): _json_response("A prediction or an error for every order.", response)}
        | _error_responses(error_schema, tuple(_ERROR_DESCRIPTIONS)),
    }


def _get_operation(
    operation_id: str, summary: str, response: str, *, tag: str = "monitoring", error_statuses: tuple[int, ...]
) -> JsonObject:
    operation: JsonObject = {
        "operationId": operation_id,
        "summary": summary,
        "tags": [tag],
        "responses": {"200": _json_response("Success.", response)} | _error_responses("Problem", error_statuses),
    }
    if 401 in error_statuses:
        operation["security"] = list(_SECURITY)
    return operation


def _readiness_operation(operation_id: str) -> JsonObject:
    return {
        "operationId": operation_id,
        "summary": "Check that a bundle is loaded",
        "tags": ["monitoring"],
        "responses": {
            "200": _json_response("A verified bundle is loaded.", "Readiness"),
            "503": _json_response("No bundle is loaded yet.", "Readiness"),
        },
    }


def _metrics_operation() -> JsonObject:
    text = {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "operationId": "get_metrics",
        "summary": "Get the metrics of all workers",
        "tags": ["monitoring"],
        "responses": {"200": text},
    }


def _error_responses(schema: str, statuses: Sequence[int]) -> dict[str, JsonObject]:
    media = "application/json" if schema == "TakeHomeError" else "application/problem+json"
    descriptions = _TAKE_HOME_ERROR_DESCRIPTIONS if schema == "TakeHomeError" else _ERROR_DESCRIPTIONS
    responses = {str(status): _json_response(descriptions[status], schema, media) for status in statuses}
    if "503" in responses:
        responses["503"]["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
    return responses


def _json_response(description: str, schema: str, media: str = "application/json") -> JsonObject:
    return {"description": description, "content": {media: {"schema": _schema_ref(schema)}}}


def _schema_ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}
