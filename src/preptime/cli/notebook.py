"""`preptime notebook`."""

from __future__ import annotations

import click

from preptime.cli import options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@speaking
def notebook(speaker: Speaker, orders: str, restaurants: str) -> None:
    """Reproduce the notebook beside its published figures.

    The data scientist's own protocol, step by step: its cleaning, its two feature sets, its random split, its five
    models, and what differs here and why.
    """
    from preptime.training.notebook import reproduce
    from preptime.training.notebook_text import notebook_text

    audited, _ = reading.read_audited(speaker, orders, restaurants)
    found = reproduce(audited, lambda _, share: speaker.progress("Fitting the notebook's models", share))
    speaker.finish(found.document, notebook_text(found))
