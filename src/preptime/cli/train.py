"""The command `preptime train`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import inputs, options
from preptime.cli.output import Output, comparison_conclusion, comparison_table, evaluation_text, with_output
from preptime.domain.time_units import MINUTES, TimeUnit, convert_minutes
from preptime.python_api.defaults import current_user, utc_now

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.bundle.store import Store
    from preptime.sources.results import ResultsFolder
    from preptime.training.train import TrainDocument


@click.command()
@options.optional_orders
@options.restaurants
@options.corpus
@options.schema
@options.date
@options.store
@options.results
@options.promote
@click.option(
    "--quick",
    is_flag=True,
    help="Train without the gate, in less than half the time. The bundle has no metrics and is never promoted, and no "
    "results are written.",
)
@options.gate
@options.models
@options.threads
@options.dvc_metrics
@with_output
def train(
    output: Output,
    *,
    orders: str | None,
    restaurants: str | None,
    corpus: str | None,
    schema: str | None,
    date: dt.date,
    store: str,
    results: str,
    promote: str,
    quick: bool,
    gate: tuple[str, ...],
    models: str | None,
    threads: int,
    dvc_metrics: Path | None,
) -> None:
    """Train models as of a date, and promote them if they're better.

    The data gate checks the orders first. Then the latest days are predicted, each by models fitted on the days before
    it, and compared with the predictions of the champion that served on the day. Finally, all models are fitted again
    on all days. If the new bundle isn't significantly better, it's stored but not promoted, and the champion is
    republished with updated history. The decision and the report go to the partition of the date in the results.
    Rerunning a date reproduces its decision.
    """
    from preptime.bundle.champion_log import ChampionLog
    from preptime.evaluation.dvc_export import write_dvc_files
    from preptime.sources.data_versions import find_revisions
    from preptime.sources.results import ResultsFolder
    from preptime.training.fitting import FitPlan
    from preptime.training.publishing import AuditActor
    from preptime.training.train import train as run_training
    from preptime.validation.data_gate import thresholds_from_settings

    thresholds = thresholds_from_settings(options.parse_thresholds(gate))
    location = corpus or options.require_setting("orders", orders, click.get_current_context())
    dataset = inputs.Dataset.from_options("" if corpus else location, restaurants, schema)
    plan = FitPlan.from_schema(dataset.schema, threads, options.parse_models(models))
    audited, index, earlier = inputs.read_training_rows(output, dataset, corpus, date)
    bundle_store = options.open_store(store)
    with options.tracked_run("train") as run:
        document = run_training(
            audited,
            index,
            date,
            bundle_store,
            AuditActor(current_user(), utc_now()),
            plan=plan,
            thresholds=thresholds,
            schema=dataset.schema,
            allow_promotion=promote == "auto",
            with_gate=not quick,
            revisions=find_revisions(location),
            earlier=earlier,
            progress=output.progress,
        )
        run.log_training(document, bundle_store, seed=plan.seed, orders=location)
    if dvc_metrics is not None and document.evaluation is not None:
        write_dvc_files(dvc_metrics, document.evaluation)
    current, unit = ChampionLog(bundle_store).current(), dataset.schema.target.time_unit
    text = render_text(document, store, champion_id=current.bundle if current else None, unit=unit)
    if not quick:  # the results are those of the day's decision
        text.append(f"The results are in {write_results(document, bundle_store, ResultsFolder(Path(results))).parent}.")
    output.finish(document, *text)


def write_results(document: TrainDocument, store: Store, daily_results: ResultsFolder) -> Path:
    """Write the report and the decision to the partition of the date. Return the path of the decision."""
    from preptime.sources.results import REPORT_FILE, TRAINING_FILE

    report = store.fetch(document.bundle) / REPORT_FILE
    daily_results.write(document.date, REPORT_FILE, report.read_bytes())
    return daily_results.write(
        document.date, TRAINING_FILE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    )


def _reason_text(document: TrainDocument, store: str, unit: TimeUnit) -> list[str]:
    """Return the reason of the decision without the conditions that the table shows, and how to decide otherwise."""
    comparison = document.comparison
    if comparison is None:
        return [convert_minutes(document.reason, unit)]
    reason = document.reason.removesuffix(comparison.summary).strip()
    lines = [*([convert_minutes(reason, unit)] if reason else []), comparison_conclusion(comparison, unit)]
    if document.outcome in {"kept", "refreshed"}:
        purpose = "To promote it" if comparison.passed else "To promote it without a comparison"
        lines.append(f"{purpose}, use preptime bundles promote {document.bundle} --store {store} --reason TEXT.")
    return lines


def render_text(
    document: TrainDocument, store: str, *, champion_id: str | None, unit: TimeUnit = MINUTES
) -> list[RenderableType]:
    """Return the result of a training run as text. `champion_id` is the current champion."""
    lines: list[RenderableType] = []
    if document.reduced_reason is not None:
        lines += [f"Only the restaurant lookup and quantile were trained. {document.reduced_reason}", ""]
    if document.evaluation is not None:
        lines += evaluation_text(document.evaluation, unit)
    if document.comparison is not None:
        lines += ["", comparison_table(document.comparison, unit)]
    no_champion = f"There was no champion as of {document.date}."
    outcomes = {
        "promoted": f"{document.bundle} is the new champion of {store}.",
        "refreshed": f"{document.bundle} is stored but not promoted. {document.champion} has the champion's models "
        "and updated history.",
        "kept": f"{document.bundle} is stored in {store} but not promoted. "
        + (f"The champion is {document.champion}." if document.champion else no_champion),
        "unchanged": f"{document.bundle} is already the champion of {store}.",
    }
    lines += ["", outcomes[document.outcome], *_reason_text(document, store, unit), *document.data_gate.notes]
    if champion_id != document.champion:
        lines.append(
            f"This decision is as of {document.date}. The current champion of {store} is {champion_id or 'none'}."
        )
    return lines
