"""An order as a request brings it: the types that the decoder fills and that `/openapi.json` is made from.

What is answered to an order: the types that the encoder writes and that `/openapi.json` is made from.

What is said to a client whose request cannot be answered: facts first, as RFC 9457 problem documents.

The demo's clients read `{"error": …}` instead, and get the same facts that way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preptime.bundle.manifest import Manifest
from preptime.domain.data_dictionary import order_column
from preptime.errors import PreptimeError


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


Seconds = Annotated[float, Meta(description="Seconds from acknowledgement to ready.", ge=0)]
OrderId = Annotated[object, Meta(description="The order's own `order_id`, as it came; left out when it had none.")]


class Prediction(msgspec.Struct, gc=False, kw_only=True):
    """When the food will be ready."""

    order_id: OrderId | UnsetType = UNSET
    prep_time_seconds: Annotated[int, Meta(description="The answer: the p50 in whole seconds.", ge=0)]
    p10: Annotated[float, Meta(description="Seconds; one order in ten is ready sooner.", ge=0)]
    p50: Annotated[float, Meta(description="Seconds; half of the orders are ready sooner.", ge=0)]
    p80: Annotated[float, Meta(description="Seconds; eight orders in ten are ready sooner.", ge=0)]
    p90: Annotated[float, Meta(description="Seconds; nine orders in ten are ready sooner.", ge=0)]
    ready_at: Annotated[
        str,
        Meta(
            description="Acknowledgement plus p50, to the second, on the restaurant's wall clock with its offset.",
            examples=["2015-06-01T12:42:01+01:00"],
        ),
    ]
    fallback_level: Annotated[
        str,
        Meta(
            description="The finest level of history with a completed order behind the prediction.",
            extra_json_schema={"enum": ["restaurant", "city_food", "food", "city", "global"]},
        ),
    ]
    models: Annotated[
        dict[str, Seconds] | UnsetType, Meta(description="Seconds by point model, for those that were asked for.")
    ] = UNSET


class RowError(msgspec.Struct, gc=False):
    """Why an order cannot be predicted."""

    code: Annotated[
        str,
        Meta(
            description="The reason, as in docs/validation-reasons.md.",
            examples=["unparsable_time", "missing_value", "out_of_range"],
        ),
    ]
    field: Annotated[str, Meta(description="The field that it stands in.")]
    message: Annotated[str, Meta(description="The field, its value, and what was expected.")]


class PredictionError(msgspec.Struct, gc=False, kw_only=True):
    """An order that cannot be predicted, in its place."""

    order_id: OrderId | UnsetType = UNSET
    error: RowError


PREDICTION_OR_ERROR = Meta(
    description="For every order a prediction or an error, in the orders' places.",
    extra_json_schema={
        "items": {"anyOf": [{"$ref": f"#/components/schemas/{schema}"} for schema in ("Prediction", "PredictionError")]}
    },
)
"""A union of two structs says nothing to msgspec's schemas, which have to be able to decode what they describe."""


class PredictionResponse(msgspec.Struct, gc=False):
    """An answer to every order, in the orders' places."""

    bundle: Annotated[str, Meta(description="The bundle that all of these answers are from.")]
    predictions: Annotated[Sequence[object], PREDICTION_OR_ERROR]


class VertexResponse(msgspec.Struct, gc=False):
    """The same answers as Vertex AI wants them."""

    predictions: Annotated[Sequence[object], PREDICTION_OR_ERROR]


class TakeHomeResponse(msgspec.Struct):
    """Seconds by model, a list each: a number for every row in its place, null where a row cannot be predicted.

    It describes what is written, for the schema; the lists are those of the bundle's models.
    """

    quantile: Annotated[list[Seconds | None], Meta(description="Seconds: the default answer, the p50.")]
    rf: list[Seconds | None] | UnsetType = UNSET
    gbr: list[Seconds | None] | UnsetType = UNSET
    cat: list[Seconds | None] | UnsetType = UNSET
    xgb: list[Seconds | None] | UnsetType = UNSET
    stacking: list[Seconds | None] | UnsetType = UNSET


class HealthStatus(msgspec.Struct):
    """The process lives."""

    status: str


