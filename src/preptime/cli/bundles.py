"""`preptime bundles`: the registry."""

from __future__ import annotations

import datetime as dt

import click
import msgspec
from rich.table import Table

from preptime.bundle.bundle import verify as load
from preptime.bundle.champions import ChampionLog, Entry, EntryDraft
from preptime.bundle.manifest import Manifest
from preptime.bundle.pruning import prune as remove
from preptime.bundle.store import Store
from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking
from preptime.errors import RefusedBundleError

ABANDONED_HOURS = 24
"""A half-written bundle that nobody touched for a day belongs to nobody any more."""


class Row(msgspec.Struct, frozen=True):
    """One bundle of `bundles list --json`."""

    bundle: str
    kind: str
    date: dt.date
    fitted_through: dt.date
    parent: str | None
    champion: bool


class ListDocument(msgspec.Struct, frozen=True):
    """The document of `bundles list --json`: bundles by date, and the champion log, first to last."""

    bundles: tuple[Row, ...]
    log: tuple[Entry, ...]


class ShowDocument(msgspec.Struct, frozen=True):
    """The document of `bundles show --json`."""

    manifest: Manifest
    champion_since: tuple[Entry, ...]
    """The log's entries that made it champion."""


class Verified(msgspec.Struct, frozen=True):
    """One bundle of `bundles verify --json`; `refused` says why, or is null."""

    bundle: str
    refused: str | None


class VerifyDocument(msgspec.Struct, frozen=True):
    """The document of `bundles verify --json`."""

    bundles: tuple[Verified, ...]


class PruneDocument(msgspec.Struct, frozen=True):
    """The document of `bundles prune --json`."""

    bundles: list[str]
    leftovers: list[str]


@click.group()
def bundles() -> None:
    """The bundles of a store and its champion log."""


@bundles.command("list")
@options.store
@speaking
def list_(speaker: Speaker, store: str) -> None:
    """Every bundle, and which one serves."""
    opened = Store.open(store)
    log = ChampionLog(opened).history()
    serving = log[-1].bundle if log else None
    manifests = [opened.manifest(bundle_id) for bundle_id in opened.bundle_ids()]
    rows = tuple(
        Row(one.id, one.kind, one.date, one.window.fitted_through, one.parent, one.id == serving) for one in manifests
    )
    table = Table(title=f"{store}: {len(rows)} bundles", title_justify="left")
    for name in ("bundle", "kind", "fitted through", "parent", "champion"):
        table.add_column(name)
    for row in rows:
        serves = "champion" if row.champion else ""
        table.add_row(row.bundle, row.kind, str(row.fitted_through), row.parent or "", serves)
    speaker.finish(ListDocument(rows, tuple(log)), table, *(_log_line(entry) for entry in log))


@bundles.command()
@click.argument("bundle")
@options.store
@speaking
def show(speaker: Speaker, bundle: str, store: str) -> None:
    """What a bundle says of itself."""
    opened = Store.open(store)
    manifest = opened.manifest(bundle)
    entries = tuple(entry for entry in ChampionLog(opened).history() if entry.bundle == bundle)
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode()
    speaker.finish(ShowDocument(manifest, entries), text, *(_log_line(entry) for entry in entries))


@bundles.command()
@click.argument("challenger")
@click.argument("champion", required=False)
@options.store
@options.orders
@options.restaurants
@click.option("--to", "last", type=options.DATE, help="Last day to compare on (default: the orders' last).")
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
    """Two bundles on the same orders, on days that neither has seen (default: against the champion)."""
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
    """Make a bundle the champion, past the comparison but never past verification."""
    opened = Store.open(store)
    log = ChampionLog(opened)
    manifest = load(opened, bundle).manifest
    entry = log.append(
        EntryDraft(
            bundle=bundle,
            date=manifest.date,
            action="override",
            reason=reason,
            by=options.user(),
            at=options.now(),
        ),
        after=log.current(),
    )
    speaker.finish(entry, _log_line(entry))


@bundles.command()
@options.store
@options.reason
@speaking
def rollback(speaker: Speaker, store: str, reason: str) -> None:
    """Undo the latest promotion: the champion before it serves again."""
    entry = ChampionLog(Store.open(store)).rollback(reason=reason, by=options.user(), at=options.now())
    speaker.finish(entry, _log_line(entry))


@bundles.command()
@click.argument("bundle", nargs=-1)
@options.store
@speaking
def verify(speaker: Speaker, bundle: tuple[str, ...], store: str) -> None:
    """Check files, hashes and golden orders of the named bundles (default: all)."""
    opened = Store.open(store)
    found = []
    for bundle_id in bundle or opened.bundle_ids():
        try:
            load(opened, bundle_id)
            found.append(Verified(bundle_id, None))
        except RefusedBundleError as error:
            found.append(Verified(bundle_id, str(error)))
    speaker.finish(VerifyDocument(tuple(found)), *(f"{one.bundle}: {one.refused or 'fine'}" for one in found))
    refused = [one.bundle for one in found if one.refused is not None]
    if refused:
        raise RefusedBundleError(f"{len(refused)} of {len(found)} bundles were refused: {', '.join(refused)}.")


@bundles.command()
@options.store
@click.option("--keep", type=click.IntRange(0), required=True, help="How many of the newest bundles stay.")
@speaking
def prune(speaker: Speaker, store: str, keep: int) -> None:
    """Remove old bundles: never the champion, nor one that a rollback may need."""
    opened = Store.open(store)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=ABANDONED_HOURS)
    removed = remove(opened, keep=keep, abandoned_before=before.timestamp())
    speaker.finish(
        PruneDocument(removed.bundles, removed.leftovers),
        *(f"Removed {one}." for one in (*removed.bundles, *removed.leftovers)),
        f"{len(opened.bundle_ids())} bundles stay.",
    )


def _log_line(entry: Entry) -> str:
    return f"{entry.number:>4}  {entry.at}  {entry.action} of {entry.bundle} by {entry.by}: {entry.reason}"
