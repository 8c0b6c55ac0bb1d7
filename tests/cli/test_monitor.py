"""`preptime monitor` and `preptime respond`, as the daily run calls them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.monitoring.document import MonitoringDocument, decode, encode
from preptime.sources.results import ResultsFolder
from tests.cli.conftest import DATE, NEXT_DATE, Files
from tests.cli.run_command import CommandResult, preptime, error_document
from tests.monitoring.example import fired, quiet

FILES = ("monitoring.html", "monitoring.json", "monitoring.prom")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results of one's own."""
    return tmp_path / "results"


def options(files: Files, store: Path, results: Path) -> tuple[str | Path, ...]:
    return (*files.options, "--store", store, "--results", results)


def run_monitor(files: Files, store: Path, results: Path, date: str, *more: str) -> CommandResult:
    log = results.parent / "predictions"
    return preptime("monitor", *options(files, store, results), "--date", date, "--prediction-log-folder", log, *more)


def contents(results: Path, date: str) -> dict[str, bytes]:
    folder = results / f"date={date}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "predictions.parquet"}


def test_a_morning_is_looked_at_and_running_again_changes_nothing(files: Files, store: Path, results: Path) -> None:
    preptime("score", "--date", DATE, *options(files, store, results)).succeeded()
    ran = run_monitor(files, store, results, NEXT_DATE).succeeded()
    assert ran.out.startswith("Nothing fired.\n")
    assert f"The results are in {results}/date={NEXT_DATE}." in ran.out
    first = contents(results, NEXT_DATE)
    assert tuple(sorted(first)) == FILES
    again = run_monitor(files, store, results, NEXT_DATE, "--json").succeeded()
    assert contents(results, NEXT_DATE) == first
    document = decode(first["monitoring.json"])
    assert again.document(MonitoringDocument) == document
    assert document.prediction_counts.evaluated > 100
    assert document.metrics.lookup_n == document.metrics.n
    assert document.backtest_baseline is not None
    assert document.champion is not None


def test_an_alert_ends_with_status_1_and_its_reason(files: Files, store: Path, results: Path) -> None:
    """Nothing came on the 18th, a Thursday, nor since the 12th."""
    ran = run_monitor(files, store, results, "2015-06-19")
    assert ran.status == 1
    assert "Alert volume_low: 0 orders on 2015-06-18, where " in ran.out
    assert tuple(sorted(contents(results, "2015-06-19"))) == FILES
    told = run_monitor(files, store, results, "2015-06-19", "--json")
    assert (told.status, len(told.document(MonitoringDocument).alerts)) == (1, 1)


def test_orders_that_are_not_there_are_refused(files: Files, store: Path, results: Path) -> None:
    nowhere = Files(files.orders.with_name("nowhere.csv"), files.restaurants)
    error_document(run_monitor(nowhere, store, results, NEXT_DATE, "--json"), 1, "DataError")
    assert not results.exists()


def run_respond(files: Files, store: Path, results: Path, date: str, *more: str) -> CommandResult:
    return preptime("respond", *options(files, store, results), "--date", date, *more)


def write_monitoring(results: Path, document: MonitoringDocument) -> None:
    ResultsFolder(results).write(document.date, "monitoring.json", encode(document))


class Training(msgspec.Struct):
    """What is asserted of a training."""

    outcome: str
    triggered_by: list[str]
    bundle: str | None


class Review(msgspec.Struct):
    """What is asserted of a review."""

    outcome: str
    reason: str


class Response(msgspec.Struct):
    """What is asserted of the document of `respond`."""

    date: dt.date
    allowed: str
    review: Review | None
    training: Training


def test_a_quiet_morning_asks_for_nothing(files: Files, store: Path, results: Path) -> None:
    write_monitoring(results, quiet(dt.date.fromisoformat(NEXT_DATE)))
    ran = run_respond(files, store, results, NEXT_DATE).succeeded()
    assert "There are no other models to go back to." in ran.out
    assert "No alert asks for a training." in ran.out
    document = msgspec.json.decode((results / f"date={NEXT_DATE}" / "response.json").read_bytes(), type=Response)
    assert (document.allowed, document.training.outcome) == ("all", "not_needed")


def test_without_a_look_there_is_nothing_to_respond_to(files: Files, store: Path, results: Path) -> None:
    error = error_document(run_respond(files, store, results, NEXT_DATE, "--json"), 2, "UsageError")
    assert f"preptime monitor --date {NEXT_DATE}" in error.hint


