"""Decoding and validation of the orders in a request (D4).

Decoding turns the body of each API contract into `Order` objects. An error in the body rejects the whole request.
Validation then checks every order separately: an invalid order never affects the other orders, and no order is dropped.
The results match those of `preptime.validation.audit` for the same rows in a file, which the tests verify.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET

from preptime.api.active_model import OrderLookup, OrderRow, rows_to_columns, time_zone_of_country
from preptime.api.parsing import LocalTimestamp, column_bounds, is_missing, parse_integer, parse_number, parse_timestamp
from preptime.api.schema import ApiError, Order, PredictionRequest, TakeHomeRequest, VertexParameters, VertexRequest
from preptime.domain.cells import parse_category_text
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, order_column, required_columns
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import MICROSECONDS, WHITESPACE
from preptime.domain.validation_reasons import ValidationReason

_VALUE_BOUNDS, _RESTAURANT_BOUNDS, _ITEMS_BOUNDS, _OPEN_ORDERS_BOUNDS = (
    column_bounds(name) for name in ("order_value_gbp", "restaurant_id", "number_of_items", "open_orders")
)
_REASON_ORDER = {reason: position for position, reason in enumerate(ValidationReason)}
_MAX_SHOWN_CHARS = 60

_T = TypeVar("_T")


class DecodedRequest(msgspec.Struct, frozen=True, gc=False):
    """The orders of a request, and the names of the requested models."""

    orders: Sequence[Order]
    models: Sequence[str]


def decode_request(body: bytes) -> DecodedRequest:
    """Decode the body of `POST /v1/predictions`. Raises `ApiError`."""
    request = _decode_with_fallback(body, _REQUEST_DECODER.decode, _decode_request_leniently)
    return DecodedRequest([request] if request.orders is UNSET else request.orders, request.models or ())


def decode_vertex_request(body: bytes) -> DecodedRequest:
    """Decode the body of a request from Vertex AI. Raises `ApiError`."""
    request = _decode_with_fallback(body, _VERTEX_DECODER.decode, _decode_vertex_leniently)
    return DecodedRequest(request.instances, (request.parameters and request.parameters.models) or ())


def decode_take_home_request(body: bytes, check_count: Callable[[int], None]) -> DecodedRequest:
    """Decode a request in the take-home API contract: JSON within JSON. Raises `ApiError`, with its status 400.

    `check_count` is called with the number of rows of a table before its orders are built.
    """
    bad_request = HTTPStatus.BAD_REQUEST
    text = _decode_with_fallback(
        body, _TAKE_HOME_DECODER.decode, _TAKE_HOME_DECODER.decode, status=bad_request
    ).json_data.encode()
    if text.lstrip(_BEFORE_JSON)[:1] == b"[":
        return DecodedRequest(
            _decode_with_fallback(text, _RECORDS_DECODER.decode, _decode_orders_leniently, "json_data", bad_request), ()
        )
    return DecodedRequest(
        _orders_from_table(
            _decode_with_fallback(text, _TABLE_DECODER.decode, _decode_table_leniently, "json_data", bad_request),
            check_count,
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
_ARRAY_DECODER = msgspec.json.Decoder(list[object])
_MODELS_DECODER = msgspec.json.Decoder(_ModelsField)
_PARAMETERS_DECODER = msgspec.json.Decoder(_ParametersField)
_ORDER_FIELDS = Order.__struct_fields__
_MIN_ARRAY_LENGTH = len(required_columns(ORDERS_DICTIONARY, "scoring"))
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


def _decode_request_leniently(body: bytes) -> PredictionRequest:
    """Decode the request with infinity for numbers that are too large for a float."""
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
    instances = _decode_at_path(fields["instances"], list[msgspec.Raw], ".instances")
    return VertexRequest(
        [_decode_instance(instance, index) for index, instance in enumerate(instances)],
        _PARAMETERS_DECODER.decode(body).parameters,
    )


def _decode_instance(raw: msgspec.Raw, index: int) -> Order:
    """Decode an order that is an object, or an array of the request columns, as Vertex AI's batch predictions send."""
    if bytes(raw)[:1] != b"[":
        return Order(**_decode_fields_leniently(_raw_fields(raw, f".instances[{index}]")))
    try:
        values = _ARRAY_DECODER.decode(raw)
    except msgspec.ValidationError:  # a number that's too large for a float
        values = [_decode_value_leniently(value) for value in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    if _MIN_ARRAY_LENGTH <= len(values) <= len(_ORDER_FIELDS):
        return Order(*values)
    expected = f"{_MIN_ARRAY_LENGTH} to {len(_ORDER_FIELDS)} values in this order: {', '.join(_ORDER_FIELDS)}"
    raise ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"instances[{index}] is an array of {len(values)} values; expected {expected}.",
        "For orders with field names, set instanceConfig.instanceType to object in the batch prediction job.",
        row=index,
        field=f"instances[{index}]",
        value=f"{len(values)} values",
        expected=expected,
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


def _orders_from_table(columns: _ColumnTable, check_count: Callable[[int], None]) -> list[Order]:
    """Return the rows of a table by column. The row labels are those of the first column, because pandas writes all."""
    missing = [name for name in required_columns(ORDERS_DICTIONARY, "scoring") if name not in columns]
    if missing:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"json_data lacks columns: {', '.join(missing)}. Its columns are {format_value(', '.join(columns))}.",
            "Send DataFrame.to_json() of the orders.",
        )
    known_columns = {name: columns[name] for name in _ORDER_FIELDS if name in columns}
    labels = list(next(iter(columns.values())))
    check_count(len(labels))
    return [Order(**{name: cells.get(label) for name, cells in known_columns.items()}) for label in labels]


