"""One engine and one set of images for all tests of this folder, and stores for containers."""

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
from tests.deploy.engine import Engine, running_engine
from tests.deploy.google_schema import ProviderSchema
from tests.deploy.terraform_runs import Plan, Workspace, schema_of_files, terraform_program

TAG = "test"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine."""
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The published base image if the engine can pull it, otherwise a replacement."""
    pinned = image_digests.DIGESTS_FILE.is_file()
    published = image_digests.read_digest("BASE") if pinned else image_digests.PUBLISHED_IMAGES["BASE"]
    if engine.run("pull", published, check=False).returncode == 0:
        return published
    return base_images.python_image(engine)


@pytest.fixture(scope="session")
def image(engine: Engine, base: str) -> Callable[[str], str]:
    """A function that returns the image of a target, built at its first use. It rebuilds an image that was removed."""
    built: set[str] = set()

    def build(target: str) -> str:
        name = f"preptime-{target}:{TAG}"
        if target not in built or engine.run("image", "inspect", name, check=False).returncode:
            # A bill of materials takes seconds, and one test reads one.
            sbom_options = () if target == "serve" else ("--no-sbom",)
            assert images.main([target, "--base", base, "--tag", TAG, *sbom_options]) == 0
            built.add(target)
        return name

    return build


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a champion, which the user of the images can read."""
    folder = tmp_path / "models"
    promote(folder, put_bundle(Store.open(str(folder))))
    return share(folder)


def promote(folder: Path, bundle: str) -> None:
    """Make a bundle of a store its champion."""
    log = ChampionLog(Store.open(str(folder)))
    draft = LogEntryDraft(
        bundle=bundle, date=DAY, action="promote", reason="test", by="test", at="2015-06-17T04:00:00Z"
    )
    log.append(draft, log.current())
    share(folder)


def share(folder: Path) -> Path:
    """Let the user of the images read and write a folder and its contents."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return folder


@pytest.fixture
def copied_store(store: Path, tmp_path: Path) -> Path:
    """A copy of the store."""
    return share(Path(shutil.copytree(store, tmp_path / "copy")))


@pytest.fixture(scope="session")
def google_schema() -> ProviderSchema:
    """The schema of Google's Terraform provider for the types in deploy/terraform."""
    return schema_of_files()


@pytest.fixture(scope="session")
def terraform(google_schema: ProviderSchema, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of deploy/terraform, initialized."""
    terraform_program()
    return Workspace(tmp_path_factory.mktemp("terraform"), google_schema)


@pytest.fixture(scope="session")
def plans(terraform: Workspace) -> dict[str, Plan]:
    """The plans from nothing: of production, and of staging with a cluster, without protection and metrics."""
    staging = terraform.plan("staging", "-var=gke=true", "-var=deletion_protection=false", "-var=metrics_sidecar=")
    return {"staging": staging, "production": terraform.plan("production")}


@pytest.fixture(scope="session")
def applied(terraform: Workspace, plans: dict[str, Plan]) -> Workspace:
    """The copy of deploy/terraform after production was applied."""
    assert plans
    terraform.apply("production")
    return terraform
