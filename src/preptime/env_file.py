"""The `.env` file, and the settings in it that only other programs read.

The commands, the DAGs, Compose, and the scripts share this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from preptime.errors import UsageError

ENV_FILE = ".env"
_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_env_file(path: Path) -> dict[str, str]:
    """Return the names and values of an `.env` file. Variables in values aren't expanded.

    Raises:
        UsageError: The file isn't readable UTF-8 text, or a line isn't `NAME=value`. The error names the line's number
            and doesn't repeat the line, because it may contain a secret.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return dict(_name_and_value(binding, path) for binding in parse_stream(stream) if not _is_comment(binding))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Use UTF-8 text.") from error


def read_variables(environ: Mapping[str, str], env_file: Path | None) -> dict[str, str]:
    """Return the variables of `environ`, and those of `env_file` that `environ` doesn't have.

    A variable of `environ` has precedence even if it's empty. A file that doesn't exist has no variables.

    Raises:
        UsageError: The file is invalid: see `read_env_file`.
    """
    file_variables = read_env_file(env_file) if env_file is not None and env_file.is_file() else {}
    return file_variables | dict(environ)


def find_expanded_values(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the name, and the value of each line in which Compose expands variables.

    It doesn't expand a value in single quotes. The file must be valid.
    """
    with path.open(encoding="utf-8-sig") as stream:
        for binding in parse_stream(stream):
            is_quoted = binding.original.string.partition("=")[2].lstrip().startswith("'")
            if binding.key and "$" in (binding.value or "") and not is_quoted:
                yield _line_number(binding), binding.key, binding.value or ""


def _is_comment(binding: Binding) -> bool:
    return binding.key is None and not binding.error


def _name_and_value(binding: Binding, path: Path) -> tuple[str, str]:
    if binding.key is None or binding.value is None or not _NAME_PATTERN.fullmatch(binding.key):
        raise UsageError(
            f"{path}, line {_line_number(binding)}: expected NAME=value.",
            "Start comments with #. If a value has quotes, quote the whole value.",
        )
    return binding.key, binding.value


def _line_number(binding: Binding) -> int:
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


DAG_SETTINGS: dict[str, tuple[str, str]] = {
    "PREPTIME_RUNNER": (
        "command: tasks run a command. kubernetes: each task runs in a pod. dataproc: Spark batches (docs/scale.md).",
        "command",
    ),
    "PREPTIME_COMMAND": ("For command: the command, relative to the folder that contains dags/.", ".venv/bin/preptime"),
    "PREPTIME_IMAGE": ("For kubernetes: the image of the pods. Its entry point is preptime.", ""),
    "PREPTIME_POD_TEMPLATE": ("For kubernetes: the file with the pod template.", ""),
    "PREPTIME_SPARK_IMAGE": ("For dataproc: the image preptime-spark in Artifact Registry.", ""),
    "PREPTIME_SPARK_PROJECT": ("For dataproc: the project of the batches.", ""),
    "PREPTIME_SPARK_REGION": ("For dataproc: the region of the batches.", ""),
    "PREPTIME_SPARK_ACCOUNT": ("For dataproc: the email address of the batches' service account.", ""),
    "PREPTIME_SPARK_SUBNETWORK": ("For dataproc: the subnetwork of the batches.", ""),
    "PREPTIME_SPARK_STAGING_BUCKET": ("For dataproc: the bucket for files of the batches.", ""),
    "PREPTIME_SPARK_ORDERS": ("For dataproc: the address of the orders. {date} is the date of the run.", ""),
    "PREPTIME_SPARK_OUT": ("For dataproc: the folder of the output. {date} is the date of the run.", ""),
    "PREPTIME_SPARK_CORPUS": ("For dataproc: where Spark writes the orders of a training. {date} as above.", ""),
    "PREPTIME_SPARK_TRAINING_ORDERS": ("For dataproc: the address of all orders, for the corpus. {date} as above.", ""),
    "PREPTIME_SPARK_SCHEMA": ("For dataproc: the URL of the schema of these orders.", ""),
    "PREPTIME_TIME_ZONE": ("Time zone of the DAG schedule.", "UTC"),
    "PREPTIME_KEEP_BUNDLES": ("Number of newest bundles to keep.", "100"),
    "PREPTIME_KEEP_DAYS": ("Number of newest days with results to keep.", "400"),
    "PREPTIME_DEMO_ORDERS": ("For demonstrations: a folder in which orders and restaurants are synthesized first.", ""),
}
"""Variable, description, and default (docs/daily-run.md)."""

COMPOSE_SETTINGS: dict[str, tuple[str, str]] = {
    "IMAGE_TAG": ("Tag of the preptime images.", "local"),
    "ENV_FILE": ("Settings file that the containers get.", ".env"),
    "ORDERS_FOLDER": (
        "Folder on this machine that contains orders and restaurants. If it's empty, the volume `orders` is used.",
        "",
    ),
    "COMPOSE_ORDERS": ("Orders in the containers: a path or a URL.", "/data/orders/orders.csv"),
    "COMPOSE_RESTAURANTS": (
        "Restaurants in the containers: a path or a URL. If it's set and empty, they are derived from the orders.",
        "/data/orders/restaurants.csv",
    ),
    "COMPOSE_SCHEMA": ("Schema in the containers, such as `/data/orders/schema.toml`.", ""),
    "COMPOSE_STORE": ("Store in the containers: a path or a URL.", "/data/models"),
    "AIRFLOW_PORT": ("Port of Airflow on this machine's loopback address.", "8080"),
    "_AIRFLOW_WWW_USER_USERNAME": ("User name for signing in to Airflow.", "airflow"),
    "_AIRFLOW_WWW_USER_PASSWORD": ("Password for signing in to Airflow. `make up` creates it.", ""),
    "AIRFLOW_FERNET_KEY": ("Key with which Airflow encrypts stored secrets. `make up` creates it.", ""),
    "AIRFLOW_SECRET": ("Secret with which Airflow signs sessions. `make up` creates it.", ""),
    "POSTGRES_PASSWORD": ("Password of the database. `make up` creates it.", ""),
    "POSTGRES_IMAGE": ("Image of the database. deploy/docker/pins.env pins it.", ""),
    "PROMETHEUS_PORT": ("Port of Prometheus on this machine's loopback address.", "9090"),
    "PROMETHEUS_IMAGE": ("Image of Prometheus. deploy/docker/pins.env pins it.", ""),
    "GRAFANA_PORT": ("Port of Grafana on this machine's loopback address.", "3000"),
    "GRAFANA_ADMIN_PASSWORD": ("Password of Grafana's user `admin`. `make up` creates it.", ""),
    "GRAFANA_IMAGE": ("Image of Grafana. deploy/docker/pins.env pins it.", ""),
}
"""Variable, description, and default (docs/deploy-docker.md). Compose also reads some of preptime's own settings."""

EXTERNAL_SECTIONS = {"Read by the DAGs": DAG_SETTINGS, "Read by Compose": COMPOSE_SETTINGS}
DAG_SETTING_NAMES = frozenset(DAG_SETTINGS)
"""Variables with preptime's prefix that only the DAGs read, in an environment without preptime."""
