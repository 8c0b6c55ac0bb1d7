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
    """Reproduce the data scientist's own protocol, beside the published figures."""
    from preptime.training.notebook import reproduce
    from preptime.training.notebook_text import notebook_text

    audited, _ = reading.read_audited(speaker, orders, restaurants)
    found = reproduce(audited, speaker.progress)
    speaker.finish(found.document, notebook_text(found))
