"""Batched requests get the same response bytes as separate requests."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from preptime.api.active_model import ActiveModel
from preptime.api.dispatch import read_dispatch_request
from preptime.api.predict import (
    OrderLimit,
    PredictionJob,
    PredictionResult,
    RequestReader,
    predict,
    predict_batch,
    read_request,
    read_take_home_request,
    read_vertex_request,
)
from preptime.api.schema import ApiError
from tests.api.factories import make_active_model
from tests.api.test_parity import make_rows

MAX_ORDERS = 4


def make_requests(rows: list[dict[str, str]]) -> list[tuple[RequestReader, bytes]]:
    """Return requests with one to five of these orders in every contract, and invalid requests."""
    groups = [rows[start : start + start % 5 + 1] for start in range(len(rows))]
    requests: list[tuple[RequestReader, bytes]] = []
    for index, orders in enumerate(groups):
        contract = index % 6
        if contract == 0:
            body = msgspec.json.encode({"json_data": msgspec.json.encode(orders).decode()})
            requests.append((read_take_home_request, body))
        elif contract == 1:
            requests.append((read_vertex_request, msgspec.json.encode({"instances": orders})))
        elif contract == 2:
            requests.append((read_request, msgspec.json.encode({"orders": orders, "models": ["rf"]})))
        elif contract == 3:
            requests.append((read_request, msgspec.json.encode(orders[0])))
        elif contract == 4:
            trips = [order | {"travel_seconds": 60 * index} for index, order in enumerate(orders)]
            requests.append((partial(read_dispatch_request, 2.0, 1.0), msgspec.json.encode({"orders": trips})))
        else:
            requests.append((read_request, b"{" if index % 2 else b'{"orders": [], "models": ["none"]}'))
    return requests


def outcome(job: PredictionJob) -> PredictionResult | str:
    """Return the result of a separate job, or the text of its error."""
    try:
        return predict(job.body, job.active_model, job.order_limit.max_orders, job.reader)
    except ApiError as error:
        return str(error)


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_predict_batch_equals_separate_predictions(tmp_path: Path, active_model: ActiveModel, size: int) -> None:
    """The jobs are for two bundles, as during a change of the champion."""
    other_model = make_active_model(tmp_path, shift=100.0)
    jobs = [
        PredictionJob(reader, body, (active_model, other_model)[index % 7 == 3], OrderLimit(MAX_ORDERS))
        for index, (reader, body) in enumerate(make_requests(make_rows(60)))
    ]
    results = [result for start in range(0, len(jobs), size) for result in predict_batch(jobs[start : start + size])]
    outcomes = [result if isinstance(result, PredictionResult) else str(result) for result in results]
    assert outcomes == [outcome(job) for job in jobs]
    assert 5 < sum(isinstance(result, ApiError) for result in results) < 40
