"""The `preptime` program: its commands, and the exit status and message of an error."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import click
import msgspec

from preptime.atomic_write import TEMPORARY_SUFFIX
from preptime.cli.output import (
    CLOSED_PIPE,
    EXIT_STATUSES,
    FAILURE,
    INTERRUPTED,
    REFUSED_OR_ALERT,
    SUCCESS,
    USAGE_ERROR,
    library_messages,
    print_document,
    print_message,
    refusal_status,
)
from preptime.errors import DataError, OperationError, PreptimeError, UsageError, is_panic
from preptime.network import SERVICE_LINKS_HINT, find_service_links
from preptime.python_api.extras import missing_extra_error
from preptime.redaction import redact_log_records, redact_text, remember_environment, remember_secrets
from preptime.signals import clean_exit_on_sigterm

COMMAND_MODULES = {
    "demo": "preptime.cli.demo",
    "synthesize": "preptime.cli.synthesize",
    "schema": "preptime.cli.schema",
    "check": "preptime.cli.check",
    "ingest": "preptime.cli.ingest",
    "snapshot": "preptime.cli.snapshot",
    "train": "preptime.cli.train",
    "backtest": "preptime.cli.backtest",
    "tune": "preptime.cli.tune",
    "score": "preptime.cli.score",
    "monitor": "preptime.cli.monitor",
    "respond": "preptime.cli.respond",
    "refresh": "preptime.cli.refresh",
    "serve": "preptime.cli.servers",
    "ui": "preptime.cli.servers",
    "bundles": "preptime.cli.bundles",
    "results": "preptime.cli.results",
    "keys": "preptime.cli.keys",
    "doctor": "preptime.cli.doctor",
    "notebook": "preptime.cli.notebook",
    "spark": "preptime.cli.spark",
}
"""The module of each command, in the order of `--help`. The module's function has the command's name."""

TRAINING_COMMANDS = {"backtest", "demo", "notebook", "respond", "train", "tune"}
"""Commands that need the extra `train`, which includes `batch`, whichever package is missing first. `tune` needs the
extra `tune`, which includes `train`."""

_WRITE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_ERROR_NUMBER = re.compile(r"\(os error (\d+)\)")
"""The number of an error of the operating system in the text of an error of Polars."""
_TEMPORARY_NAME = re.compile(rf"\.(.+)\.[0-9a-f-]+{re.escape(TEMPORARY_SUFFIX)}")
"""The name of a temporary file (`preptime.atomic_write`) with the name of the file that it becomes."""

_EXIT_STATUS_LINES = "\n".join(f"  {status:<3}  {meaning}" for status, meaning in EXIT_STATUSES.items())
HELP = f"""\
Predict when food will be ready.

Train models of preparation times on past orders, promote the better model, and predict.

Every command except serve and ui takes --json, which prints one JSON document on standard output. Text and progress
then go to standard error.

