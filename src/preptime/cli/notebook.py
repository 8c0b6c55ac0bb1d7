"""The command `preptime notebook`."""

from __future__ import annotations

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output


@click.command()
@options.orders
@options.restaurants
@options.schema
@with_output
def notebook(output: Output, orders: str, restaurants: str | None, schema: str | None) -> None:
    """Reproduce the take-home notebook.

    Runs the notebook's steps: its cleaning, two feature sets, random split, and five models. Compares the results with
    the published metrics, and explains the differences.
    """
    from preptime.training.notebook import render_text, reproduce_notebook

    audited_orders, _ = inputs.read_completed_orders(output, inputs.Dataset.from_options(orders, restaurants, schema))
    reproduction = reproduce_notebook(
        audited_orders, lambda _, share: output.progress("Fitting the notebook's models", share)
    )
    output.finish(reproduction.document, *render_text(reproduction).splitlines())
