"""Load orders of files into a database: separate rows that can be stored from rows that must be repaired first.

Rejected rows are written to a CSV file, chunk by chunk. The file appears when it's complete, unless it would be empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.atomic_write import forget_temporary, temporary_sibling
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, READER_COLUMNS, TARGET, require_columns, required_columns
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.validation_reasons import ValidationReason, reasons_in_mask
from preptime.errors import OperationError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback, no_progress
from preptime.sources.database import Database, LoadResult, NoStorableRowsError
from preptime.sources.database_schema import ORDER_COLUMNS, ORDER_SCHEMA, encode_extra, timestamps_as_text
from preptime.sources.source import DataSource, estimate_rows
from preptime.sources.writer import write_table
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import REJECT_COLUMNS, iter_rejects, rejected_rows
from preptime.validation.cell_text import cells_as_text, format_times, to_csv_cells
from preptime.validation.duplicates import order_keys
from preptime.validation.parsing import ParsedTimestamps, parse_integers, parse_timestamps
from preptime.validation.restaurants import order_time_zones
from preptime.validation.row_checks import READY_COLUMN, Finding, FindingCollector

CHUNK_ROWS = 50_000

_UNSTORABLE_REASONS = (
    ValidationReason.MALFORMED_LINE,
    ValidationReason.UNPARSABLE_TIME,
    ValidationReason.UNPARSABLE_NUMBER,
)
"""The reasons of rows that typed columns can't store. All other rows are stored, and checked whenever they are read."""
_ACKNOWLEDGED_AT = "order_acknowledged_at"
_OR_UNKNOWN = "or an empty cell if it isn't known yet"
_EXPECTED_KEY = "an order_id, or all of restaurant, time, value, and items"


def write_rejects(audited: AuditedOrders, path: Path) -> int:
    """Write the rejected rows unchanged, each with its file, row, reasons, and expected content.

    Returns the number of rows. You can repair the file and read it again: readers ignore its four additional columns.
    """
    return write_table(path, iter_rejects(audited, rejected_rows(audited)))


class RejectsWriter:
    """A CSV file of rejected rows, unchanged, each with its file, row, reasons, and expected content.

    Use it in a `with` statement. The file appears when the block ends without an error or with `NoStorableRowsError`,
    which means that every row was rejected. Raises `OperationError` if the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reason_counts: Counter[ValidationReason] = Counter()
        """Number of rows by their first reason."""
        self._temporary_path = temporary_sibling(path)
        self._columns: list[str] = []

    @property
    def row_count(self) -> int:
        """Number of rows so far."""
        return self.reason_counts.total()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._columns and (kind is None or issubclass(kind, NoStorableRowsError)):
            self._temporary_path.replace(self.path)
        self._temporary_path.unlink(missing_ok=True)
        forget_temporary(self._temporary_path)

    def add(self, audited: AuditedOrders) -> None:
        """Write the rows that have a validation reason."""
        rows = np.flatnonzero(audited.reasons)
        if not len(rows):
            return
        masks, counts = np.unique(audited.reasons[rows], return_counts=True)
        for bits, count in zip(masks.tolist(), counts.tolist(), strict=True):
            self.reason_counts[reasons_in_mask(bits)[0]] += count
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._temporary_path.open("ab") as file:
                for frame in iter_rejects(audited, rows):
                    to_csv_cells(frame).write_csv(file, include_header=not self._columns)
                    self._columns = frame.columns
        except OSError as error:
            raise OperationError(
                f"The rejected rows couldn't be written to {self.path}: {error.strerror}.",
                "Nothing was loaded. Choose another file with --rejects.",
            ) from error


@dataclass(frozen=True)
class PreparedChunk:
    """A chunk of N rows, separated into rows that can and can't be stored."""

    storable: pl.DataFrame
    """Rows of `preptime.sources.database_schema.ORDER_SCHEMA`."""
    rejected: AuditedOrders
    """All N rows, with only the reasons that prevent a row from being stored."""


def ingest_orders(
    source: DataSource,
    restaurants: RestaurantIndex,
    database: Database,
    rejects: RejectsWriter,
    progress: ProgressCallback = no_progress,
) -> LoadResult:
    """Load all orders of `source` that can be stored, all or nothing. Write the others to `rejects`.

    Loading the same rows again changes nothing. An order that is delivered again, possibly with values that weren't
    known before, is one row: the last non-empty cell of each column counts. Raises `NoStorableRowsError` if no row can
    be stored, and the errors of `database`.
    """
    require_columns(source.columns, required_columns(ORDERS_DICTIONARY, "scoring"), source.name)
    expected_rows = estimate_rows(source)

    def prepared() -> Iterator[pl.DataFrame]:
        rows_done = 0
        for rows in source.batches(CHUNK_ROWS):
            chunk = prepare_chunk(rows, restaurants)
            rejects.add(chunk.rejected)
            rows_done += len(rows)
            if expected_rows:
                progress("Reading and copying", min(rows_done / expected_rows, 1.0))
            yield chunk.storable

    return database.load_orders(prepared(), data_columns(source.columns), progress)


def prepare_chunk(rows: pl.DataFrame, restaurants: RestaurantIndex) -> PreparedChunk:
    """Separate the rows of a chunk into rows that can and can't be stored."""
    audited = audit_orders(rows, restaurants, need_label=False)
    ready_times = _parse_ready_times(rows, audited, restaurants)
    keys = order_keys(rows, audited.frame)
    findings = _find_storage_problems(rows, audited, ready_times, keys)
    is_storable = pl.Series(findings.reason_masks == 0)
    columns = _derived_columns(audited, ready_times, keys) | _declared_columns(rows, audited)
    extra_columns = [name for name in data_columns(rows.columns) if name not in ORDER_COLUMNS]
    storable = pl.DataFrame(columns).with_columns(encode_extra(rows, extra_columns)).select(ORDER_SCHEMA.names())
    rejected = AuditedOrders(
        rows, audited.frame.with_columns(reasons=pl.Series(findings.reason_masks)), findings.sorted_findings()
    )
    return PreparedChunk(storable.cast(ORDER_SCHEMA).filter(is_storable), rejected)


