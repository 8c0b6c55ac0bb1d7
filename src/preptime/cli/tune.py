"""The command `preptime tune`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.table import Table

from preptime.cli import inputs, options
from preptime.cli.output import Output, print_message, with_output
from preptime.errors import UsageError
from preptime.formatting import format_count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.schema.schema import ModelSettings
    from preptime.training.search_spaces import Parameters
    from preptime.training.tuning import TrialResult, TuneDocument

DEFAULT_FOLDER = "tuning"
LISTED_TRIALS = 5
WRITE_HELP = (
    "better: write the best hyperparameters if they are significantly better than those at the start. lowest: write "
    "those with the lowest loss. never: write nothing."
)


class TuneRunDocument(msgspec.Struct, frozen=True):
    """The document of `tune --json`."""

    search: dict[str, object]
    """A `TuneDocument`."""
    study: str
    """The file of the trials."""
    written: str | None
    """The schema file that the hyperparameters were written to."""
    reason: str
    """Why they were written or not."""


@click.command()
@click.argument("model", metavar="MODEL")
@options.orders
@options.restaurants
@options.schema
@options.date
@click.option("--days", type=click.IntRange(2), default=14, show_default=True, help="Days to predict, before --date.")
@click.option("--trials", type=click.IntRange(1), default=30, show_default=True, help="Trials in total.")
@click.option(
    "--retrain-every", type=click.IntRange(1), default=7, show_default=True, help="Number of days between fits."
)
@click.option("--seed", type=click.IntRange(0), default=12, show_default=True, help="Seed of the search and the fits.")
@click.option(
    "--study",
    type=options.LocalPath(dir_okay=False),
    help="File of the trials. If it exists, the search continues.  [default: tuning/MODEL-DATE.jsonl]",
)
@click.option("--restart", is_flag=True, help="Discard the trials in the file.")
@click.option(
    "--out",
    type=options.LocalPath(dir_okay=False),
    help="Schema file to write the hyperparameters to.  [default: the schema in use, else schema.toml]",
)
@click.option(
    "--write", type=click.Choice(["better", "lowest", "never"]), default="better", show_default=True, help=WRITE_HELP
)
@options.threads
@with_output
def tune(
    output: Output,
    *,
    model: str,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    date: dt.date,
    days: int,
    trials: int,
    retrain_every: int,
    seed: int,
    study: Path | None,
    restart: bool,
    out: Path | None,
    write: str,
    threads: int,
) -> None:
    """Search better hyperparameters for a model.

    MODEL is a model of the catalogue, such as quantile, or a custom model of the schema. Each trial fits it with other
    hyperparameters on the orders before each block of days, and predicts these days. The trials are kept in a file, and
    running the command again continues. The best hyperparameters go to [models.MODEL] in the schema, where training
    reads them. Nothing is stored or promoted.
    """
    from preptime.training.search_spaces import model_with, search_space
    from preptime.training.tuning import SearchPlan
    from preptime.training.tuning import tune as run_search

    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    schema_file = schema_in_use(schema)
    _check_out(out or schema_file, schema_file, dataset.schema.models)
    search_space(model_with(dataset.schema.models, model, {}), model)  # a wrong name fails before the orders are read
    study_file = study or Path(DEFAULT_FOLDER) / f"{model}-{date}.jsonl"
    completed_orders = inputs.read_completed_orders(output, dataset)
    try:
        with options.tracked_run("tune") as run:
            document = run_search(
                *completed_orders,
                date,
                model,
                study_file,
                plan=SearchPlan(days, trials, retrain_every, seed, threads),
                models=dataset.schema.models,
                restart=restart,
                progress=output.progress,
            )
            run.log_tuning(document, schema=dataset.schema, orders=orders)
    except KeyboardInterrupt:
        print_message(f"The finished trials are kept in {study_file}. To continue, run the command again.")
        raise
    present = dataset.schema.models[model].parameters if model in dataset.schema.models else {}
    written, reason = write_result(document, present, schema_file, out or schema_file, write)
    result = TuneRunDocument(
        msgspec.to_builtins(document), str(study_file), None if written is None else str(written), reason
    )
    output.finish(result, *render_text(document, reason))


def schema_in_use(schema: str | None) -> Path:
    """Return the schema file of the option, else that of the current folder. It can be missing."""
    from preptime.schema.toml_file import SCHEMA_FILE

    return Path(schema or SCHEMA_FILE)


def _check_out(out: Path, schema_file: Path, models: Mapping[str, ModelSettings]) -> None:
    """Raise `UsageError` if custom models of the schema wouldn't be found from the folder of `out`."""
    classes = [settings.source for settings in models.values() if settings.source]
    if classes and out.resolve().parent != schema_file.resolve().parent:
        raise UsageError(
            f"The path of {classes[0]} is relative to the folder of {schema_file}, and {out} is in another folder.",
            f"Use --out with a file in {schema_file.resolve().parent}.",
        )


