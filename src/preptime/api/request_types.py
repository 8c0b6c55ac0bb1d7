"""The types of requests, built from the schema of a bundle, and the descriptions of their fields.

The attributes of an order have canonical names, and its JSON fields are the company's columns. A custom feature of
orders is one more field. A column that the schema doesn't have is a class attribute with the value None, so that the
validation of orders needs no special cases.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preptime.api.kitchen import MAX_KITCHEN_ORDERS
from preptime.api.schema import (
    DispatchRequest,
    FieldDescription,
    Order,
    PredictionRequest,
    VertexParameters,
    VertexRequest,
)
from preptime.domain.data_dictionary import REQUEST_COLUMNS
from preptime.domain.dispatch import MAX_TRAVEL_SECONDS
from preptime.features.feature_set import valid_range
from preptime.schema.schema import CustomFeature, Schema, SchemaColumn

_ALSO_ACCEPTED = {
    "timestamp": "It can also be an epoch: a number of seconds, milliseconds, microseconds, or nanoseconds",
    "number": "It can also be sent as text",
    "integer": "It can also be sent as text",
    "category": "The index can also be sent as text",
    "text": "It can also be a number",
}
"""What the server accepts in addition to the type in the schema, which is the one that a client should send."""
_COLUMN_TYPES = {
    "timestamp": ("string",),
    "integer": ("integer",),
    "number": ("number",),
    "text": ("string", "number"),
    "category": ("string", "integer"),
}
"""JSON types of a field, by the type of its column."""
_ORDER_DESCRIPTION = """One order, as known at its acknowledgement. Unknown fields are ignored.

    The server accepts any value in a field, because every order gets a result. An order with an invalid or missing
    value gets an error that names the field and the expected value.
    """
_EXAMPLE_TIME = dt.datetime(2015, 6, 1, 12, 28, 28, tzinfo=dt.timezone(dt.timedelta(hours=1)))
JsonObject = dict[str, object]
KITCHEN_FIELD = "kitchen"
DISPATCH_FIELDS = ("travel_seconds", "now")
"""The fields of an order that only a dispatch request has."""
_MAX_CACHED_TYPES = 16
"""Two for each schema. A champion with the schema of an earlier one uses the same types."""
EXPECTED_TRAVEL = (
    f"a number of seconds from 0 to {MAX_TRAVEL_SECONDS:,}, or an object with such numbers p10, p50, and p90, ascending"
)


@dataclass(frozen=True, slots=True)
class RequestTypes:
    """The types and decoders of requests for bundles with one schema."""

    schema: Schema
    fields: tuple[FieldDescription, ...]
    """The fields of an order."""
    field_names: dict[str, str]
    """The JSON field of each attribute of an order, in order."""
    described: dict[str, FieldDescription]
    """The description of each attribute that the schema declares."""
    request_names: frozenset[str]
    """The JSON fields of a whole request. A column with one of these names can only be sent in the list of orders."""
    feature_attributes: tuple[str, ...]
    """The attribute of each custom feature of orders, in the order of the schema."""
    min_array_length: int
    """Values of an order that is an array: up to the last required one."""
    order: Callable[..., Order]
    prediction_request: Callable[..., PredictionRequest]
    vertex_request: Callable[..., VertexRequest]
    decode_request: Callable[[bytes], PredictionRequest]
    decode_vertex: Callable[[bytes], VertexRequest]
    decode_records: Callable[[bytes], list[Order]]

    @classmethod
    def from_schema(cls, schema: Schema) -> RequestTypes:
        """Return the types for a schema."""
        return _build(msgspec.json.encode(schema))

    @classmethod
    def for_dispatch(cls, schema: Schema) -> RequestTypes:
        """Return the types of dispatch requests for a schema: orders with `travel_seconds` and `now`."""
        return _build(msgspec.json.encode(schema), is_dispatch=True)

    @property
    def required_fields(self) -> tuple[str, ...]:
        """The JSON fields that every order needs."""
        return tuple(field.name for field in self.fields if field.required)


@lru_cache(maxsize=_MAX_CACHED_TYPES)
def _build(encoded_schema: bytes, *, is_dispatch: bool = False) -> RequestTypes:
    schema = msgspec.json.decode(encoded_schema, type=Schema)
    fields = describe_fields(schema)
    attributes = [name for name in REQUEST_COLUMNS if schema.has(name)]
    features = tuple(f"feature_{number}" for number in range(len(schema.order_features)))
    field_names = dict(zip((*attributes, *features), (field.name for field in fields), strict=True))
    described = dict(zip(field_names, fields, strict=True))
    columns = {field.name for field in fields}
    more_fields = (*_kitchen_field(columns), *(_dispatch_fields(columns) if is_dispatch else ()))
    order = _define("DispatchOrder" if is_dispatch else "Order", _ORDER_DESCRIPTION, described, more_fields)
    request_fields = (*_request_fields(order), *(_cost_fields() if is_dispatch else ()))
    request_names = frozenset(name for name, *_ in request_fields)
    request = _define(
        "DispatchRequest" if is_dispatch else "PredictionRequest",
        (DispatchRequest if is_dispatch else PredictionRequest).__doc__,
        {name: field for name, field in described.items() if field.name not in request_names},
        (*more_fields, *request_fields),
    )
    field_names |= {name: name for name, *_ in more_fields}
    vertex = _define("VertexRequest", VertexRequest.__doc__, {}, _vertex_fields(order))
    return RequestTypes(
        schema,
        fields,
        field_names,
        described,
        request_names,
        features,
        1 + max((position for position, field in enumerate(fields) if field.required), default=0),
        cast(Callable[..., Order], order),
        cast(Callable[..., PredictionRequest], request),
        cast(Callable[..., VertexRequest], vertex),
        cast(Callable[[bytes], PredictionRequest], msgspec.json.Decoder(request).decode),
        cast(Callable[[bytes], VertexRequest], msgspec.json.Decoder(vertex).decode),
        msgspec.json.Decoder(list[order]).decode,  # type: ignore[valid-type]
    )


def _define(
    name: str, description: str | None, fields: dict[str, FieldDescription], more_fields: tuple[Any, ...] = ()
) -> type[msgspec.Struct]:
    """Return a type with fields that can have any value, followed by others."""
    defaults: dict[str, object] = {attribute: None for attribute in REQUEST_COLUMNS if attribute not in fields}
    # A column with the name of a dispatch field is that field, too. A column `kitchen` isn't the state of one.
    names = {field.name: attribute for attribute, field in fields.items()}
    defaults |= {name: property(attrgetter(names[name])) for name in DISPATCH_FIELDS if name in names}
    if KITCHEN_FIELD in names:
        defaults[KITCHEN_FIELD] = None
    return msgspec.defstruct(
        name,
        [
            *(
                (attribute, Annotated[object, Meta(description=describe(field))], None)
                for attribute, field in fields.items()
            ),
            *more_fields,
        ],
        rename={attribute: field.name for attribute, field in fields.items()},
        namespace={"__doc__": description, **(defaults if fields else {})},
        module=__name__,
        gc=False,
        omit_defaults=True,
    )


def _request_fields(order: type[msgspec.Struct]) -> tuple[Any, ...]:
    orders = "The orders. Predictions have the same order. Without this field, the request is one order."
    models = "Names of point models to predict with, in addition to the default model. The default is none."
    return (
        ("orders", Annotated[list[order] | UnsetType, Meta(description=orders)], UNSET),  # type: ignore[valid-type]
        ("models", Annotated[list[str] | None, Meta(description=models)], None),
    )


def _kitchen_field(columns: Collection[str]) -> tuple[Any, ...]:
    """Return the field with the state of the kitchen, unless the schema has a column with its name."""
    description = (
        "The state of the restaurant's kitchen at the acknowledgement. Optional: with it, the live model predicts the "
        "order. `open_orders`: the number of the restaurant's orders that aren't ready, or a list of them with "
        "`acknowledged_at` (and `items`, which isn't used). `completed_orders`: a list of its orders of the day that "
        "are ready, with `ready_at` and `prep_time_seconds`. The latest 3 are used."
    )
    field = (KITCHEN_FIELD, Annotated[object, Meta(description=description)], None)
    return () if KITCHEN_FIELD in columns else (field,)


def _dispatch_fields(columns: Collection[str]) -> tuple[Any, ...]:
    """Return the fields of an order that only a dispatch request has, without those that are columns of the schema."""
    travel = f"Travel time of the courier to the restaurant. Unit: s. Required. Expected: {EXPECTED_TRAVEL}."
    now = (
        "The current time, for an order that isn't ready yet. It has the formats of the acknowledgement, and isn't "
        "before it. Optional: without it, the order was just acknowledged."
    )
    return tuple(
        (name, Annotated[object, Meta(description=description)], None)
        for name, description in zip(DISPATCH_FIELDS, (travel, now), strict=True)
        if name not in columns
    )


def _cost_fields() -> tuple[Any, ...]:
    courier = "Cost of a minute that a courier waits, in any unit. The default is PREPTIME_COURIER_COST."
    food = "Cost of a minute that ready food waits, in the same unit. The default is PREPTIME_FOOD_COST."
    ratio = "The ratio of both must be from 1:9 to 9:1."
    return (
        ("courier_cost", Annotated[float | None, Meta(description=f"{courier} {ratio}")], None),
        ("food_cost", Annotated[float | None, Meta(description=f"{food} {ratio}")], None),
    )


def _vertex_fields(order: type[msgspec.Struct]) -> tuple[Any, ...]:
    instances = (
        "The orders. Predictions have the same order. An order can also be an array of its values, in the order of the "
        "fields."
    )
    return (
        ("instances", Annotated[list[order], Meta(description=instances)]),  # type: ignore[valid-type]
        ("parameters", VertexParameters | None, None),
    )


def describe(field: FieldDescription) -> str:
    """Return the description of a field for people."""
    unit = f" Unit: {field.unit}." if field.unit else ""
    requirement = "Required" if field.required else "Optional"
    return f"{field.description}.{unit} {requirement}. Expected: {field.expected}. {_ALSO_ACCEPTED[field.data_type]}."


def describe_fields(schema: Schema) -> tuple[FieldDescription, ...]:
    """Return the fields of an order in a request: those of canonical columns, and then those of custom features."""
    return (
        *(describe_column(schema.column(name), schema) for name in REQUEST_COLUMNS if schema.has(name)),
        *map(_describe_feature, schema.order_features),
    )


def describe_column(column: SchemaColumn, schema: Schema) -> FieldDescription:
    """Return the description of a canonical column of orders in the company's name, unit, and format."""
    declaration = column.declaration
    unit = column.unit or declaration.unit
    if column.name == "order_value" and schema.currency:
        unit = f"{column.unit} ({schema.currency})" if column.unit else schema.currency
    factor = column.number_format.multiplier / column.number_format.divisor
    return FieldDescription(
        name=column.source,
        data_type=declaration.data_type,
        description=declaration.description,
        unit=unit,
        minimum=None if column.minimum is None else column.minimum / factor,
        maximum=None if column.maximum is None else column.maximum / factor,
        required="scoring" in declaration.required_for,
        expected=column.expected_text,
        example=_example(column, factor),
        column=column.name,
    )


