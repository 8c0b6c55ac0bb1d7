"""The manifests, as far as they can be checked without a cluster: rendered, validated, and held to the code."""

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
from preptime.api.metrics_store import WorkerState
from preptime.cli.app import app
from preptime.monitoring.monitor import READ_DAYS
from preptime.monitoring.prometheus import render
from preptime.settings import DAG_SETTING_NAMES, iter_settings
from preptime.sources.bigquery.client import BigQueryAddress
from tests.deploy.manifests import K8S, Document, inside, promtool, rendered, tool
from tests.monitoring.example import fired
from tests.requirements import ROOT

OVERLAYS = ("local", "gke")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
OF_GOOGLE = ("PodMonitoring", "Rules")
"""Kinds that only GKE knows: no published schema to check them with."""


@cache
def text(overlay: str) -> str:
    """An overlay, rendered."""
    return rendered(K8S / "overlays" / overlay)


def documents(overlay: str) -> list[Document]:
    """Its documents."""
    return msgspec.convert(list(yaml.safe_load_all(text(overlay))), list[Document])


def named(overlay: str, kind: str, name: str) -> Document:
    """One of them."""
    (found,) = (one for one in documents(overlay) if one["kind"] == kind and plain(one["metadata"])["name"] == name)
    return found


def plain(value: object) -> Document:
    """A part that is a mapping."""
    return msgspec.convert(value, Document)


def pods(overlay: str) -> Iterator[tuple[str, Document]]:
    """Every pod that the overlay runs: the name of what runs it, and its spec."""
    for one in documents(overlay):
        if one["kind"] in {"Deployment", "CronJob"}:
            (spec,) = (plain(template)["spec"] for template in inside(one, "template"))
            yield str(plain(one["metadata"])["name"]), plain(spec)


