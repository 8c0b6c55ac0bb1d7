"""Streams: documents, text, and progress bars."""

from __future__ import annotations

import datetime as dt
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest
from rich.console import Console

from preptime.cli.output import comparison_table, evaluation_text, interval_summary, score_table, waiting_cost_table
from preptime.cli.synthesize import SynthesizeDocument
from preptime.domain.time_units import TIME_UNITS
from preptime.evaluation.evaluated_orders import build_backtest_document, waiting_costs
from preptime.evaluation.summary_text import shown_arrivals
from preptime.training.comparison import compare_evaluations
from tests.cli.conftest import Demo, Files
from tests.cli.run_command import PROGRAM, preptime, run_process
from tests.evaluation.factories import evaluated_orders
from tests.requirements import requires


def test_text_is_on_stdout_and_progress_on_stderr(tmp_path: Path) -> None:
    result = run_process("synthesize", "--out", str(tmp_path), "--orders", "300").succeeded()
    assert result.out.startswith("300 orders of ")
    assert result.err == "Drawing orders\nWriting files\n"


def test_json_stdout_is_one_document(tmp_path: Path) -> None:
    result = run_process("synthesize", "--out", str(tmp_path), "--orders", "300", "--json").succeeded()
    assert result.document(SynthesizeDocument).order_rows == 300
    assert result.err.startswith("Drawing orders\nWriting files\n300 orders of ")


def test_force_color_prints_no_progress_bar(tmp_path: Path) -> None:
    """Some schedulers set FORCE_COLOR. A progress bar would fill their log."""
    result = run_process(
        "synthesize", "--out", str(tmp_path), "--orders", "300", FORCE_COLOR="1", TERM="xterm"
    ).succeeded()
    assert result.err == "Drawing orders\nWriting files\n"


def test_terminal_shows_progress_bar(tmp_path: Path) -> None:
    requires(sys.platform != "win32", "Windows has no pseudo-terminal that Python can open")
    import pty

    our_end, their_end = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "synthesize", "--out", str(tmp_path), "--orders", "300", "--json"]
    ended = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=their_end,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        check=True,
    )
    os.close(their_end)
    output = b""
    while chunk := _read_terminal(our_end):
        output += chunk
    os.close(our_end)
    assert msgspec.json.decode(ended.stdout, type=SynthesizeDocument).order_rows == 300
    text = output.decode().replace("\r\n", " ")
    assert "Drawing orders" in text
    assert "━" * 40 in text  # a bar that fits in 80 columns
    assert text.rpartition("━")[2].count("300 orders of ") == 1  # the text comes after the bars are removed


def _read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux reports a closed terminal as an error
        return b""


def test_unencodable_character_becomes_question_mark(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    items = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("3²")).otherwise(pl.col("number_of_items"))
    orders.head(5).with_columns(number_of_items=items).write_csv(tmp_path / "orders.csv")
    options = ("--orders", str(tmp_path / "orders.csv"), "--restaurants", str(files.restaurants))
    result = run_process("check", *options, PYTHONUTF8="0", PYTHONIOENCODING="ascii").succeeded()
    assert "number_of_items is '3?', expected" in result.out


def test_ascii_pipe_gets_ascii_table(demo_run: Demo) -> None:
    store_option = ("--store", str(demo_run.folder / "models"))
    result = run_process("bundles", "list", *store_option, PYTHONUTF8="0", PYTHONIOENCODING="ascii").succeeded()
    assert "| training |" in result.out


def test_names_are_not_read_as_markup(tmp_path: Path) -> None:
    store = tmp_path / "[bold]:pizza:[/nothing]"
    store.mkdir(parents=True)
    result = preptime("bundles", "list", "--store", store).succeeded()
    assert f"{store}: 0 bundles. There is no champion yet." in result.out


