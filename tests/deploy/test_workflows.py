"""The workflows: linted offline, pinned by commit, and held to the scripts, tasks and infrastructure that they name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import cloud_run
from tests.deploy.manifests import tool
from tests.deploy.terraform import FOLDER, of_kind, text_of
from tests.requirements import ROOT, requires
from tests.test_dev import tasks

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(name: str) -> str:
    return (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")


def test_github_would_take_them() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert [path.stem for path in WORKFLOWS] == ["back", "check", "deploy"]


def test_zizmor_finds_nothing() -> None:
    command = [tool("zizmor"), "--offline", "--persona", "auditor", "--no-progress", *map(str, WORKFLOWS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "No findings to report" in ended.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit_and_named_by_version(path: Path) -> None:
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert uses
    for one in uses:
        assert one.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", one), one


def test_one_action_has_one_commit_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, commit in re.findall(r"uses: ([\w/-]+)@([0-9a-f]{40})", path.read_text(encoding="utf-8")):
            pins.setdefault(action, set()).add(commit)
    assert {action: len(commits) for action, commits in pins.items() if len(commits) > 1} == {}


def test_scripts_are_called_as_they_want_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """Every call of scripts/cloud_run.py in a workflow is understood by it."""
    calls = [
        re.sub(r"\\\n\s+", "", line).split()
        for name in ("deploy", "back")
        for line in re.findall(r"scripts/cloud_run\.py ((?:[^\n)\\]|\\\n)+)", text(name))
    ]
    assert len(calls) == 10
    for words in calls:
        given = cloud_run.parse_arguments([word.strip('"') for word in words])
        assert given.command in {"release", "smoke", "shift", "rollback", "jobs"}


def test_services_and_jobs_are_those_of_terraform() -> None:
    services = {block.text("name") for name, block in of_kind("module").items() if name in {"api", "page"}}
    assert set(re.findall(r"--service (preptime-\w+)", text("deploy"))) == services
    assert services == set(re.findall(r"preptime-(?:api|page)\b", text("back")))
    jobs = set(re.findall(r"^    ([a-z-]+) = \{", text_of(FOLDER), flags=re.MULTILINE))
    named = set(re.findall(r"preptime-([a-z-]+)", text("deploy").partition("name: The daily jobs")[2]))
    assert named & jobs == {"train", "prune-bundles", "prune-results", "score", "monitor", "respond"}


def test_variables_of_the_environment_are_outputs_of_terraform() -> None:
    told = text_of(FOLDER) + (ROOT / "docs" / "deploy-gcp.md").read_text(encoding="utf-8")
    named = set(re.findall(r"vars\.(\w+)", text("deploy") + text("back")))
    assert named == {"GCP_REGION", "GCP_REGISTRY", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_DEPLOYER"}
    assert {name for name in named if name not in told} == set()


def test_the_deployment_goes_step_by_step() -> None:
    order = [
        "name: Build,",
        "name: Scan serve",
        "name: Push",
        "cosign sign",
        "run.py release --service preptime-api",
        "run.py smoke",
    ]
    order += ["--percent 10", "--percent 100", "back --service preptime-api"]
    places = [text("deploy").index(step) for step in order]
    assert places == sorted(places)


def test_tasks_that_are_called_are_there() -> None:
    called = set(re.findall(r"dev\.py (\w+)", "\n".join(text(path.stem) for path in WORKFLOWS)))
    assert called <= set(tasks())
    assert (ROOT / ".ci" / "run").is_file()


def test_a_build_stands_on_what_was_committed() -> None:
    """Pinned while it is being deployed would be a digest that nobody has looked at."""
    assert "dev.py images serve jobs ui" in text("deploy")
    assert not re.search(r"run:[^#]*--pin", text("deploy"))


def test_no_deployment_cancels_another() -> None:
    """Only a newer push to the same pull request makes a check pointless."""
    for name in ("deploy", "back"):
        assert "cancel-in-progress: false" in text(name)
    only = "github.event_name == 'pull_request'"
    assert f"cancel-in-progress: ${{{{ {only} }}}}" in text("check")
    assert f"group: check-${{{{ github.workflow }}}}-${{{{ {only} && github.ref || github.run_id }}}}" in text("check")


def test_what_was_merged_is_checked_as_well() -> None:
    assert re.search(r"^on:\n  pull_request:\n  push:\n    branches: \[main\]\n", text("check"), flags=re.MULTILINE)


def test_terraform_is_checked_with_the_provider() -> None:
    for command in ("fmt -check -recursive", "init -backend=false", "validate"):
        assert re.search(rf"terraform (-chdir=deploy/terraform )?{command}", text("check")), command
    given = re.findall(r"terraform_version: (\d+)\.(\d+)", text("check"))
    least = re.findall(r'required_version = ">= (\d+)\.(\d+)"', text_of(FOLDER))
    assert [tuple(map(int, one)) for one in given] >= [tuple(map(int, one)) for one in least]


def test_docker_is_asked_for_what_the_shell_says() -> None:
    requires(shutil.which("bash"), "bash is not installed")
    for name in ("deploy", "back", "check"):
        for script in re.findall(r"run: \|\n((?: {10}.*\n)+)", text(name)):
            ended = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, ended.stderr
