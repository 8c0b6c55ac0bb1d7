"""Digests of the published images that this project uses: deploy/docker/pins.env."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from preptime.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
DIGESTS_FILE = ROOT / "deploy" / "docker" / "pins.env"
BASE_IMAGES = {"BASE": "python:3.11-slim-bookworm", "POSTGRES_IMAGE": "postgres:17-bookworm"}


def read_digests() -> dict[str, str]:
    """Return the pinned images by name. Raises `UsageError` if one has no digest."""
    digests = {}
    for line in DIGESTS_FILE.read_text(encoding="utf-8").splitlines() if DIGESTS_FILE.is_file() else ():
        name, _, image = line.partition("=")
        if name in BASE_IMAGES:
            digests[name] = image.strip()
    for name, published in BASE_IMAGES.items():
        if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", digests.get(name, "")):
            raise UsageError(
                f"{DIGESTS_FILE.relative_to(ROOT)} has no digest for {name} ({published}).",
                "To write it, run `python dev.py images --pin`. To build on another image, use `--base IMAGE`.",
            )
    return digests


def write_digests(client: str) -> None:
    """Pull the published images, and write their digests to the file."""
    lines = ["# Digests of published images. Written by `python dev.py images --pin`. Commit this file."]
    for name, image in BASE_IMAGES.items():
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
