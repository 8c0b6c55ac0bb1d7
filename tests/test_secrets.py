"""No secret in an address appears in any output: of a command, a server, a log, or a file.

Each command gets every address of `tests.secret_addresses` in every option and argument, and in every setting.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import fsspec.core
import google.auth
import google.auth.exceptions
import msgspec
import psycopg
import pytest
import urllib3

from preptime.bundle.store import Store
from preptime.cli import inputs
from preptime.client import Client
from preptime.errors import OperationError, PreptimeError, UsageError
from preptime.redaction import remember_secrets
from preptime.setting_specs import SettingSpec
from preptime.settings import SETTING_SPECS, Settings
from preptime.training.fitting import FitPlan
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, clean_environment, running_server
from tests.cli.run_command import CommandResult, preptime
from tests.postgres import Postgres
from tests.secret_addresses import ADDRESSES, MARKER, TextParameter, text_parameters
from tests.training.factories import quick_plan
from tests.ui.browser import run_dashboard
from tests.ui.page_rendering import html_bodies, page_text, render_page
from tests.ui.stores import clear_caches

DATE, NEXT_DATE = "2015-06-12", "2015-06-13"
VALID_VALUES = {
    "as_of": NEXT_DATE,
    "bundle": "2015-06-12-aaaaaaaa",
    "challenger": "2015-06-12-aaaaaaaa",
    "database_url": "postgresql://127.0.0.1:1/db",
    "date": NEXT_DATE,
    "days": "3",
    "first_day": "2015-06-10",
    "keep": "3",
    "last_day": "2015-06-11",
    "model": "xgb",
    "name": "name",
    "orders": "data/orders.csv",
    "out": "out",
    "reason": "reason",
    "restaurants": "data/restaurants.csv",
    "target": "copies",
}
"""Values of the required parameters of all commands. Paths are relative to the fixture `folder`."""
PARAMETERS = {str(parameter): parameter for parameter in text_parameters(VALID_VALUES)}
LOCAL_ADDRESSES = {form: address for form, address in ADDRESSES.items() if "\n" not in address}
"""Addresses that can be a line of an `.env` file and an environment variable of any program."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with synthetic orders and an empty store."""
    root = tmp_path_factory.mktemp("secrets")
    preptime("synthesize", "--out", root / "data", "--orders", "2500", "--days", "12").succeeded()
    (root / "models").mkdir()
    return root


@pytest.fixture(autouse=True)
def environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in that folder with default settings. The port of the dashboard is in use, so that it doesn't start."""
    for name in os.environ.keys() - clean_environment({}).keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PREPTIME_UI_PORT", str(listener.getsockname()[1]))
        yield


def assert_hidden(result: CommandResult) -> CommandResult:
    """Check that a command printed something, but not the secret."""
    assert MARKER not in result.out
    assert MARKER not in result.err
    assert result.out or result.err
    return result


def assert_files_hide_secrets(folder: Path) -> None:
    """Check the names and the contents of all files."""
    for path in folder.rglob("*"):
        assert MARKER not in str(path)
        assert not path.is_file() or MARKER.encode() not in path.read_bytes(), path


def test_parameters_include_the_known_addresses() -> None:
    assert {"ingest database_url", "score out", "score input_path", "serve store", "ui api_url"} <= set(PARAMETERS)
    assert len(PARAMETERS) >= 70


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=str)
def test_command_hides_addresses(parameter: TextParameter, folder: Path) -> None:
    json_option = [] if parameter.command in {"serve", "ui"} else ["--json"]
    for address in ADDRESSES.values():
        # With --json, the error is on standard output as a document and on standard error as text.
        result = assert_hidden(preptime(*parameter.command_line(address), *json_option))
        assert result.status in {0, 1, 2, 3}
        assert "Unexpected error" not in result.err
    assert_files_hide_secrets(folder)


@pytest.mark.parametrize("spec", SETTING_SPECS.values(), ids=lambda spec: spec.field)
def test_setting_hides_addresses(spec: SettingSpec) -> None:
    for name in spec.names:
        for address in ADDRESSES.values():
            try:
                settings = Settings.load({name: address})
            except UsageError as error:
                text = str(error)
            else:
                text = f"{settings!r} {settings} {settings.redacted()}"
            assert MARKER not in text
            assert name in text or spec.names[0] in text


