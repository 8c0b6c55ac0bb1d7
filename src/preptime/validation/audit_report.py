"""The report of the `check` command: counts by reason, examples, and the rejected rows as a file to repair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import FILE_COLUMN, READER_COLUMNS, ROW_COLUMN, SURPLUS_COLUMN, UseCase
from preptime.domain.validation_reasons import (
    VALIDATION_RULES,
    Purpose,
    ValidationReason,
    reasons_in_mask,
    validation_rule,
)
from preptime.formatting import escape_controls, format_count
from preptime.schema.schema import Schema
from preptime.validation.audit import REJECT_SURPLUS, AuditedOrders
from preptime.validation.cell_text import cells_as_text
from preptime.validation.gate_checks import describe_number_marks
from preptime.validation.label_checks import describe_wrong_labels
from preptime.validation.restaurants import RestaurantAudit, RestaurantFinding, describe_restaurants
from preptime.validation.row_checks import Finding
from preptime.validation.similar_ids import SimilarIds, describe_similar_ids, find_similar_ids

EXAMPLES_PER_REASON = 3
REJECT_COLUMNS = ("reject_file", "reject_row", "reject_reasons", "reject_expected", REJECT_SURPLUS)
"""The columns that a file of rejected rows has in addition to the rows' own columns."""
ROWS_FROM_0 = "Rows of data frames are counted from 0."
_MAX_VALUE_CHARACTERS = 60
_CHUNK_ROWS = 100_000


class ReasonCount(msgspec.Struct, frozen=True):
    """The number of orders with a reason, and the purposes that they are excluded from."""

    reason: ValidationReason
    rows: int
    share: float
    excluded_from: tuple[Purpose, ...]
    meaning: str
    why: str


class FindingExample(msgspec.Struct, frozen=True):
    """One cell with a validation reason."""

    reason: ValidationReason
    file: str
    row: int
    """Counted from 1, without the header. In a data frame (`count_rows_from_0`), from 0."""
    column: str
    value: str | None
    expected: str


class CheckReport(msgspec.Struct, frozen=True):
    """The output of `check --json`."""

    orders: int
    restaurants: int
    first_day: str | None
    """Local date of the first valid acknowledgement time."""
    last_day: str | None
    """Local date of the last valid acknowledgement time."""
    clean: int
    """Number of orders that aren't excluded from any purpose."""
    usable: dict[str, int]
    """Number of orders that can be used, by purpose: for all purposes, or only for scoring if no label was read."""
    reasons: tuple[ReasonCount, ...]
    """The reasons that occur, most fundamental first."""
    examples: tuple[FindingExample, ...]
    checked_for: tuple[Purpose, ...] = (Purpose.SCORING, Purpose.FITTING)
    """What the orders were checked for."""
    passed: bool = True
    """Whether an order can be used for a purpose of `checked_for`. If none can, `check` exits with status 1."""
    restaurants_left_out: int = 0
    """Number of restaurants with an error. Their orders count as orders of an unknown restaurant."""
    restaurant_findings: tuple[RestaurantFinding, ...] = ()
    """The first restaurants that are left out."""
    restaurant_notes: tuple[str, ...] = ()
    """Sentences about values of restaurants that were replaced, or that are missing."""
    similar_ids: tuple[SimilarIds, ...] = ()
    """Restaurant identifiers that a spreadsheet would treat as one. No order is excluded because of them."""
    wrong_labels: tuple[str, ...] = ()
    """Why training refuses the labels, such as a wrong unit, with the default thresholds of the data gate."""
    number_marks: str = ""
    """The lines of the schema with which numbers can be read, such as a decimal comma. Empty if there is nothing."""


