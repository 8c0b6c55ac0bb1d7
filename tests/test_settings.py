"""Settings: where they come from, what is refused, and that no secret is told."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.errors import UsageError
from preptime.settings import COMPOSE_SETTINGS, DAG_SETTING_NAMES, DAG_SETTINGS, Settings, iter_settings, read_env_file
from scripts import settings_docs
from tests.requirements import ROOT


def write_env_file(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_said_is_the_defaults() -> None:
    assert Settings.load({}) == Settings()
    assert Settings.load({"PREPTIME_PORT": "", "HOME": "/home"}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write_env_file(tmp_path, "PREPTIME_PORT=81\nPREPTIME_WORKERS=3\nOTHER=x\n")
    found = Settings.load({"PREPTIME_PORT": "82"}, path)
    assert (found.port, found.workers) == (82, 3)
    assert Settings.load({"PREPTIME_PORT": ""}, path).port == 81
    assert Settings.load({}, tmp_path / "none") == Settings()


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"FLASK_PORT": "5000"}, 5000),
        ({"FLASK_PORT": "5000", "AIP_HTTP_PORT": "8080"}, 8080),
        ({"FLASK_PORT": "5000", "AIP_HTTP_PORT": "8080", "PREPTIME_PORT": "80"}, 80),
    ],
)
def test_a_port_has_three_names_and_ours_comes_first(environ: dict[str, str], port: int) -> None:
    assert Settings.load(environ).port == port


def test_the_names_of_the_demo_and_of_vertex() -> None:
    found = Settings.load({"AIKEY": "k", "AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/p"})
    assert (found.aikey, found.vertex_health_route, found.vertex_predict_route) == ("k", "/h", "/p")


def test_an_unknown_name_with_our_prefix_is_refused_and_the_nearest_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PREPTIME_PROT is no setting.*PREPTIME_PORT\?"):
        Settings.load({"PREPTIME_PROT": "80"})
    with pytest.raises(UsageError, match="PREPTIME_STORES"):
        Settings.load({}, write_env_file(tmp_path, "PREPTIME_STORES=models"))
    assert Settings.load({"PREPTIME_REQUIRE": "all", "PREPTIME_REAL_DATA": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PREPTIME_PORT", "0", "from 1 to 65535"),
        ("PREPTIME_PORT", "8000.5", "a whole number"),
        ("FLASK_PORT", "many", "a whole number"),
        ("PREPTIME_CHAMPION_POLL_SECONDS", "nan", "a number from"),
        ("PREPTIME_CHAMPION_POLL_SECONDS", "inf", "to 3600"),
        ("PREPTIME_PREDICTION_LOG", "disk", "one of folder, off, stdout"),
        ("AIP_PREDICT_ROUTE", "predict", "begins with /"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_name_value_and_what_was_expected(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(UsageError) as refused:
        Settings.load({name: value})
    assert name in refused.value.facts
    assert repr(value) in refused.value.facts
    assert expected in refused.value.facts


def test_secrets_are_not_shown() -> None:
    settings = Settings.load({"AIKEY": "geheim", "PREPTIME_API_KEYS": "geheim", "PREPTIME_OPERATOR_KEYS": "geheim"})
    assert "geheim" not in f"{settings!r} {settings} {settings.redacted()}"
    assert settings.redacted()["AIKEY"] == "set"
    assert Settings().redacted()["AIKEY"] == "not set"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    assert Settings.load({"PREPTIME_HOST": host}).is_loopback


@pytest.mark.parametrize("host", [str(IPv4Address(0)), "::", "10.0.0.1", "localhost.example.com"])
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not Settings.load({"PREPTIME_HOST": host}).is_loopback


def test_an_env_file_in_every_manner_people_write_one(tmp_path: Path) -> None:
    text = (
        "\ufeff# a comment\n\nA=1\nexport B = two words # comment\nC='a # b'\nD=\"x=y\" # comment\n"
        "E=a#b\nF=\nG= # nothing\nH=$A${B}\n"
    )
    assert read_env_file(write_env_file(tmp_path, text)) == {
        "A": "1",
        "B": "two words",
        "C": "a # b",
        "D": "x=y",
        "E": "a#b",
        "F": "",
        "G": "",
        "H": "$A${B}",
    }


@pytest.mark.parametrize("line", ["geheim", "=geheim", "1A=geheim", "A='geheim", "A='geheim' more"])
def test_a_line_that_is_none_is_refused_by_its_number_without_being_repeated(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="line 2") as refused:
        read_env_file(write_env_file(tmp_path, f"A=1\n{line}\n"))
    assert "geheim" not in str(refused.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_env_file(path)


VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs"), exclude_characters="'\x85"))


@given(VALUES)
def test_every_quoted_value_comes_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = write_env_file(tmp_path_factory.mktemp("env"), f"A='{value}'\n")
    assert read_env_file(path) == {"A": value}


def test_the_example_file_can_be_used_as_it_is_and_with_every_line_uncommented(tmp_path: Path) -> None:
    assert Settings.load({}, write_env_file(tmp_path, settings_docs.env_example())) == Settings()
    names = {name for setting in iter_settings() for name in setting.names}
    lines = [line.removeprefix("#") for line in settings_docs.env_example().splitlines()]
    settings = "\n".join(line for line in lines if line.partition("=")[0] in names)
    assert len(settings.splitlines()) == len(list(iter_settings()))
    assert Settings.load({}, write_env_file(tmp_path, settings)) == Settings()


def test_what_others_read_from_the_same_file_is_all_told() -> None:
    assert DAG_SETTINGS.keys() == DAG_SETTING_NAMES
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    read = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?", compose))
    own = {name for setting in iter_settings() for name in setting.names}
    assert {name: default for name, default in read.items() if name not in own} == {
        name: default for name, (_, default) in COMPOSE_SETTINGS.items()
    }


def test_the_written_pages_are_those_of_the_declaration() -> None:
    """When this fails: `make docs`."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == settings_docs.env_example()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_docs.markdown()
    for setting in iter_settings():
        assert all(f"`{name}`" in settings_docs.markdown() for name in setting.names)
