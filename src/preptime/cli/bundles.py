"""`preptime bundles`: the registry."""

from __future__ import annotations

import datetime as dt

import click
import msgspec
from rich.table import Table

from preptime.bundle.bundle import fetch_verified as load_bundle
from preptime.bundle.champion_log import Action, ChampionLog, LogEntry
from preptime.bundle.inventory import list_store
from preptime.bundle.inventory import prune as remove
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.cli import inputs, options
from preptime.cli.output import FAILURE, Output, comparison_table, format_count, manifest_table, with_output
from preptime.errors import BundleVerificationError

ABANDONED_HOURS = 24
"""A half-written bundle that nobody touched for a day belongs to nobody any more."""


ACTION_TEXT: dict[Action, str] = {
    "promote": "promoted",
    "refresh": "refreshed the champion as",
    "override": "promoted, past the comparison,",
    "rollback": "went back to",
}
"""What somebody did, in the lines of the log."""


class BundleRow(msgspec.Struct, frozen=True):
    """One bundle of `bundles list --json`."""

    bundle: str
    kind: str
    date: dt.date
    fitted_through: dt.date
    parent: str | None
    champion: bool


class VerificationResult(msgspec.Struct, frozen=True):
    """A bundle and why it is refused; null when it is not."""

    bundle: str
    error: str | None


class BundleListDocument(msgspec.Struct, frozen=True):
    """The document of `bundles list --json`: bundles by date, and the champion log, first to last."""

    bundles: tuple[BundleRow, ...]
    unreadable: tuple[VerificationResult, ...]
    """Bundles whose manifest cannot be read. Hashes and golden orders are `verify`'s matter."""
    log: tuple[LogEntry, ...]


class BundleShowDocument(msgspec.Struct, frozen=True):
    """The document of `bundles show --json`."""

    manifest: Manifest
    champion_since: tuple[LogEntry, ...]
    """The log's entries that made it champion."""


class BundleVerifyDocument(msgspec.Struct, frozen=True):
    """The document of `bundles verify --json`."""

    bundles: tuple[VerificationResult, ...]


class BundlePruneDocument(msgspec.Struct, frozen=True):
    """The document of `bundles prune --json`."""

    bundles: list[str]
    leftovers: list[str]


@click.group()
def bundles() -> None:
    """List, compare, promote and roll back bundles."""


@bundles.command("list")
@options.store
@with_output
def list_bundles(output: Output, store: str) -> None:
    """Show every bundle, which one serves, and the log of champions."""
    bundle_listing = list_store(Store.open(store))
    champion_id = bundle_listing.champion.bundle if bundle_listing.champion else None
    rows = [
        BundleRow(item.id, item.kind, item.date, item.window.fitted_through, item.parent, item.id == champion_id)
        for item in bundle_listing.manifests
    ]
    unreadable = [VerificationResult(bundle_id, error) for bundle_id, error in bundle_listing.unreadable.items()]
    output.finish(
        BundleListDocument(tuple(rows), tuple(unreadable), bundle_listing.entries),
        *([_bundle_table(rows)] if rows else []),
        *(f"{item.bundle} cannot be read. {item.error}" for item in unreadable),
        f"{store} holds {format_count(len(rows) + len(unreadable), 'bundle')}. "
        + (f"The champion is {champion_id}." if champion_id else "It has no champion yet."),
        *(_format_log_entry(entry) for entry in bundle_listing.entries),
    )


def _bundle_table(rows: list[BundleRow]) -> Table:
    table = Table()
    for name in ("bundle", "kind", "fitted to", "parent"):  # fits 80 columns
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(row.bundle, row.kind, str(row.fitted_through), row.parent or "")
    return table


@bundles.command()
@click.argument("bundle")
@options.store
@with_output
def show(output: Output, bundle: str, store: str) -> None:
    """Show what a bundle says of itself.

    BUNDLE is its id. With --json the whole manifest.
    """
    bundle_store = Store.open(store)
    manifest = bundle_store.read_manifest(bundle)
    entries = tuple(entry for entry in ChampionLog(bundle_store).entries() if entry.bundle == bundle)
    output.finish(
        BundleShowDocument(manifest, entries),
        manifest_table(manifest),
        *(_format_log_entry(entry) for entry in entries),
    )


