"""The published images that ours stand on or stand beside, each by digest: deploy/docker/pins.env."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from preptime.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "deploy" / "docker" / "pins.env"
PUBLISHED = {"BASE": "python:3.11-slim-bookworm", "POSTGRES": "postgres:17-bookworm"}


def pins() -> dict[str, str]:
    """The published images by name, as pinned. Raises `UsageError` where one is not pinned by digest."""
    found = {}
    for line in PINS.read_text(encoding="utf-8").splitlines() if PINS.is_file() else ():
        name, _, image = line.partition("=")
        if name in PUBLISHED:
            found[name] = image.strip()
    for name, published in PUBLISHED.items():
        if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", found.get(name, "")):
            raise UsageError(
                f"{PINS.relative_to(ROOT)} names no digest for {name} ({published}).",
                "`python dev.py images --pin` asks the registry and writes it; `--base IMAGE` builds on another image.",
            )
    return found


def write_pins(client: str) -> None:
    """Pull the published images and write their digests down."""
    lines = ["# Published images, by digest. Written by `python dev.py images --pin`; commit it."]
    for name, image in PUBLISHED.items():
        subprocess.run([client, "pull", image], check=True)
        shown = [client, "image", "inspect", "--format", "{{json .RepoDigests}}", image]
        digests: list[str] = json.loads(subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
        digest = digests[0].partition("@")[2]
        lines.append(f"{name}={image}@{digest}")
    PINS.write_text("\n".join(lines) + "\n", encoding="utf-8")
