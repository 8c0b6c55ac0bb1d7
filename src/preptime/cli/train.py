"""`preptime train`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import figures as tables
from preptime.cli import options, reading
from preptime.cli.speaking import Speaker, speaking

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.bundle.store import Store
    from preptime.tables.results import Results
    from preptime.training.train import TrainDocument


@click.command()
@options.orders
@options.restaurants
@options.date
@options.store
@options.results
@click.option(
    "--promote",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="auto: the better bundle serves. never: keep the new one, change nothing else.",
)
@options.gate
@options.threads
@options.figures
@speaking
def train(
    speaker: Speaker,
    *,
    orders: str,
    restaurants: str,
    date: dt.date,
    store: str,
    results: str,
    promote: str,
    gate: tuple[str, ...],
    threads: int,
    figures: Path | None,
) -> None:
    """Train on what was known that morning, promote what is better.

    A gate on the data comes first. The new bundle is compared with the champion on days that neither has seen; when it
    loses it is kept, and the champion's models get this morning's history. What was decided, and the report, go into
    the date's partition of --results; for a date that was decided before, the same again.
    """
    from preptime.bundle.champions import ChampionLog
    from preptime.bundle.store import Store
    from preptime.evaluation.tracked import write_tracked
    from preptime.tables.gate import with_settings
    from preptime.tables.results import Results
    from preptime.tables.revisions import revisions
    from preptime.training.fit import FitPlan
    from preptime.training.publish import Who
    from preptime.training.train import train as run

    thresholds = with_settings(options.thresholds(gate))
    audited, directory = reading.read_audited(speaker, orders, restaurants)
    opened = Store.open(store)
    document = run(
        audited,
        directory,
        date,
        opened,
        Who(options.user(), options.now()),
        plan=FitPlan.default(threads),
        thresholds=thresholds,
        may_promote=promote == "auto",
        revisions=revisions(orders),
        progress=speaker.progress,
    )
    if figures is not None:
        write_tracked(figures, document.evaluation)
    written = publish(document, opened, Results(Path(results)))
    serving = ChampionLog(opened).current()
    speaker.finish(
        document,
        *words(document, store, serving=serving.bundle if serving else None),
        f"The results are in {written.parent}.",
    )


def publish(document: TrainDocument, store: Store, into: Results) -> Path:
    """Put what was decided, and the report, into the date's partition; returns the file that was written last."""
    from preptime.tables.results import REPORT, TRAINING

    report = store.fetch(document.bundle) / REPORT
    into.write(document.date, REPORT, report.read_bytes())
    return into.write(document.date, TRAINING, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def words(document: TrainDocument, store: str, *, serving: str | None) -> list[RenderableType]:
    """What a training run says to people; `serving` is the champion by now."""
    said: list[RenderableType] = [
        tables.score_table(document.evaluation),
        tables.interval_sentence(document.evaluation),
    ]
    if document.comparison is not None:
        said += ["", tables.comparison_table(document.comparison)]
    outcomes = {
        "promoted": f"{document.bundle} is the new champion of {store}.",
        "refreshed": f"{document.bundle} is kept; {document.champion} is the champion's models with new history.",
        "kept": f"{document.bundle} is kept in {store}; the champion is {document.champion or 'none yet'}.",
        "unchanged": f"{document.bundle} already is the champion of {store}.",
    }
    said += ["", outcomes[document.outcome], document.reason, *document.gate.notes]
    if serving != document.champion:
        said.append(f"That is the morning of {document.date}. By now {serving or 'nobody'} is champion of {store}.")
    return said
