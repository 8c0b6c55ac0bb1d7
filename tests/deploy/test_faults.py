"""What goes wrong around a container: each ends in a clear word, in answers as before, or in both."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from preptime.bundle.manifest import BUNDLE_FORMAT, MANIFEST_FILE
from preptime.bundle.store import Store
from tests.api.processes import free_port
from tests.bundle.factories import put_bundle
from tests.deploy.conftest import promote, shared
from tests.deploy.engine import Engine, ask
from tests.deploy.http_requests import HEADERS, ORDER, Load
from tests.deploy.serving import INSIDE, over, serving, serving_here
from tests.requirements import ROOT, requires

Build = Callable[[str], str]
GIBIBYTE = 1 << 30


def predicts(port: int) -> str:
    """The bundle behind an answer that is 200."""
    status, answer = ask(port, "/v1/predictions", ORDER, HEADERS)
    assert status == 200, answer
    return str(json.loads(answer)["bundle"])


def refused_to_start(engine: Engine, image: str, store: Path, **settings: str) -> str:
    """What a server said that ended with 2 before it listened."""
    ended = engine.run("run", "--rm", "--read-only", "--tmpfs=/tmp", *over(store, **settings), image, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@contextmanager
def proxy(folder: Path, replicas: tuple[int, int]) -> Iterator[int]:
    """deploy/docker/proxy.conf with these ports and folders, run by nginx."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    requires(Path(program).is_file(), "nginx is not installed")
    port = free_port()
    text = (ROOT / "deploy" / "docker" / "proxy.conf").read_text(encoding="utf-8")
    text = re.sub(r" /\w+/proxy", f" {folder}/proxy", text)
    for before, after in (("127.0.0.1:8000", port), ("127.0.0.1:8001", replicas[0]), ("127.0.0.1:8002", replicas[1])):
        text = text.replace(before, f"127.0.0.1:{after}")
    configuration = folder / "proxy.conf"
    configuration.write_text(text, encoding="utf-8")
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", configuration, "-e", "stderr", "-g", "daemon off; user root;"], stderr=log, stdout=log
        )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_a_replica_that_is_killed_costs_no_request(engine: Engine, image: Build, store: Path, tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    with (
        engine.started(image("serve"), options=serving_here(store, one)) as first,
        engine.started(image("serve"), options=serving_here(store, two)) as second,
        proxy(tmp_path, (one, two)) as port,
    ):
        for replica, own in ((first, one), (second, two)):
            replica.wait_until("/readyz", port=own)
        load = Load(port, clients=6)
        load.start()
        time.sleep(1.0)
        engine.run("kill", "--signal=KILL", first.name)
        before = len(load.answered)
        time.sleep(1.5)
        engine.run("start", first.name)
        first.wait_until("/readyz", port=one)
        time.sleep(2.5)
        engine.run("kill", "--signal=KILL", second.name)  # and the one that came back carries on alone
        time.sleep(1.0)
        load.stop()
        load.join()
    assert before > 50
    assert len(load.answered) > 2 * before
    assert set(load.answered) == {200}, (tmp_path / "proxy.log").read_text(encoding="utf-8")[-2000:]
    assert load.broken == []


@pytest.mark.parametrize("chunked", [False, True], ids=["said how long", "chunked"])
def test_a_huge_body_is_refused_and_not_kept(engine: Engine, image: Build, store: Path, chunked: bool) -> None:
    """413 long before a gibibyte has arrived, in a container that a gibibyte would not fit into."""
    options = ("--memory=256m", "--memory-swap=256m", *serving(store))
    with engine.started(image("serve"), options=options) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", port=port)
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIBIBYTE}"
        lines = ["POST /v1/predictions HTTP/1.1", "Host: here", "Content-Type: application/json", length]
        head = "\r\n".join(
            [*lines, *(f"{name}: {value}" for name, value in HEADERS.items() if name == "aikey"), "", ""]
        )
        piece = b" " * 65_536
        sent = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head.encode())
            answer = _push(connection, sent, GIBIBYTE // len(piece))
        assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
        assert predicts(port)
        assert container.state()["OOMKilled"] is False


def _push(connection: socket.socket, piece: bytes, times: int) -> bytes:
    """Send the piece again and again until there is an answer, or nobody takes any more; the answer's beginning."""
    connection.settimeout(0.001)
    for _ in range(times):
        try:
            return connection.recv(4096)
        except TimeoutError:
            pass
        connection.settimeout(20)
        try:
            connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return connection.recv(4096)
        connection.settimeout(0.001)
    connection.settimeout(20)
    return connection.recv(4096)


def test_a_store_that_is_away_at_the_start_is_waited_for(
    engine: Engine, image: Build, store: Path, tmp_path: Path
) -> None:
    """Alive and not ready, then ready without a restart; away again, it goes on and says so."""
    stores = shared(tmp_path)
    away = tmp_path / "away"
    store.rename(away)
    options = (f"--volume={stores}:/stores:ro", *serving(tmp_path / "nowhere", PREPTIME_STORE="/stores/models"))
    with engine.started(image("serve"), options=options) as container:
        port = container.port(INSIDE)
        container.wait_until("/healthz", port=port)
        assert ask(port, "/readyz")[0] == 503
        assert ask(port, "/v1/predictions", ORDER, HEADERS)[0] == 503
        away.rename(store)
        container.wait_until("/readyz", port=port)
        bundle = predicts(port)
        store.rename(away)
        container.wait_until("/readyz", "empty", port=port)
        assert predicts(port) == bundle
        away.rename(store)
        time.sleep(0.5)
        assert "empty" not in container.wait_until("/readyz", port=port)
        assert predicts(port) == bundle


def test_without_a_secret_it_does_not_start_and_says_what_is_missing(engine: Engine, image: Build, store: Path) -> None:
    said = refused_to_start(engine, image("serve"), store, PREPTIME_API_KEYS="")
    assert "No key is configured" in said
    assert "preptime keys new" in said


def test_a_hash_that_is_none_stops_the_start_and_is_not_repeated(engine: Engine, image: Build, store: Path) -> None:
    mistaken = "the key itself, not its hash"
    said = refused_to_start(engine, image("serve"), store, PREPTIME_API_KEYS=f"dispatch:{mistaken}")
    assert "PREPTIME_API_KEYS" in said
    assert mistaken not in said


def test_the_hash_of_another_key_opens_nothing(engine: Engine, image: Build, store: Path) -> None:
    with engine.started(image("serve"), options=serving(store, PREPTIME_API_KEYS=f"dispatch:{'0' * 64}")) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", port=port)
        assert ask(port, "/v1/predictions", ORDER, HEADERS)[0] == 401


def test_a_log_that_cannot_be_written_costs_no_answer_and_is_counted(engine: Engine, image: Build, store: Path) -> None:
    """The prediction log told to write where the root is read-only."""
    with engine.started(image("serve"), options=serving(store, PREPTIME_PREDICTION_LOG="folder")) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", port=port)
        for _ in range(20):
            predicts(port)
        container.wait_until("/metrics", "preptime_prediction_log_dropped_total 20", port=port)
        assert "Read-only file system" in container.logs()


def test_a_job_on_a_read_only_disk_says_so(engine: Engine, image: Build) -> None:
    locked = ("run", "--rm", "--read-only", "--tmpfs=/tmp", image("jobs"))
    ended = engine.run(*locked, "synthesize", "--out", "/data/orders", "--orders", "200", "--days", "2", check=False)
    assert ended.returncode == 3
    assert "Read-only file system" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("offset", ["-3600", "+3600"], ids=["slow", "fast"])
def test_a_clock_that_is_an_hour_off_changes_no_answer(engine: Engine, image: Build, store: Path, offset: str) -> None:
    """It shows in what tells the time (the log, the age of the history), and a promotion is followed all the same."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    requires(library, "libfaketime is not installed (Debian's package faketime)")
    wrong = (
        f"--volume={library}:/faketime.so:ro",
        *("--env=LD_PRELOAD=/faketime.so", f"--env=FAKETIME={offset}", "--env=FAKETIME_DONT_FAKE_MONOTONIC=1"),
    )
    with (
        engine.started(image("serve"), options=serving(store)) as right,
        engine.started(image("serve"), options=(*wrong, *serving(store))) as off,
    ):
        ports = [container.port(INSIDE) for container in (right, off)]
        for container, port in zip((right, off), ports, strict=True):
            container.wait_until("/readyz", port=port)
        answers = [ask(port, "/v1/predictions", ORDER, HEADERS) for port in ports]
        assert answers[0] == answers[1]
        ages = [_metric(ask(port, "/metrics")[1], "preptime_history_age_seconds") for port in ports]
        assert abs(ages[1] - ages[0] - int(offset)) < 60
        later = put_bundle(Store.open(str(store)), shift=50.0)
        promote(store, later)
        for container, port in zip((right, off), ports, strict=True):
            container.wait_until("/readyz", later, port=port)


def _metric(page: str, name: str) -> float:
    """The value of a metric without labels."""
    return float(next(line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")))


def test_sigterm_during_a_change_of_champion_fails_no_request(engine: Engine, image: Build, store: Path) -> None:
    """Told to end at several moments after a promotion, mid-change among them."""
    bundles = [put_bundle(Store.open(str(store)), shift=shift) for shift in (10.0, 20.0, 30.0)]
    for bundle, wait in zip(bundles, (0.0, 0.15, 0.3), strict=True):
        port = free_port()
        options = serving_here(store, port, PREPTIME_CHAMPION_POLL_SECONDS="0.1")
        with engine.started(image("serve"), options=options) as container:
            container.wait_until("/readyz", port=port)
            load = Load(port, clients=3)
            load.start()
            time.sleep(0.3)
            promote(store, bundle)
            time.sleep(wait)
            load.stop_at_refusal()
            told = time.monotonic()
            status, took = container.stop()
            load.join()
        assert status == 0
        assert took < 10
        assert set(load.answered) == {200}
        assert [why for began, why in load.broken if began < told] == []


def test_a_bundle_newer_than_the_code_is_refused_and_the_one_before_serves(
    engine: Engine, image: Build, store: Path, copied_store: Path
) -> None:
    """While it runs, and for a server that starts under it; alone, it is never ready and says why."""
    newer = put_bundle(Store.open(str(store)), shift=70.0)
    make_newer(store, newer)
    (alone,) = Store.open(str(copied_store)).bundle_ids()
    make_newer(copied_store, alone)
    with engine.started(image("serve"), options=serving(store)) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", port=port)
        before = predicts(port)
        promote(store, newer)
        container.wait_until("/readyz", f"format {BUNDLE_FORMAT + 1}", port=port)
        assert predicts(port) == before
    with engine.started(image("serve"), options=serving(store)) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", f"format {BUNDLE_FORMAT + 1}", port=port)
        assert predicts(port) == before
    with engine.started(image("serve"), options=serving(copied_store)) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", f"format {BUNDLE_FORMAT + 1}", port=port, status=503)
        assert ask(port, "/healthz")[0] == 200


def make_newer(store: Path, bundle: str) -> None:
    """Let a bundle say that it is of the format after this code's."""
    manifest = store / "bundles" / bundle / MANIFEST_FILE
    manifest.chmod(0o644)
    manifest.write_bytes(
        manifest.read_bytes().replace(b'"format": %d' % BUNDLE_FORMAT, b'"format": %d' % (BUNDLE_FORMAT + 1))
    )
