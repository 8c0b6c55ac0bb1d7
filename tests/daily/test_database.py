"""Tests of the daily run with orders and predictions in PostgreSQL, also with a lost connection."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import psycopg
import pytest

from preptime.schema.toml_file import read_schema
from preptime.sources.registry import open_prediction_store, open_source
from tests.cli.run_command import CommandResult, error_document, preptime
from tests.daily.factories import LAST, WEEK, Installation, orders_through

SECOND = WEEK[1]


@pytest.fixture
def database_with_orders(installation: Installation, database: str) -> str:
    """Return a database with the week's orders."""
    rejects = installation.store.parent / "rejects.csv"
    preptime(
        "ingest", installation.orders, "--restaurants", installation.restaurants, "--to", database, "--rejects", rejects
    ).succeeded()
    return database


def run(installation: Installation, database: str, command: str, date: dt.date, *options: str) -> CommandResult:
    """Run a command that reads from the database."""
    tables = ("--orders", database, "--restaurants", f"{database}&table=restaurants")
    return preptime(
        command,
        "--date",
        str(date),
        *tables,
        "--store",
        installation.store,
        "--results",
        installation.results,
        *options,
    )


def test_daily_run_on_database_equals_run_on_files(
    week: Installation, installation: Installation, database_with_orders: str
) -> None:
    for date in WEEK[:2]:
        run(installation, database_with_orders, "train", date).succeeded()
        run(installation, database_with_orders, "score", date, "--out", database_with_orders).succeeded()
    file_predictions = week.predictions(SECOND)
    predictions = installation.predictions(SECOND)
    assert predictions.select("order_key", "predicted_seconds").equals(
        file_predictions.select("order_key", "predicted_seconds")
    )
    stored = open_prediction_store(database_with_orders).read(SECOND)
    assert stored["order_key"].to_list() == predictions["order_key"].to_list()
    assert stored["predicted_seconds"].to_list() == predictions["predicted_seconds"].to_list()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PREPTIME_PREDICTIONS_URL", database_with_orders)
        run(installation, database_with_orders, "score", SECOND).succeeded()
    assert open_prediction_store(database_with_orders).read(SECOND).equals(stored)


def test_score_with_lost_database_fails_and_rerun_succeeds(
    week: Installation, installation: Installation, database_with_orders: str
) -> None:
    run(installation, database_with_orders, "train", WEEK[0]).succeeded()
    with psycopg.connect(database_with_orders, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER gone BEFORE INSERT ON preptime.predictions FOR EACH ROW EXECUTE FUNCTION gone()"
        )
    document = error_document(
        run(installation, database_with_orders, "score", WEEK[0], "--out", database_with_orders, "--json"),
        3,
        "OperationError",
    )
    assert "was lost while it was written" in document.facts
    # score.json is written last, so it marks a completed day.
    assert not (installation.results / f"date={WEEK[0]}" / "score.json").exists()
    assert open_prediction_store(database_with_orders).days() == []
    with psycopg.connect(database_with_orders, autocommit=True) as connection:
        connection.execute("DROP TRIGGER gone ON preptime.predictions")
    run(installation, database_with_orders, "score", WEEK[0], "--out", database_with_orders).succeeded()
    stored, expected = open_prediction_store(database_with_orders).read(WEEK[0]), week.predictions(WEEK[0])
    assert stored["predicted_seconds"].to_list() == expected["predicted_seconds"].to_list()
    assert stored["order_key"].to_list() == expected["order_key"].to_list()


def test_unreachable_database_changes_nothing(week: Installation, installation: Installation, tmp_path: Path) -> None:
    unreachable = f"postgresql://postgres@/none?host={tmp_path}"
    for command in ("train", "score"):
        document = error_document(run(installation, unreachable, command, SECOND, "--json"), 3, "OperationError")
        assert "can't be reached" in document.facts
    assert not installation.results.exists()
    assert not installation.store.exists()


SCHEMA_TEXT = """
[orders]
order_acknowledged_at = { column = "created", format = "%d/%m/%Y %H:%M:%S", time_zone = "UTC" }
prep_time = { column = "took", unit = "min" }
order_value = { column = "subtotal", unit = "cents", currency = "GBP" }
restaurant_id = "store"
[restaurants]
time_zone = "Europe/London"
city = { column = "town" }
[features]
distance = { column = "km", type = "number" }
channel = { column = "via", type = "category" }
seats = { column = "chairs", type = "number", of = "restaurant" }
style = { column = "look", type = "category", of = "restaurant" }
"""


