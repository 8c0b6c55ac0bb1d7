"""Scoring a file by asking a server: the same rows and columns out as `score_file` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from preptime.domain.dictionary import LATER, ORDERS, required
from preptime.domain.prediction import BASES, DEFAULT_MODEL, LEVELS
from preptime.domain.verdict import Reason
from preptime.scoring.carried import Carried
from preptime.scoring.columns import BASIS, BUNDLE, READY_AT, REASON, SECONDS, model_column, quantile_column
from preptime.scoring.document import ScoreDocument, Tally
from preptime.scoring.parallel import in_order
from preptime.scoring.score import Progress
from preptime.tables.columns import SURPLUS, require
from preptime.tables.open import open_table
from preptime.tables.size import about_rows
from preptime.tables.write import write_table

AT_ONCE = 2
"""Requests on their way side by side: one is read or written here while the other is answered there."""

_ASKED = tuple(column.name for column in ORDERS if column.name not in {*LATER, "order_id"})


class OneError(Protocol):
    """Why an order cannot be predicted."""

    @property
    def code(self) -> str: ...


class OnePrediction(Protocol):
    """The answer to one order: the numbers, or `error`. Seconds."""

    @property
    def p10(self) -> float | None: ...
    @property
    def p50(self) -> float | None: ...
    @property
    def p80(self) -> float | None: ...
    @property
    def p90(self) -> float | None: ...
    @property
    def ready_at(self) -> str | None: ...
    @property
    def basis(self) -> str | None: ...
    @property
    def models(self) -> Mapping[str, float]: ...
    @property
    def error(self) -> OneError | None: ...


class ManyPredictions(Protocol):
    """Answers in the orders' places, all from one bundle."""

    @property
    def bundle(self) -> str: ...
    @property
    def predictions(self) -> Sequence[OnePrediction]: ...


class Server(Protocol):
    """Who is asked: `preptime.client.Client`. Threads share it."""

    def predict(
        self, orders: Sequence[Mapping[str, object]], *, models: Sequence[str] | None = None
    ) -> ManyPredictions: ...


@dataclass(frozen=True)
class RemoteScorer:
    """A server, and the point models that are asked for."""

    server: Server
    models: tuple[str, ...]

    def answers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """[N] the columns of `preptime.scoring.columns` for N orders as a table gives them."""
        points = tuple(name for name in self.models if name != DEFAULT_MODEL)
        answer = self.server.predict(asked(rows).to_dicts(), models=points)
        found = _columns(answer, points)
        if SURPLUS not in rows.columns:
            return found
        # The server sees cells, not lines: that a line had one too many is known here alone.
        malformed = rows[SURPLUS].is_not_null()
        kept = [pl.when(malformed).then(None).otherwise(pl.col(name)).alias(name) for name in found.columns]
        reason = pl.when(malformed).then(pl.lit(str(Reason.MALFORMED_LINE))).otherwise(pl.col(REASON)).alias(REASON)
        return found.select(kept).with_columns(reason, found[BUNDLE])


def ask_file(
    source: str, out: Path, scorer: RemoteScorer, *, orders_at_once: int, progress: Progress | None = None
) -> ScoreDocument:
    """Score the orders at `source` into `out` as `score_file` does, `orders_at_once` in a request.

    Should another bundle become champion meanwhile, each row says which one answered; the document names the last.
    Raises `DataError` for a source that cannot be read, and what the server raises.
    """
    table = open_table(source)
    require(table.columns, required(ORDERS, "scoring"), table.name)
    carried = Carried.of(table, to_csv=out.suffix.lower() == ".csv")
    tally = Tally()
    expected = about_rows(table) if progress else 0
    bundle = ""

    def one(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        return carried.of_chunk(rows), scorer.answers(rows)

    def scored() -> Iterator[pl.DataFrame]:
        nonlocal bundle
        with closing(in_order(table.batches(orders_at_once), one, AT_ONCE)) as chunks:
            for own, answers in chunks:
                _count(tally, answers)
                bundle = str(answers[BUNDLE][-1])
                if progress and expected:
                    progress("Asking the API", min(tally.rows / expected, 1.0))
                yield own.with_columns(answers)

    write_table(out, scored())
    return tally.document(table.name, out, bundle)


def asked(rows: pl.DataFrame) -> pl.DataFrame:
    """What a server is asked of N orders: the declared columns that they have, as text that it reads as a table does.

    An instant is told in UTC, so that it is converted to the restaurant's clock there as it would be here; a naive
    moment stays the restaurant's wall clock.
    """
    return rows.select(_as_text(rows[name]) for name in _ASKED if name in rows.columns)


def _as_text(cells: pl.Series) -> pl.Series:
    kind = cells.dtype
    if isinstance(kind, pl.Datetime):
        if kind.time_zone:
            return cells.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        return cells.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    if kind == pl.Float32:
        cells = cells.cast(pl.Float64)  # else its text would be a number that the table does not hold
    return cells.cast(pl.String)


def _columns(answer: ManyPredictions, points: tuple[str, ...]) -> pl.DataFrame:
    of = answer.predictions
    quantiles = {
        0.1: [one.p10 for one in of],
        0.5: [one.p50 for one in of],
        0.8: [one.p80 for one in of],
        0.9: [one.p90 for one in of],
    }
    columns = {SECONDS: _seconds(quantiles[0.5])}
    columns |= {quantile_column(level): _seconds(quantiles[level]) for level in LEVELS}
    moments = [None if one.ready_at is None else one.ready_at.replace("T", " ") for one in of]
    columns[READY_AT] = pl.Series(moments, dtype=pl.String)
    columns[BASIS] = pl.Series([one.basis for one in of], dtype=pl.String)
    columns |= {model_column(name): _seconds([one.models.get(name) for one in of]) for name in points}
    columns[REASON] = pl.Series([one.error.code if one.error else None for one in of], dtype=pl.String)
    return pl.DataFrame(columns).with_columns(pl.lit(answer.bundle).alias(BUNDLE))


def _seconds(values: list[float | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Float32)


def _count(tally: Tally, answers: pl.DataFrame) -> None:
    refused = answers[REASON].drop_nulls().value_counts(name="rows")
    predicted = answers.filter(pl.col(REASON).is_null())
    basis = predicted[BASIS].replace_strict(list(BASES), list(range(len(BASES))), return_dtype=pl.Int8)
    tally.add(
        len(answers),
        predicted[SECONDS].to_numpy().astype(np.float32),
        basis.to_numpy().astype(np.int8),
        {Reason(reason): rows for reason, rows in refused.iter_rows()},
    )
