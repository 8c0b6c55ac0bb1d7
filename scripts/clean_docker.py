"""Remove this project's containers, networks, and images from Docker.

`python dev.py clean-docker` runs this script. `--volumes` also removes the data: bundles, results, Airflow's
database. Two labels identify the objects: the Compose project, and the source of the images.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

PROJECT_FILTER = "label=com.docker.compose.project=preptime"
SOURCE_FILTER = "label=org.opencontainers.image.source=https://github.com/preptime/preptime"
"""The label of every image that deploy/docker/Dockerfile builds."""


def docker_output(*arguments: str) -> list[str]:
    """Run Docker, and return its output lines. Raises `CalledProcessError`."""
    program = shutil.which("docker") or "docker"
    completed = subprocess.run([program, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return completed.stdout.split()


def remove_docker_objects(*, volumes: bool) -> list[str]:
    """Remove the project's objects, and return one line for each kind."""
    containers = {
        container_id
        for label in (PROJECT_FILTER, SOURCE_FILTER)
        for container_id in docker_output("ps", "--all", "--quiet", f"--filter={label}")
    }
    networks = docker_output("network", "ls", "--quiet", f"--filter={PROJECT_FILTER}")
    images = list(dict.fromkeys(docker_output("image", "ls", "--all", "--quiet", f"--filter={SOURCE_FILTER}")))
    volume_names = docker_output("volume", "ls", "--quiet", f"--filter={PROJECT_FILTER}")
    if containers:
        docker_output("rm", "--force", *sorted(containers))
    if networks:
        docker_output("network", "rm", *networks)
    if images:
        docker_output("image", "rm", "--force", *images)
    if volume_names and volumes:
        docker_output("volume", "rm", *volume_names)
    lines = [f"Removed {len(containers)} containers, {len(networks)} networks, and {len(images)} images."]
    if volume_names:
        names = ", ".join(volume_names)
        lines.append(
            f"Removed volumes: {names}." if volumes else f"Kept volumes: {names}. To remove them, use --volumes."
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, or 1 if Docker fails."""
    parser = argparse.ArgumentParser(prog="dev.py clean-docker", description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", action="store_true", help="also remove the data")
    options = parser.parse_args(arguments)
    try:
        for line in remove_docker_objects(volumes=options.volumes):
            sys.stdout.write(f"{line}\n")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"Docker failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
