"""Output: the document is written last, and names a folder that never changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from preptime.errors import OperationError, UsageError
from preptime.spark.addresses import parse_address
from preptime.spark.output import OutputFolder, StagedRun, open_output, read_bytes, staged_run


class Document(msgspec.Struct):
    """A document with the field that readers follow."""

    out: str


def publish(output: OutputFolder, name: str) -> StagedRun:
    """Write a run with one file, and publish it."""
    with staged_run(output) as run:
        run.write_bytes(name, b"\x00\xff")
        run.publish(Document(run.address))
    return run


def fail(output: OutputFolder) -> None:
    """Write a run with one file, and fail."""
    with staged_run(output) as run:
        run.write_bytes("b.bin", b"1")
        assert (Path(run.address) / "b.bin").is_file()
        raise ValueError("stop")


def names(folder: Path) -> list[str]:
    """Return the visible names in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def test_failed_run_keeps_the_previous_one(spark: Any, tmp_path: Path) -> None:
    output = open_output(spark, str(tmp_path / "out"), "score.json")
    first = publish(output, "a.bin")
    with pytest.raises(ValueError, match="stop"):
        fail(output)
    assert names(tmp_path / "out") == [first.name, "score.json"]
    assert (Path(first.address) / "a.bin").read_bytes() == b"\x00\xff"
    second = publish(output, "c.bin")
    assert names(tmp_path / "out") == [second.name, "score.json"]
    assert msgspec.json.decode((tmp_path / "out" / "score.json").read_bytes()) == {"out": second.address}


def test_folders_of_killed_runs_stay_for_a_day(spark: Any, tmp_path: Path) -> None:
    """A younger folder can be that of a run in another process. Other files aren't changed."""
    out = tmp_path / "out"
    for name in ("run-000000000001", "run-000000000002", "other"):
        (out / name).mkdir(parents=True)
    os.utime(out / "run-000000000001", (0, 0))
    os.utime(out / "other", (0, 0))
    run = publish(open_output(spark, str(out), "score.json"), "a.bin")
    assert names(out) == sorted(["other", run.name, "run-000000000002", "score.json"])


def test_runs_of_other_commands_stay(spark: Any, tmp_path: Path) -> None:
    """Their documents name them, whatever their age is."""
    documents = ("score.json", "state.json", "corpus.json")
    runs = [publish(open_output(spark, str(tmp_path), document), "a.bin") for document in documents]
    for run in runs:
        os.utime(run.address, (0, 0))
    second = publish(open_output(spark, str(tmp_path), "state.json"), "a.bin")
    kept = [run.name for run in (runs[0], second, runs[2])]
    assert names(tmp_path) == sorted([*documents, *kept])


def test_any_name_is_that_of_the_folder(spark: Any, tmp_path: Path) -> None:
    for name in ("out [x]", "h=12%3A00", "{a,b} 100%25", "é+#"):
        output = open_output(spark, str(tmp_path / name), "score.json")
        run = publish(output, "a.bin")
        assert (output.address, run.address) == (str(tmp_path / name), str(tmp_path / name / run.name))
        assert names(tmp_path / name) == [run.name, "score.json"]


def test_document_is_replaced_by_a_rename_of_hadoop(spark: Any, tmp_path: Path) -> None:
    """As on HDFS."""
    output = open_output(spark, str(tmp_path), "score.json")
    for content in (b'{"out": "a"}', b'{"out": "b"}'):
        output._rename_document(content)
        assert read_bytes(spark, str(tmp_path / "score.json")) == content
    assert names(tmp_path) == ["score.json"]


def test_outputs_that_cannot_be_used_are_named(spark: Any, tmp_path: Path) -> None:
    inputs = (parse_address(str(tmp_path / "orders")),)
    for out in (tmp_path, tmp_path / "orders", tmp_path / "orders" / "scored"):
        with pytest.raises(UsageError, match="would be one of the inputs of"):
            open_output(spark, str(out), "score.json", inputs)
    open_output(spark, str(tmp_path / "orders-scored"), "score.json", inputs)
    with pytest.raises(UsageError, match=r"--out table:a\.b is a table"):
        open_output(spark, "table:a.b", "score.json")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--out .*file is a file"):
        open_output(spark, str(tmp_path / "file"), "score.json")
    (tmp_path / "score.json").write_text("[]")
    with pytest.raises(OperationError, match=r"score\.json isn't a document of preptime"):
        publish(open_output(spark, str(tmp_path), "score.json"), "a.bin")
