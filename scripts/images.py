"""Build the container images, print their sizes, and write a CycloneDX bill of materials for each.

The base image comes from deploy/docker/pins.env, by digest. `--pin` writes that file and needs access to a registry.
Builds get the machine's pip configuration and certificates as secrets, which are in no layer.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.isolated_check import load_checked
from preptime.bundle.store import Store
from preptime.errors import OperationError, PreptimeError, UsageError
from scripts.image_digests import read_digest, write_digests
from scripts.sbom import write_sbom

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
BAKED_STORE = ROOT / "build" / "baked"
SBOM_DIR = ROOT / "build" / "images"
TARGETS = ("serve", "jobs", "ui", "spark", "airflow")
CERTIFICATES_PATH = "/run/secrets/certificates"
PIP_NETWORK_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
"""pip's settings for the connection to an index. A build doesn't get the other settings of the machine."""


def find_docker() -> str:
    """Return a Docker client with BuildKit: built in before version 23, otherwise with buildx. Raises `UsageError`."""
    for folder in os.get_exec_path():
        client = shutil.which("docker", path=folder)
        if client and _supports_buildkit(client):
            return client
    raise UsageError(
        "No Docker client on the PATH supports BuildKit.",
        "Install Docker with its buildx plugin, or Debian's package docker.io.",
    )


def _supports_buildkit(client: str) -> bool:
    version_text = subprocess.run([client, "--version"], capture_output=True, text=True, check=False).stdout
    version_match = re.search(r"(\d+)\.", version_text)
    if version_match is None:
        return False
    if int(version_match[1]) < 23:
        return True
    return subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0


def bake_champion(store_url: str) -> None:
    """Copy the champion of a store to the folder that the build copies into the image `serve`. Raises `UsageError`."""
    store, baked_store = Store.open(store_url), Store.open(str(BAKED_STORE))
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"The store {store.url} has no champion.", "Train one first: preptime train")
    bundle_folder = load_checked(store, entry.bundle).folder
    shutil.rmtree(BAKED_STORE, ignore_errors=True)
    baked_store.write_bundle_files(
        entry.bundle,
        {
            path.relative_to(bundle_folder).as_posix(): path.read_bytes()
            for path in bundle_folder.rglob("*")
            if path.is_file()
        },
    )
    draft = LogEntryDraft(
        bundle=entry.bundle,
        date=entry.date,
        action="promote",
        reason=f"Baked into the image: champion {entry.number} of {store.url}.",
        by=entry.by,
        at=entry.at,
    )
    ChampionLog(baked_store).append(draft, None)


def build_image(client: str, target: str, tag: str, arguments: Sequence[str]) -> None:
    """Build one target, and print the builder's output if it fails. Raises `OperationError`."""
    command = [client, "build", "--file", str(DOCKERFILE), "--target", target, "--tag", tag, *arguments, str(ROOT)]
    environ = os.environ | {"DOCKER_BUILDKIT": "1"}
    completed = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if completed.returncode:
        sys.stderr.write(completed.stdout)
        raise OperationError(f"The build of the image {target} failed.", "For the reason, see the output above.")


@contextmanager
def build_secrets() -> Iterator[list[str]]:
    """Yield the build options that pass pip's index settings and certificates to a build as secrets."""
    pip_settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    lines = ["[global]"]
    certificates = None
    for line in pip_settings.splitlines():
        key, _, quoted_value = line.partition("=")
        name = key.rpartition(".")[2]
        value = " ".join(word for word in str(ast.literal_eval(quoted_value)).split() if not word.startswith("file:"))
        if name == "cert":
            certificates = value
        elif name in PIP_NETWORK_OPTIONS and value:
            lines.append(f"{name} = {value}")
    secret_options = []
    with tempfile.TemporaryDirectory() as folder:
        if certificates is not None:
            lines.append(f"cert = {CERTIFICATES_PATH}")
            secret_options += ["--secret", f"id=certificates,src={certificates}"]
        configuration = Path(folder, "pip.conf")
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield [*secret_options, "--secret", f"id=pip,src={configuration}"]


def git_revision() -> str:
    """Return the commit of the build, with the suffix `-dirty` if files differ from it."""
    completed = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return completed.stdout.strip() or "unknown"


def image_size_mb(client: str, image: str) -> float:
    """Return the uncompressed size of an image in megabytes."""
    inspect_command = [client, "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(inspect_command, capture_output=True, text=True, check=True).stdout) / 1e6


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="dev.py images")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}  [default: all]")
    parser.add_argument("--base", help="base image  [default: the pinned one]")
    parser.add_argument(
        "--pin", action="store_true", help="write pins.env with the digests from the registry, and exit"
    )
    parser.add_argument("--bake", metavar="STORE", help="copy the champion of this store into the image `serve`")
    parser.add_argument("--tag", default="local", help="tag of the images preptime-TARGET:TAG  [default: local]")
    parser.add_argument("--no-sbom", action="store_true", help="don't write bills of materials")
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target: {', '.join(sorted(unknown))}")
    return options


def build_images(options: argparse.Namespace) -> None:
    """Build the images. Raises `PreptimeError`."""
    client = find_docker()
    if options.pin:
        write_digests(client)
        return
    base = options.base or read_digest("BASE")
    arguments = [
        f"--build-arg=BASE={base}",
        f"--build-arg=VERSION={version('preptime')}",
        f"--build-arg=REVISION={git_revision()}",
    ]
    if options.bake:
        bake_champion(options.bake)
        arguments.append(f"--build-arg=BAKED_STORE={BAKED_STORE.relative_to(ROOT).as_posix()}")
    with build_secrets() as secret_options:
        for target in options.targets or TARGETS:
            image = f"preptime-{target}:{options.tag}"
            build_image(client, target, image, [*arguments, *secret_options])
            sys.stdout.write(f"{image:<28} {image_size_mb(client, image):6.0f} MB\n")
            sys.stdout.flush()
            if not options.no_sbom:
                write_sbom(client, image, SBOM_DIR / f"{target}.cdx.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 1 on failure, or 2 for a usage error."""
    try:
        build_images(parse_arguments(arguments))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (PreptimeError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
