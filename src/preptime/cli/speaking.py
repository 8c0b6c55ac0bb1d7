"""How a verb speaks: its document, its words for people, and where it is.

With `--json` standard output holds one JSON document and nothing else; words and progress go to standard error.
"""

from __future__ import annotations

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

P = ParamSpec("P")


class Speaker:
    """What a verb says, to whom. Use as a context: progress ends with it."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._errors = Console(stderr=True, highlight=False)
        words = Console(stderr=json, highlight=False)
        self._words = words if words.is_terminal else Console(stderr=json, highlight=False, width=PLAIN_WIDTH)
        self._bars = Progress(
            TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn(), console=self._errors, transient=True
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._errors.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._errors.is_terminal:
            self._bars.stop()

    def progress(self, stage: str, done: float) -> None:
        """A step is at `done` of 1: a bar on a terminal, elsewhere one line when a step is new."""
        if not self._errors.is_terminal:
            if stage != self._last_line:
                self._errors.print(stage, markup=False)
                self._last_line = stage
            return
        family = stage.partition(":")[0]
        if family not in self._tasks:
            self._tasks[family] = self._bars.add_task(stage, total=1.0)
        self._bars.update(self._tasks[family], description=stage, completed=min(done, 1.0))

    def say(self, *parts: RenderableType) -> None:
        """Words for people. Text is shown as it is: no markup is read from data."""
        for part in parts:
            self._words.print(part, markup=False)

    def finish(self, document: object, *parts: RenderableType) -> None:
        """The verb's result: the document with `--json`, and the words for people."""
        self.say(*parts)
        if self._json:
            click.echo(msgspec.json.encode(document))


def speaking(verb: Callable[Concatenate[Speaker, P], None]) -> Callable[P, None]:
    """Give a verb its `--json` and its `Speaker`."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with Speaker(json=bool(kwargs.pop("json"))) as speaker:
            verb(speaker, *args, **kwargs)

    option = click.option("--json", is_flag=True, help="Print one JSON document on standard output.")
    return option(run)
