"""Where predictions come from: a bundle in this process, or the API. Both return the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.client import (
    ApiConnectionError,
    ApiStatusError,
    ApiUnreachableError,
    Client,
    InvalidApiKeyError,
)
from preptime.domain.orders import DEFAULT_MODEL
from preptime.domain.prediction_records import PredictionResponse
from preptime.errors import PreptimeError, UsageError
from preptime.explanations.explanations import explanation_sentence
from preptime.explanations.groups import BASE, ROUNDING, feature_groups
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.schema.toml_file import find_schema
from preptime.scoring.explanation_columns import explanation_column
from preptime.scoring.field_values import FieldValues, field_values
from preptime.scoring.remote_scoring import RemoteScorer, request_rows, score_file_remotely
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_SECONDS, BundleScorer
from preptime.scoring.travel_column import TravelColumn
from preptime.ui.connections import DashboardContext
from preptime.ui.order_explanation import OrderExplanation

LOCAL_MODE, API_MODE = "Local bundle", "Prediction API"
"""Labels of the two prediction sources."""

MAX_ORDERS_PER_REQUEST = 5_000
"""Half of the API's default limit, so that progress moves and other clients don't wait long."""

LOCAL_CHUNK_ROWS = 15_000
"""Fewer rows than in `preptime score`: sessions share the memory of the dashboard, and progress moves more often."""


class KeyRejectedError(UsageError):
    """The API rejects the key, or the key can't be sent in a header."""


