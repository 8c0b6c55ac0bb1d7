"""`preptime train`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.training.train import TrainDocument


@click.command()
@options.orders
@options.restaurants
@options.date
@options.store
@click.option(
    "--promote",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="auto: the better bundle serves. never: keep the new one, change nothing else.",
)
@options.gate
@options.threads
@speaking
def train(
    speaker: Speaker,
    *,
    orders: str,
    restaurants: str,
    date: dt.date,
    store: str,
    promote: str,
    gate: tuple[str, ...],
    threads: int,
) -> None:
    """Train on what was known that morning, promote what is better.

    A gate on the data comes first. The new bundle is compared with the champion on days that neither has seen; when it
    loses it is kept, and the champion's models get this morning's history.
    """
    from preptime.bundle.store import Store
    from preptime.tables.gate import with_settings
    from preptime.training.fit import FitPlan
    from preptime.training.publish import Who
    from preptime.training.train import train as run

    thresholds = with_settings(options.thresholds(gate))
    audited, directory = reading.read_audited(speaker, orders, restaurants)
    document = run(
        audited,
        directory,
        date,
        Store.open(store),
        Who(options.user(), options.now()),
        plan=FitPlan.default(threads),
        thresholds=thresholds,
        may_promote=promote == "auto",
        progress=speaker.progress,
    )
    speaker.finish(document, *words(document, store))


def words(document: TrainDocument, store: str) -> list[RenderableType]:
    """What a training run says to people."""
    said: list[RenderableType] = [
        figures.score_table(document.evaluation),
        figures.interval_sentence(document.evaluation),
    ]
    if document.comparison is not None:
        said += ["", figures.comparison_table(document.comparison)]
    outcomes = {
        "promoted": f"{document.bundle} is the new champion of {store}.",
        "refreshed": f"{document.bundle} is kept; {document.champion} is the champion's models with new history.",
        "kept": f"{document.bundle} is kept in {store}; the champion is {document.champion or 'none yet'}.",
        "unchanged": f"{document.bundle} already is the champion of {store}.",
    }
    return [*said, "", outcomes[document.outcome], document.reason, *document.gate.notes]
