"""The command `preptime results`: list and prune the daily results."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
import msgspec

from preptime.cli import options
from preptime.cli.output import Output, with_output
from preptime.errors import UsageError
from preptime.formatting import format_count


class ResultsDay(msgspec.Struct, frozen=True):
    """One day in `results list --json`."""

    date: dt.date
    files: list[str]
    """Names of the files in its partition, sorted."""


class ResultsListDocument(msgspec.Struct, frozen=True):
    """The document of `results list --json`, oldest day first."""

    days: list[ResultsDay]


class ResultsPruneDocument(msgspec.Struct, frozen=True):
    """The document of `results prune --json`."""

    days: list[dt.date]
    """Days whose partitions were removed, oldest first."""
    leftovers: list[str]


@click.group()
def results() -> None:
    """List and prune the daily results."""


@results.command("list")
@options.results
@with_output
def list_results(output: Output, results: str) -> None:
    """List the days with results, and their files."""
    from preptime.sources.results import ResultsFolder

    daily_results = ResultsFolder(Path(results))
    if not daily_results.root.is_dir():
        raise UsageError(
            f"The folder {results} of the results doesn't exist.",
            "Correct --results or PREPTIME_RESULTS. The first daily job creates the folder.",
        )
    days = [ResultsDay(day, daily_results.files(day)) for day in daily_results.days()]
    output.finish(
        ResultsListDocument(days),
        *(f"{day.date}  {', '.join(day.files) or 'no files'}" for day in days),
        f"{results}: results of {format_count(len(days), 'day')}.",
    )


@results.command()
@options.results
@click.option("--days", type=click.IntRange(1), required=True, help="Number of newest days with results to keep.")
@with_output
def prune(output: Output, results: str, days: int) -> None:
    """Remove the results of old days.

    Counts only days with results.
    """
    from preptime.sources.results import ResultsFolder

    daily_results = ResultsFolder(Path(results))
    removed = daily_results.prune(days, options.abandoned_before())
    output.finish(
        ResultsPruneDocument(removed.days, removed.leftovers),
        *(f"Removed {name}." for name in (*removed.days, *removed.leftovers)),
        f"{results}: results of {format_count(len(daily_results.days()), 'day')}.",
    )
