"""Run commands as a user or a scheduler does, and check their output."""

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
"""The program of the console script."""


@dataclass(frozen=True)
class CommandResult:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    def document(self, kind: type[T]) -> T:
        """Return the JSON document on standard output. It must be the only output."""
        assert self.out.count("\n") == 1, self.out
        return msgspec.json.decode(self.out, type=kind)

    def succeeded(self) -> CommandResult:
        """Return this result if the command succeeded."""
        assert self.status == 0, self.err
        return self


class ErrorDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The document that `--json` prints if a command fails."""

    error: str
    facts: str
    hint: str


def preptime(*arguments: str | Path) -> CommandResult:
    """Run a command in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    return CommandResult(status, *texts)


def run_process(*arguments: str | Path, program: str = PROGRAM, **environment: str) -> CommandResult:
    """Run a command in a new process, with pipes as streams."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | environment,
        check=False,
    )
    return CommandResult(ended.returncode, ended.stdout, ended.stderr)


def error_document(result: CommandResult, status: int, error: str) -> ErrorDocument:
    """Return the document of a failed `--json` call. Its text must also be on standard error."""
    assert result.status == status, result.err
    document = result.document(ErrorDocument)
    assert document.error == error
    assert document.facts in result.err.replace("\n", " ")
    assert "Traceback" not in result.err
    return document
