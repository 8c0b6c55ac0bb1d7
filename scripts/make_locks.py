"""Resolve `locks/` and the peers' locks with uv: `python dev.py lock [UV OPTIONS]`. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
TOOL_GROUPS = ("airflow", "dvc", "deploy", "mlflow-server", "spark")
"""Groups of pyproject.toml with a separate environment."""
IMAGE_EXTRAS = {
    "serve": ("gcs", "otel"),
    "jobs": ("train", "postgres", "gcp"),
    "ui": ("ui", "gcs"),
    "spark": ("spark", "gcs"),
}
"""The extras of each container image. `locks/images/NAME.lock` is the part of `locks/run.lock` that the image needs."""
WITHOUT_SPARK = ("--constraint", "locks/spark.lock", "--no-emit-package", "pyspark", "--no-emit-package", "py4j")
"""The image `spark` gets PySpark from the Spark that Google mounts into it."""

PEER_LOCKS = "benchmarks/peers/requirements"
PEERS = ("bentoml", "fastapi", "mlflow", "mlserver")
"""Other model servers of `python -m benchmarks peers`, each with its own environment."""

COMPILE_OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header")
INDEX_OPTIONS = ("--no-emit-index-url", "--no-emit-find-links")
"""Locks contain no index addresses: each machine configures its own index."""


def lock_requests() -> dict[str, tuple[str, ...]]:
    """Return uv's arguments for each lock, by name. `-` means the build requirements on standard input."""
    project_arguments = ("--extra", "all", "pyproject.toml", "-")
    constraint = ("--constraint", "locks/run.lock")
    images = {
        f"images/{name}": (*constraint, *(part for extra in extras for part in ("--extra", extra)), "pyproject.toml")
        for name, extras in IMAGE_EXTRAS.items()
    }
    images["images/spark"] = (*WITHOUT_SPARK, *images["images/spark"])
    return {
        "run": project_arguments,
        "dev": ("--group", "dev", "--group", "bench", "--group", "docs", *constraint, *project_arguments),
        **{name: ("--group", name) for name in TOOL_GROUPS},
        # pyspark has no wheel: dev.py builds it with these tools.
        "build/spark": ("--group", "spark-build"),
        "images/build": (*constraint, "-"),
        **images,
        **{
            f"../{PEER_LOCKS}/{name}": ("--only-binary", ":all:", f"{PEER_LOCKS}/{name}.in", f"{PEER_LOCKS}/bundle.in")
            for name in PEERS
        },
    }


def main(arguments: list[str]) -> int:
    """Write every lock, and return 0. Return 1 without uv or if uv can't resolve one."""
    uv = shutil.which("uv")
    if uv is None:
        print("uv is not on the PATH. To install it, run: pip install uv", file=sys.stderr)
        return 1
    build_backend_requirements = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"][
        "requires"
    ]
    # hatchling needs `editables` for an editable install.
    build_requirements = "\n".join([*build_backend_requirements, "editables"])
    for folder in ("build", "images"):
        (LOCKS / folder).mkdir(parents=True, exist_ok=True)
    for name, request in lock_requests().items():
        print(f"Resolving locks/{name}.lock", flush=True)
        command = [uv, "pip", "compile", "--quiet", *COMPILE_OPTIONS, *INDEX_OPTIONS, *arguments]
        output = ("--output-file", f"locks/{name}.lock")
        completed = subprocess.run(
            [*command, *output, *request], cwd=ROOT, input=build_requirements, encoding="utf-8", check=False
        )
        if completed.returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
