"""`preptime backtest`."""

from __future__ import annotations

import datetime as dt

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@click.option("--from", "first", type=options.DATE, required=True, help="First day to predict.")
@click.option("--to", "last", type=options.DATE, required=True, help="Last day to predict.")
@click.option("--retrain-every", type=click.IntRange(1), help="Days between fits.  [default: one fit]")
@options.threads
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
) -> None:
    """Predict day after day with what was known that morning.

    Fits once on what was known on the morning of --from (or anew every --retrain-every days) and walks forward. Ends
    with every model beside both baselines, and how well the interval p10 to p90 held.
    """
    from preptime.evaluation.evaluated import backtest_document
    from preptime.training.backtest import backtest as walk
    from preptime.training.fit import FitPlan

    corpus = reading.read_corpus(speaker, orders, restaurants)
    evaluated = walk(
        corpus, first, last, FitPlan.default(threads), retrain_every=retrain_every, progress=speaker.progress
    )
    document = backtest_document(evaluated, first.isoformat(), last.isoformat())
    speaker.finish(document, figures.score_table(document), figures.interval_sentence(document))
