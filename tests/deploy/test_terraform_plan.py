"""deploy/terraform with the real `terraform`, against the schema of Google's provider: validate, plan, apply, destroy.

Without terraform, the same files are checked with python-hcl2. Neither asks Google's API: docs/deploy-gcp.md lists what
only the cloud can prove.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.google_schema import ProviderSchema
from tests.deploy.hcl_schema import iter_errors
from tests.deploy.terraform import FOLDER, modules
from tests.deploy.terraform_runs import Plan, Values, Workspace

LATEST = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100, "tag": "", "revision": ""}
AFTER_RELEASE: list[Values] = [
    *(
        {
            "type": "google_cloud_run_v2_service",
            "name": name,
            "set": {
                "client": "cloud_run.py",
                "effective_annotations": {"preptime-previous-revision": "preptime-api-00001-abc"},
                "template.0.annotations": {"preptime/restarted": "2026-11-30"},
                "template.0.containers.0.image": "registry/serve@sha256:abc",
                "traffic": [LATEST],
            },
        }
        for name in ("preptime-api", "preptime-ui")
    ),
    {
        "type": "google_cloud_run_v2_job",
        "name": "preptime-train",
        "set": {"client": "gcloud", "template.0.template.0.containers.0.image": "registry/jobs@sha256:abc"},
    },
]
"""What a release leaves (scripts/cloud_run.py, and its tests)."""

PLANTED_ERRORS = [
    ("  ingress             = var.ingress", "  ingres = var.ingress", "ingres"),
    ("  location            = var.region\n", "", "location"),
    ("      image = var.image\n", "", "image"),
    ("    min_instance_count = var.min_instances", '    min_instance_count = "many"', "min_instance_count"),
    ("      startup_probe {", "      startup_prob {", "startup_prob"),
    ("        depends_on = [local.main_container]", "        depend_on = [local.main_container]", "depend_on"),
    ("  template {\n    service_account", "  scaling {\n  }\n\n  template {\n    service_account", "scaling"),
    ("        startup_cpu_boost = true", '        startup_cpu_boost = "often"', "startup_cpu_boost"),
]
"""A text in modules/service/main.tf, what replaces it, and the name that the error must contain."""


SERVICE = Path("modules", "service", "main.tf")


def planted(*errors: tuple[str, str, str]) -> str:
    """Return modules/service/main.tf with errors."""
    text = (FOLDER / SERVICE).read_text(encoding="utf-8")
    for old, new, _ in errors:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_files_are_valid(terraform: Workspace) -> None:
    assert "The configuration is valid" in terraform.run("validate", "-no-color")


def test_planted_errors_are_found_by_terraform(terraform: Workspace) -> None:
    (terraform.folder / SERVICE).write_text(planted(*PLANTED_ERRORS), encoding="utf-8")
    try:
        completed = terraform.call("validate", "-no-color")
    finally:
        (terraform.folder / SERVICE).write_text(planted(), encoding="utf-8")
    assert completed.returncode == 1
    errors = completed.stderr.split("Error: ")
    for *_, name in PLANTED_ERRORS:
        assert any(f"{SERVICE} line" in error and re.search(rf"\b{name}\b", error) for error in errors), name


@pytest.mark.parametrize("folder", [FOLDER, *modules()], ids=lambda folder: folder.name)
def test_files_match_schema_without_terraform(folder: Path, google_schema: ProviderSchema) -> None:
    assert list(iter_errors(folder, google_schema)) == []


@pytest.mark.parametrize(("old", "new", "name"), PLANTED_ERRORS, ids=[name for *_, name in PLANTED_ERRORS])
def test_planted_error_is_found_without_terraform(
    google_schema: ProviderSchema, tmp_path: Path, old: str, new: str, name: str
) -> None:
    (tmp_path / SERVICE.name).write_text(planted((old, new, name)), encoding="utf-8")
    (error,) = iter_errors(tmp_path, google_schema)
    assert name in error


def test_schema_is_of_the_lowest_allowed_version(google_schema: ProviderSchema) -> None:
    versions = (FOLDER / "versions.tf").read_text(encoding="utf-8")
    (lowest,) = re.findall(r'source  = "hashicorp/google"\n\s+version = ">= ([\d.]+), < 9"', versions)
    assert google_schema.version.startswith(f"{lowest}.")
    assert tuple(map(int, lowest.split("."))) >= (7, 45), "older versions remove members of BigQuery datasets"


def test_plans_create_everything(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        assert {tuple(actions) for actions in plan.changes.values()} == {("create",)}
    staging, production = plans["staging"].changes.keys(), plans["production"].changes.keys()
    assert len(production) > 95
    only_staging = {address.split(".")[0] for address in staging - production}
    assert only_staging == {"module", "google_artifact_registry_repository_iam_member"}
    in_modules = {address.split(".")[1] for address in staging - production if address.startswith("module")}
    assert in_modules == {"alerting", "gke[0]"}
    assert {address.split("[")[0] for address in production - staging} == {
        "google_billing_budget.project",
        "google_project_iam_member.api_writes_metrics",
        "module.alerting.google_monitoring_alert_policy.metrics",
        "module.alerting.google_monitoring_alert_policy.unavailable",
        "module.alerting.google_monitoring_uptime_check_config.api",
    }


def test_second_plan_is_empty(applied: Workspace) -> None:
    assert applied.plan("production").changes == {}


def test_plan_after_release_is_empty(applied: Workspace) -> None:
    assert applied.plan("production", drift=AFTER_RELEASE).changes == {}


def test_changed_setting_after_release_names_no_revision(applied: Workspace) -> None:
    """Cloud Run refuses a revision with the name of an existing one. A release that named it would leave a change."""
    api, ui, *jobs = AFTER_RELEASE
    ui = {**ui, "set": {**ui["set"], "template.0.revision": "preptime-ui-r12"}}
    option = '-var=api={"cpu":1,"memory":"2Gi","min_instances":2,"max_instances":10,"concurrency":32}'
    plan = applied.plan("production", option, drift=[api, ui, *jobs])
    assert sorted(plan.changes) == [f"module.{name}.google_cloud_run_v2_service.service" for name in ("api", "ui")]
    (template,) = plan.resources["module.api.google_cloud_run_v2_service.service"]["template"]
    assert template["containers"][0]["image"] == "registry/serve@sha256:abc"
    assert template["containers"][0]["resources"][0]["limits"]["memory"] == "2Gi"
    assert not template.get("revision")


def test_destroy_removes_everything(applied: Workspace) -> None:
    """The last test of this file: it destroys what the others use."""
    assert len(applied.state()) > 95
    variables = ("-var-file=environments/production.tfvars", "-var=deletion_protection=false")
    applied.run("destroy", "-auto-approve", "-input=false", "-lock=false", *variables)
    assert applied.state() == {}
