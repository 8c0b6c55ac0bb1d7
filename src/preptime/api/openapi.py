"""The OpenAPI document, generated from the types that decode requests and encode responses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc

import msgspec

from preptime.api.explanations import EXAMPLE_EXPLANATION, ExplainedPrediction, ExplanationResponse
from preptime.api.handler import DISPATCH_PATH, EXPLANATIONS_PATH, PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.request_types import (
    EXAMPLE_ERROR,
    EXAMPLE_PREDICTION,
    KITCHEN_FIELD,
    JsonObject,
    RequestTypes,
    dispatch_field_schemas,
    example_orders,
    field_schema,
    kitchen_schema,
)
from preptime.api.schema import (
    ActiveBundle,
    DataDictionary,
    DispatchDecision,
    DispatchResponse,
    HealthStatus,
    Prediction,
    PredictionError,
    PredictionResponse,
    Problem,
    Readiness,
    SchemaDescription,
    TakeHomeError,
    TakeHomeRequest,
    TakeHomeResponse,
    VertexResponse,
)
from preptime.api.service import ApiSettings
from preptime.errors import OperationError
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema

_RESPONSE_TYPES: tuple[type[msgspec.Struct], ...] = (
    PredictionResponse,
    Prediction,
    PredictionError,
    DispatchResponse,
    DispatchDecision,
    ExplanationResponse,
    ExplainedPrediction,
    TakeHomeRequest,
    TakeHomeResponse,
    TakeHomeError,
    VertexResponse,
    Problem,
    HealthStatus,
    Readiness,
    ActiveBundle,
    DataDictionary,
    SchemaDescription,
)
_TAGS = (
    {"name": "predictions", "description": "Predict the preparation time of orders, and when to send a courier."},
    {"name": "metadata", "description": "Describe the active bundle and the columns of the data."},
    {"name": "monitoring", "description": "Check the health of the server and read its metrics."},
)
_SECURITY = ({"aikey": list[str]()}, {"bearer": list[str]()})
_ERROR_DESCRIPTIONS = {
    400: "The body isn't valid JSON.",
    401: "The API key is missing or invalid.",
    408: "The body wasn't complete after the time limit. Send fewer orders per request.",
    409: "The active bundle has no explanations.",
    413: "The body is larger than the limit.",
    415: "The content type or the content encoding isn't supported.",
    422: "The JSON has another structure, more orders than the limit, a model that's unknown or named twice, or "
    "costs whose ratio is outside 1:9 to 9:1.",
    500: "Unexpected error. The server log has details for the request ID.",
    503: "No bundle is loaded, or too many requests are concurrent. Retry after the seconds in `Retry-After`.",
}
_TAKE_HOME_ERROR_DESCRIPTIONS = _ERROR_DESCRIPTIONS | {
    400: "The body or `json_data` isn't valid JSON, or a column is missing.",
    422: "There are more rows than the limit.",
}
_RESPONSE_HEADERS = {
    "401": {"WWW-Authenticate": {"description": "The accepted scheme.", "schema": {"type": "string"}}},
    "503": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
}
_EXAMPLE_DATE = dt.date(2015, 6, 1)
"""Date of the example orders while no bundle is active."""
_DECISION_FIELDS = ("dispatch_at", "courier_wait_seconds", "food_wait_seconds", "quantile", "remaining")
"""They have a default only because they're set after the prediction."""
_EXAMPLE_PREDICTIONS = [EXAMPLE_PREDICTION, EXAMPLE_ERROR]
_EXAMPLE_DECISIONS = [
    {
        **EXAMPLE_PREDICTION,
        "dispatch_at": "2015-06-01T12:37:29+01:00",
        "courier_wait_seconds": 327,
        "food_wait_seconds": 154,
        "quantile": 0.5,
        "remaining": {"p10": 493, "p50": 961, "p80": 1567, "p90": 1894},
    },
    EXAMPLE_ERROR,
]


