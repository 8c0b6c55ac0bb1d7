"""Write a CycloneDX bill of materials (SBOM) of a container image: its Python packages and its Debian packages."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

LIST_PACKAGES_SCRIPT = """
import importlib.metadata, json
print(json.dumps(sorted({(package.name, package.version) for package in importlib.metadata.distributions()})))
"""
IMAGE_PYTHONS = ("/opt/preptime/bin/python", "/opt/airflow/bin/python")
"""The Python environments that an image can have."""


def write_sbom(client: str, image: str, target: Path) -> None:
    """Write the sorted components of an image to `target`."""
    bom = Bom()
    name, _, tag = image.partition(":")
    bom.metadata.component = Component(name=name, version=tag, type=ComponentType.CONTAINER)
    for component in iter_components(client, image):
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n", encoding="utf-8")


def iter_components(client: str, image: str) -> Iterator[Component]:
    """Yield every package of the image once."""
    packages: set[tuple[str, str]] = set()
    for python in IMAGE_PYTHONS:
        package_list = run_in_image(client, image, python, "-c", LIST_PACKAGES_SCRIPT)
        if package_list is not None:
            packages |= {(name, version) for name, version in json.loads(package_list)}
    for name, version in sorted(packages):
        yield Component(
            name=name, version=version, type=ComponentType.LIBRARY, purl=PackageURL("pypi", None, name.lower(), version)
        )
    debian_packages = run_in_image(
        client, image, "/usr/bin/dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\n"
    )
    for line in sorted((debian_packages or "").splitlines()):
        name, version, architecture = line.split("\t")
        purl = PackageURL("deb", "debian", name, version, {"arch": architecture})
        yield Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl)


def run_in_image(client: str, image: str, program: str, *arguments: str) -> str | None:
    """Return the output of a program of the image, or None if the image doesn't have the program."""
    command = [client, "run", "--rm", "--network=none", "--read-only", f"--entrypoint={program}", image, *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode == 127:  # `docker run` didn't find the program.
        return None
    completed.check_returncode()
    return completed.stdout
