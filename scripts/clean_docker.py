"""Remove from Docker what this project put there: containers and networks of its Compose project, and its images.

`python dev.py clean-docker` calls this. With `--volumes` the data too: bundles, results, Airflow's database. What is
ours is told by labels: Compose's project, and the source in the images. Nothing else is touched, nothing is pruned.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

PROJECT_FILTER = "label=com.docker.compose.project=preptime"
SOURCE_FILTER = "label=org.opencontainers.image.source=https://github.com/preptime/preptime"
"""A label of every image that deploy/docker/Dockerfile makes."""


def docker_output(*arguments: str) -> list[str]:
    """The lines that Docker answers with. Raises `CalledProcessError`."""
    program = shutil.which("docker") or "docker"
    completed = subprocess.run([program, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return completed.stdout.split()


def remove_docker_objects(*, volumes: bool) -> list[str]:
    """Remove it all; a line about each kind."""
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
    lines = [f"Removed: {len(containers)} containers, {len(networks)} networks, {len(images)} images."]
    if volume_names:
        action = "Removed" if volumes else "Kept, for --volumes to remove"
        lines.append(f"{action}: {len(volume_names)} volumes ({', '.join(volume_names)}).")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it is clean, 1 when Docker said no."""
    parser = argparse.ArgumentParser(prog="dev.py clean-docker", description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", action="store_true", help="the data too")
    options = parser.parse_args(arguments)
    try:
        for line in remove_docker_objects(volumes=options.volumes):
            sys.stdout.write(f"{line}\n")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"Docker does not do it: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
