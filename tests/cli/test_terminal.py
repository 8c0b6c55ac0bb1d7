"""No control character from data, file names, or the store reaches a terminal, and every message has one format."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table

from preptime.bundle.store import Store
from preptime.cli.app import main
from preptime.cli.output import Output, print_message, text_lines
from preptime.formatting import escape_controls
from preptime.sources.file_format import scan_csv
from tests.cli.conftest import DATE, Files
from tests.cli.run_command import CommandResult, error_document, preptime, run_process
from tests.requirements import requires

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202etxt\u2028\rb"
"""Sets a title, clears the screen, colors text, and reverses its direction."""
HOSTILE_PATH = "a\x9b31m\u202etxt\u2028b"
"""An address with a C0 control character isn't shown at all, because it can contain a secret."""
NEW_LINE = "x\nThe champion is fake."
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _assert_safe(result: CommandResult) -> CommandResult:
    assert not UNSAFE.search(result.out), ascii(result.out)
    assert not UNSAFE.search(result.err), ascii(result.err)
    assert "fake." not in {line.strip() for line in (result.out + result.err).splitlines()}
    assert "Traceback" not in result.err
    return result


def _has_hostile_file_names() -> None:
    requires(sys.platform != "win32", "Windows has no file names with control characters")


@settings(deadline=None)
@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_escape_controls_leaves_no_control_character(text: str) -> None:
    escaped = escape_controls(text)
    assert not UNSAFE.search(escaped)
    assert "\n" not in escaped
    assert escape_controls(escaped) == escaped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b", r"\x9b"),
        ("a\nb", r"a\x0ab"),
        ("\u202e", r"\u202e"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("größe 🍕 東京", "größe 🍕 東京"),
    ],
)
def test_escape_controls_shows_the_code(text: str, expected: str) -> None:
    assert escape_controls(text) == expected


def test_output_escapes_text_tables_and_progress() -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), Output(json=False) as output:
        output.progress(HOSTILE, 0.5)
        table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
        table.add_row(HOSTILE + NEW_LINE)
        table.add_row(text_lines([HOSTILE, NEW_LINE]))
        output.finish({}, HOSTILE, NEW_LINE, table)
        print_message(HOSTILE, NEW_LINE)
    _assert_safe(CommandResult(0, out.getvalue(), err.getvalue()))
    assert out.getvalue().count(r"\x1b]0;title\x07") >= 5
    assert r"x\x0aThe champion is fake." in out.getvalue()


def test_json_document_keeps_the_value_and_replaces_bytes() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), Output(json=True) as output:
        output.finish({"name": HOSTILE})
        output.finish({"caf\udce9": ["caf\udce9", 1]})
    out.seek(0)
    documents = [msgspec.json.decode(line) for line in out]
    assert documents == [{"name": HOSTILE}, {"caf\\xe9": ["caf\\xe9", 1]}]


def test_reasons_of_promotions_are_escaped(store: Path) -> None:
    """A log entry can be written by a program that accepts control characters."""
    (entry,) = (store / "champion").glob("*.json")
    content = msgspec.json.decode(entry.read_bytes())
    entry.write_bytes(msgspec.json.encode(content | {"reason": HOSTILE + NEW_LINE, "by": HOSTILE}))
    result = _assert_safe(preptime("bundles", "list", "--store", store).succeeded())
    assert r"\x1b[2J" in result.out
    assert r"\x0aThe champion is fake." in result.out


