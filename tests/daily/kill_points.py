"""Runs daily commands in forked processes and can kill them at a chosen file operation (see `processes.py`).

Loading the training libraries takes longer than a fast training, so they're loaded once, and each command is a fork. A
call is `{"kill_before": TEXT, "arguments": [COMMAND, …], "output_file": FILE}`. The process is killed with SIGKILL
before it accesses a path that contains TEXT. Python's audit events report the access, so the tested code needs no hook.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

import msgspec
import pytest

from preptime.cli import main
from tests.daily.fast_training import use_fast_training

FILE_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.link"}


class Call(msgspec.Struct):
    """One command to run."""

    kill_before: str | None
    arguments: list[str]
    output_file: str


def kill_before_access(text: str) -> None:
    """Kill this process when it accesses a path that contains `text`."""

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in FILE_OPERATIONS and any(text in str(path) for path in arguments[:2]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def fork(call: Call) -> int:
    """Run the command in a new process, and return its id."""
    process = os.fork()
    if process:
        return process
    output = os.open(call.output_file, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if call.kill_before is not None:
        kill_before_access(call.kill_before)
    status = main(call.arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    """Run the calls of each input line at the same time, and write their exit statuses. A signal is negative."""
    for line in sys.stdin:
        processes = [fork(call) for call in msgspec.json.decode(line, type=list[Call])]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        sys.stdout.write(f"{json.dumps(statuses)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    use_fast_training(pytest.MonkeyPatch())
    for name in ("catboost", "onnxruntime", "skl2onnx", "sklearn.ensemble"):
        importlib.import_module(name)
    serve()
