"""Supervision of workers: heartbeats, replacement of stopped workers, and their ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from preptime.api.supervision import (
    MAX_CHECK_DELAY_SECONDS,
    NO_WORKER_SECONDS,
    RECENT_SECONDS,
    START_TIMEOUT_SECONDS,
    HeartbeatMonitor,
    describe_exit,
)
from tests.api.processes import free_port, running_server
from tests.api.test_server import KILL, promote, require_posix_signals, wait_for, worker_ids
from tests.requirements import requires

TIMEOUT = 30.0


class SimulatedServer:
    """Workers with heartbeats, checked once per second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.monitor = HeartbeatMonitor(TIMEOUT, self.now)
        self.heartbeats: dict[int, float | None] = {}
        self.stopped: set[int] = set()

    def run(self, seconds: float) -> list[tuple[float, int]]:
        """Return which worker was found when, relative to the start of this call."""
        found = []
        start = self.now
        while self.now < start + seconds:
            self.now += 1.0
            for worker in self.heartbeats.keys() - self.stopped:
                self.heartbeats[worker] = (self.heartbeats[worker] or 0.0) + 1.0
            stalled = self.monitor.find_stalled(self.heartbeats, self.now)
            found += [(self.now - start, worker) for worker in stalled]
        return found


@pytest.fixture
def server() -> SimulatedServer:
    """Return a server with two workers."""
    made = SimulatedServer()
    made.heartbeats = {1: 0.0, 2: 0.0}
    return made


def test_monitor_finds_a_stopped_worker_once(server: SimulatedServer) -> None:
    assert server.run(1000) == []
    server.stopped.add(2)
    assert server.run(300) == [(31.0, 2)]


def test_monitor_ignores_a_short_stop(server: SimulatedServer) -> None:
    server.run(10)
    server.stopped.add(2)
    assert server.run(TIMEOUT - 1) == []
    server.stopped.clear()
    assert server.run(100) == []


def test_monitor_gives_a_suspended_machine_the_full_time(server: SimulatedServer) -> None:
    server.run(10)
    server.stopped.add(2)
    server.run(TIMEOUT - 1)
    server.now += MAX_CHECK_DELAY_SECONDS + 3600.0
    assert server.run(TIMEOUT) == []
    assert server.run(2) == [(2.0, 2)]
    assert server.monitor.problem(server.now) is None


def test_monitor_doubles_the_timeout_after_each_stop(server: SimulatedServer) -> None:
    server.run(10)
    times = []
    for worker in (2, 3, 4, 5):
        server.heartbeats = {1: server.heartbeats[1], worker: 1.0}
        server.run(1)
        server.stopped.add(worker)
        start = server.now
        while not (found := server.run(1)):
            assert server.now - start < 1000
        assert found[0][1] == worker
        times.append(server.now - start)
    assert times == [31.0, 61.0, 121.0, 241.0]
    server.run(RECENT_SECONDS)
    server.heartbeats = {1: server.heartbeats[1], 7: 1.0}
    server.run(1)
    server.stopped.add(7)
    assert server.run(40) == [(31.0, 7)]


def test_monitor_gives_a_starting_worker_more_time(server: SimulatedServer) -> None:
    server.run(10)
    server.heartbeats[3] = None
    server.stopped.add(3)
    assert server.run(START_TIMEOUT_SECONDS + 10) == [(START_TIMEOUT_SECONDS + 2, 3)]


def test_monitor_reports_a_server_without_responding_workers(server: SimulatedServer) -> None:
    server.run(10)
    assert server.monitor.problem(server.now) is None
    server.stopped.update({1, 2})
    server.run(TIMEOUT + NO_WORKER_SECONDS)
    assert server.monitor.problem(server.now) is None
    server.run(1)
    assert server.monitor.problem(server.now) == "No worker has responded for 91 s."
    server.stopped.clear()
    server.run(1)
    assert server.monitor.problem(server.now) is None


def test_monitor_reports_a_main_process_that_doesnt_check(server: SimulatedServer) -> None:
    server.run(10)
    assert server.monitor.problem(server.now + 91.0) == "The main process has stopped checking its workers."


def test_exit_description_names_the_status_or_the_signal() -> None:
    assert describe_exit(1) == "ended with exit status 1"
    require_posix_signals()
    assert describe_exit(-signal.SIGKILL) == "was ended by SIGKILL"
    assert describe_exit(-200) == "was ended by signal 200"


def test_stopped_worker_is_replaced(tmp_path: Path) -> None:
    """SIGSTOP stops all threads, like a deadlock that holds the interpreter."""
    requires(hasattr(signal, "SIGSTOP"), "this system can't stop a process")
    bundle_id = promote(tmp_path)
    both_ready = f'preptime_workers_ready{{bundle="{bundle_id}"}} 2'
    with running_server(
        tmp_path,
        PREPTIME_WORKERS="2",
        PREPTIME_WORKER_TIMEOUT_SECONDS="3",
        PREPTIME_HEALTH_PORT=str(health := free_port()),
    ) as server:
        server.wait_until("/metrics", both_ready, port=health)
        server.wait_until("/")
        stopped, other = worker_ids(server)
        os.kill(stopped, signal.SIGSTOP)
        replaced = 'preptime_workers_replaced_total{cause="unresponsive"} 1'
        server.wait_until("/metrics", replaced, port=health)
        server.wait_until("/metrics", both_ready, port=health)
        assert other in worker_ids(server)
        assert stopped not in worker_ids(server)
        assert server.get_response("/healthz", port=health) == (200, '{"status":"ok"}')
        assert server.stop() == 0
    assert f"(process {stopped}) didn't respond for more than 3 s and was killed." in server.stderr_text()


def test_killed_worker_is_counted_and_logged(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        worker = int(server.wait_until("/").split()[0])
        os.kill(worker, KILL)
        server.wait_until("/metrics", 'preptime_workers_replaced_total{cause="ended"} 1', port=health)
        assert server.stop() == 0
    assert f"Worker 1 (process {worker}) was ended by SIGKILL. Process " in server.stderr_text()


def test_hangup_replaces_workers_without_counting(tmp_path: Path) -> None:
    requires(hasattr(signal, "SIGHUP"), "this system has no SIGHUP")
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        first = int(server.wait_until("/").split()[0])
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: f"Worker 1 (process {first}) is replaced by process " in server.stderr_text())
        assert int(server.wait_until("/").split()[0]) != first
        metrics = server.get_response("/metrics", port=health)[1]
        assert 'preptime_workers_replaced_total{cause="ended"} 0.0' in metrics
        assert server.stop() == 0


def test_server_log_has_only_own_messages(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until("/")
        assert server.stop() == 0
    wait_for(lambda: "Stopped." in server.stderr_text())
    text = server.stderr_text().lower()
    assert "granian" not in text
    assert "see ya" not in text
    assert '"message":"starting: 1 worker, port ' in text
    assert '"message":"stopping. running requests can finish."' in text
