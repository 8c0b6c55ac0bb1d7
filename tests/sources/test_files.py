from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN, SURPLUS_COLUMN
from preptime.domain.validation_reasons import ValidationReason, reasons_in_mask
from preptime.errors import DataError, UsageError
from preptime.sources.registry import open_source
from preptime.validation.audit import audit_orders
from tests.validation.factories import make_order, make_orders, make_restaurant_index

HEADER = b"restaurant_id,city\n"


def _read_error(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        open_source(path).frame()
    error = caught.value
    # One sentence of facts and one hint, whatever message the library below has.
    assert error.hint.endswith(".")
    assert "\n" not in str(error)
    assert len(str(error)) < 600
    return str(error)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (HEADER, "a header and no rows"),
        (b"restaurant_id;city\n1;London\n", "is separated by semicolons, not by commas"),
        (b"restaurant_id\tcity\n1\tLondon\n", "is separated by tabs, not by commas"),
        (b"restaurant_id|city\n1|London\n", "is separated by vertical bars, not by commas"),
        (b"city,city\nA,B\n", "the column city more than once"),
        (b"city,,\nA,B,C\n", "the column without a name more than once"),
        (b"restaurant_id,city\r1,London\r", "The header of"),
        (b"_row,city\n1,B\n", "the column _row, which is reserved"),
        (HEADER + b"1,London\n2,K\xf6ln\n", r"is not UTF-8: byte 31 (line 3) is 0xf6"),
        ("restaurant_id,größe\n1,2\n".encode("latin-1"), "is not UTF-8: byte 16 (line 1) is 0xf6"),
        ("restaurant_id,city\n1,London\n".encode("utf-16"), "is text in UTF-16, not CSV"),
        (b"PK\x03\x04rest", "is an Excel workbook or zip archive, not CSV"),
        (b"\x1f\x8b\x08rest", "is gzip-compressed, not CSV"),
        (b"restaurant_id,city\x00\n", "is binary, not CSV"),
        (b"PAR1 and then nothing", "is a damaged Parquet file"),
        (HEADER + b'1,"London\n2,Leeds\n3,Paris\n', "a quotation mark without a closing one"),
    ],
)
def test_open_source_invalid_file_raises_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(content)
    assert expected in _read_error(path)


def test_open_source_invalid_byte_late_in_file_is_located(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    lines = 400_000
    path.write_bytes(HEADER + "1,Zürich €\n".encode() * lines + b"2,K\xf6ln\n")
    offset = len(HEADER) + len("1,Zürich €\n".encode()) * lines + 3
    assert f"byte {offset:,} (line {lines + 2:,}) is 0xf6" in _read_error(path)


def test_open_source_truncated_character_is_located(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(HEADER + b"1,K\xc3")
    assert "byte 22 (line 2) is 0xc3" in _read_error(path)


def test_open_source_missing_file_lists_nearby_files(tmp_path: Path) -> None:
    (tmp_path / "order.csv").write_bytes(HEADER)
    assert f"There is no file {tmp_path / 'orders.csv'}. {tmp_path} contains order.csv." in _read_error(
        tmp_path / "orders.csv"
    )
    assert "There is no file" in _read_error(tmp_path / "no" / "such" / "orders.csv")


def test_open_source_without_matching_files_raises(tmp_path: Path) -> None:
    assert "No file matches" in _read_error(tmp_path / "*.csv")
    assert "No file matches" in _read_error(tmp_path)


def test_open_source_unknown_scheme_raises() -> None:
    with pytest.raises(UsageError, match="The scheme ftp:// isn't supported"):
        open_source("ftp://host/orders.csv")


def test_open_source_truncated_parquet_raises(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    make_orders(make_order()).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "damaged Parquet" in _read_error(path)
    path.write_bytes(HEADER)
    assert "has the suffix .parquet, but isn't a Parquet file" in _read_error(path)


def test_open_source_different_partitions_raises(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_bytes(HEADER + b"1,London\n")
    second.write_bytes(b"restaurant_id\n2\n")
    assert "lacks city" in _read_error(tmp_path / "*.csv")
    second.write_bytes(b"restaurant_id,city,extra\n2,Leeds,x\n")
    assert "adds extra" in _read_error(tmp_path / "*.csv")
    second.write_bytes(b"city,restaurant_id\nLeeds,2\n")
    assert "in another order" in _read_error(tmp_path / "*.csv")
    second.unlink()
    pl.DataFrame({"restaurant_id": [2], "city": ["Leeds"]}).write_parquet(tmp_path / "b.parquet")
    assert "contains CSV and Parquet files" in _read_error(tmp_path)


def test_open_source_parquet_with_other_types_and_order_is_read(tmp_path: Path) -> None:
    pl.DataFrame({"id": pl.Series([1], dtype=pl.Int32), "city": ["A"]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"city": ["B"], "id": pl.Series([2], dtype=pl.Int64)}).write_parquet(tmp_path / "b.parquet")
    assert open_source(tmp_path).frame()["id"].to_list() == [1, 2]


def test_open_source_csv_with_bom_crlf_and_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(b'\xef\xbb\xbf"restaurant_id",city\r\n1,"Stoke,\r\non Trent"\r\n2,"say ""hi"""\r\n')
    source = open_source(path)
    assert source.columns == ("restaurant_id", "city")
    assert source.frame()["city"].to_list() == ["Stoke,\r\non Trent", 'say "hi"']


def test_open_source_blank_lines_are_skipped_but_numbered(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(HEADER + b"1,London\n\n2,Leeds\n\n\n")
    frame = open_source(path).frame()
    assert frame["restaurant_id"].to_list() == ["1", "2"]
    assert frame[ROW_COLUMN].to_list() == [1, 3]


def test_audit_of_ragged_lines_marks_only_these_lines(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    text = make_orders(make_order(), make_order(order_value_gbp="1")).write_csv().rstrip("\n")
    short_line = "2015-06-01 19:00:00+01:00,2015-06-01 19:10:00+01:00"
    path.write_text(f"{text},surplus,more\n{short_line}\n", encoding="utf-8")
    frame = open_source(path).frame()
    assert frame[SURPLUS_COLUMN].to_list() == [None, "surplus", None]
    audited = audit_orders(frame, make_restaurant_index(), need_label=True)
    assert [reasons_in_mask(int(bits)) for bits in audited.reasons] == [
        (),
        (ValidationReason.MALFORMED_LINE,),
        (ValidationReason.MISSING_VALUE,),
    ]


def test_open_source_csv_keeps_cells_as_text(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"restaurant_id,note\n007, spaced \n8.50,2015-06-01\n")
    frame = open_source(path).frame().drop(ROW_COLUMN, FILE_COLUMN)
    assert frame.rows() == [("007", " spaced "), ("8.50", "2015-06-01")]
