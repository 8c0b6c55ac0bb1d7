"""False alarm rate and detection time of monitoring's alerts: `python -m benchmarks alerts`.

The benchmark runs `monitor` day by day on quiet synthetic months, and on months in which one city is slower from day
20. For the simplifications, see `tests/monitoring/synthetic_months.py`. The seeds differ from those that set the
thresholds and from those of the acceptance test.
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
MONITORED_DAYS = 30
DRIFT_DAY = 20
LAST_DAY = 28
CITIES = {"London": 0.787, "Paris": 0.063, "Manchester": 0.030}
"""Shares of the orders by city."""
PERCENTS = (10, 15, 30)
ORDERS_PER_DAY = SynthesisPlan().orders / SynthesisPlan().days


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--part", choices=("quiet", "drift"), help="run only this part")
    arguments = parser.parse_args(argv)
    quiet = [] if arguments.part == "drift" else _quiet()
    drifting = {} if arguments.part == "quiet" else _drifting()
    if arguments.json:
        print(json.dumps({"quiet": _quiet_summary(quiet), "drift": _drift_summary(drifting)}))
        return
    tables = [*([_quiet_table(quiet)] if quiet else []), *([_drift_table(drifting)] if drifting else [])]
    print("\n\n".join(tables))


def _plan(seed: int, days: int, drift: Drift | None = None) -> SynthesisPlan:
    return SynthesisPlan(orders=round(ORDERS_PER_DAY * days), days=days, seed=seed, drift=drift)


def _quiet() -> list[MonthResult]:
    first = TRAINED_DAYS + 2
    return monitor_months(
        [
            MonthTask(_plan(seed, TRAINED_DAYS + MONITORED_DAYS), first, first + MONITORED_DAYS - 1, TRAINED_DAYS)
            for seed in QUIET_SEEDS
        ]
    )


def _drifting() -> dict[tuple[str, int], list[MonthResult]]:
    cases = [(city, percent) for city in CITIES for percent in PERCENTS]
    tasks = [
        MonthTask(_plan(seed, 30, Drift(city, DRIFT_DAY, 1 + percent / 100)), DRIFT_DAY, LAST_DAY, trained_days=7)
        for city, percent in cases
        for seed in DRIFT_SEEDS
    ]
    months = monitor_months(tasks)
    size = len(DRIFT_SEEDS)
    return {case: months[index * size : (index + 1) * size] for index, case in enumerate(cases)}


def _first_alert_day(month: MonthResult, city: str) -> int | None:
    """Return the first day with an alert on the city, or None."""
    days = (
        day
        for day, alerts in sorted(month.alerts.items())
        if any((alert.rule, alert.value) == ("slower_than_predicted", city) for alert in alerts)
    )
    return next(days, None)


def _quiet_summary(quiet: list[MonthResult]) -> dict[str, object]:
    fired = Counter(alert.rule for month in quiet for alerts in month.alerts.values() for alert in alerts)
    return {
        "months": len(quiet),
        "months_that_fired": sum(bool(month.alerts) for month in quiet),
        "alerts": {rule.name: fired[rule.name] for rule in RULES},
    }


def _quiet_table(quiet: list[MonthResult]) -> str:
    months_with_alerts = sum(bool(month.alerts) for month in quiet)
    lines = [
        f"{len(quiet)} quiet months with {MONITORED_DAYS} monitored days each: {months_with_alerts} months had alerts.",
        "",
        "| rule | threshold | unit | median of monthly extremes | overall extreme | alerts |",
        "|---|---:|---|---:|---:|---:|",
    ]
    fired = Counter(alert.rule for month in quiet for alerts in month.alerts.values() for alert in alerts)
    for rule in RULES:
        extremes = [month.largest[rule.name] for month in quiet if rule.name in month.largest]
        overall = min(extremes) if rule.name == "volume_low" else max(extremes)
        unit = rule.unit.partition(",")[0]
        median = statistics.median(extremes)
        lines.append(
            f"| `{rule.name}` | {rule.threshold:g} | {unit} | {median:.2f} | {overall:.2f} | {fired[rule.name]} |"
        )
    return "\n".join(lines)


def _drift_summary(drifting: dict[tuple[str, int], list[MonthResult]]) -> list[dict[str, object]]:
    return [
        {"city": city, "percent": percent, "first_alert_days": [_first_alert_day(month, city) for month in months]}
        for (city, percent), months in drifting.items()
    ]


def _drift_table(drifting: dict[tuple[str, int], list[MonthResult]]) -> str:
    setup = f"One city is slower from day {DRIFT_DAY}, in {len(DRIFT_SEEDS)} months each."
    lines = [
        f"{setup} The table counts months with an alert on this city by that day.",
        "",
        "| city (share of orders) | slower by | day 21 | day 22 | day 24 | day 28 | alerts on other segments |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (city, percent), months in drifting.items():
        first = [_first_alert_day(month, city) for month in months]
        by = " | ".join(
            str(sum(alert_day is not None and alert_day <= day for alert_day in first)) for day in (21, 22, 24, 28)
        )
        others = sum(
            any(alert.value != city for alerts in month.alerts.values() for alert in alerts) for month in months
        )
        lines.append(f"| {city} ({CITIES[city]:.0%}) | {percent}% | {by} | {others} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
