"""A Docker engine for the tests, and containers with the restrictions that they ship with."""

from __future__ import annotations

import grp
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from preptime.errors import UsageError
from scripts.images import find_docker
from tests.requirements import as_root, can_be_root, requires

IMAGE_USER = 10001
"""The user of the images."""
START_SECONDS = 30.0
RESTRICTIONS = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
"""How every image can run, and runs in Compose and Kubernetes."""


@dataclass(frozen=True)
class Engine:
    """A client with a running engine. `DOCKER_HOST` or the default socket leads to the engine."""

    client: str

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a Docker command."""
        completed = subprocess.run([self.client, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert not check or completed.returncode == 0, f"docker {arguments[0]}: {completed.stdout}{completed.stderr}"
        return completed

    @contextmanager
    def container(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[Container]:
        """Start a restricted container in the background, and remove it at the end."""
        container_id = self.run("run", "--detach", *RESTRICTIONS, *options, image, *command).stdout.strip()
        try:
            yield Container(self, container_id)
        finally:
            self.run("rm", "--force", "--volumes", container_id)


@dataclass(frozen=True)
class Container:
    """A started container."""

    engine: Engine
    id: str

    def port(self, container_port: int) -> int:
        """Return the loopback port that a port of the container is published on."""
        return int(self.engine.run("port", self.id, str(container_port)).stdout.splitlines()[0].rpartition(":")[2])

    def logs(self) -> str:
        """Return the container's output on both streams."""
        completed = self.engine.run("logs", self.id)
        return completed.stdout + completed.stderr

    def state(self) -> dict[str, object]:
        """Return the engine's state of the container: Status, ExitCode, OOMKilled, Health."""
        state: dict[str, object] = json.loads(self.engine.run("inspect", "--format", "{{json .State}}", self.id).stdout)
        return state

    def stop(self, seconds: int = 30) -> tuple[int, float]:
        """Send SIGTERM, and SIGKILL after `seconds`. Return the exit status and the duration."""
        start = time.monotonic()
        self.engine.run("stop", f"--time={seconds}", self.id)
        duration = time.monotonic() - start
        status = self.state()["ExitCode"]
        assert isinstance(status, int)
        return status, duration

    def wait_until(
        self, path: str, text: str = "", *, port: int, status: int = 200, seconds: float = START_SECONDS
    ) -> str:
        """Return the first response at `path` with this status that contains `text`."""
        deadline = time.monotonic() + seconds
        body = ""
        while time.monotonic() < deadline:
            try:
                response_status, body = send_request(port, path)
                if response_status == status and text in body:
                    return body
            except (OSError, HTTPException) as error:
                body = repr(error)
            time.sleep(0.02)
        raise AssertionError(f"{path}: expected {status} {text!r}, last response: {body!r}. {self.logs()}")

    def wait_healthy(self, seconds: float = START_SECONDS) -> None:
        """Wait until the image's health check succeeds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            health = self.state().get("Health")
            if isinstance(health, dict) and health["Status"] == "healthy":
                return
            time.sleep(0.2)
        raise AssertionError(f"not healthy: {self.state()} {self.logs()}")


def send_request(
    port: int,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    method: str = "",
    seconds: float = 30,
) -> tuple[int, str]:
    """Send a request, by default a POST if it has a body, and return the response's status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Yield the engine that `DOCKER_HOST` or the default socket leads to. If none runs, start one.

    An engine that starts here is in `DOCKER_HOST` until the end, so that everything in the session uses it.
    """
    requires(any(shutil.which("docker", path=folder) for folder in os.get_exec_path()), "Docker is not installed")
    try:
        engine = Engine(find_docker())
    except UsageError as error:
        pytest.skip(str(error))
    if engine.run("info", check=False).returncode == 0:
        yield engine
        return
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    requires(program, "no Docker engine is running, and dockerd is not installed")
    requires(can_be_root(), "no Docker engine is running, and only root can start one")
    folder = Path(tempfile.mkdtemp(prefix="preptime-docker-"))
    try:
        with pytest.MonkeyPatch.context() as monkeypatch, _daemon(str(program), folder) as daemon:
            monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/socket")
            _wait_for_engine(engine, daemon, folder / "log")
            yield engine
    finally:
        _remove(folder)


@contextmanager
def _daemon(program: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run dockerd with all its files in `folder`."""
    options = (
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")),
        *("--host", f"unix://{folder}/socket", "--group", grp.getgrgid(os.getgid()).gr_name),
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(as_root(program, *options), stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            # By the id of dockerd: a user can't send a signal to a `sudo` that runs as root.
            subprocess.run(as_root("kill", (folder / "pid").read_text(encoding="utf-8").strip()), check=False)
        process.wait(60)


def _wait_for_engine(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while engine.run("info", check=False).returncode:
        output = log.read_text(encoding="utf-8", errors="replace")
        requires(daemon.poll() is None, f"dockerd doesn't start here: {output[-500:]}")
        assert time.monotonic() < deadline, output
        time.sleep(0.1)


def _remove(folder: Path) -> None:
    """Remove the engine's folder. Its mounts outlive dockerd, and a folder that contains a mount can't be removed.

    Removing the files of the images takes minutes on a disk that discards each freed block. It goes on after the tests.
    """
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in sorted((path for path in mounts if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(as_root("umount", mount), check=True)
    command = as_root("sh", "-c", 'rm -rf "$1" &', "sh", str(folder))
    # Without our output, whose readers would wait for its end.
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, check=True)
