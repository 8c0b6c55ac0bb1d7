"""Who gets which stream: documents, words, bars."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.cli.synthesize import SynthesizeDocument
from tests.cli.conftest import Demo, Files
from tests.cli.run_command import PROGRAM, preptime, run_process
from tests.requirements import requires


def test_without_json_words_are_on_standard_output_and_steps_on_standard_error(tmp_path: Path) -> None:
    ran = run_process("synthesize", "--out", str(tmp_path), "--orders", "300").succeeded()
    assert ran.out.startswith("300 orders of ")
    assert ran.err == "Drawing orders\nWriting files\n"


def test_with_json_standard_output_is_one_document(tmp_path: Path) -> None:
    ran = run_process("synthesize", "--out", str(tmp_path), "--orders", "300", "--json").succeeded()
    assert ran.document(SynthesizeDocument).order_rows == 300
    assert ran.err.startswith("Drawing orders\nWriting files\n300 orders of ")


def test_a_colourful_log_is_still_lines(tmp_path: Path) -> None:
    """Some schedulers set FORCE_COLOR; a bar would fill their log."""
    ran = run_process("synthesize", "--out", str(tmp_path), "--orders", "300", FORCE_COLOR="1", TERM="xterm").succeeded()
    assert ran.err == "Drawing orders\nWriting files\n"


def test_on_a_terminal_a_step_is_a_bar_that_fits(tmp_path: Path) -> None:
    requires(sys.platform != "win32", "Windows has no pseudo-terminal that Python can open")
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "synthesize", "--out", str(tmp_path), "--orders", "300", "--json"]
    ended = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        check=True,
    )
    os.close(theirs)
    seen = b""
    while chunk := _read(ours):
        seen += chunk
    os.close(ours)
    assert msgspec.json.decode(ended.stdout, type=SynthesizeDocument).order_rows == 300
    shown = seen.decode().replace("\r\n", " ")
    assert "Drawing orders" in shown
    assert "━" * 40 in shown  # a bar, whole on 80 columns
    assert shown.rpartition("━")[2].count("300 orders of ") == 1  # the words come after the bars have gone


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_a_pipe_that_cannot_say_a_sign_gets_another(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    orders.head(5).with_columns(number_of_items=pl.lit("3²")).write_csv(tmp_path / "orders.csv")
    options = ("--orders", str(tmp_path / "orders.csv"), "--restaurants", str(files.restaurants))
    ran = run_process("check", *options, PYTHONUTF8="0", PYTHONIOENCODING="ascii").succeeded()
    assert "number_of_items is '3?', expected" in ran.out


def test_tables_are_drawn_with_what_the_pipe_can_say(demo: Demo) -> None:
    place = ("--store", str(demo.folder / "models"))
    ran = run_process("bundles", "list", *place, PYTHONUTF8="0", PYTHONIOENCODING="ascii").succeeded()
    assert "| training |" in ran.out


def test_nothing_in_a_name_is_read_as_markup(tmp_path: Path) -> None:
    store = tmp_path / "[bold]:pizza:[/nothing]"
    ran = preptime("bundles", "list", "--store", store).succeeded()
    assert f"{store} holds 0 bundles. It has no champion yet." in ran.out


def test_a_pipe_gets_lines_whole(files: Files, tmp_path: Path) -> None:
    rejects = tmp_path / ("deep" * 20) / ("deeper" * 20) / "rejects.csv"
    assert f"are in {rejects}.\n" in preptime("check", *files.options, "--rejects", rejects).succeeded().out


@pytest.mark.parametrize("columns", [80, 120])
def test_the_tables_fit_the_terminal(columns: int, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preptime.cli.output.PIPE_WIDTH", columns)
    listed = preptime("bundles", "list", "--store", two).succeeded().out
    table = [line for line in listed.splitlines() if line.startswith(("│", "|"))]
    assert len(table) == 2
    assert all(len(line) <= columns and "…" not in line for line in table)
