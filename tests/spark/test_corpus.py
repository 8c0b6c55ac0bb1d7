"""`preptime spark corpus`: the training on a corpus gives the same bundle as that on the orders."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.store import Store
from preptime.cli.inputs import Dataset, read_training_rows
from preptime.cli.output import Output
from preptime.domain.data_dictionary import TARGET
from preptime.errors import DataError, UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import parse_schema
from preptime.sources.files import open_files
from preptime.spark import corpus as corpus_module
from preptime.spark.addresses import parse_address
from preptime.spark.corpus import DEFAULT_DAYS, DEFAULT_ROWS, save_corpus
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.corpus import CORPUS_FILE, CorpusDocument, read_corpus
from preptime.training.train import train
from preptime.training.training_data import TrainingData, rows_as_of
from preptime.validation.audit import audit_orders
from tests.cli.run_command import preptime
from tests.features.factories import state_bytes
from tests.training.factories import ACTOR, SyntheticData, june, make_synthetic_data, quick_plan, run_training

DATE = june(13)


def make_files(folder: Path, data: SyntheticData) -> tuple[Path, Path]:
    """Write three files in two folders: 3,000 orders up to 15 June, 30 repeated, and 20 without a time, as text."""
    orders = data.orders.with_columns(pl.col("order_acknowledged_at").cast(pl.String))
    undated = orders[700:720].with_columns(order_acknowledged_at=pl.lit("soon"))
    # The file b/z.parquet precedes "b c.parquet" in the order of folders, but not in that of texts.
    parts = {"b c": pl.concat([orders[1_500:2_200], orders[10:30]]), "b/z": orders[:1_500]}
    parts["c"] = pl.concat([undated, orders[2_200:], orders[2_000:2_010]])
    for name, part in parts.items():
        path = folder / "orders" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path, row_group_size=200)
    data.restaurants.write_csv(folder / "restaurants.csv")
    return folder / "orders", folder / "restaurants.csv"


def trained_bundle(orders: pl.DataFrame, data: SyntheticData, folder: Path) -> str:
    """Return the ID of the bundle that is trained on these orders."""
    audited = audit_orders(orders, data.restaurant_index, need_label=True)
    read = SyntheticData(orders, data.restaurants, data.restaurant_index, audited, data.training_data)
    return run_training(read, DATE, Store.open(str(folder))).bundle


def test_training_on_corpus_gives_same_bundle(spark: Any, tmp_path: Path) -> None:
    data = make_synthetic_data()
    orders, restaurants = make_files(tmp_path, data)
    out = tmp_path / "corpus"
    result = preptime(
        *(
            "spark",
            "corpus",
            "--orders",
            orders,
            "--restaurants",
            restaurants,
            "--date",
            str(DATE),
            "--out",
            out,
            "--json",
        )
    ).succeeded()
    document = result.document(CorpusDocument)
    found = read_corpus(str(out), DATE, TAKE_HOME_SCHEMA)
    whole = open_files(str(orders), TAKE_HOME_SCHEMA).frame()
    assert (document.rows, len(found.orders)) == (len(found.orders), document.rows)
    assert len(found.orders) < len(whole)
    # The rows, in the order in which one machine reads them.
    read = found.orders.select(data.orders.columns)
    assert read.equals(whole.select(data.orders.columns).join(read, on=read.columns, how="semi", nulls_equal=True))
    assert (found.restaurants.restaurant_id == data.restaurant_index.restaurant_id).all()
    assert found.restaurants.vocabularies == data.restaurant_index.vocabularies
    expected = trained_bundle(whole, data, tmp_path / "one")
    assert trained_bundle(found.orders, data, tmp_path / "two") == expected
    _check_refusals(out, document)


def test_sampled_corpus_has_the_history_of_all_orders(spark: Any, tmp_path: Path) -> None:
    """The features of each day, and the published history, are those of a training on all orders."""
    data = make_synthetic_data()
    orders, restaurants = make_files(tmp_path, data)
    inputs = ("--orders", orders, "--restaurants", restaurants, "--date", str(DATE), "--out", tmp_path / "corpus")
    result = preptime("spark", "corpus", *inputs, "--days", "9", "--rows", "900", "--json").succeeded()
    document, found = result.document(CorpusDocument), read_corpus(str(tmp_path / "corpus"), DATE, TAKE_HOME_SCHEMA)
    assert (document.first_day, found.earlier is not None) == (june(4), True)
    whole = audit_orders(open_files(str(orders), TAKE_HOME_SCHEMA).frame(), data.restaurant_index, need_label=True)
    every = TrainingData.from_orders(rows_as_of(whole, data.restaurant_index, DATE), data.restaurant_index).as_of(DATE)
    audited = audit_orders(found.orders, found.restaurants, need_label=True)
    window = TrainingData.from_orders(rows_as_of(audited, found.restaurants, DATE), found.restaurants).as_of(DATE)
    window = replace(window, earlier=found.earlier)
    unsampled = replace(window, is_fitting=np.ones(len(window), np.bool_))
    features = [build_feature_matrix(part, june(4), june(12)) for part in (unsampled, every)]
    counted = [matrix.X[part.is_history[matrix.rows]] for matrix, part in zip(features, (window, every), strict=True)]
    assert len(counted[0]) > 1_500
    assert np.array_equal(counted[0], counted[1])
    # The matrix of a training has only the orders of the sample, so its size doesn't depend on the number of orders.
    matrix = build_feature_matrix(window, june(4), june(12))
    needed = np.flatnonzero((window.is_fitting | window.is_evaluation)[features[0].rows])
    assert 700 < len(matrix) < 1_050 < len(features[0])
    assert np.array_equal(matrix.rows, features[0].rows[needed])
    for name in ("X", "live", "lookup_quantiles", "global_quantiles", "fallback_level"):
        assert np.array_equal(getattr(matrix, name), getattr(features[0], name)[needed]), name
    state, expected = window.initial_state(window.is_history), every.initial_state(every.is_history)
    assert state_bytes(state) == state_bytes(expected)
    # The sample has about 900 orders, the same ones in each run.
    assert document.sample is not None
    assert (document.sample.of_orders, document.sample.orders) == (
        len(found.orders),
        int(found.orders["_sampled"].sum()),
    )
    assert 750 < document.sample.orders < 1_050
    trained = train(
        audited,
        found.restaurants,
        DATE,
        Store.open(str(tmp_path / "store")),
        ACTOR,
        plan=quick_plan(),
        earlier=found.earlier,
        with_report=False,
    )
    manifest = Store.open(str(tmp_path / "store")).read_manifest(trained.bundle)
    assert (manifest.window.first_day, manifest.window.sample) == (june(4), document.sample)
    assert trained.orders == int(window.is_fitting[matrix.rows].sum()) < document.sample.orders


def test_table_in_another_order_has_the_same_orders(spark: Any, tmp_path: Path) -> None:
    """Each read of this view has the rows in another order. The repeated rows are the same, so any of them can stay."""
    data = make_synthetic_data()
    orders, restaurants = make_files(tmp_path, data)
    spark.read.option("recursiveFileLookup", "true").parquet(str(orders)).createOrReplaceTempView("orders_of_corpus")
    spark.sql("CREATE OR REPLACE TEMPORARY VIEW shuffled_orders AS SELECT * FROM orders_of_corpus ORDER BY rand()")
    inputs = ("--restaurants", restaurants, "--date", str(DATE), "--days", "9", "--rows", "900", "--json")
    documents, corpora = [], []
    for name, address in (("files", str(orders)), ("table", "table:shuffled_orders")):
        out = tmp_path / name
        result = preptime("spark", "corpus", "--orders", address, *inputs, "--out", out).succeeded()
        documents.append(result.document(CorpusDocument))
        found = read_corpus(str(out), DATE, TAKE_HOME_SCHEMA)
        corpora.append(found.orders.sort("order_id", "order_acknowledged_at"))
        assert not list(out.glob("run-*/staged"))
    columns = (*data.orders.columns, "_sampled")
    assert corpora[1].select(columns).equals(corpora[0].select(columns))
    assert corpora[1]["order_id"].is_unique().all()
    assert (documents[1].rows, documents[1].sample) == (documents[0].rows, documents[0].sample)


OTHER_SCHEMA = """
[orders]
order_acknowledged_at = { column = "ack" }
restaurant_id = { column = "rid" }
prep_time = { column = "mins", unit = "min" }
"""


@pytest.mark.parametrize("is_canonical", [True, False])
def test_corpus_is_read_with_the_schema_of_its_rows(spark: Any, tmp_path: Path, is_canonical: bool) -> None:
    """Rows of a database have canonical columns and units. The sample, and names with dots and brackets, are kept."""
    data = make_synthetic_data()
    (tmp_path / "schema.toml").write_text(OTHER_SCHEMA)
    schema = parse_schema(OTHER_SCHEMA)
    names = ["order_acknowledged_at", "restaurant_id", "prep_time_seconds"]
    rows = data.orders.select(*names, pl.lit("x").alias("a.b"))
    if not is_canonical:
        minutes = pl.col("prep_time_seconds") / 60
        rows = rows.with_columns(minutes).rename(dict(zip(names, ("ack", "rid", "mins"), strict=True)))
    orders, out = tmp_path / "orders [x].parquet", tmp_path / "corpus [x] 5%25"
    rows.write_parquet(orders)
    data.restaurants.write_csv(tmp_path / "restaurants.csv")
    places = ("--orders", orders, "--restaurants", tmp_path / "restaurants.csv", "--out", out)
    options = ("--schema", tmp_path / "schema.toml", "--date", str(DATE), "--days", "9", "--rows", "900", "--json")
    document = preptime("spark", "corpus", *places, *options).succeeded().document(CorpusDocument)
    assert (document.is_canonical, document.sample is not None) == (is_canonical, True)
    with Output(json=True) as output:
        audited, restaurants, earlier = read_training_rows(output, Dataset("", None, schema, ""), str(out), DATE)
    row_schema = schema.canonical() if is_canonical else schema
    whole = audit_orders(open_files(str(orders), row_schema).frame(), restaurants, need_label=True, schema=row_schema)
    labels = whole.frame.filter(
        (pl.col("acknowledged_local") < dt.datetime(2015, 6, 13)) & (pl.col("ready_local") >= dt.datetime(2015, 6, 4))
    )[TARGET]
    assert audited.frame[TARGET].sort().equals(labels.sort())
    assert {"a.b", "_sampled"} <= {*read_corpus(str(out), DATE, schema).orders.columns}
    assert earlier is not None


def test_failed_corpus_of_table_leaves_no_files(spark: Any, tmp_path: Path) -> None:
    data = make_synthetic_data()
    orders, restaurants = make_files(tmp_path, data)
    spark.read.parquet(str(orders / "b c.parquet")).createOrReplaceTempView("orders_of_corpus")
    inputs = ("--orders", "table:orders_of_corpus", "--restaurants", restaurants, "--out", tmp_path / "corpus")
    result = preptime("spark", "corpus", *inputs, "--date", "2015-05-01")
    assert (result.status, "table:orders_of_corpus has no order before 2015-05-01" in result.err) == (1, True)
    assert not list((tmp_path / "corpus").glob("*"))


def test_orders_that_shrink_while_read_are_refused(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program replaces a file between the two reads."""
    data = make_synthetic_data()
    data.orders.write_parquet(tmp_path / "orders.parquet")
    write_orders = corpus_module._write_orders

    def shrink_and_write(*arguments: Any) -> None:
        data.orders[:100].write_parquet(tmp_path / "orders.parquet")
        write_orders(*arguments)

    address = parse_address(str(tmp_path / "orders.parquet"))
    monkeypatch.setattr(corpus_module, "_write_orders", shrink_and_write)
    out = str(tmp_path / "corpus")
    with pytest.raises(
        DataError, match=r"changed while it was read: it had [\d,]+ completed orders, and then \d+ rows"
    ):
        save_corpus(spark, address, data.restaurant_index, DATE, schema=TAKE_HOME_SCHEMA, out=out)
    assert not list((tmp_path / "corpus").glob("*"))


