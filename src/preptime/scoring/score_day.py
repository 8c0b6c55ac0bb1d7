"""Which bundle answers for a day: the champion as of its logical date, or the newest before it that opens (D8).

Scoring a day: the orders of one local date that a table has, answered by the champion of that morning (D8).
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import msgspec
import polars as pl

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import bundle_date
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import ORDERS_DICTIONARY, OUTCOME_COLUMNS, require_columns, required_columns
from preptime.errors import BundleVerificationError, OperationError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.score_document import ScoreCounts
from preptime.scoring.score_file import CHUNK_ROWS, ProgressCallback, map_in_order, worker_count
from preptime.scoring.scorer import ChunkScorer, PassthroughColumns, TimestampFormatter, restaurants_for
from preptime.sources.results import PREDICTIONS_FILE, SCORE_FILE, ResultsFolder
from preptime.sources.source import DataSource, batches_for_dates, estimate_rows
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import ORDER_KEY as KEY
from preptime.validation.duplicates import order_keys


@dataclass(frozen=True, slots=True)
class SkippedBundle:
    """A champion of the day that does not open, and why."""

    bundle: str
    reason: str


@dataclass(frozen=True, slots=True)
class SelectedBundle:
    """The bundle that answers; None where nobody was champion by then."""

    bundle: Bundle | None
    skipped: tuple[SkippedBundle, ...] = ()


class _ScoredBundle(msgspec.Struct):
    """All that is read of a day's `score.json`."""

    bundle: str | None


def select_champion(store: Store, day: dt.date, results: ResultsFolder) -> SelectedBundle:
    """The champion of the morning of `day`, whatever was promoted for later mornings.

    While it is the newest champion, one that does not open is passed over for the one that a rollback would return to:
    this morning's orders with answers of yesterday's champion are better than without, and what was passed over is
    said. Not so where `results` has answers of another bundle for the day, nor where champions of later mornings
    followed: there it can only have been pruned or damaged since, nobody is waiting, and training its morning again
    gives the same bundle back. Raises `UsageError` then, `BundleVerificationError` when none of them opens.
    """
    log, skipped = ChampionLog(store), list[SkippedBundle]()
    newest = entry = log.as_of(day)
    while entry is not None:
        try:
            bundle = fetch_verified(store, entry.bundle)
        except (BundleVerificationError, UsageError) as error:  # the latter: it is gone from the store
            current = log.current()
            if current is not None and current != newest:
                failed = SkippedBundle(entry.bundle, error.facts)
                raise _other_bundle_error(
                    day, failed, f"{current.bundle} is champion by now, so that day is past"
                ) from error
            if entry.bundle not in {skipped_bundle.bundle for skipped_bundle in skipped}:
                skipped.append(SkippedBundle(entry.bundle, error.facts))
            entry = log.rollback_target(entry)
            continue
        if skipped:
            scored_by = _scored_by(results, day)
            if scored_by not in {None, entry.bundle}:
                raise _other_bundle_error(day, skipped[0], f"the results of that day are answers of {scored_by}")
        return SelectedBundle(bundle, tuple(skipped))
    if skipped:
        raise BundleVerificationError(
            f"No champion up to {day} opens. {' '.join(f'{skipped_bundle.bundle}: {skipped_bundle.reason}' for skipped_bundle in skipped)}",
            "Restore the bundle from a copy of the store, or run preptime train --date "
            f"{bundle_date(skipped[0].bundle)} again.",
        )
    return SelectedBundle(None)


def _other_bundle_error(day: dt.date, failed: SkippedBundle, reason: str) -> UsageError:
    return UsageError(
        f"{failed.bundle}, the champion of the morning of {day}, does not open: {failed.reason} Another bundle's answers are "
        f"not put in its place: {reason}.",
        f"Run preptime train --date {bundle_date(failed.bundle)} again first: the same content has the same id. Or name "
        "another bundle that shall answer (--bundle).",
    )


