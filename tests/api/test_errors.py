"""Error responses: statuses, problem documents, and no internals."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.schema import PROBLEM_JSON
from tests.api.factories import HEADERS, KEY, ORDER, FakeSettings, ServiceSetup, http_client, make_service

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

BOTH_CONTRACTS = pytest.mark.parametrize("path", [PREDICTIONS_PATH, TAKE_HOME_PATH])


def post(http: Client, path: str, body: bytes, **headers: str) -> TestResponse:
    named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    all_headers = HEADERS | {"Content-Type": "application/json"} | named_headers
    return http.post(path, data=body, headers=all_headers)


def problem(response: TestResponse, status: int) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.content_type == PROBLEM_JSON
    document = response.json
    assert isinstance(document, dict)
    assert document["status"] == status
    assert document["request_id"] == response.headers["X-Request-ID"]
    return document


@pytest.mark.parametrize("key", [None, "", "not-this-one", KEY + "x", KEY[:-1], "é", "x" * 10_000])
def test_post_wrong_key_returns_401(http: Client, key: str | None) -> None:
    headers = {} if key is None else {"aikey": key.encode().decode("latin-1")}
    response = http.post(PREDICTIONS_PATH, json=ORDER, headers=headers)
    assert "key" in str(problem(response, 401)["detail"])
    assert "Bearer" in response.headers["WWW-Authenticate"]
    if key:
        assert key not in response.text
    response = http.post(TAKE_HOME_PATH, json={"json_data": "[]"}, headers=headers)
    assert (response.status_code, response.json) == (401, {"error": "Wrong key"})


@pytest.mark.parametrize("path", ["/v1/bundle", "/v1/schema", "/v1/data-dictionary"])
def test_metadata_endpoints_require_a_key(http: Client, path: str) -> None:
    problem(http.get(path), 401)
    assert http.get(path, headers=HEADERS).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "multipart/form-data",
        "x" * 5000,
    ],
)
def test_post_unsupported_content_type_returns_415(http: Client, content_type: str) -> None:
    document = problem(post(http, PREDICTIONS_PATH, b"{}", Content_Type=content_type), 415)
    assert document["field"] == "Content-Type"
    response = post(http, TAKE_HOME_PATH, b'{"json_data": "[]"}', Content_Type=content_type)
    assert (response.status_code, response.json) == (415, {"error": "Request must be JSON"})


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_post_compressed_body_returns_415(http: Client, encoding: str) -> None:
    assert problem(post(http, PREDICTIONS_PATH, b"{}", Content_Encoding=encoding), 415)["field"] == "Content-Encoding"


@BOTH_CONTRACTS
@pytest.mark.parametrize("with_length", [True, False])
def test_post_body_over_the_limit_returns_413(
    active_model: ActiveModel, app_kind: str, path: str, with_length: bool
) -> None:
    http = http_client(make_service(active_model, FakeSettings(max_body_bytes=1000)).service, app_kind)
    body = b'{"x": "' + b"y" * 1000 + b'"}'
    if with_length:
        response = post(http, path, body)
    else:
        response = http.post(
            path,
            input_stream=io.BytesIO(body),
            headers=HEADERS | {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
    assert response.status_code == 413
    assert "1,000 bytes" in str(response.json)


def test_post_chunked_body_returns_200(http: Client) -> None:
    response = http.post(
        PREDICTIONS_PATH,
        input_stream=io.BytesIO(msgspec.json.encode(ORDER)),
        headers=HEADERS | {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == 200


def test_post_too_many_orders_returns_422(active_model: ActiveModel, app_kind: str) -> None:
    http = http_client(make_service(active_model, FakeSettings(max_orders=3)).service, app_kind)
    document = problem(http.post(PREDICTIONS_PATH, json={"orders": [ORDER] * 4}, headers=HEADERS), 422)
    assert (document["field"], document["value"], document["expected"]) == ("orders", "4 orders", "at most 3 orders")
    assert http.post(PREDICTIONS_PATH, json={"orders": [ORDER] * 3}, headers=HEADERS).status_code == 200
    response = http.post(TAKE_HOME_PATH, json={"json_data": msgspec.json.encode([ORDER] * 4).decode()}, headers=HEADERS)
    assert response.status_code == 422


def test_post_order_of_wrong_type_names_row_and_value(http: Client) -> None:
    document = problem(post(http, PREDICTIONS_PATH, b'{"orders": [{}, "seven"]}'), 422)
    assert (document["row"], document["field"], document["value"], document["expected"]) == (
        1,
        "orders[1]",
        "'seven'",
        "object",
    )
    assert str(document["detail"]).startswith("In orders[1]: Expected object, got 'seven'.")


@pytest.mark.parametrize(
    ("body", "row", "field"),
    [
        (b"[]", None, "the body"),
        (b'"text"', None, "the body"),
        (b"null", None, "the body"),
        (b'{"orders": {}}', None, "orders"),
        (b'{"orders": null}', None, "orders"),
        (b'{"orders": [{}, 7]}', 1, "orders[1]"),
        (b'{"orders": [{}, {}, [1]], "models": []}', 2, "orders[2]"),
        (b'{"orders": [{"restaurant_id": 1e999}, 7]}', 1, "orders[1]"),
        (b'{"orders": [], "models": "rf"}', None, "models"),
        (b'{"orders": [], "models": [3]}', None, "models[0]"),
        (b'{"models": ["rf", "unknown"]}', None, "models[1]"),
    ],
)
def test_post_json_of_wrong_shape_returns_422(http: Client, body: bytes, row: int | None, field: str) -> None:
    document = problem(post(http, PREDICTIONS_PATH, body), 422)
    assert (document.get("row"), document["field"]) == (row, field)
    assert document["expected"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"orders": [}',
        b'{"order_value_gbp": NaN}',
        b'{"a": Infinity}',
        b"{}x",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\x00",
        "{}".encode("utf-16"),
        b'{"city": "\xff"}',
        b'{"city": "\\ud800"}',
        b'{"city": "a\x00"}',
        b'{"x": ' + b"[" * 90000,
    ],
)
def test_post_invalid_json_returns_400(http: Client, body: bytes) -> None:
    assert "isn't valid JSON" in str(problem(post(http, PREDICTIONS_PATH, body), 400)["detail"])
    response = post(http, TAKE_HOME_PATH, body)
    assert response.status_code == 400
    assert list(response.json or {}) == ["error"]


@BOTH_CONTRACTS
def test_post_over_the_concurrency_limit_returns_503(active_model: ActiveModel, app_kind: str, path: str) -> None:
    setup = make_service(active_model, FakeSettings(max_concurrent_requests=1))
    http = http_client(setup.service, app_kind)
    admission = setup.service.limits.admit(0)
    response = post(http, path, b"{}")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    setup.service.limits.release(admission)
    for _ in range(3):
        assert post(http, PREDICTIONS_PATH, msgspec.json.encode(ORDER)).status_code == 200


@BOTH_CONTRACTS
def test_endpoints_without_champion_return_503(app_kind: str, path: str) -> None:
    setup = make_service(None)
    http = http_client(setup.service, app_kind)
    response = post(http, path, msgspec.json.encode(ORDER))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert http.get("/healthz").status_code == 200
    ready = http.get("/readyz")
    assert (ready.status_code, ready.json["ready"] if ready.json else None) == (503, False)
    assert http.get("/v1/bundle", headers=HEADERS).status_code == 503
    assert http.get("/openapi.json").status_code == 200


def test_hidden_details_are_not_public(active_model: ActiveModel, app_kind: str) -> None:
    setup = make_service(active_model, FakeSettings(public_details=False, vertex_health_route="/ready"))
    http = http_client(setup.service, app_kind)
    assert http.get("/metrics").status_code == 404
    document = cast(dict[str, dict[str, object]], http.get("/openapi.json").json)
    assert "/metrics" not in document["paths"]
    setup.champions.error = "gs://bucket/models: 403 the account has no access"
    for model, status in ((active_model, 200), (None, 503)):
        setup.champions.model = model
        for path in ("/readyz", "/ready"):
            response = http.get(path)
            assert response.status_code == status
            assert "bucket" not in response.text
            assert "PREPTIME_HEALTH_PORT" in response.json["champion_error"]  # type: ignore[index]


def test_unknown_path_returns_404(http: Client) -> None:
    document = problem(http.get("/nowhere"), 404)
    assert "/nowhere" in str(document["detail"])
    problem(http.post("/v1/predictions/7", json=ORDER, headers=HEADERS), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@BOTH_CONTRACTS
def test_wrong_method_returns_405(http: Client, method: str, path: str) -> None:
    response = http.open(path, method=method, headers=HEADERS)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert set(response.json or {}) == (
        {"error"} if path == TAKE_HOME_PATH else {"type", "title", "status", "detail", "request_id"} - {"type"}
    )


@BOTH_CONTRACTS
def test_post_unexpected_error_reveals_no_internals(
    setup: ServiceSetup, app_kind: str, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("internal detail")

    monkeypatch.setattr("preptime.api.predict.read_orders", fail)
    body = msgspec.json.encode(ORDER if path == PREDICTIONS_PATH else {"json_data": "[]"})
    response = post(http_client(setup.service, app_kind), path, body, X_Request_ID="seen")
    assert response.status_code == 500
    assert "internal" not in response.text
    assert "seen" in response.text
    assert "internal detail" in caplog.text
    assert [getattr(record, "request_id", "") for record in caplog.records] == ["seen"]
    monkeypatch.undo()
    assert post(http_client(setup.service, app_kind), PREDICTIONS_PATH, msgspec.json.encode(ORDER)).status_code == 200


def test_metrics_unexpected_error_reveals_no_internals(
    setup: ServiceSetup, app_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise ZeroDivisionError("internal detail")

    monkeypatch.setattr(setup.service.metrics, "render", fail)
    response = http_client(setup.service, app_kind).get("/metrics")
    problem(response, 500)
    assert "internal" not in response.text


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "é"])
def test_post_invalid_request_id_is_replaced(http: Client, request_id: str) -> None:
    new_ids = [
        post(http, PREDICTIONS_PATH, b"{}", X_Request_ID=request_id.encode().decode("latin-1")).headers["X-Request-ID"]
        for _ in range(3)
    ]
    assert len({*new_ids, request_id}) == 4
    assert all(re.fullmatch("[0-9a-f]{24}", new_id) for new_id in new_ids)
