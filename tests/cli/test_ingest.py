"""`ingest`, and commands that read the loaded data."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import polars as pl
import psycopg
import pytest

from preptime.sources.database import LoadResult
from preptime.validation.audit_report import CheckReport
from tests.cli.conftest import Files
from tests.cli.run_command import PROGRAM, error_document, preptime, run_process


class IngestDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The document of `ingest --json`."""

    database: str
    migrations: tuple[str, ...]
    restaurants: LoadResult | None
    orders: LoadResult | None
    refused: dict[str, int]
    rejects: str | None


@pytest.fixture(autouse=True)
def _temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_ingest_is_idempotent(files: Files, database: str) -> None:
    arguments = ("ingest", files.orders, "--restaurants", files.restaurants, "--to", database, "--json")
    first = preptime(*arguments).succeeded().document(IngestDocument)
    assert first.migrations == ("0001_orders.sql", "0002_predictions.sql", "0003_text_identifiers.sql")
    assert first.orders is not None
    assert (first.orders.inserted, first.orders.unchanged, first.refused) == (2_500, 0, {})
    second = preptime(*arguments).succeeded().document(IngestDocument)
    assert second.migrations == ()
    assert second.orders is not None
    assert (second.orders.inserted, second.orders.updated, second.orders.unchanged) == (0, 0, 2_500)
    assert second.restaurants is not None
    assert second.restaurants.inserted == second.restaurants.updated == 0
    # Commands get the same results from the database as from the files.
    tables = ("--orders", database, "--restaurants", f"{database}&table=restaurants")
    from_database, from_files = (
        preptime("check", *options, "--json").succeeded().document(CheckReport) for options in (tables, files.options)
    )
    assert (from_database.usable, from_database.reasons) == (from_files.usable, from_files.reasons)


def test_ingest_prints_counts_and_rejects(files: Files, database: str, tmp_path: Path) -> None:
    rows = pl.read_csv(files.orders, infer_schema=False)
    bad = rows[:2].with_columns(order_acknowledged_at=pl.Series(["tomorrow", None]))
    pl.concat([rows[:100], rows[:1], bad]).write_csv(tmp_path / "orders.csv")
    restaurants = pl.read_csv(files.restaurants, infer_schema=False)
    nameless = restaurants[:1].with_columns(restaurant_id=pl.lit(None, pl.String))
    pl.concat([nameless, restaurants]).write_csv(tmp_path / "restaurants.csv")
    loaded = preptime("ingest", "--restaurants", "restaurants.csv", "--to", database).succeeded()
    assert "1 restaurant left out: row 1: restaurant_id is empty." in loaded.err.splitlines()
    assert loaded.out.splitlines()[-1].startswith(f"{len(restaurants):,} restaurants: {len(restaurants):,} new")
    result = preptime("ingest", "orders.csv", "--to", database).succeeded()
    assert result.out.splitlines() == [
        "101 orders: 100 new, 0 updated, 0 unchanged, 1 duplicates in the file.",
        "1 order rejected. Reason: unparsable_time.",
        "1 order rejected. Reason: missing_value.",
        "Rejected orders are in rejects.csv. Correct them and load that file.",
    ]
    assert result.err.splitlines() == ["Reading and copying", "Merging"]
    assert len(pl.read_csv("rejects.csv")) == 2


def test_ingest_without_files_creates_tables(database: str) -> None:
    assert "0001_orders.sql" in preptime("ingest", "--to", database).succeeded().out
    assert preptime("ingest", "--to", database).succeeded().out.endswith(" is up to date.\n")


def test_ingest_orders_without_restaurants_is_data_error(files: Files, database: str) -> None:
    document = error_document(preptime("ingest", files.orders, "--to", database, "--json"), 1, "DataError")
    assert document.facts.startswith("The time zone of the restaurants is unknown: there is no restaurants file")
    assert "restaurants first: preptime ingest --restaurants RESTAURANTS --to 'postgresql://" in document.hint


def test_ingest_invalid_restaurants_is_data_error(database: str, tmp_path: Path) -> None:
    (tmp_path / "restaurants.csv").write_text("restaurant_id,country,city,type_of_food\n1,Atlantis,X,fish\n")
    document = error_document(
        preptime("ingest", "--restaurants", "restaurants.csv", "--to", database, "--json"), 1, "DataError"
    )
    assert "Atlantis" in document.facts


@pytest.mark.parametrize("to", ["orders.csv", "mysql://host/db"])
def test_ingest_target_must_be_a_database(files: Files, to: str) -> None:
    document = error_document(preptime("ingest", files.orders, "--to", to, "--json"), 2, "UsageError")
    assert document.facts == f"{to} isn't the URL of a database."


def test_ingest_unsupported_rejects_is_usage_error(files: Files, database: str) -> None:
    result = preptime("ingest", files.orders, "--to", database, "--rejects", "rejects.parquet", "--json")
    assert error_document(result, 2, "UsageError").facts == "--rejects rejects.parquet isn't a CSV file."


def test_ingest_unreachable_server_fails(files: Files) -> None:
    result = preptime("ingest", files.orders, "--to", "postgresql://me:s3cret@127.0.0.1:1/food", "--json")
    assert "can't be reached" in error_document(result, 3, "OperationError").facts
    assert "s3cret" not in result.out + result.err


def test_missing_database_driver_names_the_extra(files: Files) -> None:
    without = f"import sys; sys.modules['psycopg'] = None; {PROGRAM}"
    result = run_process(
        "train", "--orders", "postgresql:///x", *files.options[2:], "--date", "2015-06-20", program=without
    )
    assert result.status == 2
    assert "pip install '.[postgres]'." in result.err


def test_ingest_killed_load_changes_nothing(files: Files, database: str) -> None:
    preptime("ingest", "--restaurants", files.restaurants, "--to", database).succeeded()
    with psycopg.connect(database) as blocking:
        # A lock delays the load just before it writes. Then it's killed.
        blocking.execute("LOCK TABLE preptime.order_days IN ACCESS EXCLUSIVE MODE")
        command = [sys.executable, "-c", PROGRAM, "ingest", str(files.orders), "--to", database]
        with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8") as load:
            assert load.stderr is not None
            assert [load.stderr.readline() for _ in range(2)] == ["Reading and copying\n", "Merging\n"]
            time.sleep(0.2)
            load.send_signal(signal.SIGKILL)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM preptime.orders").fetchone() == (0,)
    assert preptime("ingest", files.orders, "--to", database, "--json").succeeded().document(IngestDocument).orders
    assert list(Path().glob(".*.tmp")) == []