def _example(column: SchemaColumn, factor: float) -> str:
    if column.timestamp_format.pattern:
        return _EXAMPLE_TIME.strftime(column.timestamp_format.pattern)
    return column.declaration.example if factor == 1 else f"{float(column.declaration.example) / factor:.10g}"


def _describe_feature(feature: CustomFeature) -> FieldDescription:
    is_number = feature.type == "number"
    minimum, maximum = feature.range or (None, None)
    title = feature.display_name
    return FieldDescription(
        name=feature.column,
        data_type="number" if is_number else "text",
        description=f"Custom feature: {title}",
        unit=feature.unit,
        minimum=minimum,
        maximum=maximum,
        required=feature.required,
        expected=expected_feature(feature),
        example=f"{minimum if minimum is not None else 1:.10g}" if is_number else title,
        column=feature.name,
    )


def expected_feature(feature: CustomFeature) -> str:
    """Return the expected content of a custom feature, for messages."""
    if feature.type == "category":
        return "a text"
    _, _, expected = valid_range(feature)
    return expected


def field_schema(field: FieldDescription, schema: Schema) -> JsonObject:
    """Return the type, range, and an example of a field. An optional field can be null."""
    types = [*_COLUMN_TYPES[field.data_type], *(() if field.required else ("null",))]
    if field.column == "restaurant_id":
        return {
            "type": ["integer", "string"],
            "minLength": 1,
            "maxLength": 200,
            "examples": [json.loads(field.example)],
        }
    field_schema: JsonObject = {"type": types[0] if len(types) == 1 else types}
    if field.data_type == "timestamp":
        if schema.column(field.column).timestamp_format.pattern:
            return field_schema | {"examples": [field.example]}
        return field_schema | {"format": "date-time", "examples": [field.example.replace(" ", "T")]}
    if field.data_type not in {"integer", "number"}:
        return field_schema | {"examples": [field.example]}
    if field.minimum is not None:
        field_schema["minimum"] = field.minimum
        field_schema["maximum"] = field.maximum
    return field_schema | {"examples": [json.loads(field.example)]}


