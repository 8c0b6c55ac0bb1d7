"""The server as processes: start, stop, kill, and cleanup."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from preptime.api.metrics_files import is_locked
from preptime.api.metrics_store import WorkerState
from preptime.api.server import (
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
    NO_CHAMPION_REASON,
    format_ready_line,
    measure_log_files,
)
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.settings import Settings
from tests.api.processes import (
    CONSTANT_APP,
    SERVE_COMMAND,
    START_SECONDS,
    Server,
    clean_environment,
    free_port,
    running_server,
)
from tests.bundle.factories import DAY, put_bundle
from tests.bundle.test_imports import TRAINING_ONLY, modules_loaded_after
from tests.requirements import requires

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def promote(folder: Path, shift: float = 1.0, *, damaged: bool = False) -> str:
    """Put a new bundle into the store in `folder` and make it the champion. Return its ID."""
    store = Store.open(str(folder / "models"))
    bundle_id = put_bundle(store, shift=shift)
    if damaged:
        (folder / "models" / "bundles" / bundle_id / "model.onnx").write_bytes(b"damaged")
    log = ChampionLog(store)
    draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="test", by="test", at="now")
    log.append(draft, expected_champion=log.current())
    return bundle_id


def logged_request_ids(folder: Path) -> list[str]:
    """Return the request IDs in the prediction log. Ignores an incomplete line at the end of a killed worker's file."""
    files = (folder / "predictions").glob("*.jsonl")
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return sorted((str(json.loads(line)["request_id"]) for line in lines), key=int)


def run_start(folder: Path, settings: Mapping[str, str], wrapper: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run `preptime serve`, or a command that runs it. Return its exit status and its standard error."""
    completed = subprocess.run(
        [*wrapper, sys.executable, *SERVE_COMMAND],
        cwd=folder,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    return completed.returncode, completed.stderr


def run_failing_start(folder: Path, **settings: str) -> str:
    """Return the standard error of `preptime serve` when it fails to start with exit status 2."""
    status, stderr = run_start(folder, settings)
    assert status == 2, stderr
    return stderr


def is_listening(port: int) -> bool:
    """Return whether a server listens on the port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_posix_signals() -> None:
    requires(os.name == "posix", "on this system, a process can't handle its termination")


def test_server_sigterm_writes_all_recorded_predictions(tmp_path: Path) -> None:
    require_posix_signals()
    bundle_id = promote(tmp_path)
    with running_server(tmp_path, PREPTIME_WORKERS="2") as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundle_id}"}} 2')
        bodies = [server.get(f"/record?{number}") for number in range(60)]
        assert server.stop() == 0
    assert {body.split()[1] for body in bodies} == {bundle_id}
    assert logged_request_ids(tmp_path) == [str(number) for number in range(60)]
    assert "Traceback" not in server.stderr_text()
    for line in server.stderr_text().splitlines():
        assert {"time", "level", "logger", "process", "message"} <= json.loads(line).keys()


@pytest.mark.parametrize("to_all", [False, True])
def test_server_sigterm_finishes_running_requests(tmp_path: Path, to_all: bool) -> None:
    """Containers send SIGTERM to the main process. A terminal or systemd sends it to all processes."""
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path) as server:
        worker = int(server.wait_until("/").split()[0])
        bodies: list[str] = []
        client = threading.Thread(target=lambda: bodies.append(server.get("/slow")))
        client.start()
        time.sleep(0.3)
        if to_all:
            os.kill(worker, signal.SIGTERM)
        assert server.stop() == 0
        client.join()
        assert bodies[0].split()[0] == str(worker)
        with pytest.raises(OSError, match="refused"):
            server.get_response("/")


def send_to_other_thread(pid: int, number: int) -> None:
    """Send a signal to another thread of a process than its main thread, as Linux can do with any signal."""
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name)):
        blocked = (task / "status").read_text(encoding="ascii").partition("SigBlk:")[2].split()[0]
        if int(task.name) != pid and int(blocked, 16) == 0:
            assert ctypes.CDLL(None).tgkill(pid, int(task.name), number) == 0
            return
    raise AssertionError(f"process {pid} has no other thread")


