"""The workflows: linters, pinned actions, and consistency with scripts, tasks, and Terraform."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from scripts import canary, cloud_run
from tests.deploy.manifests import tool
from tests.deploy.terraform import FOLDER, blocks_of_kind, text_of
from tests.requirements import ROOT, requires
from tests.test_dev import tasks

NAMES = ("serve", "jobs", "ui")
"""The images of Cloud Run."""
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(name: str) -> str:
    return (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")


def test_workflows_match_schema() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout
    assert " ".join(path.stem for path in WORKFLOWS) == "check deploy docs platforms rescan rollback terraform"


def test_dependabot_matches_schema() -> None:
    """Actions and the provider of Terraform get pull requests. Packages have locks/, and base images pins.env."""
    path = ROOT / ".github" / "dependabot.yml"
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.dependabot", str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    updates = yaml.safe_load(path.read_text(encoding="utf-8"))["updates"]
    assert [update["package-ecosystem"] for update in updates] == ["github-actions", "terraform"]
    assert all((ROOT / update["directory"].strip("/")).is_dir() for update in updates)


def test_zizmor_finds_nothing() -> None:
    command = [tool("zizmor"), "--offline", "--persona", "auditor", "--no-progress", str(ROOT / ".github")]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "No findings to report" in completed.stdout


def actionlint(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Check workflows, and their shell scripts with shellcheck."""
    command = [tool("actionlint"), "-no-color", "-shellcheck", tool("shellcheck"), *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_actionlint_finds_nothing() -> None:
    completed = actionlint(*WORKFLOWS)
    assert completed.returncode == 0, completed.stdout


def test_actionlint_finds_planted_errors(tmp_path: Path) -> None:
    path = tmp_path / "deploy.yml"
    changed = text("deploy").replace("needs: images\n", "needs: image\n")
    changed = changed.replace("steps.push.outputs.ui", "steps.pushed.outputs.ui")
    path.write_text(changed.replace('cosign verify "$SERVE"', "cosign verify $SERVE"), encoding="utf-8")
    completed = actionlint(path)
    assert completed.returncode == 1
    assert all(word in completed.stdout for word in ('"image"', '"pushed"', "SC2086")), completed.stdout


def step_script(workflow: str, name: str) -> str:
    """Return the script of a step."""
    step = text(workflow).partition(f"- name: {name}\n")[2].partition("\n      - ")[0] + "\n"
    (script,) = re.findall(r"^ {8}run: \|\n((?: {10}.*\n)+)", step, flags=re.MULTILINE)
    return textwrap.dedent(script)


def test_pushed_digest_is_of_the_registry(tmp_path: Path) -> None:
    """Docker lists digests of local names too. Cloud Run and cosign would look for those on Docker Hub."""
    digests = "preptime-serve@sha256:1\neu.example/p/serve-old@sha256:2\neu.example/p/$name@sha256:3"
    fakes = f'docker() {{ if [ "$1" = inspect ]; then printf "{digests}\n"; fi; }}; gcloud() {{ :; }}; export name\n'
    output = tmp_path / "output"
    environment = {"PATH": os.environ["PATH"], "REGISTRY": "eu.example/p", "TAG": "t", "GITHUB_OUTPUT": str(output)}
    script = fakes + step_script("deploy", "Push")
    subprocess.run(["bash", "-e", "-c", script], env=environment, check=True, capture_output=True)
    assert output.read_text(encoding="utf-8").splitlines() == [
        f"{name}=eu.example/p/{name}@sha256:3" for name in ("serve", "jobs", "ui")
    ]
    with_spark = {**environment, "SPARK": "true"}
    subprocess.run(["bash", "-e", "-c", script], env=with_spark, check=True, capture_output=True)
    assert output.read_text(encoding="utf-8").splitlines()[-1] == "spark=eu.example/p/spark@sha256:3"
    without = script.replace("eu.example/p/$name@", "another/$name@")
    assert subprocess.run(["bash", "-e", "-c", without], env=environment, check=False).returncode


def test_production_gets_the_digests_that_staging_served(tmp_path: Path) -> None:
    """Staging tags its images after the release. Production copies them by digest, and refuses other commits."""
    fakes = """
    gcloud() {
      case "$*" in
        *tags\\ add*) echo "$5 $6" >> "$TAGS" ;;
        *describe*) grep " $5$" "$TAGS" | sed "s/.*@\\(sha256:[0-9]*\\) .*/\\1/" | grep . ;;
      esac
    }
    cosign() { echo "$2 $3" >> "$COPIES"; }
    """
    files = {name: str(tmp_path / name) for name in ("TAGS", "COPIES", "GITHUB_OUTPUT")}
    images = {name.upper(): f"eu.example/staging/{name}@sha256:{number}" for number, name in enumerate(NAMES)}
    registries = {"STAGING": "eu.example/staging", "REGISTRY": "eu.example/production"}
    environment = {"PATH": os.environ["PATH"], "GITHUB_SHA": "abc", **files, **images, **registries}

    def run_step(name: str, **changed: str) -> str:
        command = ["bash", "-e", "-c", textwrap.dedent(fakes) + step_script("deploy", name)]
        completed = subprocess.run(command, env={**environment, **changed}, check=False, capture_output=True, text=True)
        assert (completed.returncode == 0) == (not completed.stderr)
        return completed.stderr

    copy = "Copy the images that staging has served"
    assert run_step("Mark the images as served by staging") == ""
    assert run_step(copy, COMMIT="abc") == ""
    copies = Path(files["COPIES"]).read_text(encoding="utf-8").splitlines()
    assert copies == [f"{images[name.upper()]} eu.example/production/{name}:abc" for name in NAMES]
    outputs = Path(files["GITHUB_OUTPUT"]).read_text(encoding="utf-8").splitlines()
    assert outputs == [f"{name}=eu.example/production/{name}@sha256:{number}" for number, name in enumerate(NAMES)]
    spark = "eu.example/staging/spark@sha256:9"
    assert run_step("Mark the images as served by staging", SPARK_IMAGE=spark) == ""
    assert run_step(copy, COMMIT="abc", SPARK="true") == ""
    copies = Path(files["COPIES"]).read_text(encoding="utf-8").splitlines()
    assert copies[-1] == f"{spark} eu.example/production/spark:abc"
    assert run_step(copy, COMMIT="another") == "Staging hasn't served another. First run this workflow for staging.\n"
    assert "variable GCP_STAGING_REGISTRY" in run_step(copy, COMMIT="abc", STAGING="")
    assert len(Path(files["COPIES"]).read_text(encoding="utf-8").splitlines()) == len(copies), "nothing else is copied"


def test_only_staging_builds() -> None:
    jobs = yaml.safe_load(text("deploy"))["jobs"]
    assert jobs["check"]["if"] == "inputs.environment == 'staging'"
    assert jobs["images"]["needs"] == "check"
    assert jobs["release"]["needs"] == "images"
    assert "needs.images.result == 'success' ||" in jobs["release"]["if"]
    (copy,) = (step for step in jobs["release"]["steps"] if step.get("id") == "copy")
    assert copy["if"] == "inputs.environment == 'production'"


def test_production_needs_one_approval() -> None:
    """GitHub asks for each job that names a protected environment."""
    environments = [job.get("environment") for job in yaml.safe_load(text("deploy"))["jobs"].values()]
    assert environments == [None, "staging", "${{ inputs.environment }}"]


def test_cancelled_release_is_rolled_back() -> None:
    """Otherwise, the candidate would keep 10% of the traffic."""
    (condition,) = re.findall(r"name: Roll back after a failure\n +if: (.+)", text("deploy"))
    assert condition == "(failure() || cancelled()) && steps.release.outcome == 'success'"


def test_images_are_verified_before_their_release() -> None:
    """The signature must be of this workflow on the main branch."""
    workflow = text("deploy")
    assert workflow.count("deploy.yml@refs/heads/main\n") == workflow.count("cosign verify ") == 1
    verified = workflow.index('cosign verify "$SERVE" "$JOBS" "$UI"')
    assert workflow.index("cosign copy") < verified < workflow.index("attestations sign-and-create")
    assert workflow.index("attestations sign-and-create") < workflow.index("run.py release --service preptime-api")


@pytest.mark.parametrize("names", [NAMES, (*NAMES, "spark")], ids=["default", "spark"])
def test_every_pushed_image_is_attested(names: tuple[str, ...]) -> None:
    """Binary Authorization refuses an image without attestation. The attested digests are those that are signed."""
    images = {name: f"eu.example/{name}@sha256:{number}" for number, name in enumerate(names)}
    variables = {"spark": "SPARK_IMAGE"}
    environment = {variables.get(name, name.upper()): image for name, image in images.items()}
    scripts = {
        "gcloud": step_script("deploy", "Attest the images for Binary Authorization"),
        "cosign": step_script("deploy", "Sign each digest and attach its bill of materials"),
    }
    calls = {
        program: subprocess.run(
            ["bash", "-eu", "-c", f'{program}() {{ echo "$*"; }}\n{script}'],
            env={"PATH": os.environ["PATH"], "ATTESTOR": "a", "ATTESTOR_KEY": "k", "SPARK_IMAGE": "", **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for program, script in scripts.items()
    }
    attested = re.findall(
        r"sign-and-create --artifact-url=(\S+) --attestor=a --keyversion=k$", calls["gcloud"], re.MULTILINE
    )
    signed = re.findall(r"\S+@sha256:\d", "".join(re.findall(r"^sign .*\n", calls["cosign"], re.MULTILINE)))
    assert attested == signed == list(images.values())
    steps = {step.get("name"): step for step in yaml.safe_load(text("deploy"))["jobs"]["release"]["steps"]}
    environments = [
        {name: value for name, value in steps[step]["env"].items() if "steps.copy" in value}
        for step in ("Verify that this workflow signed the images", "Attest the images for Binary Authorization")
    ]
    assert environments[0] == environments[1], "the attested images are the verified ones"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_have_commit_and_version(path: Path) -> None:
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert uses
    for action in uses:
        assert action.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", action), action


def test_action_has_the_same_commit_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, commit in re.findall(r"uses: ([\w/-]+)@([0-9a-f]{40})", path.read_text(encoding="utf-8")):
            pins.setdefault(action, set()).add(commit)
    assert {action: len(commits) for action, commits in pins.items() if len(commits) > 1} == {}


def test_cloud_run_calls_parse() -> None:
    """scripts/cloud_run.py parses every call of the workflows."""
    calls = [
        re.sub(r"\\\n\s+", "", line).split()
        for name in ("deploy", "rollback")
        for line in re.findall(r"scripts/cloud_run\.py ((?:[^\n)\\]|\\\n)+)", text(name))
    ]
    assert len(calls) == 9
    for arguments in calls:
        options = cloud_run.parse_arguments([argument.strip('"') for argument in arguments])
        assert options.command in {"release", "smoke", "shift", "rollback", "jobs"}
    for call in re.findall(r"-m scripts\.canary (.+)", text("deploy")):
        assert canary.parse_arguments(call.replace('"', "").split()).service == "preptime-api"


def test_services_and_jobs_match_terraform() -> None:
    services = {block.text("name") for name, block in blocks_of_kind("module").items() if name in {"api", "ui"}}
    assert set(re.findall(r"--service (preptime-\w+)", text("deploy"))) == services
    assert services == set(re.findall(r"preptime-(?:api|ui)\b", text("rollback")))
    jobs = set(re.findall(r"^    ([a-z-]+) = \{", text_of(FOLDER), flags=re.MULTILINE))
    named = set(re.findall(r"preptime-([a-z-]+)", text("deploy").partition("name: Update the daily jobs")[2]))
    assert named & jobs == {"train", "prune-bundles", "prune-results", "score", "monitor", "respond"}


def test_environment_variables_match_terraform_outputs() -> None:
    documented = text_of(FOLDER) + (ROOT / "docs" / "deploy-gcp.md").read_text(encoding="utf-8")
    named = set(re.findall(r"vars\.(\w+)", text("deploy") + text("rollback")))
    of_environment = {"GCP_REGION", "GCP_REGISTRY", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_DEPLOYER"}
    assert named == {
        *of_environment,
        "GCP_STAGING_REGISTRY",
        "GCP_ATTESTOR",
        "GCP_ATTESTOR_KEY",
        "GCP_CANDIDATE_URL",
        "GCP_SPARK",
    }
    assert {name for name in named if name not in documented} == set()


def test_deployment_steps_are_in_order() -> None:
    steps = [
        "name: Build ",
        "name: Scan serve",
        "name: Push",
        "cosign sign",
        "run.py release --service preptime-api",
        "run.py smoke",
    ]
    steps += ["--percent 10\n", "scripts.canary --service preptime-api", "--percent 100"]
    steps += ["rollback --service preptime-api"]
    positions = [text("deploy").index(step) for step in steps]
    assert positions == sorted(positions)


def test_check_installs_the_keys_of_debian() -> None:
    """GitHub's runners have Ubuntu. Without these packages, the images' tests can't create a base image there."""
    assert "needs mmdebstrap mmdebstrap debian-archive-keyring uidmap\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_called_tasks_exist() -> None:
    called = set(re.findall(r"dev\.py (\w+)", "\n".join(text(path.stem) for path in WORKFLOWS)))
    assert called <= set(tasks())
    assert (ROOT / ".ci" / "run").is_file()


def test_deployment_builds_on_committed_digest() -> None:
    """A deployment that pins an image would use a digest without a review."""
    assert "dev.py images serve jobs ui" in text("deploy")
    assert not re.search(r"run:[^#]*--pin", text("deploy"))


def test_only_pull_request_checks_are_cancelled() -> None:
    """A newer push cancels the check of the same pull request. No deployment cancels another."""
    for name in ("deploy", "rollback"):
        assert "cancel-in-progress: false" in text(name)
    is_pull_request = "github.event_name == 'pull_request'"
    assert f"cancel-in-progress: ${{{{ {is_pull_request} }}}}" in text("check")
    assert (
        f"group: check-${{{{ github.workflow }}}}-${{{{ {is_pull_request} && github.ref || github.run_id }}}}"
        in text("check")
    )


def test_check_runs_on_main() -> None:
    assert re.search(r"^on:\n  pull_request:\n  push:\n    branches: \[main\]\n", text("check"), flags=re.MULTILINE)


def test_check_runs_terraform() -> None:
    for command in ("fmt -check -recursive", "init -backend=false", "validate"):
        assert re.search(rf"terraform (-chdir=deploy/terraform )?{command}", text("check")), command
    installed = re.findall(r"terraform_version: (\d+)\.(\d+)", text("check"))
    required = re.findall(r'required_version = ">= (\d+)\.(\d+)"', text_of(FOLDER))
    assert [tuple(map(int, version)) for version in installed] >= [tuple(map(int, version)) for version in required]


def test_scripts_are_valid_bash() -> None:
    requires(shutil.which("bash"), "bash is not installed")
    for name in ("deploy", "rollback", "check", "docs"):
        for script in re.findall(r"run: \|\n((?: {10}.*\n)+)", text(name)):
            completed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            assert completed.returncode == 0, completed.stderr
