"""The GKE overlay: volumes in buckets, accounts, egress, metrics, alerts, and the commands of docs/deploy-gke.md."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
import yaml

from preptime.sources.bigquery.client import BigQueryAddress
from tests.deploy.manifests import K8S, Document, iter_values, tool
from tests.deploy.test_kubernetes import as_mapping, documents, find_document, overlay_text, pods, policies
from tests.requirements import ROOT


def test_internal_load_balancer_in_gke_docs_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy-gke.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(example, encoding="utf-8")
    completed = subprocess.run(
        [tool("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    service, policy = msgspec.convert(list(yaml.safe_load_all(example)), list[Document])
    deployed = as_mapping(find_document("gke", "Deployment", "api")["spec"])
    selector = as_mapping(as_mapping(deployed["selector"])["matchLabels"])
    assert as_mapping(service["spec"])["selector"] == selector
    assert as_mapping(as_mapping(policy["spec"])["podSelector"])["matchLabels"] == selector
    assert [*iter_values(policy, "cidr")] == as_mapping(service["spec"])["loadBalancerSourceRanges"]


def test_gke_results_are_in_the_bucket_of_terraform() -> None:
    volume = as_mapping(find_document("gke", "PersistentVolume", "preptime-results")["spec"])
    claim = as_mapping(find_document("gke", "PersistentVolumeClaim", "results")["spec"])
    assert (claim["volumeName"], claim["storageClassName"]) == ("preptime-results", volume["storageClassName"])
    assert volume["claimRef"] == {"namespace": "preptime", "name": "results"}
    store = (ROOT / "deploy" / "terraform" / "modules" / "store" / "main.tf").read_text(encoding="utf-8")
    bucket = str(as_mapping(volume["csi"])["volumeHandle"]).removeprefix("PROJECT")
    assert f'"${{var.project}}{bucket}"' in store
    user = re.findall(r"preptime:x:(\d+):(\d+)", (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8"))[0]
    assert volume["mountOptions"] == ["implicit-dirs", f"uid={user[0]}", f"gid={user[1]}"]
    for document in documents("gke"):
        for template in (as_mapping(found) for found in iter_values(document, "template")):
            if "claimName': 'results'" in str(template):
                assert as_mapping(template["metadata"])["annotations"] == {"gke-gcsfuse/volumes": "true"}


def test_only_the_pruner_runs_the_pruning() -> None:
    accounts = {name: spec["serviceAccountName"] for name, spec in pods("gke")}
    assert accounts.pop("pruning") == "pruner"
    assert set(accounts.values()) == {"api", "ui", "jobs"}


def test_alertmanager_example_routes_pages() -> None:
    """Every severity of the rules reaches a receiver."""
    example = (K8S / "overlays" / "gke" / "alertmanager.example.yaml").read_text(encoding="utf-8")
    configuration = as_mapping(yaml.safe_load(example))
    receivers = {receiver["name"] for receiver in msgspec.convert(configuration["receivers"], list[Document])}
    assert set(map(str, iter_values(configuration["route"], "receiver"))) == receivers
    (matchers,) = iter_values(configuration, "matchers")
    assert matchers == ['severity="page"']
    assert set(iter_values(find_document("gke", "Rules", "preptime"), "severity")) == {"page", "ticket"}
    page = (ROOT / "docs" / "deploy-gke.md").read_text(encoding="utf-8")
    assert "create secret generic alertmanager --namespace=gmp-public --from-file=alertmanager.yaml" in page


def test_gke_egress_is_limited_to_google() -> None:
    """DNS by the node's cache or Cloud DNS, the metadata server, and the private addresses of Google's APIs."""
    all_policies = policies("gke")
    (dns,) = msgspec.convert(all_policies["google-dns"]["egress"], list[Document])
    assert dns["ports"] == [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    assert [*iter_values(dns, "cidr")] == ["169.254.20.10/32", "169.254.169.254/32"]
    assert [*iter_values(dns, "k8s-app")] == ["node-local-dns"]
    (google, *metadata) = msgspec.convert(all_policies["google-apis"]["egress"], list[Document])
    assert ([*iter_values(google, "cidr")], [*iter_values(google, "port")]) == (["199.36.153.8/30"], [443])
    assert [*iter_values(metadata, "cidr")] == ["169.254.169.252/32", "169.254.169.254/32"]
    assert [*iter_values(all_policies["api-metrics"], "values")] == [["gmp-system", "gke-gmp-system"]]


def test_gke_bigquery_urls_name_their_tables() -> None:
    """The tables of orders and restaurants, and the dataset of predictions, as in Terraform."""
    addresses = {
        name: BigQueryAddress.parse(value.replace("PROJECT", "a-project").replace("REGION", "europe-west1"))
        for document in documents("gke")
        if document["kind"] == "ConfigMap"
        for name, value in msgspec.convert(document["data"], dict[str, str]).items()
        if value.startswith("bigquery://")
    }
    assert {name: address.table for name, address in addresses.items()} == {
        "PREPTIME_ORDERS": "orders",
        "PREPTIME_RESTAURANTS": "restaurants",
        "PREPTIME_PREDICTIONS_URL": "orders",
    }
    assert len({(address.project, address.dataset, address.location) for address in addresses.values()}) == 1
    database = addresses["PREPTIME_PREDICTIONS_URL"]
    assert database.name == database.database_url


def test_images_match_pushed_tags() -> None:
    pushed = re.findall(r'docker push "\$REGISTRY/\$name:([\w.]+)"', (ROOT / "docs/deploy-gcp.md").read_text("utf-8"))
    values = (K8S / "airflow" / "values.yaml").read_text(encoding="utf-8")
    used = re.findall(r"docker\.pkg\.dev/PROJECT/preptime/\w+:([\w.]+)", overlay_text("gke") + values)
    assert (len(pushed), set(used)) == (1, set(pushed))


def test_gke_rules_match_alerts() -> None:
    alerts = as_mapping(yaml.safe_load((K8S / "alerts" / "alerts.yaml").read_text(encoding="utf-8")))
    assert as_mapping(find_document("gke", "Rules", "preptime")["spec"])["groups"] == alerts["groups"]


@pytest.fixture
def managed_prometheus() -> jsonschema_rs.Draft202012Validator:
    """The check of Google's resources for Prometheus, by our transcription of its API reference."""
    schema = msgspec.json.decode(Path(__file__).with_name("managed_prometheus.schema.json").read_bytes())
    return jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize(("kind", "name"), [("PodMonitoring", "api"), ("Rules", "preptime")])
