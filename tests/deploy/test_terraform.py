"""deploy/terraform without terraform: format, names that match the code, commands of the jobs, comments, and checkov.

For its validity, see test_terraform_plan.py. For the planned values, see test_terraform_values.py.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest

from preptime.cli.app import app
from preptime.setting_specs import PREFIX
from preptime.settings import Settings, iter_settings
from preptime.sources.results import TRAINING_FILE
from tests.api.factories import FakeSettings, http_client, make_active_model, make_service
from tests.deploy.manifests import tool
from tests.deploy.terraform import FOLDER, blocks, blocks_of_kind, modules, names_after, parse_file, text_of
from tests.deploy.terraform_runs import terraform_program
from tests.requirements import ROOT

ENVIRONMENTS = sorted((FOLDER / "environments").glob("*.tfvars"))
JOBS = ("train", "prune-bundles", "prune-results", "score", "monitor", "respond")
OTHER_VARIABLES = {"TZ"}
"""Environment variables that are not preptime's."""
EXPLAINED_SKIP = re.compile(r"checkov:skip=(CKV2?_\w+):(.+)")


def all_text() -> str:
    return "\n".join(text_of(folder) for folder in (FOLDER, *modules()))


def test_files_are_formatted() -> None:
    command = [terraform_program(), "fmt", "-check", "-recursive", "-diff", str(FOLDER)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize("folder", [FOLDER, *modules()], ids=lambda folder: folder.name)
def test_variables_are_used_and_described(folder: Path) -> None:
    variables = blocks_of_kind("variable", folder)
    assert names_after(text_of(folder), "var.") == set(variables)
    assert all(block.text("description").endswith(".") and "type" in block.body for block in variables.values())
    assert all(block.text("description").endswith(".") for block in blocks_of_kind("output", folder).values())


def test_environments_are_production_and_staging() -> None:
    assert [path.stem for path in ENVIRONMENTS] == ["production", "staging"]
    assert [parse_file(path)["environment"] for path in ENVIRONMENTS] == ["production", "staging"]


def environment_variables() -> dict[str, str]:
    """Return every environment variable that Terraform sets, with the text of its value."""
    variables: dict[str, str] = {}
    for block in blocks():
        for part in ("settings", "secrets", "job_settings"):
            values = block.body.get(part)
            if isinstance(values, dict):
                variables |= {str(name): str(value) for name, value in values.items()}
    return variables


def test_settings_exist_and_have_valid_values() -> None:
    known = {name for setting in iter_settings() for name in setting.names}
    variables = environment_variables()
    assert {"PREPTIME_STORE", "PREPTIME_API_KEYS", "AIP_HEALTH_ROUTE", "PREPTIME_RESULTS"} <= set(variables)
    assert set(variables) - OTHER_VARIABLES <= known
    literal = {name: value for name, value in variables.items() if "${" not in value and name.startswith(PREFIX)}
    Settings.load(literal)
    assert len(literal) > 5


def test_routes_exist_in_api(tmp_path: Path) -> None:
    """Cloud Run reserves paths that end in z for requests from outside. Its own probes can use them."""
    api = blocks_of_kind("module")["api"]
    ready = environment_variables()["AIP_HEALTH_ROUTE"]
    assert blocks_of_kind("module")["alerting"].text("ready_path") == ready
    assert not ready.endswith("z")
    made = make_service(make_active_model(tmp_path), FakeSettings(vertex_health_route=ready, vertex_predict_route=None))
    http = http_client(made.service, "fast_path")
    assert json.loads(http.get(ready).text)["ready"] is True
    assert http.get(api.text("health_path")).status_code == 200
    assert http.post("/v1/predictions", json={}).status_code == 401  # A health route gives no access to other routes.


def test_dashboard_health_path_exists_in_streamlit() -> None:
    package = find_spec("streamlit")
    assert package is not None
    assert package.origin is not None
    routes = (Path(package.origin).parent / "web" / "server").rglob("*.py")
    path = blocks_of_kind("module")["ui"].text("health_path").lstrip("/")
    assert any(path in source.read_text(encoding="utf-8") for source in routes)


def jobs() -> dict[str, dict[str, str]]:
    """Return the daily jobs."""
    for block in blocks():
        local_jobs = block.body.get("jobs") if block.kind == "locals" else None
        if isinstance(local_jobs, dict):
            return {str(name): {key: str(value) for key, value in job.items()} for name, job in local_jobs.items()}
    raise AssertionError("no jobs")


def local_value(name: str) -> str:
    """Return a value of `locals`."""
    return str(next(block.body[name] for block in blocks() if block.kind == "locals" and name in block.body))


def command_arguments(command: str, results: Path | None = None, **environment: str) -> list[str]:
    """Return the arguments that the shell of a job passes to preptime."""
    script = command.replace("exec preptime", "preptime").replace("${local.date}", local_value("date"))
    script = script.replace("${local.warehouse}", "bigquery://p.preptime?location=EU").replace("$$", "$")
    script = script.replace("${local.results}", str(results or local_value("results")))
    completed = subprocess.run(
        ["/bin/sh", "-c", f'preptime() {{ printf "%s\\n" "$@"; }}; {script}'],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout.splitlines()


@pytest.mark.parametrize("name", JOBS)
def test_job_command_and_options_exist(name: str) -> None:
    arguments = command_arguments(jobs()[name]["command"], RUN_DATE="2015-06-24")
    command: click.Command | None = app
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), arguments.pop(0))
    assert command is not None, f"{name}: unknown command"
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        known[option].type_cast_value(click.Context(command), value)
    if "--date" in arguments:
        assert arguments[arguments.index("--date") + 1] == "2015-06-24"


