"""`POST /predict`: the take-home API contract, with requests that pandas creates."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.api.order_validation import read_orders
from tests.api.factories import HEADERS, ORDER, ServiceSetup
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, Server, clean_environment, running_server
from tests.api.test_server import promote

# pandas warns about timestamps as epoch milliseconds, which the clients of this contract send.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The default formatting of datetime:DeprecationWarning", "ignore:.epoch. date format is:DeprecationWarning"
)

ROWS = [
    ORDER | {"country": "UK", "city": "London", "type_of_food": "burgers"},
    ORDER | {"restaurant_id": 30, "country": "France", "city": "Paris", "type_of_food": "thai", "number_of_items": 7},
    ORDER | {"restaurant_id": 77, "country": "UK", "city": "London", "type_of_food": "sushi", "order_value_gbp": 3.5},
]


def orders_frame() -> pd.DataFrame:
    frame = pd.DataFrame(ROWS)
    frame["order_acknowledged_at"] = pd.to_datetime(frame["order_acknowledged_at"])
    frame["order_ready_at"] = frame["order_acknowledged_at"] + pd.Timedelta(minutes=9)
    frame["prep_time_seconds"] = 540
    return frame


def post_json_data(http: Client, json_data: str) -> dict[str, list[float | None]]:
    response = http.post(TAKE_HOME_PATH, json={"json_data": json_data}, headers=HEADERS)
    assert response.status_code == 201, response.text
    assert isinstance(response.json, dict)
    return response.json


@pytest.fixture
def expected(http: Client) -> dict[str, list[float | None]]:
    response = http.post(PREDICTIONS_PATH, json={"orders": ROWS, "models": ["rf", "quantile"]}, headers=HEADERS)
    assert isinstance(response.json, dict)
    models = [prediction["models"] for prediction in response.json["predictions"]]
    return {name: [seconds[name] for seconds in models] for name in ("rf", "quantile")}


@pytest.mark.parametrize("orient", [None, "columns", "records"])
def test_take_home_accepts_every_orient_of_a_data_frame(
    http: Client, expected: dict[str, list[float | None]], orient: Literal["columns", "records"] | None
) -> None:
    text = orders_frame().to_json() if orient is None else orders_frame().to_json(orient=orient)
    assert post_json_data(http, text) == expected


@pytest.mark.parametrize("date_format", ["iso", None])
@pytest.mark.parametrize("precision", ["s", "ms", "us", "ns"])
def test_take_home_accepts_every_pandas_date_format(
    http: Client,
    expected: dict[str, list[float | None]],
    date_format: Literal["iso"] | None,
    precision: Literal["s", "ms", "us", "ns"],
) -> None:
    assert post_json_data(http, orders_frame().to_json(date_format=date_format, date_unit=precision)) == expected


def test_take_home_naive_epochs_are_utc_and_iso_is_local(active_model: ActiveModel) -> None:
    """`to_json` writes a time without an offset as if it were UTC. In London, that's an hour too late in summer."""

    def utc_times(frame: pd.DataFrame, date_format: Literal["iso"] | None) -> list[pd.Timestamp]:
        text = frame[list(ORDER)].to_json(orient="records", date_format=date_format)
        parsed = read_orders(active_model.types.decode_records(text.encode()), active_model.lookup)
        return [pd.Timestamp(utc, unit="us", tz="UTC").floor("ms") for _, utc in parsed.timestamps]

    frame = orders_frame()
    instants = list(frame["order_acknowledged_at"].dt.tz_convert("UTC").dt.floor("ms"))
    offsets = [pd.Timedelta(hours=1), pd.Timedelta(hours=2), pd.Timedelta(hours=1)]  # London, Paris, and the default
    assert utc_times(frame, None) == utc_times(frame, "iso") == instants
    frame["order_acknowledged_at"] = [
        (instant + offset).tz_localize(None) for instant, offset in zip(instants, offsets, strict=True)
    ]
    assert utc_times(frame, "iso") == instants
    assert utc_times(frame, None) == [instant + offset for instant, offset in zip(instants, offsets, strict=True)]


def test_take_home_accepts_integer_category_codes(
    http: Client, expected: dict[str, list[float | None]], active_model: ActiveModel
) -> None:
    coded = orders_frame()
    for name in ("country", "city", "type_of_food"):
        names = getattr(active_model.bundle.history.vocabularies, name)
        coded[name] = coded[name].map({category: code for code, category in enumerate(names)})
    assert post_json_data(http, coded.to_json()) == expected


