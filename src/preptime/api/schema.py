"""Request and response types of the API, and its errors.

`msgspec` decodes requests into types that are built from the schema of the bundle (`preptime.api.request_types`), and
encodes responses from the types in this module. `/openapi.json` is generated from the same types. Errors are RFC 9457
problem documents. The take-home API contract uses `{"error": …}` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preptime.bundle.manifest import Manifest
from preptime.errors import PreptimeError


class Order(Protocol):
    """One order of a request: a type that `preptime.api.request_types` builds from the schema of the bundle.

    The attributes have canonical names. A column that the schema doesn't have is None.
    """

    order_acknowledged_at: object
    order_value: object
    restaurant_id: object
    number_of_items: object
    order_id: object
    country: object
    city: object
    type_of_food: object
    open_orders: object
    kitchen: object


class PredictionRequest(Order, Protocol):
    """Orders to predict: a list in `orders`, or the fields of a single order."""

    orders: list[Order] | UnsetType
    models: list[str] | None


class DispatchOrder(Order, Protocol):
    """One order of a dispatch request. Its type has these fields unless the schema has columns with their names."""

    travel_seconds: object
    now: object


class DispatchRequest(PredictionRequest, DispatchOrder, Protocol):
    """Orders to dispatch: a list in `orders`, or the fields of a single order."""

    courier_cost: float | None
    food_cost: float | None


class VertexParameters(msgspec.Struct):
    """Parameters that Vertex AI passes with the instances."""

    models: list[str] | None = None


class VertexRequest(Protocol):
    """A request in the format of Vertex AI custom containers."""

    instances: list[Order]
    parameters: VertexParameters | None


class TakeHomeRequest(msgspec.Struct):
    """A request in the take-home API contract."""

    json_data: Annotated[
        str,
        Meta(
            description="`DataFrame.to_json()` of the orders: by column (the pandas default) or as a list of records.",
            extra_json_schema={"contentMediaType": "application/json"},
        ),
    ]


Seconds = Annotated[float, Meta(description="Seconds from acknowledgement to ready.", ge=0)]
OrderId = Annotated[
    str | float, Meta(description="The `order_id` of the request, unchanged. Omitted if the order has none.")
]


class Prediction(msgspec.Struct, gc=False, kw_only=True):
    """The prediction for one order."""

    order_id: OrderId | UnsetType = UNSET
    prep_time_seconds: Annotated[
        int, Meta(description="Predicted preparation time: the p50, rounded to whole seconds.", ge=0)
    ]
    p10: Annotated[float, Meta(description="Seconds. 10% of orders are ready sooner.", ge=0)]
    p50: Annotated[float, Meta(description="Seconds. 50% of orders are ready sooner.", ge=0)]
    p80: Annotated[float, Meta(description="Seconds. 80% of orders are ready sooner.", ge=0)]
    p90: Annotated[float, Meta(description="Seconds. 90% of orders are ready sooner.", ge=0)]
    ready_at: Annotated[
        str,
        Meta(
            description="Acknowledgement time plus p50, in the restaurant's local time with UTC offset, to the second.",
            examples=["2015-06-01T12:42:01+01:00"],
        ),
    ]
    fallback_level: Annotated[
        str,
        Meta(
            description="The most specific level of history that has a completed order for this prediction.",
            extra_json_schema={"enum": ["restaurant", "city_food", "food", "city", "global"]},
        ),
    ]
    live: Annotated[
        bool,
        Meta(
            description="Whether the quantiles are those of the live model, which reads the `kitchen` of the request."
        ),
    ] = False
    models: Annotated[
        dict[str, Seconds] | UnsetType, Meta(description="Seconds by point model, for the requested models.")
    ] = UNSET
    restaurant_differs: Annotated[
        bool | UnsetType,
        Meta(
            description="True if the country or city of the order isn't that of the restaurant in the bundle. The "
            "identifier may be that of another restaurant. Omitted otherwise."
        ),
    ] = UNSET
    missing_features: Annotated[
        list[str] | UnsetType,
        Meta(
            description="Fields of custom features without a valid value. They count as missing. Omitted if there are "
            "none."
        ),
    ] = UNSET
    kitchen_error: Annotated[
        str | UnsetType,
        Meta(description="Why the `kitchen` of the request can't be used. Omitted if it can, or without one."),
    ] = UNSET


class RemainingTime(msgspec.Struct, gc=False):
    """Quantiles of the time until the order is ready, in seconds from `now`, or from acknowledgement without `now`."""

    p10: Annotated[int, Meta(ge=0)]
    p50: Annotated[int, Meta(ge=0)]
    p80: Annotated[int, Meta(ge=0)]
    p90: Annotated[int, Meta(ge=0)]


class DispatchDecision(Prediction, gc=False, kw_only=True):
    """The prediction and the dispatch decision for one order. All its own fields except `note` are always present."""

    dispatch_at: Annotated[
        str,
        Meta(
            description="When to send the courier, in the restaurant's local time with UTC offset, to the second. "
            "Never before the acknowledgement or `now`.",
            examples=["2015-06-01T12:31:14+01:00"],
        ),
    ] = ""
    courier_wait_seconds: Annotated[
        int | None,
        Meta(description="Seconds that the courier is expected to wait, if it's sent then. Null without an estimate."),
    ] = None
    food_wait_seconds: Annotated[
        int | None,
        Meta(description="Seconds that the food is expected to wait, if the courier is sent then. Null without one."),
    ] = None
    quantile: Annotated[
        float | None,
        Meta(
            description="Level of the quantile of the ready time at which the courier should arrive. It follows from "
            "the costs. Null without an estimate."
        ),
    ] = None
    remaining: Annotated[RemainingTime | None, Meta(description="Null without an estimate.")] = None
    note: Annotated[
        str | UnsetType, Meta(description="Why no estimate is available. Omitted if there is an estimate.")
    ] = UNSET


class RowError(msgspec.Struct, gc=False):
    """The reason why an order can't be predicted."""

    code: Annotated[
        str,
        Meta(
            description="Validation reason. See docs/validation-reasons.md.",
            examples=["unparsable_time", "missing_value", "out_of_range"],
        ),
    ]
    field: Annotated[str, Meta(description="The invalid field.")]
    message: Annotated[str, Meta(description="The field, its value, and the expected value.")]


