"""deploy/cloud-build: schemas of Cloud Build and Cloud Deploy, scripts of its steps, and the services of a release."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import cloud_deploy
from tests.deploy.engine import Engine
from tests.deploy.google_apis import unknown_names
from tests.deploy.manifests import tool
from tests.deploy.terraform import parse_file
from tests.deploy.test_gcloud_commands import refused
from tests.deploy.test_terraform import ENVIRONMENTS, JOBS
from tests.requirements import ROOT

FOLDER = ROOT / "deploy" / "cloud-build"
SERIOUS = {
    "noteName": "projects/goog-vulnz/notes/CVE-2026-1",
    "vulnerability": {
        "effectiveSeverity": "HIGH",
        "fixAvailable": True,
        "packageIssue": [{"affectedPackage": "openssl"}],
    },
}
IMAGES = {name: f"eu.example/p/{name}@sha256:{number}" for number, name in enumerate(("serve", "ui", "jobs"))}

Document = dict[str, Any]


def build() -> Document:
    document: Document = yaml.safe_load((FOLDER / "cloudbuild.yaml").read_text(encoding="utf-8"))
    return document


def step(name: str) -> str:
    """Return the script of a step."""
    (script,) = (str(entry["script"]) for entry in build()["steps"] if entry["id"] == name)
    return script


def cloud_deploy_documents() -> list[Document]:
    return list(yaml.safe_load_all((FOLDER / "clouddeploy.yaml").read_text(encoding="utf-8")))


def skaffold() -> Document:
    document: Document = yaml.safe_load((FOLDER / "skaffold.yaml").read_text(encoding="utf-8"))
    return document


def check_build(path: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.cloudbuild", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_build_matches_schema(tmp_path: Path) -> None:
    """Also with a planted error, so that the check can fail."""
    assert check_build(FOLDER / "cloudbuild.yaml").returncode == 0
    planted = tmp_path / "cloudbuild.yaml"
    planted.write_text((FOLDER / "cloudbuild.yaml").read_text("utf-8").replace("- id: scan", "- ids: scan"), "utf-8")
    completed = check_build(planted)
    assert completed.returncode == 1
    assert "'ids' was unexpected" in completed.stdout


def unknown_names_of_delivery(documents: list[Document]) -> list[str]:
    """Return what Cloud Deploy's API doesn't know."""
    names = []
    for document in documents:
        body = {name: value for name, value in document.items() if name not in {"apiVersion", "kind", "metadata"}}
        names += unknown_names(body | document["metadata"], "clouddeploy.v1", document["kind"])
    return names


def test_delivery_pipeline_matches_schema() -> None:
    """Also with planted errors: a misspelled name and value, and a block in the wrong place."""
    documents = cloud_deploy_documents()
    assert [document["kind"] for document in documents] == ["DeliveryPipeline", "Target", "Target", "Automation"]
    assert {document["apiVersion"] for document in documents} == {"deploy.cloud.google.com/v1"}
    assert unknown_names_of_delivery(documents) == []
    documents[1]["requireApprovals"] = True
    documents[2]["executionConfigs"][0]["usages"] = ["VERIFIED"]
    documents[3]["rules"][0]["advanceRolloutRule"]["rollback"] = {}
    assert unknown_names_of_delivery(documents) == [
        "Target.requireApprovals",
        "Target.executionConfigs.usages: VERIFIED",
        "Automation.rules.advanceRolloutRule.rollback",
    ]


def test_production_follows_staging_after_an_approval() -> None:
    pipeline, staging, production, automation = cloud_deploy_documents()
    stages = pipeline["serialPipeline"]["stages"]
    assert [stage["targetId"] for stage in stages] == ["staging", "production"]
    assert (staging.get("requireApproval"), production["requireApproval"]) == (None, True)
    profiles = {profile["name"]: profile["manifests"]["rawYaml"] for profile in skaffold()["profiles"]}
    assert profiles == {name: [f"{name}.yaml"] for name in ("staging", "production")}
    actions = {action["name"] for action in skaffold()["customActions"]}
    for stage in stages:
        canary = stage["strategy"]["canary"]
        assert stage["profiles"] == [stage["targetId"]]
        assert canary["runtimeConfig"]["cloudRun"]["automaticTrafficControl"]
        assert (canary["canaryDeployment"]["percentages"], canary["canaryDeployment"]["verify"]) == ([10], True)
        assert set(canary["canaryDeployment"]["postdeploy"]["actions"]) == actions
    # The verification watches the candidate, and decides (test_cloud_deploy.py). The names of jobs and phases are all.
    assert [rule for entry in automation["rules"] for rule in entry.values()] == [
        {"id": "advance", "sourcePhases": ["canary-10"]},
        {"id": "repair", "repairPhases": [{"rollback": {}}]},
    ]
    assert {target["id"] for target in automation["selector"]["targets"]} == {"staging", "production"}


def test_projects_and_accounts_match_terraform() -> None:
    targets = {document["metadata"]["name"]: document for document in cloud_deploy_documents()[1:3]}
    substitutions = build()["substitutions"]
    for path in ENVIRONMENTS:
        values, target = parse_file(path), targets[path.stem]
        assert target["run"]["location"] == f"projects/{values['project']}/locations/{values['region']}"
        (execution,) = target["executionConfigs"]
        assert execution["serviceAccount"] == f"preptime-deployer@{values['project']}.iam.gserviceaccount.com"
        assert substitutions[f"_{path.stem.upper()}"] == values["project"]
        assert substitutions["_REGION"] == values["region"]


def scripts() -> dict[str, str]:
    """Return all shell scripts of the folder by name."""
    found = {entry["id"]: str(entry["script"]) for entry in build()["steps"]}
    containers = [skaffold()["verify"][0]["container"], skaffold()["customActions"][0]["containers"][0]]
    return found | {
        container["name"]: f"#!/bin/bash\nset -euo pipefail\n{container['args'][-1]}" for container in containers
    }


@pytest.mark.parametrize("name", sorted(scripts()))
def test_script_passes_shellcheck(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sh"
    path.write_text(scripts()[name], encoding="utf-8")
    # Cloud Build and Cloud Deploy set variables (SC2154).
    command = [tool("shellcheck"), "--exclude=SC2154", str(path)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_build_steps_are_in_order() -> None:
    """Images are tested before the push, and attested after the scan. Only a scanned build is released."""
    assert [entry["id"] for entry in build()["steps"]] == ["build", "test", "push", "scan", "attest", "release"]
    assert all("waitFor" not in entry and not entry.get("allowFailure") for entry in build()["steps"])
    assert build()["options"]["requestedVerifyOption"] == "VERIFIED"


def run_script(script: str, fakes: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script with replacements for programs, in a folder instead of /workspace."""
    script = script.replace("#!/bin/bash\nset -euo pipefail\n", "").replace("/workspace", str(folder))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{fakes}\n{script}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "COMMIT_SHA": "c0ffee" * 7, "BUILD_ID": "b" * 36, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pushed_digest_is_of_the_registry(tmp_path: Path) -> None:
    digests = r"preptime-$name@sha256:1\neu.example/p/$name-old@sha256:2\neu.example/p/$name@sha256:3\n"
    fakes = f'docker() {{ if [ "$1" = inspect ]; then printf "{digests}"; fi; }}'
    assert run_script(step("push"), fakes, tmp_path, _REGISTRY="eu.example/p").returncode == 0
    pushed = {path.stem: path.read_text("utf-8") for path in tmp_path.glob("*.digest")}
    assert pushed == {name: f"eu.example/p/{name}@sha256:3\n" for name in ("serve", "jobs", "ui")}
    assert run_script(step("push"), fakes, tmp_path, _REGISTRY="eu.example/p", _SPARK="true").returncode == 0
    assert (tmp_path / "spark.digest").read_text("utf-8") == "eu.example/p/spark@sha256:3\n"