def _scored_by(results: ResultsFolder, day: dt.date) -> str | None:
    """The bundle of the day's results, if it has any."""
    path = results.path(day, SCORE_FILE)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ScoredBundle).bundle
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OperationError(
            f"{path} cannot be read, so it is not known whose answers the day has: {error}.",
            "Repair or remove it, then run again.",
        ) from error


def select_bundle(store: Store, bundle_id: str, day: dt.date) -> SelectedBundle:
    """The bundle that a person names for a day. Raises `UsageError` when it knows more than that morning did."""
    bundle = fetch_verified(store, bundle_id)
    if bundle.manifest.date > day:
        raise UsageError(
            f"{bundle_id} is of {bundle.manifest.date} and knows what happened after the morning of {day}.",
            "Take a bundle of that morning or an earlier one.",
        )
    return SelectedBundle(bundle)


FORMAT = 1
"""The format of `score.json`: docs/daily-run.md."""

DayScoreOutcome = Literal["scored", "no_orders", "no_champion"]

WritePredictions = Callable[[dt.date, str, pl.DataFrame], int]
"""Replaces a day's predictions by a bundle somewhere else; the rows written."""


class DayScoreDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`score.json`, and the document of `score --date --json`. No clock, no path: the same contents, the same bytes."""

    format: int = FORMAT
    date: dt.date
    outcome: DayScoreOutcome
    """scored: predictions.parquet is there. no_orders, no_champion: it is not, and that is no failure."""
    bundle: str | None
    """The champion as of `date` that answers."""
    history_date: dt.date | None
    """The morning whose history the answers stand on; before `date` when that morning's training is missing."""
    skipped_bundles: tuple[str, ...]
    """Champions as of `date`, newest first, that failed verification, so that an earlier one answers."""
    orders: int
    """Orders acknowledged on the local date, each once."""
    duplicate_rows: int
    """Rows that were one of these orders again."""
    predicted: int
    rejected: dict[str, int]
    """Orders without a prediction, by the reason written beside them."""
    fallback_level: dict[str, int]
    """Predictions by the level of history behind them, finest first."""
    median_predicted_seconds: int | None


@dataclass(frozen=True)
class DayOrders:
    """The orders of one local date, by moment of acknowledgement, then key; what the date's rows looked like."""

    rows: pl.DataFrame
    keys: pl.Series
    duplicate_rows: int
    unreadable_time_rows: int
    """Rows of the table whose time cannot be read: they are of no day."""


