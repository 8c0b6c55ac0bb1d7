"""`/openapi.json` and the server agree: schemathesis asks what the document allows and what it forbids, all checks."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from tests.api.factories import HEADERS, make_wsgi_app, make_service

POSTS = (f"POST {PREDICTIONS_PATH}", f"POST {TAKE_HOME_PATH}", "POST /vertex/predict")
KEYED = ("GET /v1/bundle", "GET /v1/data-dictionary")
OPEN = ("GET /healthz", "GET /readyz", "GET /metrics", "GET /vertex/health")

Operation = APIOperation[Any, Any, Any, Any]

REFUSALS = [400, 401, 404, 405, 413, 415, 422]
"""What may become of a request that the document forbids: a list that is too long may first be a body that is."""
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})


@pytest.fixture(scope="module", params=["flask", "front"])
def operations(request: pytest.FixtureRequest, serving: ActiveModel) -> dict[str, Operation]:
    served = make_wsgi_app(make_service(serving).service, str(request.param))
    schema = schemathesis.openapi.from_wsgi("/openapi.json", served, config=CONFIG)
    return {found.ok().label: found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)}


def test_openapi_lists_every_tested_operation(operations: dict[str, Operation]) -> None:
    assert sorted(operations) == sorted((*POSTS, *KEYED, *OPEN))


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", [*POSTS, *KEYED])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_operation_with_input_conforms_to_openapi(
    operations: dict[str, Operation], label: str, mode: GenerationMode, data: st.DataObject
) -> None:
    ask(data.draw(operations[label].as_strategy(generation_mode=mode)))


@pytest.mark.parametrize("label", OPEN)
def test_operation_without_input_conforms_to_openapi(operations: dict[str, Operation], label: str) -> None:
    ask(operations[label].Case())


def ask(case: Case[Operation]) -> None:
    if case.path == TAKE_HOME_PATH:
        # The demo sends JSON within a string, and JSON Schema has no words for what must be in it.
        case.call_and_validate(headers=HEADERS, excluded_checks=[positive_data_acceptance])
    else:
        case.call_and_validate(headers=HEADERS)
