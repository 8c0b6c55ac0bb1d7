"""The DAG files, as Airflow's dag-processor reads them: quickly, with no connection, and nothing of ours loaded."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import msgspec
import pytest

from tests.dags.installation import DAGS, Installation
from tests.requirements import ROOT

FILES = sorted(DAGS.glob("daily_*.py"))
MOST_SECONDS = 2
"""Of processor time, for one file."""


class Dag(msgspec.Struct):
    """What `inside/parse.py` tells of a DAG."""

    tasks: dict[str, list[str]]
    catchup: bool
    max_active_runs: int
    schedule: str
    retries: list[int]
    limits: list[bool]


class Parsed(msgspec.Struct):
    """What it tells of a file."""

    seconds: float
    errors: dict[str, str]
    loaded: list[str]
    dags: dict[str, Dag]


def parsed(installation: Installation, file: Path, **more: str) -> Parsed:
    """The file, read in a process of its own without any database."""
    nowhere = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nobody@127.0.0.1:9/none"}
    return msgspec.convert(installation.inside("parse", str(file), **nowhere, **more), Parsed)


@pytest.fixture(scope="session")
def files(installation: Installation) -> dict[str, Parsed]:
    """What became of each file, by its name."""
    return {file.stem: parsed(installation, file) for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_read_quickly_and_gives_its_dag(files: dict[str, Parsed], file: Path) -> None:
    found = files[file.stem]
    assert found.errors == {}
    assert list(found.dags) == [file.stem]
    assert found.seconds < MOST_SECONDS
    assert found.loaded == []
    dag = found.dags[file.stem]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert all(dag.limits)
    assert min(retries for retries in dag.retries) == 3


def test_the_hours_are_the_demos_and_tasks_follow_each_other(files: dict[str, Parsed]) -> None:
    dags = {name: file.dags[name] for name, file in files.items()}
    assert {name: (dag.schedule, dag.tasks) for name, dag in dags.items()} == {
        "daily_training_run": (
            "0 5 * * *",
            {"train": ["prune_bundles", "trained"], "prune_bundles": ["prune_results"], "prune_results": [],
             "trained": []},
        ),
        "daily_prediction_run": ("0 7 * * *", {"score": []}),
        "daily_monitoring_run": ("0 9 * * *", {"monitor": ["quiet", "respond"], "respond": [], "quiet": []}),
    }  # fmt: skip


def test_one_switch_makes_every_task_a_pod(installation: Installation) -> None:
    found = parsed(
        installation, DAGS / "daily_training_run.py", PREPTIME_RUNNER="kubernetes", PREPTIME_IMAGE="preptime:1",
        PREPTIME_DEMO_ORDERS="data",
    )  # fmt: skip
    assert found.errors == {}
    assert found.seconds < MOST_SECONDS
    assert found.dags["daily_training_run"].tasks["synthesize"] == ["train"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("PREPTIME_RUNNER", "docker", "command or kubernetes"), ("PREPTIME_TIME_ZONE", "Mars", "Mars")],
)
def test_a_setting_that_cannot_be_is_an_import_error_that_names_it(
    installation: Installation, name: str, value: str, said: str
) -> None:
    (error,) = parsed(installation, DAGS / "daily_prediction_run.py", **{name: value}).errors.values()
    assert said in error


def test_dags_import_airflow_and_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"airflow", "preptime_verbs"}
    for path in DAGS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path


def test_every_setting_that_dags_read_may_stand_in_the_same_file_and_is_explained() -> None:
    """`.env` is read by both sides: what one knows must be no typo to the other."""
    from preptime.settings.declared import FOR_DAGS

    read = {name for path in DAGS.glob("*.py") for name in re.findall(r"\"(PREPTIME_\w+)\"", path.read_text("utf-8"))}
    assert read == FOR_DAGS
    page = (ROOT / "docs" / "daily-run.md").read_text(encoding="utf-8")
    assert [name for name in read if f"`{name}`" not in page] == []
