"""What `preptime spark score` does in the workers: score batches with one bundle per process. Imports no PySpark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import polars as pl

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.isolated_check import manifest_sha256
from preptime.bundle.manifest import refused_bundle_error
from preptime.bundle.store import Store
from preptime.schema.schema import Schema
from preptime.scoring.score_document import ScoreCounts
from preptime.scoring.score_file import make_scorer
from preptime.scoring.scorer import ChunkScorer, PassthroughColumns
from preptime.scoring.travel_column import TravelColumn
from preptime.sources.frames import FrameSource
from preptime.spark.arrow_rows import from_arrow, to_arrow
from preptime.training.saved_state import decode_restaurants

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]


class AddCounts(Protocol):
    """Spark's accumulator, which sends what a task adds to the driver, once for each task that succeeds."""

    def add(self, term: list[bytes]) -> None:
        """Add terms."""
        ...


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """How orders are scored. It travels to the workers, so it has only texts, numbers, and bytes."""

    store: str
    """The URL of the store, which the workers can reach."""
    bundle: str
    manifest_sha256: str
    """The hash of the bundle's manifest, as the driver checked it. The manifest has the hashes of all files."""
    orders: str
    """Where the orders are, for messages."""
    is_canonical: bool = False
    """Whether the rows have the canonical columns, and not those of the bundle's schema."""
    restaurants: bytes = b""
    """Other restaurants than those of the bundle (`encode_restaurants`), or nothing."""
    travel_column: str = ""
    travel_level: float = 0.0
    explains: bool = False

    @property
    def travel(self) -> TravelColumn | None:
        """The column with travel times, if the rows get dispatch columns."""
        return TravelColumn(self.travel_column, self.travel_level) if self.travel_column else None

    def schema(self, bundle: Bundle) -> Schema:
        """Return the schema of the rows."""
        return bundle.schema.canonical() if self.is_canonical else bundle.schema


@dataclass(frozen=True, slots=True)
class OrderScorer:
    """Scores the batches of a task. Spark sends it to the workers."""

    job: ScoringJob
    counts: AddCounts | None = None
    """Gets the counts of the task. Without it, nothing is counted."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of each batch with their prediction columns."""
        counts = ScoreCounts()
        for batch in batches:
            rows = from_arrow(batch)
            chunk = scorer_of(self.job, _frozen(rows.schema)).score(rows)
            counts.add(len(rows), chunk.p50_seconds, chunk.fallback_level, chunk.rejected, chunk.flags)
            counts.add_without_dispatch(chunk.without_dispatch)
            yield from to_arrow(chunk.frame).to_batches()
        if self.counts is not None and counts.rows:
            self.counts.add([counts.encode()])


def scored_schema(job: ScoringJob, schema: pa.Schema) -> pa.Schema:
    """Return the schema of the scored rows, by scoring no rows. Raises the errors of `scorer_of`."""
    rows = from_arrow(schema.empty_table())
    return to_arrow(scorer_of(job, _frozen(rows.schema)).score(rows).frame).schema


@lru_cache(maxsize=2)
def scorer_of(job: ScoringJob, columns: tuple[tuple[str, pl.DataType], ...]) -> ChunkScorer:
    """Return the scorer of a job for rows with these columns, made once in a process.

    Raises:
        DataError: The rows lack the column with travel times.
        UsageError: The store doesn't have the bundle, or the bundle has no explanations.
        BundleVerificationError: The bundle is damaged, or isn't the one that the driver checked.
    """
    bundle = bundle_of(job.store, job.bundle, job.manifest_sha256)
    rows = pl.DataFrame(schema=dict(columns))
    return make_scorer(
        FrameSource(rows, job.schema(bundle), job.orders),
        PassthroughColumns(rows.schema, for_csv=False),
        bundle,
        decode_restaurants(job.restaurants) if job.restaurants else None,
        job.travel,
        explain=job.explains,
    )


@lru_cache(maxsize=2)
def bundle_of(store: str, bundle_id: str, sha256: str) -> Bundle:
    """Return a bundle, opened once in a process, with every check: all hashes, and its golden orders.

    Each machine predicts the golden orders itself, because it may have another processor or other libraries.
    """
    bundle = fetch_verified(Store.open(store), bundle_id)
    found = manifest_sha256(bundle.manifest)
    if found != sha256:
        raise refused_bundle_error(f"{bundle_id}/manifest.json", f"SHA-256 {sha256}", found)
    return bundle


def _frozen(schema: pl.Schema) -> tuple[tuple[str, pl.DataType], ...]:
    return tuple(schema.items())
