"""Daily verbs in processes of their own, some of which die on the way; see `Processes` in `processes.py`.

Loading what trains takes longer than a quick training, so it is loaded once, and each call is a fork. A call is
`{"before": FRAGMENT, "words": [VERB, …], "said": FILE}`: it is killed (SIGKILL, nothing is cleaned up) before it
touches a path with FRAGMENT in it, as Python's audit events see it, so that the code under test knows nothing of it.
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

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.link"}


class Call(msgspec.Struct):
    """One verb."""

    before: str | None
    words: list[str]
    said: str


def die_before(fragment: str) -> None:
    """From now on."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in OPERATIONS and any(fragment in str(path) for path in arguments[:2]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def forked(call: Call) -> int:
    """The id of a process that makes the call."""
    process = os.fork()
    if process:
        return process
    said = os.open(call.said, os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if call.before is not None:
        die_before(call.before)
    status = main(call.words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    """Calls of a line at the same time; a line with their exit statuses, below 0 what they died of."""
    for line in sys.stdin:
        processes = [forked(call) for call in msgspec.json.decode(line, type=list[Call])]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        sys.stdout.write(f"{json.dumps(statuses)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    use_fast_training(pytest.MonkeyPatch())
    for name in ("catboost", "onnxruntime", "skl2onnx", "sklearn.ensemble"):
        importlib.import_module(name)
    serve()
