"""What `check` says: counts by reason, a few examples, and the rejected rows as a file to repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import FILE_COLUMN, READER_COLUMNS, ROW_COLUMN
from preptime.domain.validation_reasons import (
    VALIDATION_RULES,
    Purpose,
    ValidationReason,
    reasons_in_mask,
    validation_rule,
)
from preptime.validation.audit import AuditedOrders
from preptime.validation.row_checks import Finding

EXAMPLES_PER_REASON = 3
REJECT_COLUMNS = ("reject_file", "reject_row", "reject_reasons", "reject_expected")
"""What a file of rejected rows has beside their own columns."""
_MAX_VALUE_CHARACTERS = 60
_CHUNK_ROWS = 100_000


class ReasonCount(msgspec.Struct, frozen=True):
    """How many orders have one reason, and what it keeps them out of."""

    reason: ValidationReason
    rows: int
    share: float
    excluded_from: tuple[Purpose, ...]
    meaning: str
    why: str


class FindingExample(msgspec.Struct, frozen=True):
    """One cell that has a reason."""

    reason: ValidationReason
    file: str
    row: int
    """From 1, the header not counted."""
    column: str
    value: str | None
    expected: str


class CheckReport(msgspec.Struct, frozen=True):
    """The document of `check --json`."""

    orders: int
    restaurants: int
    first_day: str | None
    """Local day of the first acknowledgement that can be read; likewise the last."""
    last_day: str | None
    clean: int
    """Orders without a reason that keeps them out of anything."""
    usable: dict[str, int]
    """How many orders may be used for each purpose."""
    reasons: tuple[ReasonCount, ...]
    """Those that occur, the most fundamental first."""
    examples: tuple[FindingExample, ...]


def summarize_audit(
    audited: AuditedOrders, restaurant_count: int, examples_per_reason: int = EXAMPLES_PER_REASON
) -> CheckReport:
    """The report of an audit; its size depends on the number of reasons, not of rows."""
    counts = []
    for policy_rule in VALIDATION_RULES:
        rows = int(np.count_nonzero(audited.reasons & np.uint32(policy_rule.reason.bit)))
        if rows:
            excluded_purposes = tuple(purpose for purpose in Purpose if purpose in policy_rule.excluded_from)
            counts.append(
                ReasonCount(
                    policy_rule.reason,
                    rows,
                    rows / len(audited),
                    excluded_purposes,
                    policy_rule.description,
                    policy_rule.rationale,
                )
            )
    local = audited.frame["acknowledged_local"]
    days = [local.dt.date().min(), local.dt.date().max()]
    first_day, last_day = (None if day is None else str(day) for day in days)
    flag_mask = sum(policy_rule.reason.bit for policy_rule in VALIDATION_RULES if not policy_rule.excluded_from)
    return CheckReport(
        orders=len(audited),
        restaurants=restaurant_count,
        first_day=first_day,
        last_day=last_day,
        clean=int(np.count_nonzero((audited.reasons & np.uint32(0xFFFFFFFF ^ flag_mask)) == 0)),
        usable={str(purpose): int(np.count_nonzero(audited.usable_for(purpose))) for purpose in Purpose},
        reasons=tuple(counts),
        examples=tuple(_iter_examples(audited, examples_per_reason)),
    )


def render_text(report: CheckReport) -> str:
    """The report for people."""
    days = f", {report.first_day} to {report.last_day}" if report.first_day else ""
    lines = [f"{report.orders:,} orders of {report.restaurants:,} restaurants{days}; {report.clean:,} are clean."]
    lines.append("Usable for " + ", ".join(f"{purpose}: {rows:,}" for purpose, rows in report.usable.items()) + ".")
    for count in report.reasons:
        excluded_purposes = ", ".join(count.excluded_from) or "nothing"
        lines += ["", f"{count.reason}: {count.rows:,} orders ({count.share:.2%}), kept out of {excluded_purposes}"]
        lines.append(f"  {count.meaning}. {count.why}")
        for example in report.examples:
            if example.reason == count.reason:
                value = "empty" if example.value is None else repr(example.value)
                location = f"{_display_location(example.file)} row {example.row:,}".lstrip()
                lines.append(f"  {location}: {example.column} is {value}, expected {example.expected}")
    return "\n".join(lines)


def _display_location(file: str) -> str:
    """A file by its name; a day of a database, whose address ends with it, by that."""
    address, separator, query = file.partition("?") if "://" in file else (file, "", "")
    return query.rpartition("&")[2].replace("day=", "day ") if separator else Path(address).name


def rejected_rows(audited: AuditedOrders) -> NDArray[np.intp]:
    """Positions of the orders that are kept out of something."""
    rejecting_mask = sum(policy_rule.reason.bit for policy_rule in VALIDATION_RULES if policy_rule.excluded_from)
    return np.flatnonzero(audited.reasons & np.uint32(rejecting_mask))


def iter_rejects(audited: AuditedOrders, rows: NDArray[np.intp]) -> Iterator[pl.DataFrame]:
    """The orders at `rows` as they came, with their file, row, reasons and expectations; at least one chunk."""
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
        )


def _expectation_texts(audited: AuditedOrders, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], pl.Series]:
    """Which findings each rejected row has, as a position in the list of distinct texts about what was expected."""
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
    """The first few cells of each reason, columns in turn, so that a common fault in one column hides no other."""
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
    value = raw[finding.column][row_index] if finding.column in raw.columns else None
    displayed = None if value is None else str(value)[:_MAX_VALUE_CHARACTERS]
    file = str(raw[FILE_COLUMN][row_index]) if FILE_COLUMN in raw.columns else ""
    row = int(_row_numbers(raw, np.array([row_index]))[0])
    return FindingExample(finding.reason, file, row, finding.column, displayed, finding.expected)


def _row_numbers(raw: pl.DataFrame, rows: NDArray[np.intp]) -> pl.Series:
    """The numbers of the rows at these positions, in their file."""
    return raw[ROW_COLUMN].gather(rows).cast(pl.Int64) if ROW_COLUMN in raw.columns else pl.Series(rows + 1)


def _column_or_nulls(raw: pl.DataFrame, name: str, rows: NDArray[np.intp]) -> pl.Series:
    return raw[name].gather(rows) if name in raw.columns else pl.Series([None] * len(rows), dtype=pl.String)
