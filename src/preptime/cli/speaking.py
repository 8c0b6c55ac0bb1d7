"""How a verb speaks: its document, its words for people, and where it is.

With `--json` standard output holds one JSON document and nothing else; words and progress go to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self

import click
import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PLAIN_WIDTH = 120
"""Columns of a table that goes to a file or pipe."""

STAGE_WIDTH = 30
"""Columns of a step's name before its bar; the whole line fits 80."""

P = ParamSpec("P")


class Speaker:
    """What a verb says, to whom. Use as a context: progress ends with it."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._errors = _console(stderr=True)
        # FORCE_COLOR makes a console of any pipe; bars are for what can move its cursor.
        self._live = self._errors.is_interactive and sys.stderr.isatty()
        words = _console(stderr=json)
        self._words = words if words.is_terminal else _console(stderr=json, width=PLAIN_WIDTH)
        self._bars = Progress(
            TextColumn(f"{{task.description:<{STAGE_WIDTH}}}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._errors,
            transient=True,
            redirect_stdout=False,  # a document on standard output is no matter of the bars on standard error
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_bars()

    def progress(self, stage: str, done: float) -> None:
        """A step is at `done` of 1: a bar on a terminal, elsewhere one line when a step is new."""
        if not self._live:
            if stage != self._last_line:
                self._errors.print(stage, soft_wrap=True)
                self._last_line = stage
            return
        self._bars.start()  # once; a verb without steps leaves the terminal alone
        family = stage.partition(":")[0]
        if family not in self._tasks:
            self._tasks[family] = self._bars.add_task(stage, total=1.0)
        self._bars.update(self._tasks[family], description=stage, completed=min(done, 1.0))

    def _end_bars(self) -> None:
        if self._live:
            self._bars.stop()

    def say(self, *parts: RenderableType) -> None:
        """Words for people. Lines are broken for a terminal only: what reads a pipe wants them whole."""
        for part in parts:
            self._words.print(part, soft_wrap=isinstance(part, str) and not self._words.is_terminal)

    def finish(self, document: object, *parts: RenderableType) -> None:
        """The verb's result: the document with `--json`, and the words for people."""
        self._end_bars()
        self.say(*parts)
        if self._json:
            click.echo(msgspec.json.encode(document))


def _console(*, stderr: bool, width: int | None = None) -> Console:
    """Text is shown as it is: nothing in a path or a city's name is read as markup, and no :word: as a picture."""
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def speaking(verb: Callable[Concatenate[Speaker, P], None]) -> Callable[P, None]:
    """Give a verb its `--json` and its `Speaker`."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with Speaker(json=bool(kwargs.pop("json"))) as speaker:
            verb(speaker, *args, **kwargs)

    option = click.option("--json", is_flag=True, help="Print one JSON document on standard output.")
    return option(run)
