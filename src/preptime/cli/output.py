"""What a command prints: its JSON document, text, progress, and tables; and its exit status.

With `--json`, standard output contains one JSON document and nothing else. Text and progress go to standard error.
"""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

import click
import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from preptime.domain.time_units import MINUTES, TimeUnit, convert_minutes
from preptime.errors import DataError, PermanentDataError
from preptime.formatting import escape_controls, escape_surrogates, format_count
from preptime.redaction import redact_text
from preptime.signals import TERMINATED

if TYPE_CHECKING:
    from preptime.bundle.manifest import Manifest
    from preptime.evaluation.documents import BacktestDocument, Score
    from preptime.scoring.score_day import DayScoreDocument
    from preptime.scoring.score_document import ScoreDocument
    from preptime.training.comparison import Comparison

SUCCESS = 0
REFUSED_OR_ALERT = 1
USAGE_ERROR = 2
FAILURE = 3
PERMANENTLY_REFUSED = 4
INTERRUPTED = 130
"""The status that shells use for SIGINT."""
CLOSED_PIPE = 128 + 13
"""The status that shells use for SIGPIPE."""

EXIT_STATUSES = {
    SUCCESS: "success, including a lost comparison",
    REFUSED_OR_ALERT: "the data was refused, or an alert fired",
    USAGE_ERROR: "wrong use: an unknown option or bundle, no champion, or a missing extra",
    FAILURE: "failure: a damaged bundle, a full disk, an input that changed, or an unexpected error",
    PERMANENTLY_REFUSED: "the data was refused, and waiting for late data can't change that",
    INTERRUPTED: "interrupted",
    CLOSED_PIPE: "the program that reads standard output ended first",
    TERMINATED: "terminated by SIGTERM",
}

PIPE_WIDTH = 120
"""Width, in columns, of a table that goes to a file or a pipe."""

STAGE_COLUMN_WIDTH = 30
"""Width, in columns, of the stage before its progress bar. The whole line fits in 80 columns."""

P = ParamSpec("P")


def refusal_status(error: DataError) -> int:
    """Return the exit status of refused data."""
    return PERMANENTLY_REFUSED if isinstance(error, PermanentDataError) else REFUSED_OR_ALERT


class Output:
    """Prints the output of one command. Use it in a `with` statement, which also ends the progress bars."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._error_console = _plain_console(stderr=True)
        # FORCE_COLOR makes any pipe look like a console, but a bar needs a terminal that can move its cursor.
        self._shows_progress_bars = self._error_console.is_interactive and sys.stderr.isatty()
        text_console = _plain_console(stderr=json)
        self._text_console = text_console if text_console.is_terminal else _plain_console(stderr=json, width=PIPE_WIDTH)
        self._progress_bars = Progress(
            TextColumn(f"{{task.description:<{STAGE_COLUMN_WIDTH}}}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._error_console,
            transient=True,
            redirect_stdout=False,  # bars on standard error must not change a document on standard output
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
        """Show the progress of a stage, from 0 to 1: as a bar on a terminal, else as one line for each new stage."""
        stage = escape_controls(stage)
        if not self._shows_progress_bars:
            if stage != self._last_stage:
                self._error_console.print(stage, soft_wrap=True)
                self._last_stage = stage
            return
        self._progress_bars.start()  # starts once; a command without stages leaves the terminal unchanged
        stage_group = stage.partition(":")[0]
        if stage_group not in self._progress_tasks:
            self._progress_tasks[stage_group] = self._progress_bars.add_task(stage, total=1.0)
        self._progress_bars.update(self._progress_tasks[stage_group], description=stage, completed=min(fraction, 1.0))

    def _stop_progress_bars(self) -> None:
        if self._shows_progress_bars:
            self._progress_bars.stop()

    def print_text(self, *parts: RenderableType) -> None:
        """Print text for people, one line for each string. Only a terminal gets wrapped lines."""
        for part in parts:
            self._text_console.print(part, soft_wrap=isinstance(part, str) and not self._text_console.is_terminal)

    def finish(self, document: object, *parts: RenderableType) -> None:
        """Print the result of the command: text for people, and the document if `--json` is set."""
        self._stop_progress_bars()
        self.print_text(*parts)
        if self._json:
            print_document(document)


def text_lines(lines: Iterable[str]) -> Text:
    """Return lines as one text, for a table cell with several lines."""
    return Text("\n".join(escape_controls(line) for line in lines))


def print_document(document: object) -> None:
    """Print a JSON document on standard output. Bytes of file names that aren't UTF-8 become escapes."""
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_replace_surrogates(msgspec.to_builtins(document)))
    click.echo(encoded)


