"""One prediction request over HTTP: who asks, what they send, what they get; everything around the pure function.

It works on a WSGI environment, so that Flask's view and the callable in front of Flask's router do the very same.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from preptime.api.predict import Answer, Job, Read, read_demo, read_request, read_vertex
from preptime.api.problems import JSON, RefusedRequestError, Style, as_demo_error, as_problem, fault
from preptime.api.service import PredictionRecord, Service
from preptime.api.serving import Serving

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PREDICTIONS, DEMO = "/v1/predictions", "/predict"
NO_CHAMPION_SECONDS, BUSY_SECONDS = 5, 1
"""What `Retry-After` says: a look at the champion log, and a moment."""

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_JSON_TYPE = re.compile(
    r'application/(?:json|[!#$&^_.+a-z0-9-]+\+json)\s*(?:;\s*charset="?utf-?8"?\s*)?', re.IGNORECASE
)
_STARTED, _numbers = secrets.token_hex(8), count()
"""Of this process alone, and a number: an id for a tenth of what randomness costs."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route that predicts."""

    path: str
    name: str
    """What metrics and the prediction log call it."""
    read: Read
    refuse: Style
    caller: str | None = None
    """Who asks where no key is asked for."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What goes back."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


def endpoints(vertex_route: str | None) -> tuple[Endpoint, ...]:
    """The routes that predict. Vertex AI's is where its settings say, whatever else would be there."""
    ours = (
        Endpoint(PREDICTIONS, PREDICTIONS, read_request, as_problem),
        Endpoint(DEMO, DEMO, read_demo, as_demo_error),
    )
    if vertex_route is None:
        return ours
    theirs = Endpoint(vertex_route, "vertex", read_vertex, as_problem, caller="vertex")
    return (*(one for one in ours if one.path != vertex_route), theirs)


def exchange(endpoint: Endpoint, environ: WSGIEnvironment, service: Service) -> Reply:
    """Answer one POST. Never raises: a fault of ours is a 500 with the request's id, and its story in the log."""
    began = time.perf_counter()
    request_id = request_id_of(environ)
    key_name, orders = endpoint.caller, 0
    try:
        _admit(environ, service)
        try:
            # Read before anything is refused: an answer over an unread body breaks the connection that it came by.
            received = _received(environ, service.settings.max_body_bytes)
            if key_name is None:
                key_name = require_key(environ, service)
            serving, answer = _answered(endpoint, received, service)
        finally:
            service.places.give_back()
        orders = len(answer.orders)
        reply = Reply(answer.status, _headers(JSON, answer.body, request_id), answer.body)
        service.record(_record(endpoint, serving, request_id, key_name, answer))
    except RefusedRequestError as error:
        reply = refusal(error, endpoint.refuse, request_id)
    except Exception:  # the edge: whatever it is, a client gets an answer and the log gets the story
        logger.exception("A prediction failed.", extra={"request_id": request_id})
        reply = refusal(fault(), endpoint.refuse, request_id)
    service.metrics.observe(endpoint.name, reply.status.value, time.perf_counter() - began, orders, key_name)
    return reply


def _admit(environ: WSGIEnvironment, service: Service) -> None:
    """Take a place among the requests in hand. Raises `RefusedRequestError` when there is none."""
    if service.places.take():
        return
    if service.refusing.take():
        try:
            _received(environ, service.settings.max_body_bytes)
        finally:
            service.refusing.give_back()
    raise RefusedRequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "More requests are in hand than this server takes on.",
        "Ask again after Retry-After seconds.",
        retry_after_seconds=BUSY_SECONDS,
    )


def _answered(endpoint: Endpoint, received: bytes | RefusedRequestError, service: Service) -> tuple[Serving, Answer]:
    serving = service.serving()
    if serving is None:
        raise no_champion(service.refusal())
    if isinstance(received, RefusedRequestError):
        raise received
    job = Job(endpoint.read, received, serving, service.settings.max_orders)
    outcome = service.turns.do(job, len(received))
    if isinstance(outcome, RefusedRequestError):
        raise outcome
    return serving, outcome


