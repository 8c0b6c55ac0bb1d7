"""What `check` says: counts by reason, a few examples, and the rejected rows as a file to repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.verdict import POLICY, Purpose, Reason, reasons, rule
from preptime.tables.audit import Audited
from preptime.tables.columns import ADDED, FILE, ROW
from preptime.tables.findings import Finding
from preptime.tables.write import write_table

EXAMPLES_PER_REASON = 3
REJECT_COLUMNS = ("reject_file", "reject_row", "reject_reasons", "reject_expected")
"""What a file of rejected rows has beside their own columns."""
_SHOWN_CHARACTERS = 60
_CHUNK_ROWS = 100_000


class ReasonCount(msgspec.Struct, frozen=True):
    """How many orders have one reason, and what it keeps them out of."""

    reason: Reason
    rows: int
    share: float
    keeps_out_of: tuple[Purpose, ...]
    meaning: str
    why: str


class Example(msgspec.Struct, frozen=True):
    """One cell that has a reason."""

    reason: Reason
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
    examples: tuple[Example, ...]


def summary(audited: Audited, restaurants: int, examples_per_reason: int = EXAMPLES_PER_REASON) -> CheckReport:
    """The report of an audit; its size depends on the number of reasons, not of rows."""
    counts = []
    for one in POLICY:
        rows = int(np.count_nonzero(audited.reasons & np.uint32(one.reason.bit)))
        if rows:
            keeps = tuple(purpose for purpose in Purpose if purpose in one.keeps_out_of)
            counts.append(ReasonCount(one.reason, rows, rows / len(audited), keeps, one.meaning, one.why))
    local = audited.frame["acknowledged_local"]
    days = [local.dt.date().min(), local.dt.date().max()]
    first_day, last_day = (None if day is None else str(day) for day in days)
    flags = sum(one.reason.bit for one in POLICY if not one.keeps_out_of)
    return CheckReport(
        orders=len(audited),
        restaurants=restaurants,
        first_day=first_day,
        last_day=last_day,
        clean=int(np.count_nonzero((audited.reasons & np.uint32(0xFFFFFFFF ^ flags)) == 0)),
        usable={str(purpose): int(np.count_nonzero(audited.kept(purpose))) for purpose in Purpose},
        reasons=tuple(counts),
        examples=tuple(_examples(audited, examples_per_reason)),
    )


def text(report: CheckReport) -> str:
    """The report for people."""
    days = f", {report.first_day} to {report.last_day}" if report.first_day else ""
    lines = [f"{report.orders:,} orders of {report.restaurants:,} restaurants{days}; {report.clean:,} are clean."]
    lines.append("Usable for " + ", ".join(f"{purpose}: {rows:,}" for purpose, rows in report.usable.items()) + ".")
    for count in report.reasons:
        keeps = ", ".join(count.keeps_out_of) or "nothing"
        lines += ["", f"{count.reason}: {count.rows:,} orders ({count.share:.2%}), kept out of {keeps}"]
        lines.append(f"  {count.meaning}. {count.why}")
        for example in report.examples:
            if example.reason == count.reason:
                value = "empty" if example.value is None else repr(example.value)
                at = f"{_place(example.file)} row {example.row:,}".lstrip()
                lines.append(f"  {at}: {example.column} is {value}, expected {example.expected}")
    return "\n".join(lines)


def _place(file: str) -> str:
    """A file by its name; a day of a database, whose address ends with it, by that."""
    address, separator, query = file.partition("?") if "://" in file else (file, "", "")
    return query.rpartition("&")[2].replace("day=", "day ") if separator else Path(address).name


def rejected(audited: Audited) -> NDArray[np.intp]:
    """Positions of the orders that are kept out of something."""
    against = sum(one.reason.bit for one in POLICY if one.keeps_out_of)
    return np.flatnonzero(audited.reasons & np.uint32(against))


def write_rejects(audited: Audited, path: Path) -> int:
    """Write the rejected rows as they came, and beside each its file, row, reasons and what was expected.

    Returns the number of rows. The file can be repaired and read again: its four columns are carried through.
    """
    return write_table(path, rejects_of(audited, rejected(audited)))


def rejects_of(audited: Audited, rows: NDArray[np.intp]) -> Iterator[pl.DataFrame]:
    """The orders at `rows` as they came, with their file, row, reasons and expectations; at least one chunk."""
    against, words = _combinations(audited, rows)
    source = audited.source
    for start in range(0, max(len(rows), 1), _CHUNK_ROWS):
        chosen = rows[start : start + _CHUNK_ROWS]
        masks = audited.frame["reasons"].gather(chosen)
        distinct = masks.unique().to_list()
        spelt = [" ".join(reasons(bits)) for bits in distinct]
        yield source.select(name for name in source.columns if name not in ADDED)[chosen].with_columns(
            reject_file=_column(source, FILE, chosen).cast(pl.String),
            reject_row=_row_numbers(source, chosen),
            reject_reasons=masks.replace_strict(distinct, spelt, return_dtype=pl.String),
            reject_expected=words.gather(against[start : start + _CHUNK_ROWS]),
        )


def _combinations(audited: Audited, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], pl.Series]:
    """Which findings each rejected row has, as a position in the list of distinct texts about what was expected."""
    bits = np.zeros(len(audited), np.uint64)
    kept = [found for found in audited.findings if rule(found.reason).keeps_out_of]
    for index, found in enumerate(kept):
        bits[found.rows] |= np.uint64(1 << index)
    distinct, position = np.unique(bits[rows], return_inverse=True)
    texts = [
        "; ".join(f"{found.column}: {found.expected}" for index, found in enumerate(kept) if int(one) >> index & 1)
        for one in distinct
    ]
    return position, pl.Series(texts, dtype=pl.String)


def _examples(audited: Audited, limit: int) -> Iterator[Example]:
    """The first few cells of each reason, columns in turn, so that a common fault in one column hides no other."""
    for reason in Reason:
        found = [one for one in audited.findings if one.reason is reason]
        turns = [(one, int(one.rows[turn])) for turn in range(limit) for one in found if turn < len(one.rows)]
        for one, position in turns[: max(limit, len(found))]:
            yield _example(audited.source, one, position)


def _example(source: pl.DataFrame, found: Finding, position: int) -> Example:
    value = source[found.column][position] if found.column in source.columns else None
    shown = None if value is None else str(value)[:_SHOWN_CHARACTERS]
    file = str(source[FILE][position]) if FILE in source.columns else ""
    row = int(_row_numbers(source, np.array([position]))[0])
    return Example(found.reason, file, row, found.column, shown, found.expected)


def _row_numbers(source: pl.DataFrame, rows: NDArray[np.intp]) -> pl.Series:
    """The numbers of the rows at these positions, in their file."""
    return source[ROW].gather(rows).cast(pl.Int64) if ROW in source.columns else pl.Series(rows + 1)


def _column(source: pl.DataFrame, name: str, rows: NDArray[np.intp]) -> pl.Series:
    return source[name].gather(rows) if name in source.columns else pl.Series([None] * len(rows), dtype=pl.String)
