"""Load orders of files into a database: separate rows that can be stored from rows that must be repaired first.

Rejected rows are written to a CSV file, chunk by chunk. The file appears when it's complete, unless it would be empty.
"""

from __future__ import annotations

import secrets
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
from preptime.domain.data_dictionary import READER_COLUMNS, TARGET, require_columns
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.domain.validation_reasons import ValidationReason, reasons_in_mask
from preptime.errors import OperationError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import CustomFeature, Schema
from preptime.schema.toml_file import assumed_origin
from preptime.sources.database import Database, LoadResult, NoStorableRowsError
from preptime.sources.database_schema import (
    ORDER_COLUMNS,
    ORDER_SCHEMA,
    RESTAURANT_ID,
    canonical_names,
    encode_extra,
    encode_features,
    feature_cells,
    stored_name,
    stored_time,
)
from preptime.sources.source import DataSource, concat_files, estimate_rows, file_of
from preptime.sources.writer import write_table
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import REJECT_COLUMNS, iter_rejects, rejected_rows
from preptime.validation.cell_text import to_csv_cells
from preptime.validation.duplicates import order_id_texts, order_keys
from preptime.validation.parsing import (
    ParsedIntegers,
    ParsedTimestamps,
    decode_text,
    parse_durations,
    parse_timestamps,
)
from preptime.validation.restaurant_ids import restaurant_id_texts
from preptime.validation.restaurants import RESTAURANT_ATTRIBUTES, order_time_zones
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
_KEY_NOUNS = {"order_value": "value", "number_of_items": "items"}


def write_rejects(audited: AuditedOrders, path: Path) -> int:
    """Write the rejected rows unchanged, each with its file, row, reasons, and expected content.

    Returns the number of rows. You can repair the file and read it again: readers ignore its additional columns, except
    `reject_surplus`, which must be empty.
    """
    return write_table(path, iter_rejects(audited, rejected_rows(audited)))


class RejectsWriter:
    """A CSV file of rejected rows, unchanged, each with its file, row, reasons, and expected content.

    Use it in a `with` statement. The file appears when the block ends without an error or with `NoStorableRowsError`,
    which means that every row was rejected. Raises `OperationError` if the file can't be written. If that happens only
    when the block ends, the rows are kept in a file next to it, which the error names.
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
        # `add` finds a folder that can't be written, also before the load: without rejected rows, it isn't needed.
        if self.path.is_dir():
            raise OperationError(
                f"The rejected rows can't be written to {self.path}: it's a folder.",
                "No orders were loaded. Choose a file with --rejects.",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._columns and (kind is None or issubclass(kind, NoStorableRowsError)):
            try:
                self._temporary_path.replace(self.path)
            except OSError as problem:
                raise self._keep_rows(problem, loaded=kind is None) from problem
        self._temporary_path.unlink(missing_ok=True)
        forget_temporary(self._temporary_path)

    def _keep_rows(self, problem: OSError, *, loaded: bool) -> OperationError:
        """Keep the rows under a visible name, because the next writer removes the hidden file."""
        kept = self.path.with_name(f"{self.path.stem}-{secrets.token_hex(4)}{self.path.suffix}")
        hint = f"They are in {kept}. Correct them and load that file."
        try:
            self._temporary_path.replace(kept)
        except OSError:
            hint = f"They are in {self._temporary_path}. Copy that file, because the next run removes it."
        forget_temporary(self._temporary_path)
        result = "The other orders were loaded" if loaded else "No orders were loaded"
        return OperationError(
            f"{result}, but the rejected rows couldn't be written to {self.path}: {problem.strerror}.",
            hint,
        )

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
    schema = source.schema
    _require_order_columns(source)
    expected_rows = estimate_rows(source)

    def prepared() -> Iterator[pl.DataFrame]:
        rows_done = 0
        for rows in source.batches(CHUNK_ROWS):
            chunk = prepare_chunk(rows, restaurants, schema)
            rejects.add(chunk.rejected)
            rows_done += len(rows)
            if expected_rows:
                progress("Reading and copying", min(rows_done / expected_rows, 1.0))
            yield chunk.storable

    names = _stored_names(source.columns, schema)
    features = [feature.name for feature in _present_features(source.columns, schema)]
    return database.load_orders(prepared(), list(names.values()), progress, features=features)


def _require_order_columns(source: DataSource) -> None:
    columns = source.schema.required_columns("scoring")
    require_columns(source.columns, columns, source.name, origin=assumed_origin(source.schema))


def read_restaurant_columns(source: DataSource) -> pl.DataFrame:
    """Return all orders with only the columns that restaurants are derived from.

    Raises `DataError` if files have incompatible types.
    """
    schema = source.schema
    columns = {schema.orders[name].column for name in (*RESTAURANT_ATTRIBUTES, RESTAURANT_ID) if schema.has(name)}
    columns |= {*schema.restaurants.columns.values(), *(feature.column for feature in schema.restaurant_features)}
    names = [name for name in source.columns if name in columns]
    return concat_files(source, ((file_of(rows), rows.select(names)) for rows in source.batches(CHUNK_ROWS)))


def _stored_names(columns: Sequence[str], schema: Schema) -> dict[str, str]:
    """Return the name in a database of each column of a file that isn't only a custom feature."""
    mapped = {mapping.column: name for name, mapping in schema.orders.items()}
    return canonical_names(data_columns(columns), mapped, ORDER_COLUMNS, schema.order_features)


