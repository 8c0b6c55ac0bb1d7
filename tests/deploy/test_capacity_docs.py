"""The speed and memory in the deployment docs agree with the latest benchmark."""

from __future__ import annotations

import re

import pytest

from tests.requirements import ROOT

DOCS = ROOT / "docs"
GCP = (DOCS / "deploy-gcp.md").read_text(encoding="utf-8")
KUBERNETES = (DOCS / "deploy-kubernetes.md").read_text(encoding="utf-8")
PRODUCTION = (ROOT / "deploy" / "terraform" / "environments" / "production.tfvars").read_text(encoding="utf-8")


def measured(name: str, unit: str) -> float:
    """Return a value of the benchmark's table."""
    table = (DOCS / "benchmarks-api.md").read_text(encoding="utf-8")
    (value,) = re.findall(rf"^\| {name}[^|]*\| ([\d.,]+) {re.escape(unit)} \|", table, flags=re.MULTILINE)
    return float(value.replace(",", ""))


def documented(page: str, pattern: str) -> float:
    """Return a value of a page. A space in the pattern matches a line break."""
    (value,) = re.findall(pattern.replace(" ", r"\s+"), page)
    return float(value.replace(",", ""))


@pytest.mark.parametrize("page", [GCP, KUBERNETES], ids=["gcp", "kubernetes"])
def test_documented_request_rate_was_measured(page: str) -> None:
    rate = measured("preptime, six models: fastest round", "1/s")
    assert rate / 2 < documented(page, r"about ([\d,]+) requests per second") <= rate


def test_planned_rate_is_slower_than_the_measured_rate() -> None:
    planned = documented(GCP, r"The sizes below use ([\d,]+) requests per second")
    assert planned <= measured("preptime, six models: fastest round", "1/s")
    assert documented(KUBERNETES, r"Plan ([\d,]+)\.") == planned
    assert documented(GCP, r"thirtieth of the ([\d,]+) requests per second") == planned
    assert documented(PRODUCTION, r"planned for ([\d,]+) orders a minute") == 60 * planned
    assert round(60 * planned / 10_000) == 30, "the docs state that 10,000 orders a minute are a thirtieth"


def test_documented_latency_was_measured() -> None:
    median = measured("preptime, six models: p50, 16 connections", "ms")
    assert median <= documented(GCP, r"answered within ([\d.]+) ms") < 2 * median
    assert "with 16 requests open" in GCP.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "gcp_pattern", "kubernetes_pattern"),
    [
        (
            "resident memory of one worker after the load",
            r"A worker takes about ([\d.]+) MB",
            r"after the load \| ([\d.]+) MB",
        ),
        (
            "maximum resident memory while champions change",
            r"([\d.]+) MB while champions change",
            r"while champions change \| ([\d.]+) MB",
        ),
    ],
)
def test_documented_memory_was_measured(name: str, gcp_pattern: str, kubernetes_pattern: str) -> None:
    used = measured(name, "MB")
    assert used <= documented(GCP, gcp_pattern) < 1.5 * used
    assert documented(KUBERNETES, kubernetes_pattern) == documented(GCP, gcp_pattern)
    assert used * 1e6 < 256 * 1024**2, "the memory request of the manifest"
