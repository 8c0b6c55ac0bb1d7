"""Failures around a container: each ends with a clear message, with the same predictions, or with both."""

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
from tests.deploy.conftest import promote, share
from tests.deploy.engine import Engine, send_request
from tests.deploy.http_requests import HEADERS, ORDER, Load
from tests.deploy.serving import CONTAINER_PORT, host_network_options, serve_options, store_options
from tests.requirements import ROOT, requires

Build = Callable[[str], str]
GIBIBYTE = 1 << 30


def predicting_bundle(port: int) -> str:
    """Request a prediction, and return the bundle of the response."""
    status, response = send_request(port, "/v1/predictions", ORDER, HEADERS)
    assert status == 200, response
    return str(json.loads(response)["bundle"])


def failed_start(engine: Engine, image: str, store: Path, **settings: str) -> str:
    """Return the error output of a server that exits with status 2."""
    completed = engine.run(
        "run", "--rm", "--read-only", "--tmpfs=/tmp", *store_options(store, **settings), image, check=False
    )
    assert completed.returncode == 2, completed.stderr
    assert "Traceback" not in completed.stderr
    return completed.stderr


@contextmanager
def running_proxy(folder: Path, replicas: tuple[int, int]) -> Iterator[int]:
    """Run nginx with deploy/docker/proxy.conf, these replicas, and its files in `folder`."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    requires(Path(program).is_file(), "nginx is not installed")
    port = free_port()
    text = (ROOT / "deploy" / "docker" / "proxy.conf").read_text(encoding="utf-8")
    text = re.sub(r" /\w+/proxy", f" {folder}/proxy", text)
    for old, new in (("127.0.0.1:8000", port), ("127.0.0.1:8001", replicas[0]), ("127.0.0.1:8002", replicas[1])):
        text = text.replace(old, f"127.0.0.1:{new}")
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


def test_killed_replica_fails_no_request(engine: Engine, image: Build, store: Path, tmp_path: Path) -> None:
    first_port, second_port = free_port(), free_port()
    with (
        engine.container(image("serve"), options=host_network_options(store, first_port)) as first,
        engine.container(image("serve"), options=host_network_options(store, second_port)) as second,
        running_proxy(tmp_path, (first_port, second_port)) as port,
    ):
        for replica, replica_port in ((first, first_port), (second, second_port)):
            replica.wait_until("/readyz", port=replica_port)
        load = Load(port, clients=6)
        load.start()
        time.sleep(1.0)
        engine.run("kill", "--signal=KILL", first.id)
        count_at_kill = len(load.statuses)
        time.sleep(1.5)
        engine.run("start", first.id)
        first.wait_until("/readyz", port=first_port)
        time.sleep(2.5)
        engine.run("kill", "--signal=KILL", second.id)  # The restarted replica continues alone.
        time.sleep(1.0)
        load.stop()
        load.join()
    assert count_at_kill > 50
    assert len(load.statuses) > 2 * count_at_kill
    assert set(load.statuses) == {200}, (tmp_path / "proxy.log").read_text(encoding="utf-8")[-2000:]
    assert load.failures == []


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_huge_body_is_refused_early(engine: Engine, image: Build, store: Path, chunked: bool) -> None:
    """413 long before a gibibyte has arrived, in a container with less memory than that."""
    options = ("--memory=256m", "--memory-swap=256m", *serve_options(store))
    with engine.container(image("serve"), options=options) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", port=port)
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIBIBYTE}"
        lines = ["POST /v1/predictions HTTP/1.1", "Host: here", "Content-Type: application/json", length]
        head = "\r\n".join(
            [*lines, *(f"{name}: {value}" for name, value in HEADERS.items() if name == "aikey"), "", ""]
        )
        chunk = b" " * 65_536
        data = b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head.encode())
            response = _send_repeatedly(connection, data, GIBIBYTE // len(chunk))
        assert response.startswith(b"HTTP/1.1 413"), response[:200]
        assert predicting_bundle(port)
        assert container.state()["OOMKilled"] is False


def _send_repeatedly(connection: socket.socket, chunk: bytes, times: int) -> bytes:
    """Send a chunk repeatedly until the server responds or closes the connection. Return the start of the response."""
    connection.settimeout(0.001)
    for _ in range(times):
        try:
            return connection.recv(4096)
        except TimeoutError:
            pass
        connection.settimeout(20)
        try:
            connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            return connection.recv(4096)
        connection.settimeout(0.001)
    connection.settimeout(20)
    return connection.recv(4096)


def test_missing_store_fails_start_with_a_hint(engine: Engine, image: Build, store: Path) -> None:
    error = failed_start(engine, image("serve"), store, PREPTIME_STORE="/stores/mistyped")
    assert "The store /stores/mistyped doesn't exist. Correct PREPTIME_STORE" in error


def test_champion_is_loaded_after_start(engine: Engine, image: Build, store: Path, tmp_path: Path) -> None:
    """The server is live and not ready, then ready without a restart. If the store disappears, it still predicts."""
    stores = share(tmp_path)
    moved = tmp_path / "moved"
    store.rename(moved)
    store.mkdir()
    options = (f"--volume={stores}:/stores:ro", *serve_options(tmp_path / "missing", PREPTIME_STORE="/stores/models"))
    with engine.container(image("serve"), options=options) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/healthz", port=port)
        assert send_request(port, "/readyz")[0] == 503
        assert send_request(port, "/v1/predictions", ORDER, HEADERS)[0] == 503
        store.rmdir()
        moved.rename(store)
        container.wait_until("/readyz", port=port)
        bundle = predicting_bundle(port)
        store.rename(moved)
        container.wait_until("/readyz", "empty", port=port)
        assert predicting_bundle(port) == bundle
        moved.rename(store)
        time.sleep(0.5)
        assert "empty" not in container.wait_until("/readyz", port=port)
        assert predicting_bundle(port) == bundle


def test_missing_keys_fail_start_with_a_hint(engine: Engine, image: Build, store: Path) -> None:
    error = failed_start(engine, image("serve"), store, PREPTIME_API_KEYS="")
    assert "No key is configured" in error
    assert "preptime keys new" in error


def test_invalid_key_hash_fails_start_without_printing_it(engine: Engine, image: Build, store: Path) -> None:
    mistaken = "the key itself, not its hash"
    error = failed_start(engine, image("serve"), store, PREPTIME_API_KEYS=f"dispatch:{mistaken}")
    assert "PREPTIME_API_KEYS" in error
    assert mistaken not in error


def test_unknown_key_gets_401(engine: Engine, image: Build, store: Path) -> None:
    with engine.container(
        image("serve"), options=serve_options(store, PREPTIME_API_KEYS=f"dispatch:{'0' * 64}")
    ) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", port=port)
        assert send_request(port, "/v1/predictions", ORDER, HEADERS)[0] == 401


def test_unwritable_prediction_log_is_counted(engine: Engine, image: Build, store: Path) -> None:
    """The prediction log is on the read-only root file system. Every request gets its prediction."""
    with engine.container(image("serve"), options=serve_options(store, PREPTIME_PREDICTION_LOG="folder")) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", port=port)
        for _ in range(20):
            predicting_bundle(port)
        container.wait_until("/metrics", "preptime_prediction_log_dropped_total 20", port=port)
        assert "Read-only file system" in container.logs()


def test_job_on_read_only_disk_reports_it(engine: Engine, image: Build) -> None:
    run = ("run", "--rm", "--read-only", "--tmpfs=/tmp", image("jobs"))
    completed = engine.run(*run, "synthesize", "--out", "/data/orders", "--orders", "200", "--days", "2", check=False)
    assert completed.returncode == 3
    assert "Read-only file system" in completed.stderr
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize("offset", ["-3600", "+3600"], ids=["slow", "fast"])
def test_wrong_clock_changes_no_prediction(engine: Engine, image: Build, store: Path, offset: str) -> None:
    """A clock that is an hour off changes the log and the age of the history. The server still follows a promotion."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    requires(library, "libfaketime is not installed (Debian's package faketime)")
    fake_time_options = (
        f"--volume={library}:/faketime.so:ro",
        *("--env=LD_PRELOAD=/faketime.so", f"--env=FAKETIME={offset}", "--env=FAKETIME_DONT_FAKE_MONOTONIC=1"),
    )
    with (
        engine.container(image("serve"), options=serve_options(store)) as correct,
        engine.container(image("serve"), options=(*fake_time_options, *serve_options(store))) as wrong,
    ):
        ports = [container.port(CONTAINER_PORT) for container in (correct, wrong)]
        for container, port in zip((correct, wrong), ports, strict=True):
            container.wait_until("/readyz", port=port)
        responses = [send_request(port, "/v1/predictions", ORDER, HEADERS) for port in ports]
        assert responses[0] == responses[1]
        ages = [_metric(send_request(port, "/metrics")[1], "preptime_history_age_seconds") for port in ports]
        assert abs(ages[1] - ages[0] - int(offset)) < 60
        later = put_bundle(Store.open(str(store)), shift=50.0)
        promote(store, later)
        for container, port in zip((correct, wrong), ports, strict=True):
            container.wait_until("/readyz", later, port=port)


def _metric(exposition: str, name: str) -> float:
    """Return the value of a metric without labels."""
    return float(next(line.split()[1] for line in exposition.splitlines() if line.startswith(f"{name} ")))


def test_sigterm_during_promotion_fails_no_request(engine: Engine, image: Build, store: Path) -> None:
    """SIGTERM arrives at several moments after a promotion, some of them while the bundle loads."""
    bundles = [put_bundle(Store.open(str(store)), shift=shift) for shift in (10.0, 20.0, 30.0)]
    for bundle, wait in zip(bundles, (0.0, 0.15, 0.3), strict=True):
        port = free_port()
        options = host_network_options(store, port, PREPTIME_CHAMPION_POLL_SECONDS="0.1")
        with engine.container(image("serve"), options=options) as container:
            container.wait_until("/readyz", port=port)
            load = Load(port, clients=3)
            load.start()
            time.sleep(0.3)
            promote(store, bundle)
            time.sleep(wait)
            load.stop_at_refusal()
            stopped_at = time.monotonic()
            status, duration = container.stop()
            load.join()
        assert status == 0
        assert duration < 10
        assert set(load.statuses) == {200}
        assert load.failures_before(stopped_at) == []


def test_newer_bundle_format_keeps_previous_champion(
    engine: Engine, image: Build, store: Path, copied_store: Path
) -> None:
    """A running and a starting server use the previous champion. Without one, the server reports the reason."""
    newer = put_bundle(Store.open(str(store)), shift=70.0)
    set_newer_format(store, newer)
    (only_bundle,) = Store.open(str(copied_store)).bundle_ids()
    set_newer_format(copied_store, only_bundle)
    with engine.container(image("serve"), options=serve_options(store)) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", port=port)
        previous = predicting_bundle(port)
        promote(store, newer)
        container.wait_until("/readyz", f"format {BUNDLE_FORMAT + 1}", port=port)
        assert predicting_bundle(port) == previous
    with engine.container(image("serve"), options=serve_options(store)) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", f"format {BUNDLE_FORMAT + 1}", port=port)
        assert predicting_bundle(port) == previous
    with engine.container(image("serve"), options=serve_options(copied_store)) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", f"format {BUNDLE_FORMAT + 1}", port=port, status=503)
        assert send_request(port, "/healthz")[0] == 200


def set_newer_format(store: Path, bundle: str) -> None:
    """Give a bundle the format after the current one."""
    manifest = store / "bundles" / bundle / MANIFEST_FILE
    manifest.chmod(0o644)
    manifest.write_bytes(
        manifest.read_bytes().replace(b'"format": %d' % BUNDLE_FORMAT, b'"format": %d' % (BUNDLE_FORMAT + 1))
    )
