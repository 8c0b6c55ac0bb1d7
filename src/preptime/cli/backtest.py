"""`preptime backtest`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from preptime.cli import figures as tables
from preptime.cli import options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@click.option("--from", "first", type=options.DATE, required=True, help="First day to predict.")
@click.option("--to", "last", type=options.DATE, required=True, help="Last day to predict.")
@click.option("--retrain-every", type=click.IntRange(1), help="Days between fits.  [default: one fit]")
@options.threads
@options.figures
@speaking
def backtest(
    speaker: Speaker,
    *,
    orders: str,
    restaurants: str,
    first: dt.date,
    last: dt.date,
    retrain_every: int | None,
    threads: int,
    figures: Path | None,
) -> None:
    """Predict day after day with what was known that morning.

    Fits once on what was known on the morning of --from (or anew every --retrain-every days) and walks forward. Ends
    with every model beside both baselines, and how well the interval p10 to p90 held.
    """
    from preptime.evaluation.evaluated import backtest_document
    from preptime.evaluation.tracked import write_tracked
    from preptime.training.backtest import backtest as walk
    from preptime.training.fit import FitPlan

    corpus = reading.read_corpus(speaker, orders, restaurants)
    evaluated = walk(
        corpus, first, last, FitPlan.default(threads), retrain_every=retrain_every, progress=speaker.progress
    )
    document = backtest_document(evaluated, first.isoformat(), last.isoformat())
    if figures is not None:
        write_tracked(figures, document)
    speaker.finish(document, tables.score_table(document), tables.interval_sentence(document))
