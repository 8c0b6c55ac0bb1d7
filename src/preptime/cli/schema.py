"""The command `preptime schema`: propose a schema for a company's orders, and show the schema in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.table import Table
from rich.text import Text

from preptime.cli import options
from preptime.cli.output import REFUSED_OR_ALERT, Output, print_message, text_lines, with_output
from preptime.errors import UsageError
from preptime.formatting import format_count
from preptime.redaction import redact_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from preptime.schema.proposal import Proposal, Question
    from preptime.sources.sample import Sample
    from preptime.validation.audit import AuditedOrders
    from preptime.validation.audit_report import CheckReport

MAPPED_ROWS = 5


class OpenLine(msgspec.Struct, frozen=True):
    """A line that the data doesn't decide."""

    section: str
    key: str
    readings: tuple[str, ...]
    """The line as TOML, once for each reading."""
    required: bool
    """Whether the schema can't be used before the line is decided."""


class SchemaInferDocument(msgspec.Struct, frozen=True):
    """The document of `schema infer --json`."""

    schema: str
    """The proposed schema as TOML, with comments."""
    out: str | None
    rows: int
    """Number of rows that were read."""
    sampled: bool
    """Whether the orders have more rows."""
    open: tuple[OpenLine, ...]
    unused: dict[str, str]
    """The reason for each column that isn't used."""
    audit: dict[str, object] | None = None
    """The audit of these rows, as of `check --json`. None if a required line is open."""


class SchemaShowDocument(msgspec.Struct, frozen=True):
    """The document of `schema show --json`."""

    schema: str
    """As TOML."""
    origin: str


@click.group()
def schema() -> None:
    """Propose and show the schema: the columns of your files."""


