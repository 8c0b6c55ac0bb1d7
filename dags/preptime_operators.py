"""Airflow tasks that run preptime commands, on this machine, as Kubernetes pods, or as Spark batches.

Airflow reads these environment variables when it parses a DAG file:

- `PREPTIME_RUNNER`: `command` (default), `kubernetes`, or `dataproc` (see preptime_batches.py)
- `PREPTIME_COMMAND`: for `command`, the program to run; default: `preptime` in the project's `.venv`
- `PREPTIME_IMAGE`, `PREPTIME_POD_TEMPLATE`: for `kubernetes`, the image, and a file with the other pod settings
- `PREPTIME_TIME_ZONE`: the time zone of the schedule; default: UTC
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Container, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator, Context, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowException, AirflowFailException

PROJECT_DIR = Path(__file__).resolve().parent.parent
AS_OF_DATE = "{{ as_of_date(logical_date | default(none)) }}"
"""The `--date` of a run: its logical date in the schedule's time zone. It never depends on the clock."""

REFUSED, USAGE_ERROR, PERMANENTLY_REFUSED = 1, 2, 4
"""Exit statuses of preptime (`preptime --help`)."""
NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit statuses of bash when it can't run a program."""
TERMINATION_GRACE_SECONDS = 20
"""Time that a command has to stop after SIGTERM."""
EXIT_WITH_PARENT_SCRIPT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Becomes the command in its arguments. On Linux, that command gets SIGTERM when the task's process dies."""
CORPUS_MINUTES = 60
"""The time limit of the batch that selects the orders of a training."""
FIRST_RETRY_DELAY, RETRY_BACKOFF_FACTOR, MAX_RETRY_DELAY = timedelta(minutes=5), 2, timedelta(hours=1)
"""Airflow adds up to 100% of jitter: 5 to 10, 10 to 20, and 20 to 40 minutes. The last try of the 05:00 run starts
between 05:35 and 06:10. Data that arrives by 05:35 is always used before the day's orders are scored at 07:00."""


def schedule_time_zone() -> ZoneInfo:
    """Return the time zone of the schedule. `{{ ds }}` is the UTC date, which is yesterday at 05:00 in Tokyo."""
    return ZoneInfo(os.environ.get("PREPTIME_TIME_ZONE") or "UTC")


def as_of_date(logical_date: datetime | None) -> str:
    """Return the `--date` of a run. Raises `AirflowFailException` for a run without a logical date."""
    if logical_date is None:
        raise AirflowFailException("The run has no logical date. Trigger the DAG with a logical date.")
    return logical_date.astimezone(schedule_time_zone()).date().isoformat()


def month_before(logical_date: datetime | None) -> str:
    """Return the first day of the month before the run's date."""
    first_of_month = date.fromisoformat(as_of_date(logical_date)).replace(day=1)
    return (first_of_month - timedelta(days=1)).replace(day=1).isoformat()


def daily_dag(dag_id: str, hour: int, doc: str | None) -> DAG:
    """Return a DAG that runs daily at `hour`, one run at a time. It catches up only when you backfill.

    `doc` is the documentation in the web interface. Its first line is the description in the list of DAGs.
    """
    zone = schedule_time_zone()
    return DAG(
        dag_id,
        description=(doc or "").partition("\n")[0],
        doc_md=doc,
        # With this timetable, the logical date of the 05:00 run is 05:00, for any default of the installation.
        schedule=CronTriggerTimetable(f"0 {hour} * * *", timezone=str(zone)),
        start_date=datetime(2015, 1, 1, tzinfo=zone),
        catchup=False,
        max_active_runs=1,
        tags=["preptime"],
        user_defined_macros={"as_of_date": as_of_date, "month_before": month_before},
        default_args={
            "retries": 3,
            "retry_delay": FIRST_RETRY_DELAY,
            "retry_exponential_backoff": RETRY_BACKOFF_FACTOR,
            "max_retry_delay": MAX_RETRY_DELAY,
        },
    )


def preptime_task(
    task_id: str,
    *arguments: str,
    minutes: int,
    no_retry_on_refusal: bool = False,
    spark_command: str | None = None,
    **operator_options: Any,
) -> BaseOperator:
    """Return a task that runs `preptime ARGUMENTS` for at most `minutes`.

    With `no_retry_on_refusal`, exit status 1 isn't retried: an alert stays an alert, whereas incomplete data may be
    complete ten minutes later. With the runner `dataproc`, a task with a `spark_command` runs `preptime spark
    SPARK_COMMAND` instead. Raises `ValueError` for an unknown `PREPTIME_RUNNER`.
    """
    timeout = timedelta(minutes=minutes)
    runner = task_runner(spark_command)
    if runner == "dataproc" and spark_command:
        # Imported here: Google's provider isn't installed everywhere, and is slow to import.
        from preptime_batches import batch_task

        return batch_task(task_id, spark_command, date=AS_OF_DATE, execution_timeout=timeout, **operator_options)
    if runner == "command":
        no_retry_statuses = {USAGE_ERROR, PERMANENTLY_REFUSED} | ({REFUSED} if no_retry_on_refusal else set())
        return PreptimeOperator(
            task_id=task_id,
            arguments=arguments,
            no_retry_statuses=no_retry_statuses | {NOT_EXECUTABLE, NOT_FOUND},
            execution_timeout=timeout,
            **operator_options,
        )
    if runner == "kubernetes":
        # The pod operator doesn't distinguish exit statuses. Tomorrow's monitoring covers the days of a failed one.
        retry_options = {"retries": 0} if no_retry_on_refusal else {}
        return _pod_task(task_id, arguments, execution_timeout=timeout, **retry_options, **operator_options)
    raise ValueError(f"PREPTIME_RUNNER={runner}: expected command, kubernetes, or dataproc.")


