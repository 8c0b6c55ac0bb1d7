"""The command `preptime doctor`: check the environment."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import click
import msgspec
from rich.table import Table

from preptime.cli import options
from preptime.cli.output import FAILURE, Output, text_lines, with_output
from preptime.doctor.checks import CheckResult, Role
from preptime.doctor.examine import run_checks
from preptime.env_file import ENV_FILE


class DoctorDocument(msgspec.Struct, frozen=True):
    """The document of `doctor --json`."""

    healthy: bool
    """Whether no check has the state `error`."""
    checks: list[CheckResult]


@click.command()
@click.option(
    "--role",
    "role",
    type=click.Choice(["serve", "jobs"]),
    default="serve",
    show_default=True,
    help="What runs here. serve: the API, which reads the store. jobs: the daily jobs, which write to it.",
)
@click.option("--store", envvar="PREPTIME_STORE", show_envvar=True, help="Folder or URL of the store.")
@options.env_file
@click.option(
    "--date", type=options.DATE, help="Date that the history should be as of.  [default: today on this machine]"
)
@with_output
def doctor(output: Output, *, role: Role, store: str | None, env_file: Path | None, date: dt.date | None) -> None:
    """Check settings, store, and machine without changing anything.

    Checks settings, keys, and ports (for jobs: orders and restaurants), store, champion, history, libraries, clock,
    time zones, and disks. The exit status is 3 if a check fails. Warnings don't change it.
    """
    # Other commands need a date, so that a run can be repeated. This one checks the current state of this machine.
    today = date or dt.datetime.now().astimezone().date()
    environ = {**os.environ, **({"PREPTIME_STORE": store} if store else {})}
    checks = run_checks(environ, env_file or Path(ENV_FILE), role, today)
    errors = [check for check in checks if check.state == "error"]
    output.finish(DoctorDocument(not errors, checks), _check_table(checks), _summary(checks))
    if errors:
        click.get_current_context().exit(FAILURE)


def _check_table(checks: list[CheckResult]) -> Table:
    table = Table(show_header=False)
    for check in checks:
        lines = [check.message, f"→ {check.hint}"] if check.hint else [check.message]
        table.add_row(check.state, check.name, text_lines(lines))
    return table


def _summary(checks: list[CheckResult]) -> str:
    error_count = sum(check.state == "error" for check in checks)
    warning_count = sum(check.state == "warning" for check in checks)
    if error_count:
        return f"{error_count} of {len(checks)} checks failed. Fix the first failure, then run doctor again."
    if warning_count:
        return f"No check failed; {warning_count} of {len(checks)} checks have a warning."
    return "All checks passed."
