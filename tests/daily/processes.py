"""Verbs in processes of their own, all at once, and how they ended."""

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

DYING = Path(__file__).parent / "dying.py"


@dataclass(frozen=True)
class Processes:
    """A process that has everything loaded, and forks."""

    loaded: subprocess.Popen[str]
    folder: Path

    def run(self, *calls: tuple[str | Path, ...], before: str | None = None) -> list[int]:
        """The exit statuses of calls made at the same time; each is killed before it touches a path with `before`."""
        assert self.loaded.stdin is not None
        assert self.loaded.stdout is not None
        told = [
            {"before": before, "words": [str(word) for word in words], "said": str(self.folder / f"said-{place}.txt")}
            for place, words in enumerate(calls)
        ]
        self.loaded.stdin.write(f"{json.dumps(told)}\n")
        self.loaded.stdin.flush()
        return msgspec.json.decode(self.loaded.stdout.readline(), type=list[int])

    @property
    def said(self) -> str:
        """What the latest calls said."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("said-*.txt")))


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """Started, and ended."""
    with subprocess.Popen(
        [sys.executable, str(DYING)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as loaded:
        yield Processes(loaded, folder)
        assert loaded.stdin is not None
        loaded.stdin.close()
