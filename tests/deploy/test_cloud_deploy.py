"""Cloud Deploy's verification of a release: the container as the release defines it, with the real scripts.

Google's APIs are fakes. The candidate is a real API server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import canary, cloud_deploy, cloud_run
from tests.api.factories import KEY
from tests.deploy.fake_cloud_run import FakeService, running_api
from tests.deploy.serving import running_api_server
from tests.deploy.test_cloud_build import IMAGES, described_service
from tests.deploy.test_workflows import text

FIRST, SECOND = "preptime-api-00001-abc", "preptime-api-00002-abc"
GOOD = [(200, 12.0)] * 1000
GCLOUD = f"""#!/bin/bash
case "$*" in
  "auth print-access-token") echo a-token ;;
  "config get-value project") echo "$CLOUDSDK_CORE_PROJECT" ;;
  "secrets versions access latest --secret=preptime-smoke-key") echo "${{FAKE_KEY:-{KEY}}}" ;;
  "run services describe preptime-api --region=europe-west1 --format=value(status.url)") echo "$FAKE_SERVICE_URL" ;;
  *) exit 1 ;;
esac
"""
"""A fake gcloud for the account of the verification."""
CLOCK = """
import time
passed, start, monotonic = 0.0, time.time(), time.monotonic()
def sleep(seconds):
    global passed
    passed += seconds
time.sleep, time.time, time.monotonic = sleep, lambda: start + passed, lambda: monotonic + passed
"""
"""Time passes in `sleep` only. Python runs this file at its start."""

Document = dict[str, Any]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The container of the verification, as `cloud_deploy.py release` writes it."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "staging.json").write_text(json.dumps(described_service("s")), encoding="utf-8")
    images = [f"--{name}={image}" for name, image in IMAGES.items()]
    assert cloud_deploy.main(["release", *images, "--out", str(folder), str(folder / "staging.json")]) == 0
    (verification,) = yaml.safe_load((folder / "skaffold.yaml").read_text(encoding="utf-8"))["verify"]
    document: Document = verification["container"]
    return document


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    """A service whose candidate has 10% of the traffic, as Cloud Deploy makes it. The candidate is a real server."""
    fake = FakeService()
    template = {"containers": [{"image": IMAGES["serve"]}]}
    fake.change(["template"], {"template": template, "etag": "1"})
    candidate = cloud_run.named_target(SECOND, 10, tag=cloud_run.CANDIDATE_TAG)
    fake.document["traffic"] = [candidate, cloud_run.named_target(FIRST, 90)]
    with running_api_server(tmp_path, has_champion=True) as url:
        fake.url_of_tags = url
        yield fake


def verify(
    container: Document, service: FakeService, folder: Path, phase: str = "canary-10", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the container's command with what Cloud Deploy sets, and with the fakes."""
    files = {
        "bin/gcloud": GCLOUD,
        "bin/python3": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
        "sitecustomize.py": CLOCK,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
        (folder / name).chmod(0o755)
    with running_api(service) as url:
        return subprocess.run(
            [*container["command"], *container["args"]],
            cwd=folder,  # not this repository
            env={
                "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(folder),
                "CLOUD_DEPLOY_PHASE": phase,
                "CLOUD_RUN_PROJECT": "test-project",
                "CLOUD_RUN_LOCATION": "europe-west1",
                cloud_run.API_URL_VARIABLE: url,
                cloud_run.MONITORING_URL_VARIABLE: url,
                "FAKE_SERVICE_URL": service.url_of_tags,
                **{variable["name"]: variable["value"] for variable in container["env"]},
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )


def test_release_keeps_labels_of_terraform() -> None:
    """Cloud Run removes labels that a release doesn't have, and adds its own again."""
    service = described_service("s")
    kept = {"app": "preptime", "environment": "staging", "goog-terraform-provisioned": "true"}
    added = {"cloud.googleapis.com/location": "europe-west1", "run.googleapis.com/satisfiesPzs": "true"}
    service["metadata"]["labels"] = kept | added
    kept_by_revision = {"team": "kitchen", "client.knative.dev/nonce": "abc"}
    added_to_revision = {"run.googleapis.com/startupProbeType": "Custom", "serving.knative.dev/service": "preptime-api"}
    service["spec"]["template"]["metadata"]["labels"] = kept_by_revision | added_to_revision
    released = cloud_deploy.with_image(service, IMAGES["serve"])
    assert released["metadata"]["labels"] == kept
    assert released["spec"]["template"]["metadata"]["labels"] == kept_by_revision


def test_candidate_within_its_limits_gets_all_traffic(
    container: Document, service: FakeService, tmp_path: Path
) -> None:
    """Requests of the previous revision don't count."""
    service.observed = {FIRST: [(500, 9000.0)] * 500, SECOND: GOOD}
    completed = verify(container, service, tmp_path)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert f"{SECOND}: 1000 requests, 0.0% errors, p99 12 ms. The candidate keeps its limits." in completed.stdout


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        ([*GOOD, *[(503, 5.0)] * 11], "1.1% errors, p99 12 ms. The limit of --max-error-percent is 1."),
        ([*GOOD, *[(200, 700.0)] * 11], "0.0% errors, p99 700 ms. The limit of --max-p99-ms is 500."),
        ([], "0 requests, 0.0% errors, p99 unknown. --min-requests is 100."),
    ],
    ids=["errors", "latency", "unknown"],
)
def test_candidate_over_a_limit_fails_the_rollout(
    container: Document, service: FakeService, tmp_path: Path, observed: list[tuple[int, float]], message: str
) -> None:
    """The verification fails, and the rule `repair` rolls back. It fails too if nothing is known of the candidate."""
    service.observed = {FIRST: GOOD, SECOND: observed}
    completed = verify(container, service, tmp_path)
    assert completed.returncode == 1
    assert message in completed.stderr