def write_result(
    document: TuneDocument, present: Parameters, schema_file: Path, out: Path, write: str
) -> tuple[Path | None, str]:
    """Write the best hyperparameters if they're wanted. Return the file, or None, and the reason.

    `present` are the hyperparameters in the schema file.
    """
    from preptime.schema.toml_edit import write_parameters

    best, section = document.best, f"[models.{document.model}]"
    unwritten = f"{out} is unchanged" if out.exists() else f"{out} wasn't created"
    if out == schema_file and best.parameters.items() <= present.items():
        return None, f"{section} of {out} already has the best hyperparameters."
    if best.parameters == document.start.parameters:
        return None, f"No trial is better than the hyperparameters at the start, so {unwritten}."
    if write == "never":
        return None, f"{unwritten} (--write never)."
    if write == "better" and not document.is_better:
        return None, (
            f"The difference isn't significant, so {unwritten}. To write the hyperparameters with the lowest loss, "
            "add --write lowest."
        )
    complete = format_count(len(document.trials), "trial")
    note = f"{document.first_day} to {document.last_day}, {complete}"
    write_parameters(out, document.model, best.parameters, note, base=schema_file)
    return out, f"Wrote {section} to {out}. preptime train uses it from now on."


def render_text(document: TuneDocument, reason: str) -> list[RenderableType]:
    """Return the result of a search as text."""
    period = f"{document.model}, {document.first_day} to {document.last_day}"
    orders = format_count(document.orders, "evaluated order")
    lines: list[RenderableType] = [
        f"{period}, {orders}, losses in seconds",
        trial_table(document),
        _state_text(document),
    ]
    if document.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in document.importance.items())
        lines.append(f"Importance for the loss: {shares}.")
    lines += [_difference_text(document), reason]
    fitted_days = (document.first_day - document.fitted_from).days
    if fitted_days < (document.date - document.first_day).days:
        lines.append(
            f"The first fit had {format_count(fitted_days, 'day')} of orders, fewer than the search has, so small "
            "models had an advantage. Use fewer --days, or provide earlier orders."
        )
    independent = document.date + dt.timedelta(days=_gate_days())
    lines.append(
        f"The days were used to choose the best of {format_count(len(document.trials), 'trial')}, so its result is "
        f"optimistic. From --date {independent}, the gate of preptime train has only later days."
    )
    return lines


def _gate_days() -> int:
    from preptime.training.requirements import GATE_DAYS

    return GATE_DAYS


def trial_table(document: TuneDocument) -> Table:
    """Return a table of the best trials and the first one, lowest loss first."""
    loss = "pinball" if document.objective == "pinball" else "MAE"
    table = Table()
    table.add_column("trial", no_wrap=True)
    for name in (loss, "MAE of p50") if document.objective == "pinball" else (loss,):
        table.add_column(name, justify="right")
    for name in document.best.parameters:
        table.add_column(name, justify="right")
    complete = sorted((trial for trial in document.trials if trial.loss is not None), key=_loss)
    shown = complete[:LISTED_TRIALS]
    for trial in shown if document.start in shown else [*shown, document.start]:
        table.add_row(*_cells(trial, document))
    return table


def _loss(trial: TrialResult) -> float:
    return trial.loss or 0.0


def _cells(trial: TrialResult, document: TuneDocument) -> list[str]:
    number = f"{trial.number} (start)" if trial.number == document.start.number else str(trial.number)
    losses = [trial.loss, trial.mae] if document.objective == "pinball" else [trial.loss]
    texts = ["–" if loss is None else f"{loss:.1f}" for loss in losses]
    return [number, *texts, *_values(trial.parameters)]


def _values(parameters: Parameters) -> list[str]:
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in parameters.values()]


def _state_text(document: TuneDocument) -> str:
    states = [trial.state for trial in document.trials]
    counts = {"complete": "complete", "stopped": "stopped early", "failed": "failed"}
    parts = [f"{states.count(state)} {text}" for state, text in counts.items() if state in states]
    failed = next((trial for trial in document.trials if trial.state == "failed"), None)
    example = f" Trial {failed.number} failed: {failed.error}" if failed else ""
    return f"{format_count(len(states), 'trial')}: {', '.join(parts)}.{example}"


def _difference_text(document: TuneDocument) -> str:
    """Return the comparison of the best trial with the first one."""
    loss, mae = document.loss_difference, document.mae_difference
    if document.best.number == document.start.number:
        return "The hyperparameters at the start have the lowest loss."
    name = "mean pinball loss" if document.objective == "pinball" else "MAE"
    text = (
        f"Trial {document.best.number} has a {name} of {loss.mae:.1f} s compared with {loss.reference_mae:.1f} s of "
        f"the hyperparameters at the start ({loss.difference:+.1f} s, {loss.uncertainty}, paired by day)."
    )
    if document.objective == "pinball":
        text += f" The MAE of p50 changes by {mae.difference:+.1f} s."
    return text