@schema.command()
@click.argument("orders", metavar="ORDERS")
@click.option("--restaurants", metavar="LOCATION", help="Restaurants, if there is a file of them.")
@click.option(
    "--time-zone", default="", metavar="ZONE", help="IANA time zone of the restaurants, such as Europe/Paris."
)
@click.option(
    "--times",
    type=click.Choice(["local", "UTC"]),
    help="Time zone of times without an offset: that of the restaurant, or UTC.  [default: what the orders show]",
)
@click.option("--out", type=options.LocalPath(dir_okay=False), help="TOML file to write, such as schema.toml.")
@click.option("--yes", is_flag=True, help="Don't ask. Lines with several readings are commented out.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@with_output
def infer(
    output: Output,
    orders: str,
    *,
    restaurants: str | None,
    time_zone: str,
    times: str | None,
    out: Path | None,
    yes: bool,
    force: bool,
) -> None:
    """Propose a schema for orders from names and contents of columns.

    ORDERS is a CSV or Parquet file, a folder, a glob, or a database URL. Large files are sampled. If a line has several
    readings, such as 1 February and 2 January for 01/02/2015, the command asks. With --yes, it comments the line out,
    and the exit status is 1 if the schema can't be used without that line.
    """
    from preptime.python_api.schemas import audit_sample, proposal_title, write_schema
    from preptime.schema.toml_file import parse_schema
    from preptime.sources.registry import open_source
    from preptime.sources.sample import read_sample

    _check_out(out, yes=yes, force=force)
    output.progress("Reading a sample of the orders", 0.0)
    sample = read_sample(orders)
    restaurants_frame = None if restaurants is None else open_source(restaurants).frame()
    output.progress("Reading a sample of the orders", 1.0)
    answers = {} if times is None else {"naive_times": times}
    proposal = _propose(sample, restaurants_frame, time_zone, answers, asks=not yes)
    text = proposal.to_toml(proposal_title(orders, sample))
    audited, report = (None, None)
    if proposal.is_usable:
        audited, report = audit_sample(sample, restaurants_frame, parse_schema(text))
    if out is not None:
        write_schema(out, text)
    document = SchemaInferDocument(
        schema=text,
        out=None if out is None else str(out),
        rows=len(sample.frame),
        sampled=not sample.is_complete,
        open=tuple(
            OpenLine(line.section, line.key, tuple(line.candidates), line.is_required) for line in proposal.open_lines
        ),
        unused=proposal.unused,
        audit=None if report is None else msgspec.to_builtins(report),
    )
    output.finish(document, *_infer_text(document, audited, report, proposal.questions, time_zone))
    if not proposal.is_usable:
        click.get_current_context().exit(REFUSED_OR_ALERT)


def _check_out(out: Path | None, *, yes: bool, force: bool) -> None:
    """Raise `UsageError` if the file exists and isn't to be overwritten."""
    if out is None or force or not out.exists():
        return
    if yes or not click.confirm(f"{out} exists. Overwrite it?", err=True):
        raise UsageError(f"The file {out} exists.", "Add --force to overwrite it, or choose another file with --out.")


def _propose(
    sample: Sample, restaurants: pl.DataFrame | None, time_zone: str, answers: dict[str, str], *, asks: bool
) -> Proposal:
    """Return the proposal, after asking what the data doesn't decide. Answers are added to `answers`."""
    from preptime.schema.inference import infer_schema

    while True:
        proposal = infer_schema(sample.frame, restaurants, time_zone=time_zone, answers=answers)
        if not asks or not proposal.questions:
            return proposal
        answers[proposal.questions[0].name] = _ask(proposal.questions[0])


def _ask(question: Question) -> str:
    """Return the answer of the user. Raises `UsageError` if there is no one to ask."""
    print_message(question.text)
    for number, (_, meaning) in enumerate(question.choices, 1):
        print_message(f"  {number}. {meaning}")
    try:
        if not question.choices:
            return str(click.prompt("IANA time zone, such as Europe/London", value_proc=_time_zone, err=True))
        choice = click.IntRange(1, len(question.choices))
        return question.choices[int(click.prompt("Number", type=choice, err=True)) - 1][0]
    except click.Abort as error:
        raise UsageError(
            f"The question wasn't answered: {question.text}", "Add --yes to write the schema with this line open."
        ) from error


def _time_zone(text: str) -> str:
    from preptime.domain.time_zones import load_time_zone
    from preptime.errors import DataError

    try:
        return load_time_zone(text.strip()).key
    except DataError as error:
        raise click.UsageError(str(error)) from error


def _infer_text(
    document: SchemaInferDocument,
    audited: AuditedOrders | None,
    report: CheckReport | None,
    questions: Sequence[Question],
    time_zone: str,
) -> list[str | Table]:
    from preptime.validation.audit_report import render_text

    rows = format_count(document.rows, "row")
    parts: list[str | Table] = [f"Read a sample of {rows}." if document.sampled else f"Read all {rows}."]
    parts += document.schema.splitlines() if document.out is None else []
    parts += [f"Unused column {name}: {reason}." for name, reason in document.unused.items()]
    if audited is not None and report is not None:
        parts += ["", _mapped_rows(audited), "", *render_text(report).split("\n"), ""]
    force = "" if document.out is None else " --force"
    parts += [_open_line_text(line, time_zone, force) for line in document.open]
    if any(question.name == "naive_times" for question in questions):
        parts.append(
            f"To decide all times without an offset, run the command again with --times local{force} or "
            f"--times UTC{force}."
        )
    if audited is not None and not {"order_ready_at", "prep_time_seconds"} & {*audited.schema.orders}:
        parts.append(
            "No column is a ready time or a preparation time, so the schema is for scoring only. For training, add "
            "order_ready_at or prep_time to [orders]."
        )
    if document.out is not None:
        parts.append(f"Wrote {document.out}.")
    return parts


def _open_line_text(line: OpenLine, time_zone: str, force: str) -> str:
    """Return which line to add, for a line that isn't decided. `force` is the option that overwrites the file."""
    use = "needs" if line.required else "doesn't use"
    if line.key == "time_zone" and not time_zone:
        return (
            f"The schema needs the time zone of the restaurants: run the command again with --time-zone ZONE{force}, "
            'or add the line time_zone = "ZONE" to [restaurants]. ZONE is an IANA name, such as Europe/London.'
        )
    readings = " or: ".join(line.readings)
    problem = f"The schema {use} {line.key}, which has several readings."
    return f"{problem} Add one of these lines to [{line.section}]: {readings}"


def _mapped_rows(audited: AuditedOrders) -> Table:
    """Return a table of the first orders, with canonical columns as rows."""
    shown = {
        "acknowledged_local": "order_acknowledged_at (local)",
        "ready_local": "order_ready_at (local)",
        "prep_time_seconds": "prep_time_seconds",
        "order_value": "order_value",
        "number_of_items": "number_of_items",
    }
    head = audited.frame.head(MAPPED_ROWS)
    raw = audited.raw.head(MAPPED_ROWS)
    table = Table(title="The first orders", title_justify="left")
    table.add_column("column", no_wrap=True)
    for number in range(1, len(head) + 1):
        table.add_column(f"order {number}")
    restaurant = audited.schema.orders["restaurant_id"].column
    table.add_row("restaurant_id", *_cells(raw[restaurant]))
    for name, title in shown.items():
        if name in head.columns and head[name].null_count() < len(head):
            cells = head[name]
            table.add_row(title, *_cells(cells.dt.truncate("1s") if cells.dtype.is_temporal() else cells))
    for feature in audited.schema.order_features:
        if feature.column in raw.columns:
            table.add_row(feature.name, *_cells(raw[feature.column]))
    return table


def _cells(values: pl.Series) -> list[Text]:
    return [text_lines(["" if value is None else str(value)]) for value in values]


@schema.command()
@click.option("--bundle", metavar="ID", help="Show the schema of this bundle of the store instead.")
@options.store
@options.schema
@with_output
def show(output: Output, bundle: str | None, store: str, schema: str | None) -> None:
    """Show the schema in use as TOML, and where it's from."""
    from preptime.bundle.store import Store
    from preptime.schema.toml_file import find_schema
    from preptime.schema.toml_text import schema_to_toml

    if bundle is None:
        shown, origin = find_schema(schema or "")
    else:
        manifest = Store.open(store).existing().read_manifest(bundle)
        shown, origin = manifest.schema, f"bundle {bundle} in {redact_address(store)}"
    text = schema_to_toml(shown)
    output.finish(SchemaShowDocument(text, origin), f"# Schema: {origin}", *text.rstrip("\n").split("\n"))