def build_openapi(
    settings: ApiSettings, models: Sequence[str], date: dt.date | None = None, schema: Schema = TAKE_HOME_SCHEMA
) -> JsonObject:
    """Return the OpenAPI document of a server with these limits.

    Args:
        settings: The limits and routes.
        models: Models of the active bundle. Empty: they aren't known yet.
        date: As-of date of the active bundle, which the example orders have.
        schema: The schema of the active bundle.
    """
    types, dispatch_types = RequestTypes.from_schema(schema), RequestTypes.for_dispatch(schema)
    examples = example_orders(types, date or _EXAMPLE_DATE)
    _, components = msgspec.json.schema_components(
        (types.prediction_request, dispatch_types.prediction_request, types.vertex_request, *_RESPONSE_TYPES),
        ref_template="#/components/schemas/{name}",
        schema_hook=_any_value_schema,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "preptime",
            "version": version("preptime"),
            "summary": _summary(schema),
            "description": (
                "Durations are in seconds. Timestamps are text with a UTC offset. "
                "Send the API key in the header `aikey`, or as a bearer token."
            ),
        },
        "tags": list(_TAGS),
        "paths": _path_items(settings, examples, types),
        "components": {
            "schemas": _apply_limits(_apply_column_types(components, types), settings, models),
            "securitySchemes": {
                "aikey": {"type": "apiKey", "in": "header", "name": "aikey"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _summary(schema: Schema) -> str:
    if schema.target == TAKE_HOME_SCHEMA.target:
        return "Predicts how long restaurants take to prepare orders."
    return f"Predicts the {schema.target.title} of orders."


def _any_value_schema(field_type: type) -> JsonObject:
    """Return the schema of a field that can have any value. It has no type, so that metadata can add one."""
    if field_type is object:
        return {"$comment": "Without a type or alternatives: any value."}
    raise OperationError(f"The type {field_type} has no JSON schema.")


def _apply_column_types(components: dict[str, JsonObject], types: RequestTypes) -> dict[str, JsonObject]:
    """Return the schemas with the type that a client should send for each column, instead of any type."""
    for type_name in ("Order", "PredictionRequest", "DispatchOrder", "DispatchRequest"):
        for field in types.fields:
            if field.name not in msgspec.convert(components[type_name]["properties"], dict[str, object]):
                continue  # A request has no field of this name: see `preptime.api.request_types`.
            schema = _property_schema(components[type_name], field.name)
            description = schema["description"]
            schema.clear()
            schema |= {"description": description, **field_schema(field, types.schema)}
    components["Order"]["required"] = list(types.required_fields)
    components["DispatchOrder"]["required"] = list(dict.fromkeys([*types.required_fields, "travel_seconds"]))
    decision = components["DispatchDecision"]
    decision["required"] = [*msgspec.convert(decision["required"], list[str]), *_DECISION_FIELDS]
    for type_name in ("DispatchOrder", "DispatchRequest"):
        for name, schema in dispatch_field_schemas(types).items():
            _property_schema(components[type_name], name).update(schema)
    if all(field.name != KITCHEN_FIELD for field in types.fields):
        for type_name in ("Order", "PredictionRequest", "DispatchOrder", "DispatchRequest"):
            _property_schema(components[type_name], KITCHEN_FIELD).update(kitchen_schema(types))
    instances = _property_schema(components["VertexRequest"], "instances")
    names = ", ".join(field.name for field in types.fields)
    array: JsonObject = {
        "title": "OrderArray",
        "description": f"The values of an order: {names}. Optional values can be left out.",
        "type": "array",
        "prefixItems": [field_schema(field, types.schema) for field in types.fields],
        "minItems": types.min_array_length,
        "maxItems": len(types.fields),
    }
    instances["items"] = {"anyOf": [_schema_ref("Order"), array]}
    return components


def _apply_limits(components: dict[str, JsonObject], settings: ApiSettings, models: Sequence[str]) -> JsonObject:
    """Return the schemas with the limits of the server and the models of the active bundle."""
    for component in components.values():
        component["description"] = cleandoc(str(component.get("description", "")))
    for type_name, item in (
        ("PredictionResponse", "Prediction"),
        ("VertexResponse", "Prediction"),
        ("DispatchResponse", "DispatchDecision"),
        ("ExplanationResponse", "ExplainedPrediction"),
    ):
        _property_schema(components[type_name], "predictions")["items"] = {
            "anyOf": [_schema_ref(item), _schema_ref("PredictionError")]
        }
    for type_name, name in (
        ("PredictionRequest", "orders"),
        ("DispatchRequest", "orders"),
        ("VertexRequest", "instances"),
    ):
        _property_schema(components[type_name], name)["maxItems"] = settings.max_orders
    json_data = _property_schema(components["TakeHomeRequest"], "json_data")
    json_data["description"] = f"{json_data['description']} At most {settings.max_orders:,} rows."
    if models:
        model_list = {
            "type": "array",
            "items": {"type": "string", "enum": list(models)},
            "maxItems": len(models),
            "uniqueItems": True,
        }
        for type_name in ("PredictionRequest", "DispatchRequest", "VertexParameters"):
            schema = _property_schema(components[type_name], "models")
            schema["anyOf"] = [model_list, {"type": "null"}]
    return dict(components)


def _property_schema(schema: JsonObject, name: str) -> JsonObject:
    properties = msgspec.convert(schema["properties"], dict[str, JsonObject])
    schema["properties"] = properties
    return properties[name]


def _path_items(settings: ApiSettings, orders: list[JsonObject], types: RequestTypes) -> dict[str, JsonObject]:
    paths: dict[str, JsonObject] = {
        PREDICTIONS_PATH: {"post": _predict_operation(orders)},
        DISPATCH_PATH: {"post": _dispatch_operation(orders)},
        EXPLANATIONS_PATH: {"post": _explain_operation(orders)},
        TAKE_HOME_PATH: {"post": _take_home_operation(orders)},
        "/v1/bundle": {"get": _metadata_operation("get_active_bundle", "Get the active bundle", "ActiveBundle")},
        "/v1/schema": {
            "get": _metadata_operation("get_schema", "Get the fields of orders and the target", "SchemaDescription")
        },
        "/v1/data-dictionary": {
            "get": _metadata_operation(
                "get_data_dictionary", "Get the columns of orders and restaurants", "DataDictionary", (401, 500)
            )
        },
        "/healthz": {
            "get": _get_operation(
                "check_liveness", "Check that the process is alive", "HealthStatus", error_statuses=(500,)
            )
        },
        "/readyz": {"get": _readiness_operation("check_readiness")},
    }
    if settings.public_details:
        paths["/metrics"] = {"get": _metrics_operation()}
    if (route := settings.vertex_predict_route) is not None:
        paths.setdefault(route, {})["post"] = _vertex_operation(orders, types)
    if (route := settings.vertex_health_route) is not None:
        paths.setdefault(route, {}).setdefault("get", _readiness_operation("check_vertex_readiness"))
    return paths


def _predict_operation(orders: list[JsonObject]) -> JsonObject:
    return _post_operation(
        "predict",
        "Predict preparation times",
        "PredictionRequest",
        "PredictionResponse",
        examples={"one order": orders[0], "several orders": {"orders": orders, "models": []}},
        response_example={"bundle": "2015-06-01-b51f7ce3ce65", "predictions": _EXAMPLE_PREDICTIONS},
    )


def _dispatch_operation(orders: list[JsonObject]) -> JsonObject:
    first, second = (order | {"travel_seconds": 420} for order in orders)
    uncertain = second | {"travel_seconds": {"p10": 300, "p50": 420, "p90": 660}}
    return _post_operation(
        "dispatch",
        "Predict preparation times, and when to send a courier",
        "DispatchRequest",
        "DispatchResponse",
        examples={
            "one order": first,
            "several orders": {"orders": [first, uncertain], "courier_cost": 2, "food_cost": 1},
        },
        response_example={"bundle": "2015-06-01-b51f7ce3ce65", "predictions": _EXAMPLE_DECISIONS},
    )


def _explain_operation(orders: list[JsonObject]) -> JsonObject:
    explained = {**EXAMPLE_PREDICTION, "explanation": EXAMPLE_EXPLANATION}
    return _post_operation(
        "explain",
        "Predict preparation times, and explain them",
        "PredictionRequest",
        "ExplanationResponse",
        examples={"one order": orders[0], "several orders": {"orders": orders, "models": []}},
        response_example={"bundle": "2015-06-01-b51f7ce3ce65", "predictions": [explained, EXAMPLE_ERROR]},
        unused_errors=(),
    )


def _take_home_operation(orders: list[JsonObject]) -> JsonObject:
    return _post_operation(
        "predict_take_home",
        "Predict in the take-home API contract",
        "TakeHomeRequest",
        "TakeHomeResponse",
        examples={"a data frame by column": {"json_data": _data_frame_json(orders)}},
        response_example={"rf": [1093.7045, None], "quantile": [960.574, None]},
        status=201,
        error_schema="TakeHomeError",
    )


def _vertex_operation(orders: list[JsonObject], types: RequestTypes) -> JsonObject:
    """Return the operation of Vertex AI, which sends no API key."""
    last = max(position for position, field in enumerate(types.fields) if field.required or field.column == "order_id")
    arrays = [[order.get(field.name) for field in types.fields[: last + 1]] for order in orders]
    return _post_operation(
        "predict_vertex",
        "Predict in the format of Vertex AI",
        "VertexRequest",
        "VertexResponse",
        examples={"objects": {"instances": orders}, "arrays": {"instances": arrays}},
        response_example={"predictions": _EXAMPLE_PREDICTIONS},
        requires_key=False,
        unused_errors=(401, 409),
    )


def _data_frame_json(orders: Sequence[JsonObject]) -> str:
    """Return the orders as `DataFrame.to_json(date_format="iso")` writes them."""
    return json.dumps({name: {str(row): order[name] for row, order in enumerate(orders)} for name in orders[0]})


def _post_operation(
    operation_id: str,
    summary: str,
    request: str,
    response: str,
    *,
    examples: JsonObject,
    response_example: JsonObject,
    status: int = 200,
    error_schema: str = "Problem",
    requires_key: bool = True,
    unused_errors: Sequence[int] = (409,),
) -> JsonObject:
    media: JsonObject = {
        "schema": _schema_ref(request),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["predictions"],
        "security": list(_SECURITY) if requires_key else [],
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": {
            str(status): _json_response("A prediction or an error for every order.", response, example=response_example)
        }
        | _error_responses(error_schema, [error for error in _ERROR_DESCRIPTIONS if error not in unused_errors]),
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


def _metadata_operation(
    operation_id: str, summary: str, response: str, error_statuses: tuple[int, ...] = (401, 500, 503)
) -> JsonObject:
    return _get_operation(operation_id, summary, response, tag="metadata", error_statuses=error_statuses)


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
    responses = {
        str(status): _json_response(
            descriptions[status], schema, media, example=_error_example(schema, status, descriptions[status])
        )
        for status in statuses
    }
    for status, headers in _RESPONSE_HEADERS.items():
        if status in responses:
            responses[status]["headers"] = headers
    return responses


def _error_example(schema: str, status: int, detail: str) -> JsonObject:
    if schema == "TakeHomeError":
        return {"error": detail}
    return {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, "request_id": "abbc2c04d4d5bacd"}


def _json_response(
    description: str, schema: str, media: str = "application/json", example: JsonObject | None = None
) -> JsonObject:
    content: JsonObject = {"schema": _schema_ref(schema), **({} if example is None else {"example": example})}
    return {"description": description, "content": {media: content}}


def _schema_ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}
