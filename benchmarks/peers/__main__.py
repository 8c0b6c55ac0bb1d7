"""Measure `preptime serve` next to other model servers, with the same bundle in the same run.

    python -m benchmarks peers                             measure, and write the tables in the docs
    python -m benchmarks peers -- --store models           use a copy of this store instead of training one
    python -m benchmarks.peers --only bentoml --rounds 1   measure one peer, and only print

The first run installs each peer into its own environment, in a cache folder or in `--environments`. It needs a package
index and 2 GB. The versions and hashes are in `benchmarks/peers/requirements`. A run takes about 12 minutes.

It requires Linux, two cores, and `wrk` (Debian: apt-get install wrk). Each server runs alone on one core, and wrk on
another. Before the load, predictions must be within 0.01 s of the bundle's own.

If a peer can't be installed or measured, the others are measured and printed. The docs don't change then, because a
table has only results of one run, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.api.load import require_cores
from benchmarks.api.prepare import Prepared, prepare_champion, write_bodies
from benchmarks.peers.catalog import PACKAGES, PREPTIME, PeerServer, Values, catalog
from benchmarks.peers.environments import PeerError, default_folder, install
from benchmarks.peers.measure import CHECKED_ORDERS, WARM_UP_SECONDS, Round, Run, measure
from benchmarks.peers.predictor import QUANTILES, STORE_VARIABLE, Predictor
from benchmarks.peers.table import markdown


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return 1 unless every server was measured."""
    arguments = _parse(argv)
    cores = require_cores()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers and temporary files are removed
    packages = tuple(arguments.only or PACKAGES)
    missing: dict[str, str] = {}
    environments = _install(packages, arguments.environments, missing)
    with tempfile.TemporaryDirectory(prefix="preptime-peers-") as name:
        prepared = prepare_champion(Path(name), arguments.store)
        run = _run(prepared, cores, arguments.seconds)
        servers = [one for one in catalog(prepared.models) if one.package in (PREPTIME, *packages)]
        load_before = os.getloadavg()[0]
        results = _rounds(run, servers, environments, arguments.rounds, missing)
    conditions = _conditions(run, arguments.rounds, load_before)
    is_complete = not missing and set(packages) == set(PACKAGES)
    _print(servers, results, missing, conditions, as_json=arguments.json, is_complete=is_complete)
    return 0 if is_complete else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, help="store to copy, with a champion (default: train one)")
    parser.add_argument(
        "--environments",
        type=Path,
        default=default_folder(),
        help=f"folder of the peers' environments (default: {default_folder()})",
    )
    parser.add_argument("--only", nargs="+", choices=PACKAGES, metavar="PEER", help=f"of {', '.join(PACKAGES)}")
    parser.add_argument("--seconds", type=int, default=8, help="seconds per load (default: 8)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds over all servers (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args(argv)


def _install(packages: Sequence[str], folder: Path, missing: dict[str, str]) -> dict[str, Path]:
    """Return the environments by package. Adds the peers that can't be installed to `missing`."""
    environments = {}
    for package in packages:
        _report(f"{package}: environment {folder / package}")
        try:
            environments[package] = install(package, folder.absolute())
        except PeerError as error:
            missing[package] = f"The installation failed: {error}"
            _report(f"{package}: {missing[package]}")
    return environments


def _run(prepared: Prepared, cores: tuple[int, int], seconds: int) -> Run:
    """Return the constants of the run, with the predictions that every server must return."""
    lines = write_bodies(prepared)["default"].read_text(encoding="utf-8").splitlines()
    orders = [json.loads(line) for line in lines]
    os.environ[STORE_VARIABLE] = str(prepared.store)
    expected: list[Values] = [
        {name: row[name] for name in QUANTILES} | row["models"]
        for row in Predictor().predict_rows(orders[:CHECKED_ORDERS])
    ]
    return Run(prepared.folder, prepared.store, orders, expected, cores, seconds)


def _rounds(
    run: Run, servers: Sequence[PeerServer], environments: dict[str, Path], rounds: int, missing: dict[str, str]
) -> dict[str, list[Round]]:
    """Measure all servers in each round. Adds those that failed to `missing`, and doesn't start them again."""
    results: dict[str, list[Round]] = {}
    for number in range(1, rounds + 1):
        for server in servers:
            if server.title in missing or server.package in missing:
                continue
            try:
                one = measure(run, server, environments.get(server.package))
            except PeerError as error:
                missing[server.title] = str(error)
                results.pop(server.title, None)
                _report(f"{server.title}: {error}")
                continue
            results.setdefault(server.title, []).append(one)
            rates = ", ".join(f"{load.rate:,.0f}/s at {connections}" for connections, load in one.loads.items())
            _report(f"Round {number}: {server.title}: {rates}")
    return results


def _conditions(run: Run, rounds: int, load_before: float) -> str:
    return (
        f"Each server ran alone on core {run.cores[0]} with one worker, and wrk on core {run.cores[1]}: "
        f"{WARM_UP_SECONDS} s of warm-up, then {run.seconds} s for each number of connections. Ranges cover all rounds "
        f"through the servers ({rounds}), and ratios cover all pairs of rounds. The load average of the machine was "
        f"{load_before:.1f} before and {os.getloadavg()[0]:.1f} after; the run itself adds up to 2."
    )


def _print(
    servers: Sequence[PeerServer],
    results: dict[str, list[Round]],
    missing: dict[str, str],
    conditions: str,
    *,
    as_json: bool,
    is_complete: bool,
) -> None:
    if as_json:
        print(json.dumps({"rounds": msgspec.to_builtins(results, str_keys=True), "missing": missing}))
        return
    print(markdown(servers, results, conditions))
    if is_complete:
        return
    for name, reason in missing.items():
        _report(f"Not measured: {name}: {reason}")
    _report("Not every peer was measured, so the tables in the docs don't change.")


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
