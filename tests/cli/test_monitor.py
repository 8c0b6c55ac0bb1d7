"""`monitor` and `respond`, as the daily run calls them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.monitoring import prometheus
from preptime.monitoring.document import MonitoringDocument, decode, encode
from preptime.sources import data_versions
from preptime.sources.data_versions import DataRevisions
from preptime.sources.results import TRAINING_FILE, ResultsFolder
from tests.cli.conftest import DATE, NEXT_DATE, Files
from tests.cli.run_command import CommandResult, error_document, preptime
from tests.monitoring.example import fired, quiet

FILES = ("monitoring.html", "monitoring.json", "monitoring.prom")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a new results folder."""
    return tmp_path / "results"


def options(files: Files, store: Path, results: Path) -> tuple[str | Path, ...]:
    return (*files.options, "--store", store, "--results", results)


def run_monitor(files: Files, store: Path, results: Path, date: str, *extra_options: str) -> CommandResult:
    log = results.parent / "predictions"
    return preptime(
        "monitor", *options(files, store, results), "--date", date, "--prediction-log-source", log, *extra_options
    )


def contents(results: Path, date: str) -> dict[str, bytes]:
    folder = results / f"date={date}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "predictions.parquet"}


def test_monitor_is_idempotent(files: Files, store: Path, results: Path) -> None:
    preptime("score", "--date", DATE, *options(files, store, results)).succeeded()
    result = run_monitor(files, store, results, NEXT_DATE).succeeded()
    document = decode(contents(results, NEXT_DATE)["monitoring.json"])
    undecided = sum(rule.status == "undecided" for rule in document.rules)
    assert result.out.splitlines()[0] == (
        f"{len(document.rules) - undecided} of {len(document.rules)} rules had enough data: quiet. "
        f"{undecided} are undecided."
    )
    assert result.out.splitlines()[1].startswith(f"{document.days[-1].orders} completed orders on {DATE}: ")
    assert f"The results are in {results}/date={NEXT_DATE}." in result.out
    first = contents(results, NEXT_DATE)
    assert tuple(sorted(first)) == FILES
    second_result = run_monitor(files, store, results, NEXT_DATE, "--json").succeeded()
    assert contents(results, NEXT_DATE) == first
    assert second_result.document(MonitoringDocument) == document
    assert document.prediction_counts.evaluated > 100
    assert document.metrics.lookup_n == document.metrics.n
    assert document.backtest_baseline is not None
    assert document.champion is not None


def test_monitor_counts_age_in_the_zones_of_the_champion(
    files: Files, store: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[dt.date, tuple[str, ...]]] = []

    def record(date: dt.date, zone_names: tuple[str, ...]) -> float:
        calls.append((date, zone_names))
        return 5.0

    monkeypatch.setattr(prometheus, "last_midnight", record)
    run_monitor(files, store, results, NEXT_DATE)
    assert b"preptime_monitor_date_seconds 5.0\n" in contents(results, NEXT_DATE)["monitoring.prom"]
    manifest = Store.open(str(store)).read_manifest(
        str(decode(contents(results, NEXT_DATE)["monitoring.json"]).champion)
    )
    assert calls == [(dt.date.fromisoformat(NEXT_DATE), manifest.vocabularies.time_zone)]


def test_monitor_alert_exits_with_1(files: Files, store: Path, results: Path) -> None:
    """There are no orders on the 18th, a Thursday, nor since the 12th."""
    result = run_monitor(files, store, results, "2015-06-19")
    assert result.status == 1
    assert "Alert volume_low: 0 orders on 2015-06-18: 0% of the normal " in result.out
    assert tuple(sorted(contents(results, "2015-06-19"))) == FILES
    json_result = run_monitor(files, store, results, "2015-06-19", "--json")
    assert (json_result.status, len(json_result.document(MonitoringDocument).alerts)) == (1, 1)


def test_monitor_missing_orders_is_data_error(files: Files, store: Path, results: Path) -> None:
    missing = Files(files.orders.with_name("nowhere.csv"), files.restaurants)
    error_document(run_monitor(missing, store, results, NEXT_DATE, "--json"), 1, "DataError")
    assert not results.exists()


