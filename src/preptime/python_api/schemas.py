"""Proposes a schema for a company's orders."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import polars as pl

from preptime.atomic_write import atomic_path
from preptime.errors import UsageError
from preptime.formatting import format_count
from preptime.python_api.datasets import RowsInput, rows_of
from preptime.python_api.defaults import check_choice, check_type, python_errors
from preptime.redaction import redact_address
from preptime.schema.inference import infer_schema as propose
from preptime.schema.proposal import Proposal, Question
from preptime.schema.schema import Schema
from preptime.schema.toml_file import SCHEMA_FILE, parse_schema
from preptime.sources.frames import FrameSource
from preptime.sources.registry import open_source
from preptime.sources.sample import Sample, read_sample
from preptime.validation.audit import AuditedOrders, audit_orders, has_labels
from preptime.validation.audit_report import ROWS_FROM_0, CheckReport, count_rows_from_0, render_text, summarize_audit
from preptime.validation.derived_restaurants import derive_restaurants
from preptime.validation.restaurants import audit_restaurants

ANSWERS: dict[str, tuple[str, ...]] = {
    "time_zone": (),
    "order_acknowledged_at": (),
    "restaurant_id": (),
    "date_order": (),
    "decimal": (),
    "prep_time_unit": (),
    "naive_times": ("local", "UTC"),
    "money_unit": ("units", "cents"),
}
"""The questions, and the answers of those that always have the same ones. A test compares them with the inference."""


class SchemaProposal:
    """A proposed schema as TOML with comments. It shows itself, and can be saved and passed on as a schema.

    Example:
        >>> proposal = preptime.infer_schema(orders.rename({"restaurant_id": "store"}), time_zone="Europe/London")
        >>> proposal.schema.orders["restaurant_id"].column
        'store'
    """

    def __init__(
        self, proposal: Proposal, text: str, sample: Sample, restaurants: pl.DataFrame | None, *, is_frame: bool
    ) -> None:
        self.text = text
        """The schema as TOML. Lines with several readings are commented out with `#? `."""
        self._proposal = proposal
        self._sample = sample
        self._restaurants = restaurants
        self._is_frame = is_frame

    @property
    def is_usable(self) -> bool:
        """Whether no line that the schema needs is open."""
        return self._proposal.is_usable

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the orders don't decide. Call `infer_schema` again with `answers`, by the name of the question."""
        return tuple(self._proposal.questions)

    @property
    def unused(self) -> dict[str, str]:
        """The reason for each column that isn't used."""
        return self._proposal.unused

    @cached_property
    def schema(self) -> Schema:
        """The schema. Raises `UsageError` if a line that it needs is open."""
        return parse_schema(self.text, "the proposed schema")

    @cached_property
    def check(self) -> CheckReport | None:
        """The validation of the sample with the schema. None if the schema can't be used. Frames have rows from 0."""
        if not self.is_usable:
            return None
        return count_rows_from_0(audit_sample(self._sample, self._restaurants, self.schema)[1], orders=self._is_frame)

    def save(self, path: str | os.PathLike[str] = SCHEMA_FILE, *, overwrite: bool = False) -> None:
        """Write the schema to a TOML file. The commands use `schema.toml` in the working directory.

        Args:
            path: The file.
            overwrite: Replace an existing file.

        Raises:
            UsageError: The file exists.
        """
        if not overwrite and Path(path).exists():
            raise UsageError(f"The file {path} exists.", "Use overwrite=True, or choose another file.")
        write_schema(Path(path), self.text)

    def __repr__(self) -> str:
        parts = [self.text.rstrip()]
        if self.check is not None:
            parts += ["", render_text(self.check)]
            parts += [ROWS_FROM_0] if self._is_frame and self.check.examples else []
        parts += [_question_text(question) for question in self.questions]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@python_errors()
def infer_schema(
    orders: RowsInput,
    restaurants: RowsInput | None = None,
    *,
    time_zone: str = "",
    times: Literal["local", "UTC"] | None = None,
    answers: Mapping[str, str] | None = None,
) -> SchemaProposal:
    """Propose a schema for orders from the names and the contents of their columns, as `preptime schema infer` does.

    Args:
        orders: A CSV or Parquet file, a folder, a glob, a database URL, or a data frame. Large files are sampled.
        restaurants: Restaurants, if there are any.
        time_zone: IANA time zone of the restaurants, such as "Europe/Paris".
        times: The time zone of times without an offset: that of the restaurant, or UTC. Default: what the orders show.
        answers: Answers to the questions of an earlier proposal, by name.

    Returns:
        The proposal. Check each line before you use it.

    Raises:
        DataError: The orders can't be read or have no rows.
        UsageError: An argument is invalid.

    Example:
        >>> proposal = preptime.infer_schema(orders, restaurants)
        >>> proposal.is_usable
        True
    """
    known_answers = {**({} if times is None else {"naive_times": times}), **(answers or {})}
    _check_answers(known_answers)
    location = rows_of(orders, "the orders")
    sample = read_sample(location) if isinstance(location, str) else Sample(FrameSource(location).frame(), True)
    places = None if restaurants is None else rows_of(restaurants, "the restaurants")
    restaurant_rows = open_source(places).frame() if isinstance(places, str) else places
    proposal = propose(sample.frame, restaurant_rows, time_zone=time_zone, answers=known_answers)
    name = location if isinstance(location, str) else "a data frame"
    text = proposal.to_toml(proposal_title(name, sample))
    return SchemaProposal(proposal, text, sample, restaurant_rows, is_frame=not isinstance(location, str))


def _check_answers(answers: Mapping[str, str]) -> None:
    """Raise `UsageError` for the name of an unknown question, and for an answer that a question never has."""
    unknown = [name for name in answers if name not in ANSWERS]
    if unknown:
        raise UsageError(f"There is no question {unknown[0]!r}.", f"The questions are {', '.join(ANSWERS)}.")
    for name, answer in answers.items():
        check_type(f"The answer to {name}", answer, str, "text")
        if ANSWERS[name]:
            check_choice(f"The answer to {name}", answer, ANSWERS[name])


def proposal_title(orders: str, sample: Sample) -> str:
    """Return the first comment of a proposed schema."""
    rows = format_count(len(sample.frame), "row")
    origin = f"all {rows}" if sample.is_complete else f"a sample of {rows}"
    return f"Proposed by preptime schema infer from {origin} of {redact_address(orders)}. Check each line."


def audit_sample(
    sample: Sample, restaurants: pl.DataFrame | None, proposed: Schema
) -> tuple[AuditedOrders, CheckReport]:
    """Return the sample with its validation results, as `preptime check` does, and their summary."""
    if restaurants is None:
        index = derive_restaurants(sample.frame, proposed).index
    else:
        index = audit_restaurants(restaurants, proposed).index
    audited = audit_orders(sample.frame, index, need_label=has_labels(sample.frame, proposed), schema=proposed)
    # A sample has other row numbers than its file.
    examples = 1 if sample.is_complete else 0
    return audited, summarize_audit(audited, len(index), examples)


def write_schema(path: Path, text: str) -> None:
    """Write a schema to a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _question_text(question: Question) -> str:
    choices = "; ".join(f"{answer!r}: {meaning}" for answer, meaning in question.choices)
    return f"{question.text} Answer {question.name!r}: {choices or 'an IANA time zone, such as Europe/London'}."
