"""The Kubernetes manifests without a cluster: rendering, validation, and consistency with the code."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec
import pytest
import yaml

from preptime.api.metrics import format_exposition
from preptime.api.metrics_files import SharedCounts
from preptime.api.metrics_store import WorkerState
from preptime.cli.app import app
from preptime.env_file import DAG_SETTING_NAMES
from preptime.monitoring.monitor import READ_DAYS
from preptime.monitoring.prometheus import render
from preptime.settings import iter_settings
from tests.deploy.manifests import K8S, Document, iter_values, promtool, tool
from tests.deploy.manifests import render as render_manifests
from tests.monitoring.example import fired
from tests.requirements import ROOT

OVERLAYS = ("local", "gke")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
GOOGLE_KINDS = ("PodMonitoring", "Rules")
"""Kinds of GKE, without a published schema."""


@cache
def overlay_text(overlay: str) -> str:
    """Return a rendered overlay."""
    return render_manifests(K8S / "overlays" / overlay)


def documents(overlay: str) -> list[Document]:
    """Return the documents of an overlay."""
    return msgspec.convert(list(yaml.safe_load_all(overlay_text(overlay))), list[Document])


def find_document(overlay: str, kind: str, name: str) -> Document:
    """Return a document by its kind and name."""
    (document,) = (
        document
        for document in documents(overlay)
        if document["kind"] == kind and as_mapping(document["metadata"])["name"] == name
    )
    return document


def as_mapping(value: object) -> Document:
    """Return a value that is a mapping."""
    return msgspec.convert(value, Document)


def pods(overlay: str) -> Iterator[tuple[str, Document]]:
    """Yield every pod of the overlay: the name of its Deployment or CronJob, and its spec."""
    for document in documents(overlay):
        if document["kind"] in {"Deployment", "CronJob"}:
            (spec,) = (as_mapping(template)["spec"] for template in iter_values(document, "template"))
            yield str(as_mapping(document["metadata"])["name"]), as_mapping(spec)


def containers(spec: Document) -> list[Document]:
    """Return the containers of a pod."""
    return msgspec.convert(spec["containers"], list[Document])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_documents_match_schema(overlay: str, tmp_path: Path) -> None:
    validated = [document for document in documents(overlay) if document["kind"] not in GOOGLE_KINDS]
    path = tmp_path / "rendered.yaml"
    path.write_text("---\n".join(json.dumps(document) + "\n" for document in validated), encoding="utf-8")
    completed = subprocess.run(
        [tool("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert len(validated) > 15


def test_schema_check_detects_typo(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(overlay_text("local").replace("maxUnavailable: 0", "maxUnavailabel: 0"), encoding="utf-8")
    assert subprocess.run([tool("kubernetes-validate"), "--strict", path], capture_output=True, check=False).returncode


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_checkov_finds_nothing_unexplained(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(overlay_text(overlay), encoding="utf-8")
    completed = subprocess.run(
        [tool("checkov"), "--config-file", K8S / "checkov.yaml", "--file", path, "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert json.loads(completed.stdout)["summary"]["passed"] > 300


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted(overlay: str) -> None:
    """Pod Security's `restricted`, and a read-only root file system."""
    labels = as_mapping(as_mapping(find_document(overlay, "Namespace", "preptime")["metadata"])["labels"])
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, spec in pods(overlay):
        assert (name, as_mapping(spec["securityContext"])["runAsNonRoot"]) == (name, True)
        assert as_mapping(spec["securityContext"])["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        kinds = {key for volume in msgspec.convert(spec["volumes"], list[Document]) for key in volume} - {"name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "configMap"}
        for container in containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert as_mapping(as_mapping(container["resources"])["limits"]).keys() == {"memory", "ephemeral-storage"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_service_links_are_disabled(overlay: str) -> None:
    """Their variables can start like settings, and preptime refuses unknown settings."""
    assert all(spec["enableServiceLinks"] is False for _, spec in pods(overlay))
    template = as_mapping(yaml.safe_load((K8S / "airflow" / "pod-template.yaml").read_text(encoding="utf-8")))
    assert as_mapping(template["spec"])["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_exist_and_have_valid_values(overlay: str) -> None:
    known = {name: setting for setting in iter_settings() for name in setting.names}
    values: dict[str, str] = {}
    for document in documents(overlay):
        if document["kind"] == "ConfigMap":
            values |= msgspec.convert(document["data"], dict[str, str])
    single = {
        str(name) for _, spec in pods(overlay) for container in containers(spec) for name in variable_names(container)
    }
    assert len(values) > 10
    assert len(single) > 3
    assert (values.keys() | single) - {"TZ"} <= known.keys()
    for name, value in values.items():
        known[name].convert(name, value)
    assert "PREPTIME_API_KEYS" in single
    # The URL of a database can contain a password. A BigQuery URL can't.
    assert not any(known[name].secret for name, value in values.items() if not value.startswith("bigquery://"))


def test_docs_put_orders_where_jobs_read_them() -> None:
    """The documented commands use a pod that can write to the volume, or a job from a CronJob."""
    page = (ROOT / "docs" / "deploy-kubernetes.md").read_text(encoding="utf-8")
    settings = as_mapping(find_document("local", "ConfigMap", "preptime-jobs")["data"])
    assert (settings["PREPTIME_ORDERS"], settings["PREPTIME_RESTAURANTS"]) == (
        "/data/orders/orders.csv",
        "/data/orders/restaurants.csv",
    )
    assert "cat > /data/orders/$name.csv" in page
    assert {"name": "data", "mountPath": "/data"} in msgspec.convert(
        deployment_container("ui")[0]["volumeMounts"], list[Document]
    )
    (program,) = re.findall(r"sed '(s\|[^']*)'", page)
    ((train,),) = (
        args
        for args in iter_values(find_document("local", "CronJob", "daily-training"), "args")
        if isinstance(args, list)
    )
    completed = subprocess.run(["sed", program], input=str(train), capture_output=True, text=True, check=True)
    arguments = completed.stdout.removeprefix("exec preptime ").split()
    assert arguments[:3] == ["synthesize", "--out", "/data/orders"]
    assert is_valid_command(arguments)


def variable_names(container: Document) -> list[object]:
    """Return the names of a container's single variables."""
    return [as_mapping(variable)["name"] for variable in msgspec.convert(container.get("env") or [], list[Document])]


def test_airflow_values_set_dag_settings() -> None:
    values = as_mapping(yaml.safe_load((K8S / "airflow" / "values.yaml").read_text(encoding="utf-8")))
    settings = {
        str(variable["name"]): str(variable["value"]) for variable in msgspec.convert(values["env"], list[Document])
    }
    assert settings.keys() <= DAG_SETTING_NAMES
    assert settings["PREPTIME_RUNNER"] == "kubernetes"
    (mount,) = msgspec.convert(values["volumeMounts"], list[Document])
    assert settings["PREPTIME_POD_TEMPLATE"] == f"{mount['mountPath']}/pod-template.yaml"
    pinned = re.search(
        r"^apache-airflow==(\S+)", (ROOT / "locks" / "airflow.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert pinned is not None
    assert values["airflowVersion"] == pinned[1]


def test_airflow_component_removes_cron_jobs(tmp_path: Path) -> None:
    overlay = K8S / "overlays" / "local"
    folder = tmp_path / "overlay"
    folder.mkdir()
    lines = ["kind: Kustomization", f"resources: [{relative(overlay, folder)}]"]
    lines.append(f"components: [{relative(K8S / 'airflow', folder)}]")
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rendered = render_manifests(folder)
    assert "kind: CronJob" not in rendered
    assert "airflow-launcher" in rendered
    template = (K8S / "airflow" / "pod-template.yaml").read_text(encoding="utf-8")
    for name in ("preptime-jobs", "results"):
        assert f"name: {name}\n" in rendered
        assert f"ame: {name} }}" in template


def relative(target: Path, start: Path) -> str:
    """Return the relative path from `start` to `target`."""
    return str(Path(*[".."] * len(start.resolve().parts[1:])) / target.resolve().relative_to("/"))


def deployment_container(name: str) -> tuple[Document, dict[str, int], dict[str, str]]:
    """Return the container of a Deployment, its ports by name, and its ConfigMap."""
    (spec,) = (spec for pod, spec in pods("local") if pod == name)
    (container,) = containers(spec)
    ports = {str(port["name"]): port["containerPort"] for port in msgspec.convert(container["ports"], list[Document])}
    config_map = next(
        document["data"] for document in documents("local") if f"preptime-{name}-" in str(document["metadata"])
    )
    return container, msgspec.convert(ports, dict[str, int]), msgspec.convert(config_map, dict[str, str])


def test_api_probes_use_existing_endpoints() -> None:
    serve, ports, settings = deployment_container("api")
    assert ports == {"http": int(settings["PREPTIME_PORT"]), "health": int(settings["PREPTIME_HEALTH_PORT"])}
    probes = {kind: as_mapping(serve[kind])["httpGet"] for kind in PROBES}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "health"},
        "livenessProbe": {"path": "/healthz", "port": "health"},
        "readinessProbe": {"path": "/readyz", "port": "health"},
    }


def test_local_api_creates_its_store_before_it_starts() -> None:
    """The server refuses to start if its store doesn't exist, and the volume is empty before the first training."""
    (spec,) = (spec for name, spec in pods("local") if name == "api")
    (container,) = msgspec.convert(spec["initContainers"], list[Document])
    _, _, settings = deployment_container("api")
    assert container["command"] == ["mkdir", "-p", settings["PREPTIME_STORE"]]
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


def test_dashboard_probes_use_streamlit_endpoint() -> None:
    container, ports, settings = deployment_container("ui")
    assert ports == {"http": int(settings["PREPTIME_UI_PORT"])}
    (endpoint,) = {
        (str(probe["path"]), str(probe["port"]))
        for kind in PROBES
        for probe in iter_values(container[kind], "httpGet")
        if isinstance(probe, dict)
    }
    assert endpoint[1] in ports
    package = find_spec("streamlit")
    assert package is not None
    assert package.origin is not None
    routes = (Path(package.origin).parent / "web" / "server").rglob("*.py")
    assert any(endpoint[0].lstrip("/") in source.read_text(encoding="utf-8") for source in routes)


def test_grace_period_covers_shutdown() -> None:
    """preStop, the server's shutdown timeout, and a reserve."""
    (spec,) = (spec for name, spec in pods("local") if name == "api")
    (serve,) = containers(spec)
    (pause,) = iter_values(serve["lifecycle"], "seconds")
    settings = next(document["data"] for document in documents("local") if "preptime-api" in str(document["metadata"]))
    shutdown_seconds = int(str(as_mapping(settings)["PREPTIME_SHUTDOWN_TIMEOUT_SECONDS"]))
    assert isinstance(pause, int)
    assert msgspec.convert(spec["terminationGracePeriodSeconds"], int) >= pause + shutdown_seconds + 5


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rollout_keeps_all_replicas(overlay: str) -> None:
    spec = as_mapping(find_document(overlay, "Deployment", "api")["spec"])
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert "replicas" not in spec
    budget = as_mapping(find_document(overlay, "PodDisruptionBudget", "api")["spec"])
    assert (budget["maxUnavailable"], budget["selector"]) == (1, spec["selector"])
    scaled = as_mapping(find_document(overlay, "HorizontalPodAutoscaler", "api")["spec"])
    assert as_mapping(scaled["scaleTargetRef"])["name"] == "api"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_cron_jobs_run_valid_commands_with_deadline(overlay: str) -> None:
    jobs = [document for document in documents(overlay) if document["kind"] == "CronJob"]
    commands = []
    for document in jobs:
        spec = as_mapping(document["spec"])
        assert (spec["concurrencyPolicy"], spec["timeZone"]) == ("Forbid", "Europe/London")
        assert msgspec.convert(spec["startingDeadlineSeconds"], int) <= 4 * 3600
        (deadline,) = iter_values(document, "activeDeadlineSeconds")
        assert isinstance(deadline, int)
        ((script,),) = (args for args in iter_values(document, "args") if isinstance(args, list))
        assert f"{{'name': 'TZ', 'value': '{spec['timeZone']}'}}" in str(document)
        lines = re.findall(r"preptime ([^&]+)", str(script))
        assert all(is_valid_command(line.split()) for line in lines)
        commands += [line.split()[0] for line in lines]
        dated = "prune" in str(script) or '--date "$(date +%F)"' in str(script)
        assert dated, script
    assert commands == ["monitor", "score", "respond", "train", "bundles", "results"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_refused_data_and_errors_are_retried(overlay: str) -> None:
    """As in Airflow: alerts, usage errors, and data that stays refused aren't retried. Late data may arrive."""
    no_retry: dict[str, object] = {}
    seconds = 0
    for document in documents(overlay):
        if document["kind"] == "CronJob":
            name = str(as_mapping(document["metadata"])["name"])
            (no_retry[name],) = iter_values(document, "values")
            if name == "daily-training":
                (tries,) = iter_values(document, "backoffLimit")
                seconds = sum(min(10 * 2**retry, 600) for retry in range(msgspec.convert(tries, int)))
    assert no_retry.pop("daily-monitoring") == [1, 2, 4]
    assert len(no_retry) == 4
    assert all(values == [2, 4] for values in no_retry.values())
    assert seconds >= 45 * 60, "orders can be late"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ephemeral_storage_request_is_its_limit(overlay: str) -> None:
    """GKE Autopilot reduces the limit to the request."""
    airflow = as_mapping(yaml.safe_load((K8S / "airflow" / "pod-template.yaml").read_text(encoding="utf-8")))
    for _, spec in (*pods(overlay), ("airflow", as_mapping(airflow["spec"]))):
        (container,) = containers(spec)
        resources = as_mapping(container["resources"])
        sizes = [as_mapping(resources[part])["ephemeral-storage"] for part in ("requests", "limits")]
        (folder_size,) = iter_values(spec["volumes"], "sizeLimit")
        assert sizes == [folder_size, folder_size]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_autoscaler_target_is_below_the_request(overlay: str) -> None:
    """On a full node, a pod gets its request only, and the autoscaler tolerates 10%."""
    (utilization,) = iter_values(find_document(overlay, "HorizontalPodAutoscaler", "api"), "averageUtilization")
    assert msgspec.convert(utilization, int) <= 80


def test_pruning_keeps_bundles_for_monitoring() -> None:
    """At most two bundles a day: the challenger and the refreshed champion."""
    manifests = [overlay_text("local"), (ROOT / "deploy" / "terraform" / "jobs.tf").read_text(encoding="utf-8")]
    for manifest in manifests:
        (count,) = re.findall(r"bundles prune --keep (\d+)", manifest)
        assert int(count) >= 2 * READ_DAYS


def is_valid_command(arguments: list[str]) -> bool:
    """Return whether the command line has this command with these options."""
    command: click.Command | None = app
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), arguments.pop(0))
    assert command is not None
    known = {name for parameter in command.params for name in parameter.opts}
    return {argument for argument in arguments if argument.startswith("--")} <= known


def policies(overlay: str) -> dict[str, Document]:
    """Return the network policies by name."""
    return {
        str(as_mapping(document["metadata"])["name"]): as_mapping(document["spec"])
        for document in documents(overlay)
        if document["kind"] == "NetworkPolicy"
    }


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("local", {"api": ["http", "health"], "ui": ["http"]}),
        ("gke", {"api": ["http", "health"], "ui": ["http"], "api-metrics": ["health"]}),
    ],
)
def test_ingress_is_limited_to_labels(overlay: str, expected: dict[str, list[str]]) -> None:
    """All traffic is denied, except from labels to the API's two ports and the dashboard's port."""
    all_policies = policies(overlay)
    assert all_policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {
        name: [*iter_values(spec.get("ingress") or [], "port")]
        for name, spec in all_policies.items()
        if "ingress" in spec
    }
    assert opened == expected
    assert all(rule for spec in all_policies.values() for rule in iter_values(spec, "from"))


