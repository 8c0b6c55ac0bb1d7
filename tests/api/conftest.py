"""Fixtures of the endpoint tests. Every test runs twice: with Flask alone, and with the fast path before Flask."""

from __future__ import annotations

import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.bundle.store import Store
from tests.api.company import put_company_bundle
from tests.api.factories import ServiceSetup, http_client, load_active_model, make_active_model, make_service


@pytest.fixture(params=["flask", "fast_path"])
def app_kind(request: pytest.FixtureRequest) -> str:
    """Return which application the test uses."""
    return str(request.param)


@pytest.fixture(scope="session")
def active_model(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """Return a loaded champion."""
    return make_active_model(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def company_model(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """Return a loaded champion whose schema has every option."""
    store = Store.open(str(tmp_path_factory.mktemp("company") / "models"))
    return load_active_model(store, put_company_bundle(store))


@pytest.fixture
def setup(active_model: ActiveModel) -> ServiceSetup:
    """Return a service with a champion."""
    return make_service(active_model)


@pytest.fixture
def http(setup: ServiceSetup, app_kind: str) -> Client:
    """Return a client of the service."""
    return http_client(setup.service, app_kind)
