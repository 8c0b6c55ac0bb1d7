"""Measure the API and compare it with reference servers.

    python -m benchmarks.api                     train a store first, and write the tables; takes four minutes
    python -m benchmarks.api --store models      use a copy of this store
    python -m benchmarks.api --print             print the whole table and write nothing
    python -m benchmarks.api --json              print one JSON document and write nothing

The tables are between markers: key figures in README.md, all results in docs/benchmarks-api.md. The exit status is 1 if
a limit isn't met or something couldn't be measured.

It requires Linux, two cores, `wrk` (Debian: apt-get install wrk), and the dependency group `bench` for FastAPI. The
servers run on one core and wrk on another, with 256 different orders in turn. The API runs with keys, validation,
prediction log, and metrics. Each round covers all servers, so that other load on the machine affects all of them.
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
from benchmarks.api.load import Load, Target, load, require_cores
from benchmarks.api.prepare import BATCH_ORDERS, Prepared, prepare, write_bodies
from benchmarks.api.servers import Server, free_port, graph_seconds, processor_seconds, resident_mb, serving
from benchmarks.api.table import (
    BARE_DEFAULT_MODEL,
    BARE_SIX_MODELS,
    CONSTANT_RESPONSE,
    DEFAULT_MODEL,
    DISPATCH,
    FASTAPI_SERVER,
    FLASK_SERVER,
    KITCHEN,
    SIX_MODELS,
    Measurements,
    ServerTime,
    key_figures,
    markdown,
    rows,
)
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.keys import new_key

CONNECTIONS = 16
STARTS = 3
CHAMPION_CHANGES = 6
CHANGE_SECONDS = 2.0
SERVE_COMMAND = ("-c", "import sys; from preptime.cli import main; sys.exit(main(['serve']))")
TIMED_COMMAND = ("-m", "benchmarks.api.timed")


@dataclass(frozen=True, slots=True)
class Run:
    """The constants of a run."""

    prepared: Prepared
    bodies: dict[str, Path]
    cores: tuple[int, int]
    seconds: int
    rounds: int

    def target(self, server: Server, path: str, body: str, key: str) -> Target:
        """Return the URL and bodies of a load."""
        return Target(server.url, path, self.bodies[body], key)


def main() -> None:
    """Measure, print or write the tables, and exit with 1 if a limit isn't met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="store to copy, with a champion (default: train one)")
    parser.add_argument("--seconds", type=int, default=4, help="seconds per load (default: 4)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds over all servers (default: 2)")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the table without writing it")
    parser.add_argument("--json", action="store_true", help="print one JSON document without writing tables")
    arguments = parser.parse_args()
    cores = require_cores()
    with tempfile.TemporaryDirectory(prefix="preptime-api-") as name:
        prepared = prepare(Path(name), arguments.store)
        run = Run(prepared, write_bodies(prepared), cores, arguments.seconds, arguments.rounds)
        measurements = measure(run)
    results = rows(measurements)
    if arguments.json:
        document = {"rows": [msgspec.to_builtins(row) | {"met": row.met} for row in results]}
        print(json.dumps(document | {"measurements": msgspec.to_builtins(measurements)}))
    else:
        print(markdown(measurements))
        if not arguments.only_print:
            write(measurements)
    if measurements.missing or any(row.met is False for row in results):
        sys.exit(1)


def write(measurements: Measurements) -> None:
    """Write the tables to their pages."""
    for name, table in (
        ("README.md", {"key-figures": key_figures(measurements)}),
        ("docs/benchmarks-api.md", {"api": markdown(measurements)}),
    ):
        page = ROOT / name
        page.write_text(with_tables(page.read_text(encoding="utf-8"), table), encoding="utf-8", newline="\n")
        _report(f"Wrote {name}")


def measure(run: Run) -> Measurements:
    """Run all measurements, one after the other."""
    load_before = os.getloadavg()[0]
    starts = [_start_seconds(run) for _ in range(STARTS)]
    missing: dict[str, str] = {}
    loads: dict[str, list[Load]] = {}
    with ExitStack() as exit_stack:
        server, key = exit_stack.enter_context(_api_server(run))
        targets = _api_targets(run, server, key) | _references(run, exit_stack, missing)
        for _ in range(run.rounds):
            for name, (target, connections) in targets.items():
                loads.setdefault(name, []).append(load(target, connections, run.seconds, run.cores[1]))
                _report(f"{name}: {loads[name][-1].rate:,.0f}/s, p99 {loads[name][-1].p99_us / 1e3:.2f} ms")
        resident = resident_mb(server.worker())
        changing = _resident_changing(run, server, key, loads)
    return Measurements(
        cores=run.cores,
        load_average=(load_before, os.getloadavg()[0]),
        rounds=loads,
        missing=missing,
        function_times={body: _function_times(run, body) for body in ("many", "many_six", "default", "six")},
        server_times={body: _server_time(run, body) for body in ("many", "many_six")},
        ready_seconds=starts,
        resident_mb=resident,
        resident_mb_changing=changing,
        champion_changes=CHAMPION_CHANGES,
    )


