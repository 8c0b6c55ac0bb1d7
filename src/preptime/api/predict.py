"""The pure functions: request bytes and a champion in, status and response bytes out (D9).

Requests in hand are answered together, in one run of the graph (`preptime.api.turns`). An order's numbers don't depend
on those beside it: the tests hold features and graph to that, bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from itertools import islice

import msgspec
from msgspec import UNSET

from preptime.api.answer import Failure, Prediction, PredictionResponse, RowError, VertexResponse
from preptime.api.cells import DEFAULT, FIRST_POINT, FIRST_QUANTILE, Cells, Told, tell
from preptime.api.decoding import Asked, decode_demo, decode_request, decode_vertex
from preptime.api.moments import Moment, iso_text
from preptime.api.order import Order
from preptime.api.orders import Fault, Rows, read_orders
from preptime.api.problems import RefusedRequestError
from preptime.api.serving import Serving
from preptime.domain.prediction import BASES, DEFAULT_MODEL

MOST_TOGETHER = 16_384
"""Bytes of bodies that are answered together: some hundred orders, 5 ms. Beyond 32 orders in a run of the graph nothing
more is saved."""

_P10, _P50, _P80, _P90 = range(FIRST_QUANTILE, FIRST_POINT)
_encode = msgspec.json.Encoder().encode

_Row = Prediction | Failure


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What goes back, and what it was asked for."""

    status: HTTPStatus
    body: bytes
    orders: Sequence[Order]


class Question(msgspec.Struct, frozen=True, gc=False):
    """A request as read: what the bundle is to be asked, and how what it tells becomes the answer."""

    cells: list[Cells]
    points: bool
    """Whether the point models are wanted too."""
    answer: Callable[[Sequence[Told]], Answer]


Read = Callable[[bytes, Serving, int], Question]
"""Reads a body of at most so many orders. Raises `RefusedRequestError` for one that cannot be answered as a whole."""


class Job(msgspec.Struct, frozen=True, gc=False):
    """A request to be answered."""

    read: Read
    body: bytes
    serving: Serving
    max_orders: int


def read_request(body: bytes, serving: Serving, max_orders: int) -> Question:
    """`POST /v1/predictions`."""
    return _question(decode_request(body), serving, max_orders, partial(PredictionResponse, serving.bundle.manifest.id))


def read_vertex(body: bytes, serving: Serving, max_orders: int) -> Question:
    """The route that Vertex AI calls."""
    return _question(decode_vertex(body), serving, max_orders, VertexResponse)


def read_demo(body: bytes, serving: Serving, max_orders: int) -> Question:
    """`POST /predict`: seconds by model, a list each, null where a row cannot be predicted."""
    asked = decode_demo(body)
    rows = _read(asked, serving, max_orders)

    def answer(told: Sequence[Told]) -> Answer:
        lists = {
            name: _spread([seconds[place] for _, seconds in told], rows, len(asked.orders))
            for name, place in serving.places.items()
        }
        return Answer(HTTPStatus.CREATED, _encode(lists), asked.orders)

    return Question(rows.cells, True, answer)


def predict(body: bytes, serving: Serving, max_orders: int, read: Read = read_request) -> Answer:
    """Answer one request. Raises `RefusedRequestError`."""
    (outcome,) = answer_all([Job(read, body, serving, max_orders)])
    if isinstance(outcome, RefusedRequestError):
        raise outcome
    return outcome


def answer_all(jobs: Sequence[Job]) -> list[Answer | RefusedRequestError]:
    """An answer to each, or why there is none. Those that ask the same of the same bundle share a run of the graph."""
    outcomes: dict[int, Answer | RefusedRequestError] = {}
    together: dict[tuple[int, bool], list[tuple[int, Question]]] = {}
    for place, job in enumerate(jobs):
        try:
            question = job.read(job.body, job.serving, job.max_orders)
        except RefusedRequestError as error:
            outcomes[place] = error
        else:
            together.setdefault((id(job.serving), question.points), []).append((place, question))
    for (_, points), questions in together.items():
        bundle = jobs[questions[0][0]].serving.bundle
        told = iter(tell(bundle, [cells for _, question in questions for cells in question.cells], points))
        for place, question in questions:
            outcomes[place] = question.answer(list(islice(told, len(question.cells))))
    return [outcomes[place] for place in range(len(jobs))]


def _question(asked: Asked, serving: Serving, max_orders: int, respond: Callable[[list[_Row]], object]) -> Question:
    """A question after a prediction of every order."""
    _check_models(asked.models, serving)
    rows = _read(asked, serving, max_orders)

    def answer(told: Sequence[Told]) -> Answer:
        return Answer(HTTPStatus.OK, _encode(respond(_answers(asked, rows, told, serving))), asked.orders)

    return Question(rows.cells, any(name != DEFAULT_MODEL for name in asked.models), answer)


def _answers(asked: Asked, rows: Rows, told: Sequence[Told], serving: Serving) -> list[_Row]:
    predicted = zip(told, rows.moments, strict=True)
    wanted = [(name, serving.places[name]) for name in asked.models]
    answers: list[_Row] = []
    for place, order in enumerate(asked.orders):
        if rows.faults and place in rows.faults:
            answer: _Row = _failure(rows.faults[place])
        else:
            answer = _prediction(*next(predicted), wanted)
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