@pytest.mark.parametrize("phase", ["canary-10", "stable"])
def test_wrong_key_fails_the_rollout(container: Document, service: FakeService, tmp_path: Path, phase: str) -> None:
    service.observed = {SECOND: GOOD}
    completed = verify(container, service, tmp_path, phase, FAKE_KEY="wrong")
    assert completed.returncode == 1
    assert "401" in completed.stderr


def test_only_the_stable_phase_needs_no_candidate(container: Document, service: FakeService, tmp_path: Path) -> None:
    """There, all traffic goes to the new revision. A canary without a candidate fails."""
    service.document["traffic"] = [cloud_run.named_target(SECOND, 100)]
    stable = verify(container, service, tmp_path, "stable")
    assert (stable.returncode, stable.stdout) == (0, "The API is ready and predicts.\n")
    canary_phase = verify(container, service, tmp_path, "canary-10")
    assert canary_phase.returncode == 1
    assert "no revision tagged 'candidate'" in canary_phase.stderr


def test_limits_are_those_of_the_workflow(container: Document) -> None:
    """Both call the script with its defaults, so there is one place for the limits."""
    (call,) = re.findall(r"-m scripts\.canary (.+)", container["args"][-1])
    (call_of_workflow,) = re.findall(r"-m scripts\.canary (.+)", text("deploy"))
    calls = [re.sub(r'"\$\w+"', "r", arguments).split() for arguments in (call, call_of_workflow)]
    assert calls[0] == calls[1] == ["--service", "preptime-api", "--region", "r"]
    assert canary.parse_arguments(calls[0]).min_requests == 100


def test_documented_secret_is_read(container: Document) -> None:
    page = (cloud_deploy.ROOT / "docs" / "deploy-gcp.md").read_text(encoding="utf-8")
    (secret,) = re.findall(r"--secret=([\w-]+)", container["args"][-1])
    for command in (f"gcloud secrets create {secret} ", f"gcloud secrets add-iam-policy-binding {secret} "):
        assert command in page


def test_archive_has_the_scripts_and_their_imports(container: Document) -> None:
    """A variable of a process in Linux has at most 128 KiB."""
    (variable,) = container["env"]
    assert variable["value"] == cloud_deploy.scripts_archive(*cloud_deploy.VERIFICATION)
    assert len(variable["value"]) < 2**16
    for path in cloud_deploy.VERIFICATION:
        imported = re.findall(
            r"^from scripts\.(\w+) import", (cloud_deploy.ROOT / path).read_text("utf-8"), re.MULTILINE
        )
        assert {f"scripts/{name}.py" for name in imported} <= set(cloud_deploy.VERIFICATION)
