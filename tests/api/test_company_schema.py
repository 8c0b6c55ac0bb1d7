"""Requests to a server whose bundle has a company's schema, with custom features and text identifiers."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import jsonschema_rs
import msgspec
import numpy as np
import polars as pl
import pytest
from werkzeug.serving import make_server
from werkzeug.test import Client

from preptime import Client as PredictionClient
from preptime.api.active_model import SECONDS_DECIMALS, ActiveModel
from preptime.api.handler import PREDICTIONS_PATH, TAKE_HOME_PATH
from preptime.errors import UsageError
from preptime.scoring.score_file import score_file
from tests.api.company import COMPANY_ORDER, company_frame
from tests.api.factories import HEADERS, KEY, ORDER, ServiceSetup, http_client, make_service, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Document = dict[str, object]
FIELDS = ("created", "cents", "store", "town", "temperature", "distance", "riders", "payment", "channel")


@pytest.fixture
def setup(company_model: ActiveModel) -> ServiceSetup:
    return make_service(company_model)


@pytest.fixture
def http(setup: ServiceSetup) -> Client:
    return http_client(setup.service, "fast_path")


def predict(http: Client, *orders: Document) -> list[Document]:
    response = http.post(PREDICTIONS_PATH, json={"orders": orders}, headers=HEADERS)
    assert response.status_code == 200, response.text
    return cast(list[Document], msgspec.json.decode(response.data, type=Document)["predictions"])


def test_predict_reads_the_company_formats(http: Client) -> None:
    plain, dollars, epoch = predict(
        http,
        COMPANY_ORDER,
        COMPANY_ORDER | {"cents": "2.140,00 $", "temperature": 21.5},
        COMPANY_ORDER | {"created": 1434536880},
    )
    assert plain == dollars == epoch
    seconds = dt.timedelta(seconds=cast(int, plain["prep_time_seconds"]))
    acknowledged = dt.datetime.fromisoformat(str(plain["ready_at"])) - seconds
    assert acknowledged.isoformat() == "2015-06-17T11:28:00+01:00"  # 12:28 in Berlin
    assert "missing_features" not in plain
    assert "restaurant_differs" not in plain


def test_predict_every_custom_feature_has_an_effect(http: Client) -> None:
    changes: list[Document] = [{"temperature": 60}, {"distance": 900}, {"riders": 90}, {"payment": "cash"}]
    changes += [{"channel": "app"}, {"store": "020"}, {"cents": 450_000}]
    usual, *changed = predict(http, COMPANY_ORDER, *(COMPANY_ORDER | change for change in changes))
    assert all(prediction["p50"] != usual["p50"] for prediction in changed)


def test_predict_reports_missing_features_and_other_cities(http: Client) -> None:
    incomplete = {name: value for name, value in COMPANY_ORDER.items() if name not in {"distance", "payment"}}
    missing, unreadable, elsewhere, unknown = predict(
        http,
        incomplete,
        COMPANY_ORDER | {"temperature": 75},
        COMPANY_ORDER | {"town": "Sydney"},
        COMPANY_ORDER | {"town": "Sydney", "store": "new"},
    )
    assert missing["missing_features"] == ["distance", "payment"]
    assert unreadable["missing_features"] == ["temperature"]
    assert elsewhere["restaurant_differs"] is True
    assert unknown.keys().isdisjoint({"restaurant_differs", "missing_features"})
    metrics = http.get("/metrics").text
    assert "preptime_missing_features_total 2.0" in metrics
    assert "preptime_restaurant_differs_total 1.0" in metrics


def test_predictions_of_a_company_equal_the_scored_file(
    tmp_path: Path, company_model: ActiveModel, http: Client
) -> None:
    frame, output = company_frame(300), tmp_path / "scored.csv"
    frame.write_csv(tmp_path / "orders.csv")
    score_file(str(tmp_path / "orders.csv"), output, company_model.bundle)
    scored = pl.read_csv(output, infer_schema=False).to_dicts()
    for prediction, written in zip(predict(http, *frame.to_dicts()), scored, strict=True):
        assert prediction["ready_at"] == written["predicted_ready_at"].replace(" ", "T")
        assert prediction["fallback_level"] == written["prediction_fallback_level"]
        for level in ("p10", "p50", "p80", "p90"):
            expected = round(float(np.float32(written[f"predicted_{level}_seconds"])), SECONDS_DECIMALS)
            assert prediction[level] == expected


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"created": "06/17/2015 12:28 PM"}, "unparsable_time", "created is '06/17/2015 12:28 PM'; expected a time"),
        ({"cents": 600_000}, "out_of_range", "cents is 600000; expected a number of cents from 0 to 500,000."),
        ({"riders": "?"}, "unparsable_number", "riders is '?'; expected a number from 0 to 100."),
        ({"riders": -1}, "out_of_range", "riders is -1; expected a number from 0 to 100."),
        ({"channel": ""}, "missing_value", "channel is missing; expected a text."),
        ({"store": None}, "missing_value", "store is missing; expected an identifier of 1 to 200 characters."),
    ],
)
def test_predict_error_names_the_company_field(http: Client, change: Document, code: str, message: str) -> None:
    valid, invalid = predict(http, COMPANY_ORDER, COMPANY_ORDER | change)
    error = cast(dict[str, str], invalid["error"])
    assert "error" not in valid
    assert (error["code"], error["field"]) == (code, *change)
    assert error["message"].startswith(message)


@pytest.mark.parametrize("body", [ORDER, {"orders": [ORDER, ORDER]}])
def test_predict_orders_of_another_schema_returns_422(http: Client, body: Document) -> None:
    response = http.post(PREDICTIONS_PATH, json=body, headers=HEADERS)
    assert response.status_code == 422
    detail = cast(Document, response.json)["detail"]
    assert str(detail).startswith("The orders have the fields 'order_acknowledged_at, order_value_gbp, restaurant_id")
    assert f"but the bundle has another schema. Its fields are {', '.join(FIELDS)}." in str(detail)
    assert "GET /v1/schema" in str(detail)
    assert predict(http, {"store": 7, **ORDER})[0].keys() == {"error"}  # it has a field of the schema


def test_predict_canonical_names_with_the_default_schema(active_model: ActiveModel) -> None:
    http = http_client(make_service(active_model).service, "fast_path")
    response = http.post(PREDICTIONS_PATH, json={"order_value": 3, "created": "now"}, headers=HEADERS)
    assert response.status_code == 422
    assert "Required are order_acknowledged_at, order_value_gbp, restaurant_id, number_of_items." in response.text
    assert predict(http, {"created": "now"})[0].keys() == {"error"}


def test_schema_endpoint_describes_the_fields(http: Client, company_model: ActiveModel) -> None:
    document = cast(Document, http.get("/v1/schema", headers=HEADERS).json)
    fields = {field["name"]: field for field in cast(list[Document], document["fields"])}
    assert (document["bundle"], tuple(fields)) == (company_model.bundle.manifest.id, FIELDS)
    assert document["target"] == {
        "name": "delivery",
        "title": "delivery time",
        "event": "delivered",
        "unit": "min",
    }
    assert [name for name, field in fields.items() if field["required"]] == [
        "created",
        "cents",
        "store",
        "riders",
        "channel",
    ]
    cents = fields["cents"]
    assert [cents[name] for name in ("column", "unit", "minimum", "maximum", "example")] == [
        "order_value",
        "cents (USD)",
        0,
        500_000,
        "2140",
    ]
    assert fields["created"]["example"] == "01/06/2015 12:28 PM"
    assert fields["riders"]["description"] == "Custom feature: riders on shift"
    columns = cast(dict[str, list[Document]], http.get("/v1/data-dictionary", headers=HEADERS).json)
    assert {column["name"] for column in columns["orders"]} == {"created", "cents", "store", "minutes", "town"}
    assert columns["restaurants"][0]["name"] == "store"


def test_openapi_has_the_fields_of_the_company(http: Client) -> None:
    document = cast(Document, http.get("/openapi.json").json)
    schemas = cast(dict[str, dict[str, Document]], cast(Document, document["components"])["schemas"])
    assert tuple(schemas["Order"]["properties"]) == (*FIELDS, "kitchen")
    paths = cast(dict[str, dict[str, Document]], document["paths"])
    predicted = 0
    for path in (PREDICTIONS_PATH, TAKE_HOME_PATH, "/vertex/predict"):
        body = cast(dict[str, dict[str, dict[str, Document]]], paths[path]["post"]["requestBody"])
        content = body["content"]["application/json"]
        schema = content["schema"] | {"components": document["components"]}
        for example in cast(dict[str, Document], content["examples"]).values():
            jsonschema_rs.validator_for(schema).validate(example["value"])
            response = http.post(path, json=example["value"], headers=HEADERS)
            assert response.status_code in {200, 201}, response.text
            assert "error" not in response.text, response.text
            predicted += 1
    assert predicted == 5


@contextmanager
def served(setup: ServiceSetup) -> Iterator[tuple[str, list[str]]]:
    """Serve the application on a port. Yields its URL, and the paths of its requests."""
    paths: list[str] = []
    app = make_wsgi_app(setup.service, "fast_path")

    def recording_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, recording_app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_client_follows_the_schema_of_the_bundle(company_model: ActiveModel, active_model: ActiveModel) -> None:
    setup = make_service(active_model)
    frame = pl.DataFrame([COMPANY_ORDER | {"town": "Sydney", "payment": None, "extra": 1}])
    with served(setup) as (url, paths), PredictionClient(url, KEY) as client:
        for _ in range(2):
            assert client.predict([ORDER])[0].error is None
        assert paths == ["/v1/schema", PREDICTIONS_PATH, PREDICTIONS_PATH]
        setup.champions.model = company_model
        # Its columns of the default schema are refused, and those of the new one are predicted.
        (prediction,) = client.predict([ORDER | COMPANY_ORDER])
        assert prediction.p50
        assert paths[3:] == [PREDICTIONS_PATH, "/v1/schema", PREDICTIONS_PATH]
        (prediction,) = client.predict(frame)
        assert (prediction.restaurant_differs, prediction.missing_features) == (True, ("payment",))
        assert paths[6:] == [PREDICTIONS_PATH]
        setup.champions.model = active_model
        assert client.predict(ORDER)[0].error is None  # a local error, and then the schema
        assert paths[7:] == ["/v1/schema", PREDICTIONS_PATH]
        setup.champions.model = company_model
        assert client.predict(frame)[0].error is None
        with pytest.raises(UsageError, match=f"none of the columns {', '.join(FIELDS)}"):
            client.predict(pl.DataFrame([ORDER]))


def test_prediction_log_has_the_company_fields(http: Client, setup: ServiceSetup) -> None:
    predict(http, COMPANY_ORDER | {"other": 1})
    (record,) = setup.log.records
    assert json.loads(record.to_json_line())["orders"] == [COMPANY_ORDER]


def test_predict_large_numbers_affect_only_their_order(http: Client) -> None:
    order = msgspec.json.encode({name: value for name, value in COMPANY_ORDER.items() if name != "distance"})
    body = b'{"orders": [{"distance": 1, %s, {"distance": 1e999, %s]}' % (order[1:], order[1:])
    response = http.post(PREDICTIONS_PATH, data=body, headers=HEADERS, content_type="application/json")
    first, second = cast(dict[str, list[Document]], response.json)["predictions"]
    assert second["missing_features"] == ["distance"]
    assert "missing_features" not in first