def run_respond(files: Files, store: Path, results: Path, date: str, *extra_options: str) -> CommandResult:
    return preptime("respond", *options(files, store, results), "--date", date, *extra_options)


def write_monitoring(results: Path, document: MonitoringDocument) -> None:
    ResultsFolder(results).write(document.date, "monitoring.json", encode(document))


class Training(msgspec.Struct):
    """The tested fields of a training."""

    outcome: str
    triggered_by: list[str]
    bundle: str | None
    reason: str


class Review(msgspec.Struct):
    """The tested fields of a review."""

    outcome: str
    reason: str


class Response(msgspec.Struct):
    """The tested fields of the document of `respond`."""

    date: dt.date
    allowed: str
    review: Review | None
    training: Training


def test_respond_without_alert_does_nothing(files: Files, store: Path, results: Path) -> None:
    write_monitoring(results, quiet(dt.date.fromisoformat(NEXT_DATE)))
    result = run_respond(files, store, results, NEXT_DATE).succeeded()
    assert "There are no previous models to return to." in result.out
    assert "No alert calls for training." in result.out
    document = msgspec.json.decode((results / f"date={NEXT_DATE}" / "response.json").read_bytes(), type=Response)
    assert (document.allowed, document.training.outcome) == ("all", "not_needed")


def test_respond_without_monitoring_is_usage_error(files: Files, store: Path, results: Path) -> None:
    error = error_document(run_respond(files, store, results, NEXT_DATE, "--json"), 2, "UsageError")
    assert f"preptime monitor --date {NEXT_DATE}" in error.hint


