"""The memory that the limits of the API allow, as documented, fits into the memory of every manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import yaml

from preptime.api.limits import SMALL_BODY_BYTES
from preptime.api.prediction_log import MAX_QUEUED_ORDERS
from preptime.api.server import MAX_CONNECTIONS, MAX_HEADER_BYTES
from preptime.settings import Settings
from tests.deploy.test_capacity_docs import measured
from tests.requirements import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("### Limits and memory")[2].partition("\n### ")[0]
MEBIBYTE, MEGABYTE = 2**20, 1e6
UNITS = {"Mi": MEBIBYTE, "Gi": 2**30, "m": MEBIBYTE, "g": 2**30}
CLOUD_RUN_FILES_MB = 80.0
"""Copies of bundles in Cloud Run's file system, which is in memory."""


def documented_parts() -> dict[str, str]:
    """Return the parts of the documented sum with their amounts, such as `160` or `10 × PREPTIME_… / 1,000,000`."""
    table = SECTION.partition("| Part | MB |")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", table, flags=re.MULTILINE)
    return {part: amount.replace("`", "") for part, amount in rows}


def amount_mb(amount: str, settings: Settings) -> float:
    """Return an amount in MB with these settings."""
    factor, _, rest = amount.partition(" × PREPTIME_")
    if not rest:
        return float(factor)
    name, _, divisor = rest.partition(" / ")
    value: float = getattr(settings, name.strip().lower())
    return float(factor) * value / float(divisor.replace(",", "") or 1)


def needed_mb(settings: Settings) -> float:
    """Return the documented maximum memory of a server."""
    main, *parts = (amount_mb(amount, settings) for amount in documented_parts().values())
    return main + settings.workers * sum(parts)


def memory_bytes(text: str) -> float:
    """Return a memory limit in bytes: `1Gi`, `512Mi`, or Compose's `1g`."""
    number, unit = re.fullmatch(r"(\d+)(\D+)", text.strip('"')).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def settings_of(variables: Mapping[str, str]) -> Settings:
    """Return the settings of a manifest."""
    return Settings.load({name: value for name, value in variables.items() if name.startswith("PREPTIME_")})


def kubernetes() -> tuple[Settings, float]:
    base = ROOT / "deploy" / "k8s" / "base"
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text(encoding="utf-8"))
    (literals,) = (item["literals"] for item in kustomization["configMapGenerator"] if item["name"] == "preptime-api")
    documents = yaml.safe_load_all((base / "api.yaml").read_text(encoding="utf-8"))
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = dict(literal.split("=", 1) for literal in literals)
    return settings_of(variables), memory_bytes(container["resources"]["limits"]["memory"])


def compose() -> tuple[Settings, float]:
    api = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["api"]
    variables = {name: str(value) for name, value in api["environment"].items() if "${" not in str(value)}
    return settings_of(variables), memory_bytes(api["mem_limit"])


def cloud_run(environment: str) -> tuple[Settings, float]:
    folder = ROOT / "deploy" / "terraform"
    main = (folder / "main.tf").read_text(encoding="utf-8").partition('module "api"')[2].partition("\nmodule ")[0]
    variables = dict(re.findall(r'^\s+(PREPTIME_\w+)\s*=\s*"([^"$]*)"', main, flags=re.MULTILINE))
    values = (folder / "environments" / f"{environment}.tfvars").read_text(encoding="utf-8")
    api = values.partition("api = {")[2].partition("}")[0]
    fields = dict(re.findall(r"^\s+(\w+)\s*=\s*(\S+)", api, flags=re.MULTILINE))
    assert "PREPTIME_WORKERS               = tostring(var.api.cpu)" in main
    available = memory_bytes(fields["memory"]) - CLOUD_RUN_FILES_MB * MEGABYTE
    return settings_of(variables | {"PREPTIME_WORKERS": fields["cpu"]}), available


def vertex() -> tuple[Settings, float]:
    """Vertex AI's `n1-standard-2` has 7.5 GB."""
    page = (ROOT / "docs" / "deploy-vertex.md").read_text(encoding="utf-8")
    assert "`n1-standard-2` has two cores, so add `PREPTIME_WORKERS=2`" in page
    return Settings(workers=2), 7.5e9


MANIFESTS = {
    "kubernetes": kubernetes,
    "compose": compose,
    "cloud_run_production": lambda: cloud_run("production"),
    "cloud_run_staging": lambda: cloud_run("staging"),
    "vertex": vertex,
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_limits_fit_into_the_memory_of_the_manifest(name: str) -> None:
    settings, available = MANIFESTS[name]()
    assert needed_mb(settings) * MEGABYTE <= available


def test_documented_sums_are_computed_from_the_table() -> None:
    default, limited = Settings(), kubernetes()[0]
    assert f"the sum is {needed_mb(default):,.0f} MB" in SECTION
    assert f"`PREPTIME_BUNDLE_LOAD_MEMORY_MB={limited.bundle_load_memory_mb}`, which gives" in SECTION
    assert f"which gives {needed_mb(limited):,.0f} MB" in SECTION
    assert len(documented_parts()) == 11


def test_fixed_parts_follow_from_the_code_and_the_benchmark() -> None:
    parts = documented_parts()
    after_load = measured("resident memory of one worker after the load", "MB")
    changing = measured("maximum resident memory while champions change", "MB")
    assert after_load <= float(parts["worker with six models, after a load"])
    assert changing - after_load <= float(parts["second bundle during a champion change"])
    assert float(parts["connections"]) + 0.5 >= MAX_CONNECTIONS * MAX_HEADER_BYTES / MEGABYTE
    assert amount_mb(parts["small bodies"], Settings()) >= 64 * 10 * SMALL_BODY_BYTES / MEGABYTE
    assert float(parts["prediction log"]) >= MAX_QUEUED_ORDERS * 1500 / MEGABYTE
    assert amount_mb(parts["bodies"], Settings()) == 10 * Settings().max_concurrent_bytes / MEGABYTE
