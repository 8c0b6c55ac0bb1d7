"""Listing a store."""

from __future__ import annotations

import datetime as dt

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.inventory import list_store
from preptime.bundle.store import Store
from tests.bundle.factories import DAY, put_bundle, put_placeholder


def test_list_store_of_empty_store_is_empty(store: Store) -> None:
    listing = list_store(store)
    assert (listing.manifests, listing.unreadable, listing.entries) == ((), {}, ())
    assert listing.champion is None
    assert listing.rollback_target is None


def test_list_store_has_bundles_errors_and_rollback_target(store: Store) -> None:
    first, second = put_bundle(store), put_bundle(store, DAY + dt.timedelta(days=1))
    broken = put_placeholder(store, DAY, "f")
    log = ChampionLog(store)
    log.override(first, reason="a", by="anna", at="")
    assert list_store(store).rollback_target is None
    log.override(second, reason="b", by="anna", at="")
    listing = list_store(store)
    assert [manifest.id for manifest in listing.manifests] == [first, second]
    assert list(listing.unreadable) == [broken]
    assert "manifest.json" in listing.unreadable[broken]
    assert listing.champion is not None
    assert listing.champion.bundle == second
    assert listing.rollback_target == listing.entries[0]
    log.rollback(reason="c", by="anna", at="")
    assert list_store(store).rollback_target is None
