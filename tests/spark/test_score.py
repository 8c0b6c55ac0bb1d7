"""`preptime spark score` and `preptime.spark.score`: the same cells as `preptime score`."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.domain.dispatch import dispatch_level
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import score_file
from preptime.scoring.travel_column import TravelColumn
from preptime.spark import score, scoring
from preptime.synthetic import synthesize_frames
from preptime.validation.restaurants import read_restaurants
from tests.bundle.fake_gcs import BUCKET, closing_clients, run_fake_gcs
from tests.cli.run_command import CommandResult, ErrorDocument, error_document
from tests.requirements import ROOT
from tests.scoring.delivery import delivery_frames
from tests.scoring.factories import PLAN, mixed_rows
from tests.spark.comparison import assert_same_cells, collected, numbered, spark_score, write_parts, written

REFUSED = 1


def refused(result: CommandResult, error: str = "DataError") -> ErrorDocument:
    """Return the document of a failed command, whose message must be one sentence with a hint."""
    return error_document(result, REFUSED, error)


def all_orders() -> pl.DataFrame:
    """Return synthetic orders with times of several types, and travel times."""
    rows = synthesize_frames(PLAN)[0]
    utc = rows["order_acknowledged_at"].cast(pl.String).str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="us")
    return numbered(rows).with_columns(
        naive=utc.dt.replace_time_zone(None),
        zoned=utc,
        cents=pl.Series(range(len(rows)), dtype=pl.Int16),
        travel=pl.when(pl.int_range(pl.len()) % 5 > 0).then(pl.int_range(pl.len()) % 900),
    )


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three files: 1,500 orders with typed columns."""
    return write_parts(tmp_path_factory.mktemp("orders") / "orders", all_orders())


