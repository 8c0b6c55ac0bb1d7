"""`preptime spark score` on a standalone cluster, with a killed executor, and with a killed driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.score_file import score_file
from preptime.synthetic import synthesize_frames
from tests.cli.run_command import PROGRAM
from tests.requirements import requires
from tests.scoring.factories import PLAN
from tests.spark.cluster import WAIT_SECONDS, Cluster, children_of, wait_for
from tests.spark.comparison import assert_same_cells, numbered, spark_score, write_parts, written

Start: TypeAlias = "Callable[..., subprocess.Popen[str]]"
"""Starts the command with an output, a master, and settings."""


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of eight files, so that the cluster has eight tasks."""
    return write_parts(tmp_path_factory.mktemp("orders") / "orders", numbered(synthesize_frames(PLAN)[0]), parts=8)


@pytest.fixture
def start(orders: Path, store: Store, bundle: Bundle, spark_environment: dict[str, str]) -> Iterator[Start]:
    """Return a function that starts `preptime spark score` in a new process group. Each file is a task."""
    processes: list[subprocess.Popen[str]] = []

    def start_command(out: Path, master: str, *settings: str) -> subprocess.Popen[str]:
        options = [f"--conf={setting}" for setting in (*settings, "spark.sql.files.openCostInBytes=128m")]
        arguments = ["--orders", str(orders), "--out", str(out), "--store", store.url, "--master", master, *options]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "spark", "score", *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start_command
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=WAIT_SECONDS)


def finished(process: subprocess.Popen[str]) -> ScoreDocument:
    """Return the document of a command that succeeds."""
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, err
    return msgspec.json.decode(out, type=ScoreDocument)


def test_killed_executor_changes_no_row(
    cluster: Cluster, start: Start, orders: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """The first executor is killed as soon as it has a Python worker, so before its first task ends."""
    requires(Path("/proc/self/stat").is_file(), "finding an executor needs the /proc of Linux")
    expected = tmp_path / "expected.parquet"
    score_file(str(orders), expected, bundle)
    process = start(tmp_path / "out", cluster.master, "spark.executor.memory=512m")

    killed = wait_for(lambda: next((number for number in cluster.executors() if children_of(number)), None))
    os.kill(killed, signal.SIGKILL)
    document = finished(process)
    assert len(cluster.executor_folders()) > len(cluster.workers)
    assert document.rows == PLAN.orders
    assert_same_cells(written(document.out), pl.read_parquet(expected))
    assert not [*Path(document.out).glob("_temporary")]
    wait_for(lambda: not cluster.executors())


def test_killed_driver_leaves_the_previous_output(
    spark: Any, start: Start, orders: Path, store: Store, tmp_path: Path
) -> None:
    """The driver is killed while it writes. The next run succeeds."""
    requires(os.name != "nt", "killing a process group needs Unix")
    out = tmp_path / "out"
    before = spark_score(orders, out, store).succeeded().document(ScoreDocument)
    process = start(out, "local[1]")
    wait_for(lambda: len([*out.glob("run-*/_temporary")]))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=WAIT_SECONDS)
    assert msgspec.json.decode((out / "score.json").read_bytes(), type=ScoreDocument) == before
    assert len(written(before.out)) == PLAN.orders
    assert len([*out.glob("run-*")]) == 2
    after = spark_score(orders, out, store).succeeded().document(ScoreDocument)
    assert msgspec.structs.replace(after, out=before.out) == before
    assert not Path(before.out).exists()