def _present_features(columns: Sequence[str], schema: Schema) -> list[CustomFeature]:
    return [feature for feature in schema.order_features if feature.column in columns]


def prepare_chunk(rows: pl.DataFrame, restaurants: RestaurantIndex, schema: Schema) -> PreparedChunk:
    """Separate the rows of a chunk into rows that can and can't be stored."""
    audited = audit_orders(rows, restaurants, need_label=False, schema=schema)
    names = _stored_names(rows.columns, schema)
    cells = rows.select(*names).rename(names)
    ready_times = _parse_ready_times(cells, audited, restaurants)
    keys = order_keys(audited.frame)
    findings = _find_storage_problems(cells, audited, ready_times, keys)
    is_storable = pl.Series(findings.reason_masks == 0)
    columns = _derived_columns(audited, ready_times, keys) | _declared_columns(cells, audited, ready_times)
    extra_columns = [name for name in cells.columns if name not in ORDER_COLUMNS]
    objects = _feature_objects(rows, schema), encode_extra(cells, extra_columns)
    storable = pl.DataFrame(columns).with_columns(objects).select(ORDER_SCHEMA.names())
    rejected = AuditedOrders(
        rows, audited.frame.with_columns(reasons=pl.Series(findings.reason_masks)), findings.sorted_findings(), schema
    )
    return PreparedChunk(storable.cast(ORDER_SCHEMA).filter(is_storable), rejected)


def _feature_objects(rows: pl.DataFrame, schema: Schema) -> pl.Series:
    """Return [N] the custom features of each order as a JSON object."""
    features = _present_features(rows.columns, schema)
    columns = [feature_cells(rows[feature.column], feature, schema) for feature in features]
    return encode_features(pl.DataFrame(columns) if columns else rows, [feature.name for feature in features])


def _parse_ready_times(
    cells: pl.DataFrame, audited: AuditedOrders, restaurants: RestaurantIndex
) -> ParsedTimestamps | None:
    if READY_COLUMN not in cells.columns:
        return None
    keys = audited.frame[RESTAURANT_ID].fill_null(UNKNOWN_RESTAURANT_KEY).to_numpy()
    zones = order_time_zones(cells, restaurants.positions(keys), restaurants)
    return parse_timestamps(cells[READY_COLUMN], *zones, audited.schema.column(READY_COLUMN).timestamp_format)