def test_pipe_gets_unwrapped_lines(files: Files, tmp_path: Path) -> None:
    rejects = tmp_path / ("deep" * 20) / ("deeper" * 20) / "rejects.csv"
    assert f" to {rejects}.\n" in preptime("check", *files.options, "--rejects", rejects).succeeded().out


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(columns: int, two_bundle_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preptime.cli.output.PIPE_WIDTH", columns)
    listed = preptime("bundles", "list", "--store", two_bundle_store).succeeded().out
    table = [line for line in listed.splitlines() if line.startswith(("│", "|"))]
    assert len(table) == 2
    assert all(len(line) <= columns and "…" not in line for line in table)


def test_weak_models_are_marked() -> None:
    orders = evaluated_orders(500)
    weak = replace(orders, point_predictions={**orders.point_predictions, "rf": orders.actual + 3_600})
    texts = []
    for evaluated in (weak, orders):
        text = io.StringIO()
        Console(file=text, width=100).print(
            *evaluation_text(build_backtest_document(evaluated, "2015-06-17", "2015-06-23"))
        )
        texts.append(text.getvalue())
    assert "│ rf (weak) " in texts[0]
    assert "Don't use these point models, which are not better than the global median: rf." in texts[0]
    assert "weak" not in texts[1]
    assert "global median" not in texts[1]


def test_waiting_cost_table_fits_80_columns_in_every_unit() -> None:
    document = build_backtest_document(evaluated_orders(500), "2015-06-17", "2015-06-23")
    for unit, digits in (("s", 0), ("min", 0), ("h", 1)):
        text = io.StringIO()
        Console(file=text, width=80).print(waiting_cost_table(document, TIME_UNITS[unit]))
        assert text.getvalue().startswith(f"Waiting cost per 1,000 orders, in {TIME_UNITS[unit].name} ")
        assert all(f"courier:food {ratio}" in text.getvalue() for ratio in ("1:1", "2:1", "1:2"))
        assert "…" not in text.getvalue()
        for name, title in shown_arrivals(document.waiting_costs).items():
            (line,) = [line for line in text.getvalue().splitlines() if title in line]
            expected = [getattr(cost, name) / TIME_UNITS[unit].seconds for cost in document.waiting_costs]
            assert line.replace("│", " ").split()[-3:] == [f"{value:,.{digits}f}" for value in expected]


def test_score_table_has_the_live_model_above_the_baselines() -> None:
    orders = evaluated_orders(500)
    orders = replace(orders, live_quantiles=orders.quantiles + 60)
    text = io.StringIO()
    Console(file=text, width=100).print(score_table(build_backtest_document(orders, "2015-06-17", "2015-06-23")))
    names = [line.split("│")[1].strip() for line in text.getvalue().splitlines() if line.startswith("│")]
    assert "live model" in names[: names.index("restaurant_lookup")]


def test_comparison_table_shows_waiting_costs() -> None:
    orders, day = evaluated_orders(500), dt.date(2015, 6, 17)
    comparison = compare_evaluations(orders, None, bundle_ids=("challenger", None), days=(day, day))
    text = io.StringIO()
    Console(file=text, width=240).print(comparison_table(comparison, TIME_UNITS["h"]))
    (line,) = [line for line in text.getvalue().splitlines() if "Waiting cost" in line]
    cost = waiting_costs(orders)[1]
    assert f"2:1: {(cost.predicted_quantile or 0) / 3600:.2f} h" in line
    assert f"(lookup's quantile: {(cost.lookup_quantile or 0) / 3600:.2f} h)" in line
    assert len(text.getvalue().splitlines()) == len(comparison.checks) + 6


def test_metrics_use_the_unit_of_the_target() -> None:
    document = build_backtest_document(evaluated_orders(500), "2015-06-17", "2015-06-23")
    text = io.StringIO()
    Console(file=text, width=100).print(score_table(document, TIME_UNITS["h"]))
    assert "errors in hours" in text.getvalue()
    assert "in 0.083 h" in text.getvalue()
    for score in document.scores:
        assert score.mae is None or score.labels != "up_to_3h" or f"{score.mae / 3600:.4f}" in text.getvalue()
    width = document.interval.median_width_seconds
    assert width is not None
    assert interval_summary(document, TIME_UNITS["h"]).endswith(f"Its median width is {width / 3600:.2f} hours.")
