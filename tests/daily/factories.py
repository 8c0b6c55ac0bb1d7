"""An installation and its daily commands, as a scheduler calls them, with few orders per day."""

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
"""The dates of the daily runs. The orders start on 1 June."""

MONITORING_FILES = (MONITORING_FILE, MONITORING_METRICS_FILE, MONITORING_REPORT_FILE, RESPONSE_FILE)


@dataclass(frozen=True)
class Installation:
    """The paths that the daily commands of one installation read and write."""

    orders: Path
    restaurants: Path
    store: Path
    results: Path

    @classmethod
    def in_folder(cls, folder: Path, orders: Path, restaurants: Path) -> Installation:
        """Return an installation with an empty store and no results."""
        return cls(orders, restaurants, folder / "models", folder / "results")

    def run(self, command: str, date: dt.date, *options: str | Path) -> CommandResult:
        """Run a command for a date, as the DAGs call it."""
        tables = ("--orders", self.orders, "--restaurants", self.restaurants)
        return preptime(
            command, "--date", str(date), *tables, "--store", self.store, "--results", self.results, *options
        )

    def run_day(self, date: dt.date) -> None:
        """Run `train`, then `score`."""
        self.run("train", date).succeeded()
        self.run("score", date).succeeded()

    def run_monitoring(self, date: dt.date) -> None:
        """Run `monitor`, which can raise an alert, then `respond`."""
        assert self.run("monitor", date, "--prediction-log-source", self.results / "no-log").status in {
            SUCCESS,
            REFUSED_OR_ALERT,
        }
        self.run("respond", date).succeeded()

    def daily_files(self, dates: tuple[dt.date, ...] = WEEK) -> dict[str, bytes]:
        """Return the result files of `run_day` for these dates by path."""
        return {path: content for path, content in self.all_files(dates).items() if not path.endswith(MONITORING_FILES)}

    def all_files(self, dates: tuple[dt.date, ...] = WEEK) -> dict[str, bytes]:
        """Return all result files for these dates by path, including those of `run_monitoring`."""
        return {
            path.relative_to(self.results).as_posix(): path.read_bytes()
            for date in dates
            for path in sorted((self.results / f"date={date}").rglob("*"))
        }

    def predictions(self, date: dt.date) -> pl.DataFrame:
        """Return the predictions of a date."""
        return pl.read_parquet(self.results / f"date={date}" / "predictions.parquet")


def local_dates(rows: pl.DataFrame, restaurants: Path) -> pl.Series:
    """Return the local date of each order. In June, France and Germany are at UTC+2, all other countries at UTC+1."""
    listed = pl.read_csv(restaurants, infer_schema=False).select("restaurant_id", "country")
    country = rows.select("restaurant_id").join(listed, on="restaurant_id", how="left", maintain_order="left")[
        "country"
    ]
    timestamp = rows["order_acknowledged_at"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z").dt.replace_time_zone(None)
    is_central_europe = country.is_in(["France", "Germany"])
    return timestamp.dt.offset_by("1h").zip_with(~is_central_europe, timestamp.dt.offset_by("2h")).dt.date()


def orders_through(rows: pl.DataFrame, date: dt.date) -> pl.DataFrame:
    """Return the orders through the end of a UTC date."""
    return rows.filter(pl.col("order_acknowledged_at") < f"{date + dt.timedelta(days=1)}")
