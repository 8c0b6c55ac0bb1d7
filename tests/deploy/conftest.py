"""One engine and one set of images for the session; every test of this folder shares them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from scripts import image_digests, images
from tests.bundle.factories import DAY, put_bundle
from tests.deploy import base_images
from tests.deploy.engine import Engine, an_engine

TAG = "test"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine."""
    with an_engine() as found:
        yield found


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The pinned base where it can be had, else its stand-in."""
    if (
        image_digests.DIGESTS_FILE.is_file()
        and engine.run("pull", pinned := image_digests.read_digests()["BASE"], check=False).returncode == 0
    ):
        return pinned
    return base_images.python(engine)


@pytest.fixture(scope="session")
def image(engine: Engine, base: str) -> Callable[[str], str]:
    """The image of a target, built at its first use; and again, from the builder's cache, if a test removed it."""
    built: set[str] = set()

    def build(target: str) -> str:
        name = f"preptime-{target}:{TAG}"
        if target not in built or engine.run("image", "inspect", name, check=False).returncode:
            with pytest.MonkeyPatch.context() as here:
                if engine.host:
                    here.setenv("DOCKER_HOST", engine.host)
                # One bill is looked at; each takes seconds.
                bill = () if target == "serve" else ("--no-sbom",)
                assert images.main([target, "--base", base, "--tag", TAG, *bill]) == 0
            built.add(target)
        return name

    return build


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a champion that the images' user may read."""
    folder = tmp_path / "models"
    promote(folder, put_bundle(Store.open(str(folder))))
    return shared(folder)


def promote(folder: Path, bundle: str) -> None:
    """Make a bundle of a store its champion."""
    log = ChampionLog(Store.open(str(folder)))
    draft = LogEntryDraft(
        bundle=bundle, date=DAY, action="promote", reason="test", by="test", at="2015-06-17T04:00:00Z"
    )
    log.append(draft, log.current())
    shared(folder)


def shared(folder: Path) -> Path:
    """Let the images' user, who is a stranger here, read and write a folder and what is in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return folder


@pytest.fixture
def copied_store(store: Path, tmp_path: Path) -> Path:
    """Another copy of the store."""
    return shared(Path(shutil.copytree(store, tmp_path / "copy")))
