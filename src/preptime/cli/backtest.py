"""`preptime backtest`."""

from __future__ import annotations

import datetime as dt

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@click.option("--from", "first", type=options.DATE, required=True, help="First day to predict; fitted on all before.")
@click.option("--to", "last", type=options.DATE, required=True, help="Last day to predict.")
@click.option("--retrain-every", type=click.IntRange(1), help="Fit anew every so many days (default: never).")
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
    """Walk forward: each day is predicted with what was known that morning."""
    from preptime.evaluation.evaluated import backtest_document
    from preptime.training.backtest import backtest as walk
    from preptime.training.fit import FitPlan

    corpus = reading.read_corpus(speaker, orders, restaurants)
    evaluated = walk(
        corpus, first, last, FitPlan.default(threads), retrain_every=retrain_every, progress=speaker.progress
    )
    document = backtest_document(evaluated, first.isoformat(), last.isoformat())
    speaker.finish(document, figures.score_table(document), figures.interval_sentence(document))
