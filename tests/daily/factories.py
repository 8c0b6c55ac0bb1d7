"""Daily runs as a scheduler calls them: small days of a small town, recipes that fit in a moment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from preptime.cli.output import REFUSED_OR_ALERT, SUCCESS
from preptime.sources.results import MONITORING_FILE, MONITORING_METRICS_FILE, MONITORING_REPORT_FILE, RESPONSE_FILE
from tests.cli.run_command import CommandResult, preptime

FIRST, LAST = dt.date(2015, 6, 11), dt.date(2015, 6, 17)
WEEK = tuple(FIRST + dt.timedelta(days=day) for day in range(7))
"""A week of mornings; orders are known from 1 June on."""

MONITORING_FILES = (MONITORING_FILE, MONITORING_METRICS_FILE, MONITORING_REPORT_FILE, RESPONSE_FILE)


@dataclass(frozen=True)
class Installation:
    """Where the jobs of one installation read and write."""

    orders: Path
    restaurants: Path
    store: Path
    results: Path

    @classmethod
    def in_folder(cls, folder: Path, orders: Path, restaurants: Path) -> Installation:
        """With an empty store and no results."""
        return cls(orders, restaurants, folder / "models", folder / "results")

    def run(self, command: str, date: dt.date, *options: str | Path) -> CommandResult:
        """One verb of a date, as the DAGs call it."""
        tables = ("--orders", self.orders, "--restaurants", self.restaurants)
        return preptime(
            command, "--date", str(date), *tables, "--store", self.store, "--results", self.results, *options
        )

    def run_day(self, date: dt.date) -> None:
        """What a morning does: train, then score."""
        self.run("train", date).succeeded()
        self.run("score", date).succeeded()

    def run_monitoring(self, date: dt.date) -> None:
        """What follows at nine: monitor, alert or not, then respond."""
        assert self.run("monitor", date, "--prediction-log-folder", self.results / "no-log").status in {
            SUCCESS,
            REFUSED_OR_ALERT,
        }
        self.run("respond", date).succeeded()

    def daily_files(self, dates: tuple[dt.date, ...] = WEEK) -> dict[str, bytes]:
        """Every file that `day` leaves in these dates' results, by its path."""
        return {path: content for path, content in self.all_files(dates).items() if not path.endswith(MONITORING_FILES)}

    def all_files(self, dates: tuple[dt.date, ...] = WEEK) -> dict[str, bytes]:
        """Those of `watch` too."""
        return {
            path.relative_to(self.results).as_posix(): path.read_bytes()
            for date in dates
            for path in sorted((self.results / f"date={date}").rglob("*"))
        }

    def predictions(self, date: dt.date) -> pl.DataFrame:
        """The day's predictions."""
        return pl.read_parquet(self.results / f"date={date}" / "predictions.parquet")


def local_dates(rows: pl.DataFrame, restaurants: Path) -> pl.Series:
    """The local date of each order: in June two hours before UTC's end in France and Germany, one in the islands."""
    listed = pl.read_csv(restaurants, infer_schema=False).select("restaurant_id", "country")
    country = rows.select("restaurant_id").join(listed, on="restaurant_id", how="left", maintain_order="left")[
        "country"
    ]
    moment = rows["order_acknowledged_at"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z").dt.replace_time_zone(None)
    further = country.is_in(["France", "Germany"])
    return moment.dt.offset_by("1h").zip_with(~further, moment.dt.offset_by("2h")).dt.date()


def orders_through(rows: pl.DataFrame, date: dt.date) -> pl.DataFrame:
    """What a table has by the end of a date in UTC, which is after its end here."""
    return rows.filter(pl.col("order_acknowledged_at") < f"{date + dt.timedelta(days=1)}")
