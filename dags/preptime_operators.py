"""Tasks that are verbs of the command line: one switch says where they run.

Read when a DAG file is parsed, from the environment:

- `PREPTIME_RUNNER`: `command` (the default) or `kubernetes`
- `PREPTIME_COMMAND`: with `command`, what is called; by default `preptime` in the project's own `.venv`
- `PREPTIME_IMAGE`, `PREPTIME_POD_TEMPLATE`: with `kubernetes`, the image, and a file that says all else of a pod
- `PREPTIME_TIME_ZONE`: whose 05:00 it is; by default UTC
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, BaseOperator, Context, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowException, AirflowFailException

PROJECT_DIR = Path(__file__).resolve().parent.parent
AS_OF_DATE = "{{ as_of_date(logical_date | default(none)) }}"
"""The date of a run: that of its logical date, on the clock that it is scheduled by. Never today's."""

REFUSED, USAGE_ERROR = 1, 2
TERMINATION_GRACE_SECONDS = 20
"""How long a verb that is told to end may take, before it is ended."""
EXIT_WITH_PARENT_SCRIPT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Becomes the command in its arguments. On Linux a task that is killed outright takes that with it."""
FIRST_RETRY_DELAY, RETRY_BACKOFF_FACTOR, MAX_RETRY_DELAY = timedelta(minutes=5), 2, timedelta(hours=1)
"""Airflow waits up to twice as long: 5 to 10, 10 to 20, 20 to 40 minutes, so the last try of a run of 05:00 is between
05:35 and 06:10. What was delivered by 05:35 is trained on for certain, before the day's orders are scored at 07:00."""


def schedule_time_zone() -> ZoneInfo:
    """Whose hours the schedule means. `{{ ds }}` would be UTC's date, which at 05:00 in Tokyo is yesterday's."""
    return ZoneInfo(os.environ.get("PREPTIME_TIME_ZONE") or "UTC")


def as_of_date(logical_date: datetime | None) -> str:
    """The `--date` of a run."""
    if logical_date is None:
        raise AirflowFailException("This run has no logical date, and no clock is read here: trigger it with one.")
    return logical_date.astimezone(schedule_time_zone()).date().isoformat()


def month_before(logical_date: datetime | None) -> str:
    """The first day of the month before that of a run's date."""
    first_of_month = date.fromisoformat(as_of_date(logical_date)).replace(day=1)
    return (first_of_month - timedelta(days=1)).replace(day=1).isoformat()


def daily_dag(dag_id: str, hour: int, description: str) -> DAG:
    """A DAG that runs at an hour: one run at a time, nothing caught up by itself, any day backfilled when asked."""
    zone = schedule_time_zone()
    return DAG(
        dag_id,
        description=description,
        # The run of 05:00 has that very moment as its logical date, whatever the installation's defaults are.
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
    task_id: str, *arguments: str, minutes: int, no_retry_on_refusal: bool = False, **operator_options: Any
) -> BaseOperator:
    """A task that calls `preptime WORDS`, for at most `minutes`.

    With `no_retry_on_refusal` exit status 1 is not tried again: an alert does not go away by asking twice, whereas data
    that was refused may be complete in ten minutes.
    """
    timeout = timedelta(minutes=minutes)
    runner = os.environ.get("PREPTIME_RUNNER") or "command"
    if runner == "command":
        no_retry_statuses = {USAGE_ERROR, REFUSED} if no_retry_on_refusal else {USAGE_ERROR}
        return PreptimeOperator(
            task_id=task_id,
            arguments=arguments,
            no_retry_statuses=sorted(no_retry_statuses),
            execution_timeout=timeout,
            **operator_options,
        )
    if runner == "kubernetes":
        # A pod's operator does not tell statuses apart. What monitoring misses by a fault, tomorrow's looks at again.
        retry_options = {"retries": 0} if no_retry_on_refusal else {}
        return _pod_task(task_id, arguments, execution_timeout=timeout, **retry_options, **operator_options)
    raise ValueError(f"PREPTIME_RUNNER={runner}: expected command or kubernetes.")


class PreptimeOperator(BaseOperator):
    """Calls the command line in a process group of its own, which ends with the task, however that ends."""

    template_fields = ("arguments",)

    def __init__(self, *, arguments: Sequence[str], no_retry_statuses: Sequence[int], **operator_options: Any) -> None:
        super().__init__(**operator_options)
        self.arguments = tuple(arguments)
        self.no_retry_statuses = tuple(no_retry_statuses)
        """The exit statuses after which another try is no use."""
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Context) -> None:
        """Run it; its lines go to the task's log. A failure repeats the last of them."""
        command = [*preptime_command(), *self.arguments]
        self.log.info("$ %s", shlex.join(command))
        if shutil.which(command[0]) is None:
            raise AirflowFailException(f"There is no {command[0]} that can be called. PREPTIME_COMMAND says what is.")
        last_lines: deque[str] = deque(maxlen=3)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", EXIT_WITH_PARENT_SCRIPT, *command],
            cwd=PROJECT_DIR,
            env=task_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        try:
            for line in self._process.stdout or ():
                self.log.info("%s", line.rstrip())
                if line.strip():
                    last_lines.append(line.strip())
            status = self._process.wait()
        finally:
            self.on_kill()
        if status:
            exception_class = AirflowFailException if status in self.no_retry_statuses else AirflowException
            raise exception_class(f"preptime {self.arguments[0]} ended with {status}. {' '.join(last_lines)}")

    def on_kill(self) -> None:
        """End the whole group: asked first, then made to. Also called while `execute` waits, in a signal's handler."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(TERMINATION_GRACE_SECONDS)
        _signal_group(process.pid, signal.SIGKILL)  # whoever of the group does not listen, though its leader may have


def _signal_group(group: int, signal_number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal_number)


def preptime_command() -> list[str]:
    """What is called for `preptime`. A path is meant from the project's folder, where it is called."""
    configured = os.environ.get("PREPTIME_COMMAND") or f".venv/{'Scripts' if os.name == 'nt' else 'bin'}/preptime"
    program, *arguments = shlex.split(configured)
    return [str(PROJECT_DIR / program) if "/" in program else program, *arguments]


def task_environment() -> dict[str, str]:
    """Airflow's environment without what is Airflow's: its secrets, and the paths of its Python."""
    airflow_prefixes = ("AIRFLOW__", "_AIRFLOW", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(airflow_prefixes)}


def _pod_task(task_id: str, arguments: Sequence[str], **operator_options: Any) -> BaseOperator:
    # Imported here: the Kubernetes client takes longer to import than a DAG may take to parse.
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