@contextmanager
def _api_server(run: Run, command: tuple[str, ...] = SERVE_COMMAND) -> Iterator[tuple[Server, str]]:
    key, port = new_key("bench"), free_port()
    environ = {
        "PREPTIME_STORE": str(run.prepared.store),
        "PREPTIME_PORT": str(port),
        "PREPTIME_API_KEYS": key.setting,
        "PREPTIME_PREDICTION_LOG_FOLDER": str(run.prepared.folder / "predictions"),
        "PREPTIME_CHAMPION_POLL_SECONDS": "0.5",
    }
    with serving((sys.executable, *command), port, run.cores[0], environ, run.prepared.folder) as server:
        yield server, key.key


def _start_seconds(run: Run) -> float:
    with _api_server(run) as (server, _):
        return server.ready_seconds


def _api_targets(run: Run, server: Server, key: str) -> dict[str, tuple[Target, int]]:
    six = run.target(server, "/v1/predictions", "six", key)
    default = run.target(server, "/v1/predictions", "default", key)
    take_home = run.target(server, "/predict", "take_home", key)
    dispatch = run.target(server, "/v1/dispatch", "dispatch", key)
    kitchen = run.target(server, "/v1/predictions", "kitchen", key)
    return {
        SIX_MODELS: (six, CONNECTIONS),
        DEFAULT_MODEL: (default, CONNECTIONS),
        DISPATCH: (dispatch, CONNECTIONS),
        KITCHEN: (kitchen, CONNECTIONS),
        "preptime, take-home contract (six models)": (take_home, CONNECTIONS),
        f"{SIX_MODELS}, one connection": (six, 1),
        f"{DEFAULT_MODEL}, one connection": (default, 1),
    }


def _references(run: Run, exit_stack: ExitStack, missing: dict[str, str]) -> dict[str, tuple[Target, int]]:
    """Start the reference servers. Adds those that can't start to `missing`."""
    store, key = str(run.prepared.store), "benchmark"
    data = (str(run.prepared.orders), str(run.prepared.restaurants))
    references = {
        FLASK_SERVER: ("take_home", data, "/predict", "take_home", ("pandas",)),
        FASTAPI_SERVER: ("fast", (store,), "/v1/predictions", "six", ("fastapi", "uvicorn")),
        BARE_SIX_MODELS: ("bare", (store,), "/", "six", ()),
        BARE_DEFAULT_MODEL: ("bare", (store,), "/", "default", ()),
        CONSTANT_RESPONSE: ("constant", (), "/", "six", ()),
    }
    started: dict[str, Server] = {}
    targets = {}
    for name, (module, arguments, path, body, packages) in references.items():
        absent = [package for package in packages if importlib.util.find_spec(package) is None]
        if absent:
            missing[name] = f"install {', '.join(absent)} (dependency groups `dev` and `bench`)"
            continue
        if module not in started:
            port = free_port()
            command = (sys.executable, "-m", f"benchmarks.references.{module}", str(port), *arguments)
            server = serving(command, port, run.cores[0], {"AIKEY": key}, run.prepared.folder)
            started[module] = exit_stack.enter_context(server)
        targets[name] = (run.target(started[module], path, body, key), CONNECTIONS)
        if module == "constant":
            targets[f"{name}, one connection"] = (targets[name][0], 1)
    return targets


def _server_time(run: Run, body: str) -> ServerTime:
    """Return the processor time per order in the whole server, including HTTP and the prediction log."""
    with _api_server(run, TIMED_COMMAND) as (server, key):
        worker = server.worker()
        before, graph_before = processor_seconds(worker), graph_seconds(server)
        result = load(run.target(server, "/v1/predictions", body, key), 1, run.seconds, run.cores[1])
        total, graph = processor_seconds(worker) - before, graph_seconds(server) - graph_before
    if result.failed:
        sys.exit(f"{result.failed} requests of {BATCH_ORDERS} orders failed.")
    orders = result.requests * BATCH_ORDERS
    return ServerTime(graph_us=graph * 1e6 / orders, outside_us=(total - graph) * 1e6 / orders)


def _resident_changing(run: Run, server: Server, key: str, loads: dict[str, list[Load]]) -> float:
    """Return the maximum resident memory of the worker while champions change under load."""
    worker, maximum, done = server.worker(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            maximum[0] = max(maximum[0], resident_mb(worker))

    def change() -> None:
        log = ChampionLog(Store.open(str(run.prepared.store)))
        for index in range(CHAMPION_CHANGES):
            before = log.current()
            if before is None:
                raise SystemExit("The champion log is empty.")
            bundle = run.prepared.bundles[(index + 1) % 2]
            draft = LogEntryDraft(
                bundle=bundle, date=before.date, action="promote", reason="bench", by="bench", at=before.at
            )
            log.append(draft, before)
            done.wait(CHANGE_SECONDS)

    threads = [threading.Thread(target=watch), threading.Thread(target=change)]
    for thread in threads:
        thread.start()
    target = run.target(server, "/v1/predictions", "six", key)
    result = load(target, CONNECTIONS, int(CHAMPION_CHANGES * CHANGE_SECONDS) + 2, run.cores[1])
    done.set()
    for thread in threads:
        thread.join()
    loads[f"{SIX_MODELS}, while champions change"] = [result]
    return maximum[0]


def _function_times(run: Run, body: str) -> dict[str, float]:
    rounds = "6" if body.startswith("many") else "4"
    command = ("taskset", "-c", str(run.cores[0]), sys.executable, "-m", "benchmarks.api.inside")
    arguments = (str(run.prepared.store), str(run.bodies[body]), rounds)
    output = subprocess.run((*command, *arguments), check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return msgspec.json.decode(output, type=dict[str, float])


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
