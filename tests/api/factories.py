"""A service to test with: a real bundle of three restaurants, a real key, a log that is a list."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.app import create_app
from preptime.api.app import PredictionFastPath
from preptime.api.metrics import WorkerMetrics
from preptime.api.service import PredictionRecord, Service
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import LogEntry
from preptime.bundle.store import Store
from preptime.keys import Keys
from tests.bundle.factories import DAY, put_bundle

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

KEY = "a key for tests"
KEY_NAME = "dispatch"
HEADERS = {"aikey": KEY}
ORDER: dict[str, object] = {
    "order_acknowledged_at": "2015-06-17 12:28:28.952789+01:00",
    "order_value_gbp": 21.4,
    "restaurant_id": 10,
    "number_of_items": 3,
}


@dataclass(frozen=True)
class FakeSettings:
    """The settings that endpoints read."""

    max_body_bytes: int = 200_000
    max_orders: int = 1000
    max_concurrent_requests: int = 8
    vertex_health_route: str | None = "/vertex/health"
    vertex_predict_route: str | None = "/vertex/predict"


@dataclass
class FakeChampionSource:
    """A champion that a test sets."""

    model: ActiveModel | None
    error: str | None = None

    def active_model(self) -> ActiveModel | None:
        """The champion in use."""
        return self.model

    def champion_error(self) -> str | None:
        """Why the latest is not."""
        return self.error


@dataclass
class RecordingLog:
    """A prediction log to look into."""

    records: list[PredictionRecord] = field(default_factory=list)

    def record(self, record: PredictionRecord) -> None:
        """Keep it."""
        self.records.append(record)


@dataclass
class ServiceSetup:
    """A service and the parts of it that tests look at."""

    service: Service
    champions: FakeChampionSource
    log: RecordingLog


def make_active_model(folder: Path, shift: float = 0.0) -> ActiveModel:
    """A bundle of three restaurants (10 and 20 in London, 30 in Paris) with the models `rf` and `quantile`."""
    store = Store.open(str(folder / "models"))
    bundle_id = put_bundle(store, shift=shift)
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


def make_service(serving: ActiveModel | None, settings: FakeSettings | None = None) -> ServiceSetup:
    """A service with this champion, or without one."""
    champions, log = FakeChampionSource(serving), RecordingLog()
    keys = Keys.from_setting(f"{KEY_NAME}:{hashlib.sha256(KEY.encode()).hexdigest()}")
    return ServiceSetup(Service(settings or FakeSettings(), champions, keys, log, WorkerMetrics(None)), champions, log)


def make_wsgi_app(service: Service, kind: str) -> WSGIApplication:
    """The application with the callable in front of Flask's router (`front`) or without (`flask`)."""
    behind = create_app(service).wsgi_app
    return PredictionFastPath(service, behind) if kind == "front" else behind


def http_client(service: Service, kind: str) -> Client:
    """A client of either."""
    return Client(make_wsgi_app(service, kind))
