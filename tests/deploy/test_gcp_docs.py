"""docs/deploy-gcp.md: names in it exist in Terraform, the settings, the scripts, and the workflows."""

from __future__ import annotations

import re

import pytest

from preptime.settings import Settings, iter_settings
from scripts import canary, cloud_run
from tests.deploy.terraform import FOLDER, blocks_of_kind, parse_file
from tests.deploy.test_terraform import ENVIRONMENTS, JOBS
from tests.requirements import ROOT

PAGE = (ROOT / "docs" / "deploy-gcp.md").read_text(encoding="utf-8")


def test_terraform_names_exist() -> None:
    outputs = set(re.findall(r"output -raw (\w+)", PAGE))
    assert outputs
    assert outputs <= set(blocks_of_kind("output"))
    for target in re.findall(r"-target=(google_\w+\.\w+)", PAGE):
        assert target.partition(".")[2] in blocks_of_kind("resource")
    for name in re.findall(r"gcloud run jobs execute preptime-([a-z-]+)", PAGE):
        assert name in JOBS
    sizes = [parse_file(path)["api"] for path in ENVIRONMENTS]
    assert all(isinstance(size, dict) and f"`concurrency = {size['concurrency']}`" in PAGE for size in sizes)


def test_settings_exist() -> None:
    known = {name for setting in iter_settings() for name in setting.names}
    for page in ("deploy-gcp", "deploy-gke", "deploy-vertex"):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        assert set(re.findall(r"\b(?:PREPTIME|AIP)_[A-Z_]+[A-Z]\b", text)) <= known, page
        assert "not been run" in text.replace("\n", " "), page
    assert Settings().max_concurrent_requests == 64
    assert "(`PREPTIME_MAX_CONCURRENT_REQUESTS`)" in PAGE


def test_preptime_is_installed_from_checkout_first() -> None:
    """No package index has preptime, so the pages must not install it from one."""
    for path in (ROOT / "docs").glob("deploy-*.md"):
        assert not re.search(r"pip install '?preptime", path.read_text(encoding="utf-8")), path.name
    first = re.search(r"^preptime ", PAGE, flags=re.MULTILINE)
    assert first is not None
    assert 0 < PAGE.index("python dev.py setup run") < PAGE.index(". .venv/bin/activate") < first.start()
    assert "google-cloud-bigquery==" in (ROOT / "locks" / "run.lock").read_text(encoding="utf-8")


def test_budget_has_a_billing_project() -> None:
    """Its API refuses the credentials of a user without one."""
    variables = 'export USER_PROJECT_OVERRIDE=true GOOGLE_BILLING_PROJECT="$PROJECT"'
    assert 0 < PAGE.index(variables) < PAGE.index("terraform apply")


def test_release_commands_parse() -> None:
    calls = re.findall(r"python scripts/cloud_run\.py ([^`\n#]+)", PAGE)
    commands = [cloud_run.parse_arguments(call.replace('"$REGION"', "r").split()).command for call in calls]
    assert set(commands) == {"rollback", "restart"}


def test_limits_of_a_release_are_the_defaults() -> None:
    rows = re.findall(r"^\| `--([a-z0-9-]+)` \| (\d+) \|", PAGE, flags=re.MULTILINE)
    defaults = vars(canary.parse_arguments(["--service", "s", "--region", "r"]))
    assert {name.replace("-", "_"): float(value) for name, value in rows} == {
        name: value for name, value in defaults.items() if name not in {"service", "region"}
    }


def test_keys_are_rotated_with_a_restart() -> None:
    """Another command makes a revision that gets no traffic after a rollback."""
    section = PAGE.partition("\n## Rotate a key\n")[2].partition("\n## ")[0]
    assert re.findall(r"cloud_run\.py (\w+) --service (\S+)", section) == [
        ("restart", "preptime-api"),
        ("restart", "preptime-ui"),
    ]


def test_page_has_a_command_for_what_only_the_cloud_proves() -> None:
    section = PAGE.partition("\n## What only the cloud can prove\n")[2]
    rows = re.findall(r"^\| ([^|]+\?) \| (.+) \|$", section, flags=re.MULTILINE)
    assert len(rows) > 10
    assert all("`" in command or "chart" in command or "step" in command for _, command in rows)


def test_provider_lock_is_committed_or_explained() -> None:
    """Only HashiCorp's registry has the hashes."""
    lock = FOLDER / ".terraform.lock.hcl"
    workflow = (ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8")
    assert lock.is_file() or "isn't in this repository yet" in PAGE
    command = "terraform -chdir=deploy/terraform providers lock -platform=linux_amd64 -platform=darwin_arm64"
    assert command in PAGE
    assert command in workflow


def test_workflows_have_the_named_environments() -> None:
    called = re.findall(r"gh workflow run (\w+)\.yml -f environment=(\w+)", PAGE)
    assert set(called) == {("deploy", "staging"), ("deploy", "production"), ("rollback", "production")}
    for name, environment in called:
        text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        assert environment in re.findall(r"environment:\n(?: {8}.*\n)*? {8}options: \[([^]]*)\]", text)[0].split(", ")


@pytest.mark.parametrize("heading", ["From an empty project", "Roll back a model", "Rotate a key", "Tear down"])
def test_page_has_heading(heading: str) -> None:
    assert f"\n## {heading}\n" in PAGE