def test_jobs_run_the_commands_of_the_dags() -> None:
    assert set(jobs()) == set(JOBS)
    dag_commands = set()
    for path in (ROOT / "dags").glob("daily_*.py"):
        for arguments in re.findall(r"preptime_task\(\s*\"\w+\",\s*([^)]*?)minutes", path.read_text(encoding="utf-8")):
            words = re.findall(r'"([a-z-]+)"', arguments)
            dag_commands.add(" ".join(word for word in words if not word.startswith("--")))
    job_commands = {
        " ".join(word for word in shlex.split(job["command"].partition("exec preptime ")[2]) if word.isalpha())
        for job in jobs().values()
    }
    only_airflow = {"synthesize", "spark corpus"}  # the local demo, and batches of Spark
    assert job_commands == dag_commands - only_airflow


def test_training_waits_for_late_orders(tmp_path: Path) -> None:
    """The schedule repeats the training until the day has a decision. A date on request is always trained."""
    train = jobs()["train"]
    assert (train["schedule"], train["retries"]) == ("0,30 5-6 * * *", "0")
    assert command_arguments(train["command"], tmp_path, TZ="UTC")[0] == "train"
    folders = [tmp_path / f"date={dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)}" for days in (0, 1)]
    for folder in folders:  # also tomorrow, if this test runs at midnight
        folder.mkdir()
        (folder / TRAINING_FILE).touch()
    assert command_arguments(train["command"], tmp_path, TZ="UTC") == []
    date = folders[0].name.removeprefix("date=")
    assert command_arguments(train["command"], tmp_path, RUN_DATE=date) == ["train", "--date", date]


def test_job_without_run_date_uses_local_date() -> None:
    arguments = command_arguments(jobs()["score"]["command"], TZ="Pacific/Kiritimati")
    today = dt.datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    assert dt.date.fromisoformat(arguments[arguments.index("--date") + 1]) in {today, today - dt.timedelta(days=1)}
    assert blocks_of_kind("variable")["time_zone"].text("default") == "Europe/London"


def grants() -> list[tuple[str, str]]:
    """Return the comment and the type of every grant."""
    text = all_text()
    return re.findall(r"((?:^#[^\n]*\n)*)^resource \"(google_\w+_iam_(?!audit)\w+)\"", text, flags=re.MULTILINE)


def test_every_grant_has_a_comment() -> None:
    assert len(grants()) > 15
    for comment, kind in grants():
        assert kind.endswith("_iam_member"), f"{kind} would remove other grants"
        sentence = " ".join(line.removeprefix("#").strip() for line in comment.splitlines())
        assert re.match(r"[A-Z].* may .*\.$", sentence), f"{kind}: {sentence!r}"


def test_checkov_finds_nothing_unexplained() -> None:
    completed = subprocess.run(
        [
            *(tool("checkov"), "--directory", FOLDER, "--framework", "terraform", "--skip-download"),
            *("--output", "json", "--compact"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads(completed.stdout)["results"]
    assert [(check["check_id"], check["resource"]) for check in results["failed_checks"]] == []
    assert json.loads(completed.stdout)["summary"]["parsing_errors"] == 0
    assert all(len(reason) > 40 for _, reason in EXPLAINED_SKIP.findall(all_text()))
    assert {check["check_id"] for check in results["skipped_checks"]} == {
        check_id for check_id, _ in EXPLAINED_SKIP.findall(all_text())
    }


def test_kubernetes_accounts_exist() -> None:
    overlay = (ROOT / "deploy" / "k8s" / "overlays" / "gke" / "kustomization.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"preptime-(\w+)@PROJECT\.iam", overlay))
    roles = next(block.body["roles"] for block in blocks() if block.kind == "locals" and "roles" in block.body)
    assert isinstance(roles, dict)
    assert named
    assert named <= set(roles)
