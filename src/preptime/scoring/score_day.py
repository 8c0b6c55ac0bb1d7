"""Scores a day: the orders of one local date, predicted by the champion as of that date (decision 8)."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import msgspec
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.isolated_check import load_checked
from preptime.bundle.manifest import bundle_date
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, OperationError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback
from preptime.scoring.score_document import ScoreCounts
from preptime.scoring.score_file import CHUNK_ROWS, require_scoring_columns, row_progress, worker_count
from preptime.scoring.scorer import (
    ChunkScorer,
    PassthroughColumns,
    TimestampFormatter,
    differing_restaurants,
    restaurants_for,
)
from preptime.sources.parallel import map_in_order
from preptime.sources.results import PREDICTIONS_FILE, SCORE_FILE, ResultsFolder
from preptime.sources.source import DataSource, batches_for_dates, concat_files, file_of
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import ORDER_KEY, order_keys

FORMAT = 1
"""The format of `score.json` (docs/daily-run.md)."""

DayScoreOutcome = Literal["scored", "no_orders", "no_champion"]

WritePredictions = Callable[[dt.date, str, pl.DataFrame], int]
"""Replaces a day's predictions by a bundle in a database, and returns the number of rows written."""


class DayScoreDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `score.json` and the output of `preptime score --date D --json`.

    It has no time of day and no path, so equal inputs give equal bytes.
    """

    format: int = FORMAT
    date: dt.date
    outcome: DayScoreOutcome
    """scored: `predictions.parquet` exists. no_orders, no_champion: it doesn't, which isn't an error."""
    bundle: str | None
    """The bundle that predicted: the champion as of `date`, or an earlier one (see `skipped_bundles`)."""
    history_date: dt.date | None
    """As-of date of the bundle's history. It's before `date` if no bundle was published for `date`."""
    skipped_bundles: tuple[str, ...]
    """Newer champions as of `date` that failed verification, newest first."""
    orders: int
    """Orders acknowledged on the local date, without duplicates."""
    duplicate_rows: int
    """Rows that duplicate one of these orders."""
    predicted: int
    rejected: dict[str, int]
    """Orders without a prediction, by `prediction_reason`."""
    fallback_level: dict[str, int]
    """Predictions by fallback level, finest first."""
    unknown_restaurants: dict[str, int]
    """Predictions for orders of unknown restaurants, by fallback level. Only levels that occur."""
    restaurant_differs: int = 0
    """Predictions for orders whose country or city isn't that of their restaurant in the bundle."""
    missing_features: dict[str, int] = msgspec.field(default_factory=dict)
    """Predictions without a value, by custom feature. Only features with some."""
    invalid_features: dict[str, int] = msgspec.field(default_factory=dict)
    """Predictions whose value can't be used, by custom feature. Only features with some."""
    median_predicted_seconds: int | None
    """Median of the p50 in whole seconds. Null without predictions."""


@dataclass(frozen=True, slots=True)
class SkippedBundle:
    """A champion that failed verification, and the reason."""

    bundle: str
    reason: str


@dataclass(frozen=True, slots=True)
class SelectedBundle:
    """The bundle that predicts a day, or None if there was no champion as of that day."""

    bundle: Bundle | None
    skipped: tuple[SkippedBundle, ...] = ()


class _ScoredBundle(msgspec.Struct):
    """The part of `score.json` that is needed to find out which bundle predicted a day."""

    bundle: str | None


