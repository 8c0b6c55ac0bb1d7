"""What is answered to an order: the types that the encoder writes and that `/openapi.json` is made from."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

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
    basis: Annotated[
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
            description="The reason, as in docs/row-verdicts.md.",
            examples=["unparsable_time", "missing_value", "out_of_range"],
        ),
    ]
    field: Annotated[str, Meta(description="The field that it stands in.")]
    message: Annotated[str, Meta(description="The field, its value, and what was expected.")]


class Failure(msgspec.Struct, gc=False, kw_only=True):
    """An order that cannot be predicted, in its place."""

    order_id: OrderId | UnsetType = UNSET
    error: RowError


class PredictionResponse(msgspec.Struct, gc=False):
    """An answer to every order, in the orders' places."""

    bundle: Annotated[str, Meta(description="The bundle that all of these answers are from.")]
    predictions: list[Prediction | Failure]


class VertexResponse(msgspec.Struct, gc=False):
    """The same answers as Vertex AI wants them."""

    predictions: list[Prediction | Failure]