def dispatch_field_schemas(types: RequestTypes) -> dict[str, JsonObject]:
    """Return the types of the fields that only a dispatch request has. A column with such a name keeps its own type."""
    columns = {field.name for field in types.fields}
    acknowledged = next(field for field in types.fields if field.column == "order_acknowledged_at")
    seconds: JsonObject = {"type": "number", "minimum": 0, "maximum": MAX_TRAVEL_SECONDS}
    names = ("p10", "p50", "p90")
    quantiles: JsonObject = {"type": "object", "properties": dict.fromkeys(names, seconds), "required": list(names)}
    schemas: dict[str, JsonObject] = {
        "travel_seconds": {"anyOf": [seconds, quantiles], "examples": [420]},
        "now": field_schema(acknowledged, types.schema) | {"type": ["string", "null"]},
    }
    return {name: schema for name, schema in schemas.items() if name not in columns}


def kitchen_schema(types: RequestTypes) -> JsonObject:
    """Return the type of the state of a kitchen. It can be null."""
    acknowledged = next(field for field in types.fields if field.column == "order_acknowledged_at")
    time = field_schema(acknowledged, types.schema)
    number: JsonObject = {"type": "integer", "minimum": 0, "maximum": MAX_KITCHEN_ORDERS}
    opened: JsonObject = {
        "type": "object",
        "properties": {"acknowledged_at": time, "items": {"type": ["integer", "null"]}},
        "required": ["acknowledged_at"],
    }
    completed: JsonObject = {
        "type": "object",
        "properties": {"ready_at": time, "prep_time_seconds": {"type": "number", "minimum": 0}},
        "required": ["ready_at", "prep_time_seconds"],
    }
    lists: list[JsonObject] = [
        {"type": "array", "items": item, "maxItems": MAX_KITCHEN_ORDERS} for item in (opened, completed)
    ]
    return {
        "type": ["object", "null"],
        "properties": {"open_orders": {"anyOf": [number, lists[0]]}, "completed_orders": lists[1]},
        "examples": [{"open_orders": 5}],
    }


