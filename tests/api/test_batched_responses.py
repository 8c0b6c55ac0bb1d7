"""Requests answered together get, to the byte, what each gets alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.api.active_model import ActiveModel
from preptime.api.predict import (
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
from tests.api.test_parity import some_rows

MOST_ORDERS = 4


def bodies(rows: list[dict[str, str]]) -> list[tuple[RequestReader, bytes]]:
    """One to five of these orders in every contract, and what nobody can read."""
    sizes = [rows[start : start + start % 5 + 1] for start in range(len(rows))]
    made: list[tuple[RequestReader, bytes]] = []
    for place, some in enumerate(sizes):
        kind = place % 5
        if kind == 0:
            made.append(
                (read_take_home_request, msgspec.json.encode({"json_data": msgspec.json.encode(some).decode()}))
            )
        elif kind == 1:
            made.append((read_vertex_request, msgspec.json.encode({"instances": some})))
        elif kind == 2:
            made.append((read_request, msgspec.json.encode({"orders": some, "models": ["rf"]})))
        elif kind == 3:
            made.append((read_request, msgspec.json.encode(some[0])))
        else:
            made.append((read_request, b"{" if place % 2 else b'{"orders": [], "models": ["none"]}'))
    return made


def outcome(job: PredictionJob) -> PredictionResult | str:
    """What becomes of a job alone: the answer, or the refusal's words."""
    try:
        return predict(job.body, job.active_model, job.max_orders, job.reader)
    except ApiError as error:
        return str(error)


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_predict_batch_equals_separate_predictions(tmp_path: Path, serving: ActiveModel, size: int) -> None:
    """Also across a change of champion: two bundles in one go."""
    other = make_active_model(tmp_path, shift=100.0)
    jobs = [
        PredictionJob(read, body, (serving, other)[place % 7 == 3], MOST_ORDERS)
        for place, (read, body) in enumerate(bodies(some_rows(60)))
    ]
    found = [one for start in range(0, len(jobs), size) for one in predict_batch(jobs[start : start + size])]
    assert [one if isinstance(one, PredictionResult) else str(one) for one in found] == [outcome(job) for job in jobs]
    assert 5 < sum(isinstance(one, ApiError) for one in found) < 40
