"""Every test of an endpoint runs twice: through Flask alone, and with the callable in front of its router."""

from __future__ import annotations

import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from tests.api.factories import ServiceSetup, http_client, make_service, make_active_model


@pytest.fixture(params=["flask", "front"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which application is asked."""
    return str(request.param)


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """A champion."""
    return make_active_model(tmp_path_factory.mktemp("store"))


@pytest.fixture
def made(serving: ActiveModel) -> ServiceSetup:
    """A service with a champion."""
    return make_service(serving)


@pytest.fixture
def http(made: ServiceSetup, kind: str) -> Client:
    """A client of it."""
    return http_client(made.service, kind)