def _find_storage_problems(
    cells: pl.DataFrame, audited: AuditedOrders, ready: ParsedTimestamps | None, keys: pl.Series
) -> FindingCollector:
    """Return the findings that prevent rows from being stored. `cells` have canonical names."""
    findings, orders = FindingCollector(len(cells)), audited.schema.orders
    for finding in audited.findings:
        if finding.reason in _UNSTORABLE_REASONS:
            findings.add(finding.reason, finding.column, _row_mask(finding, len(cells)), finding.expected)
    if ready is not None:
        expected = f"a time, {_OR_UNKNOWN}"
        findings.add(ValidationReason.UNPARSABLE_TIME, orders[READY_COLUMN].column, ready.invalid, expected)
    if TARGET in cells.columns:
        is_invalid = _parse_target(cells, audited).invalid
        expected = f"a whole number, {_OR_UNKNOWN}"
        findings.add(ValidationReason.UNPARSABLE_NUMBER, orders[TARGET].column, is_invalid, expected)
    has_no_reason = findings.reason_masks == 0
    is_undated = audited.frame["acknowledged_utc"].is_null().to_numpy() & has_no_reason
    expected = "a time, which determines the order's day"
    findings.add(ValidationReason.MISSING_VALUE, orders[_ACKNOWLEDGED_AT].column, is_undated, expected)
    id_column = "order_id" if "order_id" in cells.columns else RESTAURANT_ID
    has_no_key = keys.is_null().to_numpy() & has_no_reason & ~is_undated
    findings.add(ValidationReason.MISSING_VALUE, orders[id_column].column, has_no_key, _expected_key(audited.schema))
    for column in audited.raw.columns:
        texts = decode_text(audited.raw[column])
        if texts.dtype == pl.String:
            has_nul = texts.str.contains("\0", literal=True).fill_null(value=False).to_numpy()
            findings.add(ValidationReason.MALFORMED_LINE, column, has_nul, "text without a NUL character")
    return findings


def _expected_key(schema: Schema) -> str:
    nouns = ["restaurant", "time", *(noun for name, noun in _KEY_NOUNS.items() if schema.has(name))]
    values = f"all of {', '.join(nouns[:-1])}, and {nouns[-1]}" if len(nouns) > 2 else "both restaurant and time"
    return f"an order_id, or {values}"


def _parse_target(cells: pl.DataFrame, audited: AuditedOrders) -> ParsedIntegers:
    return parse_durations(cells[TARGET], audited.schema.column(TARGET).number_format)


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


def _declared_columns(
    cells: pl.DataFrame, audited: AuditedOrders, ready: ParsedTimestamps | None
) -> dict[str, pl.Series]:
    """Return the declared columns in their types and canonical units. Columns that the audit has parsed are reused."""
    columns = {}
    formats = {name: audited.schema.column(name).timestamp_format for name in audited.schema.orders}
    for name, dtype in ORDER_COLUMNS.items():
        if name not in cells.columns:
            columns[name] = pl.Series([None] * len(cells), dtype=dtype)
        elif name == _ACKNOWLEDGED_AT:
            times = audited.frame["acknowledged_local"], audited.frame["acknowledged_utc"]
            columns[name] = stored_time(cells[name], formats[name], *times)
        elif name == READY_COLUMN and ready is not None:
            is_unknown = pl.Series(ready.missing | ready.invalid)
            local, utc = (pl.Series(times).set(is_unknown, None) for times in (ready.local, ready.utc))
            stored = stored_time(cells[name], formats[name], local, utc)
            # A word such as NULL means a missing time. As text, it would replace a known time.
            columns[name] = stored.set(pl.Series(ready.missing), None)
        elif name == TARGET:
            parsed = _parse_target(cells, audited)
            columns[name] = pl.Series(parsed.values).set(pl.Series(parsed.missing | parsed.invalid), None)
        elif name == RESTAURANT_ID:
            columns[name] = restaurant_id_texts(cells[name])
        elif name == "order_id":
            columns[name] = order_id_texts(cells[name])
        elif dtype == pl.String:
            columns[name] = stored_name(cells[name])
        else:
            columns[name] = audited.frame[name]
    return columns


def data_columns(names: Sequence[str]) -> list[str]:
    """Return the columns to store: without reader columns and the additional columns of a file of rejected rows."""
    return [name for name in names if name not in (*READER_COLUMNS, *REJECT_COLUMNS)]
