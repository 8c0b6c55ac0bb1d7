"""What is answered to an order: the types that the encoder writes and that `/openapi.json` is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preptime.bundle.manifest import Manifest

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
