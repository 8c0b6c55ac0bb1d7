"""The server as processes: how it starts, ends, is killed, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from preptime.api.metrics_store import is_locked
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.api.processes import SERVE_COMMAND, START_SECONDS, CONSTANT_APP, Server, clean_environment, free_port, running_server
from tests.bundle.factories import DAY, put_bundle
from tests.bundle.test_imports import TRAINING_ONLY, loaded_after
from tests.requirements import requires

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def promote(folder: Path, shift: float = 1.0, *, damaged: bool = False) -> str:
    """A new bundle is champion of the store in `folder`."""
    store = Store.open(str(folder / "models"))
    bundle_id = put_bundle(store, shift=shift)
    if damaged:
        (folder / "models" / "bundles" / bundle_id / "model.onnx").write_bytes(b"damaged")
    log = ChampionLog(store)
    draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="test", by="test", at="now")
    log.append(draft, expected_champion=log.current())
    return bundle_id


def logged_request_ids(folder: Path) -> list[str]:
    """The requests in the prediction log; half a line at the end of a killed worker's file is passed over."""
    files = (folder / "predictions").glob("*.jsonl")
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return sorted((str(json.loads(line)["request_id"]) for line in lines), key=int)


def run_failing_start(folder: Path, **given: str) -> str:
    """What `preptime serve` says when it does not start."""
    ended = subprocess.run(
        [sys.executable, *SERVE_COMMAND], cwd=folder, env=clean_environment(given), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


def is_listening(port: int) -> bool:
    """Whether somebody does, on loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_posix_signals() -> None:
    requires(os.name == "posix", "this system ends a process without asking it")


def test_server_sigterm_writes_all_recorded_predictions(tmp_path: Path) -> None:
    require_posix_signals()
    bundle_id = promote(tmp_path)
    with running_server(tmp_path, PREPTIME_WORKERS="2") as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundle_id}"}} 2')
        answers = [server.get(f"/record?{number}") for number in range(60)]
        assert server.stop() == 0
    assert {answer.split()[1] for answer in answers} == {bundle_id}
    assert logged_request_ids(tmp_path) == [str(number) for number in range(60)]
    assert "Traceback" not in server.stderr_text()
    for line in server.stderr_text().splitlines():
        assert {"time", "level", "logger", "process", "message"} <= json.loads(line).keys()


@pytest.mark.parametrize("to_all", [False, True])
def test_server_sigterm_finishes_running_requests(tmp_path: Path, to_all: bool) -> None:
    """To the main process alone, as a container does it, and to every process at once, as a terminal or systemd."""
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path) as server:
        worker = int(server.wait_until("/").split()[0])
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(server.get("/slow")))
        asking.start()
        time.sleep(0.3)
        if to_all:
            os.kill(worker, signal.SIGTERM)
        assert server.stop() == 0
        asking.join()
        assert answers[0].split()[0] == str(worker)
        with pytest.raises(OSError, match="refused"):
            server.get_response("/")


def test_server_sigterm_ends_requests_after_the_timeout(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_SHUTDOWN_TIMEOUT_SECONDS="1") as server:
        server.wait_until("/")

        def ask() -> None:
            with pytest.raises((OSError, HTTPException)):
                server.get("/forever")

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)
        assert server.stop() == 0
        asking.join(START_SECONDS)
        assert not asking.is_alive()


def test_killed_server_loses_at_most_one_second_of_log(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path) as server:
        worker = int(server.wait_until("/").split()[0])
        for number in range(200):
            server.get(f"/record?{number}")
        time.sleep(1.0)
        server.get("/record?200")
        server.process.kill()
        os.kill(worker, KILL)
        server.process.wait()
    assert logged_request_ids(tmp_path)[:200] == [str(number) for number in range(200)]


def test_killed_worker_is_replaced_and_keeps_counts(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path) as server:
        first = int(server.wait_until("/").split()[0])
        for number in range(10):
            server.get(f"/record?{number}")
        os.kill(first, KILL)
        second = int(server.wait_until("/").split()[0])
        assert second != first
        server.wait_until("/metrics", 'preptime_requests_total{endpoint="/record",status="200",key="test"} 10')


def test_worker_killed_repeatedly_leaves_other_workers_alive(tmp_path: Path) -> None:
    require_posix_signals()
    bundle_id = promote(tmp_path)
    both = f'preptime_workers_ready{{bundle="{bundle_id}"}} 2'
    with running_server(tmp_path, PREPTIME_WORKERS="2", PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        server.wait_until("/metrics", both, port=health)
        victim, other = worker_ids(server)
        for _ in range(3):
            os.kill(victim, KILL)
            assert "preptime_workers 1\n" in server.wait_until("/metrics", "preptime_workers 1\n", port=health)
            server.wait_until("/metrics", both, port=health)
            (victim,) = worker_ids(server) - {other}
        assert server.stop() == 0


def test_health_port_accepts_only_get_and_head(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        server.wait_until("/readyz", port=health)
        for method, path, status, length in (
            ("GET", "/healthz", 200, 15),
            ("HEAD", "/healthz", 200, 0),
            ("HEAD", "/nothing", 404, 0),
            ("POST", "/healthz", 405, 32),
            ("DELETE", "/metrics", 405, 32),
        ):
            connection = HTTPConnection("127.0.0.1", health, timeout=START_SECONDS)
            connection.request(method, path)
            response = connection.getresponse()
            assert (response.status, len(response.read())) == (status, length)
            assert response.headers["Server"].strip() == "preptime"
            assert response.headers["Allow"] == ("GET, HEAD" if status == 405 else None)
            connection.close()
        assert server.stop() == 0


def test_single_worker_killed_twice_ends_the_server(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path) as server:
        for _ in range(2):
            first = server.wait_until("/").split()[0]
            os.kill(int(first), KILL)
        assert server.process.wait(START_SECONDS) == 1


def worker_ids(server: Server) -> set[int]:
    """The processes that answer."""
    found: set[int] = set()
    while len(found) < 2:
        found.add(int(server.get("/").split()[0]))
    return found


def test_workers_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until("/record?1")
        server.process.kill()
        server.process.wait()
        end = time.monotonic() + START_SECONDS
        while (is_listening(server.port) or logged_request_ids(tmp_path) != ["1"]) and time.monotonic() < end:
            time.sleep(0.05)
        assert not is_listening(server.port)
    assert logged_request_ids(tmp_path) == ["1"]


def test_server_start_removes_only_orphaned_metrics_folders(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path) as killed:
        killed.wait_until("/")
        (left,) = tmp_path.glob("preptime-serve-*")
        killed.process.kill()
        killed.process.wait()
        end = time.monotonic() + START_SECONDS
        while any(is_locked(path) for path in left.iterdir()) and time.monotonic() < end:
            time.sleep(0.05)  # its worker ends by itself
    with running_server(tmp_path) as first:
        first.wait_until("/")
        (living,) = tmp_path.glob("preptime-serve-*")
        assert living != left
        with running_server(tmp_path) as second:
            second.wait_until("/")
            assert living.is_dir()
            assert second.stop() == 0
        assert first.stop() == 0
    assert not list(tmp_path.glob("preptime-*"))


def test_server_follows_champions_and_rejects_a_damaged_one(tmp_path: Path) -> None:
    health = free_port()
    settings = {"PREPTIME_WORKERS": "2", "PREPTIME_HEALTH_PORT": str(health)}
    with running_server(tmp_path, SERVE_COMMAND, **settings) as server:
        server.wait_until("/healthz")
        server.wait_until("/healthz", port=health)
        assert server.get_response("/readyz")[0] == 503
        server.wait_until("/readyz", status=503, port=health)
        first = promote(tmp_path, 1.0)
        server.wait_until("/readyz", first)
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{first}"}} 2', port=health)
        second = promote(tmp_path, 2.0, damaged=True)
        server.wait_until("/metrics", f'preptime_workers_rejecting_champion{{bundle="{second}"}} 2')
        assert first in server.wait_until("/readyz", "bytes")
        assert "bytes" in server.wait_until("/readyz", first, port=health)
        third = promote(tmp_path, 3.0)
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{third}"}} 2', port=health)
        server.wait_until("/readyz", third)
        assert server.get_response("/elsewhere", port=health)[0] == 404


def test_worker_loads_no_training_library(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path, (str(CONSTANT_APP), "real")) as server:
        loaded = set(server.wait_until("/test/modules").split())
    assert {"preptime.api.app", "flask", "onnxruntime"} <= loaded
    assert loaded.isdisjoint(TRAINING_ONLY)


def test_main_process_loads_no_prediction_library() -> None:
    loaded = loaded_after("import preptime.api.server")
    assert {"granian", "msgspec"} <= loaded
    assert loaded.isdisjoint({"numpy", "onnxruntime", "flask", "preptime.bundle"})


def test_stdout_log_setting_keeps_other_output_off_stdout(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_PREDICTION_LOG="stdout", PREPTIME_WORKERS="2") as server:
        server.wait_until("/")
        for number in range(50):
            server.get(f"/record?{number}")
        assert server.stop() == 0
    lines = (tmp_path / "output.txt").read_bytes().splitlines()
    assert sorted(int(json.loads(line)["request_id"]) for line in lines) == list(range(50))
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize("setting", ["PREPTIME_PORT", "PREPTIME_HEALTH_PORT"])
def test_serve_port_in_use_names_the_setting(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = run_failing_start(tmp_path, **{"AIKEY": "x", "PREPTIME_PORT": str(free_port()), setting: str(port)})
    assert said.splitlines() == [
        f"Port {port} of 127.0.0.1 is in use by another program. Stop the other program, or set another {setting}."
    ]


def test_serve_same_port_twice_is_rejected(tmp_path: Path) -> None:
    port = str(free_port())
    said = run_failing_start(tmp_path, AIKEY="x", PREPTIME_PORT=port, PREPTIME_HEALTH_PORT=port)
    assert said.splitlines()[0].startswith(f"PREPTIME_HEALTH_PORT is {port}, and so is PREPTIME_PORT.")


def test_serve_port_of_another_server_is_rejected(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.wait_until("/")
        assert "is in use" in run_failing_start(tmp_path, AIKEY="x", PREPTIME_PORT=str(server.port))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "No key is configured"),
        ({"AIKEY": "x", "PREPTIME_HOST": "192.0.2.1"}, "AIKEY is a plain key"),
        ({"AIKEY": "x", "PREPTIME_HOST": "no.such.host.invalid"}, "AIKEY is a plain key"),
        ({"AIKEY": "x", "PREPTIME_OPERATOR_KEYS": "geheim"}, "PREPTIME_OPERATOR_KEYS: an entry"),
        ({"AIKEY": "x", "PREPTIME_WORKER": "2"}, "Did you mean PREPTIME_WORKERS?"),
    ],
)
def test_serve_invalid_settings_fail_before_start(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    said = run_failing_start(tmp_path, **given)
    assert words in said
    assert "geheim" not in said
    assert list(tmp_path.iterdir()) == []


def test_serve_missing_env_file_fails(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, *SERVE_COMMAND, "--env-file", "none.env"],
        cwd=tmp_path,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "none.env" in ended.stderr


def test_serve_logs_changed_settings_without_secrets(tmp_path: Path) -> None:
    promote(tmp_path)
    (tmp_path / ".env").write_text("AIKEY=geheim\nPREPTIME_WORKERS=1\n", encoding="utf-8")
    with running_server(tmp_path, SERVE_COMMAND, AIKEY="") as server:
        server.wait_until("/readyz")
    assert "PREPTIME_STORE=models" in server.stderr_text()
    assert "AIKEY=set" in server.stderr_text()
    assert "geheim" not in server.stderr_text()
