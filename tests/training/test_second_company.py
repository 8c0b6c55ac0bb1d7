"""Accuracy on the orders of a second company, with the inferred schema (see `tests/requirements.py`)."""

from __future__ import annotations

import datetime as dt

from benchmarks.custom_features import evaluate, propose_schema, score_of, without_custom_features
from preptime.domain.orders import DEFAULT_MODEL
from preptime.evaluation.evaluated_orders import LOOKUP
from preptime.sources.registry import open_source
from tests.requirements import real_data

FIRST_DAY, LAST_DAY = dt.date(2015, 2, 4), dt.date(2015, 2, 10)


def test_custom_features_reduce_the_error_of_a_second_company() -> None:
    path = real_data() / "doordash" / "orders.csv"
    schema = propose_schema(path, "America/Los_Angeles")
    orders = open_source(path, schema).frame()
    with_features = evaluate(orders, schema, FIRST_DAY, LAST_DAY)
    without = evaluate(orders, without_custom_features(schema), FIRST_DAY, LAST_DAY)
    mae, mae_without = (score_of(document, DEFAULT_MODEL).mae or 0.0 for document in (with_features, without))
    lookup_mae = score_of(with_features, LOOKUP).mae or 0.0
    assert mae <= 0.94 * mae_without
    assert mae <= 0.88 * lookup_mae
    assert with_features.interval.coverage is not None
    assert 0.78 <= with_features.interval.coverage <= 0.82
