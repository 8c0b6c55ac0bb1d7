"""Who is asked: a bundle of the store, here, or the API, which is a server like any other. Both answer alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.client import Answer, Client, RefusedRequestError, UnreachableError, UnsendableKeyError
from preptime.domain.prediction import DEFAULT_MODEL
from preptime.errors import PreptimeError, UsageError
from preptime.features.directory import Directory
from preptime.scoring.answering import BundleScorer
from preptime.scoring.document import ScoreDocument
from preptime.scoring.remote import RemoteScorer, ask_file
from preptime.scoring.score import Progress, score_file
from preptime.ui.access import Access

LOCAL, API = "call local module", "Call Flask API"
"""The demo's words for them."""
ORDERS_AT_ONCE = 5_000
"""In one request to the API: half of what it takes by default, so that progress moves and others get their turn."""

CHUNK_ROWS = 15_000
"""Fewer than `score` takes at once: a page shares its memory among its visitors, and progress moves more often."""


class WrongKeyError(UsageError):
    """The API does not know the key that it was shown, or could not be shown it."""


class Asked(Protocol):
    """Somebody who predicts."""

    @property
    def bundle_id(self) -> str:
        """The bundle that answers at the moment."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Its point models."""
        ...

    def answers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns of `preptime.scoring.columns` for orders at hand."""
        ...

    def score(self, source: Path, out: Path, progress: Progress) -> ScoreDocument:
        """Score a file."""
        ...

    def close(self) -> None:
        """Nothing more will be asked."""
        ...


@dataclass(frozen=True)
class Local:
    """A bundle on this machine."""

    bundle: Bundle

    @property
    def bundle_id(self) -> str:
        """Its name."""
        return self.bundle.manifest.id

    @property
    def models(self) -> tuple[str, ...]:
        """Those of its manifest."""
        return points(self.bundle.manifest.models)

    def answers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """By the bundle."""
        return BundleScorer(self.bundle).answers(rows)

    def score(self, source: Path, out: Path, progress: Progress) -> ScoreDocument:
        """As `preptime score` does."""
        return score_file(str(source), out, self.bundle, progress=progress, chunk_rows=CHUNK_ROWS)

    def close(self) -> None:
        """Nothing to do: everybody asks the same opened bundle."""


@dataclass(frozen=True)
class Remote:
    """The API."""

    client: Client
    bundle_id: str
    models: tuple[str, ...]
    orders_at_once: int

    @classmethod
    def of(cls, access: Access, key: str) -> Remote:
        """The API with this key (empty: without one), asked which bundle answers. Raises what a person can act on."""
        try:
            # Once: a server without a champion wants to be asked again in five seconds, and a person waits here.
            with access.client(key, tries=1) as once:
                bundle = once.bundle()
        except (UnsendableKeyError, UnreachableError, RefusedRequestError) as error:
            raise explained(error, access) from error
        client = access.client(key)
        return cls(client, bundle.id, points(bundle.models), min(ORDERS_AT_ONCE, access.settings.max_orders))

    def answers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """By the API, in one request."""
        return RemoteScorer(Patient(self.client), self.models).answers(rows)

    def score(self, source: Path, out: Path, progress: Progress) -> ScoreDocument:
        """Through the API, some thousand orders a request."""
        scorer = RemoteScorer(Patient(self.client), self.models)
        return ask_file(str(source), out, scorer, orders_at_once=self.orders_at_once, progress=progress)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


@dataclass(frozen=True)
class Patient:
    """A client that asks for half when the server finds a request too large: its limits are its own affair."""

    client: Client

    def predict(self, orders: Sequence[Mapping[str, object]], *, models: Sequence[str] | None = None) -> Answer:
        """Predictions in the orders' places."""
        try:
            return self.client.predict(orders, models=models)
        except RefusedRequestError as error:
            too_large = error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.problem.field == "orders"
            if not too_large or len(orders) < 2:
                raise
        half = len(orders) // 2
        first, second = (self.predict(part, models=models) for part in (orders[:half], orders[half:]))
        return Answer(second.bundle, [*first.predictions, *second.predictions])


def points(models: tuple[str, ...]) -> tuple[str, ...]:
    """Without the default one, whose answer stands beside them anyway."""
    return tuple(name for name in models if name != DEFAULT_MODEL)


def known_directory(access: Access) -> Directory | None:
    """The restaurants as the store's champion knows them; None where this page has no store with one."""
    try:
        return access.bundle().history.directory
    except PreptimeError:  # asking the API needs no store
        return None


def explained(error: PreptimeError, access: Access) -> PreptimeError:
    """What the API's failure means to the person at the page."""
    if isinstance(error, UnreachableError):
        return UsageError(
            f"The API at {access.api_url} gives no answer. {error.facts}",
            "Start it with `preptime serve`, or set PREPTIME_API_URL to where it is, and start the page again.",
        )
    if isinstance(error, UnsendableKeyError):
        return WrongKeyError(error.facts, error.hint)
    if isinstance(error, RefusedRequestError) and error.status == HTTPStatus.UNAUTHORIZED:
        return WrongKeyError(
            f"The API at {access.api_url} does not know this key.",
            "Type another; whoever runs the API makes one with `preptime keys new NAME`.",
        )
    if isinstance(error, RefusedRequestError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return UsageError(
            f"The API at {access.api_url} cannot predict at the moment. {error.facts}",
            "Without a champion it has nothing to serve: train one with `preptime train`, or try again in a minute.",
        )
    if isinstance(error, RefusedRequestError):
        return UsageError(f"The API at {access.api_url} refused: {error.facts}", error.hint)
    return error
