"""Tests that invalid inputs are rejected with a message, and that no partial file is left."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.errors import DataError, OperationError, UsageError
from preptime.exploration import load_exploration
from preptime.scoring.preview import preview_file
from preptime.scoring.score_day import read_day_orders
from preptime.scoring.score_file import score_file
from preptime.sources.registry import open_source
from preptime.validation.duplicates import order_id_texts
from tests.requirements import requires
from tests.scoring.factories import mixed_rows, order_cells, write_orders
from tests.validation.factories import make_restaurant_index

FORMATS = ("csv", "parquet")


@pytest.mark.parametrize("kind", FORMATS)
def test_score_file_rejects_file_without_rows(tmp_path: Path, bundle: Bundle, kind: str) -> None:
    source = write_orders(tmp_path / f"orders.{kind}", mixed_rows().clear())
    with pytest.raises(DataError, match="has a header and no rows"):
        score_file(source, tmp_path / "scored.csv", bundle)
    assert [path.name for path in tmp_path.iterdir()] == [f"orders.{kind}"]


def test_score_file_rejects_empty_file(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "orders.csv").touch()
    with pytest.raises(DataError, match="is empty"):
        score_file(str(tmp_path / "orders.csv"), tmp_path / "scored.csv", bundle)


def test_score_file_missing_column_names_closest(tmp_path: Path, bundle: Bundle) -> None:
    source = write_orders(tmp_path / "orders.csv", mixed_rows().rename({"number_of_items": "number_items"}))
    with pytest.raises(DataError, match=r"number_of_items is missing.*'number_items' is the closest"):
        score_file(source, tmp_path / "scored.csv", bundle)


@pytest.mark.parametrize("name", ["scored.xlsx", "scored"])
def test_score_file_rejects_other_suffix(tmp_path: Path, bundle: Bundle, name: str) -> None:
    source = write_orders(tmp_path / "orders.csv", mixed_rows())
    with pytest.raises(UsageError, match=r"suffix.*\.csv or \.parquet"):
        score_file(source, tmp_path / name, bundle)
    assert not (tmp_path / name).exists()


def test_score_file_creates_output_folder(tmp_path: Path, bundle: Bundle) -> None:
    out = tmp_path / "by" / "day" / "scored.csv"
    assert score_file(write_orders(tmp_path / "orders.csv", mixed_rows()), out, bundle).rows == len(mixed_rows())
    assert [path.name for path in out.parent.iterdir()] == ["scored.csv"]


def test_score_file_rejects_folder_that_is_a_file(tmp_path: Path, bundle: Bundle) -> None:
    source = write_orders(tmp_path / "orders.csv", mixed_rows())
    with pytest.raises(DataError, match="can't be written"):
        score_file(source, tmp_path / "orders.csv" / "scored.csv", bundle)


def _same_file(folder: Path) -> tuple[str, Path]:
    return write_orders(folder / "orders.csv", mixed_rows()), folder / "." / "orders.csv"


def _in_input_folder(folder: Path) -> tuple[str, Path]:
    (folder / "day").mkdir()
    write_orders(folder / "day" / "orders.csv", mixed_rows())
    return str(folder / "day"), folder / "day" / "scored.csv"


def _in_input_glob(folder: Path) -> tuple[str, Path]:
    write_orders(folder / "1.csv", mixed_rows())
    write_orders(folder / "2.csv", mixed_rows())
    return str(folder / "*.csv"), folder / "2.csv"


@pytest.mark.parametrize("case", [_same_file, _in_input_folder, _in_input_glob])
def test_score_file_rejects_output_that_is_an_input(
    tmp_path: Path, bundle: Bundle, case: Callable[[Path], tuple[str, Path]]
) -> None:
    source, out = case(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    with pytest.raises(UsageError, match="would be one of the inputs"):
        score_file(source, out, bundle)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.csv")} == before


def test_score_file_rejects_column_unsupported_by_csv(tmp_path: Path, bundle: Bundle) -> None:
    rows = pl.DataFrame([order_cells()]).with_columns(tags=pl.concat_list(pl.lit("a")))
    with pytest.raises(DataError, match=r"CSV can't represent the column tags.*\.parquet"):
        score_file(write_orders(tmp_path / "orders.parquet", rows), tmp_path / "scored.csv", bundle)


def test_score_file_rejects_incompatible_partitions(tmp_path: Path, bundle: Bundle) -> None:
    rows = pl.DataFrame([order_cells()])
    (tmp_path / "day").mkdir()
    rows.write_parquet(tmp_path / "day" / "1.parquet")
    rows.with_columns(note=pl.concat_list(pl.lit("a"))).write_parquet(tmp_path / "day" / "2.parquet")
    with pytest.raises(DataError, match="incompatible column types"):
        score_file(str(tmp_path / "day"), tmp_path / "scored.parquet", bundle)


def test_every_reader_of_files_with_other_kinds_of_times_raises(tmp_path: Path, bundle: Bundle) -> None:
    """If a local time and an epoch became one type, one of them would be another time."""
    (folder := tmp_path / "day").mkdir()
    rows = pl.DataFrame([order_cells()])
    at = pl.Series("order_acknowledged_at", [dt.datetime(2015, 6, 1, 19)])
    for number, times in enumerate((at, at.dt.epoch("us")), start=1):
        rows.with_columns(times).write_parquet(folder / f"{number}.parquet")
    source, day = open_source(folder), at[0].date()
    for read in (
        lambda: score_file(str(folder), tmp_path / "scored.csv", bundle),
        lambda: read_day_orders(source, day, make_restaurant_index()),
        lambda: load_exploration(source, make_restaurant_index()),
    ):
        with pytest.raises(DataError, match=r"acknowledged_at is Datetime.* in .*1\.parquet and Int64 in .*2\.parquet"):
            read()


def test_score_file_keeps_long_ids_next_to_float_ids(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "day").mkdir()
    for number, ids in enumerate((pl.Series([10**18 + 1]), pl.Series([7.0])), start=1):
        rows = pl.DataFrame([order_cells()]).with_columns(ids.alias("order_id"))
        rows.write_parquet(tmp_path / "day" / f"{number}.parquet")
    score_file(str(tmp_path / "day"), tmp_path / "scored.parquet", bundle)
    assert order_id_texts(pl.read_parquet(tmp_path / "scored.parquet")["order_id"]).to_list() == [str(10**18 + 1), "7"]


@pytest.mark.parametrize("to", FORMATS)
def test_score_file_with_damaged_input_keeps_old_output(tmp_path: Path, bundle: Bundle, to: str) -> None:
    source = Path(write_orders(tmp_path / "orders.csv", pl.concat([mixed_rows()] * 200)))
    content = source.read_bytes()
    source.write_bytes(content[:-2000] + b"\xff\xfe" + content[-2000:])
    out = tmp_path / f"scored.{to}"
    out.write_text("yesterday's", encoding="utf-8")
    with pytest.raises(DataError, match="is not UTF-8"):
        score_file(str(source), out, bundle, chunk_rows=100)
    assert out.read_text(encoding="utf-8") == "yesterday's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orders.csv", out.name]


_FULL = """
import resource, sys
from pathlib import Path
from preptime.bundle.bundle import Bundle
from preptime.errors import OperationError
from preptime.exploration import load_exploration
from preptime.scoring.preview import preview_file
from preptime.scoring.score_day import read_day_orders
from preptime.scoring.score_file import score_file
from preptime.sources.registry import open_source
from preptime.validation.duplicates import order_id_texts
bundle = Bundle.load(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))
try:
    score_file(sys.argv[2], Path(sys.argv[3]), bundle, chunk_rows=100)
