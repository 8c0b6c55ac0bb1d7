"""The API's own metrics on Cloud Run: the sidecar that reads them, and alerts on the series that it writes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import promtool
from tests.deploy.terraform_runs import ALERTS, Plan, Values, Workspace

SERIES = "preptime_history_age_seconds"
POLICIES = 'module.alerting.google_monitoring_alert_policy.metrics["'


def containers(plan: Plan, name: str) -> list[Values]:
    """Return the containers of a service."""
    (template,) = plan.resources[f"module.{name}.google_cloud_run_v2_service.service"]["template"]
    found: list[Values] = template["containers"]
    return found


def test_sidecar_reads_the_port_with_metrics(plans: dict[str, Plan]) -> None:
    """Without a configuration, the sidecar reads /metrics of port 8080."""
    main, sidecar = containers(plans["production"], "api")
    assert {variable["name"]: variable["value"] for variable in main["env"]}["PREPTIME_HEALTH_PORT"] == "8080"
    assert [port["container_port"] for port in main["ports"]] == [8000]
    assert (main["name"], sidecar["depends_on"], sidecar["ports"]) == ("main", ["main"], [])
    assert main["startup_probe"], "a container can depend only on one with a startup probe"
    assert re.search(r"/cloud-run-gmp-sidecar:[\d.]+$", sidecar["image"])
    assert not sidecar["resources"][0]["cpu_idle"], "without a CPU between requests, it would read nothing"


def test_only_the_api_has_a_sidecar(plans: dict[str, Plan]) -> None:
    (dashboard,) = containers(plans["production"], "ui")
    (without,) = containers(plans["staging"], "api")
    assert dashboard["name"] == without["name"] is None
    for environment, count in (("production", 1), ("staging", 0)):
        roles = [values["role"] for values in plans[environment].of_type("google_project_iam_member").values()]
        assert roles.count("roles/monitoring.metricWriter") == count


@pytest.fixture(scope="module")
def policies(plans: dict[str, Plan]) -> dict[str, Values]:
    """The alert policies on metrics, by the name of the alert."""
    resources = plans["production"].resources.items()
    return {address[len(POLICIES) : -2]: values for address, values in resources if address.startswith(POLICIES)}


def conditions(policies: dict[str, Values]) -> dict[str, Values]:
    """Return the condition of each policy."""
    return {
        name: values["conditions"][0]["condition_prometheus_query_language"][0] for name, values in policies.items()
    }


def rules() -> dict[str, Values]:
    """Return the rules of the API for Prometheus."""
    groups = yaml.safe_load((ALERTS / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in groups[0]["rules"]}


def test_alerts_are_those_of_prometheus(policies: dict[str, Values]) -> None:
    """The same rules on the series of Cloud Run, also if a cluster of the project has such series."""
    assert len(policies) == 8
    found = conditions(policies)
    label = 'cluster="__run__"'
    for name, rule in rules().items():
        query = found[name]["query"]
        assert query.count(label) == len(re.findall(r"preptime_\w+", query)) > 0
        assert query.replace(f"{label},", "").replace(f"{{{label}}}", "") == rule["expr"]
        assert found[name]["duration"] == f"{60 * int(rule.get('for', '0m')[:-1])}s"
        assert found[name]["disable_metric_validation"], "a metric doesn't exist before the first start"
        severity = {"page": "CRITICAL", "ticket": "WARNING"}[rule["labels"]["severity"]]
        assert policies[name]["severity"] == severity
        assert rule["annotations"]["runbook_url"] in policies[name]["documentation"][0]["content"]


@pytest.mark.parametrize(
    ("environment", "option", "has_alert"),
    [("staging", "-var=gke=false", False), ("production", "-var=ingress=INGRESS_TRAFFIC_INTERNAL_ONLY", True)],
    ids=["scales-to-zero", "internal"],
)
def test_missing_replicas_alert_only_if_some_must_run(
    terraform: Workspace, environment: str, option: str, has_alert: bool
) -> None:
    """The uptime check of Cloud Monitoring can't reach an internal service, but its metrics show missing replicas."""
    resources = terraform.plan(environment, option).resources
    names = {address[len(POLICIES) : -2] for address in resources if address.startswith(POLICIES)}
    assert (set(rules()) - names == set()) is has_alert
    assert names >= set(rules()) - {"PreptimeNoReplica"}
    assert not any("google_monitoring_uptime_check_config" in address for address in resources)


def test_alerts_fire_on_series_of_cloud_run_only(policies: dict[str, Values], tmp_path: Path) -> None:
    rule = {"alert": "A", "expr": conditions(policies)["PreptimeStaleHistory"]["query"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}), encoding="utf-8")
    expected: Values = {"eval_time": "5m", "alertname": "A"}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": f'{SERIES}{{cluster="{cluster}"}}', "values": "200000x10"}],
            "alert_rule_test": [expected | ({"exp_alerts": [{}]} if fires else {})],
        }
        for cluster, fires in (("__run__", True), ("preptime", False))
    ]
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}), encoding="utf-8")
    completed = subprocess.run([promtool(), "test", "rules", path], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
