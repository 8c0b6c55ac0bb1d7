"""Defaults of the Python API: the settings that the commands use, the number of cores, and the actor of the log."""

from __future__ import annotations

import datetime as dt
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.env_file import ENV_FILE
from preptime.errors import UsageError
from preptime.settings import Settings

if TYPE_CHECKING:
    from preptime.tracking.runs import TrackingSettings


def default_setting(field: str) -> str:
    """Return a setting from the environment, else from `.env`, else its default. None becomes an empty text."""
    value = getattr(Settings.load(os.environ, Path(ENV_FILE)), field)
    return "" if value is None else str(value)


def current_user() -> str:
    """Return the name of the user, for the champion log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def utc_now() -> str:
    """Return the current time in UTC, for the champion log. No decision depends on it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def cores() -> int:
    """Return the number of cores to train on by default."""
    return os.cpu_count() or 1


def to_date(value: dt.date | str, name: str) -> dt.date:
    """Return a date, or the date of an ISO text. Raises `UsageError`, with the name of the argument, for another value.

    Example:
        >>> to_date("2015-06-17", "date")
        datetime.date(2015, 6, 17)
    """
    if isinstance(value, dt.datetime):  # includes pandas.Timestamp
        return value.date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name} is {value!r}; expected a date.", 'Use a date, or text such as "2015-06-17".'
        ) from error


def tracking_settings() -> TrackingSettings:
    """Return where runs are logged in MLflow, from the settings."""
    from preptime.tracking.runs import TrackingSettings

    return TrackingSettings(*map(default_setting, ("mlflow_tracking_uri", "mlflow_experiment_name", "mlflow_model")))
