"""Entries of the prediction log on standard output: small, complete, and with the same types for every request."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.api.log_entries import encode_entries
from preptime.api.service import PredictionRecord

LIMIT_BYTES = 256 * 1024
"""Cloud Logging's limit of an entry."""


def make_record(orders: Sequence[object], response: object) -> PredictionRecord:
    return PredictionRecord(
        time=1434542400.5,
        request_id="r1",
        key_name=None,
        endpoint="/v1/predictions",
        bundle="2015-06-17-0123456789ab",
        orders=orders,
        response=msgspec.json.encode(response),
    )


def joined(entries: list[bytes]) -> tuple[list[object], dict[str, object]]:
    """Return the orders and the response of a request from its entries."""
    orders: list[object] = []
    response: dict[str, object] = {}
    for number, entry in enumerate(entries, 1):
        document = json.loads(entry)
        assert (document["part"], document["parts"]) == (number, len(entries))
        orders += json.loads(document["orders"])
        for name, value in json.loads(document["response"]).items():
            known = response.get(name)
            response[name] = known + value if isinstance(known, list) and isinstance(value, list) else value
    return orders, response


@given(
    count=st.integers(1, 40),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    max_orders=st.integers(1, 12),
    max_bytes=st.integers(1_800, 4_000),
)
def test_entries_have_every_order_and_prediction_once(count: int, text: str, max_orders: int, max_bytes: int) -> None:
    orders = [{"order_id": number, "city": text} for number in range(count)]
    response = {"predictions": [{"p50": number} for number in range(count)], "bundle": "b", "note": text}
    entries = encode_entries(make_record(orders, response), max_orders, max_bytes)
    assert joined(entries) == (orders, response)
    for entry in entries:
        assert len(json.loads(json.loads(entry)["orders"])) <= max_orders
        assert len(entry) <= max_bytes


def test_largest_request_fits_into_entries() -> None:
    """A prediction of `/v1/predictions` and its order take about 345 bytes, so 10,000 don't fit into one entry."""
    order = {"order_id": '"' * 40, "restaurant_id": 10, "order_acknowledged_at": "2015-06-17T12:00:00+01:00"}
    prediction = {"p10": 400.25, "p50": 600.5, "p80": 812.75, "p90": 1000.125, "fallback_level": "restaurant"}
    entries = encode_entries(make_record([order] * 10_000, {"predictions": [prediction] * 10_000}))
    assert len(entries) == 20
    assert max(map(len, entries)) < LIMIT_BYTES
    assert joined(entries)[0] == [order] * 10_000


def test_types_of_fields_do_not_depend_on_the_request() -> None:
    """A table in BigQuery takes its column types from the first entry."""
    numbers = encode_entries(make_record([{"order_id": 12}], {"predictions": [{"p50": 600}]}))
    texts = encode_entries(make_record([{"order_id": "12"}, None], {"quantile": [600.0, None], "xgb": [1.0, None]}))
    types = [{name: type(value) for name, value in json.loads(entry).items()} for entry in (*numbers, *texts)]
    assert types[0] == types[1]
    assert types[0]["orders"] is types[0]["response"] is str


def test_order_that_is_too_large_is_null_in_its_entry() -> None:
    orders = [{"city": "London"}, {"city": "x" * 300_000}, {"city": "Leeds"}]
    entries = encode_entries(make_record(orders, {"predictions": [1, 2, 3]}))
    assert joined(entries) == ([orders[0], None, orders[2]], {"predictions": [1, 2, 3]})
    assert max(map(len, entries)) < LIMIT_BYTES


def test_order_that_json_cannot_represent_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_entries(make_record([{"city": "\ud800"}], {"predictions": [1]}))