def test_server_stops_if_another_thread_gets_sigterm(tmp_path: Path) -> None:
    requires(sys.platform == "linux", "only Linux can send a signal to a thread of another process")
    promote(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until("/")
        send_to_other_thread(server.process.pid, signal.SIGTERM)
        assert server.process.wait(START_SECONDS) == 0
    assert "was killed" not in server.stderr_text()


def test_worker_stops_if_another_thread_gets_sigterm(tmp_path: Path) -> None:
    requires(sys.platform == "linux", "only Linux can send a signal to a thread of another process")
    promote(tmp_path)
    with running_server(tmp_path) as server:
        worker = int(server.wait_until("/").split()[0])
        send_to_other_thread(worker, signal.SIGTERM)
        end = time.monotonic() + START_SECONDS
        while Path(f"/proc/{worker}").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert int(server.wait_until("/").split()[0]) != worker
    assert "ended with exit status 0" in server.stderr_text()


def test_server_sigterm_ends_requests_after_the_timeout(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_SHUTDOWN_TIMEOUT_SECONDS="1") as server:
        server.wait_until("/")

        def send_request() -> None:
            with pytest.raises((OSError, HTTPException)):
                server.get("/forever")

        client = threading.Thread(target=send_request)
        client.start()
        time.sleep(0.3)
        assert server.stop() == 0
        client.join(START_SECONDS)
        assert not client.is_alive()


def json_lines(server: Server) -> list[dict[str, object]]:
    """Return the documents on standard error. Every line has to be one."""
    documents = [json.loads(line) for line in server.stderr_text().splitlines()]
    assert all({"time", "level", "logger", "process", "message"} <= document.keys() for document in documents)
    return documents


def test_server_stops_while_a_request_without_client_runs(tmp_path: Path) -> None:
    """A thread of the server must not return to an interpreter that is being finalized: it would abort the process."""
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until("/")
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.1)
        assert server.stop() == 0
    messages = [str(document["message"]) for document in json_lines(server)]
    assert not any("panic" in message for message in messages)
    assert messages[-1] == "Stopped."
    assert not any("was killed" in message for message in messages)


def test_server_writes_only_json_on_stderr(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_WORKERS="2", PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        server.wait_until("/healthz", port=health)
        worker = int(server.wait_until("/").split()[0])
        assert server.get_response("/fail")[0] == 500
        for port in (server.port, health):
            for content in (b"", b"GET /metrics", b"not HTTP\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(content)
        os.kill(worker, KILL)
        server.wait_until("/metrics", 'preptime_workers_replaced_total{cause="ended"} 1', port=health)
        assert server.stop() == 0
    documents = json_lines(server)
    assert any("a failing application" in json.dumps(document) for document in documents)


def test_server_whose_workers_fail_at_start_exits(tmp_path: Path) -> None:
    require_posix_signals()
    with running_server(tmp_path, (str(CONSTANT_APP), "broken")) as server:
        assert server.process.wait(START_SECONDS) == 1
    documents = json_lines(server)
    failures = [document for document in documents if document["message"] == "The worker failed."]
    assert len(failures) == 2
    assert "ValueError: can't start with Service" in str(failures[0]["traceback"])
    messages = [str(document["message"]) for document in documents]
    assert "Every worker ended soon after its start. See the earlier messages." in messages
    assert messages[-1] == "Stopped."


def test_serve_unknown_kind_of_store_is_logged_as_a_sentence(tmp_path: Path) -> None:
    """Only a worker imports the drivers of stores."""
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_STORE="dir://x") as server:
        assert server.process.wait(START_SECONDS) == 1
    failures = [document for document in json_lines(server) if document["severity"] == "CRITICAL"]
    assert len(failures) == 2
    for failure in failures:
        assert str(failure["message"]).startswith("dir://x: ")
        assert "Use a folder or a gs:// URL" in str(failure["message"])
        assert "traceback" not in failure


def test_slow_headers_dont_affect_the_health_port(tmp_path: Path) -> None:
    """Sends more incomplete requests than the API's port accepts. It closes them after the header timeout."""
    require_posix_signals()
    import resource

    needed = MAX_CONNECTIONS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = max(soft, needed + 200)
    requires(hard == resource.RLIM_INFINITY or hard >= open_files, f"this process can't open {needed} sockets")
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, hard))
    promote(tmp_path)
    with (
        running_server(
            tmp_path, PREPTIME_HEALTH_PORT=str(health := free_port()), PREPTIME_HEADER_TIMEOUT_SECONDS="2"
        ) as server,
        ExitStack() as connections,
    ):
        server.wait_until("/")
        slow = [
            connections.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS))
            for _ in range(needed)
        ]
        for connection in slow:
            with suppress(OSError):  # The server has already closed it.
                connection.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        for _ in range(5):
            assert server.get_response("/healthz", port=health) == (200, '{"status":"ok"}')
            assert server.get_response("/readyz", port=health)[0] == 200
        assert slow[0].recv(100) == b""
        server.wait_until("/")


