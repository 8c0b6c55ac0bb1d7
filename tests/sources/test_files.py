from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN, SURPLUS_COLUMN
from preptime.domain.validation_reasons import ValidationReason, reasons_in_mask
from preptime.errors import DataError, UsageError
from preptime.sources.registry import open_source
from preptime.validation.audit import audit_orders
from tests.validation.factories import directory, order, orders

HEADER = b"restaurant_id,city\n"


def _refused(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        open_source(path).frame()
    error = caught.value
    # One sentence of facts and one of advice, whatever the library below had to say.
    assert error.hint.endswith(".")
    assert "\n" not in str(error)
    assert len(str(error)) < 600
    return str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (HEADER, "a header and no rows"),
        (b"restaurant_id;city\n1;London\n", "separated by semicolons, not commas"),
        (b"restaurant_id\tcity\n1\tLondon\n", "separated by tabs, not commas"),
        (b"restaurant_id|city\n1|London\n", "separated by bars, not commas"),
        (b"city,city\nA,B\n", "the column city more than once"),
        (b"city,,\nA,B,C\n", "the column without a name more than once"),
        (b"restaurant_id,city\r1,London\r", "The header of"),
        (b"_row,city\n1,B\n", "a name kept for the reader"),
        (HEADER + b"1,London\n2,K\xf6ln\n", r"is not UTF-8: byte 31 (line 3) is 0xf6"),
        ("restaurant_id,größe\n1,2\n".encode("latin-1"), "is not UTF-8: byte 16 (line 1) is 0xf6"),
        ("restaurant_id,city\n1,London\n".encode("utf-16"), "is text in UTF-16, not csv"),
        (b"PK\x03\x04rest", "is an Excel workbook or zip archive, not csv"),
        (b"\x1f\x8b\x08rest", "is gzip-compressed, not csv"),
        (b"restaurant_id,city\x00\n", "is binary, not csv"),
        (b"PAR1 and then nothing", "is a damaged parquet file"),
        (HEADER + b'1,"London\n2,Leeds\n3,Paris\n', "a quotation mark that is opened and never closed"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(content)
    assert said in _refused(path)


def test_a_wrong_byte_far_into_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    lines = 400_000
    path.write_bytes(HEADER + "1,Zürich €\n".encode() * lines + b"2,K\xf6ln\n")
    offset = len(HEADER) + len("1,Zürich €\n".encode()) * lines + 3
    assert f"byte {offset:,} (line {lines + 2:,}) is 0xf6" in _refused(path)


def test_a_character_cut_off_at_the_end_is_found(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(HEADER + b"1,K\xc3")
    assert "byte 22 (line 2) is 0xc3" in _refused(path)


def test_a_missing_file_shows_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "order.csv").write_bytes(HEADER)
    assert f"There is no file {tmp_path / 'orders.csv'}. {tmp_path} holds order.csv." in _refused(
        tmp_path / "orders.csv"
    )
    assert "There is no file" in _refused(tmp_path / "no" / "such" / "orders.csv")


def test_nothing_to_match_is_said(tmp_path: Path) -> None:
    assert "No file matches" in _refused(tmp_path / "*.csv")
    assert "No file matches" in _refused(tmp_path)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UsageError, match="Nothing here reads ftp:// addresses"):
        open_source("ftp://host/orders.csv")


def test_a_truncated_parquet_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    orders(order()).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "damaged parquet" in _refused(path)
    path.write_bytes(HEADER)
    assert "called parquet but does not begin like it" in _refused(path)


def test_partitions_that_differ_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_bytes(HEADER + b"1,London\n")
    two.write_bytes(b"restaurant_id\n2\n")
    assert "lacks city" in _refused(tmp_path / "*.csv")
    two.write_bytes(b"restaurant_id,city,extra\n2,Leeds,x\n")
    assert "adds extra" in _refused(tmp_path / "*.csv")
    two.write_bytes(b"city,restaurant_id\nLeeds,2\n")
    assert "in another order" in _refused(tmp_path / "*.csv")
    two.unlink()
    pl.DataFrame({"restaurant_id": [2], "city": ["Leeds"]}).write_parquet(tmp_path / "b.parquet")
    assert "mixes csv and parquet" in _refused(tmp_path)


def test_parquet_partitions_of_other_widths_and_orders_are_read_together(tmp_path: Path) -> None:
    pl.DataFrame({"id": pl.Series([1], dtype=pl.Int32), "city": ["A"]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"city": ["B"], "id": pl.Series([2], dtype=pl.Int64)}).write_parquet(tmp_path / "b.parquet")
    assert open_source(tmp_path).frame()["id"].to_list() == [1, 2]


def test_a_byte_order_mark_windows_lines_and_quotes_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(b'\xef\xbb\xbf"restaurant_id",city\r\n1,"Stoke,\r\non Trent"\r\n2,"say ""hi"""\r\n')
    table = open_source(path)
    assert table.columns == ("restaurant_id", "city")
    assert table.frame()["city"].to_list() == ["Stoke,\r\non Trent", 'say "hi"']


def test_blank_lines_are_no_rows_and_keep_the_numbering(tmp_path: Path) -> None:
    path = tmp_path / "restaurants.csv"
    path.write_bytes(HEADER + b"1,London\n\n2,Leeds\n\n\n")
    frame = open_source(path).frame()
    assert frame["restaurant_id"].to_list() == ["1", "2"]
    assert frame[ROW_COLUMN].to_list() == [1, 3]


def test_a_line_with_too_many_or_too_few_cells_is_a_verdict_on_it(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    text = orders(order(), order(order_value_gbp="1")).write_csv().rstrip("\n")
    few = "2015-06-01 19:00:00+01:00,2015-06-01 19:10:00+01:00"
    path.write_text(f"{text},surplus,more\n{few}\n", encoding="utf-8")
    frame = open_source(path).frame()
    assert frame[SURPLUS_COLUMN].to_list() == [None, "surplus", None]
    audited = audit_orders(frame, directory(), need_label=True)
    assert [reasons_in_mask(int(bits)) for bits in audited.reasons] == [
        (),
        (ValidationReason.MALFORMED_LINE,),
        (ValidationReason.MISSING_VALUE,),
    ]


def test_cells_stay_text_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"restaurant_id,note\n007, spaced \n8.50,2015-06-01\n")
    frame = open_source(path).frame().drop(ROW_COLUMN, FILE_COLUMN)
    assert frame.rows() == [("007", " spaced "), ("8.50", "2015-06-01")]
