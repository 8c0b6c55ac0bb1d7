"""How often monitoring's alerts are wrong, and how soon they see a city slow down: `python -m benchmarks.alerts`.

Quiet synthetic months, and months in which cooking in one city takes longer from day 20 on. Each is looked at morning
by morning by `monitor` itself; what is simplified in them says `tests/monitoring/synthetic_months.py`. Seeds are neither those
that thresholds were set on nor those of the acceptance test.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Sequence

from preptime.monitoring.rules import RULES
from preptime.synthetic import SynthesisPlan
from preptime.synthetic.world import Drift
from tests.monitoring.synthetic_months import MonthResult, MonthTask, monitor_months

QUIET_SEEDS = range(5_000, 5_020)
DRIFT_SEEDS = range(6_000, 6_004)
TRAINED_DAYS = 14
MORNINGS = 30
DRIFT_DAY = 20
LAST_MORNING = 28
CITIES = {"London": 0.787, "Paris": 0.063, "Manchester": 0.030}
"""With their shares of the orders."""
PERCENTS = (10, 15, 30)
ORDERS_A_DAY = SynthesisPlan().orders / SynthesisPlan().days


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--part", choices=("quiet", "drift"), help="only this part")
    arguments = parser.parse_args(argv)
    quiet = [] if arguments.part == "drift" else _quiet()
    drifting = {} if arguments.part == "quiet" else _drifting()
    if arguments.json:
        print(json.dumps({"quiet": _quiet_figures(quiet), "drift": _drift_figures(drifting)}))
        return
    tables = [*([_quiet_table(quiet)] if quiet else []), *([_drift_table(drifting)] if drifting else [])]
    print("\n\n".join(tables))


def _plan(seed: int, days: int, drift: Drift | None = None) -> SynthesisPlan:
    return SynthesisPlan(orders=round(ORDERS_A_DAY * days), days=days, seed=seed, drift=drift)


def _quiet() -> list[MonthResult]:
    first = TRAINED_DAYS + 2
    return monitor_months(
        [MonthTask(_plan(seed, TRAINED_DAYS + MORNINGS), first, first + MORNINGS - 1, TRAINED_DAYS) for seed in QUIET_SEEDS]
    )


def _drifting() -> dict[tuple[str, int], list[MonthResult]]:
    cases = [(city, percent) for city in CITIES for percent in PERCENTS]
    tasks = [
        MonthTask(_plan(seed, 30, Drift(city, DRIFT_DAY, 1 + percent / 100)), DRIFT_DAY, LAST_MORNING, trained_days=7)
        for city, percent in cases
        for seed in DRIFT_SEEDS
    ]
    seen = monitor_months(tasks)
    size = len(DRIFT_SEEDS)
    return {case: seen[place * size : (place + 1) * size] for place, case in enumerate(cases)}


def _named(seen: MonthResult, city: str) -> int | None:
    """The first morning that names the city."""
    named = (
        morning
        for morning, alerts in sorted(seen.alerts.items())
        if any((alert.rule, alert.value) == ("slower_than_predicted", city) for alert in alerts)
    )
    return next(named, None)


def _quiet_figures(quiet: list[MonthResult]) -> dict[str, object]:
    fired = Counter(alert.rule for seen in quiet for alerts in seen.alerts.values() for alert in alerts)
    return {
        "months": len(quiet),
        "months_that_fired": sum(bool(seen.alerts) for seen in quiet),
        "alerts": {rule.name: fired[rule.name] for rule in RULES},
    }


def _quiet_table(quiet: list[MonthResult]) -> str:
    lines = [
        f"{len(quiet)} quiet months of {MORNINGS} bundles: {sum(bool(seen.alerts) for seen in quiet)} fired.",
        "",
        "| rule | fires at | unit | nearest in half of the months | in any | alerts |",
        "|---|---:|---|---:|---:|---:|",
    ]
    fired = Counter(alert.rule for seen in quiet for alerts in seen.alerts.values() for alert in alerts)
    for rule in RULES:
        found = [seen.largest[rule.name] for seen in quiet if rule.name in seen.largest]
        nearest = min(found) if rule.name == "volume_low" else max(found)
        unit = rule.unit.partition(",")[0]
        middle = statistics.median(found)
        lines.append(
            f"| `{rule.name}` | {rule.threshold:g} | {unit} | {middle:.2f} | {nearest:.2f} | {fired[rule.name]} |"
        )
    return "\n".join(lines)


def _drift_figures(drifting: dict[tuple[str, int], list[MonthResult]]) -> list[dict[str, object]]:
    return [
        {"city": city, "percent": percent, "first_mornings": [_named(seen, city) for seen in months]}
        for (city, percent), months in drifting.items()
    ]


def _drift_table(drifting: dict[tuple[str, int], list[MonthResult]]) -> str:
    lines = [
        f"Slower from day {DRIFT_DAY} on, {len(DRIFT_SEEDS)} months each: how many name the city by which morning.",
        "",
        "| city (share of the orders) | slower by | day 21 | day 22 | day 24 | day 28 | somebody else named |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (city, percent), months in drifting.items():
        first = [_named(seen, city) for seen in months]
        by = " | ".join(str(sum(one is not None and one <= day for one in first)) for day in (21, 22, 24, 28))
        others = sum(any(alert.value != city for alerts in seen.alerts.values() for alert in alerts) for seen in months)
        lines.append(f"| {city} ({CITIES[city]:.0%}) | {percent} % | {by} | {others} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
