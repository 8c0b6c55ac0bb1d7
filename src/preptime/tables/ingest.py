"""Orders of files on their way into a database: what can be stored, and what has to be repaired first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import ORDERS, TARGET, required
from preptime.domain.order import UNKNOWN
from preptime.domain.verdict import Reason
from preptime.features.directory import Directory
from preptime.tables.audit import Audited, audit
from preptime.tables.columns import ADDED, require
from preptime.tables.database import Database, Loaded
from preptime.tables.findings import Finding, Findings
from preptime.tables.labels import READY
from preptime.tables.numbers import read_integers
from preptime.tables.order_key import order_keys
from preptime.tables.rejects import Rejects
from preptime.tables.report import REJECT_COLUMNS
from preptime.tables.size import about_rows
from preptime.tables.stored import ORDER_COLUMNS, ORDER_SCHEMA, as_extra, moments_as_text
from preptime.tables.table import Table
from preptime.tables.times import Times, read_times
from preptime.tables.zones import zones_of_orders

CHUNK_ROWS = 50_000

Progress = Callable[[str, float], None]

_UNSTORABLE = (Reason.MALFORMED_LINE, Reason.UNPARSABLE_TIME, Reason.UNPARSABLE_NUMBER)
"""What no typed column can hold. Everything else is stored, and judged whenever it is read."""
_MOMENT = "order_acknowledged_at"
_SIGNATURE = "an order_id, or all of restaurant, time, value and items"


@dataclass(frozen=True)
class Prepared:
    """A chunk of N rows, parted."""

    stored: pl.DataFrame
    """Rows of `preptime.tables.stored.ORDER_SCHEMA`."""
    refused: Audited
    """All N rows, with only those reasons that keep a row out of the database."""


def ingest(
    table: Table, directory: Directory, database: Database, rejects: Rejects, progress: Progress | None = None
) -> Loaded:
    """Load every order of `table` that can be stored, all or nothing; the others go to `rejects`.

    The same rows again change nothing; an order that comes again, perhaps with what was not known before, is one row:
    the last cell that is not empty counts. Raises `DataError` when no row can be stored, and what `database` raises.
    """
    require(table.columns, required(ORDERS, "scoring"), table.name)
    expected = about_rows(table) if progress else 0

    def prepared() -> Iterator[pl.DataFrame]:
        done = 0
        for rows in table.batches(CHUNK_ROWS):
            chunk = prepare(rows, directory)
            rejects.add(chunk.refused)
            done += len(rows)
            if progress and expected:
                progress("Reading and copying", min(done / expected, 1.0))
            yield chunk.stored

    return database.load_orders(prepared(), own_columns(table.columns), progress)


def prepare(rows: pl.DataFrame, directory: Directory) -> Prepared:
    """Part the rows of a chunk into what can be stored and what cannot."""
    audited = audit(rows, directory, need_label=False)
    ready = _ready(rows, audited, directory)
    keys = order_keys(rows, audited.frame)
    findings = _against(rows, audited, ready, keys)
    kept = pl.Series(findings.bits == 0)
    columns = _derived(audited, ready, keys) | _own(rows, audited)
    extra = [name for name in own_columns(rows.columns) if name not in ORDER_COLUMNS]
    stored = pl.DataFrame(columns).with_columns(as_extra(rows, extra)).select(ORDER_SCHEMA.names())
    refused = Audited(rows, audited.frame.with_columns(reasons=pl.Series(findings.bits)), findings.listed())
    return Prepared(stored.cast(ORDER_SCHEMA).filter(kept), refused)


def _ready(rows: pl.DataFrame, audited: Audited, directory: Directory) -> Times | None:
    if READY not in rows.columns:
        return None
    ids = audited.frame["restaurant_id"]
    known = directory.positions(ids.fill_null(0).to_numpy())
    position = np.where(ids.is_null().to_numpy(), UNKNOWN, known)
    return read_times(rows[READY], *zones_of_orders(rows, position, directory))


def _against(rows: pl.DataFrame, audited: Audited, ready: Times | None, keys: pl.Series) -> Findings:
    """What keeps rows out of the database."""
    findings = Findings(len(rows))
    for found in audited.findings:
        if found.reason in _UNSTORABLE:
            findings.add(found.reason, found.column, _at(found, len(rows)), found.expected)
    if ready is not None:
        findings.add(Reason.UNPARSABLE_TIME, READY, ready.bad, "a time, or nothing while it is not known")
    if TARGET in rows.columns:
        bad = read_integers(rows[TARGET]).bad
        findings.add(Reason.UNPARSABLE_NUMBER, TARGET, bad, "a whole number, or nothing while it is not known")
    unmarked = findings.bits == 0
    timeless = audited.frame["acknowledged_utc"].is_null().to_numpy() & unmarked
    findings.add(Reason.MISSING_VALUE, _MOMENT, timeless, "the moment that decides the order's day")
    shown = "order_id" if "order_id" in rows.columns else "restaurant_id"
    findings.add(Reason.MISSING_VALUE, shown, keys.is_null().to_numpy() & unmarked & ~timeless, _SIGNATURE)
    for name in rows.columns:
        if rows[name].dtype == pl.String:
            zero = rows[name].str.contains("\0", literal=True).fill_null(value=False).to_numpy()
            findings.add(Reason.MALFORMED_LINE, name, zero, "text without a NUL character")
    return findings


def _at(found: Finding, rows: int) -> NDArray[np.bool_]:
    where = np.zeros(rows, np.bool_)
    where[found.rows] = True
    return where


def _derived(audited: Audited, ready: Times | None, keys: pl.Series) -> dict[str, pl.Series]:
    local, utc = audited.frame["acknowledged_local"], audited.frame["acknowledged_utc"]
    return {
        "order_key": keys,
        "order_date": local.dt.date(),
        "acknowledged_at": utc.dt.replace_time_zone("UTC"),
        "acknowledged_local": local,
        "ready_at": _instants(ready, len(local)),
    }


def _instants(ready: Times | None, rows: int) -> pl.Series:
    kind = pl.Datetime("us", "UTC")
    if ready is None:
        return pl.Series([None] * rows, dtype=kind)
    return pl.Series(ready.utc).set(pl.Series(ready.missing | ready.bad), None).cast(kind)


def _own(rows: pl.DataFrame, audited: Audited) -> dict[str, pl.Series]:
    """The declared columns, each in its type; what the audit has read is taken from there."""
    columns = {}
    for name, kind in ORDER_COLUMNS.items():
        if name not in rows.columns:
            columns[name] = pl.Series([None] * len(rows), dtype=kind)
        elif name in (_MOMENT, READY):
            columns[name] = _as_it_came(rows[name])
        elif name == TARGET:
            read = read_integers(rows[name])
            columns[name] = pl.Series(read.value).set(pl.Series(read.missing | read.bad), None)
        elif kind == pl.String:
            columns[name] = rows[name].cast(pl.String)
        else:
            columns[name] = audited.frame[name]
    return columns


def _as_it_came(cells: pl.Series) -> pl.Series:
    """Moments as text with the same meaning: texts and epochs as they are, datetimes in ISO form."""
    if isinstance(cells.dtype, pl.Date):
        cells = cells.cast(pl.Datetime("us"))
    if isinstance(cells.dtype, pl.Datetime):
        return moments_as_text(cells)
    if cells.dtype.is_float() or cells.dtype.is_decimal():
        utc = read_times(cells, np.zeros(len(cells), np.int32), ("UTC",)).utc
        return moments_as_text(pl.Series(utc).cast(pl.Datetime("us", "UTC"))).set(cells.is_null(), None)
    return cells.cast(pl.String)


def own_columns(names: Sequence[str]) -> list[str]:
    """The columns that go into the database: not those of a repaired file of rejects, nor those a table adds."""
    return [name for name in names if name not in (*ADDED, *REJECT_COLUMNS)]
