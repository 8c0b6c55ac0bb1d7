"""Metrics: the counts of all workers in the Prometheus text format."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from preptime.api.metrics import WorkerMetrics, format_exposition
from preptime.api.metrics_files import (
    BUCKETS_SECONDS,
    BUCKETS_SIZE,
    MAX_ROWS,
    METRICS_SUFFIX,
    TOTALS_NAME,
    SharedCounts,
    add_ended_to_totals,
    read_shared_counts,
)
from preptime.api.metrics_store import MetricsStore, WorkerState
from tests.requirements import requires

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? ([0-9.e+-]+)')


def samples(exposition: bytes) -> dict[str, float]:
    """Return the values by name and labels. Verifies that every line is a comment or a unique sample."""
    values: dict[str, float] = {}
    assert exposition.endswith(b"\n")
    for line in exposition.decode().splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))", line)
            continue
        matched = SAMPLE.fullmatch(line)
        assert matched is not None, line
        name = f"{matched[1]}{{{matched[2] or ''}}}"
        assert name not in values
        values[name] = float(matched[3])
    return values


def make_state(updated_at: float, bundle: str = "b", **changed: object) -> WorkerState:
    fields: dict[str, object] = {
        "updated_at": updated_at,
        "ready": True,
        "bundle": bundle,
        "champion_number": 3,
        "history_timestamp": 1000.0,
    } | changed
    return msgspec.convert(fields, WorkerState)


@pytest.fixture(params=["alone", "shared"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Return the folder that the workers share, or None for a single worker."""
    return tmp_path / "made" if request.param == "shared" else None


def test_metrics_render_all_counts(folder: Path | None) -> None:
    metrics = WorkerMetrics(folder)
    for seconds in (0.0004, 0.0005, 0.2, 99.0):
        metrics.observe("/v1/predictions", 200, seconds, 3, "dispatch")
    metrics.observe("/predict", 401, 0.001, 0, None)
    metrics.set_log_counts(4, 1)
    values = samples(metrics.render())
    assert values['preptime_requests_total{endpoint="/v1/predictions",key="dispatch",status="200"}'] == 4
    assert values['preptime_requests_total{endpoint="/predict",key="",status="401"}'] == 1
    assert values['preptime_orders_total{endpoint="/v1/predictions",key="dispatch",status="200"}'] == 12
    assert values['preptime_request_duration_seconds_sum{endpoint="/v1/predictions"}'] == pytest.approx(99.2009)
    assert values["preptime_prediction_log_written_total{}"] == 4
    assert values["preptime_prediction_log_dropped_total{}"] == 1
    bounds = [str(bound) for bound in (*BUCKETS_SECONDS, "+Inf")]
    counts = [
        values[f'preptime_request_duration_seconds_bucket{{endpoint="/v1/predictions",le="{bound}"}}']
        for bound in bounds
    ]
    assert counts == sorted(counts)
    assert (counts[0], counts[bounds.index("0.1")], counts[bounds.index("0.25")], counts[-1]) == (2, 2, 3, 4)
    assert values['preptime_request_duration_seconds_count{endpoint="/v1/predictions"}'] == 4


def test_metrics_sum_live_and_ended_workers(tmp_path: Path) -> None:
    first, second = WorkerMetrics(tmp_path), WorkerMetrics(tmp_path)
    first.observe("/predict", 200, 0.1, 1, "a")
    second.observe("/predict", 200, 0.2, 2, "a")
    second.observe("/predict", 200, 0.2, 2, "b")
    second.set_log_counts(3, 2)
    del second
    values = samples(first.render())
    assert values['preptime_requests_total{endpoint="/predict",key="a",status="200"}'] == 2
    assert values['preptime_orders_total{endpoint="/predict",key="a",status="200"}'] == 3
    assert values['preptime_request_duration_seconds_count{endpoint="/predict"}'] == 3
    assert values["preptime_prediction_log_dropped_total{}"] == 2