@pytest.mark.usefixtures("quick")
def test_an_alert_has_new_models_trained_once(files: Files, store: Path, results: Path) -> None:
    write_monitoring(results, fired(dt.date.fromisoformat(NEXT_DATE)))
    first = run_respond(files, store, results, NEXT_DATE, "--json").succeeded().document(Response)
    assert (first.training.outcome, first.training.triggered_by) == ("trained", ["slower_than_predicted: London"])
    assert first.training.bundle in Store.open(str(store)).bundle_ids()
    assert (results / f"date={NEXT_DATE}" / "training.json").is_file()
    before = ChampionLog(Store.open(str(store))).entries()
    second = run_respond(files, store, results, NEXT_DATE, "--json").succeeded().document(Response)
    assert second.training == first.training
    assert ChampionLog(Store.open(str(store))).entries() == before


def test_a_training_of_the_morning_is_enough(files: Files, store: Path, results: Path, trained: str) -> None:
    write_monitoring(results, fired(dt.date.fromisoformat(DATE)))
    document = run_respond(files, store, results, DATE, "--json").succeeded().document(Response)
    assert document.training.bundle == trained


@pytest.mark.parametrize("by", ["setting", "option"])
def test_a_person_can_forbid_it(
    files: Files, store: Path, results: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    write_monitoring(results, fired(dt.date.fromisoformat(NEXT_DATE)))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    if by == "setting":
        monkeypatch.setenv("PREPTIME_AUTO_RESPONSE", "off")
    more = ("--allow", "off") if by == "option" else ()
    ran = run_respond(files, store, results, NEXT_DATE, *more, "--json").succeeded()
    document = ran.document(Response)
    assert (document.allowed, document.review, document.training.outcome) == ("off", None, "not_allowed")
    assert "A training is asked for by slower_than_predicted: London, and is not allowed here." in ran.err
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_data_that_the_gate_refuses_is_said_and_ends_with_status_1(files: Files, store: Path, results: Path) -> None:
    write_monitoring(results, fired(dt.date(2015, 6, 22)))
    ran = run_respond(files, store, results, "2015-06-22", "--json")
    assert ran.status == 1
    document = ran.document(Response)
    assert document.training.outcome == "refused"
    assert "The last order was acknowledged on 2015-06-12" in ran.err


def test_the_api_and_the_batch_are_joined_by_the_verb(files: Files, store: Path, results: Path) -> None:
    """A log beside the results counts; the harness of the joins is elsewhere."""
    preptime("score", "--date", DATE, *options(files, store, results)).succeeded()
    scored = pl.read_parquet(results / f"date={DATE}" / "predictions.parquet")
    one = scored.filter(pl.col("predicted_seconds").is_not_null()).row(0, named=True)
    order = {
        name: one[name] for name in ("order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items")
    }
    record = {
        "time": 1.0,
        "request_id": "r",
        "key_name": "dispatch",
        "endpoint": "v1",
        "bundle": one["prediction_bundle"],
        "orders": [{**order, "order_id": one["order_id"]}],
        "response": {
            "bundle": "b",
            "predictions": [{"p10": 1.0, "p50": 2.0, "p80": 3.0, "p90": 4.0, "fallback_level": "global"}],
        },
    }
    log = results.parent / "predictions"
    log.mkdir()
    (log / f"predictions-{DATE}-1-aaaaaa.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    counts = run_monitor(files, store, results, NEXT_DATE, "--json").document(MonitoringDocument).prediction_counts
    assert (counts.from_api, counts.in_both) == (1, 1)


def test_orders_in_a_database_say_what_those_in_a_file_say(
    files: Files, store: Path, results: Path, database: str, tmp_path: Path
) -> None:
    """Scored from the file, looked at from both: the same bytes."""
    preptime("score", "--date", DATE, *options(files, store, results)).succeeded()
    run_monitor(files, store, results, NEXT_DATE).succeeded()
    of_file = contents(results, NEXT_DATE)
    preptime("ingest", files.orders, "--restaurants", files.restaurants, "--to", database).succeeded()
    tables = ("--orders", database, "--restaurants", f"{database}&table=restaurants")
    more = ("--store", store, "--results", results, "--prediction-log-folder", tmp_path / "none")
    preptime("monitor", *tables, *more, "--date", NEXT_DATE).succeeded()
    assert contents(results, NEXT_DATE) == of_file
