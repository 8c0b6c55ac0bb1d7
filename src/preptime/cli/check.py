"""`preptime check`."""

from __future__ import annotations

from pathlib import Path

import click

from preptime.cli import options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@click.option("--rejects", type=click.Path(path_type=Path), help="Write the rejected rows here, with their reasons.")
@speaking
def check(speaker: Speaker, orders: str, restaurants: str, rejects: Path | None) -> None:
    """Audit orders and restaurants; nothing is changed.

    Counts by reason code, with examples and their row numbers, and what each reason keeps an order out of.
    """
    from preptime.tables.report import summary, text, write_rejects

    audited, directory = reading.read_audited(speaker, orders, restaurants)
    report = summary(audited, len(directory))
    words = [text(report)]
    if rejects is not None:
        words.append(f"{write_rejects(audited, rejects):,} rejected rows are in {rejects}.")
    speaker.finish(report, *words)
