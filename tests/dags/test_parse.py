"""The DAG files, as Airflow's dag-processor reads them: quickly, with no connection, and nothing of ours loaded."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import msgspec
import pytest

from preptime.settings import DAG_SETTING_NAMES
from tests.dags.installation import DAGS, Installation
from tests.requirements import ROOT

FILES = sorted(DAGS.glob("daily_*.py"))
MOST_SECONDS = 2
"""Of processor time, for one file."""

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: none, user: {}}]
"""
"""A cluster that is not there and not asked."""


class Pod(msgspec.Struct):
    """What `inside/parse.py` tells of a task's pod."""

    name: str
    namespace: str
    image: str
    words: list[str]
    settings: list[str]
    read_only: bool


class Dag(msgspec.Struct):
    """What it tells of a DAG."""

    tasks: dict[str, list[str]]
    catchup: bool
    max_active_runs: int
    schedule: str
    retries: list[int]
    times_longer: list[float]
    limits: list[bool]
    pods: dict[str, Pod]


class File(msgspec.Struct):
    """What it tells of a file."""

    seconds: float
    errors: list[str]
    dags: dict[str, Dag]


class Parsed(msgspec.Struct):
    """What it tells."""

    files: dict[str, File]
    loaded: list[str]


def parsed(installation: Installation, *files: Path, **more: str) -> Parsed:
    """The files, read in a process of their own without any database."""
    nowhere = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nobody@127.0.0.1:9/none"}
    return msgspec.convert(installation.inside("parse", *map(str, files), **nowhere, **more), Parsed)


@pytest.fixture(scope="session")
def as_commands(installation: Installation) -> Parsed:
    """What became of the files where nothing is set."""
    return parsed(installation, *FILES)


@pytest.fixture(scope="session")
def as_pods(installation: Installation) -> Parsed:
    """And with every setting set."""
    kubeconfig = installation.folder / "kube.yaml"
    kubeconfig.write_text(KUBECONFIG, encoding="utf-8")
    return parsed(
        installation, *FILES,
        KUBECONFIG=str(kubeconfig),
        PREPTIME_RUNNER="kubernetes",
        PREPTIME_IMAGE="jobs:1",
        PREPTIME_POD_TEMPLATE=str(ROOT / "deploy" / "k8s" / "airflow" / "pod-template.yaml"),
        PREPTIME_DEMO_ORDERS="/data/orders",
        PREPTIME_KEEP_BUNDLES="7",
        PREPTIME_KEEP_DAYS="28",
    )  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("runner", ["as_commands", "as_pods"])
def test_a_file_is_read_quickly_and_gives_its_dag(runner: str, file: Path, request: pytest.FixtureRequest) -> None:
    found: Parsed = request.getfixturevalue(runner)
    of_file = found.files[file.stem]
    assert of_file.errors == []
    assert list(of_file.dags) == [file.stem]
    assert of_file.seconds < MOST_SECONDS
    dag = of_file.dags[file.stem]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert all(dag.limits)
    final = runner == "as_pods" and "monitor" in dag.tasks  # a pod's operator does not tell an alert from a fault
    assert sorted(set(dag.retries)) == ([0, 3] if final else [3])
    assert set(dag.times_longer) == {2}  # Airflow takes True for 1, and waits as long each time


def test_nothing_of_ours_is_loaded(as_commands: Parsed) -> None:
    assert as_commands.loaded == []


def test_the_hours_are_the_demos_and_tasks_follow_each_other(as_commands: Parsed) -> None:
    dags = {name: file.dags[name] for name, file in as_commands.files.items()}
    assert {name: (dag.schedule, dag.tasks) for name, dag in dags.items()} == {
        "daily_training_run": (
            "0 5 * * *",
            {
                "train": ["prune_bundles", "trained"],
                "prune_bundles": ["prune_results"],
                "prune_results": [],
                "trained": [],
            },
        ),
        "daily_prediction_run": ("0 7 * * *", {"score": []}),
        "daily_monitoring_run": ("0 9 * * *", {"monitor": ["quiet", "respond"], "respond": [], "quiet": []}),
    }


def test_a_pod_is_the_image_the_verb_and_what_the_template_says(as_pods: Parsed) -> None:
    date = "{{ as_of_date(logical_date | default(none)) }}"
    words = {
        "synthesize": ["synthesize", "--out", "/data/orders", "--orders", "30000", "--days", "62", "--start",
                       "{{ month_before(logical_date | default(none)) }}"],
        "train": ["train", "--date", date],
        "prune_bundles": ["bundles", "prune", "--keep", "7"],
        "prune_results": ["results", "prune", "--days", "28"],
        "score": ["score", "--date", date],
        "monitor": ["monitor", "--date", date],
        "respond": ["respond", "--date", date],
    }  # fmt: skip
    pods = {
        task: pod for file in as_pods.files.values() for dag in file.dags.values() for task, pod in dag.pods.items()
    }
    assert pods == {
        task: Pod(f"preptime-{task.replace('_', '-')}", "preptime", "jobs:1", said, ["preptime-jobs"], True)
        for task, said in words.items()
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("PREPTIME_RUNNER", "docker", "command or kubernetes"), ("PREPTIME_TIME_ZONE", "Mars", "Mars")],
)
def test_a_setting_that_cannot_be_is_an_import_error_that_names_it(
    installation: Installation, name: str, value: str, said: str
) -> None:
    (file,) = parsed(installation, DAGS / "daily_prediction_run.py", **{name: value}).files.values()
    assert said in file.errors[0]


def test_dags_import_airflow_and_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"airflow", "preptime_operators"}
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
    read = {name for path in DAGS.glob("*.py") for name in re.findall(r"\"(PREPTIME_\w+)\"", path.read_text("utf-8"))}
    assert read == DAG_SETTING_NAMES
    page = (ROOT / "docs" / "daily-run.md").read_text(encoding="utf-8")
    assert [name for name in read if f"`{name}`" not in page] == []