def test_command_equals_score_in_every_cell(
    spark: Any, orders: Path, store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    """Of all files, with unknown and differing restaurants, dispatch times, and explanations."""
    others = synthesize_frames(PLAN)[1].head(30).with_columns(city=pl.lit("Auckland"))
    others.write_csv(tmp_path / "restaurants.csv")
    expected_path, travel = tmp_path / "expected.parquet", TravelColumn("travel", dispatch_level(2.0, 1.0))
    expected = score_file(str(orders), expected_path, bundle, restaurants=read_restaurants(others), travel=travel)
    options = ("--restaurants", tmp_path / "restaurants.csv", "--travel-column", "travel", "--courier-cost", "2")
    document = spark_score(orders, tmp_path / "out", store, *options).succeeded().document(ScoreDocument)
    assert msgspec.structs.replace(document, out=str(expected_path)) == expected
    assert document.restaurant_differs
    assert document.without_dispatch == {"missing_value": 300}
    assert msgspec.json.decode((tmp_path / "out" / "score.json").read_bytes(), type=ScoreDocument) == document
    assert_same_cells(written(document.out), pl.read_parquet(expected_path))


def test_example_of_the_docs_scores_every_order(
    spark: Any, orders: Path, store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    places = {"gs://BUCKET/orders": orders, "gs://BUCKET/models": store.url, "gs://BUCKET/scored": tmp_path / "scored"}
    for address, place in places.items():
        assert address in program
        program = program.replace(address, str(place))
    exec(program, {"spark": spark})  # noqa: S102 -- our own page
    assert written(str(tmp_path / "scored"))["order_id"].n_unique() == len(all_orders())


def test_second_run_replaces_the_first(spark: Any, orders: Path, store: Store, bundle: Bundle, tmp_path: Path) -> None:
    date = str(bundle.manifest.date)
    first, second = (
        spark_score(orders, tmp_path / "out", store, *options).succeeded().document(ScoreDocument)
        for options in ((), ("--date", date))
    )
    assert msgspec.structs.replace(second, out=first.out) == first
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [Path(second.out).name, "score.json"]
    assert len(written(second.out)) == PLAN.orders


def test_dataframe_equals_score_for_all_batches(spark: Any, store: Store, bundle: Bundle, tmp_path: Path) -> None:
    """Text cells, refused rows, and unknown restaurants. No combination changes a cell."""
    source, expected = tmp_path / "orders.parquet", tmp_path / "expected.parquet"
    numbered(mixed_rows()).with_columns(prediction_reason=pl.lit("replaced in place")).write_parquet(source)
    score_file(str(source), expected, bundle)
    for partitions, batch_rows in ((1, 1), (4, 7), (9, 50_000)):
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(batch_rows))
        frame = spark.read.parquet(str(source)).repartition(partitions)
        found = collected(score(frame, store=store.url))
        assert_same_cells(found, pl.read_parquet(expected))
        assert 0 < found["prediction_reason"].count() < len(found)


def test_custom_features_equal_score(spark: Any, store: Store, custom_bundle: Bundle, tmp_path: Path) -> None:
    rows, restaurants = delivery_frames()
    source, expected = tmp_path / "orders.parquet", tmp_path / "expected.parquet"
    numbered(rows).write_parquet(source)
    more = restaurants.with_columns(store=pl.col("store") + "-new", staff=pl.lit(3))
    index = read_restaurants(more, custom_bundle.schema)
    score_file(str(source), expected, custom_bundle, restaurants=index)
    scored = score(spark.read.parquet(str(source)), store=store.url, bundle=custom_bundle.manifest.id, restaurants=more)
    assert_same_cells(collected(scored), pl.read_parquet(expected))


def test_any_names_of_columns_and_folders(spark: Any, store: Store, bundle: Bundle, tmp_path: Path) -> None:
    """Spark takes a dot as a field of a struct, and brackets as a pattern."""
    rows = numbered(mixed_rows()).with_columns(pl.lit(1).alias("a.b"), pl.lit("x").alias("c`d"), pl.lit(2).alias("e f"))
    expected = tmp_path / "expected.parquet"
    folder = write_parts(tmp_path / "in [1] {2,3} 100%25", rows)
    score_file(str(folder), expected, bundle)
    (tmp_path / "in 1 2 100%").mkdir()
    document = spark_score(folder, tmp_path / "out [1] 100%25", store).succeeded().document(ScoreDocument)
    assert_same_cells(written(document.out), pl.read_parquet(expected))
    assert Path(document.out).parent == tmp_path / "out [1] 100%25"


def test_errors_of_spark_while_scoring_are_one_sentence(
    spark: Any, orders: Path, store: Store, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "scored_rows", lambda frame, _: frame.select("none"))
    facts = refused(spark_score(orders, orders.parent / "unwritten", store), "OperationError").facts
    assert facts.startswith(f"Scoring {orders} failed: [UNRESOLVED_COLUMN")


def test_reads_a_table_of_the_catalog(spark: Any, orders: Path, store: Store, bundle: Bundle, tmp_path: Path) -> None:
    spark.read.parquet(str(orders)).write.saveAsTable("orders_table")
    out = spark_score("table:default.orders_table", tmp_path / "out", store).succeeded().document(ScoreDocument)
    assert (out.source, out.rows) == ("table:default.orders_table", PLAN.orders)


def damage(path: Path) -> None:
    """Cut a file, as after an interrupted copy."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damage_a_page(path: Path) -> None:
    """Overwrite bytes in the middle, so that the footer can still be read."""
    content = path.read_bytes()
    path.write_bytes(content[:2_000] + bytes(2_000) + content[4_000:])


def without_a_column(path: Path) -> None:
    """Write a file again without a column."""
    pl.read_parquet(path).drop("number_of_items").write_parquet(path)


def with_text_ids(path: Path) -> None:
    """Write a file again with text instead of numbers."""
    pl.read_parquet(path).cast({"cents": pl.String}).write_parquet(path)


OTHER_TYPE = "has the column cents with the type binary (STRING), and {first} has int32 (INTEGER(16,true))."
CHANGES = {
    "{file} is a damaged Parquet file.": (damage, damage_a_page),
    "The file {file} lacks number_of_items, compared with {first}.": (without_a_column,),
    "The file {file} " + OTHER_TYPE: (with_text_ids,),
}
"""Changes of one file by the facts that the error states."""


def test_refused_file_is_named_and_output_kept(
    spark: Any, orders: Path, store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    """One file of three. Spark's own `overwrite` would have deleted the previous output."""
    folder, out = tmp_path / "orders", tmp_path / "out"
    shutil.copytree(orders, folder)
    before = spark_score(folder, out, store).succeeded().document(ScoreDocument)
    names = {"file": folder / "part1.parquet", "first": folder / "part0.parquet"}
    for facts, changes in CHANGES.items():
        for change in changes:
            shutil.copy(orders / "part1.parquet", folder)
            change(folder / "part1.parquet")
            assert refused(spark_score(folder, out, store)).facts == facts.format(**names)
            assert msgspec.json.decode((out / "score.json").read_bytes(), type=ScoreDocument) == before
            assert len(list(out.iterdir())) == 2
    assert len(written(before.out)) == PLAN.orders


def test_refused_inputs_leave_no_output(spark: Any, store: Store, bundle: Bundle, tmp_path: Path) -> None:
    source, out = tmp_path / "orders.parquet", tmp_path / "out"
    all_orders().clear().write_parquet(source)
    assert refused(spark_score(source, out, store)).facts == f"{source} has no rows."
    all_orders().drop("restaurant_id").write_parquet(source)
    assert "The column restaurant_id is missing from" in refused(spark_score(source, out, store)).facts
    assert not [*out.glob("*")]
    assert refused(spark_score(tmp_path / "none", out, store)).facts == f"There is no file {tmp_path / 'none'}."


def test_bundle_and_store_are_checked_first(
    spark: Any, orders: Path, store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    facts = refused(spark_score(orders, out, store, "--bundle", "2015-07-01-0123456789ab"), "UsageError").facts
    assert facts == f"{store.url} has no bundle '2015-07-01-0123456789ab'."
    early = str(bundle.manifest.date - dt.timedelta(days=1))
    assert "had no champion as of" in refused(spark_score(orders, out, store, "--date", early), "UsageError").facts
    facts = refused(spark_score(orders, out, Store.open("memory://none")), "UsageError").facts
    assert facts == "memory://none has no champion yet."
    assert "live model" in refused(spark_score(orders, out, store, "--live"), "UsageError").facts
    assert "inputs" in refused(spark_score(orders, orders.parent, store), "UsageError").facts
    assert not out.exists()


def test_unreachable_store_is_named_before_spark_reads(
    spark: Any, orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_fake_gcs(monkeypatch) as fake, closing_clients(monkeypatch):
        fake.is_unreachable = True
        store = Store.open(f"gs://{BUCKET}/models")
        assert f"gs://{BUCKET}/models" in refused(spark_score(orders, tmp_path / "out", store), "StoreError").facts
    assert not (tmp_path / "out").exists()