except OperationError as error:
    print(error)
"""


@pytest.mark.parametrize("to", FORMATS)
def test_score_file_on_full_disk_leaves_no_file(tmp_path: Path, bundle: Bundle, to: str) -> None:
    requires(find_spec("resource"), "this system has no file size limit to simulate a full disk")
    source = write_orders(tmp_path / "orders.csv", pl.concat([mixed_rows()] * 200))
    out = tmp_path / f"scored.{to}"
    command = [sys.executable, "-c", _FULL, str(bundle.folder), source, str(out)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "couldn't be written: File too large" in process.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]


def test_score_file_reports_write_error_once(tmp_path: Path, bundle: Bundle) -> None:
    def stop(_: str, fraction: float) -> None:
        if fraction > 0.5:
            raise OSError(28, "No space left on device")

    source = write_orders(tmp_path / "orders.csv", pl.concat([mixed_rows()] * 20))
    for to in FORMATS:
        with pytest.raises(OperationError, match=r"couldn't be written: No space left on device\. No partial file"):
            score_file(source, tmp_path / f"scored.{to}", bundle, chunk_rows=50, progress=stop)
        assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]


@pytest.mark.parametrize("source_format", FORMATS)
@pytest.mark.parametrize("output_format", FORMATS)
def test_score_file_refuses_a_file_that_shrinks(
    tmp_path: Path, bundle: Bundle, source_format: str, output_format: str
) -> None:
    path = tmp_path / f"orders.{source_format}"
    write_orders(path, pl.concat([mixed_rows()] * 200))
    out = tmp_path / f"scored.{output_format}"
    out.write_text("yesterday's", encoding="utf-8")

    def shrink(_: str, fraction: float) -> None:
        if fraction < 1 and path.stat().st_size:
            path.write_bytes(b"")

    with pytest.raises(OperationError, match=r"changed while it was read: it had .* and now has 0 bytes"):
        score_file(str(path), out, bundle, chunk_rows=100, progress=shrink)
    assert out.read_text(encoding="utf-8") == "yesterday's"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, out.name]


def test_preview_refuses_a_file_that_changes(tmp_path: Path, bundle: Bundle) -> None:
    path = Path(write_orders(tmp_path / "orders.csv", mixed_rows()))

    def append(_stage: str, _fraction: float) -> None:
        with path.open("ab") as file:
            file.write(b"1\n")

    with pytest.raises(OperationError, match="changed while it was read"):
        preview_file(str(path), bundle.history.restaurants, bundle.schema, progress=append)
