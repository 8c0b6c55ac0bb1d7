"""The search for hyperparameters in Python."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from preptime.python_api.dataframes import FrameKind, from_polars
from preptime.python_api.datasets import Dataset, RowsInput, SchemaInput, kind_of
from preptime.python_api.defaults import (
    check_location,
    python_errors,
    to_date,
    to_threads,
    to_whole_number,
    tracking_settings,
)
from preptime.python_api.extras import missing_extra_error
from preptime.python_api.progress_bars import Progress, progress_bars
from preptime.python_api.training import day_after
from preptime.schema.toml_edit import write_parameters
from preptime.schema.toml_file import SCHEMA_FILE
from preptime.tracking.runs import tracked_run
from preptime.training import tuning as searches
from preptime.training.search_spaces import Parameters, model_with, search_space


class TuningResult:
    """The trials of a search, and the best hyperparameters."""

    def __init__(self, document: searches.TuneDocument, kind: FrameKind) -> None:
        self.document = document
        """All values, as in `search` of the output of `preptime tune --json`."""
        self._kind = kind

    @property
    def parameters(self) -> Parameters:
        """The best hyperparameters."""
        return self.document.best.parameters

    @property
    def is_better(self) -> bool:
        """Whether they are significantly better than those at the start, on the days of the search."""
        return self.document.is_better

    @property
    def trials(self) -> Any:
        """The trials as a frame: number, state, loss, and MAE in seconds, and the hyperparameters."""
        rows: list[dict[str, object]] = [
            {"trial": trial.number, "state": trial.state, "loss": trial.loss, "mae": trial.mae, **trial.parameters}
            for trial in self.document.trials
        ]
        return from_polars(pl.DataFrame(rows, infer_schema_length=None), self._kind)

    def write(self, path: str | os.PathLike[str] = SCHEMA_FILE) -> None:
        """Write the best hyperparameters to `[models]` in a schema file. Everything else in it stays.

        Raises `UsageError` if the file isn't a schema.
        """
        days = f"{self.document.first_day} to {self.document.last_day}, {len(self.document.trials)} trials"
        write_parameters(Path(path), self.document.model, self.parameters, days)

    def __repr__(self) -> str:
        loss = self.document.loss_difference
        return (
            f"{self.document.model}: loss {loss.mae:.1f} s with {self.parameters}, {loss.reference_mae:.1f} s at the "
            f"start ({loss.difference:+.1f} s, {loss.uncertainty})"
        )


@contextmanager
def _needs_optuna() -> Iterator[None]:
    """Raise `UsageError`, with the extra, if a package isn't installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra_error(error, "preptime.tune", "tune") from error


@python_errors()
def tune(
    model: str,
    orders: RowsInput,
    restaurants: RowsInput | None = None,
    *,
    date: dt.date | str | None = None,
    days: int = searches.DEFAULT_DAYS,
    trials: int = searches.DEFAULT_TRIALS,
    retrain_every: int = searches.DEFAULT_RETRAIN_EVERY,
    seed: int = 12,
    study: str | os.PathLike[str] | None = None,
    restart: bool = False,
    schema: SchemaInput = None,
    threads: int | None = None,
    progress: Progress = None,
) -> TuningResult:
    """Search better hyperparameters for a model, as `preptime tune` does. Nothing is stored or promoted.

    Args:
        model: A model of the catalogue, or a custom model of the schema.
        orders: As for `train`.
        restaurants: As for `train`.
        date: As for `train`.
        days: The number of days before the date that are predicted.
        trials: The number of trials, with those in `study`.
        retrain_every: The number of days that are predicted with one fit.
        seed: Seed of the search and the fits.
        study: File of the trials. If it exists, the search continues. Default: a temporary file.
        restart: Whether to discard the trials in the file.
        schema: As for `train`.
        threads: As for `train`.
        progress: As for `train`.

    Returns:
        The trials, and the best hyperparameters. `write` puts them where training reads them.

    Raises:
        DataError: The orders aren't enough.
        UsageError: An argument is invalid.

    Example:
        >>> tuning = preptime.tune("xgb", orders, restaurants, days=4, trials=2, progress=False)
        >>> tuning.trials["tree_count"][0], tuning.document.start.number
        (100, 0)
    """
    dataset, kind = Dataset.from_inputs(orders, restaurants, schema), kind_of(orders)
    models = dataset.schema.models
    search_space(model_with(models, model, {}), model)  # a wrong name fails before the orders are read
    check_location("study", study)
    plan = searches.SearchPlan(
        to_whole_number("days", days, searches.MIN_DAYS),
        to_whole_number("trials", trials),
        to_whole_number("retrain_every", retrain_every),
        to_whole_number("seed", seed, 0),
        to_threads(threads),
    )
    with progress_bars(progress) as report, tempfile.TemporaryDirectory(prefix="preptime-tuning-") as folder:
        audited, places = dataset.audit(progress=report)
        day = day_after(audited) if date is None else to_date(date, "date")
        file = Path(study or Path(folder) / "study.jsonl")
        with tracked_run("tune", tracking_settings()) as run:
            with _needs_optuna():
                document = searches.tune(
                    audited, places.index, day, model, file, plan=plan, models=models, restart=restart, progress=report
                )
            run.log_tuning(document, schema=dataset.schema, orders=dataset.orders_location or "a data frame")
    return TuningResult(document, kind)
