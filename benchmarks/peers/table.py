"""The results of a run as Markdown. Each figure is a range over the rounds: from the lowest to the highest one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.peers.catalog import PACKAGES, PREPTIME, SIX_MODELS, TITLES, PeerServer
from benchmarks.peers.measure import CONNECTIONS, Round

Results = Mapping[str, Sequence[Round]]
"""The rounds of each server by its name in the table."""


def value_range(values: Sequence[float], text: Callable[[float], str]) -> str:
    """Return the range of the values, or one value if both ends have the same text.

    >>> value_range([4_707.2, 5_029.4], "{:,.0f}".format)
    '4,707–5,029'
    """
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low}–{high}"


def ratios(rates: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest ratio over all pairs of rounds.

    >>> ratios([4_000, 5_000], [1_000, 2_000])
    (2.0, 5.0)
    """
    return min(rates) / max(reference), max(rates) / min(reference)


def summary(servers: Sequence[PeerServer], results: Results) -> str:
    """Return one sentence with the range of ratios to each peer's fastest configuration, for the README."""
    parts = [
        f"{value_range(_ratios_to_fastest(servers, results, package), _factor)} × {TITLES[package]}"
        for package in PACKAGES
    ]
    return (
        "Requests per second of preptime compared with other servers, with the same bundle, six models, and "
        f"{CONNECTIONS[0]} connections: {', '.join(parts[:-1])}, and {parts[-1]}."
    )


def markdown(servers: Sequence[PeerServer], results: Results, conditions: str) -> str:
    """Return the summary, a table for each number of connections, the table of resources, and the conditions."""
    tables = ["\n".join(_load_table(servers, results, connections)) for connections in CONNECTIONS]
    parts = [*tables, "\n".join(_resource_table(results)), conditions]
    if {server.package for server in servers if server.title in results} == {PREPTIME, *PACKAGES}:
        parts.insert(0, summary(servers, results))
    return "\n\n".join(parts)


def _ratios_to_fastest(servers: Sequence[PeerServer], results: Results, package: str) -> tuple[float, float]:
    """Return the ratios of preptime to the configuration of a peer with the highest rate."""
    preptime = _rates(results[_six_models(servers)], CONNECTIONS[0])
    peers = [_rates(results[server.title], CONNECTIONS[0]) for server in servers if server.package == package]
    return ratios(preptime, max(peers, key=max))


def _load_table(servers: Sequence[PeerServer], results: Results, connections: int) -> list[str]:
    title = "one connection" if connections == 1 else f"{connections} connections"
    lines = [
        f"| {title} | requests/s | p50, ms | p99, ms | CPU per request, µs | {SIX_MODELS}, compared with it |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    preptime = results.get(_six_models(servers))
    for name, rounds in results.items():
        loads = [one.loads[connections] for one in rounds]
        rates = _rates(rounds, connections)
        is_peer = not name.startswith("**")
        cells = (
            value_range(rates, "{:,.0f}".format),
            value_range([load.p50_us / 1e3 for load in loads], _milliseconds),
            value_range([load.p99_us / 1e3 for load in loads], _milliseconds),
            value_range([one.processor_us[connections] for one in rounds], "{:,.0f}".format),
            f"{value_range(ratios(_rates(preptime, connections), rates), _factor)} ×" if preptime and is_peer else "",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _resource_table(results: Results) -> list[str]:
    lines = ["| | largest process, MB | all processes, MB | start to ready, s |", "|---|---:|---:|---:|"]
    for name, rounds in results.items():
        cells = (
            value_range([one.largest_mb for one in rounds], "{:.0f}".format),
            value_range([one.total_mb for one in rounds], "{:.0f}".format),
            value_range([one.ready_seconds for one in rounds], "{:.1f}".format),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _six_models(servers: Sequence[PeerServer]) -> str:
    return next(server.title for server in servers if server.package == PREPTIME and server.name == SIX_MODELS)


def _rates(rounds: Sequence[Round], connections: int) -> list[float]:
    return [one.loads[connections].rate for one in rounds]


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _factor(value: float) -> str:
    return f"{value:.0f}" if round(value, 1) >= 10 else f"{value:.1f}"
