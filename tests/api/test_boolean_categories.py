"""A Boolean of a custom category is one value in every source of orders, also for an older bundle with `True`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import preptime
from preptime.api.active_model import SECONDS_DECIMALS, ActiveModel
from preptime.api.custom_features import CustomFeatureReader
from preptime.api.handler import PREDICTIONS_PATH
from preptime.api.request_types import RequestTypes
from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.features.feature_set import FeatureSet
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature
from preptime.scoring.field_values import field_values
from preptime.scoring.remote_scoring import RemoteScorer
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import BundleScorer
from preptime.scoring.what_if import OrderInput
from preptime.sources.files import open_files
from preptime.spark.arrow_rows import from_arrow, to_arrow
from preptime.training.refresh import stream_history
from preptime.validation.custom_features import category_values, custom_columns, feature_column
from tests.api.company import (
    COMPANY_ORDER,
    COMPANY_SCHEMA,
    company_frame,
    company_history,
    company_model,
    company_orders,
    company_restaurants,
)
from tests.api.factories import HEADERS, KEY, http_client, load_active_model, make_service
from tests.api.test_company_schema import served
from tests.bundle.factories import graph_files, some_draft
from tests.validation.factories import make_restaurant_index

PAYMENTS = {"card": False, "cash": True}
"""The payment that has the code of each Boolean in the bundles of this module."""
P50 = "predicted_p50_seconds"


@pytest.fixture(scope="module", params=[("False", "True"), ("false", "true")])
def boolean_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """Return the company's bundle with Booleans as payments, as an older version and as this version stored them."""
    history = company_history()
    vocabularies = replace(history.vocabularies, custom=(request.param, *history.vocabularies.custom[1:]))
    store = Store.open(str(tmp_path_factory.mktemp("booleans") / "models"))
    manifest = write_bundle(
        store,
        msgspec.structs.replace(some_draft(), schema=COMPANY_SCHEMA),
        graphs=graph_files(company_model(history.feature_set.names)),
        history=replace(history, restaurants=replace(history.restaurants, vocabularies=vocabularies)),
        golden_orders=choose_golden_orders(company_orders()),
    )
    return load_active_model(store, manifest.id)


@pytest.fixture(scope="module")
def expected(company_model: ActiveModel) -> list[float]:
    """Return the p50 of an order that is paid by card, and of the same order paid in cash."""
    return rounded(BundleScorer(company_model.bundle).predict(orders(list(PAYMENTS))))


def orders(payments: list[str] | list[bool]) -> pl.DataFrame:
    cells = [{**COMPANY_ORDER, "cents": "2140", "distance": "3,2", "riders": "7", "town": ""} for _ in payments]
    return pl.DataFrame(cells).with_columns(payment=pl.Series(payments))


def rounded(predictions: pl.DataFrame) -> list[float]:
    return [round(float(np.float32(value)), SECONDS_DECIMALS) for value in predictions[P50]]