class Readiness(msgspec.Struct, omit_defaults=True):
    """Which bundle answers."""

    ready: Annotated[bool, Meta(description="Whether a verified bundle is loaded.")]
    bundle: Annotated[str | UnsetType, Meta(description="The bundle in use.")] = UNSET
    champion: Annotated[int | UnsetType, Meta(description="Its number in the log of champions.")] = UNSET
    loaded_at: Annotated[str | UnsetType, Meta(description="UTC time at which this worker put it to use.")] = UNSET
    champion_error: Annotated[str | UnsetType, Meta(description="Why the latest champion is not the one in use.")] = (
        UNSET
    )


class ActiveBundle(msgspec.Struct, omit_defaults=True):
    """The bundle that answers, and since when."""

    id: str
    champion: Annotated[int, Meta(description="Its number in the log of champions.")]
    champion_since: Annotated[str, Meta(description="UTC time of its promotion, as the promoting side told it.")]
    champion_from: Annotated[str, Meta(description="Logical date from which it is the champion.")]
    loaded_at: Annotated[str, Meta(description="UTC time at which this worker put it to use.")]
    metrics: Annotated[dict[str, object], Meta(description="What was measured when it was made.")]
    manifest: Annotated[Manifest, Meta(description="Everything it says of itself: docs/bundle-format.md.")]
    champion_error: Annotated[str | UnsetType, Meta(description="Why a later champion is not the one in use.")] = UNSET


class ColumnDescription(msgspec.Struct):
    """One column of the data dictionary."""

    name: str
    kind: str
    meaning: str
    unit: str
    minimum: float | None
    maximum: float | None
    required: Annotated[bool, Meta(description="Whether a prediction needs it.")]
    expected: str
    example: str


class DataDictionary(msgspec.Struct):
    """What orders and restaurants are made of."""

    orders: list[ColumnDescription]
    restaurants: list[ColumnDescription]


PROBLEM_JSON = "application/problem+json"
JSON = "application/json"


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: Annotated[str, msgspec.Meta(description="The status in words.")]
    status: Annotated[int, msgspec.Meta(description="The HTTP status.", ge=400, le=599)]
    detail: Annotated[str, msgspec.Meta(description="What was found, what was expected, and what to do.")]
    row: Annotated[int | UnsetType, msgspec.Meta(description="Place of the order among those asked for, from 0.")] = (
        UNSET
    )
    field: Annotated[str | UnsetType, msgspec.Meta(description="The field that it is about.")] = UNSET
    value: Annotated[str | UnsetType, msgspec.Meta(description="What was found there, as text.")] = UNSET
    expected: Annotated[str | UnsetType, msgspec.Meta(description="What belongs there.")] = UNSET
    request_id: Annotated[str | UnsetType, msgspec.Meta(description="To name in a report about this request.")] = UNSET


class TakeHomeError(msgspec.Struct):
    """An error as the demo's clients know it."""

    error: str


class ApiError(PreptimeError):
    """A request that cannot be answered: its status, and where in it the fault lies as far as that can be said."""

    def __init__(
        self,
        status: HTTPStatus,
        facts: str,
        hint: str = "",
        *,
        row: int | None = None,
        field: str | None = None,
        value: str | None = None,
        expected: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(facts, hint)
        self.status = status
        self.row = row
        self.field = field
        self.value = value
        self.expected = expected
        self.retry_after_seconds = retry_after_seconds


ErrorFormatter = Callable[[ApiError, str], tuple[str, bytes]]
"""A refusal and the request's id as (content type, body)."""


def format_problem(error: ApiError, request_id: str) -> tuple[str, bytes]:
    """The problem document of a refusal."""
    problem = Problem(
        title=error.status.phrase,
        status=error.status.value,
        detail=str(error),
        row=UNSET if error.row is None else error.row,
        field=error.field or UNSET,
        value=UNSET if error.value is None else error.value,
        expected=error.expected or UNSET,
        request_id=request_id or UNSET,
    )
    return PROBLEM_JSON, msgspec.json.encode(problem)


def format_take_home_error(error: ApiError, request_id: str) -> tuple[str, bytes]:
    """A refusal as the demo's clients know it. Their two sentences are kept to the letter."""
    text = str(error)
    if error.status is HTTPStatus.UNAUTHORIZED:
        text = "Wrong key"
    elif error.status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        text = "Request must be JSON"
    elif error.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        text = f"{text} Request id: {request_id}."
    return JSON, msgspec.json.encode(TakeHomeError(text))


def internal_error() -> ApiError:
    """An unexpected fault: nothing of the inside is told; the server's log has it under the request's id."""
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something went wrong on the server's side.",
        "Give the request id to whoever runs it.",
    )
