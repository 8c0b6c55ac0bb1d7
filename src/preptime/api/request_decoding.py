"""Decoding of request bodies into orders, for each API contract. An error in the body rejects the whole request."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TypeVar, cast

import msgspec
from msgspec import UNSET

from preptime.api.parsing import format_value
from preptime.api.request_types import RequestTypes
from preptime.api.schema import (
    ApiError,
    DispatchRequest,
    Order,
    PredictionRequest,
    TakeHomeRequest,
    VertexParameters,
    VertexRequest,
)
from preptime.domain.data_dictionary import REQUEST_COLUMNS
from preptime.schema.schema import TAKE_HOME_SCHEMA

_T = TypeVar("_T")


class DecodedRequest(msgspec.Struct, frozen=True, gc=False):
    """The orders of a request, and the names of the requested models."""

    orders: Sequence[Order]
    models: Sequence[str]


def decode_request(body: bytes, types: RequestTypes) -> DecodedRequest:
    """Decode the body of `POST /v1/predictions`. Raises `ApiError`."""
    request = _decode_with_fallback(body, types.decode_request, partial(_decode_request_leniently, types))
    return DecodedRequest([request] if request.orders is UNSET else request.orders, request.models or ())


def decode_dispatch_request(body: bytes, types: RequestTypes) -> tuple[DecodedRequest, float | None, float | None]:
    """Decode the body of `POST /v1/dispatch`. Return its orders, the courier cost, and the food cost.

    `types` are those of dispatch requests. Raises `ApiError`.
    """
    request = cast(
        DispatchRequest,
        _decode_with_fallback(body, types.decode_request, partial(_decode_dispatch_leniently, types)),
    )
    orders = [request] if request.orders is UNSET else request.orders
    return DecodedRequest(orders, request.models or ()), request.courier_cost, request.food_cost


def decode_vertex_request(body: bytes, types: RequestTypes) -> DecodedRequest:
    """Decode the body of a request from Vertex AI. Raises `ApiError`."""
    request = _decode_with_fallback(body, types.decode_vertex, partial(_decode_vertex_leniently, types))
    return DecodedRequest(request.instances, (request.parameters and request.parameters.models) or ())


def decode_take_home_request(body: bytes, types: RequestTypes, check_count: Callable[[int], None]) -> DecodedRequest:
    """Decode a request in the take-home API contract: JSON within JSON. Raises `ApiError`, with its status 400.

    `check_count` is called with the number of rows of a table before its orders are built.
    """
    bad_request = HTTPStatus.BAD_REQUEST
    text = _decode_with_fallback(
        body, _TAKE_HOME_DECODER.decode, _TAKE_HOME_DECODER.decode, status=bad_request
    ).json_data.encode()
    if text.lstrip(_BEFORE_JSON)[:1] == b"[":
        decode_leniently = partial(_decode_orders_leniently, types)
        return DecodedRequest(
            _decode_with_fallback(text, types.decode_records, decode_leniently, "json_data", bad_request), ()
        )
    table = _decode_with_fallback(
        text, _TABLE_DECODER.decode, partial(_decode_table_leniently, types), "json_data", bad_request
    )
    return DecodedRequest(_orders_from_table(table, types, check_count), ())


class _ModelsField(msgspec.Struct):
    models: list[str] | None = None


class _CostFields(msgspec.Struct):
    courier_cost: float | None = None
    food_cost: float | None = None


class _ParametersField(msgspec.Struct):
    parameters: VertexParameters | None = None


_ColumnTable = dict[str, dict[str, object]]

_TAKE_HOME_DECODER = msgspec.json.Decoder(TakeHomeRequest)
_TABLE_DECODER = msgspec.json.Decoder(_ColumnTable)
_ARRAY_DECODER = msgspec.json.Decoder(list[object])
_MODELS_DECODER = msgspec.json.Decoder(_ModelsField)
_COSTS_DECODER = msgspec.json.Decoder(_CostFields)
_PARAMETERS_DECODER = msgspec.json.Decoder(_ParametersField)
_ERROR_PATH = re.compile(r" - at `\$(.*)`$")
_ROW_INDEX = re.compile(r"^(?:orders|instances)?\[([0-9]+)\]")
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_BEFORE_JSON = _BYTE_ORDER_MARK + b" \t\r\n"
_WIDE_JSON = re.compile(rb"\xff\xfe|\xfe\xff|\x00|[^\x00]\x00")
"""The start of JSON in UTF-16 or UTF-32: a byte order mark, or a zero byte, which JSON in UTF-8 never contains."""


def _decode_with_fallback(
    body: bytes,
    decode: Callable[[bytes], _T],
    fallback: Callable[[bytes], _T],
    parent_field: str = "",
    status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> _T:
    """Return the result of `decode`, or of `fallback` if a value doesn't fit its type. Raises `ApiError`."""
    location = f"the text in {parent_field}" if parent_field else "the body"
    try:
        try:
            return decode(body)
        except msgspec.ValidationError:
            return fallback(body)
    except msgspec.ValidationError as error:
        raise _schema_error(str(error), parent_field, status) from error
    except UnicodeDecodeError as error:
        raise _malformed_json_error(location, "it isn't UTF-8", "Encode it as UTF-8.") from error
    except RecursionError as error:
        raise _malformed_json_error(
            location, "it's nested too deeply", "An order is an object without nested values."
        ) from error
    except msgspec.DecodeError as error:
        # Only one mark, so that the recursion ends. Checked here, because a valid body should cost nothing more.
        if body.startswith(_BYTE_ORDER_MARK) and not body.startswith(_BYTE_ORDER_MARK * 2):
            return _decode_with_fallback(body[len(_BYTE_ORDER_MARK) :], decode, fallback, parent_field, status)
        if _WIDE_JSON.match(body):
            raise _malformed_json_error(location, "it's UTF-16 or UTF-32", "Encode it as UTF-8.") from error
        raise _malformed_json_error(
            location, str(error), "NaN and Infinity aren't valid JSON. For a missing value, use null."
        ) from error