@bundles.command()
@click.argument("challenger")
@click.argument("champion", required=False)
@options.store
@options.orders
@options.restaurants
@click.option("--to", "last_day", type=options.DATE, help="Last day to compare on.  [default: the last with orders]")
@with_output
def compare(
    output: Output,
    *,
    challenger: str,
    champion: str | None,
    store: str,
    orders: str,
    restaurants: str,
    last_day: dt.date | None,
) -> None:
    """Compare two bundles on days that neither has seen.

    CHALLENGER and CHAMPION are ids of bundles; without CHAMPION the champion of the store is meant. Nothing is
    promoted.
    """
    from preptime.bundle.champion_log import resolve_bundle_id
    from preptime.training.comparison import compare_bundles

    bundle_store = Store.open(store)
    training_data = inputs.read_training_data(output, orders, restaurants)
    comparison = compare_bundles(
        training_data,
        load_bundle(bundle_store, resolve_bundle_id(bundle_store, challenger)),
        load_bundle(bundle_store, resolve_bundle_id(bundle_store, champion)),
        min(last_day or training_data.last_day, training_data.last_day),
    )
    output.finish(comparison, comparison_table(comparison), comparison.summary)


@bundles.command()
@click.argument("bundle")
@options.store
@options.reason
@with_output
def promote(output: Output, bundle: str, store: str, reason: str) -> None:
    """Make a bundle the champion, whatever the comparison said.

    BUNDLE is its id. Verification comes first: a damaged bundle is refused whatever the reason.
    """
    entry = ChampionLog(Store.open(store)).override(
        bundle, reason=reason, by=options.current_user(), at=options.utc_now()
    )
    output.finish(entry, _format_log_entry(entry))


@bundles.command()
@options.store
@options.reason
@with_output
def rollback(output: Output, store: str, reason: str) -> None:
    """Undo the latest promotion.

    The champion before it serves again, once it has been verified.
    """
    entry = ChampionLog(Store.open(store)).rollback(reason=reason, by=options.current_user(), at=options.utc_now())
    output.finish(entry, _format_log_entry(entry))


@bundles.command()
@click.argument("bundle", nargs=-1)
@options.store
@with_output
def verify(output: Output, bundle: tuple[str, ...], store: str) -> None:
    """Check files, hashes and golden orders of bundles.

    BUNDLE is an id; without one every bundle is checked. Exit status 3 when one is refused.
    """
    bundle_store = Store.open(store)
    results = []
    for bundle_id in bundle or bundle_store.bundle_ids():
        try:
            load_bundle(bundle_store, bundle_id)
            results.append(VerificationResult(bundle_id, None))
        except BundleVerificationError as error:
            results.append(VerificationResult(bundle_id, str(error)))
    output.finish(
        BundleVerifyDocument(tuple(results)), *(f"{result.bundle}: {result.error or 'ok'}" for result in results)
    )
    if any(result.error for result in results):
        # The document is printed: an error's document beside it would be one too many.
        click.get_current_context().exit(FAILURE)


@bundles.command()
@options.store
@click.option("--keep", type=click.IntRange(0), required=True, help="How many of the newest bundles stay.")
@with_output
def prune(output: Output, store: str, keep: int) -> None:
    """Remove old bundles, never one that is needed.

    The champion stays, those that the next three rollbacks may return to, and the parents of what stays.
    """
    bundle_store = Store.open(store)
    abandoned_before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=ABANDONED_HOURS)
    removed = remove(bundle_store, keep=keep, abandoned_before=abandoned_before.timestamp())
    output.finish(
        BundlePruneDocument(removed.bundles, removed.leftovers),
        *(f"Removed {name}." for name in (*removed.bundles, *removed.leftovers)),
        f"Bundles that stay: {len(bundle_store.bundle_ids()):,}.",
    )


def _format_log_entry(entry: LogEntry) -> str:
    return f"{entry.number:>4}  {entry.at}  {entry.by} {ACTION_TEXT[entry.action]} {entry.bundle}: {entry.reason}"
