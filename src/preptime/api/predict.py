"""The pure functions: request bytes and a champion in, status and response bytes out (D9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from msgspec import UNSET

from preptime.api.answer import Failure, Prediction, PredictionResponse, RowError, VertexResponse
from preptime.api.cells import DEFAULT, FIRST_POINT, FIRST_QUANTILE, Told
from preptime.api.decoding import Asked, decode_demo, decode_request, decode_vertex
from preptime.api.moments import Moment, iso_text
from preptime.api.order import Order
from preptime.api.orders import Fault, Rows, read_orders
from preptime.api.problems import RefusedRequestError
from preptime.api.serving import Serving
from preptime.domain.prediction import BASES, DEFAULT_MODEL

_P10, _P50, _P80, _P90 = range(FIRST_QUANTILE, FIRST_POINT)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, and what it was asked for."""

    status: HTTPStatus
    body: bytes
    orders: Sequence[Order]


def predict(body: bytes, serving: Serving, max_orders: int) -> Answer:
    """`POST /v1/predictions`. Raises `RefusedRequestError` for a request that cannot be answered as a whole."""
    asked = decode_request(body)
    answers = _answers(asked, serving, max_orders)
    return Answer(HTTPStatus.OK, _encode(PredictionResponse(serving.bundle.manifest.id, answers)), asked.orders)


def predict_vertex(body: bytes, serving: Serving, max_orders: int) -> Answer:
    """The route that Vertex AI calls. Raises `RefusedRequestError`."""
    asked = decode_vertex(body)
    return Answer(HTTPStatus.OK, _encode(VertexResponse(_answers(asked, serving, max_orders))), asked.orders)


def predict_demo(body: bytes, serving: Serving, max_orders: int) -> Answer:
    """`POST /predict`: seconds by model, a list each, null where a row cannot be predicted.

    Raises `RefusedRequestError`.
    """
    asked = decode_demo(body)
    rows = _read(asked, serving, max_orders)
    told = serving.turns.run(rows.cells, True)
    lists = {
        name: _spread([seconds[place] for _, seconds in told], rows, len(asked.orders))
        for name, place in serving.places.items()
    }
    return Answer(HTTPStatus.CREATED, _encode(lists), asked.orders)


def _answers(asked: Asked, serving: Serving, max_orders: int) -> list[Prediction | Failure]:
    _check_models(asked.models, serving)
    rows = _read(asked, serving, max_orders)
    points = any(name != DEFAULT_MODEL for name in asked.models)
    told = zip(serving.turns.run(rows.cells, points), rows.moments, strict=True)
    wanted = [(name, serving.places[name]) for name in asked.models]
    answers: list[Prediction | Failure] = []
    for place, order in enumerate(asked.orders):
        if rows.faults and place in rows.faults:
            answer: Prediction | Failure = _failure(rows.faults[place])
        else:
            answer = _prediction(*next(told), wanted)
        if order.order_id is not None:
            answer.order_id = _echo(order.order_id)
        answers.append(answer)
    return answers


def _read(asked: Asked, serving: Serving, max_orders: int) -> Rows:
    if len(asked.orders) > max_orders:
        raise RefusedRequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The request has {len(asked.orders):,} orders; {max_orders:,} are the most.",
            "Send them in several requests, or score the file with `preptime score`.",
            field="orders",
            value=f"{len(asked.orders)} orders",
            expected=f"at most {max_orders} orders",
        )
    return read_orders(asked.orders, serving.lookup)


def _check_models(models: Sequence[str], serving: Serving) -> None:
    for place, name in enumerate(models):
        if name not in serving.models and name != DEFAULT_MODEL:
            listed = ", ".join((*serving.models, DEFAULT_MODEL))
            raise RefusedRequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"models[{place}] is {name[:60]!r}; expected one of {listed}.",
                field=f"models[{place}]",
                value=name[:60],
                expected=f"one of {listed}",
            )


def _prediction(told: Told, moment: Moment, wanted: Sequence[tuple[str, int]]) -> Prediction:
    """What is answered to one order, without its `order_id`."""
    basis, seconds = told
    p50 = seconds[DEFAULT]
    return Prediction(
        prep_time_seconds=round(p50),
        p10=seconds[_P10],
        p50=seconds[_P50],
        p80=seconds[_P80],
        p90=seconds[_P90],
        ready_at=iso_text(moment, p50),
        basis=BASES[basis],
        models={name: seconds[place] for name, place in wanted} if wanted else UNSET,
    )


def _failure(fault: Fault) -> Failure:
    return Failure(error=RowError(str(fault.reason), fault.field, fault.message))


def _spread(values: list[float], rows: Rows, size: int) -> list[float | None]:
    """Values of the rows that can be predicted, in their places among all."""
    if not rows.faults:
        return list(values)
    found = iter(values)
    return [None if place in rows.faults else next(found) for place in range(size)]


def _echo(order_id: object) -> object:
    """An identifier as it came: text or a number. What else somebody puts there identifies nothing."""
    if type(order_id) is str or type(order_id) is int:
        return order_id
    return order_id if type(order_id) is float and math.isfinite(order_id) else UNSET
