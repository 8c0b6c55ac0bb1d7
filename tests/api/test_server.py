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
from tests.api.processes import REAL, START_SECONDS, CONSTANT_APP, Server, environment, free_port, started
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


def remembered(folder: Path) -> list[str]:
    """The requests in the prediction log; half a line at the end of a killed worker's file is passed over."""
    files = (folder / "predictions").glob("*.jsonl")
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return sorted((str(json.loads(line)["request_id"]) for line in lines), key=int)


def refused_to_start(folder: Path, **given: str) -> str:
    """What `preptime serve` says when it does not start."""
    ended = subprocess.run(
        [sys.executable, *REAL], cwd=folder, env=environment(given), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


def listens(port: int) -> bool:
    """Whether somebody does, on loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def signals_are_gentle() -> None:
    requires(os.name == "posix", "this system ends a process without asking it")


def test_workers_answer_and_after_sigterm_all_that_was_taken_is_written(tmp_path: Path) -> None:
    signals_are_gentle()
    bundle_id = promote(tmp_path)
    with started(tmp_path, PREPTIME_WORKERS="2") as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundle_id}"}} 2')
        answers = [server.get(f"/record?{number}") for number in range(60)]
        assert server.stop() == 0
    assert {answer.split()[1] for answer in answers} == {bundle_id}
    assert remembered(tmp_path) == [str(number) for number in range(60)]
    assert "Traceback" not in server.errors()
    for line in server.errors().splitlines():
        assert {"time", "level", "logger", "process", "message"} <= json.loads(line).keys()


@pytest.mark.parametrize("to_all", [False, True])
def test_sigterm_lets_what_is_under_way_finish(tmp_path: Path, to_all: bool) -> None:
    """To the main process alone, as a container does it, and to every process at once, as a terminal or systemd."""
    signals_are_gentle()
    promote(tmp_path)
    with started(tmp_path) as server:
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
            server.ask("/")


def test_what_outlasts_the_grace_time_is_ended(tmp_path: Path) -> None:
    signals_are_gentle()
    promote(tmp_path)
    with started(tmp_path, PREPTIME_SHUTDOWN_TIMEOUT_SECONDS="1") as server:
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


def test_a_killed_server_loses_at_most_the_last_second(tmp_path: Path) -> None:
    promote(tmp_path)
    with started(tmp_path) as server:
        worker = int(server.wait_until("/").split()[0])
        for number in range(200):
            server.get(f"/record?{number}")
        time.sleep(1.0)
        server.get("/record?200")
        server.process.kill()
        os.kill(worker, KILL)
        server.process.wait()
    assert remembered(tmp_path)[:200] == [str(number) for number in range(200)]


def test_a_killed_worker_comes_back_and_no_count_is_lost(tmp_path: Path) -> None:
    promote(tmp_path)
    with started(tmp_path) as server:
        first = int(server.wait_until("/").split()[0])
        for number in range(10):
            server.get(f"/record?{number}")
        os.kill(first, KILL)
        second = int(server.wait_until("/").split()[0])
        assert second != first
        server.wait_until("/metrics", 'preptime_requests_total{endpoint="/record",status="200",key="test"} 10')


def test_a_worker_that_is_killed_again_and_again_takes_no_other_with_it(tmp_path: Path) -> None:
    signals_are_gentle()
    bundle_id = promote(tmp_path)
    both = f'preptime_workers_ready{{bundle="{bundle_id}"}} 2'
    with started(tmp_path, PREPTIME_WORKERS="2", PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
        server.wait_until("/metrics", both, port=health)
        victim, other = two_workers(server)
        for _ in range(3):
            os.kill(victim, KILL)
            assert "preptime_workers 1\n" in server.wait_until("/metrics", "preptime_workers 1\n", port=health)
            server.wait_until("/metrics", both, port=health)
            (victim,) = two_workers(server) - {other}
        assert server.stop() == 0


def test_the_health_port_answers_two_methods_and_says_nothing_of_the_inside(tmp_path: Path) -> None:
    promote(tmp_path)
    with started(tmp_path, PREPTIME_HEALTH_PORT=str(health := free_port())) as server:
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


def test_a_lone_worker_that_dies_twice_within_seconds_ends_the_server(tmp_path: Path) -> None:
    signals_are_gentle()
    promote(tmp_path)
    with started(tmp_path) as server:
        for _ in range(2):
            first = server.wait_until("/").split()[0]
            os.kill(int(first), KILL)
        assert server.process.wait(START_SECONDS) == 1


def two_workers(server: Server) -> set[int]:
    """The processes that answer."""
    found: set[int] = set()
    while len(found) < 2:
        found.add(int(server.get("/").split()[0]))
    return found


def test_workers_end_when_their_main_process_was_killed(tmp_path: Path) -> None:
    promote(tmp_path)
    with started(tmp_path) as server:
        server.wait_until("/record?1")
        server.process.kill()
        server.process.wait()
        end = time.monotonic() + START_SECONDS
        while (listens(server.port) or remembered(tmp_path) != ["1"]) and time.monotonic() < end:
            time.sleep(0.05)
        assert not listens(server.port)
    assert remembered(tmp_path) == ["1"]


def test_the_next_start_removes_what_a_killed_server_left_and_nothing_of_one_that_lives(tmp_path: Path) -> None:
    signals_are_gentle()
    promote(tmp_path)
    with started(tmp_path) as killed:
        killed.wait_until("/")
        (left,) = tmp_path.glob("preptime-serve-*")
        killed.process.kill()
        killed.process.wait()
        end = time.monotonic() + START_SECONDS
        while any(is_locked(path) for path in left.iterdir()) and time.monotonic() < end:
            time.sleep(0.05)  # its worker ends by itself
    with started(tmp_path) as first:
        first.wait_until("/")
        (living,) = tmp_path.glob("preptime-serve-*")
        assert living != left
        with started(tmp_path) as second:
            second.wait_until("/")
            assert living.is_dir()
            assert second.stop() == 0
        assert first.stop() == 0
    assert not list(tmp_path.glob("preptime-*"))


def test_no_champion_then_one_then_a_damaged_one_then_another(tmp_path: Path) -> None:
    health = free_port()
    settings = {"PREPTIME_WORKERS": "2", "PREPTIME_HEALTH_PORT": str(health)}
    with started(tmp_path, REAL, **settings) as server:
        server.wait_until("/healthz")
        server.wait_until("/healthz", port=health)
        assert server.ask("/readyz")[0] == 503
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
        assert server.ask("/elsewhere", port=health)[0] == 404


def test_the_worker_loads_no_library_of_training(tmp_path: Path) -> None:
    promote(tmp_path)
    with started(tmp_path, (str(CONSTANT_APP), "real")) as server:
        loaded = set(server.wait_until("/test/modules").split())
    assert {"preptime.api.fast_path", "flask", "onnxruntime"} <= loaded
    assert loaded.isdisjoint(TRAINING_ONLY)


def test_the_main_process_loads_nothing_that_predicts() -> None:
    loaded = loaded_after("import preptime.api.server")
    assert {"granian", "msgspec"} <= loaded
    assert loaded.isdisjoint({"numpy", "onnxruntime", "flask", "preptime.bundle"})


def test_standard_output_holds_the_prediction_log_and_nothing_else(tmp_path: Path) -> None:
    signals_are_gentle()
    promote(tmp_path)
    with started(tmp_path, PREPTIME_PREDICTION_LOG="stdout", PREPTIME_WORKERS="2") as server:
        server.wait_until("/")
        for number in range(50):
            server.get(f"/record?{number}")
        assert server.stop() == 0
    lines = (tmp_path / "output.txt").read_bytes().splitlines()
    assert sorted(int(json.loads(line)["request_id"]) for line in lines) == list(range(50))
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize("setting", ["PREPTIME_PORT", "PREPTIME_HEALTH_PORT"])
def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused_to_start(tmp_path, **{"AIKEY": "x", "PREPTIME_PORT": str(free_port()), setting: str(port)})
    assert said.splitlines() == [
        f"Port {port} of 127.0.0.1 is in use by another program. Stop what listens there, or set another {setting}."
    ]


def test_two_listeners_on_one_port_are_refused(tmp_path: Path) -> None:
    port = str(free_port())
    said = refused_to_start(tmp_path, AIKEY="x", PREPTIME_PORT=port, PREPTIME_HEALTH_PORT=port)
    assert said.splitlines()[0].startswith(f"PREPTIME_HEALTH_PORT is {port}, and so is PREPTIME_PORT.")


def test_a_second_server_does_not_share_the_port_of_the_first(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        server.wait_until("/")
        assert "is in use" in refused_to_start(tmp_path, AIKEY="x", PREPTIME_PORT=str(server.port))


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
def test_settings_that_cannot_be_are_refused_before_anything_starts(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    said = refused_to_start(tmp_path, **given)
    assert words in said
    assert "geheim" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_settings_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, *REAL, "--env-file", "none.env"],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "none.env" in ended.stderr


def test_the_settings_are_told_at_the_start_without_secrets(tmp_path: Path) -> None:
    promote(tmp_path)
    (tmp_path / ".env").write_text("AIKEY=geheim\nPREPTIME_WORKERS=1\n", encoding="utf-8")
    with started(tmp_path, REAL, AIKEY="") as server:
        server.wait_until("/readyz")
    assert "PREPTIME_STORE=models" in server.errors()
    assert "AIKEY=set" in server.errors()
    assert "geheim" not in server.errors()
