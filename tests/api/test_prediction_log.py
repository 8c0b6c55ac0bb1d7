"""The prediction log: every record is written once to the file of its day, and no request blocks or fails."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from preptime.api import prediction_log
from preptime.api.prediction_log import FILES_PER_LIMIT, MAX_QUEUED_ORDERS, DailyFileSink, PredictionLog, StdoutSink
from preptime.api.service import PredictionRecord
from tests.requirements import as_root, requires, small_disk

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


def daily_sink(folder: Path, retention_days: int, max_bytes: int = 2**30) -> DailyFileSink:
    return DailyFileSink(folder, retention_days, max_bytes)


def logged_requests(folder: Path) -> dict[str, list[int]]:
    """Return the request numbers in the files of each day, in order."""
    requests: dict[str, list[int]] = {}
    for path in sorted(folder.glob("predictions-*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        requests.setdefault(path.name[12:22], []).extend(int(json.loads(line)["request_id"]) for line in lines)
    return requests


class BlockedSink:
    """A sink that blocks until a test sets `unblocked`, and then raises `error` if it's set."""

    def __init__(self) -> None:
        self.unblocked = threading.Event()
        self.error: Exception | None = None
        self.lines: list[bytes] = []

    def encode(self, record: PredictionRecord, /) -> bytes:
        return record.to_json_line() + b"\n"

    def write(self, lines: bytes, _day: dt.date, /) -> None:
        self.unblocked.wait()
        if self.error is not None:
            raise self.error
        self.lines += lines.splitlines()

    def close(self) -> None:
        """Do nothing."""


def test_prediction_log_line_has_all_fields(tmp_path: Path) -> None:
    log = PredictionLog(daily_sink(tmp_path, retention_days=3))
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
    log = PredictionLog(daily_sink(tmp_path / "new" / "folder", retention_days=3))
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
    log = PredictionLog(daily_sink(tmp_path, retention_days=3))
    log.start()
    for number, day in enumerate((0, 0, 1, 3)):
        log.record(make_record(number, timestamp=NOON + day * DAY_SECONDS))
    log.close(timeout_seconds=30)
    assert logged_requests(tmp_path) == {"2015-06-18": [2], "2015-06-20": [3]}
    assert (tmp_path / "predictions-2015-06-01-notes.txt").exists()


def test_prediction_log_retention_includes_today(tmp_path: Path) -> None:
    (tmp_path / "predictions-2015-06-14-1-abc.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "predictions-2015-06-15-1-abc.jsonl").write_text("", encoding="utf-8")
    sink = daily_sink(tmp_path, retention_days=3)
    sink.write(b"{}\n", dt.date(2015, 6, 17))
    sink.close()
    assert sorted(path.name[12:22] for path in tmp_path.iterdir()) == ["2015-06-15", "2015-06-17"]


def test_prediction_log_two_sinks_write_two_files(tmp_path: Path) -> None:
    for _ in range(2):
        sink = daily_sink(tmp_path, retention_days=1)
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


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_prediction_log_failing_sink_is_counted_and_logged_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    disk = BlockedSink()
    disk.unblocked.set()
    disk.error = error
    log = PredictionLog(disk)
    for number in range(200):
        log.record(make_record(number))
    log.start()
    wait_until_handled(log, 200)
    assert (log.written, log.dropped) == (0, 200)
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]
    assert (caplog.records[0].exc_info is None) == isinstance(error, OSError)
    disk.error = None
    log.record(make_record())
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (1, 200)


def test_prediction_log_unexpected_encoding_error_drops_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = daily_sink(tmp_path, retention_days=3)
    log = PredictionLog(sink)
    with monkeypatch.context() as patch:
        patch.setattr(sink, "encode", lambda record: {}[record.request_id])
        log.start()
        log.record(make_record())
        wait_until_handled(log, 1)
    log.record(make_record(1))
    log.close(timeout_seconds=30)
    assert logged_requests(tmp_path) == {"2015-06-17": [1]}
    assert (log.written, log.dropped) == (1, 1)


def test_prediction_log_close_counts_records_it_cant_write() -> None:
    disk = BlockedSink()
    log = PredictionLog(disk)
    log.start()
    for number in range(100):
        log.record(make_record(number))
    log.close(timeout_seconds=0.3)
    assert (log.written, log.dropped) == (0, 100)
    log.close(timeout_seconds=0.3)
    assert (log.written, log.dropped) == (0, 100)
    disk.unblocked.set()


