"""The figures of a run, beside their bounds."""

from __future__ import annotations

import msgspec

from benchmarks.api.load import Load


class Row(msgspec.Struct, frozen=True):
    """A figure and, where there is one, its bound."""

    what: str
    found: float
    unit: str
    bound: float | None = None
    at_most: bool = True
    """Whether the bound is the largest good value or the smallest."""

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        if self.bound is None:
            return None
        return self.found <= self.bound if self.at_most else self.found >= self.bound


class Outside(msgspec.Struct, frozen=True):
    """What one of 1,000 orders costs in a whole server."""

    graph_us: float
    """In the graph."""
    outside_us: float
    """In everything else: HTTP, JSON, features, prediction log."""


class Measured(msgspec.Struct, frozen=True):
    """Everything that a run measured."""

    cores: tuple[int, int]
    """The servers' and the load generator's."""
    load_average: tuple[float, float]
    """Of the machine before and after; 2 is what the run itself brings."""
    rounds: dict[str, list[Load]]
    """By server and body: 16 connections, unless the name says one."""
    missing: dict[str, str]
    """Servers that could not be measured, and why."""
    inside: dict[str, dict[str, float]]
    """By body: µs a request in the graph and outside, in the pure function alone."""
    outside: dict[str, Outside]
    """By body of 1,000, of the whole server process."""
    ready_seconds: list[float]
    resident_mb: float
    resident_mb_changing: float
    """The most that was seen while champions changed."""
    changes: int


def worst(loads: list[Load]) -> Load:
    """The round with the largest p99 beside its p50."""
    return max(loads, key=lambda one: one.p99_us / one.p50_us)


def fastest(loads: list[Load]) -> Load:
    """The round that the rest of the machine disturbed least."""
    return max(loads, key=lambda one: one.rate)


def rows(measured: Measured) -> list[Row]:
    """Every figure; what could not be measured is not among them."""
    found = {name: worst(loads) for name, loads in measured.rounds.items()}
    return [
        *(
            Row(f"{name}: fastest round (slowest {min(one.rate for one in loads):,.0f})", fastest(loads).rate, "1/s")
            for name, loads in measured.rounds.items()
        ),
        *_ratios({name: fastest(loads) for name, loads in measured.rounds.items()}),
        *_tails(found),
        *_many(measured),
        Row("start of `preptime serve` to ready", sorted(measured.ready_seconds)[1], "s", 1.5),
        Row("resident memory of one worker after the load", measured.resident_mb, "MB", 250),
        Row(f"the most while champions change ({measured.changes} times)", measured.resident_mb_changing, "MB", 350),
        Row("failed requests, every run of ours", float(_failed(measured)), "", 0),
    ]


def _ratios(found: dict[str, Load]) -> list[Row]:
    asked = (
        ("ours, six models", "a: Flask's development server, pandas, native models", 200.0, "×"),
        ("ours, six models", "b: FastAPI, pydantic, uvicorn, six models", 1.5, "×"),
        ("ours, six models", "c: bare WSGI, six models", None, "%"),
        ("ours, six models", "d: a constant", 10.0, "%"),
        ("ours, default answer", "c: bare WSGI, default answer", None, "%"),
        ("ours, default answer", "d: a constant", 12.0, "%"),
    )
    checked = (
        ("a: Flask's development server, pandas, native models", "c: bare WSGI, six models", "0.12 %"),
        ("b: FastAPI, pydantic, uvicorn, six models", "c: bare WSGI, six models", "25 %"),
        ("c: bare WSGI, default answer", "d: a constant", "26–44 %"),
    )
    ratios = [
        Row(
            f"{ours}, of {name[:1]}",
            found[ours].rate / found[name].rate * (100 if unit == "%" else 1),
            unit,
            bound,
            at_most=False,
        )
        for ours, name, bound, unit in asked
        if ours in found and name in found
    ]
    demo = "a: Flask's development server, pandas, native models"
    wanted = [Row("what 200 × a would be", 200 * found[demo].rate, "1/s")] if demo in found else []
    return [*ratios, *wanted] + [
        Row(f"check of the references: {one[:1]} of {name[:1]}; the design's was {design}", share, "%")
        for one, name, design in checked
        if one in found and name in found
        for share in (found[one].rate / found[name].rate * 100,)
    ]


