"""`doctor`: a healthy environment, and one error after another, each with a hint."""

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
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.cli.doctor import DoctorDocument
from preptime.doctor import checks
from preptime.doctor.checks import CheckResult
from preptime.domain.data_dictionary import DATA_DICTIONARY, TARGET
from preptime.keys import new_key
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.settings import iter_settings
from tests.bundle.factories import DAY, graph_files, some_draft, some_history, some_model, some_orders
from tests.bundle.fake_gcs import BUCKET, FakeGcs, closing_clients, run_fake_gcs
from tests.cli.run_command import preptime, run_process

LIBRARIES = {name: version(name) for name in ("numpy", "onnxruntime")}
CHECKS = ["python", "settings", "keys", "port", "store", "champion", "history", "libraries", "clock", "time zones"]
PROMOTED_AT = dt.datetime(2015, 6, 17, 5, tzinfo=dt.UTC)


class Environment(NamedTuple):
    """A working directory with a store."""

    folder: Path
    store: Store
    bundle: str


def promote_bundle(store: Store, at: dt.datetime = PROMOTED_AT, libraries: dict[str, str] = LIBRARIES) -> str:
    """Write a bundle made with these libraries, and promote it at this time. Return its ID."""
    manifest = write_bundle(
        store,
        msgspec.structs.replace(some_draft(), libraries=libraries),
        graphs=graph_files(some_model()),
        history=some_history(),
        golden_orders=choose_golden_orders(some_orders()),
    )
    log = ChampionLog(store)
    log.append(
        LogEntryDraft(bundle=manifest.id, date=DAY, action="promote", reason="test", by="test", at=at.isoformat()),
        log.current(),
    )
    return manifest.id


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Set up a healthy environment: a working directory with a store, a key, and a free port."""
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
        sources = TAKE_HOME_SCHEMA.orders if name == "orders" else {}
        header = [sources[column.name].column if column.name in sources else column.name for column in columns]
        (tmp_path / f"{name}.csv").write_text(",".join(header) + "\n", encoding="utf-8")
        monkeypatch.setenv(f"PREPTIME_{name.upper()}", str(tmp_path / f"{name}.csv"))
    store = Store.open(str(tmp_path / "models"))
    return Environment(tmp_path, store, promote_bundle(store))


def run_doctor(*options: str | Path, status: int = 0) -> dict[str, CheckResult]:
    """Run `doctor`, check its exit status, and return the results by check."""
    result = preptime("doctor", "--json", "--date", str(DAY), *options)
    assert result.status == status, result.out + result.err
    document = result.document(DoctorDocument)
    assert document.healthy == (status == 0)
    assert len({check_result.name for check_result in document.checks}) == len(document.checks)
    return {check_result.name: check_result for check_result in document.checks}


def only_error(check: str, *options: str | Path) -> str:
    """Return the message and the hint of the only error."""
    results = run_doctor(*options, status=3)
    errors = [name for name, check_result in results.items() if check_result.state == "error"]
    assert errors == [check], results
    assert results[check].hint
    return f"{results[check].message} {results[check].hint}"


def only_warning(check: str, *options: str | Path) -> str:
    """Return the message and the hint of the only warning."""
    results = run_doctor(*options)
    assert [name for name, check_result in results.items() if check_result.state == "warning"] == [check], results
    return f"{results[check].message} {results[check].hint}"


def test_doctor_healthy_environment_is_ok(environment: Environment) -> None:
    results = run_doctor()
    assert {check_result.state for check_result in results.values()} == {"ok"}
    assert list(results)[: len(CHECKS)] == CHECKS
    assert environment.bundle in results["champion"].message
    assert "dispatch" in results["keys"].message


def test_doctor_role_jobs_checks_sources(environment: Environment) -> None:
    results = run_doctor("--role", "jobs")
    assert not {"keys", "port"} & set(results)
    assert {"orders", "restaurants", "disk: results"} <= set(results)
    assert {check_result.state for check_result in results.values()} == {"ok"}


@pytest.mark.parametrize("name", ["orders", "restaurants"])
def test_doctor_missing_source_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PREPTIME_{name.upper()}", "missing.csv")
    text = only_error(name, "--role", "jobs")
    assert "missing.csv" in text
    assert f"The location is set by PREPTIME_{name.upper()}." in text
    monkeypatch.delenv(f"PREPTIME_{name.upper()}")
    assert f"--{name}" in only_warning(name, "--role", "jobs")
    assert name not in run_doctor()


@pytest.mark.parametrize(("name", "lost"), [("orders", "restaurant_id"), ("restaurants", "city")])
def test_doctor_missing_column_is_error(environment: Environment, name: str, lost: str) -> None:
    path = environment.folder / f"{name}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(lost, "other"), encoding="utf-8")
    assert f"The column {lost} is missing" in only_error(name, "--role", "jobs")


def test_doctor_same_source_twice_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_RESTAURANTS", os.environ["PREPTIME_ORDERS"])
    assert "?table=restaurants" in only_error("restaurants", "--role", "jobs")


def test_doctor_orders_without_label_is_error(environment: Environment) -> None:
    path = environment.folder / "orders.csv"
    header = path.read_text(encoding="utf-8").replace(TARGET, "a").replace("order_ready_at", "b")
    path.write_text(header, encoding="utf-8")
    assert f"neither order_ready_at nor {TARGET}" in only_error("orders", "--role", "jobs")


def test_doctor_missing_library_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the serving image, which has no Polars."""

    def raise_missing_module(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'polars'", name="polars")

    monkeypatch.setattr("preptime.sources.registry.open_source", raise_missing_module)
    results = run_doctor("--role", "jobs", status=3)
    assert "polars" in results["orders"].message
    assert "extra" in results["orders"].hint


def test_doctor_changes_no_file(environment: Environment) -> None:
    def modification_times() -> dict[Path, float]:
        return {path: path.stat().st_mtime for path in environment.folder.rglob("*")}

    before = modification_times()
    run_doctor()
    run_doctor("--role", "jobs")
    assert modification_times() == before


def test_doctor_prints_table_and_summary(environment: Environment) -> None:
    result = run_process("doctor", "--date", "2015-06-17", "--store", environment.store.url).succeeded()
    assert "All checks passed." in result.out
    assert all(check in result.out for check in CHECKS)
    assert "Traceback" not in result.err


def test_doctor_unknown_setting_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later checks are skipped, because they would use wrong settings."""
    monkeypatch.setenv("PREPTIME_STOER", "models")
    assert "PREPTIME_STORE" in only_error("settings")
    assert run_doctor(status=3)["store"].state == "skipped"


def test_doctor_reads_env_file_option(environment: Environment) -> None:
    file = environment.folder / "other.env"
    file.write_text("PREPTIME_STORE=nowhere\n", encoding="utf-8")
    assert "nowhere" in run_doctor("--env-file", file, status=3)["store"].message


def test_doctor_missing_store_folder_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """`preptime serve` refuses to start. The jobs create the folder."""
    monkeypatch.setenv("PREPTIME_STORE", "nowhere")
    assert only_error("store").startswith("The store nowhere doesn't exist.")
    assert "preptime train --store nowhere" in only_error("store")
    assert run_doctor("--role", "jobs")["store"].state == "ok"


@pytest.mark.parametrize(
    ("name", "value", "expected_text"),
    [
        ("PREPTIME_API_KEYS", "", "No key is configured"),  # a missing secret
        ("PREPTIME_API_KEYS", "dispatch:0123", "64 hexadecimal digits"),  # a wrong hash
        ("PREPTIME_OPERATOR_KEYS", "ops", "PREPTIME_OPERATOR_KEYS"),
    ],
)
def test_doctor_invalid_keys_is_error(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected_text: str
) -> None:
    monkeypatch.setenv(name, value)
    text = only_error("keys")
    assert expected_text in text
    assert "preptime keys new" in text


def test_doctor_aikey_outside_loopback_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKEY", "demo")
    assert "aikey" in run_doctor()["keys"].message
    monkeypatch.setenv("PREPTIME_HOST", str(ipaddress.IPv4Address(0)))  # every address of this machine
    assert "AIKEY" in only_error("keys")


def test_doctor_shared_or_example_key_is_warning(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_OPERATOR_KEYS", os.environ["PREPTIME_API_KEYS"])
    assert "One key is for both" in only_warning("keys")
    monkeypatch.delenv("PREPTIME_OPERATOR_KEYS")
    monkeypatch.setenv("AIKEY", "change-me")
    assert "examples" in only_warning("keys")


def test_doctor_port_in_use_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("PREPTIME_PORT", str(other.getsockname()[1]))
        assert str(other.getsockname()[1]) in only_error("port")


def test_doctor_health_port_in_use_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PREPTIME_HEALTH_PORT", str(other.getsockname()[1]))
        other.listen()
        assert "another PREPTIME_HEALTH_PORT" in only_error("port")
    assert os.environ["PREPTIME_HEALTH_PORT"] in run_doctor()["port"].message
    monkeypatch.setenv("PREPTIME_HEALTH_PORT", os.environ["PREPTIME_PORT"])
    assert "Set another port" in only_error("port")


def test_doctor_store_without_champion(environment: Environment, tmp_path: Path) -> None:
    """The API needs a champion. The jobs create the first one."""
    empty = tmp_path / "empty"
    assert "preptime train" in only_warning("champion", "--role", "jobs", "--store", empty)
    assert not empty.exists()
    empty.mkdir()
    assert "preptime train" in only_error("champion", "--store", empty)
    assert list(empty.iterdir()) == []


def test_doctor_unreachable_store_is_error(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    results = run_doctor("--store", tmp_path / "file", status=3)
    assert results["store"].state == "error"
    assert run_doctor("--store", "nowhere://x", status=3)["champion"].state == "skipped"


def test_doctor_read_only_store_is_error_for_jobs(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has no log" not in run_doctor()["store"].message
    writable = os.access

    def read_only(path: Path, mode: int) -> bool:
        """Behave as a read-only disk, where root can't write either."""
        return (mode == os.F_OK or "models" not in str(path)) and writable(path, mode)

    monkeypatch.setattr(os, "access", read_only)
    assert run_doctor()["store"].state == "ok"
    results = run_doctor("--role", "jobs", status=3)
    assert results["store"].state == results["disk: the store"].state == "error"


def test_doctor_file_url_is_a_local_store(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPTIME_STORE", (environment.folder / "models").as_uri())
    assert run_doctor()["store"].state == "ok"
    assert run_doctor("--role", "jobs")["disk: the store"].state == "ok"


@pytest.mark.parametrize("role", ["serve", "jobs"])
def test_doctor_file_url_without_an_absolute_path_is_error(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setenv("PREPTIME_STORE", "file://models")
    assert "file://models names no absolute folder." in only_error("store", "--role", role)


def test_doctor_damaged_champion_is_error(environment: Environment) -> None:
    model = environment.store.fetch(environment.bundle) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    text = only_error("champion")
    assert "SHA-256" in text
    assert "preptime bundles rollback" in text


def test_doctor_newer_bundle_format_is_error(environment: Environment) -> None:
    path = environment.store.fetch(environment.bundle) / MANIFEST_FILE
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 3'))
    text = only_error("champion")
    assert f"expected format {manifests.BUNDLE_FORMAT}, found format 3" in text
    assert "run `preptime train` with an empty store" in text


def test_doctor_unreadable_champion_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a file of root that another user reads."""
    read = Path.read_bytes

    def deny_model(path: Path) -> bytes:
        if path.name == "model.onnx":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", deny_model)
    assert "model.onnx: Permission denied" in only_error("champion")


def test_doctor_missing_champion_is_error(environment: Environment) -> None:
    shutil.rmtree(environment.store.fetch(environment.bundle))
    assert environment.bundle in only_error("champion")


@pytest.mark.parametrize(("days", "state"), [(0, "ok"), (1, "ok"), (2, "warning"), (-1, "ok"), (-2, "error")])
def test_doctor_history_age(environment: Environment, days: int, state: str) -> None:
    today = DAY + dt.timedelta(days=days)
    history = run_doctor("--date", str(today), status=3 if state == "error" else 0)["history"]
    assert history.state == state
    assert str(DAY) in history.message


def test_doctor_default_date_is_today(environment: Environment) -> None:
    results = preptime("doctor", "--json").document(DoctorDocument).checks
    (history,) = [check_result for check_result in results if check_result.name == "history"]
    assert history.state == "warning"
    assert "days old" in history.message


def test_doctor_different_libraries_is_warning(environment: Environment, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "other"))
    promote_bundle(store, libraries=LIBRARIES | {"onnxruntime": "1.0", "catboost": "0.1"})
    text = only_warning("libraries", "--store", store.url)
    assert f"onnxruntime {LIBRARIES['onnxruntime']} (bundle: 1.0)" in text
    assert "catboost" not in text


def test_doctor_clock_behind_promotion_is_error(environment: Environment, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "other"))
    promote_bundle(store, at=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=61))
    text = only_error("clock", "--store", store.url)
    assert "minutes behind: the promotion of the champion" in text
    assert "NTP" in text


def test_doctor_clock_behind_file_time_is_error(environment: Environment) -> None:
    ahead = time.time() + 3600
    os.utime(environment.folder / "models" / "champion" / "000001.json", (ahead, ahead))
    assert "the write of the champion's log entry" in only_error("clock")


def test_doctor_clock_jump_is_error(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    began, clock = time.monotonic(), time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3600 * (time.monotonic() - began))
    assert "jumped" in only_error("clock")


def test_doctor_full_or_read_only_disk(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment.folder / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("PREPTIME_PREDICTION_LOG_FOLDER", "file/predictions")
    assert "isn't writable" in only_error("disk: the prediction log")
    monkeypatch.setenv("PREPTIME_PREDICTION_LOG", "off")
    monkeypatch.setattr(checks, "LOW_DISK_SPACE_BYTES", 1 << 60)
    assert "GiB free" in only_warning("disk: temporary files")
    monkeypatch.setattr(checks, "CRITICAL_DISK_SPACE_BYTES", 1 << 60)
    assert "Free some space" in only_error("disk: temporary files")


def test_doctor_missing_time_zone_data_is_error() -> None:
    check_result = checks.check_time_zones(["Europe/London", "Europe/Nowhere"])
    assert check_result.state == "error"
    assert "Europe/Nowhere" in check_result.message
    assert "tzdata" in check_result.hint


@pytest.fixture
def bucket(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    """Set a bucket with a champion as the store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(environment.folder / "cache"))
    monkeypatch.setenv("PREPTIME_STORE", f"gs://{BUCKET}")
    with closing_clients(monkeypatch), run_fake_gcs(monkeypatch) as fake:
        promote_bundle(Store.open(f"gs://{BUCKET}"))
        yield fake


def test_doctor_bucket_permissions_depend_on_role(bucket: FakeGcs) -> None:
    assert "safer" in only_warning("store")
    assert run_doctor("--role", "jobs")["store"].state == "ok"
    bucket.read_only = True
    assert run_doctor()["store"].state == "ok"
    assert "create objects" in only_error("store", "--role", "jobs")
    assert bucket.rejected_writes == []


def test_doctor_compares_clock_with_bucket(bucket: FakeGcs) -> None:
    bucket.read_only = True
    assert "the clock of the storage" in run_doctor()["clock"].message
    bucket.clock_offset_seconds = -3600
    text = only_error("clock")
    assert "60 minutes ahead of the clock of the storage" in text


def test_doctor_unreachable_bucket_is_error(bucket: FakeGcs) -> None:
    bucket.is_unreachable = True
    results = run_doctor(status=3)
    assert results["store"].state == results["champion"].state == "error"
    assert results["clock"].state == results["history"].state == "skipped"
    assert f"gs://{BUCKET}" in results["store"].message
