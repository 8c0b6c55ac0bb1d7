"""The server conforms to `/openapi.json`: schemathesis sends requests that the document allows and forbids.

The document has the types that a client should send in an order. The server accepts any values there, because every
order gets a result. Therefore forbidden requests are derived from the document without the types of order fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

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
from preptime.api.handler import DISPATCH_PATH, EXPLANATIONS_PATH, PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.request_types import DISPATCH_FIELDS, KITCHEN_FIELD
from tests.api.factories import HEADERS, TAKE_HOME_FIELDS, make_service, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PREDICTION_OPERATIONS = tuple(
    f"POST {path}" for path in (PREDICTIONS_PATH, DISPATCH_PATH, EXPLANATIONS_PATH, TAKE_HOME_PATH, "/vertex/predict")
)
KEY_OPERATIONS = ("GET /v1/bundle", "GET /v1/schema", "GET /v1/data-dictionary")
PUBLIC_OPERATIONS = ("GET /healthz", "GET /readyz", "GET /metrics", "GET /vertex/health")

Operation = APIOperation[Any, Any, Any, Any]

REJECTION_STATUSES = [400, 401, 404, 405, 413, 415, 422]
"""Statuses of a request that the document forbids. A list that's too long can be a body that's too large."""
CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": REJECTION_STATUSES}}}
)


class UntypedOrders:
    """The application, with a document that allows any value in the fields of an order."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = self._app(environ, start_response)
        if environ["PATH_INFO"] != "/openapi.json":
            return body
        document = json.loads(b"".join(body))
        schemas = document["components"]["schemas"]
        for name in ("Order", "PredictionRequest", "DispatchOrder", "DispatchRequest"):
            properties = schemas[name]["properties"]
            properties |= {
                field: {} for field in (*TAKE_HOME_FIELDS, *DISPATCH_FIELDS, KITCHEN_FIELD) if field in properties
            }
            schemas[name]["required"] = []
        _, array = schemas["VertexRequest"]["properties"]["instances"]["items"]["anyOf"]
        del array["prefixItems"]
        return [json.dumps(document).encode()]


def load_operations(app: WSGIApplication) -> dict[str, Operation]:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=CONFIG)
    return {result.ok().label: result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)}


@pytest.fixture(scope="module", params=["flask", "fast_path"])
def app(request: pytest.FixtureRequest, active_model: ActiveModel) -> WSGIApplication:
    return make_wsgi_app(make_service(active_model).service, str(request.param))


@pytest.fixture(scope="module")
def operations(app: WSGIApplication) -> dict[str, Operation]:
    return load_operations(app)


@pytest.fixture(scope="module")
def untyped_operations(app: WSGIApplication) -> dict[str, Operation]:
    return load_operations(UntypedOrders(app))


def test_openapi_lists_every_tested_operation(operations: dict[str, Operation]) -> None:
    assert sorted(operations) == sorted((*PREDICTION_OPERATIONS, *KEY_OPERATIONS, *PUBLIC_OPERATIONS))


examples = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])


@pytest.mark.parametrize("label", [*PREDICTION_OPERATIONS, *KEY_OPERATIONS])
@examples
@given(data=st.data())
def test_operation_with_typed_input_conforms_to_openapi(
    operations: dict[str, Operation], label: str, data: st.DataObject
) -> None:
    send_and_validate(data.draw(operations[label].as_strategy(generation_mode=GenerationMode.POSITIVE)))


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", [*PREDICTION_OPERATIONS, *KEY_OPERATIONS])
@examples
@given(data=st.data())
def test_operation_with_any_input_conforms_to_openapi(
    untyped_operations: dict[str, Operation], label: str, mode: GenerationMode, data: st.DataObject
) -> None:
    send_and_validate(data.draw(untyped_operations[label].as_strategy(generation_mode=mode)))


@pytest.mark.parametrize("label", PUBLIC_OPERATIONS)
def test_operation_without_input_conforms_to_openapi(operations: dict[str, Operation], label: str) -> None:
    send_and_validate(operations[label].Case())


def send_and_validate(case: Case[Operation]) -> None:
    has_costs = isinstance(case.body, dict) and not case.body.keys().isdisjoint({"courier_cost", "food_cost"})
    if case.path == TAKE_HOME_PATH or (case.path == DISPATCH_PATH and has_costs):
        # JSON Schema can describe neither the JSON within a string nor the ratio of two costs.
        case.call_and_validate(headers=HEADERS, excluded_checks=[positive_data_acceptance])
    else:
        case.call_and_validate(headers=HEADERS)