@pytest.mark.usefixtures("quick_models")
def test_respond_trains_once_for_an_alert(
    files: Files, store: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle names the version of the orders, as that of `train` does."""
    monkeypatch.setattr(data_versions, "find_revisions", lambda _: DataRevisions("md5:0", "1"))
    write_monitoring(results, fired(dt.date.fromisoformat(NEXT_DATE)))
    first = run_respond(files, store, results, NEXT_DATE, "--json").succeeded().document(Response)
    assert (first.training.outcome, first.training.triggered_by) == ("trained", ["slower_than_predicted: London"])
    assert first.training.bundle is not None
    assert Store.open(str(store)).read_manifest(first.training.bundle).dvc_revision == "md5:0"
    assert (results / f"date={NEXT_DATE}" / "training.json").is_file()
    before = ChampionLog(Store.open(str(store))).entries()
    second = run_respond(files, store, results, NEXT_DATE, "--json").succeeded().document(Response)
    assert second.training == first.training
    assert ChampionLog(Store.open(str(store))).entries() == before


def test_respond_uses_existing_training_of_the_date(
    files: Files, store: Path, results: Path, trained_bundle: str
) -> None:
    write_monitoring(results, fired(dt.date.fromisoformat(DATE)))
    decision = b'{"bundle": "%b"}' % trained_bundle.encode()
    path = ResultsFolder(results).write(dt.date.fromisoformat(DATE), TRAINING_FILE, decision)
    document = run_respond(files, store, results, DATE, "--json").succeeded().document(Response)
    assert document.training.bundle == trained_bundle
    assert path.read_bytes() == decision


@pytest.mark.usefixtures("quick_models")
@pytest.mark.parametrize("decision", ["", '{"bundle": "2015-06-13-0123456789ab"}', "{"])
def test_respond_trains_if_there_is_no_decision(files: Files, store: Path, results: Path, decision: str) -> None:
    """A training without the gate, and a decision about a bundle that isn't in the store, aren't the day's training."""
    date = dt.date.fromisoformat(NEXT_DATE)
    write_monitoring(results, fired(date))
    preptime("train", "--quick", "--date", NEXT_DATE, *options(files, store, results)).succeeded()
    if decision:
        ResultsFolder(results).write(date, TRAINING_FILE, decision.encode())
    before = {*Store.open(str(store)).bundle_ids()}
    document = run_respond(files, store, results, NEXT_DATE, "--json").succeeded().document(Response)
    assert document.training.outcome == "trained"
    assert document.training.bundle not in before
    (entry,) = ChampionLog(Store.open(str(store))).entries_of_date(date)
    assert entry.comparison is not None
    assert entry.comparison["challenger"] == document.training.bundle
    assert str(document.training.bundle) in (results / f"date={NEXT_DATE}" / TRAINING_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("source", ["setting", "option"])
def test_respond_off_changes_nothing(
    files: Files, store: Path, results: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    write_monitoring(results, fired(dt.date.fromisoformat(NEXT_DATE)))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    if source == "setting":
        monkeypatch.setenv("PREPTIME_AUTO_RESPONSE", "off")
    extra_options = ("--allow", "off") if source == "option" else ()
    result = run_respond(files, store, results, NEXT_DATE, *extra_options, "--json").succeeded()
    document = result.document(Response)
    assert (document.allowed, document.review, document.training.outcome) == ("off", None, "not_allowed")
    assert "Training isn't allowed. These alerts call for it: slower_than_predicted: London." in result.err
    assert "--allow retrain (PREPTIME_AUTO_RESPONSE=retrain)" in result.err
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_respond_permanent_gate_failure_exits_with_4(files: Files, store: Path, results: Path) -> None:
    write_monitoring(results, fired(dt.date(2015, 6, 22)))
    result = run_respond(files, store, results, "2015-06-22", "--json")
    assert result.status == preptime("train", *options(files, store, results), "--date", "2015-06-22").status == 4
    document = result.document(Response)
    assert document.training.outcome == "refused"
    assert "The last order was acknowledged on 2015-06-12" in result.err
    assert document.training.reason.endswith("Provide the outcomes of those days, or use --date 2015-06-13.")


@pytest.mark.usefixtures("quick_models")
def test_respond_gate_option_accepts_the_data(files: Files, store: Path, results: Path) -> None:
    """The option that the message names exists for this command. The next refusal is another one."""
    write_monitoring(results, fired(dt.date(2015, 6, 14)))
    refused = run_respond(files, store, results, "2015-06-14", "--json")
    assert refused.status == 1  # the missing day can arrive later
    assert "accept it with --gate max_days_behind=2." in refused.document(Response).training.reason
    result = run_respond(files, store, results, "2015-06-14", "--gate", "max_days_behind=2", "--json").succeeded()
    assert result.document(Response).training.outcome == "trained"


def test_monitor_joins_api_and_batch_predictions(files: Files, store: Path, results: Path) -> None:
    """Predictions in the prediction log count. Other tests cover the joins."""
    preptime("score", "--date", DATE, *options(files, store, results)).succeeded()
    scored = pl.read_parquet(results / f"date={DATE}" / "predictions.parquet")
    row = scored.filter(pl.col("predicted_seconds").is_not_null()).row(0, named=True)
    order = {
        name: row[name] for name in ("order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items")
    }
    record = {
        "time": 1.0,
        "request_id": "r",
        "key_name": "dispatch",
        "endpoint": "v1",
        "bundle": row["prediction_bundle"],
        "orders": [{**order, "order_id": row["order_id"]}],
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


def test_monitor_database_equals_file(files: Files, store: Path, results: Path, database: str, tmp_path: Path) -> None:
    """Scored from the file, monitored from both: the same bytes."""
    preptime("score", "--date", DATE, *options(files, store, results)).succeeded()
    run_monitor(files, store, results, NEXT_DATE).succeeded()
    of_file = contents(results, NEXT_DATE)
    preptime("ingest", files.orders, "--restaurants", files.restaurants, "--to", database).succeeded()
    tables = ("--orders", database, "--restaurants", f"{database}&table=restaurants")
    extra_options = ("--store", store, "--results", results, "--prediction-log-source", tmp_path / "none")
    preptime("monitor", *tables, *extra_options, "--date", NEXT_DATE).succeeded()
    assert contents(results, NEXT_DATE) == of_file
