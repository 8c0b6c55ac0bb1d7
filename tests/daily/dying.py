"""A daily verb that dies on the way: `dying.py FRAGMENT VERB …`, killed before it touches a path with FRAGMENT in it.

Seen by Python's audit events, so that the code under test knows nothing of it. SIGKILL: nothing is cleaned up.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

from preptime.cli import main
from tests.daily.quick import make_quick

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.link"}


def die_before(fragment: str) -> None:
    """From now on."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in OPERATIONS and any(fragment in str(path) for path in arguments[:2]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    make_quick(pytest.MonkeyPatch())
    die_before(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
