"""What the online API costs, beside servers that are built otherwise.

    python -m benchmarks.api                     trains a store first; four minutes in all; writes the tables
    python -m benchmarks.api --store models      on a copy of this one
    python -m benchmarks.api --print             the whole table, nothing written
    python -m benchmarks.api --json              one document, nothing written

Tables stand between markers: the bounds in README.md, everything in docs/benchmarks-api.md. The exit status is 1 when a
bound is missed, and when something could not be measured.

Linux, two cores, `wrk` (Debian: apt-get install wrk), and the dependency group `bench` for FastAPI. Servers stand on
one core, wrk on another, its bodies are 256 different orders in turn. Ours has everything switched on that a user
gets: key, validation, prediction log, metrics. Rounds go through all servers in turn, so that a busy minute of the
machine does not meet one of them alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.__main__ import ROOT, with_tables
from benchmarks.api.load import Load, Target, load, missing
from benchmarks.api.prepare import MANY, Prepared, prepare, write_bodies
from benchmarks.api.servers import Server, free_port, graph_seconds, processor_seconds, resident_mb, serving
from benchmarks.api.table import Measured, Outside, markdown, rows, summary
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.keys import new_key

CONNECTIONS = 16
STARTS = 3
CHANGES = 6
CHANGE_SECONDS = 2.0
OURS = ("-c", "import sys; from preptime.cli import main; sys.exit(main(['serve']))")
TIMED = ("-m", "benchmarks.api.timed")


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same in a run."""

    prepared: Prepared
    bodies: dict[str, Path]
    cores: tuple[int, int]
    seconds: int
    rounds: int

    def target(self, server: Server, path: str, body: str, key: str) -> Target:
        """Where to send which bodies."""
        return Target(server.url, path, self.bodies[body], key)


