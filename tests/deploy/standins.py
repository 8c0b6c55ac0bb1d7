"""Stand-ins for published images where no registry can be reached: Debian's own packages, laid out as those images are.

They prove our Dockerfile and Compose file, not the published images.
"""

from __future__ import annotations

import hashlib
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
POSTGRES = ("postgresql", "usr-is-merged")
ENTRY = Path(__file__).with_name("postgres_entry.sh")


def python(engine: Engine) -> str:
    """An image with Debian's Python where the published image has its own."""
    return _imported(engine, "preptime-test-python", PYTHON, IN_LOCAL)


def postgres(engine: Engine) -> str:
    """An image with Debian's PostgreSQL, told what to do as the published image is."""
    copied = (
        f'--customize-hook=install -m 755 "{ENTRY}" "$1/usr/local/bin/docker-entrypoint.sh"',
        '--customize-hook=install -d -m 700 -o 999 -g 999 "$1/var/lib/postgresql/data"',
    )
    changes = ('ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["postgres"]', "EXPOSE 5432", "USER 999:999")
    return _imported(engine, "preptime-test-postgres", POSTGRES, copied, changes)


def _imported(
    engine: Engine, name: str, packages: tuple[str, ...], hooks: tuple[str, ...], changes: tuple[str, ...] = ()
) -> str:
    """The image of that recipe: the engine's, else from the archive that an earlier session left, else made."""
    entry = ENTRY.read_text(encoding="utf-8")
    recipe = hashlib.sha256(repr((RELEASE, packages, hooks, changes, LEFT_OUT, entry)).encode()).hexdigest()[:12]
    image = f"{name}:{recipe}"
    if engine.run("image", "inspect", image, check=False).returncode == 0:
        return image
    archive = Path(tempfile.gettempdir(), f"{name}-{recipe}.tar")
    if not archive.is_file():
        requires(shutil.which("mmdebstrap"), "mmdebstrap is not installed: it makes the stand-in for a published image")
        _make(archive, packages, hooks)
    engine.run("import", *(f"--change={change}" for change in changes), archive, image)
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
