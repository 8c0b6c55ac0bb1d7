"""Resolves `locks/` from pyproject.toml with uv: `python dev.py lock [uv's options]`. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
TOOLS = ("airflow", "dvc", "deploy")
"""Groups of pyproject.toml that have an environment of their own."""
IMAGES = {
    "serve": ("gcs",),
    "jobs": ("train", "postgres", "gcp"),
    "ui": ("ui", "gcs"),
}
"""The extras of each container image, in `locks/images/NAME.lock`: the part of `locks/run.lock` that it needs."""

OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header")
PRIVATE = ("--no-emit-index-url", "--no-emit-find-links")
"""Where packages come from is each machine's own affair."""


def wanted() -> dict[str, tuple[str, ...]]:
    """What uv is asked for each lock, by its name; `-` is what builds the project."""
    project = ("--all-extras", "pyproject.toml", "-")
    known = ("--constraint", "locks/run.lock")
    images = {
        f"images/{name}": (*known, *(part for extra in extras for part in ("--extra", extra)), "pyproject.toml")
        for name, extras in IMAGES.items()
    }
    return {
        "run": project,
        "dev": ("--group", "dev", "--group", "bench", *known, *project),
        **{name: ("--group", name) for name in TOOLS},
        "images/build": (*known, "-"),
        **images,
    }


def main(arguments: list[str]) -> int:
    """Write every lock; 1 without uv or when one cannot be resolved."""
    uv = shutil.which("uv")
    if uv is None:
        print("`uv` is not on the PATH; only this task needs it. Install it with: pip install uv", file=sys.stderr)
        return 1
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    # `editables` is what hatchling wants for an editable install.
    builders = "\n".join([*build, "editables"])
    (LOCKS / "images").mkdir(parents=True, exist_ok=True)
    for name, what in wanted().items():
        print(f"Resolving locks/{name}.lock", flush=True)
        command = [uv, "pip", "compile", "--quiet", *OPTIONS, *PRIVATE, *arguments]
        output = ("--output-file", f"locks/{name}.lock")
        ended = subprocess.run([*command, *output, *what], cwd=ROOT, input=builders, encoding="utf-8", check=False)
        if ended.returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
