"""Scoring a day: the orders of one local date that a table has, answered by the champion of that morning (D8)."""

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
from preptime.domain.dictionary import LATER, ORDERS, required
from preptime.features.directory import Directory
from preptime.scoring.carried import Carried
from preptime.scoring.champion import Chosen
from preptime.scoring.chunk import Scorer, directory_of
from preptime.scoring.columns import Clock
from preptime.scoring.document import Tally
from preptime.scoring.parallel import in_order
from preptime.scoring.score import CHUNK_ROWS, Progress, workers_of
from preptime.tables.audit import audit
from preptime.tables.columns import require
from preptime.tables.order_key import NAME as KEY
from preptime.tables.order_key import order_keys
from preptime.tables.results import PREDICTIONS, SCORE, Results
from preptime.tables.size import about_rows
from preptime.tables.table import Table, batches_of_days

FORMAT = 1
"""The format of `score.json`: docs/daily-run.md."""

DayOutcome = Literal["scored", "no_orders", "no_champion"]

Write = Callable[[dt.date, str, pl.DataFrame], int]
"""Replaces a day's predictions by a bundle somewhere else; the rows written."""


class DayDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`score.json`, and the document of `score --date --json`. No clock, no path: the same contents, the same bytes."""

    format: int = FORMAT
    date: dt.date
    outcome: DayOutcome
    """scored: predictions.parquet is there. no_orders, no_champion: it is not, and that is no failure."""
    bundle: str | None
    """The champion as of `date` that answers."""
    history_date: dt.date | None
    """The morning whose history the answers stand on; before `date` when that morning's training is missing."""
    passed_over: tuple[str, ...]
    """Champions as of `date`, newest first, that failed verification, so that an earlier one answers."""
    orders: int
    """Orders acknowledged on the local date, each once."""
    repeated: int
    """Rows that were one of these orders again."""
    predicted: int
    refused: dict[str, int]
    """Orders without a prediction, by the reason written beside them."""
    basis: dict[str, int]
    """Predictions by the level of history behind them, finest first."""
    median_predicted_seconds: int | None


@dataclass(frozen=True)
class DayOrders:
    """The orders of one local date, by moment of acknowledgement, then key; what the date's rows looked like."""

    rows: pl.DataFrame
    keys: pl.Series
    repeated: int
    undated: int
    """Rows of the table whose time cannot be read: they are of no day."""


def score_day(
    table: Table,
    day: dt.date,
    chosen: Chosen,
    directory: Directory,
    results: Results,
    *,
    write: Write | None = None,
    progress: Progress | None = None,
) -> tuple[DayDocument, DayOrders]:
    """Write the partition of `day`: `predictions.parquet`, then `score.json`, each whole or not at all.

    An order that the table has twice is answered once. Without a champion or without orders there are no predictions,
    and an earlier run's are removed. `write` gets the same rows. Raises `DataError` for a table that cannot be read,
    `FaultError` when the partition cannot be written.
    """
    require(table.columns, required(ORDERS, "scoring"), table.name)
    bundle = chosen.bundle
    known = directory if bundle is None else directory_of(bundle, directory)
    orders = orders_of(table, day, known, progress)
    tally = Tally()
    if bundle is None or orders.rows.is_empty():
        results.remove(day, PREDICTIONS)
    else:
        frame = _answered(orders, bundle, known, tally, columns=table.columns)
        content = io.BytesIO()
        frame.write_parquet(content)
        results.write(day, PREDICTIONS, content.getvalue())
        if write is not None:
            write(day, bundle.manifest.id, frame)
    document = _document(day, chosen, orders, tally)
    results.write(day, SCORE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return document, orders


def orders_of(table: Table, day: dt.date, directory: Directory, progress: Progress | None = None) -> DayOrders:
    """The orders acknowledged on a local date, by the clocks of the restaurants of `directory`; in bounded memory."""
    kept, instants, keys = list[pl.DataFrame](), list[pl.Series](), list[pl.Series]()
    undated, read, expected = 0, 0, about_rows(table) if progress else 0
    for rows in batches_of_days(table, day, day, CHUNK_ROWS):
        frame = audit(rows, directory, need_label=False).frame
        local = frame["acknowledged_local"]
        undated += local.null_count()
        of_day = (local.dt.date() == day).fill_null(value=False)
        if of_day.any():
            mine, parsed = rows.filter(of_day), frame.filter(of_day)
            kept.append(mine)
            instants.append(parsed["acknowledged_utc"])
            keys.append(order_keys(mine, parsed))
        read += len(rows)
        if progress and expected:
            progress(f"Looking for the orders of {day}", min(read / expected, 1.0))
    if not kept:
        return DayOrders(pl.DataFrame(), pl.Series(KEY, [], pl.String), 0, undated)
    found = pl.concat(kept, how="diagonal_relaxed")
    order = pl.DataFrame({"utc": pl.concat(instants), KEY: pl.concat(keys)}).with_row_index("place")
    # What nothing identifies is no repetition of anything.
    first = order.filter(pl.col(KEY).is_null() | pl.col(KEY).is_first_distinct())
    first = first.sort("utc", KEY, "place", nulls_last=True)
    return DayOrders(found[first["place"]], first[KEY], len(order) - len(first), undated)


def _answered(
    orders: DayOrders, bundle: Bundle, directory: Directory, tally: Tally, *, columns: tuple[str, ...]
) -> pl.DataFrame:
    """Key, the declared columns known at acknowledgement that the table has, and the answers."""
    # Never of what is only known later: a backfill would give other bytes than the morning gave.
    names = [one.name for one in ORDERS if one.name in columns and one.name not in LATER]
    scorer = Scorer(bundle, Carried(orders.rows.select(names).schema, to_csv=False), Clock(), directory)
    parts = []
    with closing(in_order(orders.rows.iter_slices(CHUNK_ROWS), scorer.score, workers_of(None))) as chunks:
        for chunk in chunks:
            tally.add(len(chunk.frame), chunk.p50_seconds, chunk.basis, chunk.refused)
            parts.append(chunk.frame)
    return pl.concat(parts).insert_column(0, orders.keys.alias(KEY))


def _document(day: dt.date, chosen: Chosen, orders: DayOrders, tally: Tally) -> DayDocument:
    manifest = None if chosen.bundle is None else chosen.bundle.manifest
    outcome: DayOutcome = "no_champion" if manifest is None else "scored" if len(orders.rows) else "no_orders"
    return DayDocument(
        date=day,
        outcome=outcome,
        bundle=manifest.id if manifest else None,
        history_date=manifest.date if manifest else None,
        passed_over=tuple(one.bundle for one in chosen.passed_over),
        orders=len(orders.rows),
        repeated=orders.repeated,
        predicted=tally.predicted,
        refused=tally.refused,
        basis=tally.basis,
        median_predicted_seconds=tally.median_predicted_seconds,
    )
