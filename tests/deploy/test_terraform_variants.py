"""What optional variables of deploy/terraform plan: a load balancer and a VPC, your own key, and topics for alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.terraform import FOLDER
from tests.deploy.terraform_runs import Plan, Values, Workspace
from tests.requirements import ROOT

KEY = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/preptime"
EXTERNAL, INTERNAL = (
    f'-var=network={{"mode":"{mode}","api_domain":"api.example.com","ui_domain":"preptime.example.com"}}'
    for mode in ("external", "internal")
)
OTHERS = (f"-var=kms_key={KEY}", '-var=alert_topics=["projects/p/topics/alerts"]', "-var=spark={}")
SUBNETWORK = "projects/host/regions/europe-west1/subnetworks/spark"
DOMAINS = {"api": "api.example.com", "candidate": "candidate.api.example.com", "ui": "preptime.example.com"}
PLANTED_ERROR = (
    "  security_policy       = google_compute_security_policy",
    "  security_policies     = google_compute_security_policy",
)
"""A text in modules/network/external.tf, and what replaces it."""


@pytest.fixture(scope="module")
def workspace(terraform: Workspace, applied: Workspace) -> Iterator[Workspace]:
    """The copy of deploy/terraform with a state of its own. The default state was applied before."""
    assert applied is terraform
    terraform.run("workspace", "new", "variants")
    yield terraform
    terraform.run("workspace", "select", "default")


@pytest.fixture(scope="module")
def external(workspace: Workspace) -> dict[str, Values]:
    """The applied values of production with the external load balancer."""
    workspace.plan("production", EXTERNAL, *OTHERS)
    workspace.apply("production")
    return workspace.state()


@pytest.fixture(scope="module")
def internal(workspace: Workspace) -> Plan:
    """The plan of production with the internal load balancer."""
    return workspace.plan("production", INTERNAL, *OTHERS, f'-var=spark={{"subnetwork":"{SUBNETWORK}"}}')


def select(values: dict[str, Values], part: str) -> list[Values]:
    """Return the values of the resources whose address contains a text."""
    return [resource for address, resource in values.items() if part in address]


def template(values: Values) -> Values:
    """Return the template of a service's revisions or of a job's tasks."""
    outer: Values = values["template"][0]
    inner: list[Values] = outer.get("template", [outer])
    return inner[0]


def is_closed(values: dict[str, Values], ingress: str) -> None:
    """Check that only the load balancer and the VPC reach the services, and that all their traffic uses the VPC."""
    services, jobs = (
        select(values, "google_cloud_run_v2_service.service"),
        select(values, "google_cloud_run_v2_job.job"),
    )
    assert [(service["ingress"], service["default_uri_disabled"]) for service in services] == [(ingress, True)] * 2
    for resource in (*services, *jobs):
        (access,) = template(resource)["vpc_access"]
        assert access["egress"] == "ALL_TRAFFIC"
        assert len(access["network_interfaces"]) == 1
    assert len(jobs) > 5
    (subnetwork,) = select(values, "google_compute_subnetwork.run")
    assert subnetwork["private_ip_google_access"]


def test_planted_error_in_the_network_is_found(terraform: Workspace) -> None:
    path = terraform.folder / "modules" / "network" / "external.tf"
    text = path.read_text(encoding="utf-8")
    assert text.count(PLANTED_ERROR[0]) == 1
    path.write_text(text.replace(*PLANTED_ERROR), encoding="utf-8")
    try:
        completed = terraform.call("validate", "-no-color")
    finally:
        path.write_text(text, encoding="utf-8")
    assert completed.returncode == 1
    assert "security_policies" in completed.stderr


def test_second_plan_with_all_variables_is_empty(workspace: Workspace, external: dict[str, Values]) -> None:
    assert len(external) > 120
    assert workspace.plan("production", EXTERNAL, *OTHERS).changes == {}


def test_external_load_balancer_is_the_only_way_in(external: dict[str, Values]) -> None:
    is_closed(external, "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER")
    backends = select(external, "google_compute_backend_service.external")
    (policy,) = select(external, "google_compute_security_policy.external")
    assert [(backend["security_policy"], backend["load_balancing_scheme"]) for backend in backends] == [
        (policy["id"], "EXTERNAL_MANAGED")
    ] * 3
    (url_map,) = select(external, "google_compute_url_map.external")
    assert {rule["path_matcher"]: rule["hosts"] for rule in url_map["host_rule"]} == {
        name: [domain] for name, domain in DOMAINS.items()
    }
    (certificate,) = select(external, "google_compute_managed_ssl_certificate.external")
    assert sorted(certificate["managed"][0]["domains"]) == sorted(DOMAINS.values())
    (rule,) = select(external, "google_compute_global_forwarding_rule.https")
    assert rule["port_range"] == "443"
    (tls,) = select(external, "google_compute_ssl_policy.external")
    assert (tls["min_tls_version"], tls["profile"]) == ("TLS_1_2", "MODERN")


def test_cloud_armor_limits_each_client(external: dict[str, Values]) -> None:
    """A known attack is refused first. All addresses that aren't listed are refused last."""
    (policy,) = select(external, "google_compute_security_policy.external")
    rules = sorted(policy["rule"], key=lambda rule: int(rule["priority"]))
    assert [rule["action"] for rule in rules] == ["deny(403)", "throttle", "deny(403)"]
    (options,) = rules[1]["rate_limit_options"]
    assert (options["enforce_on_key"], options["exceed_action"]) == ("IP", "deny(429)")
    assert options["rate_limit_threshold"] == [{"count": 60000, "interval_sec": 60}]


