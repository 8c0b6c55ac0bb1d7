"""Run the operator in Airflow's environment with commands that exit or wait, and print the results as JSON.

`run_operator.py FOLDER`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "dags"))

import preptime_operators
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

FAKE_COMMAND = shlex.join([sys.executable, str(Path(__file__).parent / "fake_command.py")])
TIMEOUT_SECONDS = 30


def execute(*arguments: str, no_retry_on_refusal: bool = False) -> str:
    """Run a task and return its exception, or "success"."""
    return execute_task(_task(*arguments, no_retry_on_refusal=no_retry_on_refusal))


def execute_task(task: BaseOperator) -> str:
    """Run a task as Airflow does: after a timeout, Airflow calls `on_kill`."""
    try:
        task.execute(Context())
    except AirflowException as error:
        return f"{type(error).__name__}: {error}"
    except AirflowTaskTimeout as error:
        task.on_kill()
        return f"{type(error).__name__}: {error}"
    return "success"


def has_ended(file: Path) -> bool:
    """Return whether the command and its child end within the timeout."""
    process_ids = [int(word) for word in file.read_text(encoding="utf-8").split()]
    return _wait_until(lambda: not any(_is_running(process_id) for process_id in process_ids))


def execute_and_stop(file: Path, stop: Callable[[BaseOperator], None]) -> str:
    """Run a command that ignores SIGTERM, and call `stop` in a signal handler while the task waits."""
    task = _task("ignore", str(file))

    def handle_alarm(*_: object) -> None:
        if not file.exists() or not file.read_text(encoding="utf-8"):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            return
        stop(task)

    signal.signal(signal.SIGALRM, handle_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    return execute_task(task)


def raise_timeout(_: BaseOperator) -> None:
    """Do what Airflow does when a task reaches its time limit."""
    raise AirflowTaskTimeout


def kill_task(file: Path) -> None:
    """Run a task in its own process, and send SIGKILL to that process."""
    task_process = os.fork()
    if not task_process:
        execute("obey", str(file))
        os._exit(0)
    _wait_until(lambda: file.exists() and bool(file.read_text(encoding="utf-8")))
    os.kill(task_process, signal.SIGKILL)
    os.waitpid(task_process, 0)


def as_of_dates() -> dict[str, str]:
    """Return `--date` for several time zones of the schedule."""
    logical_date = datetime(2015, 6, 14, 20, 0, tzinfo=UTC)
    dates = {}
    for zone in ("", "Asia/Tokyo", "America/Los_Angeles"):
        os.environ["PREPTIME_TIME_ZONE"] = zone
        dates[zone or "UTC"] = preptime_operators.as_of_date(logical_date)
    os.environ["PREPTIME_TIME_ZONE"] = ""
    dates["month before"] = preptime_operators.month_before(datetime(2016, 3, 31, 5, tzinfo=UTC))
    try:
        preptime_operators.as_of_date(None)
    except AirflowException as error:
        dates["none"] = f"{type(error).__name__}: {error}"
    return dates


def _task(*arguments: str, no_retry_on_refusal: bool = False) -> BaseOperator:
    return preptime_operators.preptime_task("task", *arguments, minutes=1, no_retry_on_refusal=no_retry_on_refusal)


def _is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def main(folder: Path) -> None:
    """Run all cases in one process, because loading Airflow takes the longest."""
    os.environ["PREPTIME_COMMAND"] = FAKE_COMMAND
    os.environ["AIRFLOW__CORE__FERNET_KEY"] = os.environ["AIRFLOW_VAR_REGION"] = "secret"
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = "postgresql://airflow:secret@db/x"
    preptime_operators.TERMINATION_GRACE_SECONDS = 1
    results: dict[str, object] = {str(status): execute("exit", str(status)) for status in (0, 1, 2, 3, 4)}
    results["alert"] = execute("exit", "1", no_retry_on_refusal=True)
    results["stopped"] = execute_and_stop(folder / "stopped", lambda task: task.on_kill())
    results["timeout"] = execute_and_stop(folder / "timeout", raise_timeout)
    kill_task(folder / "killed")
    results["ended"] = {name: has_ended(folder / name) for name in ("stopped", "timeout", "killed")}
    environment = preptime_operators.task_environment()
    results["environment"] = [name for name in environment if name.startswith(("AIRFLOW_", "PYTHON"))]
    os.environ["PREPTIME_COMMAND"] = "/no/such/preptime"
    results["missing command"] = execute("exit", "0")
    results["dates"] = as_of_dates()
    sys.stdout.write(f"\n{json.dumps(results)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