def print_message(*lines: str) -> None:
    """Print lines on standard error. Control characters, also line feeds, become escapes."""
    for line in lines:
        click.echo(escape_controls(line), err=True)


@contextmanager
def library_messages() -> Iterator[None]:
    """Print warnings and log records of libraries like the messages of this program, one on each line."""
    formatter = logging.lastResort.formatter if logging.lastResort else None
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        if logging.lastResort is not None:
            logging.lastResort.setFormatter(_MessageFormatter())
        try:
            yield
        finally:
            if logging.lastResort is not None:
                logging.lastResort.setFormatter(formatter)


def _show_warning(message: Warning | str, *details: object, **options: object) -> None:
    """Print a warning without its category, file, and line."""
    del details, options
    print_message(f"Warning: {redact_text(' '.join(str(message).split()))}")


class _MessageFormatter(logging.Formatter):
    """Formats a record that has no other handler, such as one of a library in a command."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the level and the message in one line."""
        message = " ".join(record.getMessage().split())
        return escape_controls(f"{record.levelname.capitalize()}: {redact_text(message)}")


def _replace_surrogates(value: object) -> object:
    if isinstance(value, str):
        return escape_surrogates(value)
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    return [_replace_surrogates(item) for item in value] if isinstance(value, list) else value


class _SafeConsole(Console):
    r"""Prints control characters as escapes, such as `\x1b`, so that a terminal ignores them."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to text. rich calls this for every string that it prints."""
        return super().render_str(escape_controls(text), **options)


