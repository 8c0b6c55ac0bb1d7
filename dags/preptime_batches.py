"""Airflow tasks that run `preptime spark` as serverless Spark batches on Google Cloud.

`preptime_operators` imports this file with `PREPTIME_RUNNER=dataproc` only, because Google's provider takes longer to
import than a DAG file may take to parse without it. Airflow reads these environment variables:

- `PREPTIME_SPARK_IMAGE`: the image `spark` in Artifact Registry
- `PREPTIME_SPARK_PROJECT`, `PREPTIME_SPARK_REGION`: where the batches run
- `PREPTIME_SPARK_ACCOUNT`, `PREPTIME_SPARK_SUBNETWORK`, `PREPTIME_SPARK_STAGING_BUCKET`: outputs of Terraform
- `PREPTIME_SPARK_ORDERS`, `PREPTIME_SPARK_OUT`: addresses of `preptime spark score`. `{date}` is the date of the run.
- `PREPTIME_SPARK_TRAINING_ORDERS`, `PREPTIME_SPARK_CORPUS`: addresses of `preptime spark corpus`, with `{date}` too
- `PREPTIME_SPARK_SCHEMA`: the schema of these orders at a URL, if it isn't the built-in one
- `PREPTIME_STORE`, `PREPTIME_RESTAURANTS`: as for all commands
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator
from airflow.sdk import Context
from google.api_core.exceptions import NotFound

OPTIONS: dict[str, dict[str, str]] = {
    "score": {"--orders": "PREPTIME_SPARK_ORDERS", "--out": "PREPTIME_SPARK_OUT"},
    "corpus": {
        "--orders": "PREPTIME_SPARK_TRAINING_ORDERS",
        "--out": "PREPTIME_SPARK_CORPUS",
        "--restaurants": "PREPTIME_RESTAURANTS",
    },
}
"""The options of each command, and the variables with their values."""
OTHER_OPTIONS: dict[str, dict[str, str]] = {
    "score": {"--store": "PREPTIME_STORE", "--restaurants": "PREPTIME_RESTAURANTS"},
    "corpus": {"--schema-url": "PREPTIME_SPARK_SCHEMA"},
}
"""The options whose variables can be missing."""
MAIN_FILE = "file:///opt/spark_main.py"
"""The main file in the image."""
RUNTIME_VERSION = "3.0"
"""Google's runtime with Spark 4.0."""
POLLING_SECONDS = 30
EXECUTOR_CORES = 4
OVERHEAD_MB_PER_CORE = 640
"""Memory of a Python worker, one for each core. It isn't part of the heap (docs/scale.md)."""
PROPERTIES = {
    "spark.executor.cores": str(EXECUTOR_CORES),
    "spark.executor.memory": "4g",
    "spark.executor.memoryOverhead": f"{EXECUTOR_CORES * OVERHEAD_MB_PER_CORE}m",
}
ENDED_WITHOUT_SUCCESS = frozenset({"FAILED", "CANCELLED"})
REPLACED_STATES = {"score": ENDED_WITHOUT_SUCCESS, "corpus": ENDED_WITHOUT_SUCCESS | {"SUCCEEDED"}}
"""The states of an earlier batch that each command replaces. A corpus is selected again, because orders can be late."""


class PreptimeBatchOperator(DataprocCreateBatchOperator):
    """Runs one batch for each job and date.

    If a batch with this ID exists, Google's operator waits for it or takes its result. Therefore, a retry doesn't score
    a day twice at the same time. A failed batch would fail every retry, so this operator first deletes it. It does the
    same for the other `replaced_states`.
    """

    def __init__(self, *, replaced_states: Container[str] = ENDED_WITHOUT_SUCCESS, **operator_options: Any) -> None:
        super().__init__(**operator_options)
        self.replaced_states = replaced_states

    def execute(self, context: Context) -> Any:
        """Create the batch or wait for the existing one. Raises `AirflowException` if the batch fails."""
        place = {"batch_id": self.batch_id, "region": self.region, "project_id": self.project_id}
        try:
            state = self.hook.get_batch(**place).state.name
        except NotFound:
            state = None
        if state in self.replaced_states:
            self.log.info("Batch %s ended as %s. Deleting it, to run it again.", self.batch_id, state)
            self.hook.delete_batch(**place)
        return super().execute(context)


def batch_task(
    task_id: str,
    command: str,
    *,
    date: str,
    execution_timeout: timedelta,
    deferrable: bool = True,
    **operator_options: Any,
) -> PreptimeBatchOperator:
    """Return a task that runs `preptime spark COMMAND` of a date. Raises `KeyError` for a missing setting."""
    return PreptimeBatchOperator(
        task_id=task_id,
        project_id=os.environ["PREPTIME_SPARK_PROJECT"],
        region=os.environ["PREPTIME_SPARK_REGION"],
        batch_id=f"preptime-{task_id.replace('_', '-')}-{date}",
        batch=describe_batch([command, *iter_arguments(command, date)], execution_timeout),
        replaced_states=REPLACED_STATES[command],
        deferrable=deferrable,
        polling_interval_seconds=POLLING_SECONDS,
        execution_timeout=execution_timeout,
        **operator_options,
    )


def iter_arguments(command: str, date: str) -> Iterator[str]:
    """Yield the options of a command for a date. Raises `KeyError` for a missing setting."""
    for option, name in OPTIONS[command].items():
        yield from (option, os.environ[name].replace("{date}", date))
    for option, name in OTHER_OPTIONS[command].items():
        if os.environ.get(name):
            yield from (option, os.environ[name])
    yield from ("--date", date)


def describe_batch(arguments: Sequence[str], time_limit: timedelta) -> dict[str, Any]:
    """Return the batch for Google's API. It ends by itself after the time limit of the task."""
    bucket = re.sub("^gs://", "", os.environ["PREPTIME_SPARK_STAGING_BUCKET"])
    return {
        "pyspark_batch": {"main_python_file_uri": MAIN_FILE, "args": list(arguments)},
        "runtime_config": {
            "version": RUNTIME_VERSION,
            "container_image": os.environ["PREPTIME_SPARK_IMAGE"],
            "properties": dict(PROPERTIES),
        },
        "environment_config": {
            "execution_config": {
                "service_account": os.environ["PREPTIME_SPARK_ACCOUNT"],
                "subnetwork_uri": os.environ["PREPTIME_SPARK_SUBNETWORK"],
                "staging_bucket": bucket,
                "ttl": {"seconds": int(time_limit.total_seconds())},
            }
        },
        "labels": {"app": "preptime"},
    }