@dataclass(frozen=True, slots=True)
class InvalidOrder:
    """An order that can't be predicted: the first validation reason in declared order, and its field and value."""

    reason: ValidationReason
    field: str
    value: object

    @property
    def message(self) -> str:
        """The field, its value, and the expected value."""
        expected = order_column(self.field).expected_text
        problem = "is missing" if self.reason is ValidationReason.MISSING_VALUE else f"is {format_value(self.value)}"
        return f"{self.field} {problem}; expected {expected}."


class ParsedOrders(msgspec.Struct, frozen=True, gc=False):
    """The result of validating N orders."""

    rows: list[OrderRow]
    """The valid orders, in order."""
    timestamps: list[LocalTimestamp]
    """Acknowledgement time of each valid order, in microseconds."""
    invalid_orders: dict[int, InvalidOrder]
    """The invalid orders by index among all N."""

    @property
    def columns(self) -> OrderColumns:
        """The valid orders as columns."""
        return rows_to_columns(self.rows)


def read_orders(orders: Sequence[Order], lookup: OrderLookup) -> ParsedOrders:
    """Parse and validate N orders."""
    invalid_orders: dict[int, InvalidOrder] = {}
    timestamps: list[LocalTimestamp] = []
    rows: list[OrderRow] = []
    for index, order in enumerate(orders):
        parsed = _read_order(order, lookup)
        if isinstance(parsed, InvalidOrder):
            invalid_orders[index] = parsed
        else:
            timestamps.append(parsed[0])
            rows.append(parsed[1])
    return ParsedOrders(rows, timestamps, invalid_orders)


