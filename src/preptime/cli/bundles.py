"""The command `preptime bundles`: list, compare, and promote the bundles of a store."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.table import Column, Table

from preptime.bundle.champion_log import Action, ChampionLog, LogEntry
from preptime.bundle.copying import copy_store
from preptime.bundle.inventory import list_store
from preptime.bundle.inventory import prune as prune_store
from preptime.bundle.isolated_check import check_bundle, load_checked
from preptime.bundle.manifest import JsonObject, Manifest, to_json_object
from preptime.bundle.store import Store
from preptime.cli import inputs, options
from preptime.cli.output import (
    FAILURE,
    Output,
    comparison_conclusion,
    comparison_table,
    manifest_table,
    print_message,
    with_output,
)
from preptime.errors import BundleVerificationError
from preptime.formatting import format_count
from preptime.python_api.defaults import current_user, utc_now
from preptime.tracking.runs import follow_champion

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.training.comparison import Comparison

ACTION_TEXT: dict[Action, str] = {
    "promote": "promoted",
    "refresh": "refreshed the champion as",
    "override": "promoted without comparison",
    "rollback": "rolled back to",
}
"""Text for an action in the champion log."""


class BundleRow(msgspec.Struct, frozen=True):
    """One bundle in `bundles list --json`."""

    bundle: str
    kind: str
    date: dt.date
    fitted_through: dt.date
    parent: str | None
    champion: bool


class VerificationResult(msgspec.Struct, frozen=True):
    """A bundle, and why it failed verification, or null."""

    bundle: str
    error: str | None


class BundleListDocument(msgspec.Struct, frozen=True):
    """The document of `bundles list --json`: bundles by date, and the champion log, oldest entry first."""

    bundles: tuple[BundleRow, ...]
    unreadable: tuple[VerificationResult, ...]
    """Bundles with an unreadable manifest. `verify` also checks hashes and golden orders."""
    log: tuple[LogEntry, ...]
    missing_log_entries: tuple[int, ...]
    """Numbers of log entries whose files are missing. `repair-log` writes them again."""


class BundleShowDocument(msgspec.Struct, frozen=True):
    """The document of `bundles show --json`."""

    manifest: Manifest
    champion_since: tuple[LogEntry, ...]
    """The log entries that made it the champion."""
    comparison: JsonObject | None = None
    """The gate's comparison of this bundle with the champion of its date, if the champion log has it."""


class BundleVerifyDocument(msgspec.Struct, frozen=True):
    """The document of `bundles verify --json`."""

    bundles: tuple[VerificationResult, ...]


class BundlePruneDocument(msgspec.Struct, frozen=True):
    """The document of `bundles prune --json`."""

    bundles: list[str]
    leftovers: list[str]


class BundleCopyDocument(msgspec.Struct, frozen=True):
    """The document of `bundles copy --json`."""

    bundles: tuple[str, ...]
    log_entries: int


class LogRepairDocument(msgspec.Struct, frozen=True):
    """The document of `bundles repair-log --json`: the written entries, first to last."""

    log: tuple[LogEntry, ...]


@click.group()
def bundles() -> None:
    """List, compare, promote, and roll back bundles."""


@bundles.command("list")
@options.store
@with_output
def list_bundles(output: Output, store: str) -> None:
    """List all bundles, the champion, and the champion log."""
    bundle_store = Store.open(store).existing()
    bundle_listing = list_store(bundle_store)
    champion_id = bundle_listing.champion.bundle if bundle_listing.champion else None
    rows = [
        BundleRow(item.id, item.kind, item.date, item.window.fitted_through, item.parent, item.id == champion_id)
        for item in bundle_listing.manifests
    ]
    unreadable = [VerificationResult(bundle_id, error) for bundle_id, error in bundle_listing.unreadable.items()]
    output.finish(
        BundleListDocument(tuple(rows), tuple(unreadable), bundle_listing.entries, bundle_listing.missing_entries),
        *([_bundle_table(rows)] if rows else []),
        *(f"Can't read {item.bundle}: {item.error}" for item in unreadable),
        f"{store}: {format_count(len(rows) + len(unreadable), 'bundle')}. "
        + (f"The champion is {champion_id}." if champion_id else "There is no champion yet."),
        *(_format_log_entry(entry) for entry in bundle_listing.entries),
        *(
            f"Entry {number} is missing: {store}/champion/{number:06d}.json. Restore it from a backup, or run: "
            f"preptime bundles repair-log {bundle_store.option}"
            for number in bundle_listing.missing_entries
        ),
    )


def _bundle_table(rows: list[BundleRow]) -> Table:
    # It fits in 80 columns.
    table = Table(*(Column(name, no_wrap=True) for name in ("bundle", "kind", "fitted to", "parent")))
    for row in rows:
        table.add_row(row.bundle, row.kind, str(row.fitted_through), row.parent or "")
    return table


