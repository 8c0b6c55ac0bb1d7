"""Runs preptime commands in forked processes, several at the same time, and returns their exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.requirements import ROOT

KILL_POINTS_SCRIPT = Path(__file__).parent / "kill_points.py"


@dataclass(frozen=True)
class Processes:
    """A process that has loaded all libraries and forks for each command."""

    parent: subprocess.Popen[str]
    folder: Path

    def run(self, *commands: tuple[str | Path, ...], kill_before: str | None = None) -> list[int]:
        """Return the exit statuses of commands that run at the same time.

        With `kill_before`, each is killed before it accesses a path that contains this text.
        """
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        calls = [
            {
                "kill_before": kill_before,
                "arguments": [str(argument) for argument in arguments],
                "output_file": str(self.folder / f"output-{index}.txt"),
            }
            for index, arguments in enumerate(commands)
        ]
        self.parent.stdin.write(f"{json.dumps(calls)}\n")
        self.parent.stdin.flush()
        return msgspec.json.decode(self.parent.stdout.readline(), type=list[int])

    @property
    def output(self) -> str:
        """The output of the latest commands."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("output-*.txt")))


@contextmanager
def start_processes(folder: Path) -> Iterator[Processes]:
    """Start the parent process, and stop it at the end."""
    with subprocess.Popen(
        [sys.executable, str(KILL_POINTS_SCRIPT)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as parent:
        yield Processes(parent, folder)
        assert parent.stdin is not None
        parent.stdin.close()
