"""`preptime doctor`: one environment that is well, and one fault after another, each named with its remedy."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import socket
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from preptime.bundle import manifest as manifests
from preptime.bundle.bundle import choose_golden_orders
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.cli.doctor import DoctorDocument
from preptime.doctor import checks
from preptime.doctor.checks import CheckResult
from preptime.domain.data_dictionary import DATA_DICTIONARY, TARGET
from preptime.keys import new_key
from preptime.settings import iter_settings
from tests.bundle.factories import DAY, some_draft, some_history, some_model, some_orders
from tests.bundle.fake_gcs import BUCKET, FakeGoogleStorage, clients_that_end, serving
from tests.cli.run_command import preptime, run_process

LIBRARIES = {name: version(name) for name in ("numpy", "onnxruntime")}
CHECKS = ["python", "settings", "keys", "port", "store", "champion", "history", "libraries", "clock", "time zones"]
FAR = dt.datetime(2015, 6, 17, 5, tzinfo=dt.UTC)


class Environment(NamedTuple):
    """A folder with a store in it, for settings to name."""

    folder: Path
    store: Store
    bundle: str


def promote_bundle(store: Store, at: dt.datetime = FAR, libraries: dict[str, str] = LIBRARIES) -> str:
    """A bundle made with these libraries becomes the champion at that moment."""
    made = write_bundle(
        store,
        msgspec.structs.replace(some_draft(), libraries=libraries),
        model=some_model(),
        history=some_history(),
        golden_orders=choose_golden_orders(some_orders()),
    )
    log = ChampionLog(store)
    log.append(
        LogEntryDraft(bundle=made.id, date=DAY, action="promote", reason="test", by="test", at=at.isoformat()),
        log.current(),
    )
    return made.id


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Everything as it should be: a working folder with a store, a key, a port that is free."""
    for setting in iter_settings():
        for name in setting.names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "LOW_DISK_SPACE_BYTES", 0)
    monkeypatch.setattr(checks, "CRITICAL_DISK_SPACE_BYTES", 0)
    monkeypatch.setenv("PREPTIME_API_KEYS", new_key("dispatch").setting)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PREPTIME_PORT", str(probe.getsockname()[1]))
    for name, columns in DATA_DICTIONARY.items():
        (tmp_path / f"{name}.csv").write_text(",".join(column.name for column in columns) + "\n", encoding="utf-8")
        monkeypatch.setenv(f"PREPTIME_{name.upper()}", str(tmp_path / f"{name}.csv"))
    store = Store.open(str(tmp_path / "models"))
    return Environment(tmp_path, store, promote_bundle(store))


def run_doctor(*options: str | Path, status: int = 0) -> dict[str, CheckResult]:
    """The findings by check, of a call that ended with this status."""
    ran = preptime("doctor", "--json", "--date", str(DAY), *options)
    assert ran.status == status, ran.out + ran.err
    document = ran.document(DoctorDocument)
    assert document.healthy == (status == 0)
    assert len({finding.name for finding in document.checks}) == len(document.checks)
    return {finding.name: finding for finding in document.checks}


def only_error(check: str, *options: str | Path) -> str:
    """Fact and remedy of the one fault found."""
    findings = run_doctor(*options, status=3)
    faults = [name for name, finding in findings.items() if finding.state == "error"]
    assert faults == [check], findings
    assert findings[check].hint
    return f"{findings[check].message} {findings[check].hint}"


def only_warning(check: str, *options: str | Path) -> str:
    """Fact and remedy of the one warning found."""
    findings = run_doctor(*options)
    assert [name for name, finding in findings.items() if finding.state == "warning"] == [check], findings
    return f"{findings[check].message} {findings[check].hint}"


def test_an_environment_that_is_well(place: Environment) -> None:
    findings = run_doctor()
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert list(findings)[: len(CHECKS)] == CHECKS
    assert place.bundle in findings["champion"].message
    assert "dispatch" in findings["keys"].message


def test_jobs_are_asked_for_other_things(place: Environment) -> None:
    findings = run_doctor("--role", "jobs")
    assert not {"keys", "port"} & set(findings)
    assert {"orders", "restaurants", "disk: results"} <= set(findings)
    assert {finding.state for finding in findings.values()} == {"ok"}


