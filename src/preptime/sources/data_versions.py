"""Data versions: the DVC and git revisions of the orders, and snapshots of a database as files to version.

Only an orders file that DVC has recorded with exactly these contents has revisions. A database or an unversioned file
has none, so the bundle of a daily run never depends on the checked-out commit. See docs/data-versions.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from preptime.atomic_write import write_bytes
from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.errors import DataError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import ModelSettings, Schema
from preptime.schema.toml_text import schema_to_toml
from preptime.sources.source import DataSource, batches_for_dates, concat_files, file_of
from preptime.sources.writer import write_table
from preptime.validation.audit import audit_orders
from preptime.validation.audit_report import CheckReport, summarize_audit
from preptime.validation.derived_restaurants import restaurants_to_frame

ORDERS_FILE = "orders.parquet"
RESTAURANTS_FILE = "restaurants.parquet"
SCHEMA_FILE = "schema.toml"
VALIDATION_FILE = "validation.json"
DIRTY_SUFFIX = "+changes"
"""Appended to a git revision if tracked files are modified, except for files that DVC itself writes while it runs."""
_DVC_PATHSPECS = (":(exclude)*dvc.lock", ":(exclude)*.dvc", ":(exclude)metrics")
_BLOCK_BYTES = 1 << 20
_CHUNK_ROWS = 250_000


@dataclass(frozen=True)
class DataRevisions:
    """The revisions of data and code, or None where they are unknown."""

    dvc: str | None = None
    """`md5:` and the hash that identifies the orders file in the cache and the remotes of DVC."""
    git: str | None = None
    """The checked-out commit."""


def find_revisions(orders: str) -> DataRevisions:
    """Return the revisions of the orders at an address, if it's a file that DVC has recorded with these contents."""
    path = Path(orders)
    if "://" in orders or not path.is_file():
        return DataRevisions()
    root = next((folder for folder in path.resolve().parents if (folder / ".dvc").is_dir()), None)
    if root is None:
        return DataRevisions()
    digest = _md5(path)
    if not any(digest in record for record in _dvc_records(path.resolve(), root)):
        return DataRevisions()
    return DataRevisions(f"md5:{digest}", _git_revision(root))


def _dvc_records(path: Path, root: Path) -> list[str]:
    """Return the records of DVC that can contain a file: `NAME.dvc`, and `dvc.lock` in the folders above."""
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    files = [path.with_name(f"{path.name}.dvc"), *(folder / "dvc.lock" for folder in folders)]
    return [file.read_text(encoding="utf-8") for file in files if file.is_file()]


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # DVC uses MD5 to identify contents, not for security
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _git_revision(root: Path) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    head = _git_output(git, root, "rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    changed = _git_output(git, root, "status", "--porcelain", "--untracked-files=no", "--", ".", *_DVC_PATHSPECS)
    return head + (DIRTY_SUFFIX if changed else "")


def _git_output(git: str, root: Path, *arguments: str) -> str | None:
    process = subprocess.run([git, "-C", root, *arguments], capture_output=True, encoding="utf-8", check=False)
    return process.stdout.strip() if process.returncode == 0 else None


class SnapshotDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The contents of a snapshot."""

    orders: int
    restaurants: int
    first_day: dt.date
    """The first requested local day."""
    last_day: dt.date
    """The last requested local day, included."""
    undated: int
    """Number of orders without a valid time. They belong to no day, but are kept so that the audit counts them."""
    out: str


def write_snapshot(
    order_source: DataSource,
    restaurant_source: DataSource | None,
    restaurants: RestaurantIndex,
    *,
    first: dt.date,
    last: dt.date,
    out: Path,
) -> SnapshotDocument:
    """Write the orders of the days `first` to `last`, the restaurants, their schema, and the audit report to a folder.

    The files are in `out`. Rows and columns are unchanged and in the order of the source, so the same contents produce
    the same bytes. Without a source of restaurants, `restaurants` are written. Classes of custom models aren't part of
    the data: the schema has their paths relative to `out`. Each file is written atomically. The audit report is removed
    first and written last, so that it belongs to the other files. Raises `UsageError` if `first` is after `last`, and
    `DataError` if there are no orders on these days.
    """
    if first > last:
        raise UsageError(f"The snapshot starts on {first} and ends on {last}.", f"Use --to {first} or later.")
    undated, schema = 0, order_source.schema

    def selected_orders() -> Iterator[tuple[str, pl.DataFrame]]:
        nonlocal undated
        for rows in batches_for_dates(order_source, first, last, _CHUNK_ROWS):
            order_dates = (
                audit_orders(rows, restaurants, need_label=False, schema=schema).frame["acknowledged_local"].dt.date()
            )
            undated += order_dates.null_count()
            selected = rows.filter(order_dates.is_between(first, last).fill_null(value=True))
            yield file_of(rows), _data_columns(selected)

    chunks = [chunk for chunk in selected_orders() if len(chunk[1])]
    if not chunks:
        raise DataError(f"{order_source.name} has no orders from {first} to {last}.", "Choose days that have orders.")
    all_orders = concat_files(order_source, chunks)
    validation_path = out / VALIDATION_FILE
    validation_path.unlink(missing_ok=True)
    write_table(out / ORDERS_FILE, [all_orders])
    if restaurant_source is None:
        restaurant_rows, restaurant_columns = restaurants_to_frame(restaurants), schema.canonical().restaurants
    else:
        restaurant_rows = _data_columns(restaurant_source.frame())
        restaurant_columns = restaurant_source.schema.restaurants
    write_table(out / RESTAURANTS_FILE, [restaurant_rows])
    validation = _without_examples(
        summarize_audit(audit_orders(all_orders, restaurants, need_label=True, schema=schema), len(restaurants))
    )
    snapshot_schema = msgspec.structs.replace(
        schema, restaurants=restaurant_columns, models=_models_relative_to(out, schema)
    )
    write_bytes(out / SCHEMA_FILE, schema_to_toml(snapshot_schema).encode())
    write_bytes(validation_path, msgspec.json.format(msgspec.json.encode(validation), indent=1) + b"\n")
    return SnapshotDocument(
        orders=len(all_orders),
        restaurants=len(restaurant_rows),
        first_day=first,
        last_day=last,
        undated=undated,
        out=str(out),
    )


def _models_relative_to(out: Path, schema: Schema) -> dict[str, ModelSettings]:
    """Return the settings of the models, with the paths of their classes relative to the folder of the snapshot."""
    models = dict(schema.models)
    for name, settings in models.items():
        file, _, class_name = settings.source.rpartition(":")
        if file and not Path(file).is_absolute():
            path = Path(settings.origin).parent / file
            try:
                relative = Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
            except ValueError:  # another drive of Windows
                relative = path.resolve().as_posix()
            models[name] = msgspec.structs.replace(settings, source=f"{relative}:{class_name}")
    return models


def _data_columns(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(name for name in rows.columns if name not in READER_COLUMNS)


def _without_examples(report: CheckReport) -> CheckReport:
    """Remove the examples, because a versioned file of metrics must not contain orders of customers."""
    return msgspec.structs.replace(report, examples=())
