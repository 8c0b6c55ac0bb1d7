"""`--help`: its text, the libraries that it loads, and the page in the docs."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator

import click
import pytest

from preptime.cli.app import app
from scripts import cli_docs
from tests.cli.run_command import preptime, run_process
from tests.requirements import ROOT

HEAVY = {"altair", "catboost", "onnx", "pandas", "polars", "scipy", "sklearn", "skl2onnx", "vl_convert", "xgboost"}

HELP_OF_EVERY_COMMAND = """
import json, sys
from preptime.cli import main
statuses = [main([*command.split(), "--help"]) for command in sys.argv[1:]]
print(json.dumps([statuses, sorted(sys.modules)]), file=sys.stderr)
"""


def iter_commands(group: click.Group = app, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from iter_commands(command, f"{path}{name} ")


COMMANDS = dict(iter_commands())


def test_commands_in_readme_exist() -> None:
    used_names = re.findall(r"^preptime ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "score", "monitor", "train", "serve", "ui"} <= {"demo", *used_names} <= COMMANDS.keys()
    assert {name.partition(" ")[2] for name in COMMANDS if name.startswith("bundles ")} == {
        *("list", "show", "compare", "offer", "promote", "rollback", "verify", "copy", "prune", "repair-log")
    }


@pytest.mark.parametrize("group", ["", "bundles", "schema"])
def test_command_list_fits_80_columns(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = preptime(*group.split(), "--help").succeeded().out
    listed = text.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len([name for name in COMMANDS if name.rpartition(" ")[0] == group])
    assert all(line.endswith(".") and not line.endswith("...") and len(line) <= 80 for line in listed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []
    for argument in (parameter for parameter in command.params if isinstance(parameter, click.Argument)):
        assert argument.make_metavar(click.Context(command)).strip("[].") in command.help
    # Servers run until they are stopped, so they have no document.
    assert isinstance(command, click.Group) or name in {"serve", "ui"} or "json" in {option.name for option in options}


@pytest.mark.parametrize("name", ["serve", "ui"])
def test_help_shows_the_type_of_every_setting_option(name: str) -> None:
    text = preptime(name, "--help").succeeded().out
    assert " TEXT" not in text
    assert "--port INTEGER RANGE" in text
    assert "1<=x<=65535" in text
    assert "--log-level [debug|error|info|warning]" in text


def test_serve_help_names_the_check_of_the_configuration() -> None:
    assert "run preptime doctor" in preptime("serve", "--help").succeeded().out


def test_service_links_are_ignored_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_UI_PORT", "tcp://10.0.0.1:8501")
    monkeypatch.setenv("PREPTIME_UI_SERVICE_HOST", "10.0.0.1")
    result = preptime("ui", "--port", "0")
    assert result.status == 2
    warning = "Warning: Ignored variables: PREPTIME_UI_PORT, PREPTIME_UI_SERVICE_HOST. Kubernetes sets them"
    assert result.err.startswith(warning)
    assert "'--port'" in result.err
    assert "tcp://" not in result.err


def test_help_loads_no_heavy_library() -> None:
    result = run_process("", *COMMANDS, program=HELP_OF_EVERY_COMMAND).succeeded()
    statuses, modules = json.loads(result.err)
    assert statuses == [0] * (len(COMMANDS) + 1)
    assert HEAVY & {name.partition(".")[0] for name in modules} == set()


def test_console_script_calls_main() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="preptime")
    assert script.value == "preptime.cli:main"
    version = importlib.metadata.version("preptime")
    assert run_process("--version").succeeded().out == f"preptime, version {version}\n"


def test_docs_page_is_current() -> None:
    """When this fails: `make docs`."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_docs.markdown()
    assert all(
        f"\n## preptime {name}\n" in page for name, command in COMMANDS.items() if not isinstance(command, click.Group)
    )
