"""Metrics: what every worker counted, added up, in Prometheus' own format."""

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


def samples(page: bytes) -> dict[str, float]:
    """By name and labels. Every line is a comment or a sample, and no sample is there twice."""
    found: dict[str, float] = {}
    assert page.endswith(b"\n")
    for line in page.decode().splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))", line)
            continue
        matched = SAMPLE.fullmatch(line)
        assert matched is not None, line
        name = f"{matched[1]}{{{matched[2] or ''}}}"
        assert name not in found
        found[name] = float(matched[3])
    return found


def some_state(at: float, bundle: str = "b", **changed: object) -> WorkerState:
    told: dict[str, object] = {
        "updated_at": at,
        "ready": True,
        "bundle": bundle,
        "champion_number": 3,
        "history_timestamp": 1000.0,
    } | changed
    return msgspec.convert(told, WorkerState)


@pytest.fixture(params=["alone", "shared"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where workers share their counts, or nowhere."""
    return tmp_path / "made" if request.param == "shared" else None


def test_metrics_render_all_counts(folder: Path | None) -> None:
    metrics = WorkerMetrics(folder)
    for seconds in (0.0004, 0.0005, 0.2, 99.0):
        metrics.observe("/v1/predictions", 200, seconds, 3, "dispatch")
    metrics.observe("/predict", 401, 0.001, 0, None)
    metrics.set_log_counts(4, 1)
    found = samples(metrics.render())
    assert found['preptime_requests_total{endpoint="/v1/predictions",status="200",key="dispatch"}'] == 4
    assert found['preptime_requests_total{endpoint="/predict",status="401",key=""}'] == 1
    assert found['preptime_orders_total{endpoint="/v1/predictions",status="200",key="dispatch"}'] == 12
    assert found['preptime_request_duration_seconds_sum{endpoint="/v1/predictions"}'] == pytest.approx(99.2009)
    assert found["preptime_prediction_log_written_total{}"] == 4
    assert found["preptime_prediction_log_dropped_total{}"] == 1
    bounds = [str(bound) for bound in (*BUCKETS_SECONDS, "+Inf")]
    counts = [
        found[f'preptime_request_duration_seconds_bucket{{endpoint="/v1/predictions",le="{bound}"}}']
        for bound in bounds
    ]
    assert counts == sorted(counts)
    assert (counts[0], counts[bounds.index("0.1")], counts[bounds.index("0.25")], counts[-1]) == (2, 2, 3, 4)
    assert found['preptime_request_duration_seconds_count{endpoint="/v1/predictions"}'] == 4


def test_metrics_sum_live_and_ended_workers(tmp_path: Path) -> None:
    one, other = WorkerMetrics(tmp_path), WorkerMetrics(tmp_path)
    one.observe("/predict", 200, 0.1, 1, "a")
    other.observe("/predict", 200, 0.2, 2, "a")
    other.observe("/predict", 200, 0.2, 2, "b")
    other.set_log_counts(3, 2)
    del other
    found = samples(one.render())
    assert found['preptime_requests_total{endpoint="/predict",status="200",key="a"}'] == 2
    assert found['preptime_orders_total{endpoint="/predict",status="200",key="a"}'] == 3
    assert found['preptime_request_duration_seconds_count{endpoint="/predict"}'] == 3
    assert found["preptime_prediction_log_dropped_total{}"] == 2


def test_metrics_threads_lose_no_count() -> None:
    metrics = WorkerMetrics(None)

    def ask() -> None:
        for _ in range(5000):
            metrics.observe("/predict", 200, 0.1, 1, "a")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(metrics.render())
    assert found['preptime_requests_total{endpoint="/predict",status="200",key="a"}'] == 20_000


def test_metrics_too_many_label_combinations_share_a_row() -> None:
    metrics = WorkerMetrics(None)
    for number in range(MAX_ROWS + 10):
        metrics.observe(f"/{number}", 200, 0.1, 1, "a")
    found = samples(metrics.render())
    requests = {name: value for name, value in found.items() if name.startswith("preptime_requests_total")}
    assert sum(requests.values()) == MAX_ROWS + 10
    assert requests['preptime_requests_total{endpoint="other",status="",key=""}'] == 12


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
        some_state(time.time(), history_timestamp=time.time() - 500, rejected_bundle="c", champion_error="damaged")
    )
    found = samples(metrics.render())
    assert found["preptime_workers{}"] == 1
    assert found['preptime_workers_ready{bundle="b"}'] == 1
    assert found['preptime_champion_number{bundle="b"}'] == 3
    assert found['preptime_workers_rejecting_champion{bundle="c"}'] == 1
    assert found["preptime_workers_without_store{}"] == 0
    assert found["preptime_history_age_seconds{}"] >= 500


def test_metrics_count_workers_by_bundle() -> None:
    states = [
        some_state(0, "b"),
        some_state(0, "b"),
        some_state(0, "c", champion_number=4, champion_error="no store", history_timestamp=200.0),
    ]
    found = samples(format_exposition([], [*states, WorkerState(updated_at=0, ready=False)], now=1200.0))
    assert found["preptime_workers{}"] == 4
    assert found['preptime_workers_ready{bundle="b"}'] == 2
    assert found['preptime_workers_ready{bundle="c"}'] == 1
    assert found["preptime_workers_without_store{}"] == 1
    assert found["preptime_history_age_seconds{}"] == 1000


def test_metrics_killed_worker_keeps_counts_but_not_its_state(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no locks that end with a process")
    lives = WorkerMetrics(tmp_path)
    lives.publish_state(some_state(time.time(), "new"))
    program = (
        "import os, signal, sys, time; from pathlib import Path; from preptime.api.metrics_store import MetricsStore, WorkerState;"
        "gone = MetricsStore(Path(sys.argv[1])); gone.observe('/predict', 200, 0.1, 1, 'a');"
        "gone.publish_state(WorkerState(updated_at=time.time(), ready=True, bundle='old'));"
        "print('told', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"told\n"
        assert samples(lives.render())["preptime_workers{}"] == 2
        process.kill()
    found = samples(lives.render())
    assert found["preptime_workers{}"] == 1
    assert 'preptime_workers_ready{bundle="old"}' not in found
    assert found['preptime_requests_total{endpoint="/predict",status="200",key="a"}'] == 1


def test_metrics_stale_worker_keeps_counts_but_not_its_state(tmp_path: Path) -> None:
    gone, lives = WorkerMetrics(tmp_path), WorkerMetrics(tmp_path)
    gone.observe("/predict", 200, 0.1, 1, "a")
    gone.publish_state(some_state(time.time() - 60, "old"))
    lives.publish_state(some_state(time.time(), "new"))
    found = samples(lives.render())
    assert found["preptime_workers{}"] == 1
    assert 'preptime_workers_ready{bundle="old"}' not in found
    assert found['preptime_requests_total{endpoint="/predict",status="200",key="a"}'] == 1