@pytest.mark.parametrize(("found", "status"), [([], 0), ([SERIOUS], 1)], ids=["clean", "serious"])
def test_build_fails_on_a_serious_vulnerability(tmp_path: Path, found: list[Document], status: int) -> None:
    for name, image in IMAGES.items():
        (tmp_path / f"{name}.digest").write_text(image, encoding="utf-8")
    fakes = f"gcloud() {{ case $* in *list-vuln*) echo '{json.dumps(found)}' ;; *) echo a-scan ;; esac; }}"
    completed = run_script(step("scan"), fakes, tmp_path, _REGION="europe-west1")
    assert completed.returncode == status
    assert ("CVE-2026-1 HIGH openssl" in completed.stderr) == bool(status)


def test_vulnerability_without_fix_is_no_failure() -> None:
    """Nothing can be done about it. A medium one with a fix can wait for the next release."""
    details = SERIOUS["vulnerability"]
    assert isinstance(details, dict)
    unfixed = SERIOUS | {"vulnerability": details | {"fixAvailable": False}}
    medium = SERIOUS | {"vulnerability": details | {"effectiveSeverity": "MEDIUM"}}
    assert cloud_deploy.fixable_vulnerabilities([unfixed, medium]) == []


def test_attestation_needs_an_attestor(tmp_path: Path) -> None:
    for name, image in IMAGES.items():
        (tmp_path / f"{name}.digest").write_text(image, encoding="utf-8")
    fakes = 'gcloud() { echo "$*"; }'
    without = run_script(step("attest"), fakes, tmp_path, _ATTESTOR="", _ATTESTOR_KEY="")
    assert (without.returncode, without.stdout) == (0, "")
    attested = run_script(step("attest"), fakes, tmp_path, _ATTESTOR="projects/p/attestors/a", _ATTESTOR_KEY="k/1")
    assert attested.returncode == 0
    assert set(re.findall(r"--artifact-url=(\S+)", attested.stdout)) == set(IMAGES.values())