def test_take_home_filtered_frame_keeps_its_order(http: Client, expected: dict[str, list[float | None]]) -> None:
    selected = orders_frame().iloc[[2, 0]]
    assert list(selected.index) == [2, 0]
    assert post_json_data(http, selected.to_json()) == {
        name: [values[2], values[0]] for name, values in expected.items()
    }


def test_take_home_invalid_row_is_null_in_its_place(http: Client, expected: dict[str, list[float | None]]) -> None:
    frame = orders_frame()
    frame.loc[1, "order_value_gbp"] = None
    assert post_json_data(http, frame.to_json()) == {
        name: [values[0], None, values[2]] for name, values in expected.items()
    }
    huge = '[{"order_value_gbp": 1e999}]'
    assert post_json_data(http, huge) == {"rf": [None], "quantile": [None]}


def test_take_home_empty_frame_returns_empty_lists(http: Client) -> None:
    assert post_json_data(http, orders_frame().iloc[:0].to_json()) == {"rf": [], "quantile": []}
    assert post_json_data(http, "[]") == {"rf": [], "quantile": []}


@pytest.mark.parametrize(
    "json_data",
    [
        "",
        "{",
        "5",
        "null",
        "{}",
        '{"restaurant_id": {"0": 1}}',
        '{"restaurant_id": 5}',
        "[5]",
        '"text"',
        "[NaN]",
        "[" * 9000,
    ],
)
def test_take_home_invalid_json_data_returns_400(http: Client, json_data: str) -> None:
    response = http.post(TAKE_HOME_PATH, json={"json_data": json_data}, headers=HEADERS)
    assert response.status_code == 400, response.text
    assert list(response.json or {}) == ["error"]


@pytest.mark.parametrize("content", [{}, [], None, {"json_data": 5}, {"json_data": {"a": 1}}, {"data": "[]"}])
def test_take_home_missing_json_data_returns_400(http: Client, content: object) -> None:
    response = http.post(TAKE_HOME_PATH, data=json.dumps(content), headers=HEADERS, content_type="application/json")
    assert response.status_code == 400, response.text
    assert "json_data" in response.text or "the body" in response.text


def test_take_home_missing_column_is_named(http: Client) -> None:
    response = http.post(
        TAKE_HOME_PATH, json={"json_data": orders_frame().drop(columns="order_value_gbp").to_json()}, headers=HEADERS
    )
    assert response.status_code == 400
    assert "order_value_gbp" in str((response.json or {})["error"])


def test_take_home_request_is_recorded_as_orders(http: Client, setup: ServiceSetup) -> None:
    post_json_data(http, orders_frame().to_json())
    (record,) = setup.log.records
    assert b'"restaurant_id":77' in record.to_json_line()
    assert b"prep_time_seconds" not in record.to_json_line()


def test_take_home_client_program_works_with_a_server(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path, SERVE_COMMAND) as server:
        server.wait_until("/readyz")
        status, response = run_client(server, PLAIN_KEY, ROWS)
        assert status == 201
        assert sorted(response) == ["quantile", "rf"], "one list per model of the bundle"
        for seconds in response.values():
            assert len(seconds) == len(ROWS)
            assert all(type(value) is float and value >= 0 for value in seconds)
        shuffled = [ROWS[index] for index in (2, 0, 1)]
        reordered = run_client(server, PLAIN_KEY, shuffled)[1]
        assert reordered == {name: [seconds[index] for index in (2, 0, 1)] for name, seconds in response.items()}
        with_gap = run_client(server, PLAIN_KEY, [ROWS[0], ROWS[1] | {"order_value_gbp": ""}, ROWS[2]])[1]
        assert with_gap == {name: [seconds[0], None, seconds[2]] for name, seconds in response.items()}
        rejected = run_client(server, "another key", ROWS)
        assert json.dumps(rejected) == '[401, {"error": "Wrong key"}]'


def run_client(server: Server, key: str, rows: list[dict[str, object]]) -> tuple[int, dict[str, list[float | None]]]:
    """Run the client program and return the status and response that it prints."""
    labeled = [row | {"order_ready_at": "2015-06-17 12:40:00+01:00", "prep_time_seconds": 692} for row in rows]
    lines = [",".join(labeled[0]), *(",".join(str(cell) for cell in row.values()) for row in labeled)]
    client = Path(__file__).with_name("take_home_client.py")
    completed = subprocess.run(
        [sys.executable, str(client), "127.0.0.1", str(server.port), key],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=server.folder,
        env=clean_environment({}),
    )
    status, response = completed.stdout.splitlines()
    return json.loads(status), json.loads(response)
