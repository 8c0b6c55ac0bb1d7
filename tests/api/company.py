"""A company whose schema has every option, with a bundle for tests."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.domain.orders import OrderColumns
from preptime.features.history import History
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import build_history
from preptime.schema.schema import Schema
from preptime.schema.toml_file import parse_schema
from preptime.validation.audit import audit_orders, to_order_columns
from preptime.validation.restaurants import read_restaurants
from tests.bundle.factories import DAY, MODELS, graph_files, some_draft

COMPANY_SCHEMA: Schema = parse_schema(
    """
[source]
decimal = ","
thousands = "."

[orders]
order_acknowledged_at = { column = "created", format = "%d/%m/%Y %I:%M %p", time_zone = "Europe/Berlin" }
restaurant_id = "store"
order_value = { column = "cents", unit = "cents", currency = "USD", range = [0, 5000] }
prep_time = { column = "minutes", unit = "min" }
city = "town"

[restaurants]
restaurant_id = "store"
city = "town"
country = "UK"

[features]
temperature = { column = "temperature", type = "number", unit = "C", range = [-40, 60] }
distance = { column = "distance", type = "number" }
riders = { column = "riders", type = "number", range = [0, 100], required = true, title = "riders on shift" }
seats = { column = "seats", type = "number", of = "restaurant" }
payment = { column = "payment", type = "category" }
channel = { column = "channel", type = "category", required = true }
brand = { column = "brand", type = "category", of = "restaurant" }

[target]
name = "delivery"
title = "delivery time"
event = "delivered"
"""
)
COMPANY_ORDER: dict[str, object] = {
    "created": "17/06/2015 12:28 PM",
    "store": "S-10",
    "cents": 2140,
    "temperature": "21,5",
    "distance": 3.2,
    "riders": 7,
    "payment": "card",
    "channel": "3",
}


def company_restaurants() -> RestaurantIndex:
    """Return restaurants `S-10` and `020` in London, and 7 in Paris."""
    frame = pl.DataFrame(
        {
            "store": ["S-10", "020", "7"],
            "town": ["London", "London", "Paris"],
            "type_of_food": ["burgers", "sushi", "thai"],
            "time_zone": ["Europe/London", "Europe/London", "Europe/Paris"],
            "seats": ["40", "", "12,5"],
            "brand": ["north", "south", ""],
        }
    )
    restaurants = read_restaurants(frame, COMPANY_SCHEMA)
    custom = (("card", "cash"), ("1", "3", "app"), ("north", "south"))
    return restaurants.with_custom_features(replace(restaurants.vocabularies, custom=custom), restaurants.feature_set)


def company_frame(count: int = 200) -> pl.DataFrame:
    """Return orders from June 1 to 14, 2015, as text in the company's columns."""
    rng = np.random.default_rng(3)
    times = [
        dt.datetime(2015, 6, 1) + dt.timedelta(days=int(day), hours=12, minutes=int(minute))
        for day, minute in zip(rng.integers(0, 14, count), rng.integers(0, 480, count), strict=True)
    ]
    return pl.DataFrame(
        {
            "created": [time.strftime("%d/%m/%Y %I:%M %p") for time in times],
            "store": rng.choice(["S-10", "020", "7", "unknown"], count),
            "cents": [str(value) for value in rng.integers(300, 90_000, count)],
            "town": rng.choice(["", "London", "Sydney"], count),
            "temperature": rng.choice(["21,5", "-3", "", "hot", "75"], count),
            "distance": rng.choice(["1.234,5", "3", "0,25"], count),
            "riders": [str(value) for value in rng.integers(0, 50, count)],
            "payment": rng.choice(["card", "cash", "", "voucher"], count),
            "channel": rng.choice(["3", "1.0", "app", "web"], count),
        }
    )


def company_orders() -> OrderColumns:
    """Return the orders of `company_frame` as columns."""
    restaurants = company_restaurants()
    audited = audit_orders(company_frame(), restaurants, need_label=False, schema=COMPANY_SCHEMA)
    return to_order_columns(audited.frame, restaurants)


def company_history() -> History:
    """Return a history as of `DAY` with the orders of `company_frame`."""
    restaurants, orders = company_restaurants(), company_orders()
    seconds = (600 + 40 * (np.arange(len(orders)) % 9)).astype(np.int64)
    completed = CompletedOrders(orders, orders.acknowledged_at + seconds, seconds)
    return build_history(HistoryState.from_orders(restaurants, completed), restaurants, DAY)


def company_model(feature_names: tuple[str, ...]) -> bytes:
    """Return a graph that predicts 600 s plus a sum of every feature, so that each of them has an effect."""
    weights = np.linspace(0.01, 0.2, len(feature_names), dtype=np.float32)[:, np.newaxis]
    steps = np.array([[400.0, 600.0, 800.0, 1000.0]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["column"]),
            helper.make_node("Add", ["column", "steps"], ["around"]),
            helper.make_node("Relu", ["around"], [MODELS[1]]),
            helper.make_node("Squeeze", ["column", "axis"], [MODELS[0]]),
        ],
        "test",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(feature_names)])],
        [
            helper.make_tensor_value_info(MODELS[0], TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(MODELS[1], TensorProto.FLOAT, ["N", 4]),
        ],
        [
            numpy_helper.from_array(np.array([1]), "axis"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(steps, "steps"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def put_company_bundle(store: Store) -> str:
    """Write the company's bundle to the store and return its ID."""
    history = company_history()
    manifest = write_bundle(
        store,
        msgspec.structs.replace(some_draft(), schema=COMPANY_SCHEMA),
        graphs=graph_files(company_model(history.feature_set.names)),
        history=history,
        golden_orders=choose_golden_orders(company_orders()),
    )
    return manifest.id