@bundles.command()
@click.argument("bundle")
@options.store
@with_output
def show(output: Output, bundle: str, store: str) -> None:
    """Show a bundle's properties and the gate's comparison.

    BUNDLE is its ID. --json prints the whole manifest.
    """
    from preptime.training.comparison import read_comparison

    bundle_store = Store.open(store).existing()
    manifest = bundle_store.read_manifest(bundle)
    all_entries = ChampionLog(bundle_store).read_all().entries
    entries = tuple(entry for entry in all_entries if entry.bundle == bundle)
    comparisons = [
        comparison
        for entry in all_entries
        if (comparison := read_comparison(entry)) and comparison.challenger == bundle
    ]
    output.finish(
        BundleShowDocument(manifest, entries, to_json_object(comparisons[-1]) if comparisons else None),
        manifest_table(manifest),
        *(_format_log_entry(entry) for entry in entries),
        *(_table_of(comparison, manifest) for comparison in comparisons[-1:]),
    )


@bundles.command()
@click.argument("challenger")
@click.argument("champion", required=False)
@options.store
@options.orders
@options.restaurants
@options.schema
@click.option(
    "--to", "last_day", type=options.DATE, help="Last day of the comparison.  [default: the last day with orders]"
)
@with_output
def compare(
    output: Output,
    *,
    challenger: str,
    champion: str | None,
    store: str,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    last_day: dt.date | None,
) -> None:
    """Compare two bundles on days that neither was fitted on.

    CHALLENGER and CHAMPION are bundle IDs. The default for CHAMPION is the champion of the store. Nothing is promoted.
    """
    from preptime.bundle.champion_log import resolve_bundle_id
    from preptime.training.comparison import compare_bundles

    bundle_store = options.open_store(store).existing()
    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    training_data = inputs.read_training_data(output, dataset)
    challenging = load_checked(bundle_store, resolve_bundle_id(bundle_store, challenger))
    champion_bundle = load_checked(bundle_store, resolve_bundle_id(bundle_store, champion))
    comparison = compare_bundles(training_data, challenging, champion_bundle, last_day, target=dataset.schema.target)
    unit = challenging.schema.target.time_unit
    output.finish(
        comparison,
        comparison_table(comparison, unit),
        comparison_conclusion(comparison, unit),
        *(
            []
            if comparison.orders
            else _logged_comparison(bundle_store, challenging.manifest, champion_bundle.manifest)
        ),
    )


def _logged_comparison(store: Store, challenger: Manifest, champion: Manifest) -> list[RenderableType]:
    """Return the gate's comparison of two bundles as text, if the champion log has one."""
    from preptime.training.comparison import find_logged_comparison

    found = find_logged_comparison(ChampionLog(store).read_all().entries, challenger, champion)
    if found is None:
        return []
    entry, comparison = found
    return ["", f"The gate's comparison (log entry {entry.number}):", _table_of(comparison, challenger)]


def _table_of(comparison: Comparison, manifest: Manifest) -> Table:
    return comparison_table(comparison, manifest.schema.target.time_unit)


@bundles.command()
@click.argument("model", type=options.LocalPath(exists=True, dir_okay=False))
@click.option("--name", required=True, help="Name of the model in files, requests, and predictions.")
@click.option(
    "--as-of",
    "date",
    type=options.DATE,
    required=True,
    help="As-of date. The columns of the model are those of the features as of this date.",
)
@click.option(
    "--fitted-through",
    type=options.DATE,
    help="Last day that the model was fitted on. Only later days calibrate and evaluate it.  [default: the day before "
    "the seven days before --as-of]",
)
@options.orders
@options.restaurants
@options.schema
@options.store
@options.promote
@options.gate
@options.models
@options.threads
@with_output
def offer(
    output: Output,
    model: Path,
    *,
    name: str,
    date: dt.date,
    fitted_through: dt.date | None,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    store: str,
    promote: str,
    gate: tuple[str, ...],
    models: str | None,
    threads: int,
) -> None:
    """Offer a finished ONNX model to the gate.

    MODEL reads the columns of preptime.features and predicts seconds: [N], or [N, 4] for p10, p50, p80, and p90. It's
    checked in a separate process first. The other models are trained as by preptime train. A model of quantiles
    replaces the default prediction. Another model is added. The new bundle is compared with the champion on days after
    --fitted-through, and promoted if it's better. No daily results are written.
    """
    from preptime.cli.train import render_text
    from preptime.sources.data_versions import find_revisions
    from preptime.training.fitting import FitPlan
    from preptime.training.offer import Offer, day_before_gate
    from preptime.training.offer import offer as run_offer
    from preptime.training.publishing import AuditActor
    from preptime.validation.data_gate import thresholds_from_settings

    thresholds = thresholds_from_settings(options.parse_thresholds(gate))
    if fitted_through is None:
        fitted_through = day_before_gate(date)
        print_message(
            f"The days after {fitted_through} evaluate {name}. If it was fitted on any of them, its metrics are too "
            "good: state the last day that it was fitted on with --fitted-through."
        )
    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    plan = FitPlan.from_schema(dataset.schema, threads, options.parse_models(models))
    audited_orders, restaurant_index = inputs.read_completed_orders(output, dataset)
    bundle_store = options.open_store(store)
    with options.tracked_run("offer") as run:
        document = run_offer(
            Offer(model, name, fitted_through),
            audited_orders,
            restaurant_index,
            date,
            bundle_store,
            actor=AuditActor(current_user(), utc_now()),
            plan=plan,
            thresholds=thresholds,
            schema=dataset.schema,
            allow_promotion=promote == "auto",
            revisions=find_revisions(orders),
            progress=output.progress,
        )
        run.log_training(document, bundle_store, seed=plan.seed, orders=orders)
    current, unit = ChampionLog(bundle_store).current(), dataset.schema.target.time_unit
    output.finish(document, *render_text(document, store, champion_id=current.bundle if current else None, unit=unit))


