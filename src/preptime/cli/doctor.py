"""`preptime doctor`: what is wrong with this environment, and how to mend it."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import click
import msgspec
from rich.table import Table

from preptime.cli import options
from preptime.cli.output import FAILURE, Output, with_output
from preptime.doctor.checks import CheckResult, Role
from preptime.doctor.examine import run_checks
from preptime.settings import ENV_FILE


class DoctorDocument(msgspec.Struct, frozen=True):
    """The document of `doctor --json`."""

    healthy: bool
    """No finding is a fault."""
    checks: list[CheckResult]


@click.command()
@click.option(
    "--role",
    "role",
    type=click.Choice(["serve", "jobs"]),
    default="serve",
    show_default=True,
    help="What runs here: the API, which reads the store, or the daily jobs, which write to it.",
)
@click.option("--store", help="Folder or URL that holds the bundles (PREPTIME_STORE).")
@click.option(
    "--env-file",
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="File of settings (default: .env, where there is one); the environment wins over it.",
)
@click.option("--date", type=options.DATE, help="The day that history should be of.  [default: this machine's]")
@with_output
def doctor(output: Output, *, role: Role, store: str | None, env_file: Path | None, date: dt.date | None) -> None:
    """Check the environment: what is wrong, and how to mend it.

    Looks at settings, keys and ports (for the jobs: orders and restaurants), store, champion, history, libraries,
    clock, time zones and disks, and changes nothing. Exit status 3 when something will not work; warnings alone are
    fine.
    """
    # Everywhere else a date is given, so that a run can be repeated. What is examined here is this machine now, its
    # clock among it: a finding is of its moment and of no use later.
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
        details = f"{check.message}\n→ {check.hint}" if check.hint else check.message
        table.add_row(check.state, check.name, details)
    return table


def _summary(checks: list[CheckResult]) -> str:
    error_count = sum(check.state == "error" for check in checks)
    warning_count = sum(check.state == "warning" for check in checks)
    if error_count:
        return f"{error_count} of {len(checks)} checks found a fault; mend the first one first."
    return (
        "All is well."
        if not warning_count
        else f"It will work; {warning_count} of {len(checks)} checks have a warning."
    )
