"""An order as a request brings it: the types that the decoder fills and that `/openapi.json` is made from."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from preptime.domain.dictionary import order_column


def column_meta(name: str) -> msgspec.Meta:
    """What the data dictionary says of a column of orders, for the schema."""
    column = order_column(name)
    unit = f", {column.unit}" if column.unit else ""
    requirement = "Required for a prediction" if column.required_for else "Optional"
    return msgspec.Meta(
        description=f"{column.description}{unit}. {requirement}; expected: {column.expected_text}. A number may be given as text.",
        examples=[column.example],
    )


class Order(msgspec.Struct, gc=False, omit_defaults=True):
    """One order, as known at its acknowledgement. Fields that are not listed are ignored.

    The schema takes any value, because every order is answered: one that cannot be used gets an error in its place,
    which names the field and says what was expected.
    """

    order_acknowledged_at: Annotated[object, column_meta("order_acknowledged_at")] = None
    order_value_gbp: Annotated[object, column_meta("order_value_gbp")] = None
    restaurant_id: Annotated[object, column_meta("restaurant_id")] = None
    number_of_items: Annotated[object, column_meta("number_of_items")] = None
    country: Annotated[object, column_meta("country")] = None
    city: Annotated[object, column_meta("city")] = None
    type_of_food: Annotated[object, column_meta("type_of_food")] = None
    open_orders: Annotated[object, column_meta("open_orders")] = None
    order_id: Annotated[object, column_meta("order_id")] = None


class PredictionRequest(Order, gc=False):
    """Orders to predict: in `orders`, or one alone, its fields in the request itself."""

    orders: Annotated[
        list[Order] | UnsetType,
        msgspec.Meta(description="The orders, answered in this order. Without it the request is one."),
    ] = UNSET
    models: Annotated[
        list[str] | None,
        msgspec.Meta(description="Point models whose answers are wanted beside the default one. By default none."),
    ] = None


class VertexParameters(msgspec.Struct):
    """What Vertex AI passes on beside instances."""

    models: list[str] | None = None


class VertexRequest(msgspec.Struct):
    """Vertex AI's contract for custom containers."""

    instances: Annotated[list[Order], msgspec.Meta(description="The orders, answered in this order.")]
    parameters: VertexParameters | None = None


EXAMPLE_DATA_FRAME_JSON = (
    '{"order_acknowledged_at":{"0":1433158108000},"order_value_gbp":{"0":21.4},'
    '"restaurant_id":{"0":1326},"number_of_items":{"0":3}}'
)


class TakeHomeRequest(msgspec.Struct):
    """The demo's contract."""

    json_data: Annotated[
        str,
        msgspec.Meta(
            description="`DataFrame.to_json()` of the orders: by column (pandas' default) or a list of records.",
            examples=[EXAMPLE_DATA_FRAME_JSON],
            extra_json_schema={"contentMediaType": "application/json"},
        ),
    ]
