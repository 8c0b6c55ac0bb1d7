"""Build the container images, say how large they are, and write what is in each beside it (CycloneDX).

The base comes from deploy/docker/pins.env, by digest; `--pin` writes that file on a machine that reaches a registry.
Where pip needs a configuration or certificates of the machine's own, the builds get them as secrets: no layer has them.
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

from preptime.bundle.bundle import verify
from preptime.bundle.champions import ChampionLog, EntryDraft
from preptime.bundle.store import Store
from preptime.errors import FaultError, PreptimeError, UsageError
from scripts.bill import write_bill
from scripts.pins import pins, write_pins

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
BAKED = ROOT / "build" / "baked"
BILLS = ROOT / "build" / "images"
TARGETS = ("serve", "jobs", "ui", "airflow")
CERTIFICATES = "/run/secrets/certificates"
OF_A_NETWORK = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
"""pip's settings that say how to reach an index; the others are about the machine that they were written for."""


def docker() -> str:
    """A Docker client that builds with BuildKit: version 23 and later need buildx for it, older ones have it inside.

    Raises `UsageError`.
    """
    for folder in os.get_exec_path():
        client = shutil.which("docker", path=folder)
        if client and _builds(client):
            return client
    raise UsageError(
        "No Docker client on the PATH builds with BuildKit.",
        "Install Docker with its buildx plugin, or Debian's docker.io.",
    )


def _builds(client: str) -> bool:
    said = subprocess.run([client, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.", said)
    if found is None:
        return False
    if int(found[1]) < 23:
        return True
    return subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0


def bake(address: str) -> None:
    """Put the champion of a store, alone, where the image `serve` is built with it."""
    store, target = Store.open(address), Store.open(str(BAKED))
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion yet.", "Train one first.")
    folder = verify(store, entry.bundle).folder
    shutil.rmtree(BAKED, ignore_errors=True)
    target.put(
        entry.bundle, {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    )
    draft = EntryDraft(
        bundle=entry.bundle,
        date=entry.date,
        action="promote",
        reason=f"Baked in: number {entry.number} of its store.",
        by=entry.by,
        at=entry.at,
    )
    ChampionLog(target).append(draft, None)


def build(client: str, target: str, tag: str, arguments: Sequence[str]) -> None:
    """Build one target. What the builder says is shown when it fails. Raises `FaultError`."""
    command = [client, "build", "--file", str(DOCKERFILE), "--target", target, "--tag", tag, *arguments, str(ROOT)]
    environ = os.environ | {"DOCKER_BUILDKIT": "1"}
    built = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if built.returncode:
        sys.stderr.write(built.stdout)
        raise FaultError(f"The image {target} does not build.", "What the builder said stands above.")


@contextmanager
def secrets() -> Iterator[list[str]]:
    """Options that lend a build the machine's way to its package index: pip's configuration and the certificates."""
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    lines = ["[global]"]
    certificates = None
    for line in configured.splitlines():
        key, _, quoted = line.partition("=")
        name = key.rpartition(".")[2]
        value = " ".join(word for word in str(ast.literal_eval(quoted)).split() if not word.startswith("file:"))
        if name == "cert":
            certificates = value
        elif name in OF_A_NETWORK and value:
            lines.append(f"{name} = {value}")
    options = []
    with tempfile.TemporaryDirectory() as folder:
        if certificates is not None:
            lines.append(f"cert = {CERTIFICATES}")
            options += ["--secret", f"id=certificates,src={certificates}"]
        configuration = Path(folder, "pip.conf")
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield [*options, "--secret", f"id=pip,src={configuration}"]


def revision() -> str:
    """The commit that is built, with a sign where the files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


def megabytes(client: str, image: str) -> float:
    """The size of an image, uncompressed."""
    shown = [client, "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(shown, capture_output=True, text=True, check=True).stdout) / 1e6


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="dev.py images")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all when none is named")
    parser.add_argument("--base", help="build on this image instead of the pinned one")
    parser.add_argument("--pin", action="store_true", help="ask the registry for the digests, write pins.env, end")
    parser.add_argument("--bake", metavar="STORE", help="bake the champion of this store into `serve`")
    parser.add_argument("--tag", default="local", help="of preptime-TARGET:TAG  [local]")
    parser.add_argument("--no-bill", action="store_true", help="write no bill of materials")
    given = parser.parse_args(arguments)
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return given


def run(given: argparse.Namespace) -> None:
    """Build what was asked for. Raises `PreptimeError`."""
    client = docker()
    if given.pin:
        write_pins(client)
        return
    base = given.base or pins()["BASE"]
    arguments = [
        f"--build-arg=BASE={base}",
        f"--build-arg=VERSION={version('preptime')}",
        f"--build-arg=REVISION={revision()}",
    ]
    if given.bake:
        bake(given.bake)
        arguments.append(f"--build-arg=BAKED={BAKED.relative_to(ROOT)}")
    with secrets() as lent:
        for target in given.targets or TARGETS:
            image = f"preptime-{target}:{given.tag}"
            build(client, target, image, [*arguments, *lent])
            sys.stdout.write(f"{image:<28} {megabytes(client, image):6.0f} MB\n")
            sys.stdout.flush()
            if not given.no_bill:
                write_bill(client, image, BILLS / f"{target}.cdx.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every image is there, 1 when not, 2 for wrong use."""
    try:
        run(parsed(arguments))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (PreptimeError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