def test_metrics_threads_lose_no_count() -> None:
    metrics = WorkerMetrics(None)

    def count_requests() -> None:
        for _ in range(5000):
            metrics.observe("/predict", 200, 0.1, 1, "a")

    threads = [threading.Thread(target=count_requests) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = samples(metrics.render())
    assert values['preptime_requests_total{endpoint="/predict",key="a",status="200"}'] == 20_000


def test_metrics_too_many_label_combinations_share_a_row() -> None:
    metrics = WorkerMetrics(None)
    for number in range(MAX_ROWS + 10):
        metrics.observe(f"/{number}", 200, 0.1, 1, "a")
    values = samples(metrics.render())
    requests = {name: value for name, value in values.items() if name.startswith("preptime_requests_total")}
    own_rows = 5  # Of the store itself. Each endpoint has a row for requests and one for their orders.
    assert sum(requests.values()) == MAX_ROWS + 10
    assert requests['preptime_requests_total{endpoint="other",key="",status=""}'] == MAX_ROWS + 10 - (
        (MAX_ROWS - own_rows + 1) // 2
    )
    durations = values['preptime_request_duration_seconds_count{endpoint="other"}']
    assert durations == requests['preptime_requests_total{endpoint="other",key="",status=""}']


def test_metrics_label_with_special_characters_is_escaped() -> None:
    metrics = WorkerMetrics(None)
    metrics.observe('/a"b\\c\nd', 200, 0.1, 1, "é" * 300)
    assert any(
        name.startswith('preptime_requests_total{endpoint="/a\\"b\\\\c\\nd"') for name in samples(metrics.render())
    )


def test_metrics_render_champion_rejection_and_history_age(folder: Path | None) -> None:
    metrics = WorkerMetrics(folder)
    assert samples(metrics.render())["preptime_workers{}"] == 0
    metrics.publish_state(
        make_state(
            time.time(),
            history_timestamp=time.time() - 500,
            rejected_bundle="c",
            champion_error="damaged",
            store_available=False,
        )
    )
    values = samples(metrics.render())
    assert values["preptime_workers{}"] == 1
    assert values['preptime_workers_ready{bundle="b"}'] == 1
    assert values['preptime_champion_number{bundle="b"}'] == 3
    assert values['preptime_workers_rejecting_champion{bundle="c"}'] == 1
    assert values["preptime_workers_without_store{}"] == 1
    assert values["preptime_history_age_seconds{}"] >= 500


def test_metrics_count_workers_by_bundle() -> None:
    states = [
        make_state(0, "b"),
        make_state(0, "b", champion_error="is being loaded"),
        make_state(
            0, "c", champion_number=4, champion_error="no store", store_available=False, history_timestamp=200.0
        ),
    ]
    counts = SharedCounts([], [])
    values = samples(format_exposition(counts, [*states, WorkerState(updated_at=0, ready=False)], now=1200.0))
    assert values["preptime_workers{}"] == 4
    assert values['preptime_workers_ready{bundle="b"}'] == 2
    assert values['preptime_workers_ready{bundle="c"}'] == 1
    assert values["preptime_workers_without_store{}"] == 1
    assert values["preptime_history_age_seconds{}"] == 1000


def test_metrics_killed_worker_keeps_counts_but_not_its_state(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no file locks that end with a process")
    live = WorkerMetrics(tmp_path)
    live.publish_state(make_state(time.time(), "new"))
    program = (
        "import sys, time; from pathlib import Path; from preptime.api.metrics_store import MetricsStore, WorkerState;"
        "store = MetricsStore(Path(sys.argv[1])); store.observe('/predict', 200, 0.1, 1, 'a');"
        "store.publish_state(WorkerState(updated_at=time.time(), ready=True, bundle='old'));"
        "print('published', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"published\n"
        assert samples(live.render())["preptime_workers{}"] == 2
        process.kill()
    values = samples(live.render())
    assert values["preptime_workers{}"] == 1
    assert 'preptime_workers_ready{bundle="old"}' not in values
    assert values['preptime_requests_total{endpoint="/predict",key="a",status="200"}'] == 1


def test_metrics_stale_worker_keeps_counts_but_not_its_state(tmp_path: Path) -> None:
    stale, live = WorkerMetrics(tmp_path), WorkerMetrics(tmp_path)
    stale.observe("/predict", 200, 0.1, 1, "a")
    stale.publish_state(make_state(time.time() - 60, "old"))
    live.publish_state(make_state(time.time(), "new"))
    values = samples(live.render())
    assert values["preptime_workers{}"] == 1
    assert 'preptime_workers_ready{bundle="old"}' not in values
    assert values['preptime_requests_total{endpoint="/predict",key="a",status="200"}'] == 1


def start_counting_process(folder: Path, requests: int) -> subprocess.Popen[bytes]:
    """Start a process that counts requests and waits. Returns when it has counted them."""
    program = (
        "import sys, time; from pathlib import Path; from preptime.api.metrics_store import MetricsStore;"
        "store = MetricsStore(Path(sys.argv[1])); store.count_process();"
        "[store.observe('/predict', 200, 0.1, 2, 'a') for _ in range(int(sys.argv[2]))];"
        "store.count_rejection('bytes'); store.set_log_counts(int(sys.argv[2]), 1);"
        "print('counted', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(folder), str(requests)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"counted\n"
    return process


def count_files(folder: Path) -> int:
    return len(list(folder.glob(f"*{METRICS_SUFFIX}")))


REQUESTS_OF_A = 'preptime_requests_total{endpoint="/predict",key="a",status="200"}'


def test_metrics_of_killed_workers_are_merged_exactly(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no file locks that end with a process")
    reader = WorkerMetrics(tmp_path)
    total = 0
    for number in range(1, 6):
        with start_counting_process(tmp_path, number) as process:
            process.kill()
        total += number
        values = samples(reader.render())
        assert (values[REQUESTS_OF_A], values["preptime_prediction_log_written_total{}"]) == (total, total)
        assert count_files(tmp_path) == 2, "the reader's file, and the one that just ended"
    live = MetricsStore(tmp_path)
    assert count_files(tmp_path) == 2, "the reader's file, and that of the live store"
    live.observe("/predict", 200, 0.1, 2, "a")
    total += 1
    values = samples(reader.render())
    assert values[REQUESTS_OF_A] == total
    del live
    assert values['preptime_rejected_requests_total{cause="bytes"}'] == 5
    assert values["preptime_prediction_log_dropped_total{}"] == 5
    assert values['preptime_request_orders_bucket{endpoint="/predict",le="2"}'] == total


def test_metrics_merge_killed_at_any_step_counts_once(tmp_path: Path) -> None:
    """Ends the process before and after each change of a file, as `kill -9` can."""
    requires(os.name == "posix", "this system has no file locks that end with a process")
    program = (
        "import os, sys; from pathlib import Path; from preptime.api.metrics_files import add_ended_to_totals\n"
        "remaining = [int(sys.argv[2])]\n"
        "def stop_at_change(event, arguments):\n"
        "    if event in ('os.rename', 'os.remove') and str(sys.argv[1]) in str(arguments):\n"
        "        remaining[0] -= 1\n"
        "        if remaining[0] < 0: os._exit(9)\n"
        "sys.addaudithook(stop_at_change)\n"
        "add_ended_to_totals(Path(sys.argv[1]))"
    )
    reader = WorkerMetrics(tmp_path)
    total, statuses = 0, []
    for step in range(12):
        for requests in (2, 3):
            with start_counting_process(tmp_path, requests) as process:
                process.kill()
            total += requests
        command = [sys.executable, "-c", program, str(tmp_path), str(step)]
        statuses.append(subprocess.run(command, check=False).returncode)
        assert samples(reader.render())[REQUESTS_OF_A] == total, step
    assert {0, 9} == set(statuses)
    add_ended_to_totals(tmp_path)
    assert samples(reader.render())[REQUESTS_OF_A] == total
    assert count_files(tmp_path) == 1


def test_metrics_scrapes_during_merges_are_exact(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no file locks that end with a process")
    rounds, per_round, requests = 15, 20, 3
    stopping = threading.Event()
    scraped: tuple[list[float], list[float]] = ([], [])

    def scrape(totals: list[float]) -> None:
        while not stopping.is_set():
            rows = read_shared_counts(tmp_path).rows
            totals.append(sum(row.values[0] for row in rows if row.labels == ("/predict", "200", "a")))

    threads = [threading.Thread(target=scrape, args=(totals,)) for totals in scraped]
    expected = 0.0
    for thread in threads:
        thread.start()
    for _ in range(rounds):
        stores = [MetricsStore(tmp_path) for _ in range(per_round)]
        for store in stores:
            for _ in range(requests):
                store.observe("/predict", 200, 0.1, 1, "a")
        expected += per_round * requests
        del stores, store
        add_ended_to_totals(tmp_path)
    stopping.set()
    for thread in threads:
        thread.join()
    for totals in scraped:
        assert totals == sorted(totals), "a counter decreased"
        assert len(set(totals)) > 2
    rows = read_shared_counts(tmp_path).rows
    assert sum(row.values[0] for row in rows if row.labels == ("/predict", "200", "a")) == expected
    assert count_files(tmp_path) == 0


def test_metrics_damaged_totals_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / TOTALS_NAME).write_bytes(b"damaged")
    metrics = WorkerMetrics(tmp_path)
    metrics.observe("/predict", 200, 0.1, 1, "a")
    assert samples(metrics.render())[REQUESTS_OF_A] == 1
    assert "counts of ended workers are lost" in caplog.text


def test_metrics_render_sizes_rejections_and_replacements(folder: Path | None) -> None:
    metrics = WorkerMetrics(folder)
    for orders in (1, 2, 10_000, 10_001, 0):
        metrics.observe("/v1/predictions", 200 if orders else 503, 0.1, orders, "a")
    for requests in (1, 1, 4):
        metrics.observe_batch(requests)
    metrics.count_rejection("orders")
    metrics.count_rejection("orders")
    metrics.count_replacement("unresponsive")
    metrics.set_log_size(7, 2)
    values = samples(metrics.render())
    bounds = [str(bound) for bound in (*BUCKETS_SIZE, "+Inf")]
    name = 'preptime_request_orders_bucket{endpoint="/v1/predictions",le="%s"}'
    assert [values[name % bound] for bound in bounds] == [1, *[2] * 12, 3, 4]
    assert values['preptime_request_orders_sum{endpoint="/v1/predictions"}'] == 20_004
    assert [values[f'preptime_batch_requests_bucket{{le="{bound}"}}'] for bound in bounds[:4]] == [2, 2, 2, 3]
    assert (values["preptime_batch_requests_sum{}"], values["preptime_batch_requests_count{}"]) == (6, 3)
    assert values['preptime_rejected_requests_total{cause="orders"}'] == 2
    assert values['preptime_workers_replaced_total{cause="unresponsive"}'] == 1
    assert (values["preptime_prediction_log_bytes{}"], values["preptime_prediction_log_files{}"]) == (7, 2)


def test_metrics_render_load_limits_and_polls() -> None:
    now = time.time()
    states = [
        make_state(now, concurrent_requests=2, concurrent_bytes=10, concurrent_orders=3, last_poll_at=50.0),
        make_state(now, concurrent_requests=1, last_poll_at=40.0, limits={"max_orders": 9.0}),
    ]
    states[0] = msgspec.structs.replace(states[0], limits=states[1].limits)
    values = samples(format_exposition(SharedCounts([], []), states, now))
    assert values["preptime_concurrent_requests{}"] == 3
    assert values["preptime_concurrent_bytes{}"] == 10
    assert values["preptime_concurrent_orders{}"] == 3
    assert values["preptime_champion_last_poll_timestamp_seconds{}"] == 40
    assert values['preptime_limit{setting="max_orders"}'] == 9


def test_metrics_sum_processes_and_keep_processor_time(tmp_path: Path) -> None:
    requires(Path("/proc/self/statm").exists(), "only Linux has /proc")
    metrics = WorkerMetrics(tmp_path)
    metrics.count_process()
    alone = samples(metrics.render())
    assert alone["process_resident_memory_bytes{}"] > 10_000_000
    assert alone["process_open_fds{}"] > 2
    assert abs(alone["process_start_time_seconds{}"] - time.time()) < 60
    with start_counting_process(tmp_path, 1) as process:
        both = samples(metrics.render())
        process.kill()
    assert both["process_resident_memory_bytes{}"] > alone["process_resident_memory_bytes{}"] + 10_000_000
    assert both["process_cpu_seconds_total{}"] > alone["process_cpu_seconds_total{}"] + 0.02
    MetricsStore(tmp_path)
    after = samples(metrics.render())
    assert after["process_cpu_seconds_total{}"] == both["process_cpu_seconds_total{}"]
    assert after["process_resident_memory_bytes{}"] == alone["process_resident_memory_bytes{}"]


def test_metrics_name_the_versions() -> None:
    versions = r'granian="[0-9.]+",onnxruntime="[0-9.]+",python="3[0-9.]+",version="[^"]+"'
    assert re.search(rf"preptime_build_info\{{{versions}\}} 1", WorkerMetrics(None).render().decode())
