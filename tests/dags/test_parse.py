"""The DAG files as Airflow's DAG processor parses them: fast, without connections, and without preptime."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import msgspec
import pytest

from preptime.env_file import DAG_SETTING_NAMES
from preptime.settings import iter_settings
from tests.dags.installation import DAGS, Installation
from tests.requirements import ROOT

FILES = sorted(DAGS.glob("daily_*.py"))
MAX_PARSE_SECONDS = 2
"""Processor time for one file."""

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: none, user: {}}]
"""
"""A cluster that doesn't exist. Nothing connects to it."""


class Pod(msgspec.Struct):
    """A task's pod in the output of `inside/parse_dags.py`."""

    name: str
    namespace: str
    image: str
    arguments: list[str]
    config_maps: list[str]
    read_only: bool


class Dag(msgspec.Struct):
    """A DAG in the output."""

    tasks: dict[str, list[str]]
    catchup: bool
    max_active_runs: int
    schedule: str
    description: str
    documentation: str
    retries: list[int]
    backoff_factors: list[float]
    has_timeout: list[bool]
    pods: dict[str, Pod]


class ParsedFile(msgspec.Struct):
    """A file in the output."""

    seconds: float
    errors: list[str]
    dags: dict[str, Dag]


class ParseResult(msgspec.Struct):
    """The output."""

    files: dict[str, ParsedFile]
    loaded: list[str]


def parse_files(installation: Installation, *files: Path, **more: str) -> ParseResult:
    """Parse the files in a separate process without a database."""
    no_database = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nobody@127.0.0.1:9/none"}
    return msgspec.convert(installation.run_inside("parse_dags", *map(str, files), **no_database, **more), ParseResult)


@pytest.fixture(scope="session")
def as_commands(installation: Installation) -> ParseResult:
    """The files with the default settings."""
    return parse_files(installation, *FILES)


@pytest.fixture(scope="session")
def as_pods(installation: Installation) -> ParseResult:
    """The files with every setting set."""
    kubeconfig = installation.folder / "kube.yaml"
    kubeconfig.write_text(KUBECONFIG, encoding="utf-8")
    return parse_files(
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
def test_dag_file_parses_fast_into_its_dag(runner: str, file: Path, request: pytest.FixtureRequest) -> None:
    result: ParseResult = request.getfixturevalue(runner)
    parsed_file = result.files[file.stem]
    assert parsed_file.errors == []
    assert list(parsed_file.dags) == [file.stem]
    assert parsed_file.seconds < MAX_PARSE_SECONDS
    dag = parsed_file.dags[file.stem]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    assert dag.description == docstring.splitlines()[0]
    assert dag.documentation.strip() == docstring
    assert all(dag.has_timeout)
    # The pod operator doesn't distinguish an alert from an error, so `monitor` has no retries.
    without_retries = runner == "as_pods" and "monitor" in dag.tasks
    assert sorted(set(dag.retries)) == ([0, 3] if without_retries else [3])
    assert set(dag.backoff_factors) == {2}  # Airflow reads True as 1: the same wait each time.


def test_parsing_loads_no_preptime(as_commands: ParseResult) -> None:
    assert as_commands.loaded == []


def test_schedules_and_task_order(as_commands: ParseResult) -> None:
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
        "daily_monitoring_run": ("0 9 * * *", {"monitor": ["no_alerts", "respond"], "respond": [], "no_alerts": []}),
    }


def test_pod_has_image_arguments_and_template(as_pods: ParseResult) -> None:
    date = "{{ as_of_date(logical_date | default(none)) }}"
    arguments = {
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
        task: Pod(f"preptime-{task.replace('_', '-')}", "preptime", "jobs:1", task_arguments, ["preptime-jobs"], True)
        for task, task_arguments in arguments.items()
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("PREPTIME_RUNNER", "docker", "command, kubernetes, or dataproc"), ("PREPTIME_TIME_ZONE", "Mars", "Mars")],
)
def test_invalid_setting_is_an_import_error(installation: Installation, name: str, value: str, message: str) -> None:
    (file,) = parse_files(installation, DAGS / "daily_prediction_run.py", **{name: value}).files.values()
    assert message in file.errors[0]


def test_dags_import_airflow_and_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"airflow", "google", "preptime_batches", "preptime_operators"}
    for path in DAGS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path


def test_dag_settings_are_known_and_documented() -> None:
    """Airflow and preptime read the same `.env`, so preptime has to know the settings of the DAGs."""
    read = {name for path in DAGS.glob("*.py") for name in re.findall(r"\"(PREPTIME_\w+)\"", path.read_text("utf-8"))}
    shared = {name for setting in iter_settings() for name in setting.names}
    assert read - shared == DAG_SETTING_NAMES - shared
    assert read >= DAG_SETTING_NAMES
    page = (ROOT / "docs" / "daily-run.md").read_text(encoding="utf-8")
    assert [name for name in read if f"`{name}`" not in page] == []
