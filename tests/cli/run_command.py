"""The command line as a person or a scheduler calls it, and what came out of it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from preptime.cli import main

T = TypeVar("T")

PROGRAM = "import sys; from preptime.cli import main; sys.exit(main())"
"""What the console script does."""


@dataclass(frozen=True)
class CommandResult:
    """One call: its exit status and its two streams."""

    status: int
    out: str
    err: str

    def document(self, kind: type[T]) -> T:
        """Standard output as the one JSON document that it must be."""
        assert self.out.count("\n") == 1, self.out
        return msgspec.json.decode(self.out, type=kind)

    def succeeded(self) -> CommandResult:
        """The same, if it ended well."""
        assert self.status == 0, self.err
        return self


class ErrorDocument(msgspec.Struct, forbid_unknown_fields=True):
    """What `--json` says when a verb fails."""

    error: str
    facts: str
    hint: str


def preptime(*arguments: str | Path) -> CommandResult:
    """Call the entry point in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(one) for one in arguments])
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    return CommandResult(status, *texts)


def run_process(*arguments: str | Path, program: str = PROGRAM, **environment: str) -> CommandResult:
    """Call it in a process of its own, its streams pipes."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | environment,
        check=False,
    )
    return CommandResult(ended.returncode, ended.stdout, ended.stderr)


def error_document(ran: CommandResult, status: int, error: str) -> ErrorDocument:
    """The document of a `--json` call that failed in this way; its words are on standard error too."""
    assert ran.status == status, ran.err
    document = ran.document(ErrorDocument)
    assert document.error == error
    assert document.facts in ran.err.replace("\n", " ")
    assert "Traceback" not in ran.err
    return document
