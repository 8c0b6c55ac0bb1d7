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
from preptime.api.metrics_store import BUCKETS_SECONDS, MAX_ROWS, WorkerState
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
    assert sum(requests.values()) == MAX_ROWS + 10
    assert requests['preptime_requests_total{endpoint="other",key="",status=""}'] == 12


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
        make_state(time.time(), history_timestamp=time.time() - 500, rejected_bundle="c", champion_error="damaged")
    )
    values = samples(metrics.render())
    assert values["preptime_workers{}"] == 1
    assert values['preptime_workers_ready{bundle="b"}'] == 1
    assert values['preptime_champion_number{bundle="b"}'] == 3
    assert values['preptime_workers_rejecting_champion{bundle="c"}'] == 1
    assert values["preptime_workers_without_store{}"] == 0
    assert values["preptime_history_age_seconds{}"] >= 500


def test_metrics_count_workers_by_bundle() -> None:
    states = [
        make_state(0, "b"),
        make_state(0, "b"),
        make_state(0, "c", champion_number=4, champion_error="no store", history_timestamp=200.0),
    ]
    values = samples(format_exposition([], [*states, WorkerState(updated_at=0, ready=False)], now=1200.0))
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