def test_prediction_log_close_before_start_counts_records(tmp_path: Path) -> None:
    log = PredictionLog(daily_sink(tmp_path, retention_days=3))
    log.record(make_record())
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (0, 1)


def test_prediction_log_retention_of_1e6_days_keeps_files(tmp_path: Path) -> None:
    (tmp_path / "predictions-0001-01-01-1-abc.jsonl").write_text("", encoding="utf-8")
    log = PredictionLog(daily_sink(tmp_path, retention_days=10**6))
    log.start()
    log.record(make_record(7))
    log.close(timeout_seconds=30)
    assert logged_requests(tmp_path) == {"0001-01-01": [], "2015-06-17": [7]}


class FullFile(io.FileIO):
    """A file on a disk that reports an error when the file is closed for the first time."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(28, "No space left on device")


def test_prediction_log_opens_a_file_after_a_failed_close(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows doesn't delete open files")
    sink = daily_sink(tmp_path, retention_days=3)
    write_numbered(sink, range(1))
    (path,) = tmp_path.iterdir()
    sink.close()
    sink._file = FullFile(path, "r+b")
    path.unlink()
    with pytest.raises(OSError, match="No space left"):
        write_numbered(sink, range(1, 2))
    write_numbered(sink, range(2, 3))
    sink.close()
    assert numbered_lines(tmp_path) == [2]


def test_prediction_log_invalid_folder_counts_dropped_records(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    log = PredictionLog(daily_sink(tmp_path / "file" / "below", retention_days=3))
    log.start()
    log.record(make_record())
    log.close(timeout_seconds=30)
    assert (log.written, log.dropped) == (0, 1)


def test_prediction_log_unencodable_order_drops_only_its_record(tmp_path: Path) -> None:
    log = PredictionLog(daily_sink(tmp_path, retention_days=3))
    log.start()
    for number, order in enumerate(({"city": "London"}, {"city": "\ud800"}, {"city": "Paris"})):
        log.record(make_record(number, order=order))
    log.close(timeout_seconds=30)
    assert logged_requests(tmp_path) == {"2015-06-17": [0, 2]}
    assert (log.written, log.dropped) == (2, 1)


def test_prediction_log_record_after_close_is_dropped(tmp_path: Path) -> None:
    log = PredictionLog(daily_sink(tmp_path, retention_days=3))
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


def test_prediction_log_files_and_new_folder_are_private(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows has no file modes")
    old_mask = os.umask(0)
    try:
        for folder in (tmp_path / "parent" / "new", tmp_path / "existing"):
            sink = daily_sink(folder, retention_days=1)
            if folder.name == "existing":
                folder.mkdir(0o755)
            sink.write(b"{}\n", dt.date(2015, 6, 17))
            sink.close()
    finally:
        os.umask(old_mask)
    modes = {path.name[:11]: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"parent": 0o777, "new": 0o700, "existing": 0o755, "predictions": 0o600}


LINE = b"{" + b"x" * 998 + b"\n"
"""One line of 1,000 bytes."""
LIMIT_BYTES = FILES_PER_LIMIT * 2000


def write_numbered(sink: DailyFileSink, numbers: range, day: dt.date = dt.date(2015, 6, 17)) -> None:
    for number in numbers:
        sink.write(f"{number:06d}".encode() + LINE[6:], day)


def numbered_lines(folder: Path) -> list[int]:
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return sorted(int(line[:6]) for line in lines)


def test_prediction_log_at_size_limit_deletes_oldest_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "predictions-2015-06-16-1-abc.jsonl").write_bytes(LINE * 10)
    (tmp_path / "notes.txt").write_bytes(LINE * 1000)
    sink = daily_sink(tmp_path, retention_days=30, max_bytes=LIMIT_BYTES)
    for number in range(0, 400, 40):
        write_numbered(sink, range(number, number + 40))
        assert sum(path.stat().st_size for path in tmp_path.glob("*.jsonl")) <= LIMIT_BYTES
    sink.close()
    kept = numbered_lines(tmp_path)
    assert kept == list(range(kept[0], 400)), "the newest lines, without a gap"
    assert len(kept) >= LIMIT_BYTES // 1000 - 4
    assert not (tmp_path / "predictions-2015-06-16-1-abc.jsonl").exists()
    assert (tmp_path / "notes.txt").exists()
    assert "PREPTIME_PREDICTION_LOG_MAX_MB" in caplog.text


def test_prediction_log_size_limit_counts_all_workers(tmp_path: Path) -> None:
    sinks = [daily_sink(tmp_path, retention_days=30, max_bytes=LIMIT_BYTES) for _ in range(3)]
    for number in range(0, 600, 3):
        for offset, sink in enumerate(sinks):
            write_numbered(sink, range(number + offset, number + offset + 1))
        total_bytes = sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
        assert total_bytes <= LIMIT_BYTES + len(sinks) * LIMIT_BYTES // FILES_PER_LIMIT
    for sink in sinks:
        sink.close()
    assert numbered_lines(tmp_path)[-100:] == list(range(500, 600))


def test_prediction_log_limits_the_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "MAX_FILES", 5)
    for number in range(20):  # each restart of a worker opens a file
        sink = daily_sink(tmp_path, retention_days=30)
        write_numbered(sink, range(number, number + 1))
        sink.close()
        os.utime(max(tmp_path.iterdir(), key=lambda path: path.read_bytes()), (number, number))
    assert numbered_lines(tmp_path) == list(range(15, 20))


def test_prediction_log_replaces_its_deleted_file(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows doesn't delete open files")
    sink = daily_sink(tmp_path, retention_days=30)
    write_numbered(sink, range(1))
    (path,) = tmp_path.iterdir()
    path.unlink()
    write_numbered(sink, range(1, 3))
    sink.close()
    assert numbered_lines(tmp_path) == [1, 2]


def test_prediction_log_ignores_names_with_other_digits(tmp_path: Path) -> None:
    other = tmp_path / "predictions-２０１５-06-01-1-abc.jsonl"
    other.write_bytes(LINE)
    sink = daily_sink(tmp_path, retention_days=1)
    write_numbered(sink, range(1))
    sink.close()
    assert other.exists()


def test_prediction_log_full_disk_keeps_whole_lines_and_recovers(tmp_path: Path) -> None:
    """On a disk of 256 kB: every record is counted, no file is added, no line is cut, and writing resumes."""
    requires(os.name == "posix", "Windows has no tmpfs")
    with small_disk(tmp_path, "256k") as disk:
        folder = disk / "predictions"
        log = PredictionLog(daily_sink(folder, retention_days=30))
        log.start()
        for number in range(3000):
            log.record(make_record(number))
        wait_until_handled(log, 3000)
        assert log.dropped > 1000
        assert log.written + log.dropped == 3000
        lines = [line for path in folder.iterdir() for line in path.read_bytes().splitlines(keepends=True)]
        assert len(lines) == log.written
        assert all(line.endswith(b"\n") and json.loads(line) for line in lines)
        assert len(list(folder.iterdir())) == 1
        subprocess.run(as_root("mount", "-o", "remount,size=4m", str(disk)), check=True)
        written, dropped = log.written, log.dropped
        for number in range(3000, 3500):
            log.record(make_record(number))
        log.close(timeout_seconds=30)
        assert (log.written, log.dropped) == (written + 500, dropped)
        assert len(list(folder.iterdir())) == 1
        assert logged_requests(folder)["2015-06-17"][-500:] == list(range(3000, 3500))


def test_prediction_log_full_disk_from_the_start_adds_no_files(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows has no tmpfs")
    with small_disk(tmp_path, "64k") as disk:
        (disk / "ballast").write_bytes(b"x" * 50_000)
        with (disk / "more").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        log = PredictionLog(daily_sink(disk / "predictions", retention_days=30))
        log.start()
        for number in range(500):
            log.record(make_record(number))
            if number % 50 == 0:
                wait_until_handled(log, number + 1)
        log.close(timeout_seconds=30)
        assert (log.written, log.dropped) == (0, 500)
        assert sum(1 for _ in (disk / "predictions").iterdir()) <= 1


def wait_until_handled(log: PredictionLog, count: int) -> None:
    """Wait until the thread has written or dropped this number of records."""
    deadline = time.monotonic() + 60
    while log.written + log.dropped < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