def main() -> None:
    """Measure, print, and say by the exit status whether every bound was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="folder with a champion; it is copied (default: train one)")
    parser.add_argument("--seconds", type=int, default=4, help="of each load (default: 4)")
    parser.add_argument("--rounds", type=int, default=2, help="through all servers (default: 2)")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the table, write nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document, write nothing")
    arguments = parser.parse_args()
    lacking = missing()
    if lacking is not None:
        sys.exit(f"`{lacking}` is not on the PATH. On Debian and Ubuntu: apt-get install wrk util-linux")
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(cores) < 2:
        sys.exit("The servers and the load generator need a core each, on Linux.")
    with tempfile.TemporaryDirectory(prefix="preptime-api-") as name:
        prepared = prepare(Path(name), arguments.store)
        run = Run(prepared, write_bodies(prepared), (cores[0], cores[1]), arguments.seconds, arguments.rounds)
        measured = measure(run)
    told = rows(measured)
    if arguments.json:
        document = {"rows": [msgspec.to_builtins(row) | {"met": row.met} for row in told]}
        print(json.dumps(document | {"measured": msgspec.to_builtins(measured)}))
    else:
        print(markdown(measured))
        if not arguments.only_print:
            write(measured)
    if measured.missing or any(row.met is False for row in told):
        sys.exit(1)


def write(measured: Measured) -> None:
    """The tables into their pages."""
    for name, table in (
        ("README.md", {"api": summary(measured)}),
        ("docs/benchmarks-api.md", {"api": markdown(measured)}),
    ):
        page = ROOT / name
        page.write_text(with_tables(page.read_text(encoding="utf-8"), table), encoding="utf-8", newline="\n")
        _say(f"{name} written")


def measure(run: Run) -> Measured:
    """Everything, one after the other."""
    before = os.getloadavg()[0]
    starts = [_start_seconds(run) for _ in range(STARTS)]
    lacking: dict[str, str] = {}
    loads: dict[str, list[Load]] = {}
    with ExitStack() as ending:
        ours, key = ending.enter_context(_ours(run))
        targets = _our_targets(run, ours, key) | _references(run, ending, lacking)
        for _ in range(run.rounds):
            for name, (target, connections) in targets.items():
                loads.setdefault(name, []).append(load(target, connections, run.seconds, run.cores[1]))
                _say(f"{name}: {loads[name][-1].rate:,.0f}/s, p99 {loads[name][-1].p99_us / 1e3:.2f} ms")
        resident = resident_mb(ours.worker())
        changing = _resident_changing(run, ours, key, loads)
    return Measured(
        cores=run.cores,
        load_average=(before, os.getloadavg()[0]),
        rounds=loads,
        missing=lacking,
        inside={body: _inside(run, body) for body in ("many", "many_six", "default", "six")},
        outside={body: _outside(run, body) for body in ("many", "many_six")},
        ready_seconds=starts,
        resident_mb=resident,
        resident_mb_changing=changing,
        changes=CHANGES,
    )


@contextmanager
def _ours(run: Run, program: tuple[str, ...] = OURS) -> Iterator[tuple[Server, str]]:
    made, port = new_key("bench"), free_port()
    environ = {
        "PREPTIME_STORE": str(run.prepared.store),
        "PREPTIME_PORT": str(port),
        "PREPTIME_API_KEYS": made.setting,
        "PREPTIME_PREDICTION_LOG_FOLDER": str(run.prepared.folder / "predictions"),
        "PREPTIME_CHAMPION_POLL_SECONDS": "0.5",
    }
    with serving((sys.executable, *program), port, run.cores[0], environ, run.prepared.folder) as server:
        yield server, made.key


def _start_seconds(run: Run) -> float:
    with _ours(run) as (server, _):
        return server.ready_seconds


def _our_targets(run: Run, server: Server, key: str) -> dict[str, tuple[Target, int]]:
    six = run.target(server, "/v1/predictions", "six", key)
    default = run.target(server, "/v1/predictions", "default", key)
    return {
        "ours, six models": (six, CONNECTIONS),
        "ours, default answer": (default, CONNECTIONS),
        "ours, the demo's contract (six models)": (run.target(server, "/predict", "demo", key), CONNECTIONS),
        "ours, six models, one connection": (six, 1),
        "ours, default answer, one connection": (default, 1),
    }


def _references(run: Run, ending: ExitStack, lacking: dict[str, str]) -> dict[str, tuple[Target, int]]:
    """Start the references that can be. Adds to `lacking` those that cannot."""
    store, key = str(run.prepared.store), "benchmark"
    fitted_on = (str(run.prepared.orders), str(run.prepared.restaurants))
    asked = {
        "a: Flask's development server, pandas, native models": ("demo", fitted_on, "/predict", "demo", ("pandas",)),
        "b: FastAPI, pydantic, uvicorn, six models": (
            "fast",
            (store,),
            "/v1/predictions",
            "six",
            ("fastapi", "uvicorn"),
        ),
        "c: bare WSGI, six models": ("bare", (store,), "/", "six", ()),
        "c: bare WSGI, default answer": ("bare", (store,), "/", "default", ()),
        "d: a constant": ("constant", (), "/", "six", ()),
    }
    started: dict[str, Server] = {}
    targets = {}
    for name, (module, arguments, path, body, packages) in asked.items():
        absent = [package for package in packages if importlib.util.find_spec(package) is None]
        if absent:
            lacking[name] = f"{', '.join(absent)} not installed (dependency groups `dev` and `bench`)"
            continue
        if module not in started:
            port = free_port()
            command = (sys.executable, "-m", f"benchmarks.references.{module}", str(port), *arguments)
            server = serving(command, port, run.cores[0], {"AIKEY": key}, run.prepared.folder)
            started[module] = ending.enter_context(server)
        targets[name] = (run.target(started[module], path, body, key), CONNECTIONS)
        if module == "constant":
            targets[f"{name}, one connection"] = (targets[name][0], 1)
    return targets


def _outside(run: Run, body: str) -> Outside:
    """What an order costs in the whole server, with a clock around the graph; prediction log and HTTP included."""
    with _ours(run, TIMED) as (server, key):
        worker = server.worker()
        before, graph_before = processor_seconds(worker), graph_seconds(server)
        found = load(run.target(server, "/v1/predictions", body, key), 1, run.seconds, run.cores[1])
        whole, graph = processor_seconds(worker) - before, graph_seconds(server) - graph_before
    if found.failed:
        sys.exit(f"{found.failed} requests of {MANY} orders failed.")
    orders = found.requests * MANY
    return Outside(graph_us=graph * 1e6 / orders, outside_us=(whole - graph) * 1e6 / orders)


def _resident_changing(run: Run, server: Server, key: str, loads: dict[str, list[Load]]) -> float:
    """The most resident memory of the worker while champions change under load."""
    worker, most, done = server.worker(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], resident_mb(worker))

    def change() -> None:
        log = ChampionLog(Store.open(str(run.prepared.store)))
        for place in range(CHANGES):
            before = log.current()
            if before is None:
                raise SystemExit("The champion log is empty.")
            bundle = run.prepared.bundles[(place + 1) % 2]
            draft = LogEntryDraft(
                bundle=bundle, date=before.date, action="promote", reason="bench", by="bench", at=before.at
            )
            log.append(draft, before)
            done.wait(CHANGE_SECONDS)

    threads = [threading.Thread(target=watch), threading.Thread(target=change)]
    for thread in threads:
        thread.start()
    target = run.target(server, "/v1/predictions", "six", key)
    found = load(target, CONNECTIONS, int(CHANGES * CHANGE_SECONDS) + 2, run.cores[1])
    done.set()
    for thread in threads:
        thread.join()
    loads["ours, six models, while champions change"] = [found]
    return most[0]


def _inside(run: Run, body: str) -> dict[str, float]:
    rounds = "6" if body.startswith("many") else "4"
    command = ("taskset", "-c", str(run.cores[0]), sys.executable, "-m", "benchmarks.api.inside")
    arguments = (str(run.prepared.store), str(run.bodies[body]), rounds)
    said = subprocess.run((*command, *arguments), check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return msgspec.json.decode(said, type=dict[str, float])


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
