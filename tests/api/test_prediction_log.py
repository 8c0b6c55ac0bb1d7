"""The prediction log: every record is written once to the file of its day, and no request blocks or fails."""

from __future__ import annotations

import datetime as dt
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from preptime.api.prediction_log import MAX_QUEUED_ORDERS, DailyFileSink, PredictionLog, StdoutSink
from preptime.api.service import PredictionRecord

NOON = dt.datetime(2015, 6, 17, 12, tzinfo=dt.UTC).timestamp()
DAY_SECONDS = 86_400


def make_record(number: int = 0, *, timestamp: float = NOON, orders: int = 1, order: object = None) -> PredictionRecord:
    return PredictionRecord(
        time=timestamp,
        request_id=str(number),
        key_name="dispatch",
        endpoint="/v1/predictions",
        bundle="2015-06-17-0123456789ab",
        orders=(order or {"restaurant_id": 10},) * orders,
        response=b'{"predictions":[{"p50":600}]}',
    )


def logged_requests(folder: Path) -> dict[str, list[int]]:
    """Return the request numbers in the files of each day, in order."""
    requests: dict[str, list[int]] = {}
    for path in sorted(folder.glob("predictions-*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        requests.setdefault(path.name[12:22], []).extend(int(json.loads(line)["request_id"]) for line in lines)
    return requests


class BlockedSink:
    """A sink that blocks until a test sets `unblocked`, and fails if `full` is set."""

    def __init__(self) -> None:
        self.unblocked = threading.Event()
        self.full = False
        self.lines: list[bytes] = []

    def write(self, lines: bytes, _day: dt.date, /) -> None:
        self.unblocked.wait()
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines += lines.splitlines()

    def close(self) -> None:
        """Do nothing."""


def test_prediction_log_line_has_all_fields(tmp_path: Path) -> None:
    log = PredictionLog(DailyFileSink(tmp_path, retention_days=3))
    log.start()
    log.record(make_record(7))
    log.close(timeout_seconds=30)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_bytes()) == {
        "time": NOON,
        "request_id": "7",
        "key_name": "dispatch",
        "endpoint": "/v1/predictions",
        "bundle": "2015-06-17-0123456789ab",
        "orders": [{"restaurant_id": 10}],
        "response": {"predictions": [{"p50": 600}]},
    }


def test_prediction_log_close_writes_all_records_of_threads(tmp_path: Path) -> None:
    log = PredictionLog(DailyFileSink(tmp_path / "new" / "folder", retention_days=3))
    log.start()

    def add_records(start: int) -> None:
        for number in range(start, start + 500):
            log.record(make_record(number))

    threads = [threading.Thread(target=add_records, args=[start]) for start in range(0, 4000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close(timeout_seconds=30)
    assert sorted(logged_requests(tmp_path / "new" / "folder")["2015-06-17"]) == list(range(4000))
    assert (log.written, log.dropped) == (4000, 0)


def test_prediction_log_has_daily_files_and_deletes_old_ones(tmp_path: Path) -> None:
    (tmp_path / "predictions-2015-06-14-1-abc.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "predictions-2015-06-15-1-abc.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "predictions-2015-06-01-notes.txt").write_text("", encoding="utf-8")
    log = PredictionLog(DailyFileSink(tmp_path, retention_days=3))
    log.start()
    for number, day in enumerate((0, 0, 1, 3)):
        log.record(make_record(number, timestamp=NOON + day * DAY_SECONDS))
    log.close(timeout_seconds=30)
    assert logged_requests(tmp_path) == {"2015-06-18": [2], "2015-06-20": [3]}
    assert (tmp_path / "predictions-2015-06-01-notes.txt").exists()


def test_prediction_log_retention_includes_today(tmp_path: Path) -> None:
    (tmp_path / "predictions-2015-06-14-1-abc.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "predictions-2015-06-15-1-abc.jsonl").write_text("", encoding="utf-8")
    sink = DailyFileSink(tmp_path, retention_days=3)
    sink.write(b"{}\n", dt.date(2015, 6, 17))
    sink.close()
    assert sorted(path.name[12:22] for path in tmp_path.iterdir()) == ["2015-06-15", "2015-06-17"]


def test_prediction_log_two_sinks_write_two_files(tmp_path: Path) -> None:
    for _ in range(2):
        sink = DailyFileSink(tmp_path, retention_days=1)
        sink.write(b"{}\n", dt.date(2015, 6, 17))
        sink.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_prediction_log_blocked_disk_drops_and_counts_records() -> None:
    disk = BlockedSink()
    log = PredictionLog(disk)
    log.start()
    log.record(make_record(orders=MAX_QUEUED_ORDERS))
    while log._queued_orders:  # The thread has taken it and blocks.
        time.sleep(0.01)
    for _ in range(3):
        log.record(make_record(orders=MAX_QUEUED_ORDERS // 2))
    assert log.dropped == 1
    disk.unblocked.set()
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (3, 1)


def test_prediction_log_empty_queue_accepts_an_oversized_record() -> None:
    disk = BlockedSink()
    disk.unblocked.set()
    log = PredictionLog(disk)
    log.record(make_record(orders=MAX_QUEUED_ORDERS + 1))
    log.start()
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (1, 0)


def test_prediction_log_full_disk_is_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = BlockedSink()
    disk.unblocked.set()
    disk.full = True
    log = PredictionLog(disk)
    for number in range(200):
        log.record(make_record(number))
    log.start()
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (0, 200)
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]


def test_prediction_log_invalid_folder_counts_dropped_records(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    log = PredictionLog(DailyFileSink(tmp_path / "file" / "below", retention_days=3))
    log.start()
    log.record(make_record())
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (0, 1)


def test_prediction_log_unencodable_order_drops_only_its_record(tmp_path: Path) -> None:
    log = PredictionLog(DailyFileSink(tmp_path, retention_days=3))
    log.start()
    for number, order in enumerate(({"city": "London"}, {"city": "\ud800"}, {"city": "Paris"})):
        log.record(make_record(number, order=order))
    log.close(timeout_seconds=30)
    assert logged_requests(tmp_path) == {"2015-06-17": [0, 2]}
    assert (log.written, log.dropped) == (2, 1)


def test_prediction_log_record_after_close_is_dropped(tmp_path: Path) -> None:
    log = PredictionLog(DailyFileSink(tmp_path, retention_days=3))
    log.start()
    log.close(timeout_seconds=30)
    log.record(make_record())
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (0, 1)


def test_prediction_log_without_sink_counts_nothing() -> None:
    log = PredictionLog(None)
    log.start()
    log.record(make_record())
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (0, 0)


def test_prediction_log_stdout_gets_whole_lines(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = PredictionLog(StdoutSink())
    log.start()
    for number in range(100):
        log.record(make_record(number))
    log.close(timeout_seconds=30)
    sys.stdout.flush()
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [str(number) for number in range(100)]