def test_alert_rules_pass_promtool_tests() -> None:
    program = promtool()
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        completed = subprocess.run([program, *command], cwd=K8S / "alerts", capture_output=True, text=True, check=False)
        assert completed.returncode == 0, completed.stdout + completed.stderr
    rules = (K8S / "alerts" / "alerts.yaml").read_text(encoding="utf-8")
    tests = (K8S / "alerts" / "alerts_test.yaml").read_text(encoding="utf-8")
    for name in re.findall(r"alert: (\w+)", rules):
        assert len(re.findall(rf"alertname: {name}\n", tests)) >= 1, name
        assert f"alertname: {name} }}" in tests, f"{name} has no test without an alert"


def test_metrics_in_rules_exist() -> None:
    state = WorkerState(
        updated_at=0.0,
        ready=True,
        bundle="b",
        champion_number=1,
        history_timestamp=0.0,
        rejected_bundle="c",
        champion_error="away",
    )
    exposition = format_exposition(SharedCounts([], []), [state], 1.0)
    exposed = set(re.findall(r"# TYPE (\w+)", exposition.decode() + render(fired()).decode()))
    rules = (K8S / "alerts" / "alerts.yaml").read_text(encoding="utf-8")
    used = {re.sub("_(bucket|count)$", "", name) for name in re.findall(r"\bpreptime_\w+", rules)}
    assert used <= exposed
    assert len(used) > 9
    assert set(re.findall(r"\bkube_\w+", rules)) == {"kube_job_failed"}
