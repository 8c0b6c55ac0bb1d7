"""How a verb may end: its exit status.

How a verb speaks: its document, its words for people, and where it is.

With `--json` standard output holds one JSON document and nothing else; words and progress go to standard error.

Tables for people: seconds as minutes where a person reads them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self

import click
import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from preptime.bundle.manifest import Manifest
    from preptime.evaluation.documents import BacktestDocument, Score
    from preptime.training.comparison import Comparison

SUCCESS = 0
"""A lost comparison included."""
REFUSED_OR_ALERT = 1
"""The data was refused, or an alert fired."""
USAGE_ERROR = 2
FAILURE = 3
"""Something that should hold did not, in preptime, in a bundle or on the machine."""
INTERRUPTED = 130
"""As a shell reports SIGINT."""


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


METRIC_COLUMNS = ("MAE s", "median s", "RMSE s", "R²", "bias s", "in 5 min")


def format_count(count: int, noun: str) -> str:
    """`1 order`, `2,500 orders`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def score_table(document: BacktestDocument, labels: str = "up_to_3h") -> Table:
    """Every model, best MAE first, and below a line both baselines. It fits 80 columns."""
    rows = [row for row in document.scores if row.labels == labels]
    order_count = rows[0].n if rows else 0
    title = f"{document.first_day} to {document.last_day}, {format_count(order_count, 'order')}"
    table = Table(title=f"{title} (below the line: baselines)", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in METRIC_COLUMNS:
        table.add_column(name, justify="right")
    for kind in ("model", "baseline"):
        rows_of_kind = [row for row in rows if row.kind == kind]
        for row in sorted(rows_of_kind, key=lambda row: math.inf if row.mae is None else row.mae):
            name = f"{row.name} (default)" if row.name == document.default_model else row.name
            table.add_row(name, *_format_metrics(row))
        table.add_section()
    return table


def interval_summary(document: BacktestDocument) -> str:
    """What the interval promised and held."""
    interval = document.interval
    if interval.coverage is None or interval.median_width_seconds is None:
        return "There are no labels to check the interval on."
    return (
        f"p10 to p90 holds {interval.coverage:.1%} of the labels ({interval.level:.0%} is promised); half of the intervals "
        f"are narrower than {interval.median_width_seconds / 60:.0f} minutes."
    )


def comparison_table(comparison: Comparison) -> Table:
    """The conditions of a promotion, and which of them held."""
    versus = f"against {comparison.champion}" if comparison.champion else "(there is no champion to beat)"
    table = Table(title=f"{comparison.challenger} {versus}", title_justify="left")
    table.add_column("condition")
    table.add_column("found")
    table.add_column("held")
    for check in comparison.checks:
        table.add_row(check.rule, check.result, "yes" if check.passed else "no")
    return table


def manifest_table(manifest: Manifest) -> Table:
    """What a person asks of a bundle first; the rest is for programs."""
    window = manifest.window
    megabytes = sum(file.size_bytes for file in manifest.files.values()) / 1e6
    properties = {
        "bundle": manifest.id,
        "kind": f"refresh of {manifest.parent}" if manifest.parent else manifest.kind,
        "knows": f"what happened before the morning of {manifest.date}",
        "learned from": f"{window.first_day} to {window.last_day}, fitted to {window.fitted_through}",
        "models": ", ".join(manifest.models),
        "features": f"{len(manifest.features)}",
        "data": manifest.data_fingerprint,
        **({"dvc": manifest.dvc_revision} if manifest.dvc_revision else {}),
        **({"git": manifest.git_revision} if manifest.git_revision else {}),
        "size": f"{megabytes:.1f} MB in {format_count(len(manifest.files), 'file')}",
        "made with": ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items())),
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in properties.items():
        table.add_row(name, value)
    return table


def _format_metrics(row: Score) -> list[str]:
    values = [row.mae, row.median_ae, row.rmse, row.r2, row.bias, row.within_5_min]
    templates = ("{:.0f}", "{:.0f}", "{:.0f}", "{:.3f}", "{:+.0f}", "{:.1%}")
    return ["–" if value is None else template.format(value) for value, template in zip(values, templates, strict=True)]
