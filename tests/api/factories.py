"""Factories for endpoint tests: a service with a real bundle, a real API key, and a prediction log in memory."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.app import PredictionFastPath, create_app
from preptime.api.champion_watcher import ChampionWatcher
from preptime.api.metrics import WorkerMetrics
from preptime.api.request_types import RequestTypes
from preptime.api.service import PredictionRecord, Service
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import LogEntry
from preptime.bundle.store import Store
from preptime.keys import Keys
from preptime.schema.schema import TAKE_HOME_SCHEMA
from tests.bundle.factories import DAY, put_bundle

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

TAKE_HOME_TYPES = RequestTypes.from_schema(TAKE_HOME_SCHEMA)
TAKE_HOME_FIELDS = tuple(field.name for field in TAKE_HOME_TYPES.fields)
"""The fields of an order in the default schema."""
KEY = "a key for tests"
KEY_NAME = "dispatch"
LOAD_SECONDS = 120.0
"""A limit that only prevents tests from hanging."""
HEADERS = {"aikey": KEY}
ORDER: dict[str, object] = {
    "order_acknowledged_at": "2015-06-17 12:28:28.952789+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 10,
    "number_of_items": 3,
}


@dataclass(frozen=True)
class FakeSettings:
    """The settings that the endpoints read."""

    max_body_bytes: int = 200_000
    max_orders: int = 1000
    max_concurrent_requests: int = 8
    max_concurrent_bytes: int = 4_000_000
    max_concurrent_orders: int = 2000
    body_timeout_seconds: float = 10.0
    courier_cost: float = 1.0
    food_cost: float = 1.0
    public_details: bool = True
    vertex_health_route: str | None = "/vertex/health"
    vertex_predict_route: str | None = "/vertex/predict"


@dataclass
class FakeChampionSource:
    """Provides an active model that a test sets."""

    model: ActiveModel | None
    error: str | None = None
    store_available: bool = True

    def active_model(self) -> ActiveModel | None:
        """Return the active model."""
        return self.model

    def champion_error(self) -> str | None:
        """Return why the latest champion isn't active."""
        return self.error

    def is_store_available(self) -> bool:
        """Return whether the store is available."""
        return self.store_available


@dataclass
class RecordingLog:
    """A prediction log in memory."""

    records: list[PredictionRecord] = field(default_factory=list)

    def record(self, record: PredictionRecord) -> None:
        """Store the record."""
        self.records.append(record)


@dataclass
class ServiceSetup:
    """A service, and the parts of it that tests change or inspect."""

    service: Service
    champions: FakeChampionSource
    log: RecordingLog


def poll_and_load(watcher: ChampionWatcher) -> None:
    """Poll the champion log until no load is running, as the watcher's thread does."""
    watcher.poll()
    while (load := watcher._load) is not None:
        assert load.finished.wait(LOAD_SECONDS)
        watcher.poll()


def make_active_model(folder: Path, shift: float = 0.0) -> ActiveModel:
    """Return a bundle with restaurants 10 and 20 in London and 30 in Paris, and the models `rf` and `quantile`."""
    store = Store.open(str(folder / "models"))
    return load_active_model(store, put_bundle(store, shift=shift))


def load_active_model(store: Store, bundle_id: str) -> ActiveModel:
    """Return a bundle of the store as the first champion."""
    entry = LogEntry(
        bundle=bundle_id,
        date=DAY,
        action="promote",
        reason="test",
        by="test",
        at="2015-06-17T04:00:00Z",
        number=1,
        previous=None,
        rollback_to=None,
    )
    return ActiveModel.from_bundle(
        Bundle.load(store.fetch(bundle_id)), entry, dt.datetime(2015, 6, 17, tzinfo=dt.UTC).isoformat()
    )


def make_service(active_model: ActiveModel | None, settings: FakeSettings | None = None) -> ServiceSetup:
    """Return a service with or without a champion."""
    champions, log = FakeChampionSource(active_model), RecordingLog()
    keys = Keys.from_setting(f"{KEY_NAME}:{hashlib.sha256(KEY.encode()).hexdigest()}")
    return ServiceSetup(Service(settings or FakeSettings(), champions, keys, log, WorkerMetrics(None)), champions, log)


def make_wsgi_app(service: Service, app_kind: str) -> WSGIApplication:
    """Return the application with the fast path before Flask (`fast_path`) or without it (`flask`)."""
    flask_app = create_app(service).wsgi_app
    return PredictionFastPath(service, flask_app) if app_kind == "fast_path" else flask_app


def http_client(service: Service, app_kind: str) -> Client:
    """Return a client of the application."""
    return Client(make_wsgi_app(service, app_kind))