def test_names_of_files_columns_and_cells_are_escaped(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    _has_hostile_file_names()
    folder = tmp_path / HOSTILE_PATH
    folder.mkdir()
    path = folder / f"{HOSTILE}{NEW_LINE}.csv"
    options = ("--orders", folder, "--restaurants", files.restaurants)
    orders.with_columns(pl.lit(HOSTILE).alias("order_value_gbp"), pl.lit(HOSTILE).alias("city")).write_csv(path)
    assert r"x\x0aThe champion" in _assert_safe(preptime("check", *options)).out
    orders.rename({"order_value_gbp": HOSTILE}).write_csv(path)
    assert r"\x1b[2J" in _assert_safe(preptime("check", *options)).err
    path.write_bytes(f'"{HOSTILE}","{HOSTILE}"\n1,2\n'.encode())
    assert "more than once" in _assert_safe(preptime("check", *options)).err
    assert "There is no file" in _assert_safe(preptime("check", "--orders", folder / "x.csv", *options[2:])).err
    for name in ("country", "time_zone"):
        restaurants = pl.read_csv(files.restaurants, infer_schema=False).with_columns(pl.lit(HOSTILE).alias(name))
        restaurants.write_csv(tmp_path / "r.csv")
        result = _assert_safe(preptime("check", "--orders", files.orders, "--restaurants", tmp_path / "r.csv"))
        assert result.status == 1


def test_paths_and_arguments_are_escaped(files: Files, store: Path, tmp_path: Path) -> None:
    _has_hostile_file_names()
    hostile_store = tmp_path / HOSTILE_PATH
    assert "doesn't exist" in _assert_safe(preptime("bundles", "list", "--store", hostile_store)).err
    _assert_safe(preptime("doctor", "--store", hostile_store))
    store.rename(hostile_store)
    _assert_safe(preptime("bundles", "list", "--store", hostile_store).succeeded())
    out = tmp_path / f"{HOSTILE_PATH}.csv"
    result = _assert_safe(preptime("score", files.orders, "--out", out, "--store", hostile_store).succeeded())
    assert r"a\x9b31m\u202etxt\u2028b.csv" in result.out
    assert out.is_file()
    for arguments in ([HOSTILE], ["bundles", HOSTILE], ["check", f"--{HOSTILE}"], ["keys", "new", HOSTILE]):
        assert _assert_safe(preptime(*arguments)).status in {0, 1, 2}


def test_unexpected_error_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> Store:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(Store, "open", fail)
    result = preptime("bundles", "list")
    assert result.status == 3
    assert not UNSAFE.search(result.err)


def test_panic_of_a_library_is_reported_like_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(_: str) -> Store:
        raise pl.exceptions.PanicException("not yet implemented")

    monkeypatch.setattr(Store, "open", panic)
    result = preptime("bundles", "list", "--json")
    assert result.status == 3
    assert "not yet implemented" in result.document(dict)["facts"]
    assert "Error: Unexpected error: " in result.err


def test_warnings_and_logs_of_libraries_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(_: str) -> Store:
        warnings.warn(f"deprecated\n{HOSTILE}", UserWarning, stacklevel=1)
        logging.getLogger("library").error("failed\nbadly %s", HOSTILE)
        raise OSError(28, "No space left on device", "models")

    monkeypatch.setattr(Store, "open", warn)
    err = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(err):
        warnings.simplefilter("always")
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        assert main(["bundles", "list"]) == 3
    assert not UNSAFE.search(err.getvalue())
    starts = [line[:20] for line in err.getvalue().splitlines()]
    assert starts == ["Warning: deprecated ", "Error: failed badly ", "Error: models: No sp"]


def test_name_that_is_not_utf8_is_scored_and_printed(orders: pl.DataFrame, store: Path, tmp_path: Path) -> None:
    requires(sys.platform == "linux", "this system has no file names that aren't UTF-8")
    name = os.fsdecode(b"caf\xe9")
    source = tmp_path / f"{name}.csv"
    source.write_bytes(orders.drop("order_ready_at", "prep_time_seconds", strict=False).write_csv().encode())
    for file_format in ("csv", "parquet"):
        out = tmp_path / f"{name}-out.{file_format}"
        result = run_process("score", os.fspath(source), "--out", os.fspath(out), "--store", str(store), "--json")
        document = msgspec.json.decode(result.succeeded().out)
        assert document["source"] == f"{tmp_path}/caf\\xe9.csv"
        assert document["out"] == f"{tmp_path}/caf\\xe9-out.{file_format}"
        assert out.is_file()
    failed = run_process("score", os.fspath(source) + "x", "--out", "o.csv", "--store", str(store), "--json")
    assert "caf\\xe9.csvx" in msgspec.json.decode(failed.out)["facts"]
    assert failed.status == 1


@pytest.mark.parametrize("command", ["check", "train", "score", "refresh"])
def test_command_refuses_a_file_that_changes(
    command: str, files: Files, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(files.orders.read_bytes())
    scan = scan_csv

    def scan_then_truncate(*arguments: object, **options: object) -> pl.LazyFrame:
        rows = scan(*arguments, **options).collect().lazy()  # type: ignore[arg-type]
        if len(rows.collect()) > 1_000:
            os.truncate(path, 1_000)
        return rows

    monkeypatch.setattr("preptime.sources.files.scan_csv", scan_then_truncate)
    options = ("--orders", path, "--restaurants", files.restaurants)
    bundles = Store.open(str(store)).bundle_ids()
    out = tmp_path / "out" / "scored.csv"
    arguments = {
        "check": ("check", *options),
        "train": ("train", *options, "--date", DATE, "--store", store),
        "refresh": ("refresh", *options, "--date", DATE, "--store", store),
        "score": ("score", path, "--out", out, "--store", store),
    }[command]
    document = error_document(preptime(*arguments, "--json"), 3, "OperationError")
    assert f"The file {path} changed while it was read: it had " in document.facts
    assert document.facts.endswith(" bytes and now has 1,000 bytes.")
    assert Store.open(str(store)).bundle_ids() == bundles
    assert not out.exists()
