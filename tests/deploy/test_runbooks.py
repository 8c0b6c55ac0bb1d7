"""Every alert has a runbook, whose commands, options, metrics, settings, and links exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from preptime.api.metrics import format_exposition
from preptime.api.metrics_files import SharedCounts
from preptime.api.metrics_store import WorkerState
from preptime.cli.app import app
from preptime.monitoring.prometheus import render
from preptime.settings import Settings
from tests.monitoring.example import fired
from tests.requirements import ROOT

RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")
SECTIONS = ["Symptom", "First check", "Likely causes and fixes", "Undo"]
URL = "https://github.com/preptime/preptime/blob/main/docs/runbooks/{}.md"


def alerts() -> dict[str, dict[str, str]]:
    """Return the annotations of each alert."""
    rules = yaml.safe_load((ROOT / "deploy" / "k8s" / "alerts" / "alerts.yaml").read_text(encoding="utf-8"))
    return {
        rule["alert"]: rule["annotations"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    }


def test_every_alert_links_to_its_runbook() -> None:
    assert {name: annotations["runbook_url"] for name, annotations in alerts().items()} == {
        path.stem: URL.format(path.stem) for path in PAGES
    }
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+)\]\(\1\.md\)", index, flags=re.MULTILINE) == list(alerts())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runbook_names_only_what_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == SECTIONS
    code = "\n".join(re.findall(r"`([^`]+)`", text) + re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    assert [problem for command in commands(code) if (problem := problem_of(command))] == []
    assert set(re.findall(r"\bpreptime_[a-z_]+", text)) <= exposed_metrics()
    settings = {f"PREPTIME_{name.upper()}" for name in Settings.__struct_fields__}
    assert set(re.findall(r"\bPREPTIME_[A-Z_]+", text)) <= settings
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (RUNBOOKS / target).resolve().is_file(), target


def commands(code: str) -> Iterator[list[str]]:
    """Yield the words of each preptime command."""
    for line in re.findall(r"(?:^|-- )preptime ([^\n]+)", code, flags=re.MULTILINE):
        yield line.split()


def problem_of(words: list[str]) -> str | None:
    """Return what doesn't exist in a command."""
    command: click.Command | None = app
    context = click.Context(app)
    while isinstance(command, click.Group) and words:
        command = command.get_command(context, words.pop(0))
    if command is None:
        return f"unknown command {words}"
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in words if word.startswith("--") and word not in known]
    return f"{command.name} has no {unknown}" if unknown else None


def exposed_metrics() -> set[str]:
    """Return the metrics of the API and of `monitoring.prom`."""
    state = WorkerState(
        updated_at=0.0,
        ready=True,
        bundle="b",
        champion_number=1,
        history_timestamp=0.0,
        rejected_bundle="c",
        champion_error="away",
    )
    exposition = format_exposition(SharedCounts([], []), [state], 1.0).decode() + render(fired()).decode()
    return set(re.findall(r"# TYPE (\w+)", exposition))


def test_a_wrong_command_is_found() -> None:
    assert problem_of(["bundles", "rollback", "--why", "TEXT"]) == "rollback has no ['--why']"
    assert problem_of(["bundle", "list"]) == "unknown command ['list']"