class Predictor(Protocol):
    """A source of predictions."""

    @property
    def bundle_id(self) -> str:
        """The ID of the bundle that predicts now."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its point models."""
        ...

    @property
    def weak_models(self) -> tuple[str, ...]:
        """The names of its point models that aren't better than the global median."""
        ...

    @property
    def schema(self) -> Schema:
        """The schema of the orders that it predicts."""
        ...

    def predict(self, orders: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of `preptime.scoring.scorer` for these orders."""
        ...

    def explain(self, order: pl.DataFrame) -> OrderExplanation | None:
        """Explain the prediction of one order, or return None without a prediction or without explanations."""
        ...

    def score(
        self, input_path: Path, output_path: Path, on_progress: ProgressCallback, travel: TravelColumn | None = None
    ) -> ScoreDocument:
        """Score the file `input_path` into the parquet file `output_path`, with dispatch decisions for `travel`."""
        ...

    def close(self) -> None:
        """Release connections. Nothing is predicted afterward."""
        ...


@dataclass(frozen=True)
class LocalPredictor:
    """Predicts with a bundle in this process."""

    bundle: Bundle

    @property
    def bundle_id(self) -> str:
        """The ID of the bundle."""
        return self.bundle.manifest.id

    @property
    def models(self) -> tuple[str, ...]:
        """The point models of the manifest."""
        return point_models(self.bundle.manifest.models)

    @property
    def weak_models(self) -> tuple[str, ...]:
        """The weak models of the manifest."""
        return self.bundle.manifest.weak_models

    @property
    def schema(self) -> Schema:
        """The schema of the bundle."""
        return self.bundle.schema

    def predict(self, orders: pl.DataFrame) -> pl.DataFrame:
        """Predict with the bundle."""
        return BundleScorer(self.bundle).predict(orders)

    def explain(self, order: pl.DataFrame) -> OrderExplanation | None:
        """Explain with the bundle."""
        if not self.bundle.has_explanations:
            return None
        row = BundleScorer(self.bundle, explains=True).predict(order).row(0, named=True)
        p50 = row[PREDICTED_SECONDS]
        if p50 is None:
            return None
        features = self.bundle.history.feature_set
        groups = feature_groups(features, with_kitchen=self.bundle.has_live_model)
        titles = {group.name: group.title for group in groups} | {ROUNDING: ROUNDING}
        parts = tuple((title, row[explanation_column(name)]) for name, title in titles.items())
        base = row[explanation_column(BASE)]
        return OrderExplanation(base, p50, parts, explanation_sentence(p50 - base, parts, self.schema.target.time_unit))

    def score(
        self, input_path: Path, output_path: Path, on_progress: ProgressCallback, travel: TravelColumn | None = None
    ) -> ScoreDocument:
        """Score the file as `preptime score` does."""
        return score_file(
            str(input_path),
            output_path,
            self.bundle,
            travel=travel,
            progress=on_progress,
            chunk_rows=LOCAL_CHUNK_ROWS,
        )

    def close(self) -> None:
        """Do nothing: all sessions share the loaded bundle."""


@dataclass(frozen=True)
class ApiPredictor:
    """Predicts through the API."""

    client: Client
    bundle_id: str
    models: tuple[str, ...]
    weak_models: tuple[str, ...]
    schema: Schema
    orders_per_request: int
    restaurants: RestaurantIndex | None
    """The restaurants of the API's bundle, or None if the store here has another champion."""

    @classmethod
    def from_context(cls, context: DashboardContext, key: str) -> ApiPredictor:
        """Ask the API which bundle it serves, with this key or without one if it's empty. Raises `UsageError`."""
        try:
            # One attempt: a server without a champion asks clients to retry after five seconds, and a user is waiting.
            with context.client(key, attempts=1) as probe:
                bundle = probe.bundle()
        except (InvalidApiKeyError, ApiConnectionError, ApiStatusError) as error:
            raise explain_api_error(error, context) from error
        client = context.client(key)
        return cls(
            client,
            bundle.id,
            point_models(bundle.models),
            bundle.weak_models,
            msgspec.convert(bundle.schema, Schema) if bundle.schema else TAKE_HOME_SCHEMA,
            min(MAX_ORDERS_PER_REQUEST, context.settings.max_orders),
            known_restaurants(context, bundle.id),
        )

    def predict(self, orders: pl.DataFrame) -> pl.DataFrame:
        """Predict with one request."""
        return RemoteScorer(SplittingClient(self.client), self.models, self.schema).predict(orders)

    def explain(self, order: pl.DataFrame) -> OrderExplanation | None:
        """Explain with one request."""
        try:
            (explained,) = self.client.explain(request_rows(order, self.schema).to_dicts())
        except ApiStatusError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                return None  # an older server, or a bundle without explanations
            raise
        explanation, p50 = explained.explanation, explained.p50
        if explanation is None or p50 is None:
            return None
        parts = (*((group.title, group.seconds) for group in explanation.groups), (ROUNDING, explanation.rounding))
        return OrderExplanation(explanation.base, p50, parts, explanation.sentence)

    def score(
        self, input_path: Path, output_path: Path, on_progress: ProgressCallback, travel: TravelColumn | None = None
    ) -> ScoreDocument:
        """Score the file with up to `orders_per_request` orders in each request."""
        scorer = RemoteScorer(SplittingClient(self.client), self.models, self.schema, self.restaurants, travel)
        return score_file_remotely(
            str(input_path),
            output_path,
            scorer,
            bundle_id=self.bundle_id,
            orders_per_request=self.orders_per_request,
            progress=on_progress,
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


@dataclass(frozen=True)
class SplittingClient:
    """A client that splits a request in half if the server rejects it as too large. The server's limits are unknown.

    One bundle predicts all orders of a request.
    """

    client: Client

    def predict(
        self, orders: Sequence[Mapping[str, object]], *, models: Sequence[str] | None = None
    ) -> PredictionResponse:
        """Return one prediction for each order, in the same sequence."""
        try:
            return self.client.predict(orders, models=models)
        except ApiStatusError as error:
            too_large = error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.problem.field == "orders"
            if not too_large or len(orders) < 2:
                raise
        half = len(orders) // 2
        first, second = (self.predict(batch, models=models) for batch in (orders[:half], orders[half:]))
        while first.bundle != second.bundle:  # A new champion was loaded between the two requests.
            first = self.predict(orders[:half], models=models)
            if first.bundle != second.bundle:
                second = self.predict(orders[half:], models=models)
        return PredictionResponse(second.bundle, [*first.predictions, *second.predictions])


def point_models(models: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names without the default model, whose prediction is always shown."""
    return tuple(name for name in models if name != DEFAULT_MODEL)


def known_restaurants(context: DashboardContext, bundle_id: str | None = None) -> RestaurantIndex | None:
    """Return the restaurants of the champion, or None if the store has no usable champion, or not `bundle_id`."""
    try:
        bundle = context.bundle()
    except PreptimeError:  # predicting through the API needs no store
        return None
    return bundle.history.restaurants if bundle_id in {None, bundle.manifest.id} else None


def known_field_values(context: DashboardContext, bundle_id: str) -> dict[str, FieldValues]:
    """Return the values of other orders for each field, or nothing if the store doesn't have this bundle."""
    try:
        return field_values(context.bundle(bundle_id))
    except PreptimeError:  # the API can serve a bundle of another store
        return {}


def prediction_schema(predictor: Predictor | None, context: DashboardContext) -> Schema:
    """Return the schema of the orders to predict: that of the bundle, else the configured one. Raises `UsageError`."""
    if predictor is not None:
        return predictor.schema
    try:
        return context.bundle().schema
    except PreptimeError:  # a file can be validated without a champion
        return find_schema(context.settings.schema)[0]


def explain_api_error(error: PreptimeError, context: DashboardContext) -> PreptimeError:
    """Return an API error as one that tells the user what to do."""
    if isinstance(error, ApiConnectionError):
        problem, hint = "sent no predictions", error.hint
        if isinstance(error, ApiUnreachableError):
            problem = "doesn't respond"
            hint = "Start it with `preptime serve`, or set PREPTIME_API_URL to its URL and restart the dashboard."
        return UsageError(f"The API at {context.api_name} {problem}. {error.facts}", hint)
    if isinstance(error, InvalidApiKeyError):
        return KeyRejectedError(error.facts, error.hint)
    if isinstance(error, ApiStatusError) and error.status == HTTPStatus.UNAUTHORIZED:
        return KeyRejectedError(
            f"The API at {context.api_name} rejected this key.",
            "Enter another key. The operator of the API creates keys with `preptime keys new NAME`.",
        )
    if isinstance(error, ApiStatusError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return UsageError(
            f"The API at {context.api_name} can't predict now. {error.facts}",
            "If its store has no champion, train one with `preptime train`. Otherwise, try again in a minute.",
        )
    if isinstance(error, ApiStatusError):
        return UsageError(f"The API at {context.api_name} rejected the request. {error.facts}", error.hint)
    return error
