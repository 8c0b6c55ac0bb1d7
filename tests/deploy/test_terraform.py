"""deploy/terraform without its provider, which cannot be had everywhere: structure, names held to the code, checkov.

`terraform validate` and `plan` are left to whoever has the provider and a project (docs/deploy-gcp.md says so).
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec
import pytest

from preptime.api import champion_watcher
from preptime.api.service import PredictionRecord
from preptime.cli.app import app
from preptime.settings import PREFIX, Settings, iter_settings
from tests.api.factories import SomeSettings, client, make, some_serving
from tests.deploy.manifests import tool
from tests.deploy.terraform import FOLDER, blocks, modules, names_in, of_kind, parsed, text_of
from tests.requirements import ROOT

ENVIRONMENTS = sorted((FOLDER / "environments").glob("*.tfvars"))
JOBS = ("train", "prune-bundles", "prune-results", "score", "monitor", "respond")
OF_THE_PLATFORM = {"TZ"}
"""Environment variables that are not preptime's."""
EXPLAINED = re.compile(r"checkov:skip=(CKV_\w+):(.+)")


def everywhere() -> str:
    return "\n".join(text_of(folder) for folder in (FOLDER, *modules()))


def test_it_is_formatted() -> None:
    """By `terraform fmt` where there is one, which no distribution packages; some of it everywhere."""
    for path in sorted(FOLDER.rglob("*.tf*")):
        text = path.read_text(encoding="utf-8")
        assert text.endswith("}\n") or path.suffix == ".tfvars", path
        assert not re.search(r"\t|[ ]$|\n\n\n|^(?:  )* [^ ]", text, flags=re.MULTILINE), path
    terraform = shutil.which("terraform")
    if terraform is not None:
        command = [terraform, "fmt", "-check", "-recursive", "-diff", str(FOLDER)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("folder", [FOLDER, *modules()], ids=lambda folder: folder.name)
def test_variables_are_declared_described_and_used(folder: Path) -> None:
    variables, text = of_kind("variable", folder), text_of(folder)
    assert names_in(text, "var.") == set(variables)
    assert all(block.text("description").endswith(".") and "type" in block.body for block in variables.values())
    assert all(block.text("description").endswith(".") for block in of_kind("output", folder).values())


@pytest.mark.parametrize("folder", [FOLDER, *modules()], ids=lambda folder: folder.name)
def test_what_is_referred_to_is_there(folder: Path) -> None:
    text = re.sub(r"#.*", "", text_of(folder))
    resources = {f"{block.labels[0]}.{block.labels[1]}" for block in blocks(folder) if block.kind == "resource"}
    referred = set(re.findall(r"\b(google_[a-z0-9_]+\.[a-z_]+)", text))
    assert referred <= resources
    told = {name for block in blocks(folder) if block.kind == "locals" for name in block.body}
    assert names_in(text, "local.") == told


def test_modules_get_what_they_ask_for_and_are_asked_for_what_they_give() -> None:
    calls = of_kind("module")
    sources = {name: FOLDER / call.text("source") for name, call in calls.items()}
    assert {path.resolve() for path in sources.values()} == set(modules())
    own = {"source", "depends_on", "for_each"}
    for name, call in calls.items():
        variables = of_kind("variable", sources[name])
        needed = {variable for variable, block in variables.items() if "default" not in block.body}
        given = set(call.body) - own
        assert needed <= given <= set(variables), name
    for name, output in re.findall(r"\bmodule\.([a-z]+)(?:\[[^]]*\])?\.([a-z_]+)", text_of(FOLDER)):
        assert output in of_kind("output", sources[name]), f"module.{name}.{output}"


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_sets_what_has_no_default_and_nothing_unknown(path: Path) -> None:
    variables, told = of_kind("variable"), set(parsed(path))
    assert {name for name, block in variables.items() if "default" not in block.body} <= told <= set(variables)
    assert parsed(path)["environment"] == path.stem


def test_there_are_two_environments() -> None:
    assert [path.stem for path in ENVIRONMENTS] == ["production", "staging"]


def named_settings() -> dict[str, str]:
    """Every environment variable that Terraform sets, with its value as it is written."""
    found: dict[str, str] = {}
    for block in blocks():
        for part in ("settings", "secrets", "job_settings"):
            values = block.body.get(part)
            if isinstance(values, dict):
                found |= {str(name): str(value) for name, value in values.items()}
    return found


def test_every_setting_is_one_of_the_codes() -> None:
    known = {name for setting in iter_settings() for name in setting.names}
    named = named_settings()
    assert {"PREPTIME_STORE", "PREPTIME_API_KEYS", "AIP_HEALTH_ROUTE", "PREPTIME_RESULTS"} <= set(named)
    assert set(named) - OF_THE_PLATFORM <= known
    literal = {name: value for name, value in named.items() if "${" not in value and name.startswith(PREFIX)}
    Settings.load(literal)
    assert len(literal) > 5


def test_routes_are_routes_of_the_api(tmp_path: Path) -> None:
    """Cloud Run keeps paths that end in z to itself; its own probes do not come from outside."""
    api = of_kind("module")["api"]
    ready = named_settings()["AIP_HEALTH_ROUTE"]
    assert of_kind("module")["alerting"].text("ready_path") == ready
    assert not ready.endswith("z")
    made = make(some_serving(tmp_path), SomeSettings(vertex_health_route=ready, vertex_predict_route=None))
    http = client(made.service, "front")
    assert json.loads(http.get(ready).text)["ready"] is True
    assert http.get(api.text("health_path")).status_code == 200
    assert http.post("/v1/predictions", json={}).status_code == 401  # a health route opens no other door


def test_the_page_is_asked_where_streamlit_answers() -> None:
    package = find_spec("streamlit")
    assert package is not None
    assert package.origin is not None
    routes = (Path(package.origin).parent / "web" / "server").rglob("*.py")
    path = of_kind("module")["page"].text("health_path").lstrip("/")
    assert any(path in source.read_text(encoding="utf-8") for source in routes)


def jobs() -> dict[str, dict[str, str]]:
    """The daily jobs, as they are written."""
    for block in blocks():
        found = block.body.get("jobs") if block.kind == "locals" else None
        if isinstance(found, dict):
            return {str(name): {key: str(value) for key, value in job.items()} for name, job in found.items()}
    raise AssertionError("there are no jobs")


def words_of(command: str, **environment: str) -> list[str]:
    """What the shell of a job makes of its command."""
    date = str(next(block.body["date"] for block in blocks() if "date" in block.body)).replace("$$", "$")
    script = command.replace("${local.date}", date).replace("${local.warehouse}", "bigquery://p.preptime?location=EU")
    ran = subprocess.run(
        ["/bin/sh", "-c", f'preptime() {{ printf "%s\\n" "$@"; }}; {script}'],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


@pytest.mark.parametrize("name", JOBS)
def test_a_job_calls_a_verb_with_options_that_it_has(name: str) -> None:
    command: click.Command = app
    words = words_of(jobs()[name]["command"], RUN_DATE="2015-06-24")
    while isinstance(command, click.Group):
        word = words.pop(0)
        assert word in command.commands, f"{name}: {word} is no verb"
        command = command.commands[word]
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    for option, value in zip(words[::2], words[1::2], strict=True):
        known[option].type_cast_value(click.Context(command), value)
    if "--date" in words:
        assert words[words.index("--date") + 1] == "2015-06-24"


def test_the_jobs_are_those_of_the_dags() -> None:
    """Whoever has no Airflow gets the same day."""
    assert set(jobs()) == set(JOBS)
    called = set()
    for path in (ROOT / "dags").glob("daily_*.py"):
        for inside in re.findall(r"preptime_task\(\s*\"\w+\",\s*([^)]*?)minutes", path.read_text(encoding="utf-8")):
            words = re.findall(r'"([a-z-]+)"', inside)
            called.add(" ".join(word for word in words if not word.startswith("--")))
    ours = {" ".join(word for word in shlex.split(job["command"])[1:] if word.isalpha()) for job in jobs().values()}
    assert ours == called - {"synthesize"}, "a demonstration's orders are no matter of a cloud"


def test_a_job_without_a_date_of_its_own_is_given_the_local_day() -> None:
    words = words_of(jobs()["score"]["command"], TZ="Pacific/Kiritimati")
    today = dt.datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    assert dt.date.fromisoformat(words[words.index("--date") + 1]) in {today, today - dt.timedelta(days=1)}
    assert of_kind("variable")["time_zone"].text("default") == "Europe/London"


def test_the_prediction_log_is_recognised_by_what_it_writes() -> None:
    assert "request_id" in {field.name for field in msgspec.structs.fields(PredictionRecord)}
    assert "jsonPayload.request_id:*" in text_of(FOLDER / "modules" / "warehouse")
    assert named_settings()["PREPTIME_PREDICTION_LOG"] == "stdout"


def test_the_alert_on_champions_names_the_logger_that_tells() -> None:
    watching = text_of(FOLDER / "modules" / "alerting")
    assert f'jsonPayload.logger=\\"{champion_watcher.__name__}\\"' in watching
    assert champion_watcher.logger.name == champion_watcher.__name__


def grants() -> list[tuple[str, str]]:
    """Every grant with the comment over it."""
    text = everywhere()
    return re.findall(r"((?:^#[^\n]*\n)*)^resource \"(google_\w+_iam_\w+)\"", text, flags=re.MULTILINE)


def test_every_grant_stands_under_a_sentence() -> None:
    assert len(grants()) > 15
    for comment, kind in grants():
        assert kind.endswith("_iam_member"), f"{kind} would take other people's grants away"
        sentence = " ".join(line.removeprefix("#").strip() for line in comment.splitlines())
        assert re.match(r"[A-Z].* may .*\.$", sentence), f"{kind}: {sentence!r}"


def test_no_grant_is_wider_than_it_must_be() -> None:
    text = everywhere()
    roles = set(re.findall(r'role\s*=\s*"([^"]+)"', text))
    assert not {role for role in roles if re.search(r"owner|editor$|[aA]dmin", role) and "dataEditor" not in role}
    assert text.count("allUsers") == 1
    assert "allAuthenticatedUsers" not in text
    assert "google_service_account_key" not in text
    assert len(re.findall(r'resource "google_project_iam_member"', text)) == 2
    page = [block for block in blocks() if block.labels[-1:] == ("page_people",)]
    assert page[0].text("for_each") == "${toset(var.page_members)}"


def test_no_key_is_in_the_state() -> None:
    assert "google_secret_manager_secret_version" not in everywhere()
    assert {"PREPTIME_API_KEYS", "PREPTIME_OPERATOR_KEYS", "PREPTIME_API_KEY"} <= {
        name for name, value in named_settings().items() if "google_secret_manager_secret" in value
    }


def test_checkov_finds_nothing_that_is_not_explained() -> None:
    ended = subprocess.run(
        [
            *(tool("checkov"), "--directory", FOLDER, "--framework", "terraform", "--skip-download"),
            *("--output", "json", "--compact"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads(ended.stdout)["results"]
    assert [(one["check_id"], one["resource"]) for one in results["failed_checks"]] == []
    assert json.loads(ended.stdout)["summary"]["parsing_errors"] == 0
    assert all(len(reason) > 40 for _, reason in EXPLAINED.findall(everywhere()))
    assert {one["check_id"] for one in results["skipped_checks"]} == {one for one, _ in EXPLAINED.findall(everywhere())}


def test_the_accounts_are_those_that_kubernetes_names() -> None:
    overlay = (ROOT / "deploy" / "k8s" / "overlays" / "gke" / "kustomization.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"preptime-(\w+)@PROJECT\.iam", overlay))
    roles = next(block.body["roles"] for block in blocks() if block.kind == "locals" and "roles" in block.body)
    assert isinstance(roles, dict)
    assert named
    assert named <= set(roles)