def summarize_audit(
    audited: AuditedOrders,
    restaurant_count: int,
    examples_per_reason: int = EXAMPLES_PER_REASON,
    *,
    checked_for: tuple[Purpose, ...] = (Purpose.SCORING, Purpose.FITTING),
    restaurants: RestaurantAudit | None = None,
) -> CheckReport:
    """Return the report of an audit. Its size depends on the number of reasons, not on the number of rows.

    With the audit of the restaurants, the report includes its findings, and identifiers that look alike.
    """
    counts = []
    for rule in VALIDATION_RULES:
        rows = int(np.count_nonzero(audited.reasons & np.uint32(rule.reason.bit)))
        if rows:
            excluded_purposes = tuple(purpose for purpose in audited.purposes if purpose in rule.excluded_from)
            share = rows / len(audited)
            counts.append(ReasonCount(rule.reason, rows, share, excluded_purposes, rule.description, rule.rationale))
    local = audited.frame["acknowledged_local"]
    days = [local.dt.date().min(), local.dt.date().max()]
    first_day, last_day = (None if day is None else str(day) for day in days)
    return CheckReport(
        orders=len(audited),
        restaurants=restaurant_count,
        first_day=first_day,
        last_day=last_day,
        clean=len(audited) - len(rejected_rows(audited)),
        usable={str(purpose): int(np.count_nonzero(audited.usable_for(purpose))) for purpose in audited.purposes},
        reasons=tuple(counts),
        examples=tuple(_iter_examples(audited, examples_per_reason)),
        checked_for=checked_for,
        passed=any(bool(audited.usable_for(purpose).any()) for purpose in checked_for),
        wrong_labels=describe_wrong_labels(audited) if Purpose.FITTING in {*checked_for} & {*audited.purposes} else (),
        number_marks=describe_number_marks(audited),
        **({} if restaurants is None else _restaurant_results(audited, restaurants)),
    )


def _restaurant_results(audited: AuditedOrders, restaurants: RestaurantAudit) -> dict[str, Any]:
    """Return the fields of the report about restaurants."""
    cells = audited.raw[audited.schema.orders["restaurant_id"].column]
    return {
        "restaurants_left_out": restaurants.left_out,
        "restaurant_findings": restaurants.findings,
        "restaurant_notes": restaurants.notes,
        "similar_ids": find_similar_ids(cells, audited.frame["restaurant_id"], restaurants.index),
    }


def count_rows_from_0(report: CheckReport, *, orders: bool, restaurants: bool = False) -> CheckReport:
    """Return a report whose rows of orders, or of restaurants, are positions in a data frame: from 0 instead of 1."""
    examples, findings = report.examples, report.restaurant_findings
    if orders:
        examples = tuple(msgspec.structs.replace(example, row=example.row - 1) for example in examples)
    if restaurants:
        findings = tuple(
            finding if finding.row is None else msgspec.structs.replace(finding, row=finding.row - 1)
            for finding in findings
        )
    return msgspec.structs.replace(report, examples=examples, restaurant_findings=findings)


def render_text(report: CheckReport) -> str:
    """Return the report as text for a terminal."""
    days = f", {report.first_day} to {report.last_day}" if report.first_day else ""
    orders, restaurants = format_count(report.orders, "order"), format_count(report.restaurants, "restaurant")
    lines = [f"{orders}{days}, and {restaurants}. Orders without a reason that excludes them: {report.clean:,}."]
    lines.append("Usable orders: " + ", ".join(f"{purpose} {rows:,}" for purpose, rows in report.usable.items()) + ".")
    lines += describe_restaurants(report.restaurants_left_out, report.restaurant_findings, report.restaurant_notes)
    lines += describe_similar_ids(report.similar_ids)
    lines += [f"Training refuses the labels. {message}" for message in report.wrong_labels]
    lines += [report.number_marks] if report.number_marks else []
    for count in report.reasons:
        use = f"excluded from {', '.join(count.excluded_from)}" if count.excluded_from else "used for everything"
        orders = f"{format_count(count.rows, 'order')} ({count.share:.2%})"
        lines += ["", f"{count.reason}: {orders}, {use}"]
        lines.append(f"  {count.meaning}. {count.why}")
        for example in report.examples:
            if example.reason == count.reason:
                value = "empty" if example.value is None else repr(example.value)
                location = f"{escape_controls(_display_location(example.file))} row {example.row:,}".lstrip()
                lines.append(f"  {location}: {example.column} is {value}, expected {example.expected}")
    return "\n".join(lines)


def describe_usable(report: CheckReport, use_case: UseCase | None, schema: Schema) -> list[str]:
    """Return what the orders were checked for, and how many can be used for it. Without a use case, labels decide."""
    lines = []
    if use_case is None and len(report.checked_for) == 1:
        mapped = [schema.orders[name].column for name in ("prep_time_seconds", "order_ready_at") if schema.has(name)]
        lines.append(
            "The orders have no labels, so they are checked for scoring only. To check them for training, add "
            f"{' or '.join(mapped or ['order_ready_at or prep_time to the schema'])}."
        )
    elif use_case is None:
        lines.append("The orders have labels, so they are checked for scoring and training.")
    verbs = {"scoring": "scored", "fitting": "used for training"}
    counts = [f"{report.usable[purpose]:,} can be {verbs[purpose]}" for purpose in report.checked_for]
    return [*lines, f"Of {format_count(report.orders, 'order')}, {' and '.join(counts)}."]


