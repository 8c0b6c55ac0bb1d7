"""The same morning with orders and predictions in a real PostgreSQL, and with one that goes away on the way."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import psycopg
import pytest

from preptime.sources.registry import open_prediction_store
from tests.cli.run_command import CommandResult, preptime, error_document
from tests.daily.factories import WEEK, Installation

SECOND = WEEK[1]


@pytest.fixture
def stored(place: Installation, database: str) -> str:
    """A database with the week's orders."""
    rejects = place.store.parent / "rejects.csv"
    preptime("ingest", place.orders, "--restaurants", place.restaurants, "--to", database, "--rejects", rejects).succeeded()
    return database


def run(place: Installation, database: str, verb: str, date: dt.date, *more: str) -> CommandResult:
    """A verb that reads from the database."""
    tables = ("--orders", database, "--restaurants", f"{database}&table=restaurants")
    return preptime(verb, "--date", str(date), *tables, "--store", place.store, "--results", place.results, *more)


def test_daily_run_on_database_equals_run_on_files(week: Installation, place: Installation, stored: str) -> None:
    for date in WEEK[:2]:
        run(place, stored, "train", date).succeeded()
        run(place, stored, "score", date, "--out", stored).succeeded()
    of_files = week.predictions(SECOND)
    mine = place.predictions(SECOND)
    assert mine.select("order_key", "predicted_seconds").equals(of_files.select("order_key", "predicted_seconds"))
    kept = open_prediction_store(stored).read(SECOND)
    assert kept["order_key"].to_list() == mine["order_key"].to_list()
    assert kept["predicted_seconds"].to_list() == mine["predicted_seconds"].to_list()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PREPTIME_PREDICTIONS_URL", stored)
        run(place, stored, "score", SECOND).succeeded()
    assert open_prediction_store(stored).read(SECOND).equals(kept)


def test_score_with_lost_database_fails_and_rerun_succeeds(
    week: Installation, place: Installation, stored: str
) -> None:
    run(place, stored, "train", WEEK[0]).succeeded()
    with psycopg.connect(stored, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER gone BEFORE INSERT ON preptime.predictions FOR EACH ROW EXECUTE FUNCTION gone()"
        )
    document = error_document(run(place, stored, "score", WEEK[0], "--out", stored, "--json"), 3, "OperationError")
    assert "was lost while it was written" in document.facts
    # score.json comes last: where it is, the day is done.
    assert not (place.results / f"date={WEEK[0]}" / "score.json").exists()
    assert open_prediction_store(stored).days() == []
    with psycopg.connect(stored, autocommit=True) as connection:
        connection.execute("DROP TRIGGER gone ON preptime.predictions")
    run(place, stored, "score", WEEK[0], "--out", stored).succeeded()
    kept, expected = open_prediction_store(stored).read(WEEK[0]), week.predictions(WEEK[0])
    assert kept["predicted_seconds"].to_list() == expected["predicted_seconds"].to_list()
    assert kept["order_key"].to_list() == expected["order_key"].to_list()


def test_unreachable_database_changes_nothing(week: Installation, place: Installation, tmp_path: Path) -> None:
    away = f"postgresql://postgres@/none?host={tmp_path}"
    for verb in ("train", "score"):
        document = error_document(run(place, away, verb, SECOND, "--json"), 3, "OperationError")
        assert "cannot be reached" in document.facts
    assert not place.results.exists()
    assert not place.store.exists()
