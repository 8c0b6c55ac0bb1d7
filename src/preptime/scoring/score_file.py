"""Scores a file: each row is written in order, with a prediction or a reason (decision 4)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.domain.data_dictionary import require_columns
from preptime.errors import DataError, OperationError, UsageError, panic_as_error
from preptime.features.kitchen import KitchenReplay, concatenate_events
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback
from preptime.schema.schema import Schema
from preptime.schema.toml_file import assumed_origin
from preptime.scoring.score_document import ScoreCounts, ScoreDocument
from preptime.scoring.scorer import (
    ChunkScorer,
    PassthroughColumns,
    TimestampFormatter,
    differing_restaurants,
    has_place,
    restaurants_for,
)
from preptime.scoring.travel_column import TravelColumn
from preptime.sources.parallel import map_in_order
from preptime.sources.registry import open_source
from preptime.sources.source import DataSource, estimate_rows
from preptime.sources.writer import write_table
from preptime.validation.audit import AuditedOrders, audit_orders, has_labels, to_kitchen_events
from preptime.validation.duplicates import hash_identities, identity_columns, isin_sorted

CHUNK_ROWS = 50_000
"""Large enough that the cost per chunk is negligible, small enough to keep memory low."""
MAX_WORKERS = 16
"""One reader and one writer can't keep more workers busy. Each worker holds a chunk."""

_OS_ERROR = re.compile(r"([^:\s][^:]*) \(os error \d+\)")


@panic_as_error()
def score_file(
    source: str,
    out: Path,
    bundle: Bundle,
    *,
    restaurants: RestaurantIndex | None = None,
    schema: Schema | None = None,
    travel: TravelColumn | None = None,
    live: bool = False,
    explain: bool = False,
    progress: ProgressCallback | None = None,
    chunk_rows: int = CHUNK_ROWS,
    workers: int | None = None,
) -> ScoreDocument:
    """Score the orders at `source` into the file `out`.

    `out` is written atomically. It has the rows and columns of `source`, unchanged and in order, followed by the
    prediction columns, which replace those of an earlier run in place. Memory holds `workers` + 1 chunks.

    Args:
        source: Path, folder, or glob of CSV or Parquet files.
        out: CSV or Parquet file, by its suffix.
        bundle: The bundle that predicts.
        restaurants: Describes restaurants that the bundle doesn't know.
        schema: The schema of the orders. Default: the bundle's.
        travel: The column with travel times, for dispatch decisions.
        live: Predict with the live model. The states of kitchens are replayed from `source`, which is read twice.
        explain: Add the explanation columns: why each order has its p50.
        progress: Called with the share of rows, possibly from another thread.
        chunk_rows: Rows scored at a time. Changes no value, like `workers`.
        workers: Number of threads. Default: the number of CPUs, from 2 to `MAX_WORKERS`.

    Returns:
        The counts of the run.

    Raises:
        DataError: The source can't be read, is empty, or lacks a column.
        UsageError: The output has another suffix or is an input, or the bundle has no live model or no explanations.
        OperationError: Writing failed.
    """
    orders = open_orders(source, schema or bundle.schema, bundle.manifest.id)
    _check_output_is_not_input(orders, out)
    passthrough = PassthroughColumns.from_source(orders, for_csv=out.suffix.lower() == ".csv")
    scorer = make_scorer(orders, passthrough, bundle, restaurants, travel, explain=explain)
    if live:
        scorer = replace(scorer, kitchens=replay_kitchens(orders, scorer.restaurants, bundle, chunk_rows))
    counts, report_rows = ScoreCounts(), row_progress(orders, "Scoring", progress)

    def iter_scored() -> Iterator[pl.DataFrame]:
        with closing(map_in_order(orders.batches(chunk_rows), scorer.score, worker_count(workers))) as chunks:
            for chunk in chunks:
                counts.add(len(chunk.frame), chunk.p50_seconds, chunk.fallback_level, chunk.rejected, chunk.flags)
                counts.add_without_dispatch(chunk.without_dispatch)
                report_rows(counts.rows)
                yield chunk.frame

    write_scored(out, iter_scored(), orders.schema.source.delimiter)
    if progress:
        progress("Scoring", 1.0)
    return counts.to_document(orders.name, out, bundle.manifest.id)


def make_scorer(
    orders: DataSource,
    passthrough: PassthroughColumns,
    bundle: Bundle,
    restaurants: RestaurantIndex | None = None,
    travel: TravelColumn | None = None,
    *,
    explain: bool = False,
) -> ChunkScorer:
    """Return the scorer of the chunks of `orders` (`score_file`)."""
    if travel is not None:
        travel.check(orders)
    if explain:
        bundle.require_explanations()
    differing = differing_restaurants(bundle.history.restaurants, restaurants)
    return ChunkScorer(
        bundle,
        passthrough,
        TimestampFormatter(),
        restaurants_for(bundle, restaurants),
        orders.schema,
        differing,
        flags_rows=len(differing) > 0 or has_place(orders.columns, orders.schema),
        travel=travel,
        explains=explain,
    )