def _tails(found: dict[str, Load]) -> list[Row]:
    rows = []
    for name, many in found.items():
        # The demo's contract is six models too, and the bounds are not about six loads of a bundle in a dozen seconds.
        bound = name.startswith("ours, ") and "(" not in name and "change" not in name
        if "one connection" in name:
            rows += [
                Row(f"{name}: p50", many.p50_us / 1e3, "ms"),
                Row(f"{name}: p99", many.p99_us / 1e3, "ms", 2 if bound else None),
            ]
        else:
            rows += [
                Row(f"{name}: p50, 16 connections", many.p50_us / 1e3, "ms"),
                Row(f"{name}: p99, 16 connections", many.p99_us / 1e3, "ms"),
                Row(f"{name}: p99 / p50, 16 connections", many.p99_us / many.p50_us, "×", 3 if bound else None),
            ]
    return rows


def _many(measured: Measured) -> list[Row]:
    rows = []
    for body, words in (("default", "default answer"), ("six", "six models")):
        inside = measured.inside[body]
        rows += [
            Row(f"one order, {words}: ONNX", inside["graph"], "µs"),
            Row(f"one order, {words}: the pure function outside ONNX", inside["outside"], "µs"),
        ]
    for body, words in (("many", "default answer"), ("many_six", "six models")):
        inside, server = measured.inside[body], measured.outside[body]
        rows += [
            Row(f"1,000 orders, {words}: ONNX, an order", server.graph_us, "µs"),
            Row(f"1,000 orders, {words}: the pure function outside ONNX, an order", inside["outside"] / 1e3, "µs", 10),
            Row(f"1,000 orders, {words}: the whole server outside ONNX, an order", server.outside_us, "µs", 10),
        ]
    return rows


def _failed(measured: Measured) -> int:
    return sum(one.failed for name, loads in measured.rounds.items() if name.startswith("ours") for one in loads)


def summary(measured: Measured) -> str:
    """What has a bound, and the rates of ours, shortly."""
    told = [row for row in rows(measured) if row.bound is not None or (row.unit == "1/s" and "ours" in row.what)]
    return "\n".join([*_table(told), "", _verdict(measured), _where(measured)])


def markdown(measured: Measured) -> str:
    """The table, with what it was measured on."""
    missing = [f"| {name} | not measured: {why} | | |" for name, why in measured.missing.items()]
    return "\n".join([_verdict(measured), "", *_table(rows(measured)), *missing, "", _where(measured)])


def _verdict(measured: Measured) -> str:
    told = [row for row in rows(measured) if row.bound is not None]
    missed = [row.what for row in told if not row.met]
    if not missed:
        return f"All {len(told)} bounds are met."
    return f"**{len(missed)} of {len(told)} bounds missed**: {'; '.join(missed)}."


def _table(told: list[Row]) -> list[str]:
    lines = ["| what | measured | bound | |", "|---|---:|---:|---|"]
    for row in told:
        sign = "≤" if row.at_most else "≥"
        bound = "" if row.bound is None else f"{sign} {row.bound:g} {row.unit}".strip()
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        lines.append(f"| {row.what} | {f'{_number(row.found)} {row.unit}'.strip()} | {bound} | {verdict} |")
    return lines


def _where(measured: Measured) -> str:
    before, after = measured.load_average
    most = max(len(loads) for loads in measured.rounds.values())
    return (
        f"Servers on core {measured.cores[0]}, wrk on core {measured.cores[1]}; load average of the machine "
        f"{before:.1f} before and {after:.1f} after (the run itself brings up to 2). {most} rounds: rates and their "
        "ratios are those of each server's fastest, p50 and p99 those of the one with the largest p99 beside its p50."
    )


def _number(found: float) -> str:
    return f"{found:,.0f}" if found >= 100 else f"{found:.3g}"