@bundles.command()
@click.argument("bundle")
@options.store
@options.reason
@with_output
def promote(output: Output, bundle: str, store: str, reason: str) -> None:
    """Make a bundle the champion without a comparison.

    BUNDLE is its ID. The bundle is verified first. A damaged bundle can't be promoted.
    """
    bundle_store = options.open_store(store).existing()
    log = ChampionLog(bundle_store)
    entry = log.override(bundle, reason=reason, by=current_user(), at=utc_now())
    follow_champion(bundle_store, options.tracking_settings())
    output.finish(entry, _format_log_entry(entry))


@bundles.command()
@options.store
@options.reason
@with_output
def rollback(output: Output, store: str, reason: str) -> None:
    """Roll back the latest promotion.

    The previous champion is verified, then serves again.
    """
    bundle_store = options.open_store(store).existing()
    log = ChampionLog(bundle_store)
    entry = log.rollback(reason=reason, by=current_user(), at=utc_now())
    follow_champion(bundle_store, options.tracking_settings())
    output.finish(entry, _format_log_entry(entry))


@bundles.command()
@click.argument("bundle", nargs=-1)
@options.store
@with_output
def verify(output: Output, bundle: tuple[str, ...], store: str) -> None:
    """Verify files, hashes, values, and golden orders of bundles.

    Each bundle is loaded in a separate process, with limits on time and memory (docs/bundle-format.md, "Loading").
    BUNDLE is an ID. The default is all bundles. The exit status is 3 if a bundle fails verification.
    """
    bundle_store, results = options.open_store(store).existing(), []
    for bundle_id in bundle or bundle_store.bundle_ids():
        try:
            check_bundle(bundle_store, bundle_id)
            results.append(VerificationResult(bundle_id, None))
        except BundleVerificationError as error:
            results.append(VerificationResult(bundle_id, str(error)))
        # Printed here, so that it isn't lost if the next bundle is unknown, or the store fails.
        output.print_text(f"{bundle_id}: {results[-1].error or 'ok'}")
    output.finish(BundleVerifyDocument(tuple(results)))
    if any(result.error for result in results):
        # Not an exception: it would print a second JSON document.
        click.get_current_context().exit(FAILURE)


@bundles.command()
@options.store
@click.option("--keep", type=click.IntRange(0), required=True, help="Number of newest bundles to keep.")
@with_output
def prune(output: Output, store: str, keep: int) -> None:
    """Remove old bundles that aren't needed.

    Keeps the champion, the bundles that the next three rollbacks can return to, and the parents of kept bundles.
    """
    bundle_store = Store.open(store)
    removed = prune_store(bundle_store, keep=keep, abandoned_before=options.abandoned_before())
    output.finish(
        BundlePruneDocument(removed.bundles, removed.leftovers),
        *(f"Removed {name}." for name in (*removed.bundles, *removed.leftovers)),
        f"Bundles kept: {len(bundle_store.bundle_ids()):,}.",
    )


@bundles.command()
@options.store
@click.option("--to", "target", metavar="FOLDER|URL", required=True, help="Folder or URL of the other store.")
@with_output
def copy(output: Output, store: str, target: str) -> None:
    """Copy bundles and the champion log to another store.

    For a backup, to restore one, or to move to another environment. What the other store has isn't copied again, so a
    copy that was interrupted continues. The other store must be empty or an earlier copy.
    """
    copied = copy_store(options.open_store(store), Store.open(target), progress=output.progress)
    output.finish(
        BundleCopyDocument(copied.bundles, len(copied.log_files)),
        *(f"Copied {name}." for name in copied.bundles),
        f"Bundles copied: {len(copied.bundles):,}. Log entries copied: {len(copied.log_files):,}.",
    )


@bundles.command("repair-log")
@options.store
@with_output
def repair_log(output: Output, store: str) -> None:
    """Write missing entries of the champion log again.

    Existing entries don't change. The bundle of a missing entry is known from the entry after it. Prefer a backup of
    the store if you have one.
    """
    entries = tuple(ChampionLog(Store.open(store).existing()).repair(by=current_user(), at=utc_now()))
    output.finish(
        LogRepairDocument(entries),
        *(_format_log_entry(entry) for entry in entries),
        f"Entries written: {len(entries)}.",
    )


def _format_log_entry(entry: LogEntry) -> str:
    return f"{entry.number:>4}  {entry.at}  {entry.by} {ACTION_TEXT[entry.action]} {entry.bundle}: {entry.reason}"
