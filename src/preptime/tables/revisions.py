"""Which version of the data a run reads, where DVC keeps its versions: what a manifest says beside the fingerprint.

Only where DVC has recorded exactly these contents. A database, or a file that nobody versions, has no revision, so a
daily run's bundle never depends on the commit that it happens to be run at.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DIRTY_SUFFIX = "+changes"
"""Behind a git revision: tracked files differed from it, other than what DVC itself writes while it runs."""
_DVC_PATHSPECS = (":(exclude)*dvc.lock", ":(exclude)*.dvc", ":(exclude)figures")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class DataRevisions:
    """Where data and code stood; None where nothing says so."""

    dvc: str | None = None
    """`md5:` and what DVC calls the orders' contents by, in its cache and its remotes."""
    git: str | None = None
    """The commit that was checked out."""


def find_revisions(orders: str) -> DataRevisions:
    """The revisions of the orders at an address: none unless it is a file that DVC knows with these contents."""
    path = Path(orders)
    if "://" in orders or not path.is_file():
        return DataRevisions()
    root = next((folder for folder in path.resolve().parents if (folder / ".dvc").is_dir()), None)
    if root is None:
        return DataRevisions()
    digest = _md5(path)
    if not any(digest in record for record in _dvc_records(path.resolve(), root)):
        return DataRevisions()
    return DataRevisions(f"md5:{digest}", _git_revision(root))


def _dvc_records(path: Path, root: Path) -> list[str]:
    """What DVC has written about a file: beside it, or in a pipeline's lock above it."""
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    files = [path.with_name(f"{path.name}.dvc"), *(folder / "dvc.lock" for folder in folders)]
    return [file.read_text(encoding="utf-8") for file in files if file.is_file()]


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # DVC's choice; it names contents, it guards nothing
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _git_revision(root: Path) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    head = _git_output(git, root, "rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    changed = _git_output(git, root, "status", "--porcelain", "--untracked-files=no", "--", ".", *_DVC_PATHSPECS)
    return head + (DIRTY_SUFFIX if changed else "")


def _git_output(git: str, root: Path, *arguments: str) -> str | None:
    process = subprocess.run([git, "-C", root, *arguments], capture_output=True, encoding="utf-8", check=False)
    return process.stdout.strip() if process.returncode == 0 else None
