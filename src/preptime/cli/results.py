"""`preptime results`: the folder of the daily results."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
import msgspec

from preptime.cli import options
from preptime.cli.output import Output, format_count, with_output

ABANDONED_HOURS = 24
"""A half-written file that nobody touched for a day belongs to nobody any more."""


class ResultsDay(msgspec.Struct, frozen=True):
    """One day of `results list --json`."""

    date: dt.date
    files: list[str]
    """Names in its partition, sorted."""


class ResultsListDocument(msgspec.Struct, frozen=True):
    """The document of `results list --json`, oldest day first."""

    days: list[ResultsDay]


class ResultsPruneDocument(msgspec.Struct, frozen=True):
    """The document of `results prune --json`."""

    days: list[dt.date]
    """The days whose partitions were removed, oldest first."""
    leftovers: list[str]


@click.group()
def results() -> None:
    """Look after the folder of daily results."""


@results.command("list")
@options.results
@with_output
def list_results(output: Output, results: str) -> None:
    """Show the days that have results, and what each has."""
    from preptime.sources.results import ResultsFolder

    daily_results = ResultsFolder(Path(results))
    days = [ResultsDay(day, daily_results.files(day)) for day in daily_results.days()]
    output.finish(
        ResultsListDocument(days),
        *(f"{day.date}  {', '.join(day.files) or 'nothing'}" for day in days),
        f"{results} holds the results of {format_count(len(days), 'day')}.",
    )


@results.command()
@options.results
@click.option("--days", type=click.IntRange(1), required=True, help="How many of the newest days with results stay.")
@with_output
def prune(output: Output, results: str, days: int) -> None:
    """Remove the results of old days, never the newest.

    Days are counted by their partitions, so a day without results costs none.
    """
    from preptime.sources.results import ResultsFolder

    daily_results = ResultsFolder(Path(results))
    abandoned_before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=ABANDONED_HOURS)
    removed = daily_results.prune(days, abandoned_before.timestamp())
    output.finish(
        ResultsPruneDocument(removed.days, removed.leftovers),
        *(f"Removed {name}." for name in (*removed.days, *removed.leftovers)),
        f"{results} holds the results of {format_count(len(daily_results.days()), 'day')}.",
    )
