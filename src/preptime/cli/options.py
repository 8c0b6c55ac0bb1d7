"""Options that several commands share. Each has one meaning.

A setting option gets its value from the command line, the environment, `.env`, or the setting's default, in this order.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from preptime.env_file import ENV_FILE, read_variables
from preptime.errors import UsageError
from preptime.network import is_service_link
from preptime.python_api.defaults import cores
from preptime.redaction import has_secret, redact_address
from preptime.setting_specs import SettingSpec
from preptime.settings import SETTING_SPECS, Settings

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.scoring.travel_column import TravelColumn
    from preptime.tracking.runs import TrackedRun, TrackingSettings

ABANDONED_HOURS = 24
"""Age after which a partly written file or bundle is removed."""

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., object])


class IsoDate(click.ParamType[dt.date]):
    """An ISO date."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """Return the date of the text `YYYY-MM-DD`."""
        if isinstance(value, dt.date):
            return value
        try:
            return dt.date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} isn't a date such as 2015-06-17", param, ctx)


DATE = IsoDate()


class LocalPath(click.Path):
    """A path on this machine. A URL isn't one: it would become a folder whose name contains the password."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path."""
        text = os.fspath(value)
        if "://" in text or has_secret(text):
            self.fail(f"{redact_address(text)!r} isn't a path on this machine.", param, ctx)
        return super().convert(value, param, ctx)


METAVARS = {
    "api_url": "URL",
    "host": "ADDRESS",
    "orders": "LOCATION",
    "predictions_url": "URL",
    "prediction_log_source": "FOLDER|URL",
    "restaurants": "LOCATION",
    "schema": "FILE",
    "results": "FOLDER",
    "store": "FOLDER|URL",
    "ui_base_path": "PATH",
    "ui_host": "ADDRESS",
}
"""Types of setting options that click only knows as text, as shown in the help."""


class SettingOption(click.Option):
    """An option that ignores a variable that Kubernetes set for a Service, such as `PREPTIME_PORT=tcp://…`."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value of the option's variable, or None if it's unset."""
        value = super().resolve_envvar_value(ctx)
        return None if value is not None and is_service_link(str(self.envvar), value) else value


def setting_option(
    field: str, help_text: str, *, flag: str | None = None, required: bool = False
) -> Callable[[CommandFunction], CommandFunction]:
    """Return an option whose value can also come from a setting.

    Args:
        field: Name of the setting in `Settings`. It also determines the variable, the type, and the range.
        help_text: The option's help.
        flag: The option's name. Default: the name of the setting.
        required: Whether the command fails if neither the option nor the setting has a value.
    """
    spec = SETTING_SPECS[field]

    def resolve_value(context: click.Context, parameter: click.Parameter, value: object) -> object:
        resolved = value or read_setting(field)  # an empty option, such as an unset shell variable, counts as not given
        if resolved is None and required:
            raise click.MissingParameter(ctx=context, param=parameter)
        if isinstance(resolved, str):
            spec.convert(parameter.opts[0], resolved)  # what click can't check, such as a folder that is a URL
        return resolved

    return click.option(
        flag or f"--{field.replace('_', '-')}",
        cls=SettingOption,
        type=_parameter_type(spec),
        metavar=METAVARS.get(field),
        envvar=spec.names[0],
        show_envvar=True,
        default=lambda: read_setting(field),  # click calls it if the command line and the environment have no value
        show_default=spec.default or False,
        required=required,
        callback=resolve_value,
        help=help_text,
    )


def _parameter_type(spec: SettingSpec) -> click.ParamType[object]:
    if spec.choices:
        return click.Choice(spec.choices)
    return click.IntRange(spec.minimum, spec.maximum) if spec.is_integer else click.STRING


def read_setting(field: str) -> str | None:
    """Return a setting from the environment, else from `.env`, else its default. Return None for an empty value.

    If the command has the option `--env-file`, that file is read instead of `.env`.
    """
    option_value = click.get_current_context().params.get("env_file")
    env_file = option_value if isinstance(option_value, Path) else Path(ENV_FILE)  # click has its own missing value
    value = getattr(Settings.load(os.environ, env_file), field)
    return None if value in ("", None) else str(value)


def open_store(url: str) -> Store:
    """Return the store at a URL, with the limits on checks of its bundles in the settings. Raises `StoreError`."""
    from preptime.bundle.store import CheckLimits, Store

    timeout, memory = read_setting("bundle_load_timeout_seconds"), read_setting("bundle_load_memory_mb")
    return Store.open(url, check_limits=CheckLimits(float(timeout or 0), int(memory or 0)))


def tracking_settings() -> TrackingSettings:
    """Return where runs are logged in MLflow, from the settings."""
    from preptime.tracking.runs import TrackingSettings

    uri, experiment, model = map(read_setting, ("mlflow_tracking_uri", "mlflow_experiment_name", "mlflow_model"))
    return TrackingSettings(uri or "", experiment or "", model or "")


def tracked_run(command: str) -> AbstractContextManager[TrackedRun]:
    """Return a context that logs a command as a run in MLflow, if `MLFLOW_TRACKING_URI` is set."""
    from preptime.tracking.runs import tracked_run

    return tracked_run(command, tracking_settings())


def require_setting(field: str, option_value: str | None, context: click.Context) -> str:
    """Return the value of the option `--FIELD` if it's given, else the setting. Without either, it's wrong use."""
    value = option_value or read_setting(field)
    if not value:
        raise click.UsageError(
            f"Missing option '--{field}'. Use the option, or set {SETTING_SPECS[field].names[0]} in the environment "
            f"or in {ENV_FILE}.",
            context,
        )
    return value


