"""Resolve `locks/` and the peers' locks with uv: `python dev.py lock [UV OPTIONS]`. Standard library only.

Then check that each environment can be installed from wheels on every supported platform.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from itertools import product
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
NOT_IN_SPARK_IMAGE = ("pyspark", "py4j", "altair", "vl-convert-python")
"""Packages of the extras that the image `spark` doesn't need: Google mounts PySpark into it, and it draws no charts."""

UNUSED_GOOGLE_PACKAGES = """
gcloud-aio-bigquery gcloud-aio-storage gcsfs google-ads google-analytics-admin google-cloud-aiplatform
google-cloud-alloydb google-cloud-automl google-cloud-batch google-cloud-bigquery
google-cloud-bigquery-datatransfer google-cloud-bigquery-storage google-cloud-bigtable google-cloud-build
google-cloud-container google-cloud-datacatalog google-cloud-dataflow-client google-cloud-dataform
google-cloud-dataplex google-cloud-dataproc-metastore google-cloud-dlp google-cloud-kms google-cloud-language
google-cloud-managedkafka google-cloud-memcache google-cloud-monitoring google-cloud-orchestration-airflow
google-cloud-os-login google-cloud-pubsub google-cloud-redis google-cloud-run google-cloud-spanner
google-cloud-speech google-cloud-storage-transfer google-cloud-tasks google-cloud-texttospeech
google-cloud-translate google-cloud-videointelligence google-cloud-vision google-cloud-workflows google-genai
grpcio-gcp immutabledict looker-sdk pandas pandas-gbq pyarrow ray sqlalchemy-spanner types-protobuf
"""
"""What Google's provider for Airflow requires and its Spark operators don't import: 1 GB, and older versions of other
packages than Airflow's."""
AIRFLOW_OVERRIDES = "build/airflow-overrides.txt"
"""A file with a condition that no Python satisfies for each unused package."""

PEER_LOCKS = "benchmarks/peers/requirements"
PEERS = ("bentoml", "fastapi", "mlflow", "mlserver")
"""Other model servers of `python -m benchmarks peers`, each with its own environment."""

COMPILE_OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header")
INDEX_OPTIONS = ("--no-emit-index-url", "--no-emit-find-links")
"""Locks contain no index addresses: each machine configures its own index."""

PLATFORMS = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)
"""The supported platforms, in uv's names. A universal lock can contain packages without wheels for some of them."""
MACOS = "14.0"
"""The oldest supported macOS: ONNX Runtime has no wheels for older ones."""
PYTHONS = ("3.11", "3.13")
"""The oldest and the newest Python that the classifiers of pyproject.toml name."""
BUILT_LOCKS = ("spark",)
"""Locks with a package that has no wheel on any platform."""


def lock_requests() -> dict[str, tuple[str, ...]]:
    """Return uv's arguments for each lock, by name. `-` means the build requirements on standard input."""
    project_arguments = ("--extra", "all", "pyproject.toml", "-")
    constraint = ("--constraint", "locks/run.lock")
    images = {
        f"images/{name}": (*constraint, *(part for extra in extras for part in ("--extra", extra)), "pyproject.toml")
        for name, extras in IMAGE_EXTRAS.items()
    }
    omitted = (part for name in NOT_IN_SPARK_IMAGE for part in ("--no-emit-package", name))
    images["images/spark"] = ("--constraint", "locks/spark.lock", *omitted, *images["images/spark"])
    return {
        "run": project_arguments,
        "dev": ("--group", "dev", "--group", "bench", "--group", "docs", *constraint, *project_arguments),
        **{name: ("--group", name) for name in TOOL_GROUPS},
        "airflow": ("--group", "airflow", "--override", AIRFLOW_OVERRIDES),
        # pyspark has no wheel: dev.py builds it with these tools.
        "build/spark": ("--group", "spark-build"),
        "images/build": (*constraint, "-"),
        **images,
        **{
            f"../{PEER_LOCKS}/{name}": ("--only-binary", ":all:", f"{PEER_LOCKS}/{name}.in", f"{PEER_LOCKS}/bundle.in")
            for name in PEERS
        },
    }


def uninstallable(uv: str) -> list[str]:
    """Return a line for each environment, platform, and Python for which the lock lacks wheels. Installs nothing."""
    locks = ("run", "dev", *(name for name in TOOL_GROUPS if name not in BUILT_LOCKS))
    install = (uv, "pip", "install", "--quiet", "--dry-run", "--no-deps", "--require-hashes", "--only-binary", ":all:")
    lines = []
    for name, platform, python in product(locks, PLATFORMS, PYTHONS):
        target = ("--python-platform", platform, "--python-version", python, "--target", "build/no-installation")
        completed = subprocess.run(
            [*install, *target, "--requirement", f"locks/{name}.lock"],
            cwd=ROOT,
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if completed.returncode:
            lines.append(f"locks/{name}.lock, {platform}, Python {python}: {completed.stderr.strip()}")
    return lines


def main(arguments: list[str]) -> int:
    """Write every lock, and return 0. Return 1 without uv, if uv can't resolve a lock, or if a lock lacks wheels."""
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
    overrides = "".join(f'{name} ; python_version < "3"\n' for name in UNUSED_GOOGLE_PACKAGES.split())
    (ROOT / AIRFLOW_OVERRIDES).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / AIRFLOW_OVERRIDES).write_text(overrides, encoding="utf-8")
    for name, request in lock_requests().items():
        print(f"Resolving locks/{name}.lock", flush=True)
        command = [uv, "pip", "compile", "--quiet", *COMPILE_OPTIONS, *INDEX_OPTIONS, *arguments]
        output = ("--output-file", f"locks/{name}.lock")
        completed = subprocess.run(
            [*command, *output, *request], cwd=ROOT, input=build_requirements, encoding="utf-8", check=False
        )
        if completed.returncode:
            return 1
    print("Checking that every platform has wheels", flush=True)
    failures = uninstallable(uv)
    if failures:
        print(*failures, "Add markers to the requirements in pyproject.toml.", sep="\n", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