EXAMPLE_PREDICTION: JsonObject = {
    "order_id": "A-10017",
    "prep_time_seconds": 961,
    "p10": 492.5385,
    "p50": 960.574,
    "p80": 1567.2158,
    "p90": 1893.5405,
    "ready_at": "2015-06-01T12:44:29+01:00",
    "fallback_level": "restaurant",
    "live": False,
}
"""A prediction in the document of the API."""
EXAMPLE_ERROR: JsonObject = {
    "order_id": "A-10018",
    "error": {
        "code": "missing_value",
        "field": "number_of_items",
        "message": "number_of_items is missing; expected a whole number from 1 to 10,000.",
    },
}
"""The error of an order that can't be predicted, in the same document."""


def example_orders(types: RequestTypes, date: dt.date) -> list[JsonObject]:
    """Return two orders with the required fields and an ID."""
    return [
        {
            field.name: values[field.column] if field.column in values else _example_cell(field, types, start)
            for field in sorted(types.fields, key=lambda field: field.column != "order_id")
            if field.required or field.column == "order_id"
        }
        for start, values in _example_values(types, date)
    ]


def _example_values(types: RequestTypes, date: dt.date) -> list[tuple[dt.datetime, JsonObject]]:
    factor = 1.0
    if types.schema.has("order_value"):
        number_format = types.schema.column("order_value").number_format
        factor = number_format.divisor / number_format.multiplier
    return [
        (
            dt.datetime.combine(date, clock, dt.UTC),
            {"order_id": order_id, "order_value": value * factor, "restaurant_id": 1326, "number_of_items": items},
        )
        for order_id, clock, value, items in (
            ("A-10017", dt.time(11, 28, 28), 21.4, 3),
            ("A-10018", dt.time(18, 5), 9.5, 1),
        )
    ]


def _example_cell(field: FieldDescription, types: RequestTypes, start: dt.datetime) -> object:
    if field.data_type != "timestamp":
        return json.loads(field.example) if field.data_type in {"integer", "number"} else field.example
    pattern = types.schema.column(field.column).timestamp_format.pattern
    return start.strftime(pattern) if pattern else f"{start:%Y-%m-%dT%H:%M:%SZ}"