def containers(spec: Document) -> list[Document]:
    """A pod's containers."""
    return msgspec.convert(spec["containers"], list[Document])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_document_is_what_its_schema_says(overlay: str, tmp_path: Path) -> None:
    kept = [one for one in documents(overlay) if one["kind"] not in OF_GOOGLE]
    path = tmp_path / "rendered.yaml"
    path.write_text("---\n".join(json.dumps(one) + "\n" for one in kept), encoding="utf-8")
    checked = subprocess.run(
        [tool("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(kept) > 15


def test_the_way_in_that_googles_page_shows_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy-gke.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    path = tmp_path / "shown.yaml"
    path.write_text(shown, encoding="utf-8")
    checked = subprocess.run(
        [tool("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    service, policy = msgspec.convert(list(yaml.safe_load_all(shown)), list[Document])
    deployed = plain(named("gke", "Deployment", "api")["spec"])
    chosen = plain(plain(deployed["selector"])["matchLabels"])
    assert plain(service["spec"])["selector"] == chosen
    assert plain(plain(policy["spec"])["podSelector"])["matchLabels"] == chosen
    assert [*inside(policy, "cidr")] == plain(service["spec"])["loadBalancerSourceRanges"]


def test_the_schema_check_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text("local").replace("maxUnavailable: 0", "maxUnavailabel: 0"), encoding="utf-8")
    assert subprocess.run([tool("kubernetes-validate"), "--strict", path], capture_output=True, check=False).returncode


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_checkov_finds_nothing_but_the_explained(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(text(overlay), encoding="utf-8")
    checked = subprocess.run(
        [tool("checkov"), "--config-file", K8S / "checkov.yaml", "--file", path, "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)["summary"]["passed"] > 300


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    """What Pod Security's `restricted` asks for, and a root that nothing writes to."""
    labels = plain(plain(named(overlay, "Namespace", "preptime")["metadata"])["labels"])
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, spec in pods(overlay):
        assert (name, plain(spec["securityContext"])["runAsNonRoot"]) == (name, True)
        assert plain(spec["securityContext"])["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        kinds = {key for volume in msgspec.convert(spec["volumes"], list[Document]) for key in volume} - {"name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "configMap"}
        for one in containers(spec):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert plain(plain(one["resources"])["limits"]).keys() == {"memory", "ephemeral-storage"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_gets_variables_of_services(overlay: str) -> None:
    """They would begin like settings, and preptime refuses settings that it does not know."""
    assert all(spec["enableServiceLinks"] is False for _, spec in pods(overlay))
    template = plain(yaml.safe_load((K8S / "airflow" / "pod-template.yaml").read_text(encoding="utf-8")))
    assert plain(template["spec"])["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_named_exists_and_takes_its_value(overlay: str) -> None:
    known = {name: setting for setting in iter_settings() for name in setting.names}
    given: dict[str, str] = {}
    for one in documents(overlay):
        if one["kind"] == "ConfigMap":
            given |= msgspec.convert(one["data"], dict[str, str])
    named_alone = {str(name) for _, spec in pods(overlay) for one in containers(spec) for name in named_in(one)}
    assert len(given) > 10
    assert len(named_alone) > 3
    assert (given.keys() | named_alone) - {"TZ"} <= known.keys()
    for name, value in given.items():
        known[name].convert(name, value)
    assert "PREPTIME_API_KEYS" in named_alone
    # A database's address may hold a password; BigQuery's has no place for one.
    assert not any(known[name].secret for name, value in given.items() if not value.startswith("bigquery://"))


def test_orders_get_where_the_jobs_look_for_them() -> None:
    """The page's commands: through a pod that may write to the volume, or by a job that a CronJob's is made into."""
    page = (ROOT / "docs" / "deploy-kubernetes.md").read_text(encoding="utf-8")
    settings = plain(named("local", "ConfigMap", "preptime-jobs")["data"])
    assert (settings["PREPTIME_ORDERS"], settings["PREPTIME_RESTAURANTS"]) == (
        "/data/orders/orders.csv",
        "/data/orders/restaurants.csv",
    )
    assert "cat > /data/orders/$name.csv" in page
    assert {"name": "data", "mountPath": "/data"} in msgspec.convert(opened_by("ui")[0]["volumeMounts"], list[Document])
    (program,) = re.findall(r"sed '(s\|[^']*)'", page)
    ((train,),) = (
        args for args in inside(named("local", "CronJob", "daily-training"), "args") if isinstance(args, list)
    )
    ran = subprocess.run(["sed", program], input=str(train), capture_output=True, text=True, check=True)
    words = ran.stdout.removeprefix("exec preptime ").split()
    assert words[:3] == ["synthesize", "--out", "/data/orders"]
    assert understood(words)


def named_in(container: Document) -> list[object]:
    """The variables that a container is given one by one."""
    return [plain(one)["name"] for one in msgspec.convert(container.get("env") or [], list[Document])]


def test_airflow_is_told_what_its_dags_read() -> None:
    values = plain(yaml.safe_load((K8S / "airflow" / "values.yaml").read_text(encoding="utf-8")))
    given = {str(one["name"]): str(one["value"]) for one in msgspec.convert(values["env"], list[Document])}
    assert given.keys() <= DAG_SETTING_NAMES
    assert given["PREPTIME_RUNNER"] == "kubernetes"
    (mounted,) = msgspec.convert(values["volumeMounts"], list[Document])
    assert given["PREPTIME_POD_TEMPLATE"] == f"{mounted['mountPath']}/pod-template.yaml"
    pinned = re.search(
        r"^apache-airflow==(\S+)", (ROOT / "locks" / "airflow.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert pinned is not None
    assert values["airflowVersion"] == pinned[1]


def test_with_airflow_there_are_no_cron_jobs(tmp_path: Path) -> None:
    overlay = K8S / "overlays" / "local"
    folder = tmp_path / "overlay"
    folder.mkdir()
    lines = ["kind: Kustomization", f"resources: [{relative(overlay, folder)}]"]
    lines.append(f"components: [{relative(K8S / 'airflow', folder)}]")
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = rendered(folder)
    assert "kind: CronJob" not in found
    assert "airflow-launcher" in found
    template = (K8S / "airflow" / "pod-template.yaml").read_text(encoding="utf-8")
    for name in ("preptime-jobs", "results"):
        assert f"name: {name}\n" in found
        assert f"ame: {name} }}" in template


def relative(target: Path, start: Path) -> str:
    """A path from one folder to another."""
    return str(Path(*[".."] * len(start.resolve().parts[1:])) / target.resolve().relative_to("/"))


def opened_by(name: str) -> tuple[Document, dict[str, int], dict[str, str]]:
    """The container of a Deployment, its ports by name, and the settings that it is given as a map."""
    (spec,) = (spec for pod, spec in pods("local") if pod == name)
    (container,) = containers(spec)
    ports = {str(one["name"]): one["containerPort"] for one in msgspec.convert(container["ports"], list[Document])}
    given = next(one["data"] for one in documents("local") if f"preptime-{name}-" in str(one["metadata"]))
    return container, msgspec.convert(ports, dict[str, int]), msgspec.convert(given, dict[str, str])


def test_probes_ask_endpoints_that_exist_on_ports_that_are_open() -> None:
    serve, ports, settings = opened_by("api")
    assert ports == {"http": int(settings["PREPTIME_PORT"]), "health": int(settings["PREPTIME_HEALTH_PORT"])}
    probes = {kind: plain(serve[kind])["httpGet"] for kind in PROBES}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "health"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "health"},
    }


def test_probes_of_the_page_ask_where_streamlit_answers() -> None:
    page, ports, settings = opened_by("ui")
    assert ports == {"http": int(settings["PREPTIME_UI_PORT"])}
    (asked,) = {
        (str(probe["path"]), str(probe["port"]))
        for kind in PROBES
        for probe in inside(page[kind], "httpGet")
        if isinstance(probe, dict)
    }
    assert asked[1] in ports
    package = find_spec("streamlit")
    assert package is not None
    assert package.origin is not None
    routes = (Path(package.origin).parent / "web" / "server").rglob("*.py")
    assert any(asked[0].lstrip("/") in source.read_text(encoding="utf-8") for source in routes)


def test_a_pod_has_time_to_end() -> None:
    """preStop, what the server is given, and something to spare."""
    (spec,) = (spec for name, spec in pods("local") if name == "api")
    (serve,) = containers(spec)
    (pause,) = inside(serve["lifecycle"], "seconds")
    grace = next(one["data"] for one in documents("local") if "preptime-api" in str(one["metadata"]))
    server = int(str(plain(grace)["PREPTIME_SHUTDOWN_TIMEOUT_SECONDS"]))
    assert isinstance(pause, int)
    assert msgspec.convert(spec["terminationGracePeriodSeconds"], int) >= pause + server + 5


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_rollout_takes_no_replica_away(overlay: str) -> None:
    spec = plain(named(overlay, "Deployment", "api")["spec"])
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert "replicas" not in spec
    budget = plain(named(overlay, "PodDisruptionBudget", "api")["spec"])
    assert (budget["maxUnavailable"], budget["selector"]) == (1, spec["selector"])
    scaled = plain(named(overlay, "HorizontalPodAutoscaler", "api")["spec"])
    assert plain(scaled["scaleTargetRef"])["name"] == "api"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_cron_jobs_call_verbs_that_exist_once_at_a_time_with_a_deadline(overlay: str) -> None:
    jobs = [one for one in documents(overlay) if one["kind"] == "CronJob"]
    called = []
    for one in jobs:
        spec = plain(one["spec"])
        assert (spec["concurrencyPolicy"], spec["timeZone"]) == ("Forbid", "Europe/London")
        assert msgspec.convert(spec["startingDeadlineSeconds"], int) <= 4 * 3600
        (deadline,) = inside(one, "activeDeadlineSeconds")
        assert isinstance(deadline, int)
        ((script,),) = (args for args in inside(one, "args") if isinstance(args, list))
        assert f"{{'name': 'TZ', 'value': '{spec['timeZone']}'}}" in str(one)
        lines = re.findall(r"preptime ([^&]+)", str(script))
        assert all(understood(line.split()) for line in lines)
        called += [line.split()[0] for line in lines]
        dated = "prune" in str(script) or '--date "$(date +%F)"' in str(script)
        assert dated, script
    assert called == ["monitor", "score", "respond", "train", "bundles", "results"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_answers_are_not_asked_for_again_and_late_data_is(overlay: str) -> None:
    """As in Airflow: an alert and wrong use stand; data that was refused may be whole ten minutes later."""
    final: dict[str, object] = {}
    seconds = 0
    for one in documents(overlay):
        if one["kind"] == "CronJob":
            name = str(plain(one["metadata"])["name"])
            (final[name],) = inside(one, "values")
            if name == "daily-training":
                (tries,) = inside(one, "backoffLimit")
                seconds = sum(min(10 * 2**again, 600) for again in range(msgspec.convert(tries, int)))
    assert final.pop("daily-monitoring") == [1, 2]
    assert len(final) == 4
    assert all(values == [2] for values in final.values())
    assert seconds >= 600


def test_bundles_are_kept_as_long_as_monitoring_looks_back() -> None:
    """Two a day (the comparison's challenger and the refreshed champion), wherever they are pruned."""
    kept = [text("local"), (ROOT / "deploy" / "terraform" / "jobs.tf").read_text(encoding="utf-8")]
    for place in kept:
        (count,) = re.findall(r"bundles prune --keep (\d+)", place)
        assert int(count) >= 2 * READ_DAYS


def understood(words: list[str]) -> bool:
    """Whether the command line has this verb with these options."""
    command: click.Command = app
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts}
    return {word for word in words if word.startswith("--")} <= known


def policies(overlay: str) -> dict[str, Document]:
    """The network policies, by name."""
    return {
        str(plain(one["metadata"])["name"]): plain(one["spec"])
        for one in documents(overlay)
        if one["kind"] == "NetworkPolicy"
    }


@pytest.mark.parametrize(
    ("overlay", "into"),
    [
        ("local", {"api": ["http", "health"], "ui": ["http"]}),
        ("gke", {"api": ["http", "health"], "ui": ["http"], "api-metrics": ["health"]}),
    ],
)
def test_what_comes_in_is_named(overlay: str, into: dict[str, list[str]]) -> None:
    """Everything is closed; the API's two ports and the page's one are open to labels, and to nothing else."""
    found = policies(overlay)
    assert found["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {name: [*inside(spec.get("ingress") or [], "port")] for name, spec in found.items() if "ingress" in spec}
    assert opened == into
    assert all(rule for spec in found.values() for rule in inside(spec, "from"))


def test_google_is_reached_and_nothing_private_but_what_it_takes() -> None:
    """Names by the cache of the node or by Cloud DNS; the metadata server; public addresses by TLS."""
    found = policies("gke")
    (names,) = msgspec.convert(found["names-of-google"]["egress"], list[Document])
    assert names["ports"] == [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    assert [*inside(names, "cidr")] == ["169.254.20.10/32", "169.254.169.254/32"]
    assert [*inside(names, "k8s-app")] == ["node-local-dns"]
    (public, *metadata) = msgspec.convert(found["google"]["egress"], list[Document])
    assert [*inside(public, "port")] == [443]
    private = msgspec.convert(next(inside(public, "except")), list[str])
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} == set(private)
    assert [*inside(metadata, "cidr")] == ["169.254.169.252/32", "169.254.169.254/32"]
    assert [*inside(found["api-metrics"], "values")] == [["gmp-system", "gke-gmp-system"]]


def test_on_google_each_address_is_of_its_own_table() -> None:
    """The orders, the restaurants, and the dataset that predictions go to; as in Terraform."""
    given = {
        name: BigQueryAddress.parse(value.replace("PROJECT", "a-project").replace("REGION", "europe-west1"))
        for one in documents("gke")
        if one["kind"] == "ConfigMap"
        for name, value in msgspec.convert(one["data"], dict[str, str]).items()
        if value.startswith("bigquery://")
    }
    assert {name: address.table for name, address in given.items()} == {
        "PREPTIME_ORDERS": "orders",
        "PREPTIME_RESTAURANTS": "restaurants",
        "PREPTIME_PREDICTIONS_URL": "orders",
    }
    assert len({(address.project, address.dataset, address.location) for address in given.values()}) == 1
    database = given["PREPTIME_PREDICTIONS_URL"]
    assert database.name == database.database_url


def test_images_are_those_that_the_page_pushes() -> None:
    pushed = re.findall(r'docker push "\$REGISTRY/\$name:([\w.]+)"', (ROOT / "docs/deploy-gcp.md").read_text("utf-8"))
    values = (K8S / "airflow" / "values.yaml").read_text(encoding="utf-8")
    named = re.findall(r"docker\.pkg\.dev/PROJECT/preptime/\w+:([\w.]+)", text("gke") + values)
    assert (len(pushed), set(named)) == (1, set(pushed))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    program = promtool()
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        ended = subprocess.run([program, *command], cwd=K8S / "alerts", capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    rules = (K8S / "alerts" / "alerts.yaml").read_text(encoding="utf-8")
    tests = (K8S / "alerts" / "alerts_test.yaml").read_text(encoding="utf-8")
    for name in re.findall(r"alert: (\w+)", rules):
        assert len(re.findall(rf"alertname: {name}\n", tests)) >= 1, name
        assert f"alertname: {name} }}" in tests, f"{name} has no quiet day"


def test_googles_rules_are_ours() -> None:
    ours = plain(yaml.safe_load((K8S / "alerts" / "alerts.yaml").read_text(encoding="utf-8")))
    assert plain(named("gke", "Rules", "preptime")["spec"])["groups"] == ours["groups"]


def test_metrics_named_in_rules_exist() -> None:
    state = WorkerState(
        updated_at=0.0,
        ready=True,
        bundle="b",
        champion_number=1,
        history_timestamp=0.0,
        rejected_bundle="c",
        champion_error="away",
    )
    served = set(re.findall(r"# TYPE (\w+)", format_exposition([], [state], 1.0).decode() + render(fired()).decode()))
    rules = (K8S / "alerts" / "alerts.yaml").read_text(encoding="utf-8")
    asked = {re.sub("_bucket$", "", name) for name in re.findall(r"\bpreptime_\w+", rules)}
    assert asked <= served
    assert len(asked) > 9
    assert set(re.findall(r"\bkube_\w+", rules)) == {"kube_job_failed"}
