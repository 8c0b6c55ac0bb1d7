"""Explanation requests: predictions, and how many seconds each feature adds to each p50.

An order is read and predicted as for `POST /v1/predictions`. The explanation is computed from the same row and the same
state of the kitchen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preptime.api.active_model import ActiveModel, PredictionRow, kitchen_columns, rows_to_columns
from preptime.api.order_validation import ParsedOrders
from preptime.api.parsing import LocalTimestamp
from preptime.api.predict import (
    ModelColumns,
    OrderLimit,
    PreparedRequest,
    build_prediction,
    parse_orders,
    prepare_request,
    requested_weak_models,
)
from preptime.api.request_decoding import decode_request
from preptime.api.schema import PREDICTION_OR_ERROR, ApiError, Prediction, WeakModels
from preptime.bundle.bundle import Bundle
from preptime.errors import UsageError
from preptime.explanations.explanations import Explanations, explanation_sentences

CONTRIBUTION_DECIMALS = 6
"""The sum of a few dozen rounded contributions stays within 1e-4 s of the p50."""


class GroupContribution(msgspec.Struct, gc=False):
    """What a group of features adds to the p50."""

    name: Annotated[str, Meta(description="The group. A custom feature has a group of its own.")]
    title: Annotated[str, Meta(description="Its name for people.")]
    seconds: Annotated[float, Meta(description="Seconds that the group adds: the sum of its features.")]
    features: Annotated[dict[str, float], Meta(description="Seconds that each feature of the group adds.")]


class Explanation(msgspec.Struct, gc=False):
    """Why the order has its p50. The base value, all groups, and the rounding add up to the p50."""

    base: Annotated[
        float, Meta(description="Base value: the mean p50 of the orders that the model was fitted on, in seconds.")
    ]
    groups: list[GroupContribution]
    rounding: Annotated[
        float,
        Meta(description="Seconds that the steps after the model add, such as the nearest value that labels take."),
    ]
    sentence: Annotated[str, Meta(description="The largest contributions as a sentence.")]


class ExplainedPrediction(Prediction, gc=False, kw_only=True):
    """The prediction for one order, and its explanation."""

    explanation: Explanation


class ExplanationResponse(msgspec.Struct, gc=False):
    """One prediction with an explanation, or one error, for every order, in the order of the request."""

    bundle: Annotated[str, Meta(description="ID of the bundle that made all predictions of this response.")]
    predictions: Annotated[Sequence[object], PREDICTION_OR_ERROR]
    weak_models: WeakModels | UnsetType = UNSET


EXAMPLE_EXPLANATION: dict[str, object] = {
    "base": 1063.482105,
    "groups": [
        {
            "name": "basket",
            "title": "the basket",
            "seconds": -102.908105,
            "features": {"order_value": -72.404212, "number_of_items": -30.503893},
        }
    ],
    "rounding": 0.0,
    "sentence": "2 min shorter than the average order: the basket (−2 min).",
}


def read_explanation_request(body: bytes, active_model: ActiveModel, limit: OrderLimit) -> PreparedRequest:
    """Parse a request to `POST /v1/explanations`. Raises `ApiError`, also if the bundle has no explanations."""
    bundle = active_model.bundle
    decoded = decode_request(body, active_model.types)
    parsed = parse_orders(body, decoded, active_model, limit)
    try:
        bundle.require_explanations()
    except UsageError as error:
        raise ApiError(HTTPStatus.CONFLICT, error.facts, error.hint) from None
    build_body = partial(
        ExplanationResponse, bundle.manifest.id, weak_models=requested_weak_models(decoded.models, active_model)
    )
    explain = partial(_explain, bundle, parsed)
    return prepare_request(decoded, parsed, active_model, build_body, partial(_build_explained, bundle, explain))


def _explain(bundle: Bundle, parsed: ParsedOrders) -> Explanations:
    states = kitchen_columns(parsed.kitchens, len(parsed.rows)) if parsed.kitchens else None
    return bundle.explain(rows_to_columns(parsed.rows), states)


def _build_explained(
    bundle: Bundle,
    explain: Callable[[], Explanations],
    prediction_rows: Sequence[PredictionRow],
    timestamps: Sequence[LocalTimestamp],
    model_columns: ModelColumns,
) -> Sequence[Prediction]:
    """Return the predictions with their explanations."""
    explanations = explain()
    items = _to_items(explanations, explanation_sentences(explanations, bundle.schema.target.time_unit))
    return [
        build_prediction(row, timestamp, model_columns, partial(ExplainedPrediction, explanation=item))
        for row, timestamp, item in zip(prediction_rows, timestamps, items, strict=True)
    ]


def _to_items(explanations: Explanations, sentences: Sequence[str]) -> list[Explanation]:
    column = {feature.name: index for index, feature in enumerate(explanations.features)}
    seconds = explanations.contributions.round(CONTRIBUTION_DECIMALS).tolist()
    groups = {name: values.round(CONTRIBUTION_DECIMALS).tolist() for name, values in explanations.by_group().items()}
    base = explanations.base.round(CONTRIBUTION_DECIMALS).tolist()
    rounding = explanations.rounding.round(CONTRIBUTION_DECIMALS).tolist()
    return [
        Explanation(
            base[row],
            [
                GroupContribution(
                    group.name,
                    group.title,
                    groups[group.name][row],
                    {feature.name: seconds[row][column[feature.name]] for feature in group.features},
                )
                for group in explanations.groups
            ],
            rounding[row],
            sentence,
        )
        for row, sentence in enumerate(sentences)
    ]
