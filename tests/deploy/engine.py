"""A Docker engine for tests, the one that runs or the session's own, and containers locked down as they ship."""

from __future__ import annotations

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

from tests.requirements import requires

USER = 10001
"""Who the images run as."""
START_SECONDS = 30.0


@dataclass(frozen=True)
class Engine:
    """A client of a running engine."""

    client: str
    host: str | None

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of the client, with what it said."""
        ended = subprocess.run(
            [self.client, *map(str, arguments)], env=self.environ, capture_output=True, text=True, check=False
        )
        assert not check or ended.returncode == 0, f"docker {arguments[0]}: {ended.stdout}{ended.stderr}"
        return ended

    @property
    def environ(self) -> dict[str, str]:
        """The environment of anything that talks to this engine."""
        return os.environ | ({"DOCKER_HOST": self.host} if self.host else {})

    @contextmanager
    def started(
        self, image: str, *command: str, options: tuple[str, ...] = (), locked: bool = True
    ) -> Iterator[Container]:
        """A container in the background, removed at the end. `locked`: read-only, no capability, no new privilege."""
        lock = LOCKED if locked else ()
        name = self.run("run", "--detach", *lock, *options, image, *command).stdout.strip()
        try:
            yield Container(self, name)
        finally:
            self.run("rm", "--force", "--volumes", name)


LOCKED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
"""How every container of ours can run, and runs in Compose and Kubernetes."""


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    engine: Engine
    name: str

    def port(self, inside: int) -> int:
        """Where on loopback a port of the container is published."""
        return int(self.engine.run("port", self.name, str(inside)).stdout.splitlines()[0].rpartition(":")[2])

    def logs(self) -> str:
        """What it has said on both streams."""
        said = self.engine.run("logs", self.name)
        return said.stdout + said.stderr

    def state(self) -> dict[str, object]:
        """What the engine knows of it: Status, ExitCode, OOMKilled, Health."""
        state: dict[str, object] = json.loads(
            self.engine.run("inspect", "--format", "{{json .State}}", self.name).stdout
        )
        return state

    def stop(self, seconds: int = 30) -> tuple[int, float]:
        """SIGTERM, and SIGKILL after `seconds`; the exit status and how long it took."""
        began = time.monotonic()
        self.engine.run("stop", f"--time={seconds}", self.name)
        took = time.monotonic() - began
        status = self.state()["ExitCode"]
        assert isinstance(status, int)
        return status, took

    def wait_until(
        self, path: str, text: str = "", *, port: int, status: int = 200, seconds: float = START_SECONDS
    ) -> str:
        """The first answer at `path` of that status that holds `text`."""
        end = time.monotonic() + seconds
        found = ""
        while time.monotonic() < end:
            try:
                code, found = ask(port, path)
                if code == status and text in found:
                    return found
            except (OSError, HTTPException) as error:
                found = repr(error)
            time.sleep(0.02)
        raise AssertionError(f"{path} never said {status} {text!r}, but {found!r}. {self.logs()}")

    def wait_healthy(self, seconds: float = START_SECONDS) -> None:
        """Return when the image's own health check is content."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            health = self.state().get("Health")
            if isinstance(health, dict) and health["Status"] == "healthy":
                return
            time.sleep(0.2)
        raise AssertionError(f"never healthy: {self.state()} {self.logs()}")


def ask(
    port: int,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    method: str = "",
    seconds: float = 30,
) -> tuple[int, str]:
    """Status and body of an answer; a POST when there is a body and no other method is named."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def an_engine() -> Iterator[Engine]:
    """The engine that DOCKER_HOST or the default socket leads to; else our own, gone without trace at the end."""
    from scripts.images import find_docker

    requires(any(shutil.which("docker", path=folder) for folder in os.get_exec_path()), "Docker is not installed")
    engine = Engine(find_docker(), None)
    if engine.run("info", check=False).returncode == 0:
        yield engine
        return
    requires(shutil.which("dockerd"), "no Docker engine runs, and none (dockerd) is installed")
    requires(os.geteuid() == 0, "no Docker engine runs, and only root can start one")
    folder = Path(tempfile.mkdtemp(prefix="preptime-docker-"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "pid"), "--host", f"unix://{folder}/socket"),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        engine = Engine(engine.client, f"unix://{folder}/socket")
        end = time.monotonic() + START_SECONDS
        while engine.run("info", check=False).returncode:
            said = (folder / "log").read_text(encoding="utf-8", errors="replace")
            requires(process.poll() is None, f"a Docker engine cannot be started here: {said[-500:]}")
            assert time.monotonic() < end, said
            time.sleep(0.1)
        yield engine
    finally:
        process.terminate()
        process.wait(60)
        # What it mounted outlives it, and a folder with a mount in it stays.
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        for mounted in sorted((line.split()[1] for line in mounts if f" {folder}/" in line), reverse=True):
            subprocess.run(["umount", mounted], check=True)
        shutil.rmtree(folder)