@pytest.mark.parametrize("spark", ["", "true"])
def test_spark_is_built_scanned_and_attested_on_request(tmp_path: Path, spark: str) -> None:
    """With the others, in each step that has a list of images."""
    images = IMAGES | {"spark": "eu.example/p/spark@sha256:9"}
    for name, image in images.items():
        (tmp_path / f"{name}.digest").write_text(image, encoding="utf-8")
    fakes = """
    sed() { echo a-value; }
    docker() { echo "$*" >> /workspace/calls; }
    gcloud() { echo "$*" >> /workspace/calls; if [[ $* == *list-vuln* ]]; then echo "[]"; fi; }
    """.replace("/workspace", str(tmp_path))
    values = {"_REGISTRY": "r", "_REGION": "europe-west1", "_ATTESTOR": "a", "_ATTESTOR_KEY": "k", "_SPARK": spark}
    for name in ("build", "scan", "attest"):
        assert run_script(step(name), fakes, tmp_path, **values).returncode == 0
    calls = (tmp_path / "calls").read_text("utf-8")
    patterns = ("--target spark ", f"images scan {images['spark']} ", f"--artifact-url={images['spark']} ")
    assert [calls.count(pattern) for pattern in patterns] == [1 if spark else 0] * 3
    assert calls.count("--target ") == calls.count("--artifact-url=") == (4 if spark else 3)


def described_service(project: str) -> Document:
    """Return what gcloud prints for the API's service after a release, with a second container."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": "preptime-api",
            "namespace": "123456789012",
            "uid": "u",
            "resourceVersion": "AAY",
            "generation": 7,
            "annotations": {
                "run.googleapis.com/client-name": "cloud_run.py",
                "run.googleapis.com/ingress": "all",
                "run.googleapis.com/ingress-status": "all",
                "run.googleapis.com/invoker-iam-disabled": "true",
                "run.googleapis.com/operation-id": "o",
                "run.googleapis.com/urls": "[]",
                "serving.knative.dev/creator": "a@example.com",
            },
        },
        "spec": {
            "template": {
                "metadata": {
                    "name": "preptime-api-00007-abc",
                    "annotations": {"autoscaling.knative.dev/maxScale": "10", "run.googleapis.com/client-version": "5"},
                },
                "spec": {
                    "containerConcurrency": 32,
                    "serviceAccountName": f"preptime-api@{project}.iam.gserviceaccount.com",
                    "containers": [
                        {"image": "old", "ports": [{"containerPort": 8000}], "env": [{"name": "A", "value": "b"}]},
                        {"image": "sidecar"},
                    ],
                },
            },
            "traffic": [{"revisionName": "preptime-api-00007-abc", "percent": 100}],
        },
        "status": {"url": "https://preptime-api.example"},
    }


def test_release_changes_the_image_only(tmp_path: Path) -> None:
    """Each environment keeps what Terraform set. Traffic and names of revisions are Cloud Deploy's."""
    for name, image in IMAGES.items():
        (tmp_path / f"{name}.digest").write_text(image, encoding="utf-8")
    fakes = f"""gcloud() {{
      case $* in
        *describe*--project=s*) echo '{json.dumps(described_service("s"))}' ;;
        *describe*--project=p*) echo '{json.dumps(described_service("p"))}' ;;
        *) echo "$*" ;;
      esac
    }}"""
    projects = {"_STAGING": "s", "_PRODUCTION": "p", "_REGION": "europe-west1", "_PIPELINE": "preptime"}
    script = step("release").replace("build/release", str(tmp_path / "release"))
    completed = run_script(script, fakes, tmp_path, **projects)
    assert completed.returncode == 0, completed.stderr
    created = "deploy releases create r-c0ffeec0ffee-bbbbbbbb --delivery-pipeline=preptime --project=s"
    assert completed.stdout.startswith(created)
    for environment, project in (("staging", "s"), ("production", "p")):
        service = yaml.safe_load((tmp_path / "release" / f"{environment}.yaml").read_text("utf-8"))
        template = described_service(project)["spec"]["template"]
        template["spec"]["containers"][0]["image"] = IMAGES["serve"]
        assert service["spec"] == {
            "template": {
                "metadata": {"annotations": {"autoscaling.knative.dev/maxScale": "10"}},
                "spec": template["spec"],
            }
        }
        assert set(service) == {"apiVersion", "kind", "metadata", "spec"}
        assert unknown_names(service, "run.v1", "Service") == []
        assert set(service["metadata"]["annotations"]) == {
            "run.googleapis.com/ingress",
            "run.googleapis.com/invoker-iam-disabled",
        }
    written = (tmp_path / "release" / "skaffold.yaml").read_text("utf-8")
    assert f"--image={IMAGES['ui']}" in written
    assert f"--image={IMAGES['jobs']}" in written
    assert "=UI_IMAGE" not in written