SPELLINGS: dict[str, list[str] | list[bool]] = {
    "pandas.csv": ["False", "True"],
    "spreadsheet.csv": ["FALSE", "TRUE"],
    "lower.csv": ["false", "true"],
    "text.parquet": ["False", "True"],
    "boolean.parquet": [False, True],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_boolean_of_a_file_is_one_value(
    tmp_path: Path, boolean_model: ActiveModel, expected: list[float], name: str
) -> None:
    frame = orders(SPELLINGS[name])
    frame.write_csv(tmp_path / name) if name.endswith(".csv") else frame.write_parquet(tmp_path / name)
    score_file(str(tmp_path / name), tmp_path / "scored.parquet", boolean_model.bundle)
    assert rounded(pl.read_parquet(tmp_path / "scored.parquet")) == expected


def test_boolean_of_a_frame_is_one_value(boolean_model: ActiveModel, expected: list[float]) -> None:
    bundle = preptime.load_bundle(boolean_model.bundle.folder)
    frame = orders([False, True])
    mixed = frame.to_pandas().assign(payment=[False, "TRUE"])
    assert rounded(bundle.predict(frame)) == expected
    for rows in (frame.to_pandas(), mixed):
        assert rounded(pl.from_pandas(bundle.predict(rows)[[P50]])) == expected
    (batch,) = to_arrow(frame).to_batches()  # what a worker of Spark gets
    assert rounded(BundleScorer(boolean_model.bundle).predict(from_arrow(batch))) == expected


def test_boolean_of_a_request_is_one_value(boolean_model: ActiveModel, expected: list[float], app_kind: str) -> None:
    http = http_client(make_service(boolean_model).service, app_kind)
    for spellings in ([False, True], ["False", "True"], ["false", "true"], ["FALSE", " TRUE "]):
        body = {"orders": [COMPANY_ORDER | {"payment": payment} for payment in spellings]}
        response = http.post(PREDICTIONS_PATH, json=body, headers=HEADERS)
        predictions = msgspec.json.decode(response.data, type=dict[str, object])["predictions"]
        assert [prediction["p50"] for prediction in msgspec.convert(predictions, list[dict[str, object]])] == expected


def test_boolean_of_the_client_is_one_value(boolean_model: ActiveModel, expected: list[float]) -> None:
    with served(make_service(boolean_model)) as (url, _), preptime.Client(url, KEY) as client:
        records: list[Mapping[str, object]] = [COMPANY_ORDER | {"payment": payment} for payment in (False, True)]
        assert [prediction.p50 for prediction in client.predict(records)] == expected
        for payments in SPELLINGS.values():
            frame = orders(payments)
            assert [prediction.p50 for prediction in client.predict(frame)] == expected
            assert rounded(RemoteScorer(client, (), COMPANY_SCHEMA).predict(frame)) == expected


def test_boolean_of_the_form_is_one_value(boolean_model: ActiveModel, expected: list[float]) -> None:
    """The form lists the values of the bundle."""
    listed = sorted(field_values(boolean_model.bundle)["payment"].values)
    values: dict[str, float | str | None] = {"order_value": 21.4, "temperature": 21.5, "distance": 3.2, "riders": 7.0}
    entered = [
        OrderInput("S-10", dt.datetime(2015, 6, 17, 11, 28), {**values, "channel": "3", "payment": payment})
        for payment in listed
    ]
    rows = [order.to_row(COMPANY_SCHEMA, ZoneInfo("Europe/London")) for order in entered]
    assert len(rows) == 2
    assert rounded(BundleScorer(boolean_model.bundle).predict(pl.DataFrame(rows))) == expected


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_boolean_of_a_refresh_is_one_value(tmp_path: Path, boolean_model: ActiveModel, suffix: str) -> None:
    frame = company_frame().with_columns(minutes=pl.lit("10"))
    as_boolean = pl.col("payment").replace_strict(PAYMENTS, default=None, return_dtype=pl.Boolean)
    booleans = frame.with_columns(payment=as_boolean)
    if suffix == "csv":
        booleans = booleans.with_columns(pl.col("payment").cast(pl.String).str.to_titlecase())
    named = frame.with_columns(pl.col("payment").replace("voucher", ""))
    cells: list[NDArray[np.int64]] = []
    for restaurants, rows in (
        (company_restaurants(), named),
        (boolean_model.bundle.history.restaurants, booleans),
    ):
        path = tmp_path / f"orders{len(cells)}.{suffix}"
        rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
        state = stream_history(open_files(str(path), COMPANY_SCHEMA), restaurants, dt.date(2015, 6, 20)).state
        cells.append(state.category_orders)
    assert cells[0][1:3].min() > 20
    np.testing.assert_array_equal(cells[0], cells[1])


@pytest.mark.parametrize(
    ("vocabulary", "codes"),
    [
        (("false", "true"), [1, 0, -1]),
        (("False", "True"), [1, 0, -1]),
        (("FALSE", "other"), [-1, 0, -1]),
        (("False", "True", "true"), [2, 0, -1]),
    ],
)
def test_codes_of_booleans_in_an_older_vocabulary(vocabulary: tuple[str, ...], codes: list[int]) -> None:
    feature = CustomFeature(name="promo", column="promo", type="category")
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, features=(feature,))
    known = make_restaurant_index()
    restaurants = replace(
        known,
        vocabularies=replace(known.vocabularies, custom=(vocabulary,)),
        feature_set=FeatureSet.from_schema(schema),
    )
    types = RequestTypes.from_schema(schema)
    reader = CustomFeatureReader.from_restaurants(restaurants, types)
    for cells in ([True, False, None], ["True", "False", ""], ["TRUE", "FALSE", " "], ["true", "false", None]):
        _, categories = custom_columns(
            pl.DataFrame({feature_column(feature): category_values(pl.Series(cells))}), restaurants
        )
        assert categories is not None
        assert categories[:, 0].tolist() == codes
        assert [reader.read(types.order(feature_0=cell), 0)[1] for cell in cells] == [[code] for code in codes]
