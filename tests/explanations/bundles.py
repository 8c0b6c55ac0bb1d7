"""The bundle of this release, which has a live model and explanations, and takes no training."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from preptime.bundle.store import BUNDLES_FOLDER, Store

_RELEASES = Path(__file__).parent.parent / "bundle" / "releases"


def release_folder() -> Path:
    """Return the folder of the bundle."""
    (folder,) = (_RELEASES / version("preptime")).iterdir()
    return folder


def release_store(root: Path) -> tuple[Store, str]:
    """Return a store with only this bundle, and its ID."""
    folder = release_folder()
    shutil.copytree(folder, root / BUNDLES_FOLDER / folder.name)
    return Store.open(str(root)), folder.name