def test_no_release_without_a_pipeline(tmp_path: Path) -> None:
    completed = run_script(step("release"), 'gcloud() { echo "$*"; }', tmp_path, _PIPELINE="")
    assert (completed.returncode, completed.stdout) == (0, "")


def test_release_refuses_an_image_without_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "staging.json"
    path.write_text(json.dumps(described_service("s")), encoding="utf-8")
    options = ["--serve", "eu.example/serve:tag", "--ui", "u", "--jobs", "j", "--out", str(tmp_path / "out")]
    assert cloud_deploy.main(["release", *options, str(path)]) == 1
    assert "has no digest" in capsys.readouterr().err


def test_last_phase_updates_dashboard_and_all_jobs(tmp_path: Path) -> None:
    completed = run_script(
        scripts()["update-dashboard-and-jobs"],
        'gcloud() { echo "$1 $2 $3 $4"; }',
        tmp_path,
        CLOUD_RUN_PROJECT="p",
        CLOUD_RUN_LOCATION="l",
    )
    assert completed.stdout.splitlines() == [
        "run services update preptime-ui",
        *(f"run jobs update preptime-{job}" for job in JOBS),
    ]


def test_built_images_train_and_predict(engine: Engine, image: Callable[[str], str], tmp_path: Path) -> None:
    """The step `test` itself, with real images."""
    for name in ("serve", "jobs", "ui"):
        engine.run("tag", image(name), f"eu.example/{name}:{'c0ffee' * 7}")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    script = step("test").replace("docker ", f"{engine.client} ").replace("/workspace/scripts", str(ROOT / "scripts"))
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        completed = run_script(script, "", tmp_path, _REGISTRY="eu.example", DOCKER_HOST=host)
    finally:
        engine.run("rm", "--force", "preptime-test", check=False)
        engine.run("volume", "rm", "--force", "preptime-test", check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "The API is ready and predicts." in completed.stdout


def test_gcloud_parses_the_commands(tmp_path: Path) -> None:
    """The commands of all scripts, with values for what the scripts compute."""
    text = "\n".join(scripts().values()).replace("\\\n", " ")
    text = re.sub(r'"?\$\(cat "?[^)]*\)"?', IMAGES["serve"], text)
    for pattern, value in {
        r"\$\{[\w:*%#=-]+\}": "r-1",
        r'"\$\{place\[@\]\}"': "--region=r",
        r"\$location": "europe",
        r"\$\w+": "europe-west1",
    }.items():
        text = re.sub(pattern, value, text)
    commands = [command.strip() for command in re.findall(r"(gcloud (?:'[^']*'|[^|>#\n)])*)", text)]
    assert len(commands) == 9
    assert refused(commands, tmp_path) == []