def test_endpoints_name_the_services(external: dict[str, Values]) -> None:
    """The load balancer reaches the revision that a release tests, although the tag has no URL."""
    groups = select(external, "google_compute_region_network_endpoint_group.backends")
    endpoints = sorted((group["cloud_run"][0]["service"], group["cloud_run"][0]["tag"] or "") for group in groups)
    assert endpoints == [("preptime-api", ""), ("preptime-api", "candidate"), ("preptime-ui", "")]
    script = (ROOT / "scripts" / "cloud_run.py").read_text(encoding="utf-8")
    assert 'CANDIDATE_TAG = "candidate"' in script


def test_dashboard_and_checks_use_the_domain(external: dict[str, Values]) -> None:
    """The services have no run.app URL. The dashboard reaches the domain through an address translation."""
    container = template(external["module.ui.google_cloud_run_v2_service.service"])["containers"][0]
    settings = {variable["name"]: variable["value"] for variable in container["env"]}
    assert settings["PREPTIME_API_URL"] == f"https://{DOMAINS['api']}"
    (check,) = select(external, "google_monitoring_uptime_check_config.api")
    assert check["monitored_resource"][0]["labels"]["host"] == DOMAINS["api"]
    assert len(select(external, "google_compute_router_nat.nat")) == 1


def test_internal_load_balancer_has_no_public_address(internal: Plan) -> None:
    is_closed(internal.resources, "INGRESS_TRAFFIC_INTERNAL_ONLY")
    types = {
        change["type"]
        for change in internal.document["resource_changes"]
        if "delete" not in change["change"]["actions"]
    }
    public = {"google_compute_global_address", "google_compute_global_forwarding_rule", "google_compute_router_nat"}
    assert not types & {*public, "google_monitoring_uptime_check_config"}
    (rule,) = internal.of_type("google_compute_forwarding_rule").values()
    assert rule["load_balancing_scheme"] == "INTERNAL_MANAGED"
    (address,) = internal.of_type("google_compute_address").values()
    assert address["address_type"] == "INTERNAL"
    records = internal.of_type("google_dns_record_set").values()
    assert sorted(record["name"] for record in records) == sorted(f"{domain}." for domain in DOMAINS.values())
    authorized = internal.of_type("google_certificate_manager_dns_authorization").values()
    assert {values["domain"] for values in authorized} == set(DOMAINS.values())


def test_key_encrypts_everything_that_is_stored(external: dict[str, Values]) -> None:
    """Each resource that has data at rest names the key, so that a new one isn't forgotten."""
    paths = {
        "google_storage_bucket.": ("encryption", "default_kms_key_name"),
        "google_bigquery_dataset.": ("default_encryption_configuration", "kms_key_name"),
        "google_artifact_registry_repository.images": ("kms_key_name",),
        "google_cloud_run_v2_service.service": ("template", "encryption_key"),
        "google_cloud_run_v2_job.job": ("template", "template", "encryption_key"),
        "google_secret_manager_secret.secrets": (
            *("replication", "user_managed", "replicas", "customer_managed_encryption", "kms_key_name"),
        ),
    }
    for part, path in paths.items():
        found = select(external, part)
        assert found, part
        for values in found:
            inner: Any = values
            for name in path:
                inner = (inner[0] if isinstance(inner, list) else inner)[name]
                assert inner, f"{values.get('name')}: {name}"
            assert inner == KEY


