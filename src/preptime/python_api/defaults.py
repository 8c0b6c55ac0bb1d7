"""Arguments of the Python API: their defaults, the checks of their values, and their names in the hints of errors."""

from __future__ import annotations

import datetime as dt
import getpass
import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.env_file import ENV_FILE
from preptime.errors import PreptimeError, UsageError, panic_as_error
from preptime.formatting import shorten
from preptime.settings import Settings

if TYPE_CHECKING:
    from preptime.tracking.runs import TrackingSettings

_GATE_OPTIONS = re.compile(r"--gate \w+=\S*\d(?: --gate \w+=\S*\d)*")
_OPTION = re.compile(
    r"(?P<before>\b(?:[Aa]dd|and|by|[Oo]mit|[Uu]se|with) |\()--(?P<name>[a-z-]+)"
    r"(?: (?P<value>[A-Z]+\b|\d[\d-]*|never))?"
)
"""An option in a sentence. Those in a command, such as `preptime train --date 2015-06-17`, stay."""
_SCHEMA_COMMAND = re.compile(r"preptime schema infer ORDERS --out (.+)\.$")
_RENAMED_OPTIONS = {"from": "first_day", "to": "last_day", "bundle": "load_bundle"}
_FLAGS = frozenset({"live", "quick", "restart"})


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


def to_threads(threads: int | None) -> int:
    """Return the number of cores to train on. Raises `UsageError` if it isn't a whole number from 1."""
    return cores() if threads is None else to_whole_number("threads", threads)


def to_date(value: dt.date | str, name: str) -> dt.date:
    """Return a date, or the date of an ISO text. Raises `UsageError`, with the name of the argument, for another value.

    Example:
        >>> to_date("2015-06-17", "date")
        datetime.date(2015, 6, 17)
    """
    try:
        # A date can be a pandas.Timestamp, and pandas.NaT, whose text isn't a date.
        return dt.date.fromisoformat(value.isoformat()[:10] if isinstance(value, dt.date) else value)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name} is {value!r}; expected a date.", 'Use a date, or text such as "2015-06-17".'
        ) from error


def tracking_settings() -> TrackingSettings:
    """Return where runs are logged in MLflow, from the settings."""
    from preptime.tracking.runs import TrackingSettings

    return TrackingSettings(*map(default_setting, ("mlflow_tracking_uri", "mlflow_experiment_name", "mlflow_model")))


def in_python(text: str) -> str:
    """Return a sentence with the arguments of the Python API instead of the options of the command line.

    Example:
        >>> in_python("Use --to 2015-06-12 or later, or accept it with --gate min_days=4 --gate min_orders=858.")
        'Use last_day="2015-06-12" or later, or accept it with thresholds={"min_days": 4, "min_orders": 858}.'
    """
    text = _SCHEMA_COMMAND.sub(r'preptime.infer_schema(orders).save("\1").', text)
    return _OPTION.sub(_argument, _GATE_OPTIONS.sub(_thresholds, text))


def _thresholds(options: re.Match[str]) -> str:
    items = [f'"{name}": {value}' for name, value in re.findall(r"--gate (\w+)=(\S*\d)", options[0])]
    return f"thresholds={{{', '.join(items)}}}"


def _argument(option: re.Match[str]) -> str:
    name, value = option["name"], option["value"]
    if value is None and name in _FLAGS:
        value = "True"
    elif value == "never":
        value = "False"
    elif value is not None and "-" in value:
        value = f'"{value}"'
    argument = _RENAMED_OPTIONS.get(name, name.replace("-", "_"))
    return option["before"] + (argument if value is None else f"{argument}={value}")


@contextmanager
def python_errors() -> Iterator[None]:
    """Name the arguments of the Python API in the hint of an error, and raise `OperationError` for a panic."""
    try:
        with panic_as_error():
            yield
    except PreptimeError as error:
        error.hint = in_python(error.hint)
        raise


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `UsageError` if an argument isn't None and not one of the choices."""
    if value is not None and value not in choices:
        named = " or ".join(f'"{choice}"' for choice in choices)
        raise UsageError(f"{name} is {_shown(value)}.", f"Use {named}.")


def check_type(name: str, value: object, types: type | tuple[type, ...], expected: str) -> None:
    """Raise `UsageError` if an argument isn't of one of the types. `expected` describes them."""
    if not isinstance(value, types):
        raise UsageError(f"{name} is {_shown(value)}.", f"Use {expected}.")


def check_location(name: str, value: object) -> None:
    """Raise `UsageError` if an argument isn't None, text, or a path."""
    check_type(name, value, (str, os.PathLike, type(None)), "text or a path")


def to_whole_number(name: str, value: object, minimum: int = 1) -> int:
    """Return a whole number of any library. Raises `UsageError` for another value, or one below the minimum."""
    try:
        number = minimum - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = minimum - 1
    if number < minimum:
        raise UsageError(f"{name} is {_shown(value)}.", f"Use a whole number from {minimum}.")
    return number


def to_number(name: str, value: object, expected: str = "a number") -> float:
    """Return a number of any library as a float. Raises `UsageError` for another value."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise UsageError(f"{name} is {_shown(value)}.", f"Use {expected}.")
    return float(value)


def to_thresholds(thresholds: Mapping[str, float] | None) -> dict[str, float]:
    """Return the thresholds of the data gate by name. Raises `UsageError` if a value isn't a number."""
    check_type("thresholds", thresholds, (Mapping, type(None)), "a dict of names and numbers")
    return {name: to_number(f"The threshold {name}", value) for name, value in (thresholds or {}).items()}


def to_model_names(models: Iterable[str] | None) -> list[str] | None:
    """Return names as a list: one name alone, or several. Raises `UsageError` for another value."""
    if models is None:
        return None
    check_type("models", models, Iterable, "a name, or a list of names")
    names = [models] if isinstance(models, str) else list(models)
    for name in names:
        check_type("models", name, str, "a name, or a list of names")
    return names


def _shown(value: object) -> str:
    return shorten(repr(value))
