"""`preptime`: the verbs, and what an error becomes on the way out."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Self, TextIO

import click
import msgspec

from preptime.cli.backtest import backtest
from preptime.cli.bundles import bundles
from preptime.cli.check import check
from preptime.cli.demo import demo
from preptime.cli.doctor import doctor
from preptime.cli.ingest import ingest
from preptime.cli.keys import keys
from preptime.cli.monitor import monitor
from preptime.cli.notebook import notebook
from preptime.cli.output import FAILURE, INTERRUPTED, REFUSED_OR_ALERT, SUCCESS, USAGE_ERROR
from preptime.cli.refresh import refresh
from preptime.cli.respond import respond
from preptime.cli.results import results
from preptime.cli.score import score
from preptime.cli.serve import serve
from preptime.cli.snapshot import snapshot
from preptime.cli.synthesize import synthesize
from preptime.cli.train import train
from preptime.cli.ui import ui
from preptime.errors import DataError, OperationError, PreptimeError, UsageError

EXTRA_BY_PACKAGE = {
    "polars": "batch",
    "altair": "batch",
    "catboost": "train",
    "onnx": "train",
    "onnxmltools": "train",
    "skl2onnx": "train",
    "sklearn": "train",
    "streamlit": "ui",
    "vl_convert": "batch",
    "xgboost": "train",
    "psycopg": "postgres",
    "google": "gcp",
}
"""Which extra brings a package that the core does without."""

TRAINING_COMMANDS = {"backtest", "demo", "notebook", "respond", "train"}
"""They need `train` whatever they miss first; it brings what `batch` does."""


class ErrorDocument(msgspec.Struct, frozen=True):
    """What `--json` prints instead of a verb's document."""

    error: str
    """The kind of the error, as in `preptime.errors`."""
    facts: str
    hint: str


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("preptime"), prog_name="preptime")
def app() -> None:
    """When will the food be ready?

    Learns preparation times from orders, keeps what is better, and predicts.

    Every verb but serve and ui takes --json for one JSON document on standard output; words and progress then go to
    standard error.
    Exit status: 0 fine (a lost comparison included), 1 the data was refused or an alert fired, 2 wrong
    use, 3 a fault.
    """


COMMANDS = (
    demo,
    synthesize,
    check,
    ingest,
    snapshot,
    train,
    backtest,
    score,
    monitor,
    respond,
    refresh,
    serve,
    ui,
    bundles,
    results,
    keys,
    doctor,
    notebook,
)
for command in COMMANDS:
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        _replace_unencodable_characters(stream)
    with _UnexpectedErrorHandler(argv) as handler:
        handler.exit_status = _run_command(argv)
    return handler.exit_status


def _replace_unencodable_characters(stream: TextIO) -> None:
    """A pipe may speak an encoding without ² or a city's letters: then they become ?, and the verb still ends well."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


class _UnexpectedErrorHandler:
    """What nobody foresaw: the trace for a developer, a sentence for the user, and an exit status of its own."""

    exit_status = FAILURE

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        traceback.print_exception(error)
        summary = "".join(traceback.format_exception_only(error)).strip()
        _report_error(
            OperationError(
                f"Unforeseen: {summary}.", "This is a fault of preptime, not of your data: please report it."
            ),
            self._argv,
        )
        return True


def _run_command(argv: list[str]) -> int:
    try:
        result: object = app.main(argv, prog_name="preptime", standalone_mode=False)
    except click.ClickException as error:
        return _report_usage_error(error, argv)
    except click.Abort:
        click.echo("Interrupted; nothing half-written is left.", err=True)
        return INTERRUPTED
    except PreptimeError as error:
        return _report_error(error, argv)
    except ModuleNotFoundError as error:
        return _report_error(_missing_extra_error(error, argv), argv)
    except OSError as error:
        return _report_error(_operating_system_error(error), argv)
    return result if isinstance(result, int) else SUCCESS  # an int is what a verb gave to `Context.exit`


def _report_usage_error(error: click.ClickException, argv: Sequence[str]) -> int:
    """What click says no to, in click's own words, which name the option and the verb's --help."""
    if "--json" in argv:
        _print_error_document(ErrorDocument(UsageError.__name__, error.format_message(), "See --help."))
    error.show()
    return USAGE_ERROR


def _report_error(error: PreptimeError, argv: Sequence[str]) -> int:
    if "--json" in argv:
        _print_error_document(ErrorDocument(type(error).__name__, error.facts, error.hint))
    click.echo(str(error), err=True)
    if isinstance(error, DataError):
        return REFUSED_OR_ALERT
    return USAGE_ERROR if isinstance(error, UsageError) else FAILURE


def _print_error_document(document: ErrorDocument) -> None:
    click.echo(msgspec.json.encode(document))


def _missing_extra_error(error: ModuleNotFoundError, argv: Sequence[str]) -> UsageError:
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_BY_PACKAGE.get(package)
    if extra is None:
        raise error
    if extra == "batch" and TRAINING_COMMANDS & set(argv[:1]):
        extra = "train"
    return UsageError(f"This verb needs {package}, which is not installed.", f"Install preptime[{extra}].")


def _operating_system_error(error: OSError) -> OperationError:
    """What the operating system refused: a full disk, a folder without permission."""
    if error.strerror is None or error.filename is None:
        raise error
    return OperationError(
        f"{error.filename}: {error.strerror}.", "Look at the path, its permissions and the room left."
    )