def _parse_ready_times(
    rows: pl.DataFrame, audited: AuditedOrders, restaurants: RestaurantIndex
) -> ParsedTimestamps | None:
    if READY_COLUMN not in rows.columns:
        return None
    restaurant_ids = audited.frame["restaurant_id"]
    known_index = restaurants.positions(restaurant_ids.fill_null(0).to_numpy())
    restaurant_index = np.where(restaurant_ids.is_null().to_numpy(), UNKNOWN_CODE, known_index)
    return parse_timestamps(rows[READY_COLUMN], *order_time_zones(rows, restaurant_index, restaurants))


def _find_storage_problems(
    rows: pl.DataFrame, audited: AuditedOrders, ready: ParsedTimestamps | None, keys: pl.Series
) -> FindingCollector:
    """Return the findings that prevent rows from being stored."""
    findings = FindingCollector(len(rows))
    for finding in audited.findings:
        if finding.reason in _UNSTORABLE_REASONS:
            findings.add(finding.reason, finding.column, _row_mask(finding, len(rows)), finding.expected)
    if ready is not None:
        findings.add(ValidationReason.UNPARSABLE_TIME, READY_COLUMN, ready.invalid, f"a time, {_OR_UNKNOWN}")
    if TARGET in rows.columns:
        is_invalid = parse_integers(rows[TARGET]).invalid
        findings.add(ValidationReason.UNPARSABLE_NUMBER, TARGET, is_invalid, f"a whole number, {_OR_UNKNOWN}")
    has_no_reason = findings.reason_masks == 0
    is_undated = audited.frame["acknowledged_utc"].is_null().to_numpy() & has_no_reason
    findings.add(
        ValidationReason.MISSING_VALUE, _ACKNOWLEDGED_AT, is_undated, "a time, which determines the order's day"
    )
    id_column = "order_id" if "order_id" in rows.columns else "restaurant_id"
    findings.add(
        ValidationReason.MISSING_VALUE,
        id_column,
        keys.is_null().to_numpy() & has_no_reason & ~is_undated,
        _EXPECTED_KEY,
    )
    for name in rows.columns:
        if rows[name].dtype == pl.String:
            has_nul = rows[name].str.contains("\0", literal=True).fill_null(value=False).to_numpy()
            findings.add(ValidationReason.MALFORMED_LINE, name, has_nul, "text without a NUL character")
    return findings


def _row_mask(finding: Finding, row_count: int) -> NDArray[np.bool_]:
    mask = np.zeros(row_count, np.bool_)
    mask[finding.rows] = True
    return mask


def _derived_columns(audited: AuditedOrders, ready: ParsedTimestamps | None, keys: pl.Series) -> dict[str, pl.Series]:
    local, utc = audited.frame["acknowledged_local"], audited.frame["acknowledged_utc"]
    return {
        "order_key": keys,
        "order_date": local.dt.date(),
        "acknowledged_at": utc.dt.replace_time_zone("UTC"),
        "acknowledged_local": local,
        "ready_at": _utc_timestamps(ready, len(local)),
    }


def _utc_timestamps(ready: ParsedTimestamps | None, row_count: int) -> pl.Series:
    dtype = pl.Datetime("us", "UTC")
    if ready is None:
        return pl.Series([None] * row_count, dtype=dtype)
    return pl.Series(ready.utc).set(pl.Series(ready.missing | ready.invalid), None).cast(dtype)


def _declared_columns(rows: pl.DataFrame, audited: AuditedOrders) -> dict[str, pl.Series]:
    """Return the declared columns in their types. Columns that the audit has parsed are reused."""
    columns = {}
    for name, dtype in ORDER_COLUMNS.items():
        if name not in rows.columns:
            columns[name] = pl.Series([None] * len(rows), dtype=dtype)
        elif name in (_ACKNOWLEDGED_AT, READY_COLUMN):
            columns[name] = _timestamp_text(rows[name])
        elif name == TARGET:
            parsed = parse_integers(rows[name])
            columns[name] = pl.Series(parsed.values).set(pl.Series(parsed.missing | parsed.invalid), None)
        elif dtype == pl.String:
            columns[name] = cells_as_text(rows[name])
        else:
            columns[name] = audited.frame[name]
    return columns


def _timestamp_text(cells: pl.Series) -> pl.Series:
    """Return timestamps as text with the same meaning: texts and epochs unchanged, datetimes in ISO format."""
    if isinstance(cells.dtype, pl.Date):
        return format_times(cells, "%Y-%m-%dT00:00:00.000000")
    if isinstance(cells.dtype, pl.Datetime):
        return timestamps_as_text(cells)
    if cells.dtype.is_float() or cells.dtype.is_decimal():
        utc = parse_timestamps(cells, np.zeros(len(cells), np.int32), ("UTC",)).utc
        return timestamps_as_text(pl.Series(utc).cast(pl.Datetime("us", "UTC"))).set(cells.is_null(), None)
    return cells_as_text(cells)


def data_columns(names: Sequence[str]) -> list[str]:
    """Return the columns to store: without reader columns and the additional columns of a file of rejected rows."""
    return [name for name in names if name not in (*READER_COLUMNS, *REJECT_COLUMNS)]
