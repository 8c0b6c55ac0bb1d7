"""Options that several verbs share, each with one meaning."""

from __future__ import annotations

import datetime as dt
import getpass
import os

import click

from preptime.errors import UsageError


class Date(click.ParamType[dt.date]):
    """An ISO date."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """`YYYY-MM-DD` as a date."""
        if isinstance(value, dt.date):
            return value
        try:
            return dt.date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a date like 2015-06-17", param, ctx)


DATE = Date()

orders = click.option("--orders", required=True, help="Orders: a csv or parquet file, a folder, or a glob of them.")
restaurants = click.option("--restaurants", required=True, help="Restaurants: file, folder, or glob.")
date = click.option(
    "--date", type=DATE, required=True, help="A morning: what happened before its local midnight is known."
)
store = click.option("--store", default="models", show_default=True, help="Folder or URL that holds the bundles.")
gate = click.option(
    "--gate", multiple=True, metavar="NAME=NUMBER", help="Another threshold of the data gate, e.g. min_days=5."
)
reason = click.option("--reason", required=True, help="Why. It stays in the log of champions.")
threads = click.option(
    "--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="all cores", help="Cores to fit on."
)


def user() -> str:
    """Who is asking, for the champion log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def now() -> str:
    """The present moment in UTC, for the champion log; no decision depends on it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def thresholds(settings: tuple[str, ...]) -> dict[str, float]:
    """`name=value` settings as numbers. Raises `UsageError`."""
    found = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UsageError(f"--gate {setting!r} is no setting.", "Write it as NAME=NUMBER.") from error
    return found
