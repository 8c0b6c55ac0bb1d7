"""Orders of files on their way into a database: what can be stored, and what has to be repaired first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import ORDERS_DICTIONARY, TARGET, required_columns
from preptime.domain.order import UNKNOWN_CODE
from preptime.domain.verdict import ValidationReason
from preptime.features.directory import RestaurantIndex
from preptime.tables.audit import AuditedOrders, audit_orders
from preptime.tables.columns import READER_COLUMNS, require_columns
from preptime.tables.database import Database, LoadResult
from preptime.tables.findings import Finding, FindingCollector
from preptime.tables.labels import READY_COLUMN
from preptime.tables.numbers import parse_integers
from preptime.tables.order_key import order_keys
from preptime.tables.rejects import RejectsWriter
from preptime.tables.report import REJECT_COLUMNS
from preptime.tables.size import estimate_rows
from preptime.tables.stored import ORDER_COLUMNS, ORDER_SCHEMA, encode_extra, timestamps_as_text
from preptime.tables.table import DataSource
from preptime.tables.times import ParsedTimestamps, parse_timestamps
from preptime.tables.zones import order_time_zones

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
    """Rows of `preptime.tables.stored.ORDER_SCHEMA`."""
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
