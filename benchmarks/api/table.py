"""The results of a run and their limits, as Markdown."""

from __future__ import annotations

import statistics

import msgspec

from benchmarks.api.load import Load

SIX_MODELS, DEFAULT_MODEL = "preptime, six models", "preptime, default model"
DISPATCH, KITCHEN = "preptime, dispatch", "preptime, live model with five open orders"
FLASK_SERVER = "a: Flask's development server, pandas, native models"
FASTAPI_SERVER = "b: FastAPI, pydantic, uvicorn, six models"
BARE_SIX_MODELS, BARE_DEFAULT_MODEL = "c: bare WSGI, six models", "c: bare WSGI, default model"
CONSTANT_RESPONSE = "d: constant response"
"""Names of the servers in the table."""


class Row(msgspec.Struct, frozen=True):
    """A result and, if it has one, its limit."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    is_maximum: bool = True
    """Whether the limit is a maximum or a minimum."""

    @property
    def met(self) -> bool | None:
        """Whether the limit is met, or None without a limit."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.is_maximum else self.value >= self.limit


class ServerTime(msgspec.Struct, frozen=True):
    """Processor time per order of a request with 1,000 orders, in a whole server."""

    graph_us: float
    """Processor time in the graph, µs."""
    outside_us: float
    """Processor time in everything else, µs: HTTP, JSON, features, prediction log."""


class Measurements(msgspec.Struct, frozen=True):
    """All measurements of a run."""

    cores: tuple[int, int]
    """The cores of the servers and of the load generator."""
    load_average: tuple[float, float]
    """Load average of the machine before and after. The run itself adds 2."""
    rounds: dict[str, list[Load]]
    """Loads by server and body, with 16 connections unless the name has another number."""
    missing: dict[str, str]
    """Servers that couldn't be measured, and the reasons."""
    function_times: dict[str, dict[str, float]]
    """By body: µs per request in the graph and outside, in the pure function."""
    server_times: dict[str, ServerTime]
    """By body with 1,000 orders: times in the server process."""
    ready_seconds: list[float]
    resident_mb: float
    resident_mb_changing: float
    """Maximum while champions changed."""
    champion_changes: int


def slowest_tail(loads: list[Load]) -> Load:
    """Return the round with the largest p99 / p50."""
    return max(loads, key=lambda load: load.p99_us / load.p50_us)


def fastest(loads: list[Load]) -> Load:
    """Return the round with the highest rate, which other load on the machine disturbed least."""
    return max(loads, key=lambda load: load.rate)


def rows(measurements: Measurements) -> list[Row]:
    """Return all results, without those that couldn't be measured."""
    return [
        *(
            Row(f"{name}: fastest round (slowest {min(load.rate for load in loads):,.0f})", fastest(loads).rate, "1/s")
            for name, loads in measurements.rounds.items()
        ),
        *_ratios({name: fastest(loads) for name, loads in measurements.rounds.items()}),
        *_latencies({name: slowest_tail(loads) for name, loads in measurements.rounds.items()}),
        *_single_connection(measurements.rounds),
        *_processor_times(measurements),
        Row("start of `preptime serve` to ready", sorted(measurements.ready_seconds)[1], "s", 1.5),
        Row("resident memory of one worker after the load", measurements.resident_mb, "MB", 250),
        Row(
            f"maximum resident memory while champions change ({measurements.champion_changes} times)",
            measurements.resident_mb_changing,
            "MB",
            350,
        ),
        Row("failed requests in all runs of preptime", float(_failed(measurements)), "", 0),
    ]


def _ratios(loads: dict[str, Load]) -> list[Row]:
    ratios = (
        (SIX_MODELS, FLASK_SERVER, 200.0, "×"),
        (SIX_MODELS, FASTAPI_SERVER, 1.5, "×"),
        (SIX_MODELS, BARE_SIX_MODELS, None, "%"),
        (SIX_MODELS, CONSTANT_RESPONSE, 19.0, "%"),
        (DEFAULT_MODEL, BARE_DEFAULT_MODEL, None, "%"),
        (DEFAULT_MODEL, CONSTANT_RESPONSE, 28.0, "%"),
    )
    variants = ((DISPATCH, 90.0), (KITCHEN, 70.0))
    checks = (
        (FLASK_SERVER, BARE_SIX_MODELS, "0.12 %"),
        (FASTAPI_SERVER, BARE_SIX_MODELS, "25 %"),
        (BARE_DEFAULT_MODEL, CONSTANT_RESPONSE, "26–44 %"),
    )
    rows = [
        Row(
            f"{name}, compared with {reference[:1]}",
            loads[name].rate / loads[reference].rate * (100 if unit == "%" else 1),
            unit,
            limit,
            is_maximum=False,
        )
        for name, reference, limit, unit in ratios
        if name in loads and reference in loads
    ]
    rows += [
        Row(
            f"{name}, compared with the default model",
            loads[name].rate / loads[DEFAULT_MODEL].rate * 100,
            "%",
            limit,
            is_maximum=False,
        )
        for name, limit in variants
        if name in loads
    ]
    if FLASK_SERVER in loads:
        rows.append(Row("200 times the rate of a", 200 * loads[FLASK_SERVER].rate, "1/s"))
    rows += [
        Row(
            f"reference check: {name[:1]} compared with {reference[:1]} (design estimate: {estimate})",
            loads[name].rate / loads[reference].rate * 100,
            "%",
        )
        for name, reference, estimate in checks
        if name in loads and reference in loads
    ]
    return rows