def refusal(error: RefusedRequestError, style: Style, request_id: str) -> Reply:
    """A refusal as a reply."""
    content_type, body = style(error, request_id)
    headers = _headers(content_type, body, request_id)
    if error.retry_after_seconds is not None:
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    if error.status is HTTPStatus.UNAUTHORIZED:
        headers.append(("WWW-Authenticate", 'Bearer realm="preptime"'))
    return Reply(error.status, headers, body)


def request_id_of(environ: WSGIEnvironment) -> str:
    """The client's `X-Request-ID` where it can be repeated in a header and a log, else a new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{_STARTED}{next(_numbers):08x}"


def require_key(environ: WSGIEnvironment, service: Service) -> str:
    """The name of the key in the header `aikey`, or in `Authorization: Bearer`. Raises `RefusedRequestError`."""
    presented = environ.get("HTTP_AIKEY")
    if presented is None:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        presented = token.strip() if scheme.lower() == "bearer" else None
    name = service.key_name(presented) if presented else None
    if name is None:
        raise RefusedRequestError(
            HTTPStatus.UNAUTHORIZED,
            "The key is wrong." if presented else "The request has no key.",
            "Send it as the header aikey, or as Authorization: Bearer KEY.",
        )
    return name


def no_champion(why: str | None) -> RefusedRequestError:
    """Nothing can be predicted yet."""
    return RefusedRequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "No bundle is loaded." if why is None else "No bundle is loaded: the champion was refused.",
        "Train or promote one; the server picks it up by itself.",
        retry_after_seconds=NO_CHAMPION_SECONDS,
    )


def _received(environ: WSGIEnvironment, most: int) -> bytes | RefusedRequestError:
    """The request's body, or why it is not taken: its size, its type, its encoding."""
    try:
        body = _body(environ, most)
        _check_kind(environ)
    except RefusedRequestError as error:
        return error
    return body


def _check_kind(environ: WSGIEnvironment) -> None:
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != JSON and not _JSON_TYPE.fullmatch(content_type.strip()):
        raise _unsupported("Content-Type", content_type, "application/json in UTF-8")
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity")
    if encoding.lower() != "identity":
        raise _unsupported("Content-Encoding", encoding, "a body that is not compressed")


def _body(environ: WSGIEnvironment, most: int) -> bytes:
    """All that was sent. Raises `RefusedRequestError` when that is more than `most` bytes."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdigit():
        if len(length) > 15 or int(length) > most:
            raise _too_large(most)
        return bytes(environ["wsgi.input"].read(int(length)))
    if "HTTP_TRANSFER_ENCODING" not in environ and not environ.get("wsgi.input_terminated"):
        return b""
    body = bytes(environ["wsgi.input"].read(most + 1))
    if len(body) > most:
        raise _too_large(most)
    return body


def _unsupported(header: str, value: str, expected: str) -> RefusedRequestError:
    return RefusedRequestError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"{header} is {value[:60]!r}." if value else f"There is no {header}.",
        f"Send {expected}.",
        field=header,
        value=value[:60],
        expected=expected,
    )


def _too_large(most: int) -> RefusedRequestError:
    return RefusedRequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The body is larger than {most:,} bytes.",
        "Send fewer orders at once, or score the file with `preptime score`.",
        expected=f"at most {most} bytes",
    )


def _headers(content_type: str, body: bytes, request_id: str) -> list[tuple[str, str]]:
    return [("Content-Type", content_type), ("Content-Length", str(len(body))), ("X-Request-ID", request_id)]


def _record(endpoint: Endpoint, serving: Serving, request_id: str, key_name: str, answer: Answer) -> PredictionRecord:
    return PredictionRecord(
        time=time.time(),
        request_id=request_id,
        key_name=key_name,
        endpoint=endpoint.name,
        bundle=serving.bundle.manifest.id,
        orders=answer.orders,
        answer=answer.body,
    )
