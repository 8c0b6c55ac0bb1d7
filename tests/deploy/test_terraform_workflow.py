"""The workflows `terraform` and `rescan`: what they run, and which tokens Google accepts from them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.terraform import FOLDER, modules, text_of
from tests.deploy.terraform_runs import Plan, Workspace
from tests.requirements import ROOT

PLAN_TEXT = "Plan: 1 to add\n"
FAKE = """
terraform() {
  echo "$*" >> "$CALLS"
  case $1 in
    plan) return "$STATUS" ;;
    show) printf 'Plan: 1 to add\\n' ;;
  esac
}
cd() { :; }
"""
"""Replaces terraform. `plan` ends with STATUS: 0 without changes, 2 with changes, 1 after an error."""

Values = dict[Any, Any]


def workflow(name: str) -> Values:
    document: Values = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))
    return document


def run_step(job: str, folder: Path, **environment: str) -> tuple[int, list[str]]:
    """Run the last step of a job with a replacement for terraform. Return its exit status and terraform's commands."""
    script = workflow("terraform")["jobs"][job]["steps"][-1]["run"]
    files = {name: str(folder / name) for name in ("CALLS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    completed = subprocess.run(
        ["bash", "-e", "-c", FAKE + script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "ENVIRONMENT": "staging", "STATUS": "0", **files, **environment},
        check=False,
        capture_output=True,
    )
    calls = Path(files["CALLS"]).read_text(encoding="utf-8").splitlines()
    return completed.returncode, [call.split()[0] for call in calls]


def test_every_file_that_terraform_reads_starts_a_plan() -> None:
    """Alerts and charts are made from files of other folders. PyYAML reads the key `on` as True."""
    events = workflow("terraform")[True]
    patterns = events["pull_request"]["paths"]
    assert events["push"]["paths"] == patterns
    read = [FOLDER / "main.tf"]
    for folder in (FOLDER, *modules()):
        names = re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', text_of(folder))
        read += [(folder / name).resolve() for name in names]
    assert {path.name for path in read} == {"main.tf", "alerts.yaml", "api.json"}
    for path in read:
        name = path.relative_to(ROOT).as_posix()
        assert any(fnmatch(name, pattern) for pattern in patterns), name
        assert path.is_file()


@pytest.mark.parametrize(
    ("event", "status", "expected"),
    [
        ("pull_request", "0", 0),
        ("pull_request", "2", 0),
        ("pull_request", "1", 1),
        ("push", "2", 0),
        ("schedule", "0", 0),
        ("schedule", "2", 1),
    ],
)
def test_plan_fails_on_an_error_or_on_drift(tmp_path: Path, event: str, status: str, expected: int) -> None:
    """Changes are expected in a pull request. In the daily check, they mean that a person changed the cloud."""
    returncode, _ = run_step("plan", tmp_path, EVENT=event, STATUS=status)
    assert returncode == expected
    if status != "1":
        assert "    Plan: 1 to add" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8")


def test_only_the_approved_plan_is_applied(tmp_path: Path) -> None:
    run_step("plan", tmp_path, EVENT="push", STATUS="2")
    output = (tmp_path / "GITHUB_OUTPUT").read_text(encoding="utf-8").strip()
    name, _, approved = output.partition("=")
    assert (name, approved.split()[0]) == ("staging", hashlib.sha256(PLAN_TEXT.encode()).hexdigest())
    (tmp_path / "CALLS").unlink()
    assert run_step("apply", tmp_path, APPROVED=approved) == (0, ["init", "plan", "show", "apply"])
    (tmp_path / "CALLS").unlink()
    assert run_step("apply", tmp_path, APPROVED="another  -") == (1, ["init", "plan", "show"])


def test_apply_follows_plan_on_the_main_branch_only() -> None:
    jobs = workflow("terraform")["jobs"]
    assert jobs["apply"]["needs"] == "plan"
    assert "github.event_name == 'push' || github.event_name == 'workflow_dispatch'" in jobs["apply"]["if"]
    assert workflow("terraform")[True]["push"]["branches"] == ["main"]  # YAML 1.1 reads `on` as true.
    assert [jobs[name]["environment"] for name in ("plan", "apply")] == [
        "${{ matrix.environment }}-plan",
        "${{ matrix.environment }}-apply",
    ]
    assert jobs["apply"]["strategy"]["max-parallel"] == 1
    assert "github.event.pull_request.head.repo.full_name == github.repository" in jobs["plan"]["if"]


def test_scan_is_daily_and_reads_only() -> None:
    (job,) = workflow("rescan")["jobs"].values()
    assert job["environment"] == "${{ matrix.environment }}-plan"
    assert workflow("rescan")[True]["schedule"] == [{"cron": "10 6 * * *"}]


def test_scanned_images_are_those_that_run(tmp_path: Path) -> None:
    """After a rollback of the dashboard, the newest revision has no traffic. During a release of the API, two have."""
    (job,) = workflow("rescan")["jobs"].values()
    (script,) = (step["run"] for step in job["steps"] if step.get("id") == "running")
    fakes = """
    gcloud() {
      case "$1 $2 $4" in
        "run services preptime-api") printf 'preptime-api-00007-abc,10\npreptime-api-00006-abc,90\n' ;;
        "run services preptime-ui") printf 'preptime-ui-00003-abc,100\npreptime-ui-00004-abc,\n' ;;
        run*) echo "image-of-$4" ;;
      esac
    }
    """
    output = tmp_path / "output"
    environment = {"PATH": os.environ["PATH"], "REGION": "r", "REGISTRY": "eu/p", "GITHUB_OUTPUT": str(output)}
    subprocess.run(["bash", "-e", "-c", fakes + script], env=environment, check=True)
    assert output.read_text(encoding="utf-8").split() == [
        "images=image-of-preptime-train",
        "image-of-preptime-api-00007-abc",
        "image-of-preptime-api-00006-abc",
        "image-of-preptime-ui-00003-abc",
    ]


@pytest.mark.parametrize(("vulnerable", "expected"), [("", 0), ("b", 1)])
def test_each_running_image_is_scanned(tmp_path: Path, vulnerable: str, expected: int) -> None:
    (job,) = workflow("rescan")["jobs"].values()
    (step,) = (step for step in job["steps"] if step.get("name") == "Scan the running images")
    assert step["env"] == {
        "GRYPE": "${{ steps.grype.outputs.cmd }}",
        "IMAGES": "${{ steps.running.outputs.images }}",
    }
    fake = f'grype() {{ echo "$@" >> {tmp_path / "calls"}; [ "$1" != "{vulnerable}" ]; }}\n'
    environment = {"PATH": os.environ["PATH"], "GRYPE": "grype", "IMAGES": "a b c"}
    command = ["bash", "-e", "-c", fake + step["run"]]
    assert subprocess.run(command, env=environment, check=False).returncode == expected
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls == [f"{image} --only-fixed --fail-on high" for image in "abc"]


@pytest.fixture(scope="module")
def pipeline(terraform: Workspace) -> Plan:
    """The plan of staging with the accounts of the workflow `terraform`."""
    return terraform.plan("staging", "-var=terraform_pipeline=true")


def test_pull_requests_may_plan_and_only_main_may_apply(pipeline: Plan) -> None:
    providers = pipeline.of_type("google_iam_workload_identity_pool_provider").values()
    (provider,) = (values for values in providers if values["workload_identity_pool_provider_id"] == "terraform")
    conditions = provider["attribute_condition"].split(" && ", 2)
    assert conditions[:2] == ["assertion.repository_id == '123456789'", "assertion.repository_owner_id == '1234567'"]
    assert conditions[2] == (
        "(assertion.environment == 'staging-plan' || "
        "(assertion.environment == 'staging-apply' && assertion.ref == 'refs/heads/main'))"
    )
    assert "attribute.repository_id" not in provider["attribute_mapping"], "the token could act as the deployer"


def test_planning_account_changes_nothing(pipeline: Plan) -> None:
    grants = {
        address: values["role"]
        for address, values in pipeline.resources.items()
        if ".terraform_" in address or address.startswith("google_project_iam_member.terraform")
    }
    assert {role for address, role in grants.items() if "applies" not in address and "apply" not in address} == {
        "roles/viewer",
        "roles/iam.securityReviewer",
        "roles/storage.objectViewer",
    }
    assert [role for address, role in grants.items() if "terraform_applies" in address] == ["roles/owner"]


def test_no_account_of_terraform_by_default(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        assert not [address for address in plan.resources if "terraform" in address]