def select_champion(store: Store, day: dt.date, results: ResultsFolder) -> SelectedBundle:
    """Return the champion as of `day`, regardless of champions with later dates.

    If it's the newest champion and fails verification, the bundle that a rollback would return to is used instead and
    the failed one is reported: predictions by yesterday's champion are better than none. There is no such fallback if
    `results` has predictions of another bundle for the day, or if champions with later dates followed. Then the bundle
    was pruned or damaged later, and training for its date gives the same bundle again.

    Raises `UsageError` in these two cases, and `BundleVerificationError` if all champions fail verification.
    """
    log, skipped = ChampionLog(store), list[SkippedBundle]()
    newest = entry = log.as_of(day)
    while entry is not None:
        try:
            bundle = load_checked(store, entry.bundle)
        except (BundleVerificationError, UsageError) as error:  # UsageError: the bundle isn't in the store
            current = log.current()
            failed = SkippedBundle(entry.bundle, error.facts)
            if current is not None and current != newest:
                raise _other_bundle_error(day, failed, f"the champion {current.bundle} has a later date") from error
            if failed.bundle not in {item.bundle for item in skipped}:
                skipped.append(failed)
            entry = log.rollback_target(entry)
            continue
        if skipped:
            scored_by = _scored_by(results, day)
            if scored_by not in {None, entry.bundle}:
                raise _other_bundle_error(day, skipped[0], f"the results of that day are predictions of {scored_by}")
        return SelectedBundle(bundle, tuple(skipped))
    if skipped:
        reasons = " ".join(f"{item.bundle}: {item.reason}" for item in skipped)
        raise BundleVerificationError(
            f"All champions as of {day} failed verification. {reasons}",
            "Restore the bundle from a copy of the store, or run preptime train --date "
            f"{bundle_date(skipped[0].bundle)} again.",
        )
    return SelectedBundle(None)


def _other_bundle_error(day: dt.date, failed: SkippedBundle, reason: str) -> UsageError:
    return UsageError(
        f"{failed.bundle}, the champion as of {day}, failed verification: {failed.reason} No other bundle is used "
        f"instead, because {reason}.",
        f"Run preptime train --date {bundle_date(failed.bundle)} again, which gives the same bundle. Or choose another "
        "bundle: --bundle.",
    )


def _scored_by(results: ResultsFolder, day: dt.date) -> str | None:
    """Return the bundle of the day's results, or None without results."""
    path = results.path(day, SCORE_FILE)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ScoredBundle).bundle
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OperationError(
            f"{path} can't be read, so the bundle that predicted {day} is unknown: {error}.",
            "Repair or delete the file, then run the command again.",
        ) from error


def select_bundle(store: Store, bundle_id: str, day: dt.date) -> SelectedBundle:
    """Return a bundle that a user chose for a day. Raises `UsageError` if its date is later than the day."""
    bundle = load_checked(store, bundle_id)
    if bundle.manifest.date > day:
        raise UsageError(
            f"{bundle_id} has the date {bundle.manifest.date}, so it knows events after {day}.",
            f"Choose a bundle with the date {day} or earlier: --bundle.",
        )
    return SelectedBundle(bundle)


