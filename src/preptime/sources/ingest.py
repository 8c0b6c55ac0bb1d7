"""The file of rows that could not be stored: written chunk by chunk, there when it is whole, never when it is empty.

Orders of files on their way into a database: what can be stored, and what has to be repaired first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.atomic_write import temporary_sibling
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, READER_COLUMNS, TARGET, require_columns, required_columns
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.validation_reasons import ValidationReason, reasons_in_mask
from preptime.errors import OperationError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.database import Database, LoadResult, NoStorableRowsError
from preptime.sources.database_schema import ORDER_COLUMNS, ORDER_SCHEMA, encode_extra, timestamps_as_text
from preptime.sources.source import DataSource, estimate_rows
from preptime.sources.writer import write_table
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import REJECT_COLUMNS, iter_rejects, rejected_rows
from preptime.validation.duplicates import order_keys
from preptime.validation.parsing import ParsedTimestamps, parse_integers, parse_timestamps
from preptime.validation.restaurants import order_time_zones
from preptime.validation.row_checks import READY_COLUMN, Finding, FindingCollector


def write_rejects(audited: AuditedOrders, path: Path) -> int:
    """Write the rejected rows unchanged, each with its file, row, reasons, and the expected value.

    Returns the number of rows. The file can be repaired and read again: its four columns are passed through.
    """
    return write_table(path, iter_rejects(audited, rejected_rows(audited)))


class RejectsWriter:
    """A csv of refused rows as they came, each with its file, row, reasons and what was expected.

    A context: the file gets its name when the block ends well, or ends because every row is in it. Raises `OperationError`
    when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reason_counts: Counter[ValidationReason] = Counter()
        """Rows by their first reason."""
        self._temporary_path = temporary_sibling(path)
        self._columns: list[str] = []

    @property
    def row_count(self) -> int:
        """Rows so far."""
        return self.reason_counts.total()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._columns and (kind is None or issubclass(kind, NoStorableRowsError)):
            self._temporary_path.replace(self.path)
        self._temporary_path.unlink(missing_ok=True)

    def add(self, audited: AuditedOrders) -> None:
        """Write the rows that have a reason."""
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
                    frame.write_csv(file, include_header=not self._columns)
                    self._columns = frame.columns
        except OSError as error:
            raise OperationError(
                f"The refused rows could not be written to {self.path}: {error.strerror}.",
                "Nothing was loaded; name another file with --rejects.",
            ) from error


CHUNK_ROWS = 50_000

ProgressCallback = Callable[[str, float], None]

_UNSTORABLE_REASONS = (
    ValidationReason.MALFORMED_LINE,
    ValidationReason.UNPARSABLE_TIME,
    ValidationReason.UNPARSABLE_NUMBER,
)
"""What no typed column can hold. Everything else is stored, and judged whenever it is read."""
_ACKNOWLEDGED_AT = "order_acknowledged_at"
_EXPECTED_KEY = "an order_id, or all of restaurant, time, value and items"


@dataclass(frozen=True)
class PreparedChunk:
    """A chunk of N rows, parted."""

    storable: pl.DataFrame
    """Rows of `preptime.sources.database_schema.ORDER_SCHEMA`."""
    rejected: AuditedOrders
    """All N rows, with only those reasons that keep a row out of the database."""


def ingest_orders(
    source: DataSource,
    restaurants: RestaurantIndex,
    database: Database,
    rejects: RejectsWriter,
    progress: ProgressCallback | None = None,
) -> LoadResult:
    """Load every order of `table` that can be stored, all or nothing; the others go to `rejects`.

    The same rows again change nothing; an order that comes again, perhaps with what was not known before, is one row:
    the last cell that is not empty counts. Raises `DataError` when no row can be stored, and what `database` raises.
    """
    require_columns(source.columns, required_columns(ORDERS_DICTIONARY, "scoring"), source.name)
    expected_rows = estimate_rows(source) if progress else 0

    def prepared() -> Iterator[pl.DataFrame]:
        rows_done = 0
        for rows in source.batches(CHUNK_ROWS):
            chunk = prepare_chunk(rows, restaurants)
            rejects.add(chunk.rejected)
            rows_done += len(rows)
            if progress and expected_rows:
                progress("Reading and copying", min(rows_done / expected_rows, 1.0))
            yield chunk.storable

    return database.load_orders(prepared(), data_columns(source.columns), progress)


def prepare_chunk(rows: pl.DataFrame, restaurants: RestaurantIndex) -> PreparedChunk:
    """Part the rows of a chunk into what can be stored and what cannot."""
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
    """What keeps rows out of the database."""
    findings = FindingCollector(len(rows))
    for finding in audited.findings:
        if finding.reason in _UNSTORABLE_REASONS:
            findings.add(finding.reason, finding.column, _row_mask(finding, len(rows)), finding.expected)
    if ready is not None:
        findings.add(
            ValidationReason.UNPARSABLE_TIME, READY_COLUMN, ready.invalid, "a time, or nothing while it is not known"
        )
    if TARGET in rows.columns:
        is_invalid = parse_integers(rows[TARGET]).invalid
        findings.add(
            ValidationReason.UNPARSABLE_NUMBER, TARGET, is_invalid, "a whole number, or nothing while it is not known"
        )
    has_no_reason = findings.reason_masks == 0
    is_undated = audited.frame["acknowledged_utc"].is_null().to_numpy() & has_no_reason
    findings.add(
        ValidationReason.MISSING_VALUE, _ACKNOWLEDGED_AT, is_undated, "the moment that decides the order's day"
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
    """The declared columns, each in its type; what the audit has read is taken from there."""
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
            columns[name] = rows[name].cast(pl.String)
        else:
            columns[name] = audited.frame[name]
    return columns


def _timestamp_text(cells: pl.Series) -> pl.Series:
    """Moments as text with the same meaning: texts and epochs as they are, datetimes in ISO form."""
    if isinstance(cells.dtype, pl.Date):
        cells = cells.cast(pl.Datetime("us"))
    if isinstance(cells.dtype, pl.Datetime):
        return timestamps_as_text(cells)
    if cells.dtype.is_float() or cells.dtype.is_decimal():
        utc = parse_timestamps(cells, np.zeros(len(cells), np.int32), ("UTC",)).utc
        return timestamps_as_text(pl.Series(utc).cast(pl.Datetime("us", "UTC"))).set(cells.is_null(), None)
    return cells.cast(pl.String)


def data_columns(names: Sequence[str]) -> list[str]:
    """The columns that go into the database: not those of a repaired file of rejects, nor those a table adds."""
    return [name for name in names if name not in (*READER_COLUMNS, *REJECT_COLUMNS)]