@pytest.mark.parametrize("role", ["serve", "jobs"])
def test_doctor_hides_addresses_in_settings(role: str, folder: Path) -> None:
    names = ("STORE", "ORDERS", "RESTAURANTS", "PREDICTIONS_URL", "API_URL", "API_KEY", "HOST", "UI_HOST")
    for address in LOCAL_ADDRESSES.values():
        lines = [f"PREPTIME_{name}='{_escape(address)}'" for name in (*names, "API_KEYS", "OPERATOR_KEYS")]
        (folder / "settings.env").write_text("\n".join([*lines, f"AIKEY='{_escape(address)}'"]), encoding="utf-8")
        for arguments in ((), ("--json",)):
            result = preptime("doctor", "--role", role, "--env-file", "settings.env", *arguments)
            assert_hidden(result)
            assert result.status == 3
    (folder / "settings.env").unlink()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def test_doctor_shows_the_rest_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_ORDERS", ADDRESSES["postgresql"])
    result = assert_hidden(preptime("doctor", "--role", "jobs", "--json"))
    assert "postgresql://u@127.0.0.1:1/db can't be reached" in result.out


@pytest.mark.parametrize("predictions_url", ["", "postgresql://127.0.0.1:1/db", "postgresql://u:s3cret@127.0.0.1:1/db"])
def test_address_without_secret_stays_in_other_addresses(predictions_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_PREDICTIONS_URL", predictions_url)
    monkeypatch.setenv("PREPTIME_ORDERS", "postgresql://127.0.0.1:1/db?table=orders")
    result = preptime("doctor", "--role", "jobs", "--json")
    assert "postgresql://127.0.0.1:1/db can't be reached" in result.out


def test_invalid_env_file_hides_its_lines(folder: Path) -> None:
    for text in (f"PREPTIME_ORDERS={MARKER} '{MARKER}", f"{MARKER} = 1", f"PREPTIME_{MARKER[:0]}PROT={MARKER}"):
        (folder / "settings.env").write_text(text, encoding="utf-8")
        for command in ("doctor", "serve", "ui"):
            assert assert_hidden(preptime(command, "--env-file", "settings.env")).status in {2, 3}
    (folder / "settings.env").unlink()


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_unexpected_error_hides_address(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dataset: inputs.Dataset) -> NoReturn:
        raise RuntimeError(f"no route to {dataset.restaurants!r}") from KeyError(dataset.restaurants)

    monkeypatch.setattr(inputs.Dataset, "audit_restaurants", fail)
    for address in ADDRESSES.values():
        options = ("--orders", "data/orders.csv", "--restaurants", address)
        result = assert_hidden(preptime("check", *options, *arguments))
        assert result.status == 3
        assert "Traceback" in result.err
        assert "RuntimeError: no route to" in result.err


def _read_with_driver(address: str) -> None:
    fs, path = fsspec.core.url_to_fs(address)
    fs.cat_file(path)


class TestLibraries:
    """Messages of libraries that repeat an address, after real failures."""

    def test_psycopg_messages_are_redacted(self) -> None:
        messages = []
        for address in ADDRESSES.values():
            remember_secrets(address)
            with pytest.raises((psycopg.Error, ValueError, UnicodeError)) as raised:
                psycopg.connect(address, connect_timeout=2)
            messages.append(str(raised.value))
            assert MARKER not in str(OperationError(messages[-1]))
        assert any(MARKER in message for message in messages)

    def test_urllib3_messages_are_redacted(self) -> None:
        messages = []
        for address in (address for address in ADDRESSES.values() if address.startswith("http")):
            remember_secrets(address)
            with pytest.raises((urllib3.exceptions.HTTPError, ValueError)) as raised:
                urllib3.PoolManager().request("GET", address, retries=urllib3.Retry(0), timeout=2)
            messages.append(f"{raised.value} {raised.value!r}")
            assert MARKER not in str(OperationError(messages[-1]))
        assert any(MARKER in message for message in messages)

    def test_fsspec_messages_are_redacted(self) -> None:
        # Drivers for Google Cloud Storage look for credentials in the network. preptime doesn't use them.
        for address in (address for address in ADDRESSES.values() if not address.startswith("gs:")):
            remember_secrets(address)
            with pytest.raises(Exception) as raised:  # noqa: PT011  # drivers raise errors of all kinds
                _read_with_driver(address)
            assert MARKER not in str(OperationError(f"{raised.value} {raised.value!r}"))

    def test_google_message_hides_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        content = ADDRESSES["service account"]
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", content)
        with pytest.raises(google.auth.exceptions.DefaultCredentialsError) as raised:
            google.auth.default()
        assert MARKER in str(raised.value)
        result = assert_hidden(preptime("bundles", "list", "--store", "gs://bucket/models"))
        assert "gs://bucket/models" in result.err

    def test_unexpected_driver_error_hides_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(conninfo: str) -> NoReturn:
            raise RuntimeError(f"unexpected: {conninfo}")

        monkeypatch.setattr(psycopg, "connect", fail)
        result = assert_hidden(preptime("ingest", "--to", ADDRESSES["postgresql"]))
        assert re.search("RuntimeError: unexpected: .*password=[*]{3}", result.err)

    def test_api_client_hides_url(self) -> None:
        for address in ADDRESSES.values():
            with pytest.raises(PreptimeError) as raised, Client(address, "key", max_attempts=1) as client:
                client.bundle()
            assert MARKER not in str(raised.value)

    def test_store_hides_url(self) -> None:
        for address in ADDRESSES.values():
            with pytest.raises(PreptimeError) as raised:
                Store.open(address).read_manifest("2015-06-12-aaaaaaaa")
            assert MARKER not in str(raised.value)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """Return the address of an empty database, with a password that contains the secret and special characters."""
    address = postgres.create()
    password = quote(f"{MARKER}/?@ :#%{MARKER}", safe="")
    return f"{address.replace('postgres@', f'postgres:{password}@')}&sslpassword={MARKER}"


def test_all_jobs_on_a_database_hide_its_password(
    database: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitPlan, "default", lambda threads: quick_plan(threads=threads))
    monkeypatch.chdir(tmp_path)
    for name, value in {"ORDERS": database, "RESTAURANTS": f"{database}&table=restaurants"}.items():
        monkeypatch.setenv(f"PREPTIME_{name}", value)
    monkeypatch.setenv("PREPTIME_PREDICTIONS_URL", database)
    data = folder / "data"
    files = (data / "orders.csv", "--restaurants", data / "restaurants.csv")
    jobs: list[tuple[tuple[str | Path, ...], set[int]]] = [
        (("ingest", "--to", database), {0}),
        (("check",), {1}),
        (("ingest", *files, "--to", database), {0}),
        (("check", "--rejects", "rejects.csv"), {0}),
        (("doctor", "--role", "jobs"), {0, 3}),
        (("snapshot", "--from", "2015-06-10", "--to", "2015-06-11", "--out", "snapshot"), {0}),
        (("backtest", "--from", "2015-06-11", "--to", "2015-06-12", "--dvc-metrics", "metrics"), {0}),
        (("score", "--date", DATE), {0}),
        (("train", "--date", DATE, "--gate", "min_days=3"), {0, 1}),
        (("score", "--date", DATE), {0}),
        (("score", database, "--out", "scored.csv"), {0}),
        (("monitor", "--date", NEXT_DATE), {0, 1}),
        (("respond", "--date", NEXT_DATE), {0}),
        (("refresh", "--date", NEXT_DATE), {0}),
        (("bundles", "list"), {0}),
        (("bundles", "verify"), {0}),
        (("results", "list"), {0}),
        (("demo", "--orders", database, "--restaurants", f"{database}&table=restaurants"), {0}),
    ]
    (tmp_path / ".env").write_text("# The demo doesn't change this file, and prints its settings.\n", encoding="utf-8")
    for arguments, statuses in jobs:
        for json_option in ((), ("--json",)) if arguments[0] != "demo" else ((),):
            result = assert_hidden(preptime(*arguments, *json_option))
            assert result.status in statuses, (arguments, result.err)
    assert_files_hide_secrets(tmp_path)


def _environment(store: Path, database: str) -> dict[str, str]:
    """Return settings with a secret in each one that allows it while the server works."""
    return {
        "AIKEY": MARKER,
        "PREPTIME_STORE": str(store),
        "PREPTIME_ORDERS": database,
        "PREPTIME_RESTAURANTS": f"{database}&table=restaurants",
        "PREPTIME_PREDICTIONS_URL": ADDRESSES["mysql"],
        "PREPTIME_API_URL": ADDRESSES["http with path"],
        "PREPTIME_API_KEY": MARKER,
        "PREPTIME_LOG_LEVEL": "debug",
        "POSTGRES_PASSWORD": MARKER,
    }


@pytest.mark.parametrize("page", ["predict", "data", "models", "monitoring"])
@pytest.mark.parametrize(
    "form", ["postgresql", "password parameter", "mysql", "gs", "http with path", "unescaped at sign"]
)
def test_dashboard_page_hides_secrets(page: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict.fromkeys(("STORE", "ORDERS", "RESTAURANTS", "PREDICTIONS_URL", "API_URL"), ADDRESSES[form])
    for store in (ADDRESSES[form], str(tmp_path)):
        clear_caches()
        values = {f"PREPTIME_{name}": value for name, value in (settings | {"STORE": store}).items()}
        app = render_page(monkeypatch, page, **values, PREPTIME_API_KEY=MARKER)
        assert page_text(app)
        assert MARKER not in f"{page_text(app)} {html_bodies(app)}"
        assert MARKER not in repr(app)


def test_server_hides_secrets(database: str, tmp_path: Path) -> None:
    store = tmp_path / "models"
    with running_server(tmp_path, SERVE_COMMAND, **_environment(store, database)) as server:
        server.wait_until("/healthz")
        responses = [server.get_response(path)[1] for path in ("/readyz", "/metrics", "/v1/bundle", "/docs")]
        order = msgspec.json.encode({"orders": [{"restaurant_id": 1}]})
        for key in (MARKER, "wrong"):
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("POST", "/v1/predictions", order, {"aikey": key, "Content-Type": "application/json"})
            responses.append(connection.getresponse().read().decode())
            connection.close()
        _assert_command_lines_hide_secrets(server.process.pid)
        assert server.stop() == 0
        responses += [server.stderr_text(), server.stdout_text()]
    assert MARKER not in "\n".join(responses)
    assert "PREPTIME_ORDERS=postgresql://postgres@/" in server.stderr_text()
    assert "PREPTIME_API_URL=http://***@127.0.0.1:1/api" in server.stderr_text()
    assert_files_hide_secrets(tmp_path)


def _assert_command_lines_hide_secrets(process_id: int) -> None:
    """Check the arguments of the process and its children, which every user of the machine can read."""
    if sys.platform != "linux":
        return
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="ascii").split()
    assert children
    for child in (str(process_id), *children):
        assert MARKER.encode() not in Path(f"/proc/{child}/cmdline").read_bytes()


@pytest.mark.parametrize("form", ["gs", "s3", "malformed http", "connection string", "unescaped slash", "memory"])
def test_server_with_unusable_store_hides_its_secret(form: str, tmp_path: Path) -> None:
    settings = {"PREPTIME_STORE": ADDRESSES[form], "AIKEY": PLAIN_KEY}
    with running_server(tmp_path, SERVE_COMMAND, **settings) as server:
        assert server.process.wait(30) == 2
        assert MARKER not in server.stderr_text() + server.stdout_text()
        assert "***" in server.stderr_text()
        assert "can't be the URL of a store" in server.stderr_text()


def test_dashboard_hides_secrets(database: str, tmp_path: Path) -> None:
    settings = _environment(tmp_path / "models", database) | {"AIKEY": ""}
    with run_dashboard(tmp_path, **settings) as dashboard:
        dashboard.wait_until("/_stcore/health")
        text = dashboard.get("/")
        assert dashboard.stop() == 0
        text += dashboard.stderr_text() + dashboard.stdout_text()
    assert MARKER not in text
    assert re.search("Dashboard: http", text)
    assert_files_hide_secrets(tmp_path)
