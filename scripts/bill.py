"""What is in a container image, as a CycloneDX bill of materials: Python's packages of each environment, Debian's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

LIST_PYTHON = """
import importlib.metadata, json
print(json.dumps(sorted({(one.name, one.version) for one in importlib.metadata.distributions()})))
"""
ENVIRONMENTS = ("/opt/preptime/bin/python", "/opt/airflow/bin/python")
"""Those that an image may have."""


def write_bill(client: str, image: str, target: Path) -> None:
    """Ask the image what it holds and write it to `target`; the same image gives the same components, sorted."""
    bom = Bom()
    name, _, tag = image.partition(":")
    bom.metadata.component = Component(name=name, version=tag, type=ComponentType.CONTAINER)
    for component in components(client, image):
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n", encoding="utf-8")


def components(client: str, image: str) -> Iterator[Component]:
    """Every package of the image, once."""
    found: set[tuple[str, str]] = set()
    for python in ENVIRONMENTS:
        said = asked(client, image, python, "-c", LIST_PYTHON)
        if said is not None:
            found |= {(name, version) for name, version in json.loads(said)}
    for name, version in sorted(found):
        yield Component(
            name=name, version=version, type=ComponentType.LIBRARY, purl=PackageURL("pypi", None, name.lower(), version)
        )
    listed = asked(client, image, "/usr/bin/dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\n")
    for line in sorted((listed or "").splitlines()):
        name, version, architecture = line.split("\t")
        purl = PackageURL("deb", "debian", name, version, {"arch": architecture})
        yield Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl)


def asked(client: str, image: str, program: str, *arguments: str) -> str | None:
    """What a program of the image says; nothing when the image has no such program."""
    command = [client, "run", "--rm", "--network=none", "--read-only", f"--entrypoint={program}", image, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode == 127:  # what `docker run` says of a program that is not there
        return None
    ended.check_returncode()
    return ended.stdout
