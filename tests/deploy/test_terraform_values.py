"""The values that Terraform plans: access, permissions, traffic, sizes, logs, and alerts."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from preptime.api import champion_watcher
from preptime.api.service import PredictionRecord
from preptime.settings import Settings
from preptime.sources.bigquery.prediction_log import BigQueryPredictionLog
from preptime.sources.prediction_logs import open_prediction_log
from tests.deploy.terraform_runs import Plan, Values
from tests.requirements import ROOT

SERVICES = {name: f"module.{name}.google_cloud_run_v2_service.service" for name in ("api", "ui")}


@pytest.fixture(scope="module")
def production(plans: dict[str, Plan]) -> Plan:
    """The plan of production."""
    return plans["production"]


def service(plan: Plan, name: str) -> tuple[Values, Values, Values]:
    """Return a service, its template, and its container with the ports."""
    values = plan.resources[SERVICES[name]]
    (template,) = values["template"]
    return values, template, template["containers"][0]


def settings_of(container: Values) -> dict[str, str]:
    """Return the environment variables with a value."""
    return {variable["name"]: variable["value"] for variable in container["env"] if variable.get("value")}


def grants(plan: Plan) -> dict[str, Values]:
    """Return all grants by address."""
    types = {change["address"]: change["type"] for change in plan.document["resource_changes"]}
    return {address: values for address, values in plan.resources.items() if "_iam_member" in types[address]}


@pytest.mark.parametrize(("name", "checks_keys"), [("api", True), ("ui", False)])
def test_service_has_one_check_of_callers(production: Plan, name: str, checks_keys: bool) -> None:
    """The API checks its keys. Identity-Aware Proxy checks the dashboard's users."""
    values, _, container = service(production, name)
    assert (values["invoker_iam_disabled"], values["iap_enabled"]) == (checks_keys, not checks_keys)
    secrets = {variable["name"] for variable in container["env"] if variable["value_source"]}
    assert "PREPTIME_API_KEYS" in secrets


def test_dashboard_members_pass_identity_aware_proxy(production: Plan) -> None:
    members = production.of_type("google_iap_web_cloud_run_service_iam_member")
    assert {(values["role"], values["member"]) for values in members.values()} == {
        ("roles/iap.httpsResourceAccessor", "group:preptime@example.com")
    }
    proxy = production.resources["google_cloud_run_v2_service_iam_member.iap_invokes_ui"]
    assert re.fullmatch(r"serviceAccount:service-\d+@gcp-sa-iap\.iam\.gserviceaccount\.com", proxy["member"])
    assert (proxy["name"], proxy["role"]) == ("preptime-ui", "roles/run.invoker")
    assert 'google_project_service.apis["iap"]' in production.resources


def test_no_grant_is_for_everyone(production: Plan) -> None:
    """Organizations that restrict domains refuse such grants."""
    assert len(grants(production)) > 30
    for address, values in grants(production).items():
        assert not str(values.get("member", "")).startswith("all"), address
        assert not re.search(r"owner|editor$|[aA]dmin", values["role"].replace("dataEditor", "")), address


def test_few_grants_are_for_the_project(production: Plan) -> None:
    roles = {values["role"] for values in production.of_type("google_project_iam_member").values()}
    names = ("bigquery.jobUser", "monitoring.metricWriter", "monitoring.viewer", "run.viewer")
    assert roles == {f"roles/{name}" for name in names}


def test_only_scoped_grants_change_the_store(production: Plan) -> None:
    """The jobs add. The dashboard adds to the champion log. The pruner removes bundles, but no entries of the log."""
    store = "preptime-production-preptime-store"
    changing = {
        address.partition(".")[2]: [condition["expression"] for condition in values["condition"]]
        for address, values in grants(production).items()
        if values.get("bucket") == store and values["role"] != "roles/storage.objectViewer"
    }
    prefix = f"projects/_/buckets/{store}/objects/models"
    assert changing == {
        "jobs_add": [],
        "ui_promotes": [f'resource.name.startsWith("{prefix}/champion/")'],
        "pruner_removes_bundles": [f'resource.name.startsWith("{prefix}/bundles/")'],
    }
    assert 'google_storage_bucket_iam_member.store_readers["pruner"]' in grants(production)