def _plain_console(*, stderr: bool, width: int | None = None) -> Console:
    """Return a console that prints text unchanged: no markup and no emoji codes in a path or the name of a city."""
    return _SafeConsole(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def with_output(command: Callable[Concatenate[Output, P], None]) -> Callable[P, None]:
    """Give a command its option `--json` and its `Output`."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        with Output(json=bool(kwargs.pop("json"))) as output:
            command(output, *args, **kwargs)

    json_option = click.option("--json", is_flag=True, help="Print one JSON document on standard output.")
    return json_option(wrapper)


METRIC_COLUMNS = ("MAE", "median", "RMSE", "R²", "bias")


def score_table(document: BacktestDocument, unit: TimeUnit = MINUTES) -> Table:
    """Return a table of all models, lowest MAE first, then both baselines. It fits in 80 columns."""
    from preptime.evaluation.summary_text import weak_models

    rows = [row for row in document.scores if row.labels == "up_to_3h"]
    order_count = rows[0].n if rows else 0
    title = f"{document.first_day} to {document.last_day}, {format_count(order_count, 'evaluated order')}"
    table = Table(title=f"{title}, errors in {unit.name} (baselines below the line)", title_justify="left")
    table.add_column("model", no_wrap=True)
    weak_names = weak_models(document)
    for name in (*METRIC_COLUMNS, f"in {unit.five_minutes_short}"):
        table.add_column(name, justify="right")
    for is_baseline in (False, True):
        rows_of_kind = [row for row in rows if (row.kind == "baseline") == is_baseline]
        for row in sorted(rows_of_kind, key=lambda row: math.inf if row.mae is None else row.mae):
            name = f"{row.name} (default)" if row.name == document.default_model else row.name
            name = "live model" if row.kind == "live" else name
            name = f"{name} (weak)" if row.name in weak_names else name
            table.add_row(name, *_format_metrics(row, unit))
        table.add_section()
    return table


def interval_summary(document: BacktestDocument, unit: TimeUnit = MINUTES) -> str:
    """Return a sentence about the nominal and the actual coverage of the interval."""
    from preptime.evaluation.summary_text import without_ends_text

    interval = document.interval
    if interval.coverage is None or interval.median_width_seconds is None:
        return "No labels, so the interval can't be checked."
    return (
        f"The interval p10 to p90 covers {interval.coverage:.1%} of the labels"
        f"{without_ends_text(interval.coverage, interval.coverage_inside)} (nominal: {interval.level:.0%}). "
        f"Its median width is {unit.words(interval.median_width_seconds, 0)}."
    )


def evaluation_text(document: BacktestDocument, unit: TimeUnit = MINUTES) -> list[RenderableType]:
    """Return the scores, the weak models, the coverage of the interval, and the waiting costs as text."""
    from preptime.evaluation.summary_text import weak_models, weak_models_sentences

    return [
        score_table(document, unit),
        *weak_models_sentences(weak_models(document)),
        interval_summary(document, unit),
        waiting_cost_table(document, unit),
    ]


def waiting_cost_table(document: BacktestDocument, unit: TimeUnit = MINUTES) -> Table:
    """Return a table of the waiting costs: when couriers arrive, by cost ratio. It fits in 80 columns."""
    from preptime.evaluation.summary_text import cost_ratio_text, waiting_cost_rows

    table = Table(title=f"Waiting cost per 1,000 orders, in {unit.name}", title_justify="left")
    table.add_column("couriers arrive at", no_wrap=True)
    for cost in document.waiting_costs:
        table.add_column(f"courier:food {cost_ratio_text(cost)}", justify="right", no_wrap=True)
    for title, cells in waiting_cost_rows(document.waiting_costs, unit):
        table.add_row(title, *cells)
    return table


def score_text(document: ScoreDocument, unit: TimeUnit = MINUTES) -> list[str]:
    """Return the result of scoring a file as text."""
    lines = [
        f"{document.bundle} predicted {document.predicted:,} of {format_count(document.rows, 'order')}.",
        f"The predictions are in {document.out}.",
    ]
    if document.median_predicted_seconds is not None:
        lines.insert(1, f"The median prediction is {unit.words(document.median_predicted_seconds)}.")
    fallback_counts = ", ".join(f"{level} {count:,}" for level, count in document.fallback_level.items() if count)
    if fallback_counts:
        lines.append(f"Predictions by fallback level: {fallback_counts}.")
    lines += unknown_restaurants_text(document.unknown_restaurants)
    lines += order_flags_text(document)
    lines += [
        f"{format_count(count, 'order')} without a prediction. Reason: {reason}."
        for reason, count in document.rejected.items()
    ]
    lines += [
        f"{format_count(count, 'order')} without a dispatch time. Reason of the travel time: {reason}."
        for reason, count in document.without_dispatch.items()
    ]
    return lines


def unknown_restaurants_text(counts: Mapping[str, int] | None) -> list[str]:
    """Return a sentence about the predictions for unknown restaurants by fallback level, if there are any."""
    counts = counts or {}
    levels = ", ".join(f"{level} {count:,}" for level, count in counts.items())
    orders = format_count(sum(counts.values()), "order")
    return [f"{orders} of unknown restaurants, predicted by fallback level: {levels}."] if counts else []


def order_flags_text(document: ScoreDocument | DayScoreDocument) -> list[str]:
    """Return sentences about predictions of contradictory orders, and of orders without custom features."""
    lines = []
    if document.restaurant_differs:
        lines.append(
            f"{format_count(document.restaurant_differs, 'order')} predicted with a country or city that isn't that of "
            "the restaurant in the bundle. They may be of other restaurants with the same IDs."
        )
    for counts, problem in ((document.missing_features, "without"), (document.invalid_features, "with an invalid")):
        lines += [f"{format_count(count, 'order')} predicted {problem} {name}." for name, count in counts.items()]
    return lines


def comparison_conclusion(comparison: Comparison, unit: TimeUnit = MINUTES) -> str:
    """Return how many conditions are met, and which aren't. `comparison_table` has the details."""
    failed = [check.rule for check in comparison.checks if not check.passed]
    if failed:
        return f"Conditions that aren't met: {convert_minutes('; '.join(failed), unit)}."
    return f"All {len(comparison.checks)} conditions for a promotion are met."


def comparison_table(comparison: Comparison, unit: TimeUnit = MINUTES) -> Table:
    """Return a table of the conditions for a promotion, their results, and whether they are met."""
    versus = f"compared with {comparison.champion}" if comparison.champion else "(no champion to compare with)"
    reduced = " (reduced set)" if comparison.reduced else ""
    table = Table(title=f"{comparison.challenger}{reduced} {versus}", title_justify="left")
    table.add_column("condition")
    table.add_column("result")
    table.add_column("met")
    for check in comparison.checks:
        table.add_row(
            convert_minutes(check.rule, unit), convert_minutes(check.result, unit), "yes" if check.passed else "no"
        )
    for note in comparison.notes:
        table.add_row("Note", note, "")
    if comparison.waiting_costs:
        from preptime.evaluation.summary_text import waiting_cost_text

        text = waiting_cost_text(comparison.waiting_costs)
        table.add_row("Waiting cost per 1,000 orders (not a condition)", convert_minutes(text, unit), "")
    return table


def manifest_table(manifest: Manifest) -> Table:
    """Return a table of the main properties of a bundle. `--json` has the whole manifest."""
    from preptime.evaluation.summary_text import WEAK_MODEL_NOTE

    window = manifest.window
    megabytes = sum(file.size_bytes for file in manifest.files.values()) / 1e6
    properties = {
        "bundle": manifest.id,
        "kind": f"refresh of {manifest.parent}" if manifest.parent else manifest.kind,
        "as-of date": f"{manifest.date} (uses events before local midnight)",
        "training data": f"{window.first_day} to {window.last_day}, fitted through {window.fitted_through}",
        "gate": f"{window.gated_from} to {window.gated_through}" if window.gated_from else "none (--quick)",
        "models": ", ".join(manifest.models),
        **({"custom models": manifest.custom_models} if manifest.custom_models else {}),
        **({"weak models": f"{', '.join(manifest.weak_models)} ({WEAK_MODEL_NOTE})"} if manifest.weak_models else {}),
        "features": f"{len(manifest.features)}",
        "data fingerprint": manifest.data_fingerprint,
        **({"dvc": manifest.dvc_revision} if manifest.dvc_revision else {}),
        **({"git": manifest.git_revision} if manifest.git_revision else {}),
        "size": f"{megabytes:.1f} MB in {format_count(len(manifest.files), 'file')}",
        "libraries": ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items())),
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in properties.items():
        table.add_row(name, value)
    return table


def _format_metrics(row: Score, unit: TimeUnit) -> list[str]:
    seconds = (row.mae, row.median_ae, row.rmse, row.bias)
    mae, median, rmse, bias = (None if value is None else value / unit.seconds for value in seconds)
    values = [mae, median, rmse, row.r2, bias, row.within_5_min]
    digits = unit.digits(2)
    time = f"{{:.{digits}f}}"
    templates = (time, time, time, "{:.3f}", f"{{:+.{digits}f}}", "{:.1%}")
    return ["–" if value is None else template.format(value) for value, template in zip(values, templates, strict=True)]
