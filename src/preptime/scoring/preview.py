"""A look at a file before it is scored: its first rows, the verdict on every row, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import ORDERS, required
from preptime.domain.verdict import Purpose, Reason, mask, reasons, rule
from preptime.features.directory import Directory
from preptime.scoring.score import CHUNK_ROWS, Progress
from preptime.tables.audit import Audited, audit
from preptime.tables.columns import ROW, require
from preptime.tables.open import open_table
from preptime.tables.size import about_rows

HEAD_ROWS = 200
"""Rows of the preview: more than anybody reads, few enough to be there at once."""
MOST_REFUSED = 2_000
"""Refused rows that are listed one by one. The counts are of all."""

VERDICT = "verdict"
FINE = "can be predicted"


@dataclass(frozen=True)
class Preview:
    """What can be said of N rows before anything is predicted."""

    columns: tuple[str, ...]
    """The file's own, in its order."""
    rows: int
    refused: dict[Reason, int]
    """Rows that no prediction can be made for, by the reason that is shown: the most fundamental one."""
    strangers: int
    """Rows that can be predicted, of a restaurant that the directory does not list: from coarser levels."""
    head: pl.DataFrame
    """The first rows as they came, `row` (from 1) and `verdict` before the file's own columns."""
    faults: pl.DataFrame
    """The first refused rows, one line a faulty cell: `row`, `reason`, `column`, `value`, `expected`."""

    @property
    def predictable(self) -> int:
        """Rows that will get a prediction."""
        return self.rows - sum(self.refused.values())


def preview(source: str, directory: Directory, *, progress: Progress | None = None) -> Preview:
    """Judge every row of `source` as scoring will, in bounded memory.

    Raises `DataError` for a source that cannot be read, is empty, or lacks a column.
    """
    table = open_table(source)
    require(table.columns, required(ORDERS, "scoring"), table.name)
    expected = about_rows(table) if progress else 0
    rows = strangers = 0
    refused: dict[Reason, int] = {}
    heads, faults, listed = list[pl.DataFrame](), list[pl.DataFrame](), 0
    for chunk in table.batches(CHUNK_ROWS):
        audited = audit(chunk, directory, need_label=False)
        first = _first_reasons(audited)
        if rows < HEAD_ROWS:
            heads.append(_head(audited, first, table.columns, HEAD_ROWS - rows))
        for reason, count in _counts(first):
            refused[reason] = refused.get(reason, 0) + count
        stranger = (audited.reasons & np.uint32(Reason.UNKNOWN_RESTAURANT.bit)) != 0
        strangers += int(np.count_nonzero(stranger & audited.kept(Purpose.SCORING)))
        if listed < MOST_REFUSED:
            found = list(_faults(audited, MOST_REFUSED - listed))
            listed += len({row for one in found for row in one["row"]})
            faults += found
        rows += len(chunk)
        if progress and expected:
            progress("Checking", min(rows / expected, 1.0))
    lines = pl.concat([_NO_FAULTS, *faults]).sort("row", maintain_order=True)
    return Preview(
        columns=table.columns,
        rows=rows,
        refused={reason: refused[reason] for reason in Reason if reason in refused},
        strangers=strangers,
        head=pl.concat(heads),
        faults=lines,
    )


_NO_FAULTS = pl.DataFrame(
    schema={"row": pl.Int64, "reason": pl.String, "column": pl.String, "value": pl.String, "expected": pl.String}
)


def _first_reasons(audited: Audited) -> list[tuple[Reason | None, NDArray[np.bool_]]]:
    """For each reason to refuse that occurs, and for None: the rows [N] that it is shown for."""
    against = audited.reasons & np.uint32(mask(Purpose.SCORING))
    masks, of_mask = np.unique(against, return_inverse=True)
    shown = [reasons(int(bits))[0] if bits else None for bits in masks]
    return [
        (one, np.isin(of_mask, [place for place, other in enumerate(shown) if other is one]))
        for one in dict.fromkeys(shown)
    ]


def _counts(first: list[tuple[Reason | None, NDArray[np.bool_]]]) -> Iterator[tuple[Reason, int]]:
    for reason, where in first:
        if reason is not None:
            yield reason, int(np.count_nonzero(where))


def _head(
    audited: Audited, first: list[tuple[Reason | None, NDArray[np.bool_]]], columns: tuple[str, ...], rows: int
) -> pl.DataFrame:
    verdicts = np.full(len(audited), FINE, object)
    for reason, where in first:
        if reason is not None:
            verdicts[where] = rule(reason).meaning
    head = audited.source.head(rows)
    own = head.select(name for name in columns)
    return own.select(
        head[ROW].cast(pl.Int64).alias("row"),
        pl.Series(VERDICT, verdicts[: len(head)].tolist(), pl.String),
        pl.all().name.map(_apart),
    )


def _apart(name: str) -> str:
    """A column of the file that is called like one of ours."""
    return f"{name} (file)" if name in {"row", VERDICT} else name


def _faults(audited: Audited, most: int) -> Iterator[pl.DataFrame]:
    refused = ~audited.kept(Purpose.SCORING)
    last = np.flatnonzero(refused)[:most]
    if not len(last):
        return
    shown = refused.copy()
    shown[last[-1] + 1 :] = False
    numbers = audited.source[ROW].cast(pl.Int64)
    against = mask(Purpose.SCORING)
    for found in audited.findings:
        rows = found.rows[shown[found.rows]]
        if not found.reason.bit & against or not len(rows):
            continue
        values = audited.source[found.column].gather(rows).cast(pl.String, strict=False)
        yield pl.DataFrame(
            {
                "row": numbers.gather(rows),
                "reason": pl.Series([rule(found.reason).meaning] * len(rows), dtype=pl.String),
                "column": pl.Series([_column(found.column)] * len(rows), dtype=pl.String),
                "value": values,
                "expected": pl.Series([found.expected] * len(rows), dtype=pl.String),
            }
        )


def _column(name: str) -> str:
    return "(after the last column)" if name.startswith("_") else name