@dataclass(frozen=True)
class DayOrders:
    """The orders of one local date, sorted by acknowledgement and order key."""

    rows: pl.DataFrame
    keys: pl.Series
    duplicate_rows: int
    """Rows of the date that duplicate one of the orders."""
    unreadable_time_rows: int
    """Rows of the source whose time can't be read, so that their date is unknown."""


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
    """Write the results of `day` atomically: `predictions.parquet`, then `score.json`.

    Duplicate orders are predicted once. Without a champion or without orders, there are no predictions, and those of an
    earlier run are deleted. `write_predictions` gets the same rows, which can be none. Without a champion, it isn't
    called, because its rows belong to a bundle. Raises `DataError` if the source can't be read, and `OperationError` if
    the results can't be written.
    """
    bundle = selected.bundle
    require_scoring_columns(source, "" if bundle is None else f"the schema of {bundle.manifest.id}")
    known_restaurants = restaurants if bundle is None else restaurants_for(bundle, restaurants)
    orders = read_day_orders(source, day, known_restaurants, progress)
    counts = ScoreCounts()
    if bundle is None or orders.rows.is_empty():
        results.remove(day, PREDICTIONS_FILE)
        frame = pl.DataFrame(schema={ORDER_KEY: pl.String})
    else:
        # Columns that are known later are left out, because they would change the bytes of a backfill.
        names = [name for name in source.schema.request_fields().values() if name in source.columns]
        scorer = ChunkScorer(
            bundle,
            PassthroughColumns(orders.rows.select(names).schema, for_csv=False),
            TimestampFormatter(),
            known_restaurants,
            source.schema,
            differing_restaurants(bundle.history.restaurants, restaurants),
        )
        frame = _predict_orders(orders, scorer, counts)
        content = io.BytesIO()
        frame.write_parquet(content)
        results.write(day, PREDICTIONS_FILE, content.getvalue())
    if bundle is not None and write_predictions is not None:
        write_predictions(day, bundle.manifest.id, frame)
    document = _build_document(day, selected, orders, counts)
    results.write(day, SCORE_FILE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return document, orders


def read_day_orders(
    source: DataSource, day: dt.date, restaurants: RestaurantIndex, progress: ProgressCallback | None = None
) -> DayOrders:
    """Return the orders acknowledged on a date in the time zones of `restaurants`, reading in bounded memory."""
    day_parts, instants, keys = list[tuple[str, pl.DataFrame]](), list[pl.Series](), list[pl.Series]()
    unreadable_time_rows = rows_read = 0
    report_rows = row_progress(source, f"Reading the orders of {day}", progress)
    for rows in batches_for_dates(source, day, day, CHUNK_ROWS):
        frame = audit_orders(rows, restaurants, need_label=False, schema=source.schema).frame
        acknowledged_local = frame["acknowledged_local"]
        unreadable_time_rows += acknowledged_local.null_count()
        is_on_day = (acknowledged_local.dt.date() == day).fill_null(value=False)
        if is_on_day.any():
            day_rows, parsed_rows = rows.filter(is_on_day), frame.filter(is_on_day)
            day_parts.append((file_of(rows), day_rows))
            instants.append(parsed_rows["acknowledged_utc"])
            keys.append(order_keys(parsed_rows))
        rows_read += len(rows)
        report_rows(rows_read)
    if not day_parts:
        return DayOrders(pl.DataFrame(), pl.Series(ORDER_KEY, [], pl.String), 0, unreadable_time_rows)
    all_rows = concat_files(source, day_parts)
    order_index = pl.DataFrame({"utc": pl.concat(instants), ORDER_KEY: pl.concat(keys)}).with_row_index("position")
    # Orders without a key can't be recognized as duplicates.
    unique_orders = order_index.filter(pl.col(ORDER_KEY).is_null() | pl.col(ORDER_KEY).is_first_distinct())
    unique_orders = unique_orders.sort("utc", ORDER_KEY, "position", nulls_last=True)
    return DayOrders(
        all_rows[unique_orders["position"]],
        unique_orders[ORDER_KEY],
        len(order_index) - len(unique_orders),
        unreadable_time_rows,
    )


def _predict_orders(orders: DayOrders, scorer: ChunkScorer, counts: ScoreCounts) -> pl.DataFrame:
    """Return the order key, the source's declared columns that are known at acknowledgement, and the predictions."""
    scored_parts = []
    with closing(map_in_order(orders.rows.iter_slices(CHUNK_ROWS), scorer.score, worker_count(None))) as chunks:
        for chunk in chunks:
            counts.add(len(chunk.frame), chunk.p50_seconds, chunk.fallback_level, chunk.rejected, chunk.flags)
            scored_parts.append(chunk.frame)
    return pl.concat(scored_parts).insert_column(0, orders.keys.alias(ORDER_KEY))


def _build_document(day: dt.date, selected: SelectedBundle, orders: DayOrders, counts: ScoreCounts) -> DayScoreDocument:
    manifest = None if selected.bundle is None else selected.bundle.manifest
    outcome: DayScoreOutcome = "no_champion" if manifest is None else "scored" if len(orders.rows) else "no_orders"
    return DayScoreDocument(
        date=day,
        outcome=outcome,
        bundle=manifest.id if manifest else None,
        history_date=manifest.date if manifest else None,
        skipped_bundles=tuple(item.bundle for item in selected.skipped),
        orders=len(orders.rows),
        duplicate_rows=orders.duplicate_rows,
        predicted=counts.predicted,
        rejected=counts.rejected,
        fallback_level=counts.fallback_level,
        unknown_restaurants=counts.unknown_restaurants or {},
        restaurant_differs=counts.restaurant_differs or 0,
        missing_features=counts.missing_features,
        invalid_features=counts.invalid_features,
        median_predicted_seconds=counts.median_predicted_seconds,
    )
