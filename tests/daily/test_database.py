"""Tests of the daily run with orders and predictions in PostgreSQL, also with a lost connection."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import psycopg
import pytest

from preptime.sources.registry import open_prediction_store
from tests.cli.run_command import CommandResult, error_document, preptime
from tests.daily.factories import WEEK, Installation

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
