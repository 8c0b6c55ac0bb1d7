"""Options that several verbs share, each with one meaning."""

from __future__ import annotations

import datetime as dt
import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from preptime.errors import UsageError
from preptime.settings import ENV_FILE, Settings

Decorated = TypeVar("Decorated", bound=Callable[..., object])


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


def told(field: str, what: str) -> Callable[[Decorated], Decorated]:
    """An option that a setting stands in for: what is given, else the environment, else `.env`, else its default.

    Without any of them the call is wrong use that names both.
    """
    usual = str(getattr(Settings(), field))
    shown = f"{_setting(field)}, else {usual}" if usual else _setting(field)

    def found(context: click.Context, _: click.Parameter, value: str | None) -> str:
        return needed(field, value, context)

    return click.option(_flag(field), show_default=shown, callback=found, help=what)


def needed(field: str, given: str | None, context: click.Context) -> str:
    """The value of the option `--FIELD`: what is given, else the setting. Wrong use when there is neither."""
    value = given or setting(field)
    if not value:
        raise click.UsageError(
            f"Missing option '{_flag(field)}': give it, or set {_setting(field)} in the environment or in .env.",
            context,
        )
    return value


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def setting(field: str) -> str:
    """What the environment, else `.env`, says; else the default."""
    return str(getattr(Settings.read(os.environ, Path(ENV_FILE)), field))


def _setting(field: str) -> str:
    return f"PREPTIME_{field.upper()}"


orders = told("orders", "Orders: a csv or parquet file, a folder, a glob, or a database's address.")
restaurants = told("restaurants", "Restaurants, likewise.")
store = told("store", "Folder or URL that holds the bundles.")
log = told("prediction_log_folder", "Folder of the API's prediction log; it need not be there.")
results = told("results", "Folder of the daily results, one partition for each date.")
date = click.option(
    "--date", type=DATE, required=True, help="A morning: what happened before its local midnight is known."
)
figures = click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the figures here too, as small files that DVC compares (docs/data-versions.md).",
)
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
