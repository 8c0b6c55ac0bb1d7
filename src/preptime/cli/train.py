"""`preptime train`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import inputs, options
from preptime.cli.output import Output, comparison_table, interval_summary, score_table, with_output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.bundle.store import Store
    from preptime.sources.results import ResultsFolder
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
@options.dvc_metrics
@with_output
def train(
    output: Output,
    *,
    orders: str,
    restaurants: str,
    date: dt.date,
    store: str,
    results: str,
    promote: str,
    gate: tuple[str, ...],
    threads: int,
    dvc_metrics: Path | None,
) -> None:
    """Train on what was known that morning, promote what is better.

    A gate on the data comes first. The new bundle is compared with the champion on days that neither has seen; when it
    loses it is kept, and the champion's models get this morning's history. What was decided, and the report, go into
    the date's partition of --results; for a date that was decided before, the same again.
    """
    from preptime.bundle.champion_log import ChampionLog
    from preptime.bundle.store import Store
    from preptime.evaluation.dvc_export import write_dvc_files
    from preptime.sources.data_versions import find_revisions
    from preptime.sources.results import ResultsFolder
    from preptime.training.fitting import FitPlan
    from preptime.training.publishing import AuditActor
    from preptime.training.train import train as run
    from preptime.validation.data_gate import thresholds_from_settings

    thresholds = thresholds_from_settings(options.parse_thresholds(gate))
    audited_orders, restaurant_index = inputs.read_audited_orders(output, orders, restaurants)
    bundle_store = Store.open(store)
    document = run(
        audited_orders,
        restaurant_index,
        date,
        bundle_store,
        AuditActor(options.current_user(), options.utc_now()),
        plan=FitPlan.default(threads),
        thresholds=thresholds,
        allow_promotion=promote == "auto",
        revisions=find_revisions(orders),
        progress=output.progress,
    )
    if dvc_metrics is not None:
        write_dvc_files(dvc_metrics, document.evaluation)
    document_path = write_results(document, bundle_store, ResultsFolder(Path(results)))
    current_champion = ChampionLog(bundle_store).current()
    output.finish(
        document,
        *render_text(document, store, champion_id=current_champion.bundle if current_champion else None),
        f"The results are in {document_path.parent}.",
    )


def write_results(document: TrainDocument, store: Store, daily_results: ResultsFolder) -> Path:
    """Put what was decided, and the report, into the date's partition; returns the file that was written last."""
    from preptime.sources.results import REPORT_FILE, TRAINING_FILE

    report = store.fetch(document.bundle) / REPORT_FILE
    daily_results.write(document.date, REPORT_FILE, report.read_bytes())
    return daily_results.write(
        document.date, TRAINING_FILE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    )


def render_text(document: TrainDocument, store: str, *, champion_id: str | None) -> list[RenderableType]:
    """What a training run says to people; `serving` is the champion by now."""
    lines: list[RenderableType] = [
        score_table(document.evaluation),
        interval_summary(document.evaluation),
    ]
    if document.comparison is not None:
        lines += ["", comparison_table(document.comparison)]
    outcomes = {
        "promoted": f"{document.bundle} is the new champion of {store}.",
        "refreshed": f"{document.bundle} is kept; {document.champion} is the champion's models with new history.",
        "kept": f"{document.bundle} is kept in {store}; the champion is {document.champion or 'none yet'}.",
        "unchanged": f"{document.bundle} already is the champion of {store}.",
    }
    lines += ["", outcomes[document.outcome], document.reason, *document.data_gate.notes]
    if champion_id != document.champion:
        lines.append(
            f"That is the morning of {document.date}. By now {champion_id or 'nobody'} is champion of {store}."
        )
    return lines
