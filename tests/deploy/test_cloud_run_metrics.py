"""The API's own metrics on Cloud Run: the sidecar that reads them, and alerts and charts of its series."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.google_apis import unknown_names
from tests.deploy.manifests import promtool
from tests.deploy.terraform_runs import ALERTS, GRAFANA, Plan, Values, Workspace
from tests.deploy.test_grafana import SUFFIXES, check_queries
from tests.deploy.test_runbooks import exposed_metrics

LABEL = 'cluster="__run__"'
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


def without_label(query: str) -> str:
    """Return a query without the label of Cloud Run's series, which each of its metrics must have."""
    assert query.count(LABEL) == len(re.findall(r"preptime_\w+", query)) > 0
    return query.replace(f"{LABEL},", "").replace(f"{{{LABEL}}}", "")


def test_alerts_are_those_of_prometheus(policies: dict[str, Values]) -> None:
    """The same rules on the series of Cloud Run, also if a cluster of the project has such series."""
    assert len(policies) == 8
    found = conditions(policies)
    for name, rule in rules().items():
        query = found[name]["query"]
        assert without_label(query) == rule["expr"]
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


def dashboard(plan: Plan) -> Values:
    """Return the dashboard of Cloud Monitoring."""
    text = plan.resources["module.alerting.google_monitoring_dashboard.preptime"]["dashboard_json"]
    document: Values = json.loads(text)
    return document


def prometheus_charts(plan: Plan) -> dict[str, list[Values]]:
    """Return the data sets with PromQL of each chart, by its title."""
    widgets = [tile["widget"] for tile in dashboard(plan)["mosaicLayout"]["tiles"]]
    data_sets = {widget["title"]: widget["xyChart"]["dataSets"] for widget in widgets}
    return {title: found for title, found in data_sets.items() if "prometheusQuery" in found[0]["timeSeriesQuery"]}


def test_charts_are_those_of_grafana(plans: dict[str, Plan]) -> None:
    """The same queries, legends, units, and limits. Cloud Run measures the processes itself."""
    panels = {panel["title"]: panel for panel in json.loads((GRAFANA / "api.json").read_text("utf-8"))["panels"]}
    assert panels.pop("Processor and memory")
    charts = prometheus_charts(plans["production"])
    assert list(charts) == list(panels)
    units = {"percentunit": "10^2.%", "reqps": "1/s", "s": "s", "short": "1"}
    for title, data_sets in charts.items():
        found = [
            (
                without_label(data_set["timeSeriesQuery"]["prometheusQuery"]),
                re.sub(r"\$\{(\w+)\}", r"{{\1}}", data_set["legendTemplate"]),
                data_set["timeSeriesQuery"]["unitOverride"],
            )
            for data_set in data_sets
        ]
        unit = units[panels[title]["fieldConfig"]["defaults"]["unit"]]
        assert found == [
            (target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"], unit)
            for target in panels[title]["targets"]
        ]
    (latency,) = (
        tile["widget"]["xyChart"]["thresholds"]
        for tile in dashboard(plans["production"])["mosaicLayout"]["tiles"]
        if tile["widget"]["title"] == "Latency in the worker"
    )
    assert latency == [{"value": 0.25}]


def test_queries_of_charts_are_valid(plans: dict[str, Plan], tmp_path: Path) -> None:
    """Prometheus parses them, and the API has their metrics."""
    charts = prometheus_charts(plans["production"]).values()
    queries = [data_set["timeSeriesQuery"]["prometheusQuery"] for data_sets in charts for data_set in data_sets]
    assert check_queries(queries, tmp_path) == 0
    used = {re.sub(SUFFIXES, "", name) for name in re.findall(r"preptime_\w+", " ".join(queries))}
    assert used <= {re.sub(SUFFIXES, "", name) for name in exposed_metrics()}
    assert {name.removeprefix("preptime_") for name in used} >= {
        *("requests_total", "rejected_requests_total", "request_duration_seconds", "concurrent_requests"),
        *("batch_requests", "workers", "history_age_seconds", "prediction_log_dropped_total"),
    }


def test_dashboard_matches_the_schema_of_google(plans: dict[str, Plan]) -> None:
    """Also with planted errors. Without the sidecar, no chart has PromQL. Tiles don't overlap."""
    assert prometheus_charts(plans["staging"]) == {}
    for plan in plans.values():
        document = dashboard(plan)
        assert unknown_names(document, "monitoring.v1", "Dashboard") == []
        tiles = document["mosaicLayout"]["tiles"]
        assert [(tile["xPos"], tile["yPos"]) for tile in tiles] == [
            (24 * (index % 2), 16 * (index // 2)) for index in range(len(tiles))
        ]
    chart = dashboard(plans["production"])["mosaicLayout"]["tiles"][4]
    chart["widget"]["xyChart"]["dataSets"][0] |= {"plotType": "LINES", "promQuery": "up"}
    assert unknown_names(chart, "monitoring.v1", "Tile") == [
        "Tile.widget.xyChart.dataSets.plotType: LINES",
        "Tile.widget.xyChart.dataSets.promQuery",
    ]
