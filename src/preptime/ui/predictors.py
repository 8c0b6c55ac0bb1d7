"""Who is asked: a bundle of the store, here, or the API, which is a server like any other. Both answer alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.client import ApiConnectionError, ApiStatusError, Client, InvalidApiKeyError, PredictionResponse
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import PreptimeError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.remote_scoring import RemoteScorer, score_file_remotely
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import ProgressCallback, score_file
from preptime.scoring.scorer import BundleScorer
from preptime.ui.connections import DashboardContext

LOCAL_MODE, API_MODE = "call local module", "Call Flask API"
"""The demo's words for them."""
MAX_ORDERS_PER_REQUEST = 5_000
"""In one request to the API: half of what it takes by default, so that progress moves and others get their turn."""

LOCAL_CHUNK_ROWS = 15_000
"""Fewer than `score` takes at once: a page shares its memory among its visitors, and progress moves more often."""


class KeyRejectedError(UsageError):
    """The API does not know the key that it was shown, or could not be shown it."""


class Predictor(Protocol):
    """Somebody who predicts."""

    @property
    def bundle_id(self) -> str:
        """The bundle that answers at the moment."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Its point models."""
        ...

    def predict(self, orders: pl.DataFrame) -> pl.DataFrame:
        """The columns of `preptime.scoring.scorer` for orders at hand."""
        ...

    def score(self, input_path: Path, output_path: Path, on_progress: ProgressCallback) -> ScoreDocument:
        """Score a file."""
        ...

    def close(self) -> None:
        """Nothing more will be asked."""
        ...


@dataclass(frozen=True)
class LocalPredictor:
    """A bundle on this machine."""

    bundle: Bundle

    @property
    def bundle_id(self) -> str:
        """Its name."""
        return self.bundle.manifest.id

    @property
    def models(self) -> tuple[str, ...]:
        """Those of its manifest."""
        return point_models(self.bundle.manifest.models)

    def predict(self, orders: pl.DataFrame) -> pl.DataFrame:
        """By the bundle."""
        return BundleScorer(self.bundle).predict(orders)

    def score(self, input_path: Path, output_path: Path, on_progress: ProgressCallback) -> ScoreDocument:
        """As `preptime score` does."""
        return score_file(str(input_path), output_path, self.bundle, progress=on_progress, chunk_rows=LOCAL_CHUNK_ROWS)

    def close(self) -> None:
        """Nothing to do: everybody asks the same opened bundle."""


@dataclass(frozen=True)
class ApiPredictor:
    """The API."""

    client: Client
    bundle_id: str
    models: tuple[str, ...]
    orders_per_request: int

    @classmethod
    def from_context(cls, context: DashboardContext, key: str) -> ApiPredictor:
        """The API with this key (empty: without one), asked which bundle answers. Raises what a person can act on."""
        try:
            # Once: a server without a champion wants to be asked again in five seconds, and a person waits here.
            with context.client(key, attempts=1) as probe:
                bundle = probe.bundle()
        except (InvalidApiKeyError, ApiConnectionError, ApiStatusError) as error:
            raise explain_api_error(error, context) from error
        client = context.client(key)
        return cls(
            client, bundle.id, point_models(bundle.models), min(MAX_ORDERS_PER_REQUEST, context.settings.max_orders)
        )

    def predict(self, orders: pl.DataFrame) -> pl.DataFrame:
        """By the API, in one request."""
        return RemoteScorer(SplittingClient(self.client), self.models).predict(orders)

    def score(self, input_path: Path, output_path: Path, on_progress: ProgressCallback) -> ScoreDocument:
        """Through the API, some thousand orders a request."""
        scorer = RemoteScorer(SplittingClient(self.client), self.models)
        return score_file_remotely(
            str(input_path), output_path, scorer, orders_per_request=self.orders_per_request, progress=on_progress
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


@dataclass(frozen=True)
class SplittingClient:
    """A client that asks for half when the server finds a request too large: its limits are its own affair."""

    client: Client

    def predict(
        self, orders: Sequence[Mapping[str, object]], *, models: Sequence[str] | None = None
    ) -> PredictionResponse:
        """Predictions in the orders' places."""
        try:
            return self.client.predict(orders, models=models)
        except ApiStatusError as error:
            too_large = error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.problem.field == "orders"
            if not too_large or len(orders) < 2:
                raise
        half = len(orders) // 2
        first, second = (self.predict(batch, models=models) for batch in (orders[:half], orders[half:]))
        return PredictionResponse(second.bundle, [*first.predictions, *second.predictions])


def point_models(models: tuple[str, ...]) -> tuple[str, ...]:
    """Without the default one, whose answer stands beside them anyway."""
    return tuple(name for name in models if name != DEFAULT_MODEL)


def known_restaurants(context: DashboardContext) -> RestaurantIndex | None:
    """The restaurants as the store's champion knows them; None where this page has no store with one."""
    try:
        return context.bundle().history.restaurants
    except PreptimeError:  # asking the API needs no store
        return None


def explain_api_error(error: PreptimeError, context: DashboardContext) -> PreptimeError:
    """What the API's failure means to the person at the page."""
    if isinstance(error, ApiConnectionError):
        return UsageError(
            f"The API at {context.api_url} gives no answer. {error.facts}",
            "Start it with `preptime serve`, or set PREPTIME_API_URL to where it is, and start the page again.",
        )
    if isinstance(error, InvalidApiKeyError):
        return KeyRejectedError(error.facts, error.hint)
    if isinstance(error, ApiStatusError) and error.status == HTTPStatus.UNAUTHORIZED:
        return KeyRejectedError(
            f"The API at {context.api_url} does not know this key.",
            "Type another; whoever runs the API makes one with `preptime keys new NAME`.",
        )
    if isinstance(error, ApiStatusError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return UsageError(
            f"The API at {context.api_url} cannot predict at the moment. {error.facts}",
            "Without a champion it has nothing to serve: train one with `preptime train`, or try again in a minute.",
        )
    if isinstance(error, ApiStatusError):
        return UsageError(f"The API at {context.api_url} refused: {error.facts}", error.hint)
    return error
