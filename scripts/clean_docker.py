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

PROJECT = "label=com.docker.compose.project=preptime"
SOURCE = "label=org.opencontainers.image.source=https://github.com/preptime/preptime"
"""A label of every image that deploy/docker/Dockerfile makes."""


def docker(*words: str) -> list[str]:
    """The lines that Docker answers with. Raises `CalledProcessError`."""
    program = shutil.which("docker") or "docker"
    ended = subprocess.run([program, *words], stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout.split()


def clean(*, volumes: bool) -> list[str]:
    """Remove it all; a line about each kind."""
    containers = {one for label in (PROJECT, SOURCE) for one in docker("ps", "--all", "--quiet", f"--filter={label}")}
    networks = docker("network", "ls", "--quiet", f"--filter={PROJECT}")
    images = list(dict.fromkeys(docker("image", "ls", "--all", "--quiet", f"--filter={SOURCE}")))
    kept = docker("volume", "ls", "--quiet", f"--filter={PROJECT}")
    if containers:
        docker("rm", "--force", *sorted(containers))
    if networks:
        docker("network", "rm", *networks)
    if images:
        docker("image", "rm", "--force", *images)
    if kept and volumes:
        docker("volume", "rm", *kept)
    said = [f"Removed: {len(containers)} containers, {len(networks)} networks, {len(images)} images."]
    if kept:
        verb = "Removed" if volumes else "Kept, for --volumes to remove"
        said.append(f"{verb}: {len(kept)} volumes ({', '.join(kept)}).")
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it is clean, 1 when Docker said no."""
    parser = argparse.ArgumentParser(prog="dev.py clean-docker", description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", action="store_true", help="the data too")
    given = parser.parse_args(arguments)
    try:
        for line in clean(volumes=given.volumes):
            sys.stdout.write(f"{line}\n")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"Docker does not do it: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
