"""In Airflow's environment: what the operator makes of verbs that end, stay, are stopped or lose their task; as JSON.

`operate.py FOLDER`.
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

import preptime_operators as verbs
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

VERB = shlex.join([sys.executable, str(Path(__file__).parent / "verb.py")])
SECONDS = 30
"""Most that anything here waits."""


def ended(*words: str, no_retry_on_refusal: bool = False) -> str:
    """How a task ends."""
    task = verbs.preptime_task("task", *words, minutes=1, no_retry_on_refusal=no_retry_on_refusal)
    try:
        task.execute(Context())
    except AirflowException as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


def gone(file: Path) -> bool:
    """Whether the verb and its child are gone, within a while."""
    ids = [int(word) for word in file.read_text(encoding="utf-8").split()]
    return _within(lambda: not any(_runs(one) for one in ids))


def stopped(file: Path, stop: Callable[[verbs.PreptimeOperator], None]) -> str:
    """A verb that stays, and is stopped while the task waits for it."""
    task = verbs.PreptimeOperator(task_id="task", arguments=("stay", str(file)), no_retry_statuses=())

    def alarm(*_: object) -> None:
        if not file.exists() or not file.read_text(encoding="utf-8"):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            return
        stop(task)

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        task.execute(Context())
    except (AirflowException, AirflowTaskTimeout) as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


def too_late(_: verbs.PreptimeOperator) -> None:
    """What Airflow does when the time limit is reached."""
    raise AirflowTaskTimeout


def killed(file: Path) -> None:
    """A task in a process of its own that is killed outright."""
    task = os.fork()
    if not task:
        ended("obey", str(file))
        os._exit(0)
    _within(lambda: file.exists() and bool(file.read_text(encoding="utf-8")))
    os.kill(task, signal.SIGKILL)
    os.waitpid(task, 0)


def dates() -> dict[str, str]:
    """`--date` by the schedule's time zone."""
    at = datetime(2015, 6, 14, 20, 0, tzinfo=UTC)
    found = {}
    for zone in ("", "Asia/Tokyo", "America/Los_Angeles"):
        os.environ["PREPTIME_TIME_ZONE"] = zone
        found[zone or "UTC"] = verbs.as_of_date(at)
    os.environ["PREPTIME_TIME_ZONE"] = ""
    found["month before"] = verbs.month_before(datetime(2016, 3, 31, 5, tzinfo=UTC))
    try:
        verbs.as_of_date(None)
    except AirflowException as error:
        found["none"] = f"{type(error).__name__}: {error}"
    return found


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _within(what: Callable[[], bool]) -> bool:
    until = time.monotonic() + SECONDS
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def main(folder: Path) -> None:
    """All of it in one process, since loading Airflow takes longest."""
    os.environ["PREPTIME_COMMAND"] = VERB
    os.environ["AIRFLOW__CORE__FERNET_KEY"] = "secret"
    verbs.TERMINATION_GRACE_SECONDS = 1
    told: dict[str, object] = {str(status): ended("end", str(status)) for status in (0, 1, 2, 3)}
    told["alert"] = ended("end", "1", no_retry_on_refusal=True)
    told["stopped"] = stopped(folder / "stopped", lambda task: task.on_kill())
    told["too late"] = stopped(folder / "late", too_late)
    killed(folder / "killed")
    told["gone"] = {name: gone(folder / name) for name in ("stopped", "late", "killed")}
    told["environment"] = [name for name in verbs.task_environment() if name.startswith(("AIRFLOW__", "PYTHON"))]
    os.environ["PREPTIME_COMMAND"] = "/no/such/preptime"
    told["no command"] = ended("end", "0")
    told["dates"] = dates()
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