def _malformed_json_error(location: str, reason: str, hint: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, f"{location.capitalize()} isn't valid JSON: {reason}.", hint)


def _schema_error(message: str, parent_field: str, status: HTTPStatus) -> ApiError:
    """Return the row, field, value, and expected type in a message of msgspec, as an `ApiError`."""
    path_match = _ERROR_PATH.search(message)
    path = (path_match[1] if path_match else "").removeprefix(".")
    row_match = _ROW_INDEX.match(path)
    expected, _, value = _ERROR_PATH.sub("", message).removeprefix("Expected ").replace("`", "").partition(", got ")
    field = f"{parent_field}.{path}" if parent_field and path else parent_field or path or "the body"
    return ApiError(
        status,
        f"In {field}: {_ERROR_PATH.sub('', message).replace('`', '')}.",
        "For the request schema, see /docs.",
        row=int(row_match[1]) if row_match else None,
        field=field,
        value=value or None,
        expected=expected,
    )


def _decode_request_leniently(types: RequestTypes, body: bytes) -> PredictionRequest:
    """Decode the request with infinity for numbers that are too large for a float."""
    fields = _raw_fields(body)
    models = _MODELS_DECODER.decode(body).models
    orders = fields.pop("orders", None)
    request = types.prediction_request(
        models=models, orders=UNSET if orders is None else _decode_orders_leniently(types, orders, ".orders")
    )
    for name in types.request_names:
        fields.pop(name, None)
    for attribute, value in _decode_fields_leniently(types, fields).items():
        setattr(request, attribute, value)
    return request


def _decode_dispatch_leniently(types: RequestTypes, body: bytes) -> DispatchRequest:
    costs = _COSTS_DECODER.decode(body)
    request = cast(DispatchRequest, _decode_request_leniently(types, body))
    request.courier_cost, request.food_cost = costs.courier_cost, costs.food_cost
    return request


def _decode_vertex_leniently(types: RequestTypes, body: bytes) -> VertexRequest:
    fields = _raw_fields(body)
    if "instances" not in fields:
        return types.decode_vertex(body)
    instances = _decode_at_path(fields["instances"], list[msgspec.Raw], ".instances")
    return types.vertex_request(
        [_decode_instance(types, instance, index) for index, instance in enumerate(instances)],
        _PARAMETERS_DECODER.decode(body).parameters,
    )