@pytest.mark.parametrize("name", ["orders", "restaurants"])
def test_a_table_that_is_not_there(place: Environment, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PREPTIME_{name.upper()}", "nowhere.csv")
    told = only_error(name, "--role", "jobs")
    assert "nowhere.csv" in told
    assert f"PREPTIME_{name.upper()} names it." in told
    monkeypatch.delenv(f"PREPTIME_{name.upper()}")
    assert f"--{name}" in only_warning(name, "--role", "jobs")
    assert name not in run_doctor()


@pytest.mark.parametrize(("name", "lost"), [("orders", "restaurant_id"), ("restaurants", "city")])
def test_a_table_without_a_column(place: Environment, name: str, lost: str) -> None:
    path = place.folder / f"{name}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(lost, "other"), encoding="utf-8")
    assert f"The column {lost} is missing" in only_error(name, "--role", "jobs")


def test_orders_are_not_restaurants(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_RESTAURANTS", os.environ["PREPTIME_ORDERS"])
    assert "?table=restaurants" in only_error("restaurants", "--role", "jobs")


def test_orders_without_a_label(place: Environment) -> None:
    path = place.folder / "orders.csv"
    header = path.read_text(encoding="utf-8").replace(TARGET, "a").replace("order_ready_at", "b")
    path.write_text(header, encoding="utf-8")
    assert f"neither order_ready_at nor {TARGET}" in only_error("orders", "--role", "jobs")


def test_a_table_whose_library_is_not_installed(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image that serves, asked for the jobs."""

    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'polars'", name="polars")

    monkeypatch.setattr("preptime.sources.registry.open_source", missing)
    findings = run_doctor("--role", "jobs", status=3)
    assert "polars" in findings["orders"].message
    assert "extra" in findings["orders"].hint


def test_it_changes_nothing(place: Environment) -> None:
    def files() -> dict[Path, float]:
        return {path: path.stat().st_mtime for path in place.folder.rglob("*")}

    before = files()
    run_doctor()
    run_doctor("--role", "jobs")
    assert files() == before


def test_people_read_a_table_and_a_sentence(place: Environment) -> None:
    ran = run_process("doctor", "--date", "2015-06-17", "--store", place.store.url).succeeded()
    assert "All is well." in ran.out
    assert all(check in ran.out for check in CHECKS)
    assert "Traceback" not in ran.err


def test_an_unknown_setting(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is not asked: it would be about other settings than those meant."""
    monkeypatch.setenv("PREPTIME_STOER", "models")
    assert "PREPTIME_STORE" in only_error("settings")
    assert run_doctor(status=3)["store"].state == "skipped"


def test_a_file_of_settings_is_read(place: Environment) -> None:
    file = place.folder / "other.env"
    file.write_text("PREPTIME_STORE=nowhere\n", encoding="utf-8")
    assert "nowhere" in run_doctor("--env-file", file, status=3)["store"].message


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PREPTIME_API_KEYS", "", "No key is configured"),  # a secret that is missing
        ("PREPTIME_API_KEYS", "dispatch:0123", "64 hexadecimal digits"),  # a wrong hash
        ("PREPTIME_OPERATOR_KEYS", "ops", "PREPTIME_OPERATOR_KEYS"),
    ],
)
def test_keys_that_cannot_be(place: Environment, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    told = only_error("keys")
    assert said in told
    assert "preptime keys new" in told


def test_the_plain_key_outside_loopback(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKEY", "demo")
    assert "aikey" in run_doctor()["keys"].message
    monkeypatch.setenv("PREPTIME_HOST", str(ipaddress.IPv4Address(0)))  # every address of this machine
    assert "AIKEY" in only_error("keys")


def test_a_key_for_two_purposes_and_the_examples_key(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_OPERATOR_KEYS", os.environ["PREPTIME_API_KEYS"])
    assert "One key is for both" in only_warning("keys")
    monkeypatch.delenv("PREPTIME_OPERATOR_KEYS")
    monkeypatch.setenv("AIKEY", "change-me")
    assert "examples" in only_warning("keys")


def test_a_port_in_use(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("PREPTIME_PORT", str(other.getsockname()[1]))
        assert str(other.getsockname()[1]) in only_error("port")


def test_a_port_for_health_that_is_in_use(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PREPTIME_HEALTH_PORT", str(other.getsockname()[1]))
        other.listen()
        assert "another PREPTIME_HEALTH_PORT" in only_error("port")
    assert os.environ["PREPTIME_HEALTH_PORT"] in run_doctor()["port"].message
    monkeypatch.setenv("PREPTIME_HEALTH_PORT", os.environ["PREPTIME_PORT"])
    assert "Give it another" in only_error("port")


def test_a_store_without_a_champion(place: Environment, tmp_path: Path) -> None:
    """What serves has nothing to answer with; the jobs make the first one."""
    empty = tmp_path / "empty"
    assert "preptime train" in only_error("champion", "--store", empty)
    assert "preptime train" in only_warning("champion", "--role", "jobs", "--store", empty)
    assert not empty.exists()


def test_a_store_that_cannot_be_reached(place: Environment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    findings = run_doctor("--store", tmp_path / "file", status=3)
    assert findings["store"].state == "error"
    assert run_doctor("--store", "nowhere://x", status=3)["champion"].state == "skipped"


def test_a_store_that_the_jobs_may_not_write_to(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has no log" not in run_doctor()["store"].message
    writable = os.access

    def read_only(path: Path, mode: int) -> bool:
        """As on a disk that is mounted read-only, where not even root may write."""
        return (mode == os.F_OK or "models" not in str(path)) and writable(path, mode)

    monkeypatch.setattr(os, "access", read_only)
    assert run_doctor()["store"].state == "ok"
    findings = run_doctor("--role", "jobs", status=3)
    assert findings["store"].state == findings["disk: the store"].state == "error"


def test_a_damaged_champion(place: Environment) -> None:
    model = place.store.fetch(place.bundle) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    told = only_error("champion")
    assert "SHA-256" in told
    assert "preptime bundles rollback" in told


def test_a_bundle_newer_than_the_code(place: Environment) -> None:
    path = place.store.fetch(place.bundle) / MANIFEST_FILE
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2'))
    told = only_error("champion")
    assert f"expected format {manifests.BUNDLE_FORMAT}, found format 2" in told
    assert "release that made it" in told


def test_a_champion_that_may_not_be_read(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who is not root, with a file of root's."""
    read = Path.read_bytes

    def forbidden(path: Path) -> bytes:
        if path.name == "model.onnx":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    assert "model.onnx: Permission denied" in only_error("champion")


def test_a_champion_that_is_gone(place: Environment) -> None:
    shutil.rmtree(place.store.fetch(place.bundle))
    assert place.bundle in only_error("champion")


@pytest.mark.parametrize(("days", "state"), [(0, "ok"), (1, "ok"), (2, "warning"), (-1, "error")])
def test_the_age_of_the_history(place: Environment, days: int, state: str) -> None:
    today = DAY + dt.timedelta(days=days)
    history = run_doctor("--date", str(today), status=3 if state == "error" else 0)["history"]
    assert history.state == state
    assert str(DAY) in history.message


def test_without_a_date_the_machines_day_counts(place: Environment) -> None:
    findings = preptime("doctor", "--json").document(DoctorDocument).checks
    (history,) = [finding for finding in findings if finding.name == "history"]
    assert history.state == "warning"
    assert "days old" in history.message


def test_libraries_other_than_the_bundles(place: Environment, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "other"))
    promote_bundle(store, libraries=LIBRARIES | {"onnxruntime": "1.0", "catboost": "0.1"})
    told = only_warning("libraries", "--store", store.url)
    assert f"onnxruntime {LIBRARIES['onnxruntime']} (the bundle: 1.0)" in told
    assert "catboost" not in told


def test_a_clock_an_hour_behind(place: Environment, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "other"))
    promote_bundle(store, at=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=61))
    told = only_error("clock", "--store", store.url)
    assert "minutes behind: the champion's promotion" in told
    assert "NTP" in told


def test_a_clock_behind_the_file_servers(place: Environment) -> None:
    ahead = time.time() + 3600
    os.utime(place.folder / "models" / "champion" / "000001.json", (ahead, ahead))
    assert "the champion's file" in only_error("clock")


def test_a_clock_that_jumps(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    began, clock = time.monotonic(), time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3600 * (time.monotonic() - began))
    assert "jumped" in only_error("clock")


def test_a_disk_that_is_full_or_read_only(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("PREPTIME_PREDICTION_LOG_FOLDER", "file/predictions")
    assert "cannot be written to" in only_error("disk: the prediction log")
    monkeypatch.setenv("PREPTIME_PREDICTION_LOG", "off")
    monkeypatch.setattr(checks, "LOW_DISK_SPACE_BYTES", 1 << 60)
    assert "GiB free" in only_warning("disk: temporary files")
    monkeypatch.setattr(checks, "CRITICAL_DISK_SPACE_BYTES", 1 << 60)
    assert "Make room" in only_error("disk: temporary files")


def test_a_machine_without_time_zones() -> None:
    finding = checks.check_time_zones(["Europe/London", "Europe/Nowhere"])
    assert finding.state == "error"
    assert "Europe/Nowhere" in finding.message
    assert "tzdata" in finding.hint


@pytest.fixture
def bucket(place: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogleStorage]:
    """A bucket with a champion, as the settings' store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.folder / "cache"))
    monkeypatch.setenv("PREPTIME_STORE", f"gs://{BUCKET}")
    with clients_that_end(monkeypatch), serving(monkeypatch) as fake:
        promote_bundle(Store.open(f"gs://{BUCKET}"))
        yield fake


def test_a_bucket_is_for_reading_where_it_serves_and_for_writing_where_jobs_run(bucket: FakeGoogleStorage) -> None:
    assert "safer" in only_warning("store")
    assert run_doctor("--role", "jobs")["store"].state == "ok"
    bucket.read_only = True
    assert run_doctor()["store"].state == "ok"
    assert "right to create" in only_error("store", "--role", "jobs")
    assert bucket.refused_writes == []


def test_the_clock_is_held_to_the_buckets(bucket: FakeGoogleStorage) -> None:
    bucket.read_only = True
    assert "the storage's clock" in run_doctor()["clock"].message
    bucket.clock_ahead = -3600
    told = only_error("clock")
    assert "60 minutes ahead of the storage's clock" in told


def test_a_bucket_that_is_away(bucket: FakeGoogleStorage) -> None:
    bucket.away = True
    findings = run_doctor(status=3)
    assert findings["store"].state == findings["champion"].state == "error"
    assert findings["clock"].state == findings["history"].state == "skipped"
    assert f"gs://{BUCKET}" in findings["store"].message
