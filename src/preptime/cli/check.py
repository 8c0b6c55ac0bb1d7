"""`preptime check`."""

from __future__ import annotations

from pathlib import Path

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output


@click.command()
@options.orders
@options.restaurants
@click.option("--rejects", type=click.Path(path_type=Path), help="Write the rejected rows here, with their reasons.")
@with_output
def check(output: Output, orders: str, restaurants: str, rejects: Path | None) -> None:
    """Audit orders and restaurants; nothing is changed.

    Counts by reason code, with examples and their row numbers, and what each reason keeps an order out of.
    """
    from preptime.sources.ingest import write_rejects
    from preptime.validation.audit_report import render_text, summarize_audit

    audited, restaurant_index = inputs.read_audited_orders(output, orders, restaurants)
    report = summarize_audit(audited, len(restaurant_index))
    lines = [render_text(report)]
    if rejects is not None:
        lines.append(f"{write_rejects(audited, rejects):,} rejected rows are in {rejects}.")
    output.finish(report, *lines)
