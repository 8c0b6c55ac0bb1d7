"""Request bytes as orders. What is wrong with one order never hides the others; what is wrong with all is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

import msgspec
from msgspec import UNSET

from preptime.api.order import Order, PredictionRequest, TakeHomeRequest, VertexParameters, VertexRequest
from preptime.api.orders import format_value
from preptime.api.problems import ApiError
from preptime.domain.dictionary import ORDERS_DICTIONARY, required_columns

_T = TypeVar("_T")


class DecodedRequest(msgspec.Struct, frozen=True, gc=False):
    """What a request asks for."""

    orders: Sequence[Order]
    models: Sequence[str]


def decode_request(body: bytes) -> DecodedRequest:
    """The orders of `POST /v1/predictions`. Raises `ApiError`."""
    request = _decode_with_fallback(body, _REQUEST_DECODER.decode, _decode_request_leniently)
    return DecodedRequest([request] if request.orders is UNSET else request.orders, request.models or ())


def decode_vertex_request(body: bytes) -> DecodedRequest:
    """The orders of a request as Vertex AI passes it on. Raises `ApiError`."""
    request = _decode_with_fallback(body, _VERTEX_DECODER.decode, _decode_vertex_leniently)
    return DecodedRequest(request.instances, (request.parameters and request.parameters.models) or ())


def decode_take_home_request(body: bytes) -> DecodedRequest:
    """The orders of the demo's request: JSON within JSON. Raises `ApiError`, 400 as the demo did."""
    bad_request = HTTPStatus.BAD_REQUEST
    text = _decode_with_fallback(
        body, _TAKE_HOME_DECODER.decode, _TAKE_HOME_DECODER.decode, status=bad_request
    ).json_data.encode()
    if text.lstrip()[:1] == b"[":
        return DecodedRequest(
            _decode_with_fallback(text, _RECORDS_DECODER.decode, _decode_orders_leniently, "json_data", bad_request), ()
        )
    return DecodedRequest(
        _orders_from_table(
            _decode_with_fallback(text, _TABLE_DECODER.decode, _decode_table_leniently, "json_data", bad_request)
        ),
        (),
    )


class _ModelsField(msgspec.Struct):
    models: list[str] | None = None


class _ParametersField(msgspec.Struct):
    parameters: VertexParameters | None = None


_ColumnTable = dict[str, dict[str, object]]

_REQUEST_DECODER = msgspec.json.Decoder(PredictionRequest)
_VERTEX_DECODER = msgspec.json.Decoder(VertexRequest)
_TAKE_HOME_DECODER = msgspec.json.Decoder(TakeHomeRequest)
_RECORDS_DECODER = msgspec.json.Decoder(list[Order])
_TABLE_DECODER = msgspec.json.Decoder(_ColumnTable)
_MODELS_DECODER = msgspec.json.Decoder(_ModelsField)
_PARAMETERS_DECODER = msgspec.json.Decoder(_ParametersField)
_ORDER_FIELDS = Order.__struct_fields__
_ERROR_PATH = re.compile(r" - at `\$(.*)`$")
_ROW_INDEX = re.compile(r"^(?:orders|instances)?\[(\d+)\]")


def _decode_with_fallback(
    body: bytes,
    decode: Callable[[bytes], _T],
    fallback: Callable[[bytes], _T],
    parent_field: str = "",
    status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> _T:
    """`decode`, or `fallback` where a value does not fit its type; what is no JSON at all is refused."""
    location = f"the text in {parent_field}" if parent_field else "the body"
    try:
        try:
            return decode(body)
        except msgspec.ValidationError:
            return fallback(body)
    except msgspec.ValidationError as error:
        raise _schema_error(str(error), parent_field, status) from error
    except UnicodeDecodeError as error:
        raise _malformed_json_error(location, "it is not UTF-8", "Encode it as UTF-8.") from error
    except RecursionError as error:
        raise _malformed_json_error(
            location, "it is nested too deeply", "An order is an object of plain values."
        ) from error
    except msgspec.DecodeError as error:
        raise _malformed_json_error(
            location, str(error), "NaN and Infinity are no JSON; null says that there is nothing."
        ) from error


def _malformed_json_error(location: str, reason: str, hint: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, f"{location.capitalize()} is not JSON: {reason}.", hint)


def _schema_error(message: str, parent_field: str, status: HTTPStatus) -> ApiError:
    """What msgspec says of a value in the wrong place, as facts: row, field, expected."""
    path_match = _ERROR_PATH.search(message)
    path = (path_match[1] if path_match else "").removeprefix(".")
    row_match = _ROW_INDEX.match(path)
    expected, _, value = _ERROR_PATH.sub("", message).removeprefix("Expected ").replace("`", "").partition(", got ")
    field = f"{parent_field}.{path}" if parent_field and path else parent_field or path or "the body"
    return ApiError(
        status,
        f"In {field}: {_ERROR_PATH.sub('', message).replace('`', '')}.",
        "/docs describes what is taken.",
        row=int(row_match[1]) if row_match else None,
        field=field,
        value=value or None,
        expected=expected,
    )


def _decode_request_leniently(body: bytes) -> PredictionRequest:
    """The request, with infinity for every number that is too large for one."""
    fields = _raw_fields(body)
    models = _MODELS_DECODER.decode(body).models
    orders = fields.pop("orders", None)
    request = PredictionRequest(
        models=models, orders=UNSET if orders is None else _decode_orders_leniently(orders, ".orders")
    )
    for name, value in _decode_fields_leniently(fields).items():
        setattr(request, name, value)
    return request


def _decode_vertex_leniently(body: bytes) -> VertexRequest:
    fields = _raw_fields(body)
    if "instances" not in fields:
        return _VERTEX_DECODER.decode(body)
    return VertexRequest(
        _decode_orders_leniently(fields["instances"], ".instances"), _PARAMETERS_DECODER.decode(body).parameters
    )


def _decode_orders_leniently(raw: msgspec.Raw | bytes, path: str = "") -> list[Order]:
    return [
        Order(**_decode_fields_leniently(_raw_fields(raw_order, f"{path}[{index}]")))
        for index, raw_order in enumerate(_decode_at_path(raw, list[msgspec.Raw], path))
    ]


def _decode_table_leniently(body: bytes) -> _ColumnTable:
    columns = msgspec.json.decode(body, type=dict[str, dict[str, msgspec.Raw]])
    return {
        name: {label: _decode_value_leniently(cell) for label, cell in cells.items()}
        for name, cells in columns.items()
        if name in _ORDER_FIELDS
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


def _decode_fields_leniently(fields: Mapping[str, msgspec.Raw]) -> dict[str, object]:
    return {name: _decode_value_leniently(fields[name]) for name in _ORDER_FIELDS if name in fields}


def _decode_value_leniently(raw: msgspec.Raw | bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        return -math.inf if bytes(raw).lstrip().startswith(b"-") else math.inf


def _orders_from_table(columns: _ColumnTable) -> list[Order]:
    """A table by column as orders. Rows are those of the first column, as pandas writes every column's."""
    missing = [name for name in required_columns(ORDERS_DICTIONARY, "scoring") if name not in columns]
    if missing:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"json_data has no column {', '.join(missing)}; it has {format_value(', '.join(columns))}.",
            "Send DataFrame.to_json() of the orders.",
        )
    known_columns = {name: columns[name] for name in _ORDER_FIELDS if name in columns}
    labels = list(next(iter(columns.values())))
    return [Order(**{name: cells.get(label) for name, cells in known_columns.items()}) for label in labels]