class PredictionError(msgspec.Struct, gc=False, kw_only=True):
    """The error for one order that can't be predicted."""

    order_id: OrderId | UnsetType = UNSET
    error: RowError


PREDICTION_OR_ERROR = Meta(description="One prediction or error per order, in the order of the request.")
"""msgspec can't describe a union of two structs, because it couldn't decode it. Therefore `openapi` does it."""


WeakModels = Annotated[
    list[str],
    Meta(
        description="The requested point models whose error on the gate's days isn't lower than that of the global "
        "median. Don't use them. Omitted if there are none."
    ),
]


class PredictionResponse(msgspec.Struct, gc=False):
    """One prediction or error for every order, in the order of the request."""

    bundle: Annotated[str, Meta(description="ID of the bundle that made all predictions of this response.")]
    predictions: Annotated[Sequence[object], PREDICTION_OR_ERROR]
    weak_models: WeakModels | UnsetType = UNSET


class DispatchResponse(msgspec.Struct, gc=False):
    """One prediction with a dispatch decision, or one error, for every order, in the order of the request."""

    bundle: Annotated[str, Meta(description="ID of the bundle that made all predictions of this response.")]
    predictions: Annotated[Sequence[object], PREDICTION_OR_ERROR]
    weak_models: WeakModels | UnsetType = UNSET


class VertexResponse(msgspec.Struct, gc=False):
    """The same predictions in the format of Vertex AI custom containers."""

    predictions: Annotated[Sequence[object], PREDICTION_OR_ERROR]


class TakeHomeResponse(msgspec.Struct):
    """One list of seconds per model: a number for every row in request order, or null for an invalid row.

    This type only describes the response for the schema. The response has a list for each model of the bundle.
    """

    quantile: Annotated[list[Seconds | None], Meta(description="Seconds: the default prediction, which is the p50.")]
    rf: list[Seconds | None] | UnsetType = UNSET
    gbr: list[Seconds | None] | UnsetType = UNSET
    cat: list[Seconds | None] | UnsetType = UNSET
    xgb: list[Seconds | None] | UnsetType = UNSET
    stacking: list[Seconds | None] | UnsetType = UNSET


class HealthStatus(msgspec.Struct):
    """Liveness of the process."""

    status: str


class Readiness(msgspec.Struct, omit_defaults=True):
    """Readiness of the worker, and the bundle it serves."""

    ready: Annotated[bool, Meta(description="Whether a verified bundle is loaded.")]
    bundle: Annotated[str | UnsetType, Meta(description="ID of the active bundle.")] = UNSET
    champion: Annotated[int | UnsetType, Meta(description="Its number in the champion log.")] = UNSET
    loaded_at: Annotated[str | UnsetType, Meta(description="UTC time at which this worker loaded it.")] = UNSET
    store_available: Annotated[
        bool | UnsetType, Meta(description="Whether the worker could read the champion log at the latest attempt.")
    ] = UNSET
    reason: Annotated[str | UnsetType, Meta(description="Why the worker isn't ready.")] = UNSET
    champion_error: Annotated[str | UnsetType, Meta(description="Why the latest champion isn't active.")] = UNSET


