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

CHANGED = "+changes"
"""Behind a git revision: tracked files differed from it, other than what DVC itself writes while it runs."""
_OF_DVC = (":(exclude)*dvc.lock", ":(exclude)*.dvc", ":(exclude)figures")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Revisions:
    """Where data and code stood; None where nothing says so."""

    dvc: str | None = None
    """`md5:` and what DVC calls the orders' contents by, in its cache and its remotes."""
    git: str | None = None
    """The commit that was checked out."""


def revisions(orders: str) -> Revisions:
    """The revisions of the orders at an address: none unless it is a file that DVC knows with these contents."""
    path = Path(orders)
    if "://" in orders or not path.is_file():
        return Revisions()
    root = next((folder for folder in path.resolve().parents if (folder / ".dvc").is_dir()), None)
    if root is None:
        return Revisions()
    digest = _md5(path)
    if not any(digest in text for text in _records(path.resolve(), root)):
        return Revisions()
    return Revisions(f"md5:{digest}", _git(root))


def _records(path: Path, root: Path) -> list[str]:
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


def _git(root: Path) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    head = _said(git, root, "rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    changed = _said(git, root, "status", "--porcelain", "--untracked-files=no", "--", ".", *_OF_DVC)
    return head + (CHANGED if changed else "")


def _said(git: str, root: Path, *words: str) -> str | None:
    ended = subprocess.run([git, "-C", root, *words], capture_output=True, encoding="utf-8", check=False)
    return ended.stdout.strip() if ended.returncode == 0 else None
