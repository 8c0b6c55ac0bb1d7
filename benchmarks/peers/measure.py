"""One server after the other: start it, check its predictions, measure its load, and stop all of its processes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec

from benchmarks.api.load import Load, Target, load
from benchmarks.api.servers import Server, ServerNotReadyError, free_port, processor_seconds, resident_mb, serving
from benchmarks.peers.catalog import Order, PeerServer, Start, Values
from benchmarks.peers.environments import PeerError
from benchmarks.peers.predictor import QUANTILES
from preptime.keys import new_key

CONNECTIONS = (16, 1)
WARM_UP_SECONDS = 2
CHECKED_ORDERS = 64
TOLERANCE_SECONDS = 0.01
STOP_SECONDS = 30
_MARK = "PEER_MARK"


class Round(msgspec.Struct, frozen=True):
    """The measurements of a server in one round."""

    loads: dict[int, Load]
    """By number of connections."""
    processor_us: dict[int, float]
    """Processor time of all processes per request, µs, by number of connections."""
    ready_seconds: float
    largest_mb: float
    """Resident memory of the largest process after the load."""
    total_mb: float
    """Proportional memory of all processes after the load: shared pages count once."""


@dataclass(frozen=True, slots=True)
class Run:
    """The constants of a run."""

    folder: Path
    store: Path
    orders: Sequence[Order]
    expected: Sequence[Values]
    """The predictions of the first orders."""
    cores: tuple[int, int]
    seconds: int


def measure(run: Run, server: PeerServer, environment: Path | None) -> Round:
    """Return the measurements of one round.

    Raises `PeerError` if the server doesn't start, predicts other values, or fails requests.
    """
    key = new_key("bench")
    start = Start(free_port(), run.store, run.folder, environment, key.key, key.setting)
    bodies = run.folder / f"bodies-{start.port}.txt"
    lines = [json.dumps(server.body(order)) for order in run.orders]
    bodies.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with _started(run, server, start) as (running, mark):
        target = Target(running.url, server.path, bodies, key.key)
        _check(server, target, lines[: len(run.expected)], run.expected)
        load(target, CONNECTIONS[0], WARM_UP_SECONDS, run.cores[1])
        loads, processor_us = {}, {}
        for connections in CONNECTIONS:
            before = _total_processor_seconds(mark)
            loads[connections] = load(target, connections, run.seconds, run.cores[1])
            used = _total_processor_seconds(mark) - before
            processor_us[connections] = used / max(loads[connections].requests, 1) * 1e6
        for connections, result in loads.items():
            if result.failed or not result.requests:
                facts = f"{result.requests:,} requests in {result.seconds:.1f} s, {result.failed:,} failed"
                raise PeerError(f"{connections} connections: {facts}.")
        processes = marked_processes(mark)
        largest = max(map(resident_mb, processes))
        return Round(loads, processor_us, running.ready_seconds, largest, sum(map(_proportional_mb, processes)))


@contextmanager
def _started(run: Run, server: PeerServer, start: Start) -> Iterator[tuple[Server, str]]:
    """Start a server, and finally stop every process that it started."""
    mark = new_mark()
    command, environ = server.command(start), start.environ() | {_MARK: mark}
    try:
        with serving(
            command,
            start.port,
            run.cores[0],
            environ,
            run.folder,
            ready_path=server.ready_path,
            working_folder=run.folder,
        ) as running:
            yield running, mark
    except ServerNotReadyError as error:
        raise PeerError(str(error)) from error
    finally:
        _stop(mark)


def _stop(mark: str) -> None:
    """Kill the processes that a server left behind, and wait for their end."""
    end = time.monotonic() + STOP_SECONDS
    while (processes := marked_processes(mark)) and time.monotonic() < end:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    if processes:
        raise SystemExit(f"The processes {processes} of a server didn't end.")


def _check(server: PeerServer, target: Target, bodies: Sequence[str], expected: Sequence[Values]) -> None:
    """Raise `PeerError` unless the server predicts the expected values, also when requests are concurrent."""
    with ThreadPoolExecutor(CONNECTIONS[0]) as pool:
        responses = list(pool.map(lambda body: _post(target, body), bodies))
    for order, (response, values) in enumerate(zip(responses, expected, strict=True), 1):
        difference = first_difference(server, response, values)
        if difference is not None:
            raise PeerError(f"Order {order}: {difference}")


def first_difference(server: PeerServer, response: bytes, expected: Values) -> str | None:
    """Return the facts about a response with other values than expected, or None."""
    try:
        actual = server.read(json.loads(response))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return f"the response can't be read ({error!r}): {response[:500]!r}"
    for name in expected if server.has_models else QUANTILES:
        if name not in actual or abs(actual[name] - expected[name]) > TOLERANCE_SECONDS:
            return f"{name} is {actual.get(name)}, expected {expected[name]:.4f} within {TOLERANCE_SECONDS} s."
    return None


def _post(target: Target, body: str) -> bytes:
    connection = HTTPConnection(target.url.removeprefix("http://"), timeout=30)
    headers = {"Content-Type": "application/json", "aikey": target.key}
    try:
        connection.request("POST", target.path, body, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException) as error:
        raise PeerError(f"POST {target.path}: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise PeerError(f"POST {target.path} has status {response.status}: {content[:500]!r}")
    return content


def new_mark() -> str:
    """Return a value that marks the processes of one server."""
    return uuid.uuid4().hex


def marked_processes(mark: str) -> list[int]:
    """Return the IDs of all processes that have the mark in their environment, wherever they are in the tree."""
    if sys.platform != "linux":
        return []
    variable = f"{_MARK}={mark}".encode()
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and variable in _environment(entry)
    ]


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""  # The process ended, or belongs to another user.


def _total_processor_seconds(mark: str) -> float:
    return sum(map(processor_seconds, marked_processes(mark)))


def _proportional_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))