class ActiveBundle(msgspec.Struct, omit_defaults=True):
    """The active bundle and its promotion."""

    id: str
    champion: Annotated[int, Meta(description="Its number in the champion log.")]
    champion_since: Annotated[str, Meta(description="UTC time of its promotion, as recorded in the champion log.")]
    champion_from: Annotated[str, Meta(description="As-of date from which it is the champion.")]
    loaded_at: Annotated[str, Meta(description="UTC time at which this worker loaded it.")]
    metrics: Annotated[dict[str, object], Meta(description="Metrics measured when the bundle was created.")]
    weak_models: Annotated[
        list[str],
        Meta(
            description="Its point models whose error on the gate's days isn't lower than that of the global median. "
            "Don't use them."
        ),
    ]
    manifest: Annotated[Manifest, Meta(description="The manifest of the bundle. See docs/bundle-format.md.")]
    champion_error: Annotated[str | UnsetType, Meta(description="Why a later champion isn't active.")] = UNSET


class ColumnDescription(msgspec.Struct):
    """One column of the data dictionary."""

    name: str
    data_type: str
    description: str
    unit: str
    minimum: float | None
    maximum: float | None
    required: Annotated[bool, Meta(description="Whether a prediction requires it.")]
    expected: str
    example: str


class FieldDescription(ColumnDescription):
    """One field of a request, in the company's unit."""

    column: Annotated[str, Meta(description="The canonical column, or the name of the custom feature.")]


class TargetDescription(msgspec.Struct):
    """What the models predict."""

    name: str
    title: str
    event: Annotated[str, Meta(description='What happens at the end, after "the order is".')]
    unit: Annotated[str, Meta(description="The unit for people. Predictions are in seconds.")]


class SchemaDescription(msgspec.Struct):
    """The schema of the active bundle: the fields of an order in a request, and the target."""

    bundle: Annotated[str, Meta(description="ID of the active bundle.")]
    fields: list[FieldDescription]
    target: TargetDescription


class DataDictionary(msgspec.Struct):
    """The columns of orders and restaurants, with the names in the schema of the active bundle."""

    orders: list[FieldDescription]
    restaurants: list[ColumnDescription]


PROBLEM_JSON = "application/problem+json"
JSON = "application/json"


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: Annotated[str, Meta(description="The reason phrase of the HTTP status.")]
    status: Annotated[int, Meta(description="The HTTP status.", ge=400, le=599)]
    detail: Annotated[str, Meta(description="The actual value, the expected value, and how to fix it.")]
    row: Annotated[int | UnsetType, Meta(description="Zero-based index of the order in the request.")] = UNSET
    field: Annotated[str | UnsetType, Meta(description="The field with the error.")] = UNSET
    value: Annotated[str | UnsetType, Meta(description="The actual value, as text.")] = UNSET
    expected: Annotated[str | UnsetType, Meta(description="The expected value.")] = UNSET
    request_id: Annotated[
        str | UnsetType, Meta(description="ID of this request in the server log and in the prediction log.")
    ] = UNSET


class TakeHomeError(msgspec.Struct):
    """An error in the take-home API contract."""

    error: str


class ApiError(PreptimeError):
    """A rejected request: the HTTP status, and the location of the error if it's known."""

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
        rejection_cause: str | None = None,
    ) -> None:
        super().__init__(facts, hint)
        self.status = status
        self.row = row
        self.field = field
        self.value = value
        self.expected = expected
        self.retry_after_seconds = retry_after_seconds
        self.rejection_cause = rejection_cause


ErrorFormatter = Callable[[ApiError, str], tuple[str, bytes]]
"""Takes an error and the request ID. Returns the content type and the body."""


def format_problem(error: ApiError, request_id: str) -> tuple[str, bytes]:
    """Return the content type and the problem document of an error."""
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
    """Return the content type and body of an error in the take-home API contract, with its two original messages."""
    text = str(error)
    if error.status is HTTPStatus.UNAUTHORIZED:
        text = "Wrong key"
    elif error.status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        text = "Request must be JSON"
    elif error.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        text = f"{text} Request ID: {request_id}."
    return JSON, msgspec.json.encode(TakeHomeError(text))


def internal_error() -> ApiError:
    """Return the error for an unexpected exception. It reveals no internals; the server log has them by request ID."""
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal server error.",
        "For details, search the server log for the request ID.",
    )
