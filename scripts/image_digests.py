"""Digests of the published images that this project uses: deploy/docker/pins.env."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from preptime.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
DIGESTS_FILE = ROOT / "deploy" / "docker" / "pins.env"
PUBLISHED_IMAGES = {
    "BASE": "python:3.11-slim-trixie",
    "POSTGRES_IMAGE": "postgres:17-trixie",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.1",
    "GRAFANA_IMAGE": "grafana/grafana:12.4.0",
}
"""The base of this project's images, and the images of compose.yaml, by the name of their variable."""


def read_digest(name: str) -> str:
    """Return a published image with its pinned digest. Raises `UsageError` if it has none."""
    lines = DIGESTS_FILE.read_text(encoding="utf-8").splitlines() if DIGESTS_FILE.is_file() else ()
    image = next((line.partition("=")[2].strip() for line in lines if line.startswith(f"{name}=")), "")
    if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image):
        option = "build on another image, use `--base IMAGE`" if name == "BASE" else f"use another image, set {name}"
        raise UsageError(
            f"{DIGESTS_FILE.relative_to(ROOT)} has no digest for {name} ({PUBLISHED_IMAGES[name]}).",
            f"To write it, run `python dev.py images --pin`. To {option}.",
        )
    return image


def write_digests(client: str) -> None:
    """Pull the published images, and write their digests to the file."""
    lines = ["# Digests of published images. Written by `python dev.py images --pin`. Commit this file."]
    for name, image in PUBLISHED_IMAGES.items():
        subprocess.run([client, "pull", image], check=True)
        inspect_command = [client, "image", "inspect", "--format", "{{json .RepoDigests}}", image]
        repo_digests: list[str] = json.loads(
            subprocess.run(inspect_command, capture_output=True, text=True, check=True).stdout
        )
        # Docker can list the digests of other repositories too.
        repository = image.partition(":")[0]
        digest = next(entry for entry in repo_digests if entry.startswith(f"{repository}@")).partition("@")[2]
        lines.append(f"{name}={image}@{digest}")
    DIGESTS_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