def _check_refusals(out: Path, document: CorpusDocument) -> None:
    with pytest.raises(UsageError, match="The corpus is as of 2015-06-13, not 2015-06-14"):
        read_corpus(str(out), june(14), TAKE_HOME_SCHEMA)
    other = msgspec.structs.replace(TAKE_HOME_SCHEMA, orders={**TAKE_HOME_SCHEMA.orders})
    other.orders.pop("order_id")
    with pytest.raises(UsageError, match="another schema"):
        read_corpus(str(out), DATE, other)
    (out / document.folder / "orders" / document.orders[-1]).unlink()
    with pytest.raises(DataError, match=r"rows; expected|no \.csv|No file"):
        read_corpus(str(out), DATE, TAKE_HOME_SCHEMA)
    (out / CORPUS_FILE).write_text("{}")
    with pytest.raises(DataError, match=r"corpus\.json can't be read"):
        read_corpus(str(out), DATE, TAKE_HOME_SCHEMA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, " can't be read: "),
        (b"\xff", " isn't UTF-8. Save it as UTF-8."),
        (b"[order]", ", line 1: the key 'order' at the top level is unknown. Did you mean orders?"),
    ],
    ids=["missing", "not UTF-8", "unknown key"],
)
def test_corpus_reads_schema_at_a_url(
    content: bytes | None, message: str, spark_environment: dict[str, str], tmp_path: Path
) -> None:
    """A driver in the cloud has no file of this machine. Spark isn't started for a schema that can't be used."""
    path = tmp_path / "schema.toml"
    if content is not None:
        path.write_bytes(content)
    places = ("--orders", tmp_path, "--restaurants", tmp_path / "restaurants.csv", "--out", tmp_path / "corpus")
    result = preptime("spark", "corpus", *places, "--date", "2015-06-13", "--schema-url", path.as_uri())
    assert result.status == 1
    assert f"{path.as_uri()}{message}" in result.err


