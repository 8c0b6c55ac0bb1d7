"""The command `preptime backtest`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, evaluation_text, with_output


@click.command()
@options.orders
@options.restaurants
@options.schema
@click.option("--from", "first_day", type=options.DATE, required=True, help="First day to predict.")
@click.option("--to", "last_day", type=options.DATE, required=True, help="Last day to predict.")
@click.option("--retrain-every", type=click.IntRange(1), help="Number of days between fits.  [default: one fit]")
@options.models
@options.threads
@options.dvc_metrics
@with_output
def backtest(
    output: Output,
    *,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    first_day: dt.date,
    last_day: dt.date,
    retrain_every: int | None,
    models: str | None,
    threads: int,
    dvc_metrics: Path | None,
) -> None:
    """Backtest all models on past days.

    Fits the models as of --from, or again every --retrain-every days, and predicts each day as of that day. Prints the
    metrics of every model and both baselines, the coverage of the interval p10 to p90, and the waiting cost.
    """
    from preptime.evaluation.dvc_export import write_dvc_files
    from preptime.evaluation.evaluated_orders import build_backtest_document
    from preptime.training.backtest import backtest as run_backtest
    from preptime.training.fitting import FitPlan

    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    plan = FitPlan.from_schema(dataset.schema, threads, options.parse_models(models))
    training_data = inputs.read_training_data(output, dataset)
    with options.tracked_run("backtest") as run:
        evaluation = run_backtest(
            training_data,
            first_day,
            last_day,
            plan,
            retrain_every=retrain_every,
            progress=output.progress,
        )
        document = build_backtest_document(evaluation, first_day.isoformat(), last_day.isoformat())
        run.log_backtest(document, training_data, plan=plan, schema=dataset.schema, orders=orders)
    if dvc_metrics is not None:
        write_dvc_files(dvc_metrics, document)
    unit = dataset.schema.target.time_unit
    output.finish(document, *evaluation_text(document, unit))
