"""Spark commands with addresses at `gs://`: Google's connector for Spark, and a fake of Cloud Storage."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import score_file
from preptime.synthetic import synthesize_frames
from preptime.training.saved_state import StateDocument
from tests.bundle.fake_gcs import closing_clients
from tests.cli.run_command import preptime
from tests.scoring.factories import PLAN
from tests.spark.comparison import assert_same_cells, numbered, spark_score
from tests.spark.fake_gcs import BUCKET, FakeGcs
from tests.training.factories import june, make_synthetic_data, run_training

BASE = f"gs://{BUCKET}"


@pytest.fixture(autouse=True)
def empty_bucket(gcs: FakeGcs) -> None:
    gcs.objects.clear()
    gcs.requests.clear()


def upload(gcs: FakeGcs, name: str, rows: pl.DataFrame) -> bytes:
    """Write rows to the bucket as Parquet, and return the content."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer, row_group_size=200)
    gcs.put(name, buffer.getvalue())
    return buffer.getvalue()


def names(gcs: FakeGcs, prefix: str) -> list[str]:
    """Return the names of the objects below a folder, without markers of folders."""
    return sorted(name for name in gcs.objects if name.startswith(prefix) and not name.endswith("/"))


def test_scoring_between_buckets_replaces_the_output(
    spark: Any, gcs: FakeGcs, store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    rows = numbered(synthesize_frames(PLAN)[0])
    for number, part in enumerate(rows.iter_slices(600)):
        upload(gcs, f"orders/{number}.parquet", part)
    rows.write_parquet(tmp_path / "orders.parquet")
    expected = score_file(str(tmp_path / "orders.parquet"), tmp_path / "expected.parquet", bundle)
    first, document = (
        spark_score(f"{BASE}/orders", f"{BASE}/out", store).succeeded().document(ScoreDocument) for _ in range(2)
    )
    assert first.out != document.out
    assert (document.rows, document.predicted) == (expected.rows, expected.predicted)
    assert msgspec.json.decode(gcs.objects["out/score.json"].content, type=ScoreDocument) == document
    folder = document.out.removeprefix(f"{BASE}/")
    parts = [name for name in names(gcs, "out/") if name.endswith(".parquet")]
    assert parts
    assert {name.rpartition("/")[0] for name in parts} == {folder}
    found = pl.concat([pl.read_parquet(gcs.objects[name].content) for name in parts])
    assert_same_cells(found, pl.read_parquet(tmp_path / "expected.parquet"))


def test_failed_scoring_keeps_the_output_in_the_bucket(spark: Any, gcs: FakeGcs, store: Store, bundle: Bundle) -> None:
    rows = numbered(synthesize_frames(PLAN)[0].head(300))
    content = upload(gcs, "orders/0.parquet", rows)
    spark_score(f"{BASE}/orders", f"{BASE}/out", store).succeeded()
    before = {name: gcs.objects[name].content for name in names(gcs, "out/")}
    gcs.put("orders/1.parquet", content[:-20])
    failed = spark_score(f"{BASE}/orders", f"{BASE}/out", store)
    assert (failed.status, "orders/1.parquet is a damaged Parquet file" in failed.out) == (1, True), failed
    assert {name: gcs.objects[name].content for name in names(gcs, "out/")} == before


def test_state_and_corpus_in_the_bucket_are_read_by_one_machine(
    spark: Any, gcs: FakeGcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`refresh --state gs://…` and `train --corpus gs://…` give the bundles of `refresh` and `train`."""
    data = make_synthetic_data()
    (tmp_path / "orders").mkdir()
    for number, part in enumerate(data.orders.iter_slices(1_500)):
        (tmp_path / "orders" / f"{number}.parquet").write_bytes(upload(gcs, f"orders/{number}.parquet", part))
    upload(gcs, "restaurants.parquet", data.restaurants)
    data.restaurants.write_csv(tmp_path / "restaurants.csv")
    run_training(data, june(13), Store.open(str(tmp_path / "one")))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (("--store", tmp_path / name, "--date", "2015-06-15") for name in ("one", "two"))
    local = ("--orders", tmp_path / "orders", "--restaurants", tmp_path / "restaurants.csv")
    remote = ("--orders", f"{BASE}/orders", "--restaurants", f"{BASE}/restaurants.parquet", "--date", "2015-06-15")
    preptime("refresh", *local, *one).succeeded()
    state = preptime("spark", "state", *remote, *two[:2], "--out", f"{BASE}/state", "--json").succeeded()
    assert state.document(StateDocument).out.startswith(f"{BASE}/state/run-")
    assert not [name for name in gcs.objects if "/staged/" in name]
    preptime("spark", "corpus", *remote[:4], "--date", "2015-06-13", "--out", f"{BASE}/corpus").succeeded()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.address)
    with closing_clients(monkeypatch):
        preptime("refresh", "--state", f"{BASE}/state", *two).succeeded()
        assert _champion(tmp_path / "two") == _champion(tmp_path / "one")
        assert _trained(tmp_path, "--corpus", f"{BASE}/corpus") == _trained(tmp_path, *local)


def _champion(folder: Path) -> str:
    entry = ChampionLog(Store.open(str(folder))).current()
    assert entry is not None
    return entry.bundle


def _trained(folder: Path, *inputs: str | Path) -> str:
    """Return the bundle that `train` writes to a new store."""
    store = folder / f"trained{len(list(folder.iterdir()))}"
    options = ("--date", "2015-06-13", "--quick", "--models", "quantile", "--store", store)
    preptime("train", *inputs, *options).succeeded()
    (bundle,) = Store.open(str(store)).bundle_ids()
    return bundle
