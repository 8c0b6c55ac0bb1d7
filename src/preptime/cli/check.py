"""The command `preptime check`."""

from __future__ import annotations

from pathlib import Path

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output
from preptime.formatting import format_count


@click.command()
@options.orders
@options.restaurants
@click.option(
    "--rejects", type=click.Path(path_type=Path), help="CSV or Parquet file for rejected rows with their reasons."
)
@with_output
def check(output: Output, orders: str, restaurants: str, rejects: Path | None) -> None:
    """Validate orders and restaurants without changing them.

    Prints counts by validation reason, examples with row numbers, and what each reason excludes an order from.
    """
    from preptime.sources.ingest import write_rejects
    from preptime.validation.audit_report import render_text, summarize_audit

    audited, restaurant_index = inputs.read_audited_orders(output, orders, restaurants)
    report = summarize_audit(audited, len(restaurant_index))
    lines = [render_text(report)]
    if rejects is not None:
        lines.append(f"Wrote {format_count(write_rejects(audited, rejects), 'rejected row')} to {rejects}.")
    output.finish(report, *lines)
