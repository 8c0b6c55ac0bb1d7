"""Writing bundles: the same content gives the same bundle, and inconsistent parts are errors."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import msgspec
import numpy as np
import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.manifest import ManifestDraft
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.errors import BundleVerificationError, OperationError, UsageError
from tests.bundle.factories import (
    DAY,
    REPORT,
    TRAINING_FILES,
    graph_files,
    live_draft,
    put_bundle,
    some_draft,
    some_files,
    some_history,
    some_live_model,
    some_model,
    some_orders,
)


def test_write_bundle_again_changes_nothing(store: Store) -> None:
    first = put_bundle(store)
    assert put_bundle(store) == first
    assert store.bundle_ids() == [first]
    assert fetch_verified(store, first).manifest == some_files()[0]


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "history/rows.npy"])
@pytest.mark.parametrize("content", [b"damaged", None], ids=["changed", "gone"])
def test_write_bundle_again_repairs_damaged_bundle(name: str, content: bytes | None, store: Store) -> None:
    bundle, (_, files) = put_bundle(store), some_files()
    assert store.has_same_files(bundle, files)
    store.delete(bundle)
    damaged = {other: file_content for other, file_content in files.items() if other != name}
    store.write_bundle_files(bundle, damaged if content is None else damaged | {name: content})
    assert not store.has_same_files(bundle, files)
    assert put_bundle(store) == bundle
    assert store.has_same_files(bundle, files)
    assert fetch_verified(store, bundle).manifest == some_files()[0]


def test_write_bundle_again_removes_additional_file(folder_store: Store, bundle_folder: Path) -> None:
    """The Finder of macOS writes one."""
    (bundle_folder / ".DS_Store").write_bytes(b"")
    with pytest.raises(BundleVerificationError, match=r"\.DS_Store: expected no file, found a file") as error:
        fetch_verified(folder_store, bundle_folder.name)
    assert error.value.hint == "Delete the file."
    assert put_bundle(folder_store) == bundle_folder.name
    assert fetch_verified(folder_store, bundle_folder.name).manifest.id == bundle_folder.name


def test_refresh_has_parent_models_and_new_history(store: Store) -> None:
    parent = fetch_verified(store, put_bundle(store))
    day = DAY + dt.timedelta(days=1)
    origin = msgspec.convert(parent.manifest, ManifestDraft, from_attributes=True)
    draft = msgspec.structs.replace(origin, kind="refresh", date=day, parent=parent.manifest.id)

    manifest = write_bundle(
        store,
        draft,
        graphs=parent.graph_files(),
        history=some_history(day, slower_seconds=100),
        golden_orders=choose_golden_orders(some_orders()),
    )

    refreshed = fetch_verified(store, manifest.id)
    assert refreshed.manifest.parent == parent.manifest.id
    assert refreshed.manifest.window == parent.manifest.window
    assert refreshed.training_files() == {}
    assert refreshed.graph_files() == parent.graph_files()
    orders = some_orders(20)
    assert (refreshed.predict(orders).default > parent.predict(orders).default).all()


def test_refresh_with_other_models_or_codes_raises(store: Store) -> None:
    parent = fetch_verified(store, put_bundle(store)).manifest
    draft = msgspec.structs.replace(some_draft(), kind="refresh", parent=parent.id)
    golden = choose_golden_orders(some_orders())
    with pytest.raises(OperationError, match=f"models of the refresh differ from those of its parent {parent.id}"):
        write_bundle(store, draft, graphs=graph_files(some_model(1.0)), history=some_history(), golden_orders=golden)
    history = some_history()
    vocabularies = dataclasses.replace(history.vocabularies, city=("Berlin", "London", "Paris"))
    renamed = dataclasses.replace(history, restaurants=history.restaurants.recoded(vocabularies))
    with pytest.raises(OperationError, match="codes of city in the history differ"):
        write_bundle(store, draft, graphs=graph_files(some_model()), history=renamed, golden_orders=golden)
    unknown_parent = msgspec.structs.replace(draft, parent="2015-06-01-000000000000")
    with pytest.raises(UsageError, match="has no bundle"):
        write_bundle(
            store, unknown_parent, graphs=graph_files(some_model()), history=some_history(), golden_orders=golden
        )
    assert store.bundle_ids() == [parent.id]


def test_write_bundle_with_history_of_other_date_raises(store: Store) -> None:
    with pytest.raises(OperationError, match="history is as of 2015-06-16, but the bundle as of 2015-06-17"):
        write_bundle(
            store,
            some_draft(),
            graphs=graph_files(some_model()),
            history=some_history(DAY - dt.timedelta(days=1)),
            golden_orders=choose_golden_orders(some_orders()),
        )
    assert store.bundle_ids() == []


def test_write_bundle_with_graph_unlike_draft_raises(store: Store) -> None:
    golden, plain = choose_golden_orders(some_orders()), graph_files(some_model())
    draft = msgspec.structs.replace(some_draft(), models=("cat", "quantile"))
    with pytest.raises(BundleVerificationError, match="outputs cat, quantile"):
        write_bundle(store, draft, graphs=plain, history=some_history(), golden_orders=golden)
    with_live = graph_files(some_model(), some_live_model())
    for draft, graphs in ((some_draft(), with_live), (live_draft(), plain)):
        with pytest.raises(OperationError, match="live model and its calibration"):
            write_bundle(store, draft, graphs=graphs, history=some_history(), golden_orders=golden)
    with pytest.raises(BundleVerificationError, match=r"live\.onnx: expected one input 'features'"):
        write_bundle(
            store,
            live_draft(),
            graphs=plain | {"live.onnx": plain["quantile.onnx"]},
            history=some_history(),
            golden_orders=golden,
        )
    assert store.bundle_ids() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_write_bundle_with_unusable_golden_orders_raises(store: Store, value: float) -> None:
    golden = choose_golden_orders(some_orders())
    golden.order_value[3] = value
    with pytest.raises(BundleVerificationError, match=r"golden\.json"):
        write_bundle(
            store, some_draft(), graphs=graph_files(some_model()), history=some_history(), golden_orders=golden
        )
    with pytest.raises(OperationError, match="at least one golden order"):
        write_bundle(
            store,
            some_draft(),
            graphs=graph_files(some_model()),
            history=some_history(),
            golden_orders=golden.take(slice(0, 0)),
        )
    assert store.bundle_ids() == []


def test_choose_golden_orders_returns_50_from_any_number() -> None:
    for n in (1, 3, 50, 777):
        golden = choose_golden_orders(some_orders(n))
        assert len(golden) == 50
        assert golden.city.dtype == golden.type_of_food.dtype == np.int32
        assert (golden.restaurant_id[-8:] == -1).all()
        assert set(golden.restaurant_id[:-8].tolist()) <= {10, 20, 30}


def test_bundle_training_files_match_written_files(store: Store) -> None:
    bundle = fetch_verified(store, put_bundle(store))
    assert bundle.training_files()["report.html"] == REPORT
    assert bundle.training_files() == TRAINING_FILES
