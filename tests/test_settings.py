"""Settings: sources, validation, secrets, and the generated pages."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from preptime.cli.options import server_environment
from preptime.env_file import COMPOSE_SETTINGS, find_expanded_values, read_env_file
from preptime.errors import StoreError, UsageError
from preptime.network import find_service_links
from preptime.setting_specs import SettingSpec
from preptime.settings import Settings, iter_settings
from scripts import settings_docs
from tests.requirements import ROOT


def write_env_file(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text, encoding="utf-8")
    return path


def test_load_without_values_returns_defaults() -> None:
    assert Settings.load({}) == Settings()
    assert Settings.load({"PREPTIME_PORT": "", "HOME": "/home"}) == Settings()


def test_load_environment_precedes_env_file(tmp_path: Path) -> None:
    path = write_env_file(tmp_path, "PREPTIME_PORT=81\nPREPTIME_WORKERS=3\nOTHER=x\n")
    settings = Settings.load({"PREPTIME_PORT": "82"}, path)
    assert (settings.port, settings.workers) == (82, 3)
    assert Settings.load({}, path).port == 81
    assert Settings.load({}, tmp_path / "none") == Settings()


@pytest.mark.parametrize("setting", list(iter_settings()), ids=lambda setting: setting.field)
def test_load_empty_variable_hides_that_of_env_file(tmp_path: Path, setting: SettingSpec) -> None:
    for name in setting.names:
        path = write_env_file(tmp_path, f"{name}=an invalid value://\nPREPTIME_WORKERS=3\n")
        assert Settings.load({name: "", "PREPTIME_WORKERS": "2"}, path) == Settings(workers=2)


def test_server_settings_prefer_empty_variable_to_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_env_file(tmp_path, "PREPTIME_MAX_ORDERS=77\nPREPTIME_WORKERS=3\nPREPTIME_PORT=81\n")
    monkeypatch.setenv("PREPTIME_MAX_ORDERS", "")
    monkeypatch.setenv("PREPTIME_PORT", "tcp://10.0.0.1:8000")  # a service link of Kubernetes
    settings = Settings.load(server_environment(path, {"workers": 2}))
    assert (settings.max_orders, settings.workers, settings.port) == (Settings().max_orders, 2, 81)


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"FLASK_PORT": "5000"}, 5000),
        ({"FLASK_PORT": "5000", "AIP_HTTP_PORT": "8080"}, 8080),
        ({"FLASK_PORT": "5000", "AIP_HTTP_PORT": "8080", "PREPTIME_PORT": "80"}, 80),
    ],
)
def test_load_port_precedence_of_names(environ: dict[str, str], port: int) -> None:
    assert Settings.load(environ).port == port


def test_load_take_home_and_vertex_names() -> None:
    settings = Settings.load({"AIKEY": "k", "AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/p"})
    assert (settings.aikey, settings.vertex_health_route, settings.vertex_predict_route) == ("k", "/h", "/p")
    vertex_default = "/v1/endpoints/7/deployedModels/8:predict"
    assert Settings.load({"AIP_PREDICT_ROUTE": vertex_default}).vertex_predict_route == vertex_default


def test_load_unknown_name_suggests_closest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PREPTIME_PROT isn't a setting.*PREPTIME_PORT\?"):
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
        ("PREPTIME_PREDICTION_LOG_DAYS", "36501", "from 1 to 36500"),
        ("AIP_PREDICT_ROUTE", "predict", "starts with /"),
        ("AIP_PREDICT_ROUTE", "/p<x", "a URL can contain without escapes"),
        ("AIP_HEALTH_ROUTE", "/a<b>", "a URL can contain without escapes"),
        ("AIP_HEALTH_ROUTE", "/health?x=1", "a URL can contain without escapes"),
        ("AIP_HEALTH_ROUTE", "/health#top", "a URL can contain without escapes"),
        ("AIP_HEALTH_ROUTE", "/a%20b", "a URL can contain without escapes"),
        ("AIP_HEALTH_ROUTE", "/{id}", "a URL can contain without escapes"),
        ("AIP_HEALTH_ROUTE", "/é", "a URL can contain without escapes"),
        ("PREPTIME_PUBLIC_DETAILS", "yes", "expected true or false,"),
        ("PREPTIME_SCHEMA", "gs://b/schema.toml", "expected a TOML file, not a URL,"),
        ("PREPTIME_RESULTS", "gs://b/results", "expected a folder, not a URL,"),
    ],
)
def test_load_invalid_value_names_value_and_expectation(name: str, value: str, expected: str) -> None:
    with pytest.raises(UsageError) as raised:
        Settings.load({name: value})
    assert name in raised.value.facts
    assert repr(value) in raised.value.facts
    assert expected in raised.value.facts


@pytest.mark.parametrize(
    ("service", "port_name"), [("PREPTIME", "HTTP"), ("PREPTIME_UI", "WEB"), ("PREPTIME_HEALTH", "PROBE_2")]
)
def test_load_ignores_kubernetes_service_links(service: str, port_name: str) -> None:
    """All variables that Kubernetes sets for a Service with one port, in pods of its namespace."""
    links = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8000",
        f"{service}_SERVICE_PORT_{port_name}": "8000",
        f"{service}_PORT": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP_PROTO": "tcp",
        f"{service}_PORT_8000_TCP_PORT": "8000",
        f"{service}_PORT_8000_TCP_ADDR": "10.0.0.1",
        f"{service}_PORT_53_UDP": "udp://10.0.0.1:53",
    }
    assert find_service_links(links | {"PREPTIME_STORE": "s", "OTHER_SERVICE_HOST": "x"}) == sorted(links)
    assert Settings.load(links) == Settings()
    assert Settings.load(links | {"PREPTIME_WORKERS": "2"}).workers == 2


@pytest.mark.parametrize(
    "name", ["PREPTIME_SERVICE", "PREPTIME_PORT_TCP", "PREPTIME_HOST_SERVICE", "PREPTIME_SERVICE_POT"]
)
def test_load_similar_names_are_unknown_settings(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} isn't a setting"):
        Settings.load({name: "8000"})


def test_load_invalid_port_isnt_a_service_link(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PREPTIME_PORT: expected a whole number"):
        Settings.load({"PREPTIME_PORT": "http://10.0.0.1:8000"})
    (tmp_path / ".env").write_text("PREPTIME_PORT=tcp://10.0.0.1:8000\n", encoding="utf-8")
    with pytest.raises(UsageError, match="PREPTIME_PORT: expected a whole number"):
        Settings.load({}, tmp_path / ".env")


@pytest.mark.parametrize(
    ("store", "folder"),
    [("models", "models"), ("/a/b", "/a/b"), ("file:///a%20b", "/a b"), ("gs://b/f", None), ("memory://x", None)],
)
def test_local_store_is_the_folder_of_a_local_store(store: str, folder: str | None) -> None:
    assert Settings(store=store).local_store == (None if folder is None else Path(folder))


def test_local_store_without_an_absolute_path_raises() -> None:
    with pytest.raises(StoreError, match="file://models names no absolute folder"):
        assert Settings(store="file://models").local_store


def test_settings_text_hides_secrets() -> None:
    settings = Settings.load({"AIKEY": "s3cret", "PREPTIME_API_KEYS": "s3cret", "PREPTIME_OPERATOR_KEYS": "s3cret"})
    assert "s3cret" not in f"{settings!r} {settings} {settings.redacted()}"
    assert settings.redacted()["AIKEY"] == "set"
    assert Settings().redacted()["AIKEY"] == "not set"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_is_loopback_true_for_loopback_hosts(host: str) -> None:
    assert Settings.load({"PREPTIME_HOST": host}).is_loopback


@pytest.mark.parametrize("host", [str(IPv4Address(0)), "::", "10.0.0.1", "localhost.example.com"])
def test_is_loopback_false_for_other_hosts(host: str) -> None:
    assert not Settings.load({"PREPTIME_HOST": host}).is_loopback


def test_read_env_file_parses_common_forms(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "line", ["s3cret", "=s3cret", "1A=s3cret", "A='s3cret", "A='s3cret' more", "A B=s3cret", "\n \ns3cret"]
)
def test_read_env_file_malformed_line_names_only_its_number(tmp_path: Path, line: str) -> None:
    number = 2 + line.count("\n")
    with pytest.raises(UsageError, match=f"line {number}:") as raised:
        read_env_file(write_env_file(tmp_path, f"A=1\n{line}\n"))
    assert "s3cret" not in str(raised.value)


def test_read_env_file_binary_file_raises(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_env_file(path)


VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs"), exclude_characters="\x85"))


@hypothesis_settings(deadline=None)  # a busy machine can take longer to write the file
@given(VALUES)
def test_read_env_file_returns_every_quoted_value(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    path = write_env_file(tmp_path_factory.mktemp("env"), f"A='{escaped}'\n")
    assert read_env_file(path) == {"A": value}


def test_find_expanded_values_skips_single_quotes(tmp_path: Path) -> None:
    text = "# $a\n\nA=pa$word\nexport B=\"$x\" # $y\nC='$x'\nD= '$x' # $y\nE=x # $y\nF=it's $x\n"
    found = list(find_expanded_values(write_env_file(tmp_path, text)))
    assert found == [(3, "A", "pa$word"), (4, "B", "$x"), (8, "F", "it's $x")]


def test_pages_show_values_that_a_setting_can_have() -> None:
    assert "| true or false | `true` |" in settings_docs.markdown()
    assert "#PREPTIME_PUBLIC_DETAILS=true\n" in settings_docs.env_example()


def test_env_example_is_valid_and_equals_defaults(tmp_path: Path) -> None:
    assert Settings.load({}, write_env_file(tmp_path, settings_docs.env_example())) == Settings()
    names = {name for setting in iter_settings() for name in setting.names}
    lines = [line.removeprefix("#") for line in settings_docs.env_example().splitlines()]
    settings = "\n".join(line for line in lines if line.partition("=")[0] in names)
    assert len(settings.splitlines()) == len(list(iter_settings()))
    assert Settings.load({}, write_env_file(tmp_path, settings)) == Settings()


def test_external_settings_match_compose() -> None:
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    compose_variables = dict(re.findall(r"\$\{(\w+)(?::?-([^}]*))?", compose))
    own_names = {name for setting in iter_settings() for name in setting.names}
    assert {name: default for name, default in compose_variables.items() if name not in own_names} == {
        name: default for name, (_, default) in COMPOSE_SETTINGS.items()
    } | {"ORDERS_FOLDER": "orders"}  # a volume, not a folder


def test_settings_pages_are_current() -> None:
    """When this fails: `make docs`."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == settings_docs.env_example()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_docs.markdown()
    for setting in iter_settings():
        assert all(f"`{name}`" in settings_docs.markdown() for name in setting.names)
