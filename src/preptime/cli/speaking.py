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

PIPE_WIDTH = 120
"""Columns of a table that goes to a file or pipe."""

STAGE_COLUMN_WIDTH = 30
"""Columns of a step's name before its bar; the whole line fits 80."""

P = ParamSpec("P")


class Output:
    """What a verb says, to whom. Use as a context: progress ends with it."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._error_console = _plain_console(stderr=True)
        # FORCE_COLOR makes a console of any pipe; bars are for what can move its cursor.
        self._shows_progress_bars = self._error_console.is_interactive and sys.stderr.isatty()
        text_console = _plain_console(stderr=json)
        self._text_console = text_console if text_console.is_terminal else _plain_console(stderr=json, width=PIPE_WIDTH)
        self._progress_bars = Progress(
            TextColumn(f"{{task.description:<{STAGE_COLUMN_WIDTH}}}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._error_console,
            transient=True,
            redirect_stdout=False,  # a document on standard output is no matter of the bars on standard error
        )
        self._progress_tasks: dict[str, TaskID] = {}
        self._last_stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_progress_bars()

    def progress(self, stage: str, fraction: float) -> None:
        """A step is at `done` of 1: a bar on a terminal, elsewhere one line when a step is new."""
        if not self._shows_progress_bars:
            if stage != self._last_stage:
                self._error_console.print(stage, soft_wrap=True)
                self._last_stage = stage
            return
        self._progress_bars.start()  # once; a verb without steps leaves the terminal alone
        stage_group = stage.partition(":")[0]
        if stage_group not in self._progress_tasks:
            self._progress_tasks[stage_group] = self._progress_bars.add_task(stage, total=1.0)
        self._progress_bars.update(self._progress_tasks[stage_group], description=stage, completed=min(fraction, 1.0))

    def _stop_progress_bars(self) -> None:
        if self._shows_progress_bars:
            self._progress_bars.stop()

    def print_text(self, *parts: RenderableType) -> None:
        """Words for people. Lines are broken for a terminal only: what reads a pipe wants them whole."""
        for part in parts:
            self._text_console.print(part, soft_wrap=isinstance(part, str) and not self._text_console.is_terminal)

    def finish(self, document: object, *parts: RenderableType) -> None:
        """The verb's result: the document with `--json`, and the words for people."""
        self._stop_progress_bars()
        self.print_text(*parts)
        if self._json:
            click.echo(msgspec.json.encode(document))


def _plain_console(*, stderr: bool, width: int | None = None) -> Console:
    """Text is shown as it is: nothing in a path or a city's name is read as markup, and no :word: as a picture."""
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def with_output(command: Callable[Concatenate[Output, P], None]) -> Callable[P, None]:
    """Give a verb its `--json` and its `Speaker`."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        with Output(json=bool(kwargs.pop("json"))) as output:
            command(output, *args, **kwargs)

    json_option = click.option("--json", is_flag=True, help="Print one JSON document on standard output.")
    return json_option(wrapper)