def server_environment(env_file: Path | None, option_values: dict[str, object]) -> dict[str, str]:
    """Return the variables of `.env`, of the environment, and of the options, by setting, in ascending priority."""
    own_environ = {name: value for name, value in os.environ.items() if not is_service_link(name, value)}
    return read_variables(own_environ, env_file or Path(ENV_FILE)) | {
        SETTING_SPECS[field].names[0]: str(value) for field, value in option_values.items() if value is not None
    }


_ORDERS_HELP = "Orders: a CSV or Parquet file, a folder, a glob, or a database URL."
orders = setting_option("orders", _ORDERS_HELP, required=True)
optional_orders = setting_option("orders", _ORDERS_HELP)
"""The same for a command that can also read what Spark has prepared. It requires one of the two."""
corpus = click.option(
    "--corpus",
    metavar="FOLDER|URL",
    help="Orders and restaurants that preptime spark corpus has written, instead of --orders and --restaurants.",
)
state = click.option(
    "--state",
    metavar="FOLDER|URL",
    help="State that preptime spark state has counted, instead of --orders and --restaurants.",
)
restaurants = setting_option(
    "restaurants",
    "Restaurants: the same kinds of location as for orders.  [default: restaurants derived from the orders, if the "
    "schema determines their time zones]",
)
schema = setting_option(
    "schema",
    "Schema of the orders and restaurants.  [default: schema.toml in the current folder, else the built-in schema]",
)
store = setting_option("store", "Folder or URL of the store.")
prediction_log_source = setting_option(
    "prediction_log_source",
    "Prediction log of the API: a folder, which may be missing, bigquery://PROJECT.DATASET?table=TABLE, or "
    "logging://PROJECT.  [default: the setting PREPTIME_PREDICTION_LOG_FOLDER]",
)
results = setting_option("results", "Folder of the daily results, with one partition for each date.")
env_file = click.option(
    "--env-file",
    type=LocalPath(exists=True, dir_okay=False),
    is_eager=True,
    help="Settings file. The environment takes precedence, and options take precedence over both.  [default: .env]",
)
date = click.option(
    "--date",
    type=DATE,
    required=True,
    help="As-of date. Only events before local midnight of this date are used.",
)
dvc_metrics = click.option(
    "--dvc-metrics",
    type=LocalPath(file_okay=False),
    help="Folder to which metrics are also written, as small files for DVC (docs/data-versions.md).",
)
gate = click.option(
    "--gate", multiple=True, metavar="NAME=NUMBER", help="A different threshold for the data gate, such as min_days=5."
)
promote = click.option(
    "--promote",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="auto: promote the bundle if it's better than the champion. never: only store it.",
)
models = click.option(
    "--models",
    metavar="NAME,NAME",
    help="Models to fit, such as quantile,xgb: of the catalogue, or of [models] in the schema. quantile is always "
    "fitted.  [default: all]",
)
reason = click.option("--reason", required=True, help="The reason, for the champion log.")
master = click.option(
    "--master",
    metavar="URL",
    help="Where Spark runs, such as local[4] or spark://HOST:7077. Omit it in spark-submit.  [default: local[2]]",
)
spark_settings = click.option(
    "--conf",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the Spark session, such as spark.executor.memory=2g.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(1),
    default=cores(),
    show_default="all cores",
    help="Number of cores to train on.",
)


def parse_models(names: str | None) -> tuple[str, ...] | None:
    """Return the names in the option `--models`, or None for all models."""
    return None if names is None else tuple(name.strip() for name in names.split(",") if name.strip())


def travel_column(
    context: click.Context, name: str | None, courier_cost: float | None, food_cost: float | None
) -> TravelColumn | None:
    """Return the column with the level that follows from the costs, or None without a name.

    Raises `UsageError` for an invalid ratio, or for a cost without a column.
    """
    if name is None:
        if courier_cost is not None or food_cost is not None:
            raise click.UsageError("Use --courier-cost and --food-cost only with --travel-column.", context)
        return None
    from preptime.domain.dispatch import dispatch_level
    from preptime.scoring.travel_column import TravelColumn

    costs = [
        float(read_setting(setting) or 1) if cost is None else cost
        for setting, cost in (("courier_cost", courier_cost), ("food_cost", food_cost))
    ]
    return TravelColumn(name, dispatch_level(*costs))


def parse_spark_settings(assignments: tuple[str, ...]) -> dict[str, str]:
    """Return `NAME=VALUE` assignments as texts by name. Raises `UsageError`."""
    settings = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name.startswith("spark."):
            raise UsageError(
                f"--conf {assignment!r} isn't a Spark setting.", "Write it as NAME=VALUE: spark.executor.memory=2g."
            )
        settings[name] = value
    return settings


def abandoned_before() -> float:
    """Return the time, in seconds since 1970, before which a partly written file or bundle counts as abandoned."""
    return (dt.datetime.now(dt.UTC) - dt.timedelta(hours=ABANDONED_HOURS)).timestamp()


def parse_thresholds(assignments: tuple[str, ...]) -> dict[str, float]:
    """Return `NAME=NUMBER` assignments as numbers by name. Raises `UsageError`."""
    values = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            values[name] = float(value)
        except ValueError as error:
            raise UsageError(
                f"--gate {assignment!r} isn't a threshold.", "Write it as NAME=NUMBER, such as min_days=5."
            ) from error
    return values
