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

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., object])


class IsoDate(click.ParamType[dt.date]):
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


DATE = IsoDate()


def setting_option(field: str, help_text: str) -> Callable[[CommandFunction], CommandFunction]:
    """An option that a setting stands in for: what is given, else the environment, else `.env`, else its default.

    Without any of them the call is wrong use that names both.
    """
    default = str(getattr(Settings(), field))
    default_text = f"{_variable_name(field)}, else {default}" if default else _variable_name(field)

    def resolve(context: click.Context, _: click.Parameter, value: str | None) -> str:
        return require_setting(field, value, context)

    return click.option(_option_name(field), show_default=default_text, callback=resolve, help=help_text)


def require_setting(field: str, option_value: str | None, context: click.Context) -> str:
    """The value of the option `--FIELD`: what is given, else the setting. Wrong use when there is neither."""
    resolved = option_value or read_setting(field)
    if not resolved:
        raise click.UsageError(
            f"Missing option '{_option_name(field)}': give it, or set {_variable_name(field)} in the environment or in .env.",
            context,
        )
    return resolved


def _option_name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def read_setting(field: str) -> str:
    """What the environment, else `.env`, says; else the default."""
    return str(getattr(Settings.load(os.environ, Path(ENV_FILE)), field))


def _variable_name(field: str) -> str:
    return f"PREPTIME_{field.upper()}"


orders = setting_option("orders", "Orders: a csv or parquet file, a folder, a glob, or a database's address.")
restaurants = setting_option("restaurants", "Restaurants, likewise.")
store = setting_option("store", "Folder or URL that holds the bundles.")
prediction_log_folder = setting_option(
    "prediction_log_folder", "Folder of the API's prediction log; it need not be there."
)
results = setting_option("results", "Folder of the daily results, one partition for each date.")
date = click.option(
    "--date", type=DATE, required=True, help="A morning: what happened before its local midnight is known."
)
dvc_metrics = click.option(
    "--dvc-metrics",
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


def current_user() -> str:
    """Who is asking, for the champion log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def utc_now() -> str:
    """The present moment in UTC, for the champion log; no decision depends on it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def parse_thresholds(assignments: tuple[str, ...]) -> dict[str, float]:
    """`name=value` settings as numbers. Raises `UsageError`."""
    values = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            values[name] = float(value)
        except ValueError as error:
            raise UsageError(f"--gate {assignment!r} is no setting.", "Write it as NAME=NUMBER.") from error
    return values