def _decode_instance(types: RequestTypes, raw: msgspec.Raw, index: int) -> Order:
    """Decode an order that is an object, or an array of the request columns, as Vertex AI's batch predictions send."""
    if bytes(raw)[:1] != b"[":
        return types.order(**_decode_fields_leniently(types, _raw_fields(raw, f".instances[{index}]")))
    try:
        values = _ARRAY_DECODER.decode(raw)
    except msgspec.ValidationError:  # a number that's too large for a float
        values = [_decode_value_leniently(value) for value in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    if types.min_array_length <= len(values) <= len(types.fields):
        return types.order(*values)
    names = ", ".join(field.name for field in types.fields)
    expected = f"{types.min_array_length} to {len(types.fields)} values in this order: {names}"
    raise ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"instances[{index}] is an array of {len(values)} values; expected {expected}.",
        "For orders with field names, set instanceConfig.instanceType to object in the batch prediction job.",
        row=index,
        field=f"instances[{index}]",
        value=f"{len(values)} values",
        expected=expected,
    )


def _decode_orders_leniently(types: RequestTypes, raw: msgspec.Raw | bytes, path: str = "") -> list[Order]:
    return [
        types.order(**_decode_fields_leniently(types, _raw_fields(raw_order, f"{path}[{index}]")))
        for index, raw_order in enumerate(_decode_at_path(raw, list[msgspec.Raw], path))
    ]


def _decode_table_leniently(types: RequestTypes, body: bytes) -> _ColumnTable:
    columns = msgspec.json.decode(body, type=dict[str, dict[str, msgspec.Raw]])
    return {
        name: {label: _decode_value_leniently(cell) for label, cell in columns[name].items()}
        for name in types.field_names.values()
        if name in columns
    }


def _raw_fields(raw: msgspec.Raw | bytes, path: str = "") -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(
            f"Expected `object`, got `{format_value(_decode_value_leniently(raw))}` - at `${path}`"
        ) from error


def _decode_at_path(raw: msgspec.Raw | bytes, target_type: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(raw, type=target_type)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{_ERROR_PATH.sub('', str(error))} - at `${path}`") from error


def _decode_fields_leniently(types: RequestTypes, fields: Mapping[str, msgspec.Raw]) -> dict[str, object]:
    return {
        attribute: _decode_value_leniently(fields[name])
        for attribute, name in types.field_names.items()
        if name in fields
    }


def _decode_value_leniently(raw: msgspec.Raw | bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        return -math.inf if bytes(raw).lstrip().startswith(b"-") else math.inf


def _orders_from_table(columns: _ColumnTable, types: RequestTypes, check_count: Callable[[int], None]) -> list[Order]:
    """Return the rows of a table by column. The row labels are those of the first column, because pandas writes all."""
    missing = [name for name in types.required_fields if name not in columns]
    if missing:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"json_data lacks columns: {', '.join(missing)}. Its columns are {format_value(', '.join(columns))}.",
            "Send DataFrame.to_json() of the orders.",
        )
    known_columns = {attribute: columns[name] for attribute, name in types.field_names.items() if name in columns}
    labels = list(next(iter(columns.values())))
    check_count(len(labels))
    return [types.order(**{name: cells.get(label) for name, cells in known_columns.items()}) for label in labels]


def check_schema(body: bytes, orders: Sequence[Order], types: RequestTypes) -> None:
    """Raise `ApiError` if the orders have none of the required fields, but those of another schema.

    Call it only if every order is invalid, because it decodes the body again.
    """
    required = [name for name, field in types.described.items() if field.required]
    if any(getattr(order, name) is not None for order in orders for name in required):
        return
    names = _sent_names(body)
    unknown = [name for name in names if name not in types.field_names.values()]
    # Unknown fields are ignored, so only names of the take-home schema or of a database are a sign in its own case.
    signs = [name for name in unknown if types.schema != TAKE_HOME_SCHEMA or name in REQUEST_COLUMNS]
    if not signs or not {*types.required_fields}.isdisjoint(names):
        return
    expected = ", ".join(field.name for field in types.fields)
    shown = format_value(", ".join(unknown))
    raise ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"The orders have the fields {shown}, but the bundle has another schema. Its fields are {expected}.",
        f"Required are {', '.join(types.required_fields)}. For types, units, and examples, see GET /v1/schema.",
        field="orders",
        value=shown,
        expected=expected,
    )


def _sent_names(body: bytes) -> list[str]:
    """Return the names of the fields of all orders in a body."""
    request = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK), type=dict[str, msgspec.Raw])
    raw_orders = request.get("orders", request.get("instances"))
    if raw_orders is None:
        return [name for name in request if name != "models"]
    orders = msgspec.json.decode(raw_orders, type=list[msgspec.Raw])
    return list(dict.fromkeys(name for raw in orders if bytes(raw)[:1] == b"{" for name in _raw_fields(raw)))