def company_orders(rows: pl.DataFrame) -> pl.DataFrame:
    """Return orders in the format of `SCHEMA_TEXT`, with text identifiers and without a restaurants file."""
    number = pl.col("restaurant_id").cast(pl.Int64)
    created = pl.col("order_acknowledged_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z")
    position = pl.int_range(pl.len())
    return rows.filter(number < 25).select(
        created=created.dt.strftime("%d/%m/%Y %H:%M:%S"),
        took=(pl.col("prep_time_seconds").cast(pl.Int64) / 60).cast(pl.String),
        subtotal=(pl.col("order_value_gbp").cast(pl.Float64) * 100).round().cast(pl.Int64),
        store=pl.format("S-{}", pl.col("restaurant_id").str.zfill(3)),
        town=pl.when(number % 2 == 0).then(pl.lit("York")).otherwise(pl.lit("Bath")),
        km=pl.when(position % 5 > 0).then((position % 70) / 10),
        via=pl.when(position % 3 > 0).then(pl.lit("app")).otherwise(pl.lit("phone")),
        chairs=20 + number,
        look=pl.when(number % 3 > 0).then(pl.lit("fine")),
        note=pl.lit("x"),
    )


def test_daily_run_with_a_schema_equals_run_on_files(
    rows: pl.DataFrame, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("schema.toml").write_text(SCHEMA_TEXT, encoding="utf-8")
    orders = company_orders(orders_through(rows, LAST))
    late = orders.with_columns(look=pl.lit("changed"))
    for name, frame in {"first.csv": orders[:40], "late.csv": late[:3], "orders.csv": orders}.items():
        frame.write_csv(name)
        loaded = preptime("ingest", name, "--to", database, "--schema", "schema.toml", "--json").succeeded()
        assert '"restaurants":{' in loaded.out
    restaurants = open_source(f"{database}&table=restaurants", read_schema(Path("schema.toml"))).frame()
    assert set(restaurants["style"]) == {"fine", None}, "known restaurants aren't changed"
    assert len(restaurants) == orders["store"].n_unique()
    days = ("--from", str(WEEK[0]), "--to", str(WEEK[1]))
    preptime("snapshot", "--orders", database, *days, "--out", "snapshot").succeeded()
    assert "seats" in pl.read_parquet("snapshot/restaurants.parquet").columns, "from the database, not derived"
    monkeypatch.setenv("PREPTIME_ORDERS", database)
    assert "so those in the database are used" in preptime("doctor", "--role", "jobs", "--json").out
    predictions, stored = {}, {}
    for kind, location in {"file": "orders.csv", "database": database}.items():
        options = ("--orders", location, "--store", f"{kind}/models")
        results = ("--results", f"{kind}/results")
        preptime("train", "--date", str(WEEK[5]), *options, "--gate", "min_days=3").succeeded()
        preptime("score", "--date", str(WEEK[5]), *options, *results, "--out", database).succeeded()
        stored[kind] = open_prediction_store(database).read(WEEK[5])
        preptime("refresh", "--date", str(WEEK[6]), *options).succeeded()
        preptime("score", "--date", str(WEEK[6]), *options, *results).succeeded()
        monitored = preptime("monitor", "--date", str(LAST + dt.timedelta(days=1)), *options, *results)
        assert monitored.status in {0, 1}, monitored.err
        predictions[kind] = [
            pl.read_parquet(f"{kind}/results/date={day}/predictions.parquet").sort("order_key") for day in WEEK[5:]
        ]
    names = ["order_key", "predicted_seconds", "predicted_p90_seconds", "prediction_reason"]
    for from_file, from_database in zip(predictions["file"], predictions["database"], strict=True):
        assert len(from_file) > 50
        assert from_database.select(names).equals(from_file.select(names))
        assert from_database["restaurant_id"].equals(from_file["store"], check_names=False)
        assert from_database["distance"].equals(from_file["km"].cast(pl.Float64), check_names=False)
        assert from_database["order_value"].to_list() == [int(cents) / 100 for cents in from_file["subtotal"]]
    # Predictions in a database have canonical names and units, also those of orders in files.
    columns = ["order_value", "restaurant_id", "order_acknowledged_at", "distance", "channel", *names]
    by_file, by_database = (stored[kind].sort("order_key").select(columns) for kind in ("file", "database"))
    assert by_file.equals(by_database)
    assert by_file["restaurant_id"].str.starts_with("S-").all()
