"""Daily runs as a scheduler calls them: small days of a small town, recipes that fit in a moment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.cli.running import Ran, preptime

FIRST, LAST = dt.date(2015, 6, 11), dt.date(2015, 6, 17)
WEEK = tuple(FIRST + dt.timedelta(days=day) for day in range(7))
"""A week of mornings; orders are known from 1 June on."""


@dataclass(frozen=True)
class Place:
    """Where the jobs of one installation read and write."""

    orders: Path
    restaurants: Path
    store: Path
    results: Path

    @classmethod
    def below(cls, folder: Path, orders: Path, restaurants: Path) -> Place:
        """With an empty store and no results."""
        return cls(orders, restaurants, folder / "models", folder / "results")

    def run(self, verb: str, date: dt.date, *more: str | Path) -> Ran:
        """One verb of a date, as the DAGs call it."""
        tables = ("--orders", self.orders, "--restaurants", self.restaurants)
        return preptime(verb, "--date", str(date), *tables, "--store", self.store, "--results", self.results, *more)

    def day(self, date: dt.date) -> None:
        """What a morning does: train, then score."""
        self.run("train", date).fine()
        self.run("score", date).fine()

    def written(self, dates: tuple[dt.date, ...] = WEEK) -> dict[str, bytes]:
        """Every file of these dates' results, by its path."""
        return {
            path.relative_to(self.results).as_posix(): path.read_bytes()
            for date in dates
            for path in sorted((self.results / f"date={date}").rglob("*"))
        }

    def predictions(self, date: dt.date) -> pl.DataFrame:
        """The day's predictions."""
        return pl.read_parquet(self.results / f"date={date}" / "predictions.parquet")


def on(frame: pl.DataFrame, date: dt.date) -> pl.Series:
    """Which rows, as text, were acknowledged on a date."""
    return frame["order_acknowledged_at"].str.starts_with(str(date))


def until(frame: pl.DataFrame, date: dt.date) -> pl.DataFrame:
    """What a table has by a date's end."""
    return frame.filter(pl.col("order_acknowledged_at") < f"{date + dt.timedelta(days=1)}")
