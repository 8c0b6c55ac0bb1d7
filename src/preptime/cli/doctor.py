"""`preptime doctor`: what is wrong with this environment, and how to mend it."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import click
import msgspec
from rich.table import Table

from preptime.cli import options
from preptime.cli.speaking import Speaker, speaking
from preptime.cli.status import FAULT
from preptime.doctor.examine import examine
from preptime.doctor.finding import Finding, Role
from preptime.settings import ENV_FILE


class DoctorDocument(msgspec.Struct, frozen=True):
    """The document of `doctor --json`."""

    well: bool
    """No finding is a fault."""
    findings: list[Finding]


@click.command()
@click.option(
    "--for",
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
@speaking
def doctor(speaker: Speaker, *, role: Role, store: str | None, env_file: Path | None, date: dt.date | None) -> None:
    """Check the environment: what is wrong, and how to mend it.

    Looks at settings, keys and ports (for the jobs: orders and restaurants), store, champion, history, libraries,
    clock, time zones and disks, and changes nothing. Exit status 3 when something will not work; warnings alone are
    fine.
    """
    # Everywhere else a date is given, so that a run can be repeated. What is examined here is this machine now, its
    # clock among it: a finding is of its moment and of no use later.
    today = date or dt.datetime.now().astimezone().date()
    environ = {**os.environ, **({"PREPTIME_STORE": store} if store else {})}
    findings = examine(environ, env_file or Path(ENV_FILE), role, today)
    faults = [finding for finding in findings if finding.state == "fault"]
    speaker.finish(DoctorDocument(not faults, findings), _table(findings), _sentence(findings))
    if faults:
        click.get_current_context().exit(FAULT)


def _table(findings: list[Finding]) -> Table:
    table = Table(show_header=False)
    for finding in findings:
        told = f"{finding.found}\n→ {finding.hint}" if finding.hint else finding.found
        table.add_row(finding.state, finding.check, told)
    return table


def _sentence(findings: list[Finding]) -> str:
    faults = sum(finding.state == "fault" for finding in findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    if faults:
        return f"{faults} of {len(findings)} checks found a fault; mend the first one first."
    return "All is well." if not warnings else f"It will work; {warnings} of {len(findings)} checks have a warning."
