"""`preptime bundles`: the registry."""

from __future__ import annotations

import datetime as dt

import click
import msgspec
from rich.table import Table

from preptime.bundle.bundle import verify as load
from preptime.bundle.champions import Action, ChampionLog, Entry
from preptime.bundle.listing import listing
from preptime.bundle.manifest import Manifest
from preptime.bundle.pruning import prune as remove
from preptime.bundle.store import Store
from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking
from preptime.cli.status import FAULT
from preptime.errors import RefusedBundleError

ABANDONED_HOURS = 24
"""A half-written bundle that nobody touched for a day belongs to nobody any more."""


DONE: dict[Action, str] = {
    "promote": "promoted",
    "refresh": "refreshed the champion as",
    "override": "promoted, past the comparison,",
    "rollback": "went back to",
}
"""What somebody did, in the lines of the log."""


class Row(msgspec.Struct, frozen=True):
    """One bundle of `bundles list --json`."""

    bundle: str
    kind: str
    date: dt.date
    fitted_through: dt.date
    parent: str | None
    champion: bool


class Verified(msgspec.Struct, frozen=True):
    """A bundle and why it is refused; null when it is not."""

    bundle: str
    refused: str | None


class ListDocument(msgspec.Struct, frozen=True):
    """The document of `bundles list --json`: bundles by date, and the champion log, first to last."""

    bundles: tuple[Row, ...]
    unreadable: tuple[Verified, ...]
    """Bundles whose manifest cannot be read. Hashes and golden orders are `verify`'s matter."""
    log: tuple[Entry, ...]


class ShowDocument(msgspec.Struct, frozen=True):
    """The document of `bundles show --json`."""

    manifest: Manifest
    champion_since: tuple[Entry, ...]
    """The log's entries that made it champion."""


class VerifyDocument(msgspec.Struct, frozen=True):
    """The document of `bundles verify --json`."""

    bundles: tuple[Verified, ...]


class PruneDocument(msgspec.Struct, frozen=True):
    """The document of `bundles prune --json`."""

    bundles: list[str]
    leftovers: list[str]


@click.group()
def bundles() -> None:
    """List, compare, promote and roll back bundles."""


@bundles.command("list")
@options.store
@speaking
def list_(speaker: Speaker, store: str) -> None:
    """Show every bundle, which one serves, and the log of champions."""
    found = listing(Store.open(store))
    serving = found.champion.bundle if found.champion else None
    rows = [
        Row(one.id, one.kind, one.date, one.window.fitted_through, one.parent, one.id == serving)
        for one in found.manifests
    ]
    unreadable = [Verified(bundle_id, why) for bundle_id, why in found.unreadable.items()]
    speaker.finish(
        ListDocument(tuple(rows), tuple(unreadable), found.log),
        *([_table(rows)] if rows else []),
        *(f"{one.bundle} cannot be read. {one.refused}" for one in unreadable),
        f"{store} holds {figures.counted(len(rows) + len(unreadable), 'bundle')}. "
        + (f"The champion is {serving}." if serving else "It has no champion yet."),
        *(_log_line(entry) for entry in found.log),
    )


def _table(rows: list[Row]) -> Table:
    table = Table()
    for name in ("bundle", "kind", "fitted to", "parent"):  # fits 80 columns
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(row.bundle, row.kind, str(row.fitted_through), row.parent or "")
    return table


@bundles.command()
@click.argument("bundle")
@options.store
@speaking
def show(speaker: Speaker, bundle: str, store: str) -> None:
    """Show what a bundle says of itself.

    BUNDLE is its id. With --json the whole manifest.
    """
    opened = Store.open(store)
    manifest = opened.manifest(bundle)
    entries = tuple(entry for entry in ChampionLog(opened).history() if entry.bundle == bundle)
    speaker.finish(
        ShowDocument(manifest, entries),
        figures.manifest_table(manifest),
        *(_log_line(entry) for entry in entries),
    )


@bundles.command()
@click.argument("challenger")
@click.argument("champion", required=False)
@options.store
@options.orders
@options.restaurants
@click.option("--to", "last", type=options.DATE, help="Last day to compare on.  [default: the last with orders]")
@speaking
def compare(
    speaker: Speaker,
    *,
    challenger: str,
    champion: str | None,
    store: str,
    orders: str,
    restaurants: str,
    last: dt.date | None,
) -> None:
    """Compare two bundles on days that neither has seen.

    CHALLENGER and CHAMPION are ids of bundles; without CHAMPION the champion of the store is meant. Nothing is
    promoted.
    """
    from preptime.bundle.champions import chosen
    from preptime.training.compare import compare_bundles

    opened = Store.open(store)
    corpus = reading.read_corpus(speaker, orders, restaurants)
    comparison = compare_bundles(
        corpus,
        load(opened, chosen(opened, challenger)),
        load(opened, chosen(opened, champion)),
        min(last or corpus.last_day, corpus.last_day),
    )
    speaker.finish(comparison, figures.comparison_table(comparison), comparison.sentence)


@bundles.command()
@click.argument("bundle")
@options.store
@options.reason
@speaking
def promote(speaker: Speaker, bundle: str, store: str, reason: str) -> None:
    """Make a bundle the champion, whatever the comparison said.

    BUNDLE is its id. Verification comes first: a damaged bundle is refused whatever the reason.
    """
    entry = ChampionLog(Store.open(store)).override(bundle, reason=reason, by=options.user(), at=options.now())
    speaker.finish(entry, _log_line(entry))


@bundles.command()
@options.store
@options.reason
@speaking
def rollback(speaker: Speaker, store: str, reason: str) -> None:
    """Undo the latest promotion.

    The champion before it serves again, once it has been verified.
    """
    entry = ChampionLog(Store.open(store)).rollback(reason=reason, by=options.user(), at=options.now())
    speaker.finish(entry, _log_line(entry))


@bundles.command()
@click.argument("bundle", nargs=-1)
@options.store
@speaking
def verify(speaker: Speaker, bundle: tuple[str, ...], store: str) -> None:
    """Check files, hashes and golden orders of bundles.

    BUNDLE is an id; without one every bundle is checked. Exit status 3 when one is refused.
    """
    opened = Store.open(store)
    found = []
    for bundle_id in bundle or opened.bundle_ids():
        try:
            load(opened, bundle_id)
            found.append(Verified(bundle_id, None))
        except RefusedBundleError as error:
            found.append(Verified(bundle_id, str(error)))
    speaker.finish(VerifyDocument(tuple(found)), *(f"{one.bundle}: {one.refused or 'fine'}" for one in found))
    if any(one.refused for one in found):
        # The document is printed: an error's document beside it would be one too many.
        click.get_current_context().exit(FAULT)


@bundles.command()
@options.store
@click.option("--keep", type=click.IntRange(0), required=True, help="How many of the newest bundles stay.")
@speaking
def prune(speaker: Speaker, store: str, keep: int) -> None:
    """Remove old bundles, never one that is needed.

    The champion stays, those that the next three rollbacks may return to, and the parents of what stays.
    """
    opened = Store.open(store)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=ABANDONED_HOURS)
    removed = remove(opened, keep=keep, abandoned_before=before.timestamp())
    speaker.finish(
        PruneDocument(removed.bundles, removed.leftovers),
        *(f"Removed {one}." for one in (*removed.bundles, *removed.leftovers)),
        f"Bundles that stay: {len(opened.bundle_ids()):,}.",
    )


def _log_line(entry: Entry) -> str:
    return f"{entry.number:>4}  {entry.at}  {entry.by} {DONE[entry.action]} {entry.bundle}: {entry.reason}"