def corpus_address() -> str | None:
    """Return where Spark writes the orders of a training (`preptime spark corpus`), or None without Spark."""
    address = os.environ.get("PREPTIME_SPARK_CORPUS")
    return address.replace("{date}", AS_OF_DATE) if address and task_runner("corpus") == "dataproc" else None


def select_orders_again(context: Any) -> None:
    """Before a retry of a training, select its orders again with a batch, and wait for the batch.

    Airflow retries only `train`, which would otherwise read the same incomplete orders. The time limit of `train`
    doesn't include this batch, which has its own. Raises `AirflowException` if the batch fails.
    """
    if context["ti"].try_number == 1:
        return
    from preptime_batches import batch_task

    date, timeout = as_of_date(context.get("logical_date")), timedelta(minutes=CORPUS_MINUTES)
    batch_task("corpus", "corpus", date=date, execution_timeout=timeout, deferrable=False).execute(context)


def task_runner(spark_command: str | None) -> str:
    """Return the runner of a task. With `dataproc`, tasks that Spark can't run are pods or commands."""
    runner = os.environ.get("PREPTIME_RUNNER") or "command"
    if runner != "dataproc" or spark_command:
        return runner
    return "kubernetes" if os.environ.get("PREPTIME_IMAGE") else "command"


class PreptimeOperator(BashOperator):
    """Runs a preptime command and decides by its exit status whether Airflow retries the task."""

    def __init__(self, *, arguments: Sequence[str], no_retry_statuses: Container[int], **operator_options: Any) -> None:
        command = shlex.join([*preptime_command(), *arguments])
        # `exec`: bash becomes the command, so the signals and the exit status are the command's.
        super().__init__(bash_command=f"exec {command}", cwd=str(PROJECT_DIR), **operator_options)
        self.no_retry_statuses = no_retry_statuses

    @cached_property
    def subprocess_hook(self) -> SubprocessHook:
        """The hook that runs the command."""
        return _PreptimeHook(self.no_retry_statuses)

    def get_env(self, context: Context) -> dict[str, str]:
        """Return the command's environment. It isn't an argument, because Airflow stores rendered arguments."""
        return task_environment()


class _PreptimeHook(SubprocessHook):
    """Maps exit statuses to exceptions, and stops the command when the task stops."""

    def __init__(self, no_retry_statuses: Container[int]) -> None:
        super().__init__()
        self.no_retry_statuses = no_retry_statuses

    def run_command(self, command: list[str], **options: Any) -> SubprocessResult:
        """Run a command. Raises `AirflowFailException`, which ends all tries, or `AirflowException`."""
        script = [sys.executable, "-I", "-S", "-c", EXIT_WITH_PARENT_SCRIPT]
        result: SubprocessResult = super().run_command([*script, *command], **options)
        status = result.exit_code
        if status:
            hint = " Check PREPTIME_COMMAND." if status in {NOT_EXECUTABLE, NOT_FOUND} else ""
            exception_class = AirflowFailException if status in self.no_retry_statuses else AirflowException
            raise exception_class(f"preptime exited with status {status}: {result.output}{hint}")
        return result

    def send_sigterm(self) -> None:
        """Send SIGTERM to the process group, wait, then send SIGKILL. `on_kill` calls this."""
        process = self.sub_process
        if process is None or process.returncode is not None:
            return
        super().send_sigterm()
        with suppress(subprocess.TimeoutExpired):
            process.wait(TERMINATION_GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def preptime_command() -> list[str]:
    """Return the program and its first arguments. A relative path is relative to the project folder."""
    configured = os.environ.get("PREPTIME_COMMAND") or f".venv/{'Scripts' if os.name == 'nt' else 'bin'}/preptime"
    program, *arguments = shlex.split(configured)
    return [str(PROJECT_DIR / program) if "/" in program else program, *arguments]


def task_environment() -> dict[str, str]:
    """Return the environment without Airflow's settings, connections, variables, and Python paths."""
    airflow_prefixes = ("AIRFLOW_", "_AIRFLOW", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(airflow_prefixes)}


def _pod_task(task_id: str, arguments: Sequence[str], **operator_options: Any) -> BaseOperator:
    # Imported here: importing the Kubernetes client takes longer than a DAG file may take to parse.
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    return KubernetesPodOperator(
        task_id=task_id,
        name=f"preptime-{task_id.replace('_', '-')}",
        image=os.environ["PREPTIME_IMAGE"],
        arguments=list(arguments),
        pod_template_file=os.environ.get("PREPTIME_POD_TEMPLATE") or None,
        on_finish_action="delete_pod",
        get_logs=True,
        termination_grace_period=TERMINATION_GRACE_SECONDS,
        **operator_options,
    )
