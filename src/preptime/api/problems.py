"""What is said to a client whose request cannot be answered: facts first, as RFC 9457 problem documents.

The demo's clients read `{"error": …}` instead, and get the same facts that way.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from preptime.errors import PreptimeError

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: Annotated[str, msgspec.Meta(description="The status in words.")]
    status: Annotated[int, msgspec.Meta(description="The HTTP status.", ge=400, le=599)]
    detail: Annotated[str, msgspec.Meta(description="What was found, what was expected, and what to do.")]
    row: Annotated[int | UnsetType, msgspec.Meta(description="Place of the order among those asked for, from 0.")] = (
        UNSET
    )
    field: Annotated[str | UnsetType, msgspec.Meta(description="The field that it is about.")] = UNSET
    value: Annotated[str | UnsetType, msgspec.Meta(description="What was found there, as text.")] = UNSET
    expected: Annotated[str | UnsetType, msgspec.Meta(description="What belongs there.")] = UNSET
    request_id: Annotated[str | UnsetType, msgspec.Meta(description="To name in a report about this request.")] = UNSET


class TakeHomeError(msgspec.Struct):
    """An error as the demo's clients know it."""

    error: str


class ApiError(PreptimeError):
    """A request that cannot be answered: its status, and where in it the fault lies as far as that can be said."""

    def __init__(
        self,
        status: HTTPStatus,
        facts: str,
        hint: str = "",
        *,
        row: int | None = None,
        field: str | None = None,
        value: str | None = None,
        expected: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(facts, hint)
        self.status = status
        self.row = row
        self.field = field
        self.value = value
        self.expected = expected
        self.retry_after_seconds = retry_after_seconds


ErrorFormatter = Callable[[ApiError, str], tuple[str, bytes]]
"""A refusal and the request's id as (content type, body)."""


def format_problem(error: ApiError, request_id: str) -> tuple[str, bytes]:
    """The problem document of a refusal."""
    problem = Problem(
        title=error.status.phrase,
        status=error.status.value,
        detail=str(error),
        row=UNSET if error.row is None else error.row,
        field=error.field or UNSET,
        value=UNSET if error.value is None else error.value,
        expected=error.expected or UNSET,
        request_id=request_id or UNSET,
    )
    return PROBLEM_JSON, msgspec.json.encode(problem)


def format_take_home_error(error: ApiError, request_id: str) -> tuple[str, bytes]:
    """A refusal as the demo's clients know it. Their two sentences are kept to the letter."""
    text = str(error)
    if error.status is HTTPStatus.UNAUTHORIZED:
        text = "Wrong key"
    elif error.status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        text = "Request must be JSON"
    elif error.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        text = f"{text} Request id: {request_id}."
    return JSON, msgspec.json.encode(TakeHomeError(text))


def internal_error() -> ApiError:
    """An unexpected fault: nothing of the inside is told; the server's log has it under the request's id."""
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something went wrong on the server's side.",
        "Give the request id to whoever runs it.",
    )