def _latencies(loads: dict[str, Load]) -> list[Row]:
    rows = []
    for name, load in loads.items():
        # The take-home contract has six models too, and loading six bundles in 14 seconds isn't typical.
        has_limit = name.startswith("preptime, ") and "(" not in name and "change" not in name
        if "one connection" in name:
            rows += [
                Row(f"{name}: p50", load.p50_us / 1e3, "ms"),
                Row(f"{name}: p99", load.p99_us / 1e3, "ms"),
            ]
        else:
            rows += [
                Row(f"{name}: p50, 16 connections", load.p50_us / 1e3, "ms"),
                Row(f"{name}: p99, 16 connections", load.p99_us / 1e3, "ms"),
                Row(f"{name}: p99 / p50, 16 connections", load.p99_us / load.p50_us, "×", 3 if has_limit else None),
            ]
    return rows


def _single_connection(rounds: dict[str, list[Load]]) -> list[Row]:
    """Return the latencies of one connection: the median p50 compared with a constant response, and the largest p99."""
    rows = []
    reference = f"{CONSTANT_RESPONSE}, one connection"
    for model in (DEFAULT_MODEL, SIX_MODELS):
        name = f"{model}, one connection"
        if name not in rounds:
            continue
        rows.append(Row(f"{name}: largest p99 of a round", max(load.p99_us for load in rounds[name]) / 1e3, "ms", 2))
        if reference in rounds:
            p50, constant_p50 = (statistics.median(load.p50_us for load in rounds[key]) for key in (name, reference))
            limit = 3.2 if model == DEFAULT_MODEL else None
            rows.append(Row(f"{name}: median p50, compared with d", p50 / constant_p50, "×", limit))
    return rows


def _processor_times(measurements: Measurements) -> list[Row]:
    rows = []
    for body, models in (("default", "default model"), ("six", "six models")):
        function = measurements.function_times[body]
        rows += [
            Row(f"one order, {models}: ONNX", function["graph"], "µs"),
            Row(f"one order, {models}: the pure function outside ONNX", function["outside"], "µs"),
        ]
    for body, models in (("many", "default model"), ("many_six", "six models")):
        function, server = measurements.function_times[body], measurements.server_times[body]
        name = f"1,000 orders, {models}"
        rows += [
            Row(f"{name}: ONNX, per order", server.graph_us, "µs", 15 if body == "many" else None),
            Row(f"{name}: the pure function outside ONNX, per order", function["outside"] / 1e3, "µs", 10),
            Row(f"{name}: the whole server outside ONNX, per order", server.outside_us, "µs", 10),
        ]
    return rows


def _failed(measurements: Measurements) -> int:
    preptime_rounds = [loads for name, loads in measurements.rounds.items() if name.startswith("preptime")]
    return sum(load.failed for loads in preptime_rounds for load in loads)


def key_figures(measurements: Measurements) -> str:
    """Return the key figures of the README as a Markdown table."""
    single_connection = slowest_tail(measurements.rounds[f"{SIX_MODELS}, one connection"])
    return "\n".join(
        [
            "| What | Measured |",
            "|---|---:|",
            f"| Requests per second, six models, one worker | {fastest(measurements.rounds[SIX_MODELS]).rate:,.0f} |",
            f"| p99 latency at one connection | {single_connection.p99_us / 1e3:.2f} ms |",
            f"| Start to ready | {sorted(measurements.ready_seconds)[1]:.2f} s |",
            f"| Memory of one worker | {measurements.resident_mb:.0f} MB |",
        ]
    )


def markdown(measurements: Measurements) -> str:
    """Return all results and the conditions of the run as Markdown."""
    missing = [f"| {name} | not measured: {reason} | | |" for name, reason in measurements.missing.items()]
    all_rows = rows(measurements)
    return "\n".join([_summary(all_rows), "", *_table(all_rows), *missing, "", _conditions(measurements)])


def _summary(all_rows: list[Row]) -> str:
    limited = [row for row in all_rows if row.limit is not None]
    missed = [row.name for row in limited if not row.met]
    if not missed:
        return f"All {len(limited)} limits are met."
    return f"**{len(missed)} of {len(limited)} limits missed**: {'; '.join(missed)}."


def _table(all_rows: list[Row]) -> list[str]:
    lines = ["| What | Measured | Limit | |", "|---|---:|---:|---|"]
    for row in all_rows:
        sign = "≤" if row.is_maximum else "≥"
        limit = "" if row.limit is None else f"{sign} {row.limit:g} {row.unit}".strip()
        result = {True: "met", False: "**missed**", None: ""}[row.met]
        lines.append(f"| {row.name} | {f'{_number(row.value)} {row.unit}'.strip()} | {limit} | {result} |")
    return lines


def _conditions(measurements: Measurements) -> str:
    before, after = measurements.load_average
    rounds = max(len(loads) for loads in measurements.rounds.values())
    return (
        f"The servers ran on core {measurements.cores[0]} and wrk on core {measurements.cores[1]}. The load average of "
        f"the machine was {before:.1f} before and {after:.1f} after; the run itself adds up to 2. Of {rounds} rounds, "
        "rates and their ratios are from the fastest one of each server. p50 and p99 are from the one with the largest "
        "p99 / p50."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