def test_prometheus_resources_match_googles_reference(
    kind: str, name: str, managed_prometheus: jsonschema_rs.Draft202012Validator
) -> None:
    managed_prometheus.validate(find_document("gke", kind, name))


@pytest.mark.parametrize(
    ("kind", "name", "correct", "planted"),
    [
        ("Rules", "preptime", '"interval": "30s", ', ""),  # Prometheus has a default, Google's resource has none.
        ("Rules", "preptime", '"interval": "30s"', '"interval": 30'),
        ("Rules", "preptime", '"interval": "30s"', '"interval": "30 s"'),
        ("Rules", "preptime", '"expr":', '"expression":'),
        ("Rules", "preptime", '"for": "2m"', '"for": "2m", "keep_firing_for": "1m"'),
        ("Rules", "preptime", '"alert": "PreptimeNoReplica"', '"alert": "PreptimeNoReplica", "record": "a"'),
        ("Rules", "preptime", '"severity": "page"', '"severity": 1'),
        ("Rules", "preptime", "googleapis.com/v1", "coreos.com/v1"),
        ("PodMonitoring", "api", '"endpoints":', '"podMetricsEndpoints":'),
        ("PodMonitoring", "api", '"matchLabels":', '"matchLabel":'),
        ("PodMonitoring", "api", '"port": "health"', '"targetPort": "health"'),
        ("PodMonitoring", "api", '"interval": "15s"', '"interval": "15"'),
    ],
)
def test_planted_error_in_prometheus_resource_is_found(
    kind: str, name: str, correct: str, planted: str, managed_prometheus: jsonschema_rs.Draft202012Validator
) -> None:
    text = json.dumps(find_document("gke", kind, name))
    assert correct in text
    assert not managed_prometheus.is_valid(json.loads(text.replace(correct, planted, 1)))


def test_metrics_are_read_from_the_health_port() -> None:
    monitoring = as_mapping(find_document("gke", "PodMonitoring", "api")["spec"])
    deployment = as_mapping(find_document("gke", "Deployment", "api")["spec"])
    assert as_mapping(monitoring["selector"])["matchLabels"] == as_mapping(deployment["selector"])["matchLabels"]
    (endpoint,) = msgspec.convert(monitoring["endpoints"], list[Document])
    ports = {port["name"]: port["containerPort"] for found in iter_values(deployment, "ports") for port in found}  # type: ignore[attr-defined]
    (settings,) = (
        as_mapping(document["data"])
        for document in documents("gke")
        if str(as_mapping(document["metadata"])["name"]).startswith("preptime-api-")
    )
    assert (endpoint["path"], str(ports[endpoint["port"]])) == ("/metrics", settings["PREPTIME_HEALTH_PORT"])
    assert settings["PREPTIME_PUBLIC_DETAILS"] == "false"
