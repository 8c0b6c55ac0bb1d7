"""What a store holds, as people see it."""

from __future__ import annotations

import datetime as dt

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.inventory import list_store
from preptime.bundle.store import Store
from tests.bundle.factories import DAY, put_bundle, put_placeholder


def test_an_empty_store_is_an_empty_listing(store: Store) -> None:
    found = list_store(store)
    assert (found.manifests, found.unreadable, found.entries) == ((), {}, ())
    assert found.champion is None
    assert found.rollback_target is None


def test_every_bundle_is_listed_and_where_a_rollback_goes(store: Store) -> None:
    first, second = put_bundle(store), put_bundle(store, DAY + dt.timedelta(days=1))
    broken = put_placeholder(store, DAY, "f")
    log = ChampionLog(store)
    log.override(first, reason="a", by="anna", at="")
    assert list_store(store).rollback_target is None
    log.override(second, reason="b", by="anna", at="")
    found = list_store(store)
    assert [one.id for one in found.manifests] == [first, second]
    assert list(found.unreadable) == [broken]
    assert "manifest.json" in found.unreadable[broken]
    assert found.champion is not None
    assert found.champion.bundle == second
    assert found.rollback_target == found.entries[0]
    log.rollback(reason="c", by="anna", at="")
    assert list_store(store).rollback_target is None