\b
Exit status:
{_EXIT_STATUS_LINES}
"""


class ErrorDocument(msgspec.Struct, frozen=True):
    """The document that `--json` prints if a command fails."""

    error: str
    """The class of the error in `preptime.errors`."""
    facts: str
    hint: str


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of `--help`."""
        del ctx
        return list(COMMAND_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None if there is no such command."""
        del ctx
        if cmd_name not in COMMAND_MODULES:
            return None
        command: click.Command = getattr(import_module(COMMAND_MODULES[cmd_name]), cmd_name)
        return command


@click.group(
    cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(version("preptime"), prog_name="preptime")
def app() -> None:
    """The program without a command. click shows its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        _replace_unencodable_characters(stream)
    redact_log_records()
    _remember_secrets(argv)
    _warn_about_service_links(argv)
    # Servers stop in their own way after SIGTERM.
    clean_exit = nullcontext() if argv[:1] in (["serve"], ["ui"]) else clean_exit_on_sigterm()
    with clean_exit, library_messages(), _UnexpectedErrorHandler(argv) as handler:
        handler.exit_status = _run_command(argv)
    return handler.exit_status


def _replace_unencodable_characters(stream: TextIO) -> None:
    """Print ? for a character that the stream can't encode, such as ² or a letter of a city, instead of failing."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def _warn_about_service_links(argv: Sequence[str]) -> None:
    """Name the variables of Kubernetes Services that no command reads. `serve` does it in its log."""
    service_links = find_service_links(os.environ)
    if service_links and argv[:1] != ["serve"]:
        print_message(f"Warning: Ignored variables: {', '.join(service_links)}. {SERVICE_LINKS_HINT}")


def _remember_secrets(argv: Sequence[str]) -> None:
    """Hide the secrets in arguments and environment from all messages, also from those of libraries."""
    remember_environment(os.environ)
    for argument in argv:
        remember_secrets(argument)
        remember_secrets(argument.partition("=")[2] if argument.startswith("-") else "")


class _UnexpectedErrorHandler:
    """Reports an unexpected error with a traceback, a sentence for the user, and the exit status of a failure."""

    exit_status = FAILURE

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv

    def __enter__(self) -> Self:
        self._stdout = sys.stdout
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._is_closed_pipe(error):
            self.exit_status = CLOSED_PIPE
        elif isinstance(error, Exception) or (error is not None and is_panic(error)):
            with suppress(OSError):  # the output of the error can be what fails
                _report_error(_write_error(error) or _unexpected_error(error), self._argv)
        else:
            return False
        _discard_unwritable_output()
        return True

    def _is_closed_pipe(self, error: BaseException | None) -> bool:
        """Return whether the reader of the output ended. Then, click replaces the stream, and click and rich exit."""
        if isinstance(error, SystemExit):
            return sys.stdout is not self._stdout or isinstance(error.__context__, BrokenPipeError)
        return isinstance(error, BrokenPipeError)


def _run_command(argv: list[str]) -> int:
    try:
        result: object = app.main(argv, prog_name="preptime", standalone_mode=False)
    except click.ClickException as error:
        return _report_usage_error(error, argv)
    except click.Abort:
        print_message("Interrupted. No partial files are left.")
        return INTERRUPTED
    except PreptimeError as error:
        return _report_error(error, argv)
    except ModuleNotFoundError as error:
        return _report_error(_missing_extra_error(error, argv), argv)
    except OSError as error:
        return _report_error(_operating_system_error(error), argv)
    return result if isinstance(result, int) else SUCCESS  # an int is the argument of `Context.exit`


def _report_usage_error(error: click.ClickException, argv: Sequence[str]) -> int:
    """Report an error of click, whose text names the option and the command's --help."""
    if "--json" in argv:
        print_document(ErrorDocument(UsageError.__name__, redact_text(error.format_message()), "See --help."))
    message = io.StringIO()
    error.show(message)
    print_message(*redact_text(message.getvalue()).splitlines())
    return USAGE_ERROR


def _report_error(error: PreptimeError, argv: Sequence[str]) -> int:
    print_message(f"Error: {error}")
    if "--json" in argv:
        print_document(ErrorDocument(type(error).__name__, error.facts, error.hint))
    if argv[:1] == ["spark"]:  # Spark's launchers report only whether a job succeeded
        return REFUSED_OR_ALERT
    if isinstance(error, DataError):
        return refusal_status(error)
    return USAGE_ERROR if isinstance(error, UsageError) else FAILURE


def _missing_extra_error(error: ModuleNotFoundError, argv: Sequence[str]) -> UsageError:
    at_least = None
    if TRAINING_COMMANDS & set(argv[:1]):
        at_least = "tune" if argv[0] == "tune" else "train"
    return missing_extra_error(error, "This command", at_least)


def _operating_system_error(error: OSError) -> OperationError:
    """Return an error for a failed system call with a path, such as one of a folder without permission."""
    if error.strerror is None or not isinstance(error.filename, str | bytes):
        raise error
    path = Path(os.fsdecode(error.filename))
    temporary = _TEMPORARY_NAME.fullmatch(path.name)
    path = path if temporary is None else path.with_name(temporary[1])
    return OperationError(f"{path}: {error.strerror}.", "Check the path, its permissions, and the free space.")


def _write_error(error: BaseException) -> OperationError | None:
    """Return an error for a failed write without a path, such as to a full disk, or None for another error."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _ERROR_NUMBER.search(str(error))):
        number = int(found[1])
    if number not in _WRITE_ERRORS:
        return None
    return OperationError(
        f"The output couldn't be written: {os.strerror(number)}.", "Free up disk space, or write to another disk."
    )


def _unexpected_error(error: BaseException) -> OperationError:
    """Print a traceback, and return a sentence for the user."""
    print_message(*redact_text("".join(traceback.format_exception(error))).splitlines())
    summary = "".join(traceback.format_exception_only(error)).strip()
    return OperationError(
        f"Unexpected error: {summary}.", "This is a bug in preptime, not in your data. Please report it."
    )


def _discard_unwritable_output() -> None:
    """Discard what standard output doesn't take. Python would try again at its end, and change the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