def test_ci_is_identified_by_ids(production: Plan) -> None:
    """Names can change owner, and GitHub's subject has IDs since July 2026."""
    (provider,) = production.of_type("google_iam_workload_identity_pool_provider").values()
    assert set(provider["attribute_condition"].split(" && ")) == {
        "assertion.repository_id == '123456789'",
        "assertion.repository_owner_id == '1234567'",
        "assertion.environment == 'production'",
        "assertion.ref == 'refs/heads/main'",
    }
    assert "assertion.sub" not in str(provider)
    assert provider["attribute_mapping"]["attribute.repository_id"] == "assertion.repository_id"
    calls = production.document["configuration"]["root_module"]["module_calls"]
    resources = calls["federation"]["module"]["resources"]
    (grant,) = (resource for resource in resources if resource["name"] == "workflows_deploy")
    assert "var.repository.id" in grant["expressions"]["member"]["references"]


def test_minimum_of_instances_is_on_the_service(production: Plan) -> None:
    """On a revision, a tagged revision without traffic would keep its instances."""
    for name, minimum, maximum in (("api", 2, 10), ("ui", 0, 1)):
        values, template, _ = service(production, name)
        assert [scaling["min_instance_count"] for scaling in values["scaling"]] == [minimum]
        (of_revision,) = template["scaling"]
        assert (of_revision["min_instance_count"], of_revision["max_instance_count"]) == (None, maximum)


def test_only_the_api_pays_for_idle_cpus(production: Plan) -> None:
    idle = {name: service(production, name)[2]["resources"][0]["cpu_idle"] for name in SERVICES}
    assert idle == {"api": False, "ui": True}


def test_details_stay_off_the_public_port(production: Plan) -> None:
    _, _, container = service(production, "api")
    settings = Settings.load({k: v for k, v in settings_of(container).items() if k.startswith("PREPTIME_")})
    assert settings.public_details is False
    assert settings.health_port not in {None, container["ports"][0]["container_port"]}
    assert {probe["http_get"][0]["port"] for probe in container["liveness_probe"]} == {settings.health_port}


def test_dashboard_uploads_fit_cloud_run(production: Plan) -> None:
    """Cloud Run refuses requests over 32 MiB, and files are in memory: docs/dashboard.md."""
    _, _, container = service(production, "ui")
    settings = settings_of(container)
    assert int(settings["PREPTIME_UI_MAX_UPLOAD_MB"]) <= 32
    needed_mb = 3 * int(settings["PREPTIME_UI_MAX_TOTAL_UPLOAD_MB"]) + 400
    assert container["resources"][0]["limits"]["memory"] == "1Gi"
    assert needed_mb <= 1024