def format_value(value: object) -> str:
    """Return a value for a message: at most 60 printable characters, without the contents of lists and objects."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _MAX_SHOWN_CHARS else f"{value[:_MAX_SHOWN_CHARS]!r}…"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = str(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"


def _read_order(order: Order, lookup: OrderLookup) -> tuple[LocalTimestamp, OrderRow] | InvalidOrder:
    restaurant = parse_integer(order.restaurant_id, _RESTAURANT_BOUNDS)
    restaurant_index = lookup.restaurant_index(restaurant) if type(restaurant) is int else UNKNOWN_CODE
    zone = lookup.zones[lookup.zone_index.item(restaurant_index)]
    if restaurant_index == UNKNOWN_CODE and order.country is not None:
        zone = _zone_of_unknown_restaurant(order.country, lookup) or zone
    timestamp = parse_timestamp(order.order_acknowledged_at, zone)
    order_value = parse_number(order.order_value_gbp, _VALUE_BOUNDS)
    items = parse_integer(order.number_of_items, _ITEMS_BOUNDS)
    # Not `isinstance`, which takes four times as long for an enumeration.
    if (
        timestamp is None
        or type(restaurant) is not int
        or type(order_value) is not float
        or type(items) is not int
        or (order.open_orders is not None and _check_open_orders(order) is not None)
    ):
        return _invalid_order(order, restaurant, timestamp, order_value, items)
    countries, cities, foods = lookup.restaurant_categories
    country, city, food = countries.item(restaurant_index), cities.item(restaurant_index), foods.item(restaurant_index)
    if order.country is not None or order.city is not None or order.type_of_food is not None:
        country_codes, city_codes, food_codes = lookup.category_codes
        country = _category_code(order.country, country_codes, country)
        city = _category_code(order.city, city_codes, city)
        food = _category_code(order.type_of_food, food_codes, food)
    return timestamp, (timestamp[0] // MICROSECONDS, restaurant, order_value, items, country, city, food)


def _zone_of_unknown_restaurant(country: object, lookup: OrderLookup) -> ZoneInfo | None:
    """Return the time zone of an unknown restaurant from its order's country, which is a name or a code."""
    code = _category_code(country, lookup.category_codes[0], UNKNOWN_CODE)
    if code != UNKNOWN_CODE:
        return time_zone_of_country(lookup.country_names[code])
    return time_zone_of_country(country.strip(WHITESPACE)) if type(country) is str else None


def _check_open_orders(order: Order) -> ValidationReason | None:
    """Return why the optional value is invalid, or None."""
    parsed = parse_integer(order.open_orders, _OPEN_ORDERS_BOUNDS)
    return parsed if isinstance(parsed, ValidationReason) and parsed is not ValidationReason.MISSING_VALUE else None


def _invalid_order(
    order: Order,
    restaurant: int | ValidationReason,
    timestamp: LocalTimestamp | None,
    order_value: float | ValidationReason,
    items: int | ValidationReason,
) -> InvalidOrder:
    time_reason = None
    if timestamp is None:
        time_reason = (
            ValidationReason.MISSING_VALUE
            if is_missing(order.order_acknowledged_at)
            else ValidationReason.UNPARSABLE_TIME
        )
    checks = (
        (restaurant, "restaurant_id"),
        (time_reason, "order_acknowledged_at"),
        (order_value, "order_value_gbp"),
        (items, "number_of_items"),
        (_check_open_orders(order), "open_orders"),
    )
    failures = [(reason, field) for reason, field in checks if isinstance(reason, ValidationReason)]
    reason, field = min(failures, key=lambda failure: _REASON_ORDER[failure[0]])
    return InvalidOrder(reason, field, getattr(order, field))


def _category_code(cell: object, codes: dict[str, int], default: int) -> int:
    """Return the code of the order's category, given as name or code, or `default` if it's unknown."""
    if cell is None:
        return default
    code = codes.get(cell, UNKNOWN_CODE) if type(cell) is str else UNKNOWN_CODE
    if code == UNKNOWN_CODE:
        code = _parse_category_code(cell, codes)
    return default if code == UNKNOWN_CODE else code


def _parse_category_code(cell: object, codes: dict[str, int]) -> int:
    if type(cell) is str:
        return parse_category_text(cell, codes)
    if (type(cell) is int or type(cell) is float) and 0 <= cell < len(codes) and cell == int(cell):
        return int(cell)
    return UNKNOWN_CODE
