"""What the pages of deployment say of speed and size is no better than what the benchmark last measured."""

from __future__ import annotations

import re

import pytest

from tests.requirements import ROOT

DOCS = ROOT / "docs"
GCP = (DOCS / "deploy-gcp.md").read_text(encoding="utf-8")
KUBERNETES = (DOCS / "deploy-kubernetes.md").read_text(encoding="utf-8")
PRODUCTION = (ROOT / "deploy" / "terraform" / "environments" / "production.tfvars").read_text(encoding="utf-8")


def measured(what: str, unit: str) -> float:
    """A figure of the benchmark's table."""
    table = (DOCS / "benchmarks-api.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| {what}[^|]*\| ([\d.,]+) {re.escape(unit)} \|", table, flags=re.MULTILINE)
    return float(found.replace(",", ""))


def told(page: str, pattern: str) -> float:
    """A figure of a page, however its lines are broken."""
    (found,) = re.findall(pattern.replace(" ", r"\s+"), page)
    return float(found.replace(",", ""))


@pytest.mark.parametrize("page", [GCP, KUBERNETES], ids=["gcp", "kubernetes"])
def test_no_more_requests_are_promised_than_were_measured(page: str) -> None:
    rate = measured("ours, six models: fastest round", "1/s")
    assert rate / 2 < told(page, r"some ([\d,]+) requests a second") <= rate


def test_no_more_orders_a_minute_are_promised_than_were_measured() -> None:
    a_minute = 60 * measured("ours, six models: fastest round", "1/s")
    assert a_minute / 2 < told(PRODUCTION, r"some ([\d,]+) orders a minute") <= a_minute
    share = 10_000 / a_minute
    assert share < 1 / 20, "an instance answers 10,000 orders a minute many times over"


def test_no_answer_is_promised_sooner_than_it_came() -> None:
    half = measured("ours, six models: p50, 16 connections", "ms")
    assert half <= told(GCP, r"answered within ([\d.]+) ms") < 2 * half
    assert "with 16 requests open" in GCP.replace("\n", " ")


@pytest.mark.parametrize(
    ("what", "of_gcp", "of_kubernetes"),
    [
        (
            "resident memory of one worker after the load",
            r"a worker is some ([\d.]+) MB",
            r"after the load \| ([\d.]+) MB",
        ),
        (
            "the most while champions change",
            r"([\d.]+) MB while champions change",
            r"while champions change \| ([\d.]+) MB",
        ),
    ],
)
def test_no_less_memory_is_asked_for_than_was_taken(what: str, of_gcp: str, of_kubernetes: str) -> None:
    taken = measured(what, "MB")
    assert taken <= told(GCP, of_gcp) < 1.5 * taken
    assert told(KUBERNETES, of_kubernetes) == told(GCP, of_gcp)
    assert taken * 1e6 < 256 * 1024**2, "what the manifest requests"
