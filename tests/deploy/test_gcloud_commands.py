"""The gcloud commands of docs, workflows, and scripts, parsed by gcloud itself where it's installed. None is run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import cloud_run
from tests.requirements import NOT_PACKAGED, ROOT, requires

VALUES = {
    "ATTESTOR": "projects/a-project/attestors/preptime-ci",
    "ATTESTOR_KEY": "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
    "BILLING": "000000-000000-000000",
    "COMMIT": "abc",
    "DIGEST": "sha256:abc",
    "GITHUB_SHA": "abc",
    "PROJECT": "a-project",
    "REGION": "europe-west1",
    "REGISTRY": "europe-west1-docker.pkg.dev/a-project/preptime",
    "STAGING": "europe-west1-docker.pkg.dev/a-project/preptime",
    "SUBNETWORK": "projects/a-project/regions/europe-west1/subnetworks/preptime-spark",
    "image": "europe-west1-docker.pkg.dev/a-project/preptime/serve",
    "name": "serve",
}
MISREAD = "gcloud storage rm --recursive"
"""The parser takes the URL for a value of the flag."""
WRONG = "gcloud run jobs execute preptime-train --regions=europe-west1"


def documented_commands() -> list[str]:
    """Return the commands in code blocks and in running text."""
    commands = []
    docs = ROOT / "docs"
    for path in [*sorted(docs.glob("deploy-*.md")), docs / "scale.md", docs / "runbooks" / "README.md"]:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
        commands += re.findall(r"(?:^|\| )(gcloud [^|#\n)]*)", blocks, flags=re.MULTILINE)
        commands += re.findall(r"`(gcloud [^`]+)`", text)
    return commands


def workflow_commands() -> list[str]:
    """Return the commands of the workflows."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    text = re.sub(r"\$\{(\w+)%%[^}]*\}", r"$\1", text.replace("\\\n", " "))
    return re.findall(r"(gcloud (?:auth|artifacts|beta) [^\n)]+)", text.replace("value(image_summary.digest)", "json"))


def script_commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the commands of scripts/cloud_run.py."""
    commands: list[str] = []

    def record(*arguments: str) -> str:
        commands.append(" ".join(("gcloud", *arguments)))
        return "value"

    monkeypatch.setattr(cloud_run, "gcloud", record)
    cloud_run.update_jobs("europe-west1", "registry/jobs@sha256:abc", ["preptime-train"])
    cloud_run.CloudRunService("preptime-api", "europe-west1")
    return commands


def refused(commands: list[str], folder: Path) -> list[str]:
    """Return the commands that gcloud can't parse."""
    gcloud = shutil.which("gcloud")
    requires(gcloud, f"{NOT_PACKAGED} gcloud, and it isn't installed")
    # The linter doesn't know `--`, which starts the arguments of another program.
    own = [command.partition(" -- ")[0].strip() for command in commands]
    filled = {re.sub(r"\$\{?(\w+)\}?", lambda match: VALUES[match[1]], command) for command in own}
    path = folder / "commands.json"
    path.write_text(json.dumps([{"command_string": command} for command in sorted(filled)]), encoding="utf-8")
    completed = subprocess.run(
        [str(gcloud), "meta", "lint-gcloud-commands", f"--commands-file={path}"],
        env={**os.environ, "CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    results = json.loads(completed.stdout)
    assert len(results) == len(filled)
    return [f"{result['command_string']}: {result['error_message']}" for result in results if not result["success"]]


def test_gcloud_parses_all_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a planted error, so that the check can fail."""
    commands = [*documented_commands(), *workflow_commands(), *script_commands(monkeypatch)]
    assert len(commands) > 35
    checked = [command for command in commands if not command.startswith(MISREAD)]
    (error,) = refused([*checked, WRONG], tmp_path)
    assert error.startswith(WRONG)
