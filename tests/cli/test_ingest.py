"""`ingest`, and the verbs that then read what it loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psycopg
import pytest

from preptime.cli.ingest import IngestDocument
from preptime.validation.audit_report import CheckReport
from tests.cli.conftest import Files
from tests.cli.run_command import PROGRAM, preptime, run_process, error_document


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_become_tables_and_a_second_time_changes_nothing(files: Files, database: str) -> None:
    arguments = ("ingest", files.orders, "--restaurants", files.restaurants, "--to", database, "--json")
    first = preptime(*arguments).succeeded().document(IngestDocument)
    assert first.migrations == ("0001_orders.sql", "0002_predictions.sql")
    assert first.orders is not None
    assert (first.orders.inserted, first.orders.unchanged, first.refused) == (2_500, 0, {})
    second = preptime(*arguments).succeeded().document(IngestDocument)
    assert second.migrations == ()
    assert second.orders is not None
    assert (second.orders.inserted, second.orders.updated, second.orders.unchanged) == (0, 0, 2_500)
    assert second.restaurants is not None
    assert second.restaurants.inserted == second.restaurants.updated == 0
    # The verbs say the same of the tables as of the files.
    tables = ("--orders", database, "--restaurants", f"{database}&table=restaurants")
    of_tables, of_files = (
        preptime("check", *options, "--json").succeeded().document(CheckReport) for options in (tables, files.options)
    )
    assert (of_tables.usable, of_tables.reasons) == (of_files.usable, of_files.reasons)


def test_what_it_says_to_people(files: Files, database: str, tmp_path: Path) -> None:
    rows = pl.read_csv(files.orders, infer_schema=False)
    bad = rows[:2].with_columns(order_acknowledged_at=pl.Series(["tomorrow", None]))
    pl.concat([rows[:100], rows[:1], bad]).write_csv(tmp_path / "orders.csv")
    preptime("ingest", "--restaurants", files.restaurants, "--to", database).succeeded()
    ran = preptime("ingest", "orders.csv", "--to", database).succeeded()
    assert ran.out.splitlines() == [
        "101 orders: 100 new, 0 updated, 0 unchanged, 1 of an order that the file has more than once.",
        "1 order refused, reason unparsable_time.",
        "1 order refused, reason missing_value.",
        "They are in rejects.csv: repair them there and load that file.",
    ]
    assert ran.err.splitlines() == ["Reading and copying", "Merging"]
    assert len(pl.read_csv("rejects.csv")) == 2


def test_tables_alone_can_be_made(database: str) -> None:
    assert "0001_orders.sql" in preptime("ingest", "--to", database).succeeded().out
    assert preptime("ingest", "--to", database).succeeded().out.endswith(" is up to date.\n")


def test_orders_need_restaurants_first(files: Files, database: str) -> None:
    said = error_document(preptime("ingest", files.orders, "--to", database, "--json"), 1, "DataError")
    assert "table=restaurants has no rows" in said.facts
    assert said.hint.startswith("Load some: preptime ingest --restaurants RESTAURANTS --to 'postgresql://")


def test_restaurants_that_training_would_refuse_are_refused(database: str, tmp_path: Path) -> None:
    (tmp_path / "restaurants.csv").write_text("restaurant_id,country,city,type_of_food\n1,Atlantis,X,fish\n")
    said = error_document(preptime("ingest", "--restaurants", "restaurants.csv", "--to", database, "--json"), 1, "DataError")
    assert "Atlantis" in said.facts


@pytest.mark.parametrize("to", ["orders.csv", "mysql://host/db"])
def test_only_a_database_is_loaded_into(files: Files, to: str) -> None:
    said = error_document(preptime("ingest", files.orders, "--to", to, "--json"), 2, "UsageError")
    assert said.facts == f"{to} isn't a database."


def test_rejects_of_another_kind_are_wrong_use(files: Files, database: str) -> None:
    ran = preptime("ingest", files.orders, "--to", database, "--rejects", "rejects.parquet", "--json")
    assert error_document(ran, 2, "UsageError").facts == "--rejects rejects.parquet is no csv."


def test_a_server_that_does_not_answer_is_a_fault(files: Files) -> None:
    ran = preptime("ingest", files.orders, "--to", "postgresql://me:s3cret@127.0.0.1:1/food", "--json")
    assert "cannot be reached" in error_document(ran, 3, "OperationError").facts
    assert "s3cret" not in ran.out + ran.err


def test_a_missing_driver_names_its_extra(files: Files) -> None:
    without = f"import sys; sys.modules['psycopg'] = None; {PROGRAM}"
    ran = run_process("train", "--orders", "postgresql:///x", *files.options[2:], "--date", "2015-06-20", program=without)
    assert ran.status == 2
    assert "Install preptime[postgres]." in ran.err


def test_a_load_that_is_killed_leaves_nothing_and_the_next_one_succeeds(files: Files, database: str) -> None:
    preptime("ingest", "--restaurants", files.restaurants, "--to", database).succeeded()
    with psycopg.connect(database) as blocking:
        # Held back where it is about to write, the load is killed with its rows in hand.
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