def test_corpus_refuses_two_schemas(tmp_path: Path) -> None:
    """Neither file is read, and Spark isn't started."""
    places = ("--orders", tmp_path, "--restaurants", tmp_path / "restaurants.csv", "--out", tmp_path / "corpus")
    schemas = ("--schema", tmp_path / "a.toml", "--schema-url", (tmp_path / "b.toml").as_uri())
    result = preptime("spark", "corpus", *places, "--date", "2015-06-13", *schemas)
    assert result.status == 2
    assert "--schema and --schema-url are both given. Remove one of them." in result.err


def test_schema_url_replaces_schema_of_settings(
    spark_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting isn't an option that can be removed, so the command line has priority."""
    monkeypatch.setenv("PREPTIME_SCHEMA", str(tmp_path / "a.toml"))
    url = (tmp_path / "b.toml").as_uri()
    places = ("--orders", tmp_path, "--restaurants", tmp_path / "restaurants.csv", "--out", tmp_path / "corpus")
    result = preptime("spark", "corpus", *places, "--date", "2015-06-13", "--schema-url", url)
    assert (result.status, f"The schema {url} can't be read" in result.err) == (1, True)


def test_defaults_of_command_and_function_agree() -> None:
    """The command doesn't import the function, which imports Polars."""
    from preptime.cli.spark_training import corpus

    defaults = {parameter.name: parameter.default for parameter in corpus.params}
    assert (defaults["days"], defaults["rows"]) == (DEFAULT_DAYS, DEFAULT_ROWS)
