"""Write the Grafana dashboards of `deploy/grafana`: `python -m scripts.grafana_dashboards`. Standard library only.

A panel is a title, a unit, and PromQL expressions with their legends. Two panels are in a row. Terraform makes the
charts of Cloud Monitoring from `api.json` (deploy/terraform/modules/alerting/dashboard.tf).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
SCHEMA_VERSION = 39
"""The dashboard schema of Grafana 11. Later versions read it."""
PANEL_WIDTH, PANEL_HEIGHT = 12, 8
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
REQUEST_SECONDS = "preptime_request_duration_seconds"


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    unit: str
    """Grafana's name of the unit."""
    queries: Sequence[tuple[str, str]]
    """PromQL and legend."""
    description: str = ""
    limits: Sequence[float] = ()
    """Values at which a horizontal line is drawn, such as the target of an objective."""


def quantile(share: float) -> str:
    """Return the PromQL of a quantile of the request duration by endpoint."""
    return f"histogram_quantile({share}, sum by (le, endpoint) (rate({REQUEST_SECONDS}_bucket[$__rate_interval])))"


def rate(metric: str, label: str, window: str = "$__rate_interval") -> str:
    """Return the PromQL of a rate per second by a label."""
    return f"sum by ({label}) (rate({metric}[{window}]))"


DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "api": (
        "preptime API",
        (
            Panel("Requests by status", "reqps", [(rate("preptime_requests_total", "status"), "{{status}}")]),
            Panel(
                "Requests without a 5xx status, 30 minutes",
                "percentunit",
                [
                    (
                        (
                            '1 - (sum(rate(preptime_requests_total{status=~"5.."}[30m])) or vector(0))'
                            " / sum(rate(preptime_requests_total[30m]))"
                        ),
                        "share",
                    )
                ],
                "The objective is 99.9%.",
                (0.999,),
            ),
            Panel(
                "Latency in the worker",
                "s",
                [(quantile(0.5), "p50 {{endpoint}}"), (quantile(0.99), "p99 {{endpoint}}")],
                "The objective is 99% of predictions within 250 ms.",
                (0.25,),
            ),
            Panel(
                "Rejected requests by cause",
                "reqps",
                [(rate("preptime_rejected_requests_total", "cause"), "{{cause}}")],
            ),
            Panel("Requests by key", "reqps", [(rate("preptime_requests_total", "key"), "{{key}}")]),
            Panel("Orders by endpoint", "reqps", [(rate("preptime_orders_total", "endpoint"), "{{endpoint}}")]),
            Panel(
                "Orders per request and requests per batch, mean",
                "short",
                [
                    (
                        (
                            "sum(rate(preptime_request_orders_sum[$__rate_interval]))"
                            " / sum(rate(preptime_request_orders_count[$__rate_interval]))"
                        ),
                        "orders per request",
                    ),
                    (
                        (
                            "sum(rate(preptime_batch_requests_sum[$__rate_interval]))"
                            " / sum(rate(preptime_batch_requests_count[$__rate_interval]))"
                        ),
                        "requests per batch",
                    ),
                ],
            ),
            Panel(
                "Concurrent requests and orders",
                "short",
                [
                    ("sum(preptime_concurrent_requests)", "requests"),
                    ("sum(preptime_concurrent_orders)", "orders"),
                ],
            ),
            Panel(
                "Workers",
                "short",
                [
                    ("sum(preptime_workers)", "running"),
                    ("sum by (bundle) (preptime_workers_ready)", "ready {{bundle}}"),
                    ("sum(preptime_workers_rejecting_champion)", "rejecting the champion"),
                    ("sum(preptime_workers_without_store)", "without the store"),
                ],
            ),
            Panel(
                "Age of the history",
                "s",
                [("max(preptime_history_age_seconds)", "oldest")],
                "From 30 hours, today's history is missing.",
                (108_000,),
            ),
            Panel(
                "Processor and memory",
                "short",
                [
                    ("sum(rate(process_cpu_seconds_total[$__rate_interval]))", "cores"),
                    ("sum(process_resident_memory_bytes) / 1e9", "memory in GB"),
                ],
            ),
            Panel(
                "Prediction log",
                "short",
                [
                    ("sum(rate(preptime_prediction_log_written_total[$__rate_interval]))", "written per second"),
                    ("sum(rate(preptime_prediction_log_dropped_total[$__rate_interval]))", "dropped per second"),
                ],
            ),
        ),
    ),
    "quality": (
        "preptime prediction quality",
        (
            Panel(
                "Mean absolute error",
                "s",
                [
                    ("preptime_monitor_mae_seconds", "default prediction, {{days}}"),
                    ("preptime_monitor_lookup_mae_seconds", "restaurant lookup, {{days}}"),
                ],
            ),
            Panel(
                "Share of orders within p10 to p90",
                "percentunit",
                [("preptime_monitor_coverage_ratio", "{{days}}")],
                "The target is 80%. An alert fires outside 75% to 85%.",
                (0.75, 0.85),
            ),
            Panel(
                "Bias",
                "s",
                [("preptime_monitor_bias_seconds", "{{days}}")],
                "Mean of predicted minus actual. Above 0, food is ready earlier than predicted.",
                (0,),
            ),
            Panel(
                "Share of predictions within five minutes",
                "percentunit",
                [("preptime_monitor_within_5_min_ratio", "{{days}}")],
            ),
            Panel(
                "Waiting cost per 1,000 orders, 7 days",
                "s",
                [('preptime_monitor_waiting_cost_seconds{days="7d",costs="1:1"}', "{{arrival}}")],
                "Weighted waiting of couriers and food, with equal costs, by when couriers arrive.",
            ),
            Panel("Orders of the window", "short", [("preptime_monitor_orders", "{{state}}")]),
            Panel("Alerts", "short", [("preptime_monitor_alert > 0", "{{rule}} {{segment}} {{value}}")]),
            Panel(
                "Age of the latest monitoring run",
                "s",
                [("time() - max(preptime_monitor_date_seconds)", "age")],
                "From 36 hours, a run is missing.",
                (129_600,),
            ),
        ),
    ),
    "jobs": (
        "preptime daily jobs",
        (
            Panel(
                "Failed jobs",
                "short",
                [('max by (job_name) (kube_job_failed{namespace="preptime",condition="true"})', "{{job_name}}")],
                "From kube-state-metrics.",
            ),
            Panel(
                "Duration of completed jobs",
                "s",
                [
                    (
                        (
                            'max by (job_name) (kube_job_status_completion_time{namespace="preptime"}'
                            ' - kube_job_status_start_time{namespace="preptime"})'
                        ),
                        "{{job_name}}",
                    )
                ],
                "From kube-state-metrics.",
            ),
            Panel(
                "Age of the history",
                "s",
                [("max(preptime_history_age_seconds)", "oldest")],
                "From 30 hours, today's training and refresh are missing.",
                (108_000,),
            ),
            Panel(
                "Number of the champion",
                "short",
                [("max by (bundle) (preptime_champion_number)", "{{bundle}}")],
                "It increases with each entry of the champion log.",
            ),
        ),
    ),
}
"""Title and panels of each dashboard, by the name of its file."""


def dashboard_text(name: str) -> str:
    """Return the JSON of a dashboard."""
    title, panels = DASHBOARDS[name]
    document = {
        "uid": f"preptime-{name}",
        "title": title,
        "tags": ["preptime"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-30d" if name == "quality" else "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(document, indent=1) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, object]:
    steps: list[dict[str, object]] = [{"color": "transparent", "value": None}]
    steps += [{"color": "red", "value": limit} for limit in panel.limits]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "gridPos": {
            "x": PANEL_WIDTH * (number % 2),
            "y": PANEL_HEIGHT * (number // 2),
            "w": PANEL_WIDTH,
            "h": PANEL_HEIGHT,
        },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": {"thresholdsStyle": {"mode": "line" if panel.limits else "off"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + position), "datasource": DATA_SOURCE, "expr": expression, "legendFormat": legend}
            for position, (expression, legend) in enumerate(panel.queries)
        ],
    }


def main() -> int:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(dashboard_text(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
