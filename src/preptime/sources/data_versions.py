"""Which version of the data a run reads, where DVC keeps its versions: what a manifest says beside the fingerprint.

Only where DVC has recorded exactly these contents. A database, or a file that nobody versions, has no revision, so a
daily run's bundle never depends on the commit that it happens to be run at.

A snapshot: the orders of some days and the restaurants as they are now, as files that can be versioned.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.source import DataSource, batches_for_dates
from preptime.sources.writer import write_table
from preptime.validation.audit import audit_orders
from preptime.validation.audit_report import CheckReport, summarize_audit

DIRTY_SUFFIX = "+changes"
"""Behind a git revision: tracked files differed from it, other than what DVC itself writes while it runs."""
_DVC_PATHSPECS = (":(exclude)*dvc.lock", ":(exclude)*.dvc", ":(exclude)figures")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class DataRevisions:
    """Where data and code stood; None where nothing says so."""

    dvc: str | None = None
    """`md5:` and what DVC calls the orders' contents by, in its cache and its remotes."""
    git: str | None = None
    """The commit that was checked out."""


def find_revisions(orders: str) -> DataRevisions:
    """The revisions of the orders at an address: none unless it is a file that DVC knows with these contents."""
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
    """What DVC has written about a file: beside it, or in a pipeline's lock above it."""
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    files = [path.with_name(f"{path.name}.dvc"), *(folder / "dvc.lock" for folder in folders)]
    return [file.read_text(encoding="utf-8") for file in files if file.is_file()]


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # DVC's choice; it names contents, it guards nothing
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
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


ORDERS_FILE = "orders.parquet"
RESTAURANTS_FILE = "restaurants.parquet"
VALIDATION_FILE = "validation.json"
_CHUNK_ROWS = 250_000


class SnapshotDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot holds."""

    orders: int
    restaurants: int
    first_day: dt.date
    """Local days that were asked for, both included; likewise the last."""
    last_day: dt.date
    undated: int
    """Orders without a readable time, which are of no day: kept, for the audit to count."""
    out: str


def write_snapshot(
    order_source: DataSource,
    restaurant_source: DataSource,
    restaurants: RestaurantIndex,
    *,
    first: dt.date,
    last: dt.date,
    out: Path,
) -> SnapshotDocument:
    """Write the orders of the local days `first` to `last`, the restaurants and the audit's verdicts below `out`.

    Rows and columns as they came, in the table's order: the same contents give the same bytes. Each file appears whole
    or not at all. Raises `DataError` when there are no orders of these days.
    """
    undated = 0

    def chosen() -> Iterator[pl.DataFrame]:
        nonlocal undated
        for rows in batches_for_dates(order_source, first, last, _CHUNK_ROWS):
            order_dates = audit_orders(rows, restaurants, need_label=False).frame["acknowledged_local"].dt.date()
            undated += order_dates.null_count()
            yield _data_columns(rows.filter(order_dates.is_between(first, last).fill_null(value=True)))

    chunks = [chunk for chunk in chosen() if len(chunk)]
    if not chunks:
        raise DataError(f"{order_source.name} has no orders from {first} to {last}.", "Ask for days that have orders.")
    all_orders = pl.concat(chunks, how="vertical_relaxed")
    write_table(out / ORDERS_FILE, [all_orders])
    restaurant_rows = _data_columns(restaurant_source.frame())
    write_table(out / RESTAURANTS_FILE, [restaurant_rows])
    validation = _without_examples(
        summarize_audit(audit_orders(all_orders, restaurants, need_label=True), len(restaurants))
    )
    (out / VALIDATION_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(validation), indent=1) + b"\n")
    return SnapshotDocument(
        orders=len(all_orders),
        restaurants=len(restaurant_rows),
        first_day=first,
        last_day=last,
        undated=undated,
        out=str(out),
    )


def _data_columns(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(name for name in rows.columns if name not in READER_COLUMNS)


def _without_examples(report: CheckReport) -> CheckReport:
    """Counts alone: examples are for people, and a versioned file of metrics should not hold anybody's orders."""
    return msgspec.structs.replace(report, examples=())
