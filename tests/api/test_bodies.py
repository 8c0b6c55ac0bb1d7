"""Property tests of request bodies: every order gets its own result, and no body causes an internal error."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from tests.api.factories import HEADERS, ORDER, FakeSettings, http_client, make_service

few_examples = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

NUMBERS = (1e308, -1e308, 5e-324, -0.0, 10**18, 10**30, 10**400, -(10**400), 2**63, -1, 0)
TEXTS = ("", "NaN", "nan", "1e309", "\x00", "\x00\x01", "🍕", "é", "\u202e", "\uff12")
TIMES = (
    *("0001-01-01T00:00:00Z", "9999-12-31 23:59:59", "2016-02-29 12:00", "2015-02-29 12:00", "2015-06-17 12:00:60"),
    *("2015-03-29 01:30:00", "2015-06-17T12:00:00+14:00"),
)

unusual_values = st.one_of(
    st.sampled_from((*NUMBERS, *TEXTS, *TIMES, None, True, [], {})),
    st.text(max_size=20),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(str),
)
fields = st.sampled_from([*ORDER, "order_id", "country", "city", "type_of_food", "open_orders", "models_", "é"])
orders = st.one_of(
    st.dictionaries(fields, unusual_values),
    st.builds(lambda name, value: ORDER | {name: value}, fields, unusual_values),
    st.just(ORDER),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@pytest.fixture
def large_body_http(active_model: ActiveModel, app_kind: str) -> Client:
    return http_client(make_service(active_model, FakeSettings(max_body_bytes=2_000_000)).service, app_kind)


def post(http: Client, path: str, body: bytes) -> tuple[int, object]:
    response = http.post(path, data=body, headers=HEADERS, content_type="application/json")
    return response.status_code, json.loads(response.data)


@few_examples
@given(rows=st.lists(orders, min_size=1, max_size=6))
def test_predictions_any_order_same_result_alone_and_in_a_list(
    large_body_http: Client, rows: list[dict[str, object]]
) -> None:
    tagged = [{**row, "order_id": f"A-{index}"} for index, row in enumerate(rows)]
    separate = [post(large_body_http, PREDICTIONS_PATH, json.dumps(row).encode()) for row in tagged]
    status, together = post(large_body_http, PREDICTIONS_PATH, json.dumps({"orders": tagged[::-1]}).encode())
    assert status == 200
    assert isinstance(together, dict)
    assert {response_status for response_status, _ in separate} == {200}
    singles = [response["predictions"][0] for _, response in separate if isinstance(response, dict)]
    assert together["predictions"] == singles[::-1]
    assert [single["order_id"] for single in singles] == [row["order_id"] for row in tagged]


@few_examples
@given(body=st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
@example(body=b'{"orders":' * 50_000)
@example(body=b'{"orders": [{"a":' + b'{"a":' * 100_000)
@example(body=b'{"order_id": ' + b"[" * 900 + b"]" * 900 + b"}")
@example(body=b'{"restaurant_id": 10, "restaurant_id": 20, "restaurant_id": {}}')
@example(body=b'{"restaurant_id": ' + b"9" * 100_000 + b"}")
@example(body=b'{"order_value_gbp": 0.' + b"0" * 100_000 + b"1}")
@example(body='{"city": "London"}'.encode("utf-16-le"))
@example(body=codecs.BOM_UTF8 * 60_000 + b"{}")
@example(body=b'{"instances": [[' + b"0," * 900_000 + b"1e999]]}")
@example(body=b'{"instances": [' + b"[]," * 600_000 + b"[]]}")
@example(body='{"city": "Köln"}'.encode("latin-1"))
@example(body=b'{"orders": [' + b"{}," * 600_000 + b"{}]}")
@example(body=b'{"orders": [' + b"[]," * 500_000 + b"{}]}")
def test_post_any_body_never_fails_internally(large_body_http: Client, body: bytes) -> None:
    for path in (PREDICTIONS_PATH, TAKE_HOME_PATH, "/vertex/predict"):
        status, _ = post(large_body_http, path, body)
        assert status in {200, 201, 400, 422}, status


@few_examples
@given(text=st.text(max_size=30) | anything.map(json.dumps) | st.lists(orders, max_size=4).map(json.dumps))
def test_take_home_any_json_data_never_fails_internally(large_body_http: Client, text: str) -> None:
    status, response = post(large_body_http, TAKE_HOME_PATH, json.dumps({"json_data": text}).encode())
    assert status in {201, 400, 422}
    assert isinstance(response, dict)
    assert (status == 201) == ("error" not in response)


@few_examples
@given(table=st.dictionaries(fields, st.dictionaries(st.sampled_from("0123"), unusual_values, max_size=4), max_size=8))
def test_take_home_any_table_never_fails_internally(
    large_body_http: Client, table: dict[str, dict[str, object]]
) -> None:
    columns = {name: table.get(name, {"0": None}) for name in ORDER} | table
    status, response = post(large_body_http, TAKE_HOME_PATH, json.dumps({"json_data": json.dumps(columns)}).encode())
    assert status == 201
    assert isinstance(response, dict)
    assert {len(values) for values in response.values()} == {len(next(iter(columns.values())))}


def test_predictions_million_orders_return_413(large_body_http: Client) -> None:
    response = large_body_http.post(
        PREDICTIONS_PATH,
        data=b'{"orders":[' + b"{}," * 10**6 + b"{}]}",
        headers=HEADERS,
        content_type="application/json",
    )
    assert response.status_code == 413


def test_predictions_duplicate_json_key_uses_the_last(large_body_http: Client) -> None:
    body = json.dumps(ORDER).encode()
    _, expected = post(large_body_http, PREDICTIONS_PATH, body)
    _, response = post(large_body_http, PREDICTIONS_PATH, b'{"restaurant_id": "x", ' + body[1:])
    assert response == expected


def prediction_bodies(row: dict[str, object]) -> dict[str, bytes]:
    """Return a request with one order for every prediction route."""
    contents = {
        PREDICTIONS_PATH: row,
        TAKE_HOME_PATH: {"json_data": json.dumps([row])},
        "/vertex/predict": {"instances": [row]},
    }
    return {path: json.dumps(content).encode() for path, content in contents.items()}


@pytest.mark.parametrize("path", [PREDICTIONS_PATH, TAKE_HOME_PATH, "/vertex/predict"])
@pytest.mark.parametrize("row", [ORDER, ORDER | {"order_value_gbp": "abc"}])
def test_byte_order_mark_before_the_json_is_ignored(large_body_http: Client, path: str, row: dict[str, object]) -> None:
    body = prediction_bodies(row)[path]
    expected = post(large_body_http, path, body)
    assert expected[0] in {200, 201}
    assert post(large_body_http, path, codecs.BOM_UTF8 + body) == expected
    large_number = body.replace(b"21.4", b"1e999")
    assert post(large_body_http, path, codecs.BOM_UTF8 + large_number) == post(large_body_http, path, large_number)
    assert post(large_body_http, path, codecs.BOM_UTF8 * 2 + body)[0] == 400


@pytest.mark.parametrize("json_data", [json.dumps([ORDER]), json.dumps({name: {"0": ORDER[name]} for name in ORDER})])
def test_take_home_byte_order_mark_in_json_data_is_ignored(large_body_http: Client, json_data: str) -> None:
    results = [
        post(large_body_http, TAKE_HOME_PATH, json.dumps({"json_data": text}).encode())
        for text in (json_data, "\ufeff" + json_data, " \ufeff" + json_data)
    ]
    assert results[0][0] == 201
    assert results[1] == results[0]
    assert results[2][0] == 400


@pytest.mark.parametrize("path", [PREDICTIONS_PATH, TAKE_HOME_PATH, "/vertex/predict"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_json_returns_400_with_its_encoding(large_body_http: Client, path: str, encoding: str) -> None:
    body = prediction_bodies(ORDER)[path].decode().encode(encoding)
    status, response = post(large_body_http, path, body)
    assert status == 400
    assert "it's UTF-16 or UTF-32. Encode it as UTF-8." in json.dumps(response)
    response_with_charset = large_body_http.post(
        path, data=body, headers=HEADERS, content_type=f"application/json; charset={encoding}"
    )
    assert response_with_charset.status_code == 415