def test_large_headers_are_rejected(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until("/")
        connection = HTTPConnection("127.0.0.1", server.port, timeout=START_SECONDS)
        connection.request("GET", "/", headers={"X-A": "a" * (MAX_HEADER_BYTES // 2)})
        assert connection.getresponse().status == 200
        connection.close()
        connection.request("GET", "/", headers={"X-A": "a" * (2 * MAX_HEADER_BYTES)})
        assert connection.getresponse().status == 431
        connection.close()


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
        server.wait_until("/metrics", 'preptime_requests_total{endpoint="/record",key="test",status="200"} 10')


def test_worker_killed_repeatedly_leaves_other_workers_alive(tmp_path: Path) -> None:
    require_posix_signals()
    bundle_id = promote(tmp_path)
    both_ready = f'preptime_workers_ready{{bundle="{bundle_id}"}} 2'
    with running_server(tmp_path, PREPTIME_WORKERS="2", PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        server.wait_until("/metrics", both_ready, port=health)
        server.wait_until("/")  # A worker reports that it's ready shortly before it listens.
        victim, other = worker_ids(server)
        for _ in range(3):
            os.kill(victim, KILL)
            assert "preptime_workers 1.0\n" in server.wait_until("/metrics", "preptime_workers 1.0\n", port=health)
            server.wait_until("/metrics", both_ready, port=health)
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
            ("POST", "/healthz", 405, 37),
            ("DELETE", "/metrics", 405, 37),
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
    """Return the process IDs of both workers."""
    ids: set[int] = set()
    while len(ids) < 2:
        ids.add(int(server.get("/").split()[0]))
    return ids


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
        (orphan,) = tmp_path.glob("preptime-serve-*")
        killed.process.kill()
        killed.process.wait()
        end = time.monotonic() + START_SECONDS
        while any(is_locked(path) for path in orphan.iterdir()) and time.monotonic() < end:
            time.sleep(0.05)  # The worker stops after its main process.
    with running_server(tmp_path) as first:
        first.wait_until("/")
        (living,) = tmp_path.glob("preptime-serve-*")
        assert living != orphan
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
    loaded = modules_loaded_after("import preptime.api.server")
    assert {"granian", "msgspec"} <= loaded
    assert loaded.isdisjoint({"numpy", "onnxruntime", "flask", "preptime.bundle"})


def test_stdout_log_setting_keeps_other_output_off_stdout(tmp_path: Path) -> None:
    require_posix_signals()
    promote(tmp_path)
    with running_server(tmp_path, PREPTIME_PREDICTION_LOG="stdout", PREPTIME_WORKERS="2") as server:
        server.wait_until("/")
        for number in range(50):
            server.get(f"/record?{number}")
        wait_for(lambda: '"Ready: ' in server.stderr_text())
        assert server.stop() == 0
    lines = (tmp_path / "output.txt").read_bytes().splitlines()
    assert sorted(int(json.loads(line)["request_id"]) for line in lines) == list(range(50))
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize("setting", ["PREPTIME_PORT", "PREPTIME_HEALTH_PORT"])
def test_serve_port_in_use_names_the_setting(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stderr = run_failing_start(tmp_path, **{"AIKEY": "x", "PREPTIME_PORT": str(free_port()), setting: str(port)})
    hint = f"Stop the other program, or set another {setting}."
    assert stderr.splitlines() == [f"Error: Port {port} of 127.0.0.1 is in use by another program. {hint}"]


def test_serve_same_port_twice_is_rejected(tmp_path: Path) -> None:
    port = str(free_port())
    stderr = run_failing_start(tmp_path, AIKEY="x", PREPTIME_PORT=port, PREPTIME_HEALTH_PORT=port)
    assert stderr.splitlines()[0].startswith(f"Error: PREPTIME_HEALTH_PORT and PREPTIME_PORT are both {port}.")


def test_serve_port_of_another_server_is_rejected(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.wait_until("/")
        assert "is in use" in run_failing_start(tmp_path, AIKEY="x", PREPTIME_PORT=str(server.port))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "No key is configured"),
        ({"AIKEY": "x"}, "The store models doesn't exist. Correct PREPTIME_STORE, or create the store: preptime "),
        ({"AIKEY": "x", "PREPTIME_STORE": "file:///no/such/store"}, "The store /no/such/store doesn't exist."),
        ({"AIKEY": "x", "PREPTIME_HOST": "192.0.2.1"}, "AIKEY is only for servers on a loopback"),
        ({"AIKEY": "x", "PREPTIME_HOST": "no.such.host.invalid"}, "AIKEY is only for servers on a loopback"),
        ({"AIKEY": "x", "PREPTIME_OPERATOR_KEYS": "hidden-value"}, "PREPTIME_OPERATOR_KEYS: an entry"),
        ({"AIKEY": "x", "PREPTIME_WORKER": "2"}, "Did you mean PREPTIME_WORKERS?"),
        ({"AIKEY": "x", "PREPTIME_PREDICTION_LOG_DAYS": "1000000"}, "expected a whole number from 1 to 36500, found"),
        ({"AIKEY": "x", "AIP_HEALTH_ROUTE": "/v1/bundle"}, "AIP_HEALTH_ROUTE is /v1/bundle, which is another endpoint"),
    ],
)
def test_serve_invalid_settings_fail_before_start(tmp_path: Path, settings: dict[str, str], text: str) -> None:
    stderr = run_failing_start(tmp_path, **settings)
    assert text in stderr
    assert "hidden-value" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_serve_log_on_closed_stdout_fails_before_start(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no shell that closes standard output")
    settings = {"AIKEY": "x", "PREPTIME_PREDICTION_LOG": "stdout"}
    status, stderr = run_start(tmp_path, settings, ("sh", "-c", 'exec "$@" >&-', "sh"))
    assert status == 2
    (line,) = stderr.splitlines()
    assert line.startswith("Error: PREPTIME_PREDICTION_LOG is stdout, but standard output is closed. Set ")
    assert list(tmp_path.iterdir()) == []


def test_serve_store_url_with_two_slashes_fails_before_start(tmp_path: Path) -> None:
    status, stderr = run_start(tmp_path, {"AIKEY": "x", "PREPTIME_STORE": "file://models"})
    assert status == 3
    hint = f"Use the path models, or {(tmp_path / 'models').as_uri()}."
    assert stderr.splitlines() == [f"Error: file://models names no absolute folder. {hint}"]
    assert list(tmp_path.iterdir()) == []


def test_serve_missing_env_file_fails(tmp_path: Path) -> None:
    completed = subprocess.run(
        [sys.executable, *SERVE_COMMAND, "--env-file", "none.env"],
        cwd=tmp_path,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 2
    assert "none.env" in completed.stderr


def test_serve_logs_changed_settings_without_secrets(tmp_path: Path) -> None:
    promote(tmp_path)
    (tmp_path / ".env").write_text("PREPTIME_PREDICTIONS_URL=hidden-value\nPREPTIME_MAX_ORDERS=77\n", encoding="utf-8")
    with running_server(tmp_path, SERVE_COMMAND) as server:
        server.wait_until("/readyz")
    messages = [str(json.loads(line)["message"]) for line in server.stderr_text().splitlines()]
    (settings,) = [message for message in messages if message.startswith("Settings: ")]
    changed = {
        f"PREPTIME_PORT={server.port}",
        "PREPTIME_MAX_ORDERS=77",
        "PREPTIME_CHAMPION_POLL_SECONDS=0.1",
        "PREPTIME_PREDICTIONS_URL=set",
        "AIKEY=set",
    }
    assert set(settings.removeprefix("Settings: ").split(", ")) == changed
    assert "hidden-value" not in server.stderr_text()


def test_serve_prints_one_ready_line_with_the_bundle(tmp_path: Path) -> None:
    bundle_id = promote(tmp_path)
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_WORKERS="2") as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundle_id}"}} 2')
        lines = wait_for_stdout(server)
        assert lines == [f"Ready: {server.url} (bundle {bundle_id}), docs at {server.url}/docs"]
        assert server.get_response("/docs")[0] == 200


def test_serve_without_champion_prints_the_reason(tmp_path: Path) -> None:
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        (line,) = wait_for_stdout(server)
        reason = "The store has no champion yet. Train or promote a bundle. The server loads it automatically."
        status, body = server.get_response("/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "reason": reason, "store_available": True})
        readiness = json.loads(server.wait_until("/readyz", status=503, port=health))
        assert (readiness["reasons"], readiness["store_available"]) == ([reason], True)
    assert line == f"Ready: {server.url} (no champion yet: {NO_CHAMPION_REASON}), docs at {server.url}/docs"
    warnings = [str(document["message"]) for document in json_lines(server) if document["level"] == "warning"]
    assert [message.partition(". ")[0] for message in warnings] == [
        "The store models has no champion, so the server can't predict yet"
    ]


def test_serve_ignores_kubernetes_service_links(tmp_path: Path) -> None:
    """A Service named preptime sets PREPTIME_PORT to the URL of the Service, for example."""
    links = {
        "PREPTIME_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PREPTIME_SERVICE_PORT_HTTP": "8000",
        "PREPTIME_HEALTH_PORT": "tcp://10.0.0.1:9000",
    }
    with running_server(tmp_path, SERVE_COMMAND, **links) as server:
        server.wait_until("/healthz")
    (message,) = [str(document["message"]) for document in json_lines(server) if "Kubernetes" in str(document)]
    assert message.startswith(f"Ignored variables: {', '.join(sorted(links))}. ")
    assert "enableServiceLinks: false" in message


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        (str(IPv4Address(0)), "http://localhost:8000"),
        ("::", "http://localhost:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("api.example", "http://api.example:8000"),
    ],
)
def test_ready_line_has_a_url_for_every_host(host: str, url: str) -> None:
    line = format_ready_line(Settings(host=host), [])
    assert line == f"Ready: {url} (no champion yet: {NO_CHAMPION_REASON}), docs at {url}/docs"


def test_ready_line_without_champion_has_the_error_of_a_worker() -> None:
    state = WorkerState(updated_at=time.time(), ready=False, champion_error="No store.")
    assert "(no champion yet: No store)" in format_ready_line(Settings(), [state])


def test_log_files_are_measured(tmp_path: Path) -> None:
    assert measure_log_files(tmp_path / "missing") == (0, 0)
    for name, size in (("predictions-2015-06-17-1-a.jsonl", 3), ("predictions-2015-06-18-1-b.jsonl", 4), ("other", 9)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert measure_log_files(tmp_path) == (7, 2)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, for at most `START_SECONDS`."""
    end = time.monotonic() + START_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def wait_for_stdout(server: Server) -> list[str]:
    """Wait until the server writes to standard output, and half a second more. Return the lines."""
    wait_for(lambda: bool(server.stdout_text()))
    time.sleep(0.5)
    return server.stdout_text().splitlines()
