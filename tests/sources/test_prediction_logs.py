"""Every place of the prediction log gives the same predictions: files, BigQuery, and Cloud Logging."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import psycopg
import pytest
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

from preptime.api.log_entries import encode_entries
from preptime.api.service import PredictionRecord
from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.monitoring.recorded_predictions import LogReader
from preptime.sources import cloud_logging
from preptime.sources.bigquery.prediction_log import BigQueryPredictionLog
from preptime.sources.cloud_logging import CloudLoggingPredictionLog
from preptime.sources.prediction_logs import PredictionLogFolder, PredictionLogSource, open_prediction_log
from tests.sources.bigquery.fake_bigquery import FakeBigQuery
from tests.sources.fake_cloud_logging import FakeCloudLogging, serve_fake_cloud_logging

NOON = dt.datetime(2015, 6, 17, 12, tzinfo=dt.UTC)
FIRST, LAST = dt.date(2015, 6, 17), dt.date(2015, 6, 18)


class StoredLog(Protocol):
    """A place of the log, and how the platform stores the API's lines there."""

    @property
    def source(self) -> PredictionLogSource:
        """The log, to read it."""
        ...

    def store(self, lines: Sequence[bytes], time: dt.datetime) -> None:
        """Store lines that the API wrote at this time."""
        ...


