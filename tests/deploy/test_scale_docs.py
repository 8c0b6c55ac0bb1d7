"""docs/scale.md: its costs follow from the measurements, and its batch is the one of the DAGs and Terraform."""

from __future__ import annotations

import re

import pytest

from preptime.env_file import DAG_SETTING_NAMES
from preptime.settings import iter_settings
from tests.deploy.terraform import FOLDER, blocks_of_kind
from tests.requirements import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
BATCHES = (ROOT / "dags" / "preptime_batches.py").read_text(encoding="utf-8")
MODULE = FOLDER / "modules" / "spark"
CORE_DCU = (4 * 0.6 + 6.5 * 0.1) / 4
DRIVER_DCU = 4
PRICE = 0.06
"""USD for a DCU-hour."""


def numbers(pattern: str) -> list[float]:
    """Return the numbers in the first match of a pattern."""
    match = re.search(pattern, PAGE)
    assert match is not None, pattern
    return [float(number) for number in match.groups()]


def row(start: str, occurrence: int) -> list[str]:
    """Return the cells of a row of the table of costs, without the first."""
    lines = [line for line in PAGE.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip(" *") for cell in lines[occurrence].strip("|").split("|")[1:]]


@pytest.mark.parametrize(("job", "occurrence"), [("scoring: ", 0), ("history: ", 1)])
def test_costs_follow_from_the_measurements(job: str, occurrence: int) -> None:
    """Processor time for each order, times orders, divided by the cores, and times the price."""
    if job == "scoring: ":
        seconds = sum(numbers(r"scoring: \(([\d.]+) \+ ([\d.]+)\) µs")) / 1e6
    else:
        python, java, million = numbers(r"history: \(([\d.]+) \+ ([\d.]+)\) s / ([\d.]+) million")
        seconds = (python + java) / million / 1e6
    for column, (orders, executors) in enumerate(((1e8, 2), (1e9, 8))):
        core_hours = seconds * orders / 3600
        hours = core_hours / (executors * 4)
        units = core_hours * CORE_DCU + hours * DRIVER_DCU
        assert row(job, 0)[column] == f"{core_hours:.1f} core hours"
        assert row("executors of 4 cores", occurrence)[column] == f"{executors} executors, {hours:.2f} hours"
        assert row("DCU-hours", occurrence)[column] == f"{units:.1f}"
        assert row("**price", occurrence)[column] == f"{units * PRICE:.2f} USD"


def test_needs_of_one_machine_follow_from_the_measurements() -> None:
    score, history, training = (
        float(row(name, 0)[0].split()[0]) for name in ("`preptime score`", "history (", "memory of `preptime train`")
    )
    for column, orders in enumerate((1e8, 2e8, 1e9), start=1):
        assert float(row("`preptime score`", 0)[column].split()[0]) == round(score * orders / 1e6 / 3600, 2)
        assert float(row("history (", 0)[column].split()[0]) == round(history * orders / 1e6 / 60, 1)
        assert float(row("memory of `preptime train`", 0)[column].split()[0]) == round(training * orders / 1e6)


def test_batch_of_the_page_is_the_batch_of_the_dags() -> None:
    command = PAGE.partition("gcloud dataproc batches submit")[2].partition("```")[0]
    (main_file,), (version,) = re.findall(r"file:///\S+", command), re.findall(r"--version=(\S+)", command)
    assert f'MAIN_FILE = "{main_file}"' in BATCHES
    assert f'RUNTIME_VERSION = "{version}"' in BATCHES
    (cores,) = map(int, re.findall(r"EXECUTOR_CORES = (\d+)", BATCHES))
    (overhead,) = map(int, re.findall(r"OVERHEAD_MB_PER_CORE = (\d+)", BATCHES))
    (heap,) = re.findall(r'"spark.executor.memory": "(\w+)"', BATCHES)
    properties = (
        f"spark.executor.cores={cores},spark.executor.memory={heap},spark.executor.memoryOverhead={cores * overhead}m"
    )
    assert f"--properties={properties}" in command


def test_names_exist() -> None:
    known = {name for setting in iter_settings() for name in setting.names} | DAG_SETTING_NAMES
    assert set(re.findall(r"\bPREPTIME_[A-Z_]+[A-Z]\b", PAGE)) <= known
    assert {"account", "subnetwork", "bucket"} == set(blocks_of_kind("output", MODULE))
    assert "spark" in blocks_of_kind("output")
    assert blocks_of_kind("resource", MODULE)["batches_work"].text("role") == "roles/dataproc.worker"
    for role in re.findall(r"`(roles/\S+)`", PAGE):
        assert f'"{role}"' in (MODULE / "main.tf").read_text(encoding="utf-8")
    assert "been run on Google Cloud yet" in PAGE
