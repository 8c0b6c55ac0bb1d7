"""The Grafana dashboards: current, valid PromQL, and only metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.grafana_dashboards import DASHBOARDS, FOLDER, dashboard_text
from tests.deploy.manifests import promtool
from tests.deploy.test_runbooks import exposed_metrics

KUBE_STATE_METRICS = {"kube_job_failed", "kube_job_status_completion_time", "kube_job_status_start_time"}
"""Metrics of kube-state-metrics, from its documentation."""
SUFFIXES = r"_(bucket|count|sum)$"


def queries(name: str) -> list[str]:
    """Return the PromQL of a dashboard, with the variables that Grafana replaces."""
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "5m") for expression in expressions]


def test_files_are_current() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DASHBOARDS)
    for name in DASHBOARDS:
        assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == dashboard_text(name), (
            "Run: python -m scripts.grafana_dashboards"
        )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_metrics_of_dashboard_exist(name: str) -> None:
    used = set(re.findall(r"\b(?:preptime|process|kube)_\w+", " ".join(queries(name))))
    exposed = exposed_metrics() | KUBE_STATE_METRICS
    assert used
    assert {metric for metric in used if metric not in exposed and re.sub(SUFFIXES, "", metric) not in exposed} == set()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_queries_of_dashboard_are_valid(name: str, tmp_path: Path) -> None:
    """`promtool` parses an expression only as part of a rule."""
    assert check_queries([*queries(name)], tmp_path) == 0
    assert check_queries([*queries(name), "sum by (rate(x[5m])"], tmp_path) != 0


def check_queries(expressions: list[str], folder: Path) -> int:
    """Return the exit status of Prometheus' check of these expressions."""
    rules = [{"record": f"query:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    return subprocess.run([promtool(), "check", "rules", path], capture_output=True, check=False).returncode


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_of_dashboard_do_not_overlap(name: str) -> None:
    panels = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["targets"] for panel in panels)