def open_orders(source: str, schema: Schema, bundle_id: str = "") -> DataSource:
    """Open orders for scoring. Raises `DataError` if they can't be read or lack a column that scoring requires.

    `bundle_id` is the bundle with the schema, for messages.
    """
    orders = open_source(source, schema)
    require_scoring_columns(orders, f"the schema of {bundle_id}" if bundle_id else "")
    return orders


def require_scoring_columns(orders: DataSource, origin: str = "") -> None:
    """Raise `DataError` if orders lack a column that scoring requires. `origin` says where their schema is from."""
    schema = orders.schema
    names = schema.required_columns("scoring")
    require_columns(orders.columns, names, orders.name, origin=origin or assumed_origin(schema))


def row_progress(source: DataSource, stage: str, progress: ProgressCallback | None) -> Callable[[int], None]:
    """Return a function that reports a number of rows of `source` as a share of all of them."""
    expected_rows = estimate_rows(source) if progress else 0

    def report_rows(rows: int) -> None:
        if progress and expected_rows:
            progress(stage, min(rows / expected_rows, 1.0))

    return report_rows


def worker_count(requested: int | None) -> int:
    """Return the number of scoring threads: `requested`, or a default for this machine."""
    return requested or max(2, min(os.cpu_count() or 1, MAX_WORKERS))


def write_scored(out: Path, chunks: Iterator[pl.DataFrame], delimiter: str) -> None:
    """Write scored chunks atomically. Raises `OperationError` if the file can't be written."""
    try:
        write_table(out, chunks, delimiter=delimiter)
    except (OSError, pl.exceptions.PolarsError) as error:  # an error while reading is a DataError
        reason = _os_error_message(error)
        if reason is None:
            raise
        raise OperationError(
            f"{out} couldn't be written: {reason}.", "No partial file was left. Free up disk space, then score again."
        ) from error


def _os_error_message(error: Exception) -> str | None:
    """Return the operating system's message, also from a Polars error, or None if there is none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    matched = _OS_ERROR.search(str(error))
    return matched[1] if matched else None


def _check_output_is_not_input(source: DataSource, out: Path) -> None:
    """Raise `UsageError` if the output is an input, or is in a folder that the next run would read."""
    target = out.resolve()
    inputs = {Path(part.name).resolve() for part in source.partitions()}
    folder = Path(source.name)
    if target in inputs or (folder.is_dir() and target.is_relative_to(folder.resolve())):
        raise UsageError(
            f"The output {out} would be one of the inputs of {source.name}.", "Write to another folder: --out."
        )


def replay_kitchens(
    orders: DataSource, restaurants: RestaurantIndex, bundle: Bundle, chunk_rows: int = CHUNK_ROWS
) -> KitchenReplay:
    """Return the states of the kitchens of all orders in a data source, which is read completely.

    An order that is repeated in the data source counts once. Memory holds 48 bytes per order.

    Raises:
        UsageError: The bundle has no live model.
        DataError: The orders have no outcomes, so the state of a kitchen isn't known.
    """
    if not bundle.has_live_model:
        raise UsageError(
            f"The bundle {bundle.manifest.id} has no live model.",
            "Omit --live, or use a bundle that has one (--bundle). Training includes it where it's better.",
        )
    opening_times = np.full(len(restaurants), np.nan)  # they don't affect the events
    parts, has_outcomes, seen = [], False, _SeenOrders()
    for chunk in orders.batches(chunk_rows):
        audited = audit_orders(chunk, restaurants, need_label=True, opening_times=opening_times, schema=orders.schema)
        has_outcomes = has_outcomes or has_labels(chunk, orders.schema)
        parts.append(to_kitchen_events(seen.drop_repeated(audited)))
    if not has_outcomes:
        raise DataError(
            f"The orders of {orders.name} have no outcomes, so every order of the latest 3 hours would count as open.",
            "Omit --live, or add the ready times of earlier orders.",
        )
    return KitchenReplay.from_events(concatenate_events(parts))


@dataclass(frozen=True, slots=True)
class _SeenOrders:
    """Hashes of the orders of earlier chunks."""

    parts: list[NDArray[np.uint64]] = field(default_factory=list)
    """Ascending arrays, longest first. Arrays of similar lengths are merged, so there are few, and few are copied."""

    def drop_repeated(self, audited: AuditedOrders) -> AuditedOrders:
        """Return the orders that weren't in earlier chunks, and remember them."""
        rows, keys = hash_identities(identity_columns(audited.frame))
        hashes, positions = np.unique(keys, return_inverse=True)  # searching for ascending values is ten times faster
        is_repeated = np.zeros(len(hashes), np.bool_)
        for part in self.parts:
            is_repeated |= isin_sorted(hashes, part)
        added = hashes[~is_repeated]
        while self.parts and len(self.parts[-1]) <= len(added):
            added = np.sort(np.concatenate([self.parts.pop(), added]), kind="stable")
        self.parts.append(added)
        is_kept = np.ones(len(audited), np.bool_)
        is_kept[rows[is_repeated[positions]]] = False
        return replace(audited, frame=audited.frame.filter(pl.Series(is_kept)))
