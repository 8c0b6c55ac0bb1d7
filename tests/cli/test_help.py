"""What `--help` says, how little it needs for it, and that the page in the docs says the same."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator

import click
import pytest

from preptime.cli.app import app
from scripts import cli_docs
from tests.cli.run_command import preptime, run_process
from tests.requirements import ROOT

HEAVY = {"altair", "catboost", "onnx", "pandas", "polars", "scipy", "sklearn", "skl2onnx", "vl_convert", "xgboost"}

HELP_OF_EVERY_VERB = """
import json, sys
from preptime.cli import main
statuses = [main([*verb.split(), "--help"]) for verb in sys.argv[1:]]
print(json.dumps([statuses, sorted(sys.modules)]), file=sys.stderr)
"""


def verbs(group: click.Group = app, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, verb in group.commands.items():
        yield f"{path}{name}", verb
        if isinstance(verb, click.Group):
            yield from verbs(verb, f"{path}{name} ")


VERBS = dict(verbs())


def test_the_verbs_are_those_of_the_readme() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in table for name in app.commands)
    assert {name.partition(" ")[2] for name in VERBS if name.startswith("bundles ")} == {
        *("list", "show", "compare", "promote", "rollback", "verify", "prune")
    }


@pytest.mark.parametrize("group", ["", "bundles"])
def test_the_list_of_verbs_reads_whole_on_80_columns(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = preptime(*group.split(), "--help").succeeded().out
    listed = said.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len([name for name in VERBS if name.rpartition(" ")[0] == group])
    assert all(line.endswith(".") and not line.endswith("...") and len(line) <= 80 for line in listed)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_and_every_option_says_what_it_is(name: str) -> None:
    verb = VERBS[name]
    assert verb.help
    options = [one for one in verb.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []
    for argument in (one for one in verb.params if isinstance(one, click.Argument)):
        assert argument.make_metavar(click.Context(verb)).strip("[].") in verb.help
    # Servers have no end, so they have no document.
    assert isinstance(verb, click.Group) or name in {"serve", "ui"} or "json" in {one.name for one in options}


def test_help_loads_no_library_that_reads_or_trains() -> None:
    ran = run_process("", *VERBS, program=HELP_OF_EVERY_VERB).succeeded()
    statuses, modules = json.loads(ran.err)
    assert statuses == [0] * (len(VERBS) + 1)
    assert HEAVY & {name.partition(".")[0] for name in modules} == set()


def test_the_console_script_is_the_same_entry_point() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="preptime")
    assert script.value == "preptime.cli:main"
    version = importlib.metadata.version("preptime")
    assert run_process("--version").succeeded().out == f"preptime, version {version}\n"


def test_the_page_in_the_docs_is_current() -> None:
    """When this fails: `make docs`."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_docs.markdown()
    assert all(f"\n## preptime {name}\n" in page for name, verb in VERBS.items() if not isinstance(verb, click.Group))
