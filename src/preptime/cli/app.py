"""`preptime`: the verbs, and what an error becomes on the way out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Self

import click
import msgspec

from preptime.cli.backtest import backtest
from preptime.cli.bundles import bundles
from preptime.cli.check import check
from preptime.cli.demo import demo
from preptime.cli.keys import keys
from preptime.cli.notebook import notebook
from preptime.cli.refresh import refresh
from preptime.cli.score import score
from preptime.cli.serve import serve
from preptime.cli.synthesize import synthesize
from preptime.cli.train import train
from preptime.errors import DataError, PreptimeError, UsageError

FINE, REFUSED, WRONG_USE, FAULT = 0, 1, 2, 3
INTERRUPTED = 130
"""As a shell reports SIGINT."""

EXTRA_OF = {
    "polars": "batch",
    "altair": "train",
    "catboost": "train",
    "onnx": "train",
    "onnxmltools": "train",
    "skl2onnx": "train",
    "sklearn": "train",
    "vl_convert": "train",
    "xgboost": "train",
}
"""Which extra brings a package that the core does without."""


class ErrorDocument(msgspec.Struct, frozen=True):
    """What `--json` prints instead of a verb's document."""

    error: str
    """The kind of the error, as in `preptime.errors`."""
    facts: str
    hint: str


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("preptime"), prog_name="preptime")
def app() -> None:
    """When will the food be ready? Train, compare, promote and serve preparation-time models.

    Every verb but serve takes --json for one JSON document on standard output.
    """


for verb in (demo, synthesize, check, train, backtest, score, refresh, serve, bundles, keys, notebook):
    app.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _Faults() as faults:
        faults.status = _run(given)
    return faults.status


class _Faults:
    """What nobody foresaw: the trace for a developer, a sentence for the user, and an exit status of its own."""

    status = FAULT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        traceback.print_exception(error)
        click.echo("This is a fault of preptime, not of your data: please report the lines above.", err=True)
        return True


def _run(given: list[str]) -> int:
    try:
        app.main(given, prog_name="preptime", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return _usage(error)
    except click.Abort:
        click.echo("Interrupted; nothing half-written is left.", err=True)
        return INTERRUPTED
    except PreptimeError as error:
        return _told(error, given)
    except ModuleNotFoundError as error:
        return _told(_missing_extra(error), given)
    return FINE


def _usage(error: click.ClickException) -> int:
    error.show()
    return WRONG_USE


def _told(error: PreptimeError, given: Sequence[str]) -> int:
    if "--json" in given:
        document = ErrorDocument(type(error).__name__, error.facts, error.hint)
        click.echo(msgspec.json.encode(document))
    click.echo(str(error), err=True)
    if isinstance(error, DataError):
        return REFUSED
    return WRONG_USE if isinstance(error, UsageError) else FAULT


def _missing_extra(error: ModuleNotFoundError) -> UsageError:
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        raise error
    return UsageError(f"This verb needs {package}, which is not installed.", f"Install preptime[{extra}].")
