"""The command `preptime check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import inputs, options
from preptime.cli.output import REFUSED_OR_ALERT, Output, with_output
from preptime.formatting import format_count

if TYPE_CHECKING:
    from preptime.domain.data_dictionary import UseCase


@click.command()
@options.orders
@options.restaurants
@options.schema
@click.option(
    "--for",
    "use_case",
    type=click.Choice(["scoring", "training"]),
    help="scoring: check whether the orders can be predicted, and ignore labels. training: require labels.  "
    "[default: both if the orders have labels, otherwise scoring]",
)
@click.option("--rejects", type=options.LocalPath(), help="CSV or Parquet file for rejected rows with their reasons.")
@with_output
def check(
    output: Output,
    *,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    use_case: UseCase | None,
    rejects: Path | None,
) -> None:
    """Validate orders and restaurants without changing them.

    Prints counts by validation reason, examples with row numbers, and what each reason excludes an order from. The
    exit status is 1 if the orders can't be read, or if no order can be used for what they are checked for.
    """
    from preptime.python_api.checking import check_dataset
    from preptime.sources.ingest import write_rejects
    from preptime.validation.audit_report import describe_usable, render_text

    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    audited, report = check_dataset(dataset, use_case, output.progress)
    lines = [*render_text(report).split("\n"), "", *describe_usable(report, use_case, audited.schema)]
    if rejects is not None:
        lines.append(f"Wrote {format_count(write_rejects(audited, rejects), 'rejected row')} to {rejects}.")
    output.finish(report, *lines)
    if not report.passed:
        # Not an exception: it would print a second JSON document.
        click.get_current_context().exit(REFUSED_OR_ALERT)
