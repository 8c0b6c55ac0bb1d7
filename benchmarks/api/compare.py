"""Compare the API of this checkout with the API of another checkout, in one run.

    python -m benchmarks.api.compare ../preptime-before --store demo/models

    python -m benchmarks.api.compare --custom-features

The other checkout needs only its source: both run in this environment, on copies of the same store. Use `--other-store`
only for another bundle format: two bundles can have different rates with the same code, up to 30% in batches. With
`--custom-features`, this checkout serves both sides: the same orders without and with five custom features. Both
servers run at the same time on one core, and the loads alternate between them, so that other work on the machine
affects both. Each row has the median over the rounds of the ratio within a round, with the 95% confidence interval of
this median. The exit status is 1 if this checkout is more than `--slower` percent slower in a row.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import binom

from benchmarks.__main__ import ROOT
from benchmarks.api.load import Load, Target, load, missing_program
from benchmarks.api.prepare import Prepared, prepare, prepare_custom, write_bodies
from benchmarks.api.servers import Server, free_port, serving
from preptime.keys import new_key

SERVE = ("-c", "import sys; from preptime.cli import main; sys.exit(main(['serve']))")
LOADS = (("default", 16), ("default", 1), ("six", 16), ("six", 1), ("take_home", 16), ("many", 1), ("many_six", 1))
"""Bodies of `write_bodies`, and the number of connections."""


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?", help="folder of the other checkout")
    parser.add_argument(
        "--custom-features", action="store_true", help="compare a bundle with five custom features with one without"
    )
    parser.add_argument("--store", type=Path, help="store to copy, with a champion (default: train one)")
    parser.add_argument("--other-store", type=Path, help="store of the other checkout, if its bundle format differs")
    parser.add_argument("--seconds", type=int, default=3, help="seconds per load (default: 3)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds over all loads (default: 11)")
    parser.add_argument(
        "--slower", type=float, help="permitted loss of rate in percent (default: 3, with custom features 15)"
    )
    arguments = parser.parse_args()
    if arguments.custom_features == (arguments.other is not None):
        parser.error("give the folder of another checkout, or --custom-features")
    program = missing_program()
    if program is not None:
        sys.exit(f"`{program}` isn't installed. On Debian and Ubuntu, run: apt-get install wrk util-linux")
    with tempfile.TemporaryDirectory(prefix="preptime-compare-") as name, ExitStack() as exit_stack:
        if arguments.custom_features:
            sides, checkout = prepare_custom(Path(name)), ROOT
        else:
            prepared = prepare(Path(name), arguments.store)
            sides, checkout = (prepared, prepared), arguments.other.resolve()
            if arguments.other_store is not None:
                sides = (replace(prepared, store=arguments.other_store.resolve()), prepared)
        before = exit_stack.enter_context(_side(sides[0], checkout, "before"))
        after = exit_stack.enter_context(_side(sides[1], ROOT, "after"))
        rounds = _measure(before, after, arguments.rounds, arguments.seconds)
    permitted = 15.0 if arguments.custom_features else 3.0
    sys.exit(_print_table(rounds, permitted if arguments.slower is None else arguments.slower))


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two servers, and its request bodies."""

    server: Server
    key: str
    bodies: dict[str, Path]


@contextmanager
def _side(prepared: Prepared, checkout: Path, name: str) -> Iterator[_Side]:
    if not (checkout / "src" / "preptime").is_dir():
        sys.exit(f"{checkout} has no folder src/preptime.")
    key, port, folder = new_key("bench"), free_port(), prepared.folder / name
    folder.mkdir()
    environ = {
        "PYTHONPATH": str(checkout / "src"),
        "PREPTIME_STORE": str(prepared.store),
        "PREPTIME_PORT": str(port),
        "PREPTIME_API_KEYS": key.setting,
        "PREPTIME_PREDICTION_LOG_FOLDER": str(folder / "predictions"),
    }
    core = min(os.sched_getaffinity(0))
    with serving((sys.executable, *SERVE), port, core, environ, folder) as server:
        yield _Side(server, key.key, write_bodies(prepared))


Rounds = dict[tuple[str, int], list[tuple[Load, Load]]]
"""For each load, one pair per round: before and after."""


def _measure(before: _Side, after: _Side, rounds: int, seconds: int) -> Rounds:
    core = sorted(os.sched_getaffinity(0))[1]
    results: Rounds = {}

    def run(side: _Side, body: str, connections: int) -> Load:
        path = "/predict" if body == "take_home" else "/v1/predictions"
        return load(Target(side.server.url, path, side.bodies[body], side.key), connections, seconds, core)

    for number in range(rounds):
        for body, connections in LOADS:
            # The order alternates, so that neither side always runs first.
            sides = (before, after) if number % 2 == 0 else (after, before)
            first, second = (run(side, body, connections) for side in sides)
            pair = (first, second) if number % 2 == 0 else (second, first)
            results.setdefault((body, connections), []).append(pair)
            print(f"{body}, {connections}: {pair[0].rate:,.0f} → {pair[1].rate:,.0f}/s", file=sys.stderr, flush=True)
    return results


def _print_table(rounds: Rounds, permitted_percent: float) -> int:
    print("| body | connections | 1/s before | after | ratio (95%) | p99 ms before | after | ratio (95%) | failed |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    slowest = 1.0
    for (body, connections), pairs in rounds.items():
        rate_ratios = [after.rate / before.rate for before, after in pairs]
        slowest = min(slowest, statistics.median(rate_ratios))
        cells = (
            f"{_median(pairs, lambda pair: pair[0].rate):,.0f}",
            f"{_median(pairs, lambda pair: pair[1].rate):,.0f}",
            _format_ratio(rate_ratios),
            f"{_median(pairs, lambda pair: pair[0].p99_us) / 1e3:.2f}",
            f"{_median(pairs, lambda pair: pair[1].p99_us) / 1e3:.2f}",
            _format_ratio([after.p99_us / before.p99_us for before, after in pairs]),
            str(sum(side.failed for pair in pairs for side in pair)),
        )
        print(f"| {body} | {connections} | {' | '.join(cells)} |")
    return int(slowest < 1 - permitted_percent / 100)


def _format_ratio(ratios: list[float]) -> str:
    """Return the median of the rounds and, from six rounds on, its confidence interval: two of the sorted ratios."""
    rank = int(binom.ppf(0.025, len(ratios), 0.5))
    interval = f" ({sorted(ratios)[rank - 1]:.3f} to {sorted(ratios)[-rank]:.3f})" if rank else ""
    return f"{statistics.median(ratios):.3f}{interval}"


def _median(pairs: list[tuple[Load, Load]], value: Callable[[tuple[Load, Load]], float]) -> float:
    return statistics.median(value(pair) for pair in pairs)


if __name__ == "__main__":
    main()