def score_day(
    source: DataSource,
    day: dt.date,
    selected: SelectedBundle,
    restaurants: RestaurantIndex,
    results: ResultsFolder,
    *,
    write_predictions: WritePredictions | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[DayScoreDocument, DayOrders]:
    """Write the partition of `day`: `predictions.parquet`, then `score.json`, each whole or not at all.

    An order that the table has twice is answered once. Without a champion or without orders there are no predictions,
    and an earlier run's are removed. `write` gets the same rows. Raises `DataError` for a table that cannot be read,
    `OperationError` when the partition cannot be written.
    """
    require_columns(source.columns, required_columns(ORDERS_DICTIONARY, "scoring"), source.name)
    bundle = selected.bundle
    known_restaurants = restaurants if bundle is None else restaurants_for(bundle, restaurants)
    orders = read_day_orders(source, day, known_restaurants, progress)
    counts = ScoreCounts()
    if bundle is None or orders.rows.is_empty():
        results.remove(day, PREDICTIONS_FILE)
    else:
        frame = _predict_orders(orders, bundle, known_restaurants, counts, columns=source.columns)
        content = io.BytesIO()
        frame.write_parquet(content)
        results.write(day, PREDICTIONS_FILE, content.getvalue())
        if write_predictions is not None:
            write_predictions(day, bundle.manifest.id, frame)
    document = _build_document(day, selected, orders, counts)
    results.write(day, SCORE_FILE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return document, orders


def read_day_orders(
    source: DataSource, day: dt.date, restaurants: RestaurantIndex, progress: ProgressCallback | None = None
) -> DayOrders:
    """The orders acknowledged on a local date, by the clocks of the restaurants of `directory`; in bounded memory."""
    day_parts, instants, keys = list[pl.DataFrame](), list[pl.Series](), list[pl.Series]()
    unreadable_time_rows, rows_read, expected_rows = 0, 0, estimate_rows(source) if progress else 0
    for rows in batches_for_dates(source, day, day, CHUNK_ROWS):
        frame = audit_orders(rows, restaurants, need_label=False).frame
        acknowledged_local = frame["acknowledged_local"]
        unreadable_time_rows += acknowledged_local.null_count()
        is_on_day = (acknowledged_local.dt.date() == day).fill_null(value=False)
        if is_on_day.any():
            day_rows, parsed_rows = rows.filter(is_on_day), frame.filter(is_on_day)
            day_parts.append(day_rows)
            instants.append(parsed_rows["acknowledged_utc"])
            keys.append(order_keys(day_rows, parsed_rows))
        rows_read += len(rows)
        if progress and expected_rows:
            progress(f"Looking for the orders of {day}", min(rows_read / expected_rows, 1.0))
    if not day_parts:
        return DayOrders(pl.DataFrame(), pl.Series(KEY, [], pl.String), 0, unreadable_time_rows)
    all_rows = pl.concat(day_parts, how="diagonal_relaxed")
    order_index = pl.DataFrame({"utc": pl.concat(instants), KEY: pl.concat(keys)}).with_row_index("position")
    # What nothing identifies is no repetition of anything.
    unique_orders = order_index.filter(pl.col(KEY).is_null() | pl.col(KEY).is_first_distinct())
    unique_orders = unique_orders.sort("utc", KEY, "position", nulls_last=True)
    return DayOrders(
        all_rows[unique_orders["position"]],
        unique_orders[KEY],
        len(order_index) - len(unique_orders),
        unreadable_time_rows,
    )


def _predict_orders(
    orders: DayOrders, bundle: Bundle, restaurants: RestaurantIndex, counts: ScoreCounts, *, columns: tuple[str, ...]
) -> pl.DataFrame:
    """Key, the declared columns known at acknowledgement that the table has, and the answers."""
    # Never of what is only known later: a backfill would give other bytes than the morning gave.
    names = [
        column.name for column in ORDERS_DICTIONARY if column.name in columns and column.name not in OUTCOME_COLUMNS
    ]
    scorer = ChunkScorer(
        bundle, PassthroughColumns(orders.rows.select(names).schema, for_csv=False), TimestampFormatter(), restaurants
    )
    scored_parts = []
    with closing(map_in_order(orders.rows.iter_slices(CHUNK_ROWS), scorer.score, worker_count(None))) as chunks:
        for chunk in chunks:
            counts.add(len(chunk.frame), chunk.p50_seconds, chunk.fallback_level, chunk.rejected)
            scored_parts.append(chunk.frame)
    return pl.concat(scored_parts).insert_column(0, orders.keys.alias(KEY))


def _build_document(day: dt.date, selected: SelectedBundle, orders: DayOrders, counts: ScoreCounts) -> DayScoreDocument:
    manifest = None if selected.bundle is None else selected.bundle.manifest
    outcome: DayScoreOutcome = "no_champion" if manifest is None else "scored" if len(orders.rows) else "no_orders"
    return DayScoreDocument(
        date=day,
        outcome=outcome,
        bundle=manifest.id if manifest else None,
        history_date=manifest.date if manifest else None,
        skipped_bundles=tuple(skipped_bundle.bundle for skipped_bundle in selected.skipped),
        orders=len(orders.rows),
        duplicate_rows=orders.duplicate_rows,
        predicted=counts.predicted,
        rejected=counts.rejected,
        fallback_level=counts.fallback_level,
        median_predicted_seconds=counts.median_predicted_seconds,
    )