def test_products_may_use_the_key(external: dict[str, Values]) -> None:
    grants = select(external, "google_kms_crypto_key_iam_member.service_agents")
    assert {(grant["crypto_key_id"], grant["role"]) for grant in grants} == {
        (KEY, "roles/cloudkms.cryptoKeyEncrypterDecrypter")
    }
    agents = {re.sub(r"-?\d+-?", "", grant["member"].partition(":")[2].partition(".")[0]) for grant in grants}
    assert agents == {
        "service@gcp-sa-artifactregistry",
        "bq@bigquery-encryption",
        "service@serverless-robot-prod",
        "service@gcp-sa-secretmanager",
        "service@gs-project-accounts",
    }


def test_encrypted_resources_wait_for_the_grants() -> None:
    """Without the grant, Google refuses to create them."""
    files = "".join(path.read_text(encoding="utf-8") for path in (FOLDER / "main.tf", FOLDER / "secrets.tf"))
    waits = "depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.service_agents]"
    assert files.count(waits) == 4


def test_alerts_go_to_topics_too(external: dict[str, Values]) -> None:
    topics = [channel for channel in select(external, "notification_channel.") if channel["type"] == "pubsub"]
    assert [channel["labels"]["topic"] for channel in topics] == ["projects/p/topics/alerts"]
    (grant,) = select(external, "google_pubsub_topic_iam_member.monitoring_publishes")
    assert (grant["topic"], grant["role"]) == ("projects/p/topics/alerts", "roles/pubsub.publisher")
    policies = select(external, "google_monitoring_alert_policy.")
    assert {len(policy["notification_channels"]) for policy in policies} == {2}


def test_nothing_optional_is_planned_by_default(plans: dict[str, Plan]) -> None:
    production = plans["production"]
    types = {change["type"] for change in production.document["resource_changes"]}
    assert not {kind for kind in types if re.match(r"google_(compute|kms|certificate_manager|pubsub)_", kind)}
    for values in select(production.resources, "google_cloud_run_v2_"):
        if "template" in values:
            assert not template(values)["vpc_access"]
            assert template(values)["encryption_key"] is None


def test_spark_batches_read_and_write_their_own_bucket(external: dict[str, Values]) -> None:
    """The account can't change the store. A user who starts batches uses no other account for them."""
    (account,) = select(external, "google_service_account.batches")
    member = f"serviceAccount:{account['email']}"
    grants = [values for address, values in external.items() if "_iam_member" in address]
    assert sorted((grant["role"], grant.get("bucket", "")) for grant in grants if grant["member"] == member) == [
        ("roles/artifactregistry.reader", ""),
        ("roles/bigquery.dataViewer", ""),
        ("roles/bigquery.readSessionUser", ""),
        ("roles/dataproc.worker", ""),
        ("roles/storage.objectUser", "preptime-production-preptime-spark"),
        ("roles/storage.objectViewer", "preptime-production-preptime-data"),
        ("roles/storage.objectViewer", "preptime-production-preptime-store"),
    ]
    (worker,) = (grant for grant in grants if grant["role"] == "roles/dataproc.worker")
    service, bucket_itself, objects = worker["condition"][0]["expression"].split(" || ")
    own = "projects/_/buckets/preptime-production-preptime-spark"
    assert service == 'resource.service != "storage.googleapis.com"'
    assert (bucket_itself, objects) == (f'resource.name == "{own}"', f'resource.name.startsWith("{own}/")')
    (acts_as,) = select(external, "google_service_account_iam_member.starter_acts_as_batches")
    assert acts_as["service_account_id"] == account["name"]
    (bucket,) = select(external, "google_storage_bucket.batches")
    assert [rule["condition"][0]["age"] for rule in bucket["lifecycle_rule"]] == [14, 1]


def test_spark_batches_have_private_addresses(external: dict[str, Values], internal: Plan) -> None:
    """Drivers and executors reach each other and Google's APIs. With your own subnetwork, no network is created."""
    (subnetwork,) = select(external, "google_compute_subnetwork.batches")
    assert subnetwork["private_ip_google_access"] is True
    (rule,) = select(external, "google_compute_firewall.batches")
    assert (rule["source_ranges"], rule["allow"][0]["protocol"]) == ([subnetwork["ip_cidr_range"]], "all")
    assert not [address for address in internal.resources if re.search(r"google_compute_\w+\.batches", address)]
    assert internal.document["planned_values"]["outputs"]["spark"]["value"]["subnetwork"] == SUBNETWORK


@pytest.mark.parametrize("value", ['{"mode":"public","api_domain":"a","ui_domain":"b"}'])
def test_unknown_mode_of_the_network_is_refused(terraform: Workspace, value: str) -> None:
    completed = terraform.call(
        "plan", "-input=false", "-lock=false", "-no-color",
        "-var-file=environments/production.tfvars", f"-var=network={value}",
    )  # fmt: skip
    assert completed.returncode == 1
    assert "Use external or internal as the mode." in completed.stderr
