"""The Compose profile `monitoring`: the real Prometheus with its configuration, an API, and a monitoring run."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from preptime.monitoring.prometheus import render
from scripts.grafana_dashboards import DASHBOARDS
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, free_port, running_server
from tests.api.test_server import promote
from tests.deploy.engine import send_request
from tests.deploy.http_requests import ORDER
from tests.deploy.manifests import promtool
from tests.deploy.test_grafana import queries
from tests.monitoring.example import DATE, fired
from tests.requirements import ROOT, requires

CONFIGURATION = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
EXPORTER = ROOT / "deploy" / "docker" / "monitor_metrics.py"
TIMEOUT_SECONDS = 60
WITHOUT_DATA = {
    "api": {"preptime_workers_rejecting_champion"},  # none rejects it
    "quality": set[str](),
    "jobs": {"kube_job_failed", "kube_job_status_completion_time"},  # from kube-state-metrics, which isn't here
}
"""Metrics of panels that have no data here, by dashboard."""


@contextmanager
def running(*command: str | Path) -> Iterator[None]:
    """Run a program until the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def fetch(port: int, path: str) -> tuple[int, str | None, str]:
    """Return the status, content type, and body of a response."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()


def wait_until_listening(port: int) -> None:
    """Wait until a program accepts connections."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@dataclass(frozen=True)
class RunningPrometheus:
    """A Prometheus that has read every target."""

    port: int

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the document of Prometheus' API, also for an error."""
        try:
            body = fetch(self.port, f"{path}?{urlencode(parameters)}")[2]
        except OSError:  # It's starting.
            return {"status": "unreachable"}
        document: dict[str, Any] = json.loads(body)
        return document

    def query(self, expression: str) -> dict[str, Any]:
        """Return the document for an expression."""
        return self.get("/api/v1/query", query=expression)

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its state."""
        return [rule for group in self.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def wait_for(self, expression: str) -> None:
        """Wait until an expression has a value."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (answer := self.query(expression)).get("data", {}).get("result"):
            assert time.monotonic() < deadline, (expression, answer)
            time.sleep(0.2)


def local_configuration(folder: Path, targets: dict[str, int]) -> Path:
    """Write the shipped configuration with these ports and without its wait times."""
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    configuration["global"] |= {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    (rules,) = configuration["rule_files"]
    alerts = yaml.safe_load((CONFIGURATION.parent / rules).read_text(encoding="utf-8"))
    for group in alerts["groups"]:
        group["interval"] = "500ms"
    (folder / "alerts.yaml").write_text(yaml.safe_dump(alerts), encoding="utf-8")
    configuration["rule_files"] = ["alerts.yaml"]
    for scrape in configuration["scrape_configs"]:
        scrape.pop("scrape_interval", None)
        scrape["static_configs"] = [{"targets": [f"127.0.0.1:{targets[scrape['job_name']]}"]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return path


def write_results(folder: Path) -> Path:
    """Write two monitoring runs, of which only the newer one has an alert."""
    for date, content in ((DATE.replace(day=1), b"preptime_monitor_old 1\n"), (DATE, render(fired()))):
        (folder / f"date={date}").mkdir(parents=True)
        (folder / f"date={date}" / "monitoring.prom").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPrometheus]:
    """Prometheus, after predictions, with two readings of each target."""
    program = shutil.which("prometheus")
    requires(program, "Prometheus is not installed (Debian package: prometheus)")
    assert program
    folder = tmp_path_factory.mktemp("monitored")
    ports = {name: free_port() for name in ("api", "monitor", "prometheus")}
    promote(folder)
    with ExitStack() as stack:
        server = stack.enter_context(
            running_server(
                folder, SERVE_COMMAND, PREPTIME_HEALTH_PORT=str(ports["api"]), PREPTIME_PREDICTION_LOG="folder"
            )
        )
        stack.enter_context(
            running(
                sys.executable, "-IS", EXPORTER, write_results(folder / "results"), "127.0.0.1", str(ports["monitor"])
            )
        )
        options = (f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{ports['prometheus']}")
        stack.enter_context(running(program, f"--config.file={local_configuration(folder, ports)}", *options))
        server.wait_until("/readyz")
        result = RunningPrometheus(ports["prometheus"])
        headers = {"aikey": PLAIN_KEY, "content-type": "application/json"}
        for count in (1, 2):
            assert send_request(server.port, "/v1/predictions", ORDER, headers)[0] == 200
            result.wait_for(f'preptime_requests_total{{endpoint="/v1/predictions",status="200"}} >= {count}')
        result.wait_for("min(count_over_time(up[1m])) >= 2 and count(up == 1) == 2")
        yield result


def test_configuration_is_valid(tmp_path: Path) -> None:
    """With the shipped alerts, at the path that the file names."""
    assert promtool_status("check", "config", CONFIGURATION) == 0
    broken = tmp_path / "broken.yaml"
    broken.write_text(CONFIGURATION.read_text(encoding="utf-8").replace("rule_files", "rules_files"), encoding="utf-8")
    assert promtool_status("check", "config", broken) != 0


def promtool_status(*arguments: str | Path) -> int:
    """Return the exit status of promtool."""
    return subprocess.run([promtool(), *arguments], capture_output=True, check=False).returncode


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_has_data(name: str, prometheus: RunningPrometheus) -> None:
    """Every query of every panel, in the real Prometheus."""
    without_data: set[str] = set()
    for expression in queries(name):
        answer = prometheus.query(expression)
        assert answer["status"] == "success", (expression, answer)
        if not answer["data"]["result"]:
            without_data |= set(re.findall(r"\b(?:preptime|kube|process)_\w+", expression)[:1])
    assert without_data == WITHOUT_DATA[name]


def test_invalid_query_is_an_error(prometheus: RunningPrometheus) -> None:
    assert prometheus.query("sum by (rate(x[5m])")["status"] == "error"
    assert prometheus.query("preptime_unknown")["data"]["result"] == []


def test_rules_are_evaluated_without_error(prometheus: RunningPrometheus) -> None:
    prometheus.wait_for('ALERTS{alertname="PreptimeMonitoringAlert",alertstate="firing"}')
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while "unknown" in {rule["health"] for rule in prometheus.rules()}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    rules = prometheus.rules()
    shipped = yaml.safe_load((CONFIGURATION.parent / "../k8s/alerts/alerts.yaml").read_text(encoding="utf-8"))
    assert len(rules) == sum(len(group["rules"]) for group in shipped["groups"])
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
    firing = {
        alert["labels"]["alertname"] for rule in rules for alert in rule.get("alerts", []) if alert["state"] == "firing"
    }
    assert firing == {"PreptimeMonitoringAlert"}  # The others wait, and the API has no problem.


def test_newest_monitoring_run_is_served(tmp_path: Path) -> None:
    results, port = tmp_path / "results", free_port()
    with running(sys.executable, "-IS", EXPORTER, results, "127.0.0.1", str(port)):
        wait_until_listening(port)
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        assert fetch(port, "/metrics") == (200, content_type, "")
        write_results(results)
        assert fetch(port, "/metrics") == (200, content_type, render(fired()).decode())
        assert fetch(port, "/results")[0] == 404
        (results / f"date={DATE}" / "monitoring.prom").unlink()
        (results / f"date={DATE}" / "monitoring.prom").mkdir()
        assert fetch(port, "/metrics")[0] == 503