class StoredFiles:
    """Files of the API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = PredictionLogFolder(folder)

    def store(self, lines: Sequence[bytes], time: dt.datetime) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"predictions-{time.date()}-7-abc.jsonl").open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))


class StoredTable:
    """The table of a log sink in the fake BigQuery. The fields of `jsonPayload` are columns of their own."""

    def __init__(self, fake: FakeBigQuery) -> None:
        self.fake = fake
        self.source = BigQueryPredictionLog.from_address("bigquery://our-project.food")
        with psycopg.connect(fake.database) as connection:
            connection.execute(
                "CREATE TABLE food.run_googleapis_com_stdout (timestamp timestamptz, time double precision, "
                "request_id text, bundle text, part double precision, orders text, response text)"
            )

    def store(self, lines: Sequence[bytes], time: dt.datetime) -> None:
        with psycopg.connect(self.fake.database) as connection:
            for line in lines:
                entry = json.loads(line) if line.startswith(b"{") else {}
                names = ("time", "request_id", "bundle", "part", "orders", "response")
                values = [time, *(entry.get(name) for name in names)]
                connection.execute(
                    "INSERT INTO food.run_googleapis_com_stdout VALUES (%s, %s, %s, %s, %s, %s, %s)", values
                )


class StoredEntries:
    """Entries in the fake Cloud Logging, which parses lines of JSON."""

    def __init__(self, url: str, fake: FakeCloudLogging) -> None:
        self.fake = fake
        self.source = CloudLoggingPredictionLog("our-project", endpoint=url)

    def store(self, lines: Sequence[bytes], time: dt.datetime) -> None:
        for line in lines:
            if line.startswith(b"{"):  # the fake doesn't apply `jsonPayload.request_id:*`
                entry = {"timestamp": time.isoformat().replace("+00:00", "Z"), "insertId": str(hash(line))}
                self.fake.entries.append({**entry, "jsonPayload": json.loads(line)})


@pytest.fixture(params=["files", "bigquery", "cloud_logging"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoredLog]:
    """An empty log."""
    if request.param == "files":
        yield StoredFiles(tmp_path / "log")
    elif request.param == "bigquery":
        yield StoredTable(request.getfixturevalue("fake"))
    else:
        with serve_fake_cloud_logging() as (url, fake):
            yield StoredEntries(url, fake)


def entries_of(number: int, orders: int, time: dt.datetime = NOON) -> list[bytes]:
    """Return the lines of a request with orders `number`-0, `number`-1, and so on."""
    record = PredictionRecord(
        time=time.timestamp(),
        request_id=f"r{number}",
        key_name="dispatch",
        endpoint="/v1/predictions",
        bundle="2015-06-17-0123456789ab",
        orders=[{"order_id": f"{number}-{index}", "restaurant_id": index} for index in range(orders)],
        response=msgspec.json.encode({"predictions": [{"p50": 600 + index} for index in range(orders)]}),
    )
    return encode_entries(record, max_orders=4)


def predictions_in(log: StoredLog) -> list[tuple[object, float | None]]:
    reader = LogReader(log.source)
    orders = [(item.order["order_id"], item.prediction.p50) for item in reader.iter_orders(FIRST, LAST)]
    assert reader.unreadable_lines == 0
    return orders


def test_log_has_every_prediction_of_its_days_in_order(log: StoredLog) -> None:
    """A request of ten orders has three entries."""
    log.store([*entries_of(1, 10), *entries_of(2, 1)], NOON)
    next_day = NOON + dt.timedelta(days=1)
    log.store(entries_of(3, 2, next_day), next_day)
    for days in (-1, 2):
        other = NOON + dt.timedelta(days=days)
        log.store(entries_of(9, 1, other), other)
    expected = [
        (f"{number}-{index}", 600.0 + index) for number, count in ((1, 10), (2, 1), (3, 2)) for index in range(count)
    ]
    assert predictions_in(log) == expected


def test_log_without_requests_is_empty(log: StoredLog) -> None:
    assert predictions_in(log) == []


def test_other_lines_of_standard_output_are_ignored(fake: FakeBigQuery) -> None:
    log = StoredTable(fake)
    log.store([b"Ready: http://0.0.0.0:8080", *entries_of(1, 1)], NOON)
    assert predictions_in(log) == [("1-0", 600.0)]


def test_entry_that_a_sink_delivered_twice_counts_once(fake: FakeBigQuery) -> None:
    log = StoredTable(fake)
    for _ in range(2):
        log.store(entries_of(1, 6), NOON)
    assert len(predictions_in(log)) == 6


def test_missing_table_names_the_setting(fake: FakeBigQuery) -> None:
    source = BigQueryPredictionLog.from_address("bigquery://our-project.food?table=stdout")
    with pytest.raises(DataError, match="PREPTIME_PREDICTION_LOG_SOURCE"):
        list(source.lines(FIRST, LAST))


def test_cloud_logging_entry_that_was_stored_twice_counts_once() -> None:
    with serve_fake_cloud_logging() as (url, fake):
        log = StoredEntries(url, fake)
        for _ in range(2):
            log.store(entries_of(1, 6), NOON)
        assert len(predictions_in(log)) == 6
        assert all('resource.labels.namespace_name="preptime"' in str(request["filter"]) for request in fake.requests)


def test_cloud_logging_retries_and_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_logging, "MAX_RETRIES", 1)
    with serve_fake_cloud_logging() as (url, fake):
        log = StoredEntries(url, fake)
        log.store(entries_of(1, 1), NOON)
        fake.fail = [429]
        assert predictions_in(log) == [("1-0", 600.0)]
        for statuses, error_class, text in (
            ([429, 429], OperationError, "status 429"),
            ([403], UsageError, "roles/logging.viewer"),
        ):
            fake.fail = list(statuses)
            with pytest.raises(error_class, match=text):
                predictions_in(log)
    with pytest.raises(OperationError, match="can't be read"):
        predictions_in(log)


@pytest.mark.parametrize("content", [b"<html>Log in</html>", b"", b'{"entries": 3}', b"\xff"])
def test_cloud_logging_page_without_json_is_an_error(content: bytes) -> None:
    with serve_fake_cloud_logging() as (url, fake):
        fake.contents = [content]
        with pytest.raises(OperationError, match=r"our-project answered with status 200, but without a page .* JSON"):
            predictions_in(StoredEntries(url, fake))


class ExpiredCredentials:
    """Credentials that can't be renewed."""

    def __init__(self, error: GoogleAuthError) -> None:
        self.error = error

    def before_request(self, *_: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("failure", "kind", "hint"),
    [
        (RefreshError, UsageError, "gcloud auth application-default login"),
        (TransportError, OperationError, "Run the command again"),
    ],
)
def test_cloud_logging_expired_credentials_are_an_error(
    failure: Callable[..., GoogleAuthError], kind: type[PreptimeError], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = failure("Reauthentication is needed.", {"error": "invalid_grant"})
    monkeypatch.setattr("google.auth.default", lambda **_: (ExpiredCredentials(error), "our-project"))
    with pytest.raises(kind, match="Reauthentication is needed") as raised:
        list(CloudLoggingPredictionLog("our-project").lines(FIRST, LAST))
    assert hint in raised.value.hint
    assert raised.value.facts.endswith(" Reauthentication is needed.")


@pytest.mark.parametrize(
    "address",
    [
        "s3://bucket/log",
        "bigquery://food",
        "bigquery://our-project.food?table=a`;DROP",
        "bigquery://our-project.food?day=2015-06-24",
        "logging://",
        "logging://our-project?level=error",
    ],
)
def test_invalid_address_is_an_error_with_the_format(address: str) -> None:
    with pytest.raises(PreptimeError) as error:
        open_prediction_log(address)
    assert "logging://PROJECT" in error.value.hint or "bigquery://PROJECT.DATASET" in error.value.hint


def test_addresses_open_their_source(tmp_path: Path) -> None:
    assert open_prediction_log(str(tmp_path)) == PredictionLogFolder(tmp_path)
    table = open_prediction_log("bigquery://our-project.logs?table=stdout&location=EU")
    assert isinstance(table, BigQueryPredictionLog)
    assert (table.address.table, table.address.location) == ("stdout", "EU")
    entries = open_prediction_log("logging://our-project?filter=resource.type%3D%22cloud_run_revision%22")
    assert entries == CloudLoggingPredictionLog("our-project", 'resource.type="cloud_run_revision"')
