"""Score orders on Apache Spark: the same cells as `preptime score`, in as many workers as Spark has.

The workers call the scorer of `preptime score`. Rows don't stay in the order of the input, because Spark packs files
into tasks by size.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, resolve_bundle_id
from preptime.bundle.isolated_check import load_checked, manifest_sha256
from preptime.bundle.store import Store
from preptime.errors import DataError, OperationError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback, no_progress
from preptime.scoring.score_document import ScoreCounts, ScoreDocument
from preptime.scoring.score_file import require_scoring_columns
from preptime.scoring.travel_column import TravelColumn
from preptime.sources.frames import FrameSource
from preptime.sources.registry import open_source
from preptime.sources.results import SCORE_FILE
from preptime.spark.addresses import Address, check_names, read_rows
from preptime.spark.arrow_rows import from_arrow, map_batches
from preptime.spark.failures import spark_errors
from preptime.spark.output import open_output, staged_run
from preptime.spark.parquet_files import parquet_reader
from preptime.spark.session import check_settings, list_accumulator, require_pyspark
from preptime.spark.worker_bundles import OrderScorer, ScoringJob, scored_schema
from preptime.training.saved_state import encode_restaurants
from preptime.validation.restaurants import audit_restaurants

_ROWS_NAME = "the DataFrame"


def score(
    frame: Any,
    *,
    store: str | os.PathLike[str],
    bundle: str | None = None,
    restaurants: str | os.PathLike[str] | pl.DataFrame | None = None,
    explain: bool = False,
) -> Any:
    """Return the rows of a Spark DataFrame with prediction columns, for a job of your own.

    The columns are those of `preptime score` (docs/scoring.md), with the same values to the bit. Like all
    transformations of Spark, it's lazy: the workers score when the result is written or collected. Each worker process
    fetches the bundle once, so the store must be at the same address for all of them.

    Args:
        frame: Orders, with the columns of the bundle's schema. The time zone of the session must be UTC.
        store: Folder or URL of the store.
        bundle: ID of the bundle. Default: the champion.
        restaurants: Restaurants that the bundle may not know: a path or URL, or a Polars data frame.
        explain: Add the explanation columns.

    Returns:
        A Spark DataFrame.

    Raises:
        DataError: The orders lack a column that scoring requires, or have a reserved one.
        UsageError: PySpark isn't installed, the bundle is unknown, or the session has another time zone.
        BundleVerificationError: The bundle is damaged.
        StoreError: The store can't be read.

    Example:
        from preptime.spark import score

        scored = score(spark.read.parquet("gs://bucket/orders"), store="gs://bucket/models")
        scored.write.parquet("gs://bucket/scored")
    """
    require_pyspark()
    check_settings(frame.sparkSession, ("spark.sql.session.timeZone",))
    bundle_store = Store.open(os.fspath(store))
    opened = load_checked(bundle_store, resolve_bundle_id(bundle_store, bundle))
    job = scoring_job(frame, opened, bundle_store, restaurants=_read_restaurants(restaurants, opened), explain=explain)
    return scored_rows(frame, OrderScorer(job))


def score_orders(
    session: Any,
    orders: Address,
    out: str,
    bundle: Bundle,
    store: Store,
    *,
    restaurants: RestaurantIndex | None = None,
    travel: TravelColumn | None = None,
    explain: bool = False,
    progress: ProgressCallback = no_progress,
) -> ScoreDocument:
    """Score the orders at an address into a new folder below `out`, and write the document `score.json` last.

    Args:
        session: The Spark session.
        orders: Where the orders are.
        out: A folder or URL that all workers can write to.
        bundle: The bundle that predicts, which the store has.
        store: The store, which all workers can read.
        restaurants: Restaurants that the bundle may not know.
        travel: The column with travel times, for dispatch decisions.
        explain: Add the explanation columns.
        progress: Called at the start of each stage.

    Returns:
        The counts of the run. `out` is the folder of the rows.

    Raises:
        DataError: The orders can't be read, are empty, or lack a column.
        UsageError: The output is an input or a file, or the bundle has no explanations.
        OperationError: Spark failed, or the output can't be written. A previous output is unchanged.
    """
    output = open_output(session, out, SCORE_FILE, (orders,))
    frame = read_rows(session, orders)
    job = scoring_job(frame, bundle, store, name=orders.text, restaurants=restaurants, travel=travel, explain=explain)
    counts = ScoreCounts()
    progress("Scoring", 0.0)
    with staged_run(output) as run, spark_errors(f"Scoring {orders.text}"):
        task_counts = list_accumulator(session)
        run.write_parquet(scored_rows(frame, OrderScorer(job, task_counts)), subject=f"Scoring {orders.text}")
        for content in task_counts.value:
            counts.add_encoded(content)
        _check_counts(counts, orders, parquet_reader(session).parquet(run.address).count())
        document = counts.to_document(orders.text, run.address, bundle.manifest.id)
        run.publish(document)
    progress("Scoring", 1.0)
    return document


def select_bundle_id(store: Store, bundle_id: str | None, date: dt.date | None) -> str:
    """Return a bundle by its ID, or the champion as of a date, or else the champion. Raises `UsageError`."""
    if date is None:
        return resolve_bundle_id(store, bundle_id)
    if bundle_id is not None:
        raise UsageError(f"--bundle is {bundle_id}, and --date is {date}.", "Use one of both.")
    entry = ChampionLog(store).as_of(date)
    if entry is None:
        raise UsageError(f"{store.url} had no champion as of {date}.", "Use a later --date, or --bundle.")
    return entry.bundle


def scoring_job(
    frame: Any,
    bundle: Bundle,
    store: Store,
    *,
    name: str = _ROWS_NAME,
    restaurants: RestaurantIndex | None = None,
    travel: TravelColumn | None = None,
    explain: bool = False,
) -> ScoringJob:
    """Return how the workers score a DataFrame of Spark.

    Raises `DataError` if it lacks a column, and `UsageError` if the workers can't reach the store, or if the bundle has
    no explanations.
    """
    check_names(frame.columns, name)
    job = ScoringJob(
        _shared_address(store.url),
        bundle.manifest.id,
        manifest_sha256(bundle.manifest),
        name,
        is_canonical=_fits_only_canonical(frame.columns, bundle),
        restaurants=b"" if restaurants is None else encode_restaurants(restaurants, bundle.schema),
        travel_column=travel.name if travel else "",
        travel_level=travel.level if travel else 0.0,
        explains=explain,
    )
    columns = pl.DataFrame(schema=dict.fromkeys(frame.columns, pl.Null))
    require_scoring_columns(FrameSource(columns, job.schema(bundle), name), f"the schema of {bundle.manifest.id}")
    return job


def scored_rows(frame: Any, scorer: OrderScorer) -> Any:
    """Return the rows of a DataFrame of Spark with their prediction columns."""
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    schema = scored_schema(scorer.job, to_arrow_schema(frame.schema, timestamp_utc=True))
    return map_batches(frame, scorer, from_arrow_schema(schema, prefer_timestamp_ntz=True))


def read_restaurant_rows(session: Any, address: Address) -> pl.DataFrame:
    """Return the restaurants at an address, which Spark reads."""
    with spark_errors(f"Reading {address.text}"):
        return from_arrow(read_rows(session, address).toArrow())


def _read_restaurants(
    restaurants: str | os.PathLike[str] | pl.DataFrame | None, bundle: Bundle
) -> RestaurantIndex | None:
    if restaurants is None:
        return None
    if isinstance(restaurants, pl.DataFrame):
        return audit_restaurants(restaurants, bundle.schema).index
    source = open_source(os.fspath(restaurants), bundle.schema)
    return audit_restaurants(source.frame(), source.schema).index


def _fits_only_canonical(columns: list[str], bundle: Bundle) -> bool:
    """Return whether rows have the canonical columns, like the rows of a database, and not those of the schema."""
    fits = [
        {*columns}.issuperset(schema.required_columns("scoring").values())
        for schema in (bundle.schema, bundle.schema.canonical())
    ]
    return fits == [False, True]


def _shared_address(url: str) -> str:
    """Return the address of a store for workers, which run in other folders. Raises `UsageError` for one in memory."""
    scheme, separator, _ = url.partition("://")
    if scheme == "memory":
        raise UsageError(f"Workers can't reach the store {url}.", "Use a folder or a URL.")
    return url if separator else str(Path(url).absolute())


def _check_counts(counts: ScoreCounts, orders: Address, written: int) -> None:
    if not counts.rows:
        raise DataError(f"{orders.text} has no rows.", "Use at least one row.")
    if counts.rows != written:
        raise OperationError(
            f"{counts.rows:,} rows of {orders.text} were scored, and {written:,} were written.",
            "Run the command again.",
        )