def test_ingress_is_a_variable(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        assert {plan.resources[address]["ingress"] for address in SERVICES.values()} == {"INGRESS_TRAFFIC_ALL"}
    for name in SERVICES:
        call = plans["production"].document["configuration"]["root_module"]["module_calls"][name]
        assert call["expressions"]["ingress"] == {"references": ["local.ingress"]}
    network = (ROOT / "deploy" / "terraform" / "network.tf").read_text(encoding="utf-8")
    assert "ingress = var.network == null ? var.ingress : {" in network


def test_reads_and_writes_of_data_are_logged(production: Plan) -> None:
    audited = production.of_type("google_project_iam_audit_config").values()
    logs = {values["service"]: {entry["log_type"] for entry in values["audit_log_config"]} for values in audited}
    names = ("bigquery", "secretmanager", "storage")
    assert logs == {f"{name}.googleapis.com": {"DATA_READ", "DATA_WRITE"} for name in names}


def test_log_sink_matches_prediction_records(production: Plan) -> None:
    _, _, container = service(production, "api")
    assert settings_of(container)["PREPTIME_PREDICTION_LOG"] == "stdout"
    (sink,) = production.of_type("google_logging_project_sink").values()
    assert "jsonPayload.request_id:*" in sink["filter"]
    assert "request_id" in {field.name for field in msgspec.structs.fields(PredictionRecord)}


def test_champion_alert_names_the_logger(plans: dict[str, Plan]) -> None:
    """Without the API's metrics. With them, a metric has the state."""
    policy = plans["staging"].resources["module.alerting.google_monitoring_alert_policy.champion_rejected[0]"]
    (matched,) = policy["conditions"][0]["condition_matched_log"]
    assert f'jsonPayload.logger="{champion_watcher.__name__}"' in matched["filter"]
    assert champion_watcher.logger.name == champion_watcher.__name__


def test_state_contains_no_key(production: Plan) -> None:
    types = {change["type"] for change in production.document["resource_changes"]}
    assert "google_secret_manager_secret" in types
    assert not types & {"google_secret_manager_secret_version", "google_service_account_key"}


def test_registry_keeps_many_versions(production: Plan) -> None:
    """An image, its signature, and its bill of materials are three versions."""
    (registry,) = production.of_type("google_artifact_registry_repository").values()
    kept = [policy for policy in registry["cleanup_policies"] if policy["action"] == "KEEP"]
    assert [policy["most_recent_versions"][0]["keep_count"] for policy in kept] == [50]


def test_protection_can_be_removed(plans: dict[str, Plan]) -> None:
    """Only without protection does `terraform destroy` remove buckets with objects."""
    for environment, unprotected in (("production", False), ("staging", True)):
        buckets = plans[environment].of_type("google_storage_bucket").values()
        assert [bucket["force_destroy"] for bucket in buckets] == [unprotected] * 3


def test_cluster_nodes_pull_and_pods_have_accounts(plans: dict[str, Plan]) -> None:
    staging = plans["staging"]
    (cluster,) = staging.of_type("google_container_cluster").values()
    assert cluster["enable_autopilot"]
    assert cluster["private_cluster_config"][0]["enable_private_nodes"]
    apis = {values["service"] for values in staging.of_type("google_project_service").values()}
    assert {"container.googleapis.com", "dns.googleapis.com"} <= apis
    nodes = {values["role"] for address, values in grants(staging).items() if "nodes" in address}
    assert nodes == {"roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"}
    pods = {values["member"] for address, values in grants(staging).items() if "iam_member.pods" in address}
    accounts = ("api", "jobs", "pruner", "ui")
    assert pods == {f"serviceAccount:preptime-staging.svc.id.goog[preptime/{name}]" for name in accounts}
    records = staging.of_type("google_dns_record_set").values()
    assert [record["rrdatas"] for record in records if record["type"] == "A"] == [
        ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
    ]


def test_jobs_read_the_dataset_of_the_prediction_log(production: Plan) -> None:
    """No prediction is excluded before it's stored, and `preptime monitor` reads the table of the sink."""
    dataset = production.resources["module.warehouse.google_bigquery_dataset.prediction_log"]["dataset_id"]
    filters = {
        address: values["filter"]
        for address, values in production.resources.items()
        if ".google_logging_project_exclusion." in address
    }
    assert list(filters) == ["module.warehouse.google_logging_project_exclusion.requests"]
    assert "requests" in filters["module.warehouse.google_logging_project_exclusion.requests"]
    jobs = [values for address, values in production.resources.items() if ".google_cloud_run_v2_job." in address]
    assert len(jobs) > 3
    for job in jobs:
        source = settings_of(job["template"][0]["template"][0]["containers"][0])["PREPTIME_PREDICTION_LOG_SOURCE"]
        log = open_prediction_log(source)
        assert isinstance(log, BigQueryPredictionLog)
        assert (log.address.dataset, log.address.table) == (dataset, "run_googleapis_com_stdout")


def test_each_alert_links_to_a_runbook(production: Plan) -> None:
    """The host of the API is unknown in a plan, so the text of some alerts is, too."""
    texts = [
        values["documentation"][0].get("content")
        for address, values in production.resources.items()
        if ".google_monitoring_alert_policy." in address
    ]
    assert len(texts) == 15
    known = [text for text in texts if text is not None]
    assert len(known) >= 12
    assert all("/docs/runbooks/" in text for text in known)
    module = ROOT / "deploy" / "terraform" / "modules" / "alerting"
    code = "".join(path.read_text(encoding="utf-8") for path in module.glob("*.tf"))
    named = re.findall(r"runbooks}/(\w+)\.md", code) + re.findall(r'runbook *= "(\w+)"', code)
    assert len(named) == 6
    assert all((ROOT / "docs" / "runbooks" / f"{name}.md").is_file() for name in named)


def test_objectives_are_those_of_the_prometheus_rules(production: Plan) -> None:
    """The alerts compare a long and a short window, and the factors are those of deploy/k8s/alerts/alerts.yaml."""
    module = "module.alerting.google_monitoring_slo"
    assert production.resources[f"{module}.availability"]["goal"] == 0.999
    latency = production.resources[f"{module}.latency"]
    (sli,) = latency["request_based_sli"]
    assert (latency["goal"], sli["distribution_cut"][0]["range"][0]["max"]) == (0.99, 250)
    factors = {
        address.partition('"')[2].rstrip('"]'): [
            condition["condition_threshold"][0]["threshold_value"] for condition in values["conditions"]
        ]
        for address, values in production.resources.items()
        if ".google_monitoring_alert_policy.budget" in address
    }
    fast, slow = [14.4, 14.4], [3, 3]
    assert factors == {
        "availability-fast": fast, "availability-slow": slow, "latency-fast": fast, "latency-slow": slow
    }  # fmt: skip
    rules = (ROOT / "deploy" / "k8s" / "alerts" / "alerts.yaml").read_text(encoding="utf-8")
    for expression in ("1h > 14.4 * 0.001", "1d > 3 * 0.001", "1h > 14.4 * 0.01", "1d > 3 * 0.01"):
        assert f"ratio_rate{expression}" in rules


def test_budget_is_only_for_environments_that_set_one(plans: dict[str, Plan]) -> None:
    address = "google_billing_budget.project[0]"
    assert address not in plans["staging"].resources
    budget = plans["production"].resources[address]
    assert budget["amount"][0]["specified_amount"][0]["units"] == "300"
    shares = [rule["threshold_percent"] for rule in budget["threshold_rules"]]
    assert sorted(shares) == [0.5, 0.9, 1, 1]


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_environment_has_its_own_state(environment: str) -> None:
    """Two environments in one folder: each has variables, and a bucket for its state."""
    folder = ROOT / "deploy" / "terraform" / "environments"
    project = re.findall(r'^project +\= "([^"]+)"', (folder / f"{environment}.tfvars").read_text("utf-8"), re.MULTILINE)
    assert (folder / f"{environment}.backend").read_text("utf-8") == f'bucket = "{project[0]}-terraform"\n'


def test_dashboard_has_the_metrics_of_the_objectives(plans: dict[str, Plan]) -> None:
    """Its charts fill rows of two, and each has a metric of Cloud Run. For more, see test_cloud_run_metrics.py."""
    dashboard = json.loads(
        plans["staging"].resources["module.alerting.google_monitoring_dashboard.preptime"]["dashboard_json"]
    )
    tiles = dashboard["mosaicLayout"]["tiles"]
    assert {(tile["xPos"], tile["yPos"]) for tile in tiles} == {(0, 0), (24, 0), (0, 16), (24, 16)}
    queries = [tile["widget"]["xyChart"]["dataSets"][0]["timeSeriesQuery"]["timeSeriesFilter"] for tile in tiles]
    metrics = [re.findall(r'metric\.type="run\.googleapis\.com/([a-z_/]+)"', query["filter"]) for query in queries]
    assert metrics == [
        ["request_count"],
        ["request_latencies"],
        ["container/instance_count"],
        ["job/completed_execution_count"],
    ]
    assert all(query["aggregation"]["perSeriesAligner"].startswith("ALIGN_") for query in queries)