def _display_location(file: str) -> str:
    """Return the path of a file, or the day of a database address, which ends with it."""
    address, separator, query = file.partition("?") if "://" in file else (file, "", "")
    return query.rpartition("&")[2].replace("day=", "day ") if separator else address


def rejected_rows(audited: AuditedOrders) -> NDArray[np.intp]:
    """Return the row indexes of the orders that are excluded from at least one purpose."""
    rejecting_mask = sum(rule.reason.bit for rule in VALIDATION_RULES if rule.excluded_from)
    return np.flatnonzero(audited.reasons & np.uint32(rejecting_mask))


def iter_rejects(audited: AuditedOrders, rows: NDArray[np.intp]) -> Iterator[pl.DataFrame]:
    """Yield the orders at `rows` unparsed, with `REJECT_COLUMNS`, in chunks. There is at least one chunk."""
    text_index, expected_texts = _expectation_texts(audited, rows)
    raw = audited.raw
    for start in range(0, max(len(rows), 1), _CHUNK_ROWS):
        chunk_rows = rows[start : start + _CHUNK_ROWS]
        masks = audited.frame["reasons"].gather(chunk_rows)
        distinct = masks.unique().to_list()
        reason_texts = [" ".join(reasons_in_mask(bits)) for bits in distinct]
        yield raw.select(name for name in raw.columns if name not in READER_COLUMNS)[chunk_rows].with_columns(
            reject_file=_column_or_nulls(raw, FILE_COLUMN, chunk_rows).cast(pl.String),
            reject_row=_row_numbers(raw, chunk_rows),
            reject_reasons=masks.replace_strict(distinct, reason_texts, return_dtype=pl.String),
            reject_expected=expected_texts.gather(text_index[start : start + _CHUNK_ROWS]),
            reject_surplus=pl.coalesce(
                _column_or_nulls(raw, name, chunk_rows).cast(pl.String) for name in (SURPLUS_COLUMN, REJECT_SURPLUS)
            ),
        )


def _expectation_texts(audited: AuditedOrders, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], pl.Series]:
    """Return ([M] the index of each rejected row's text, the distinct texts about the expected content)."""
    bits = np.zeros(len(audited), np.uint64)
    excluding_findings = [finding for finding in audited.findings if validation_rule(finding.reason).excluded_from]
    for index, finding in enumerate(excluding_findings):
        bits[finding.rows] |= np.uint64(1 << index)
    distinct, text_index = np.unique(bits[rows], return_inverse=True)
    texts = [
        "; ".join(
            f"{finding.column}: {finding.expected}"
            for index, finding in enumerate(excluding_findings)
            if int(finding_mask) >> index & 1
        )
        for finding_mask in distinct
    ]
    return text_index, pl.Series(texts, dtype=pl.String)


def _iter_examples(audited: AuditedOrders, max_per_reason: int) -> Iterator[FindingExample]:
    """Yield the first cells of each reason, alternating between columns, so that every affected column appears."""
    for reason in ValidationReason:
        reason_findings = [finding for finding in audited.findings if finding.reason is reason]
        candidates = [
            (finding, int(finding.rows[index]))
            for index in range(max_per_reason)
            for finding in reason_findings
            if index < len(finding.rows)
        ]
        for finding, row_index in candidates[: max(max_per_reason, len(reason_findings))]:
            yield _make_example(audited.raw, finding, row_index)


def _make_example(raw: pl.DataFrame, finding: Finding, row_index: int) -> FindingExample:
    value = cells_as_text(raw[finding.column][[row_index]]).item() if finding.column in raw.columns else None
    displayed = None if value is None else value[:_MAX_VALUE_CHARACTERS]
    file = str(raw[FILE_COLUMN][row_index]) if FILE_COLUMN in raw.columns else ""
    row = int(_row_numbers(raw, np.array([row_index]))[0])
    return FindingExample(finding.reason, file, row, finding.column, displayed, finding.expected)


def _row_numbers(raw: pl.DataFrame, rows: NDArray[np.intp]) -> pl.Series:
    """Return the row numbers, within their file, of the rows at these indexes."""
    return raw[ROW_COLUMN].gather(rows).cast(pl.Int64) if ROW_COLUMN in raw.columns else pl.Series(rows + 1)


def _column_or_nulls(raw: pl.DataFrame, name: str, rows: NDArray[np.intp]) -> pl.Series:
    return raw[name].gather(rows) if name in raw.columns else pl.Series([None] * len(rows), dtype=pl.String)
