"""The parts of a release with Cloud Build and Cloud Deploy that need more than a shell (deploy/cloud-build).

    python3 scripts/cloud_deploy.py vulnerabilities FOUND.json
    python3 scripts/cloud_deploy.py release --serve IMAGE --ui IMAGE --jobs IMAGE --out DIRECTORY staging.json …

`vulnerabilities` fails if a list of Artifact Analysis has a serious vulnerability with a fix. `release` writes the
source of a release: for each environment, the service that `gcloud run services describe --format=json` printed, with
the new image. Terraform's settings stay as they are. The release also contains the scripts that compare the candidate
with the limits. This script needs the standard library only.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SKAFFOLD = ROOT / "deploy" / "cloud-build" / "skaffold.yaml"
VERIFICATION = ("scripts/canary.py", "scripts/cloud_run.py")
"""The scripts that the verification of a release runs. They import nothing else of this repository."""
SERIOUS = {"CRITICAL", "HIGH"}
ANNOTATIONS_OF_THE_SERVER = (
    "run.googleapis.com/client-",
    "run.googleapis.com/ingress-status",
    "run.googleapis.com/operation-id",
    "run.googleapis.com/urls",
    "serving.knative.dev/",
)
"""Prefixes of annotations that Cloud Run or the last client writes."""
LABELS_OF_THE_SERVER = ("cloud.googleapis.com/", "run.googleapis.com/", "serving.knative.dev/")
"""Prefixes of labels that Cloud Run writes. Those of Terraform and of its provider have no prefix."""

Document = dict[str, Any]


class ReleaseError(Exception):
    """The release failed. The message is for the user."""


def fixable_vulnerabilities(found: Sequence[Document]) -> list[str]:
    """Return the serious vulnerabilities that have a fix: name, severity, and package."""
    serious = []
    for occurrence in found:
        details = occurrence["vulnerability"]
        severity = details.get("effectiveSeverity", details.get("severity", ""))
        if severity in SERIOUS and details.get("fixAvailable"):
            packages = ", ".join(issue["affectedPackage"] for issue in details.get("packageIssue", []))
            serious.append(f"{occurrence['noteName'].rpartition('/')[2]} {severity} {packages}")
    return sorted(serious)


def with_image(service: Document, image: str) -> Document:
    """Return the definition of a service with another image of its main container. Raises `ReleaseError`."""
    metadata, template = service["metadata"], service["spec"]["template"]
    if "@sha256:" not in image:
        raise ReleaseError(f"{image} has no digest. Use IMAGE@sha256:….")
    # Only the main container has a port. Cloud Run chooses the name of the revision.
    containers = [
        container | {"image": image} if container.get("ports") else container
        for container in template["spec"]["containers"]
    ]
    if sum("ports" in container for container in containers) != 1:
        raise ReleaseError(f"{metadata['name']} must have one container with a port.")
    return {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "metadata": {"name": metadata["name"], **_settings(metadata)},
        "spec": {
            "template": {
                "metadata": _settings(template["metadata"]),
                "spec": template["spec"] | {"containers": containers},
            }
        },
    }


def _settings(metadata: Document) -> Document:
    """Return the annotations and labels that a client can set. Cloud Run removes those that a release doesn't have."""
    labels = _kept(metadata.get("labels", {}), LABELS_OF_THE_SERVER)
    annotations = _kept(metadata.get("annotations", {}), ANNOTATIONS_OF_THE_SERVER)
    return {"annotations": annotations} | ({"labels": labels} if labels else {})


def _kept(values: dict[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in values.items() if not name.startswith(prefixes)}


def scripts_archive(*paths: str) -> str:
    """Return files of this repository as base64 of a `.tar.gz`, for a container that has no copy of the repository."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in paths:
            text = (ROOT / path).read_bytes()
            member = tarfile.TarInfo(path)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return base64.b64encode(gzip.compress(content.getvalue(), mtime=0)).decode()


def write_release(options: argparse.Namespace) -> None:
    """Write skaffold.yaml and the service of each environment to a folder. JSON is YAML too."""
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.services:
        service = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(with_image(service, options.serve), indent=2)
        (options.out / f"{path.stem}.yaml").write_text(f"{text}\n", encoding="utf-8")
    skaffold = SKAFFOLD.read_text(encoding="utf-8")
    skaffold = skaffold.replace("=UI_IMAGE", f"={options.ui}").replace("=JOBS_IMAGE", f"={options.jobs}")
    skaffold = skaffold.replace("value: SCRIPTS_ARCHIVE", f"value: {scripts_archive(*VERIFICATION)}")
    (options.out / "skaffold.yaml").write_text(skaffold, encoding="utf-8")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="command", required=True)
    subparser = subparsers.add_parser("vulnerabilities")
    subparser.add_argument("found", type=Path)
    subparser = subparsers.add_parser("release")
    for name in ("serve", "ui", "jobs"):
        subparser.add_argument(f"--{name}", required=True, metavar="IMAGE")
    subparser.add_argument("--out", type=Path, required=True)
    subparser.add_argument("services", type=Path, nargs="+")
    return parser.parse_args(arguments)


def run_command(options: argparse.Namespace) -> None:
    """Run the command. Raises `ReleaseError`."""
    if options.command == "release":
        write_release(options)
    elif serious := fixable_vulnerabilities(json.loads(options.found.read_text(encoding="utf-8"))):
        raise ReleaseError("\n".join([f"{options.found.name}: {len(serious)} serious vulnerabilities", *serious]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, or 1 on failure."""
    try:
        run_command(parse_arguments(arguments))
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
