from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN, SURPLUS_COLUMN, require_columns
from preptime.domain.validation_reasons import ValidationReason, reasons_in_mask
from preptime.errors import DataError, OperationError, UsageError
from preptime.sources.ingest import read_restaurant_columns
from preptime.sources.registry import open_source
from preptime.sources.source import estimate_rows
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import order_keys
from tests.requirements import requires
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
        (b"city,city\nA,B\n", "the column city more than once"),
        (b",,city\nA,B,C\n", "the column without a name more than once"),
        (b"restaurant_id,city\r1,London\r", "The header of"),
        (b"_row,city\n1,B\n", "the column _row, which is reserved"),
        (HEADER + b"1,London\n2,K\xf6ln\n", r"is not UTF-8: byte 31 (line 3) is 0xf6"),
        ("restaurant_id,größe\n1,2\n".encode("latin-1"), "is not UTF-8: byte 16 (line 1) is 0xf6"),
        ("restaurant_id,city\n1,London\n".encode("utf-16"), "is text in UTF-16, not CSV"),
        (b"PK\x03\x04rest", "is an Excel workbook or zip archive, not CSV"),
        (b"\x1f\x8b\x08rest", "is a damaged gzip file"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(b"PK\x03\x04rest", mtime=0), "is an Excel workbook or zip archive, not CSV"),
        (gzip.compress(gzip.compress(HEADER, mtime=0), mtime=0), "is compressed twice with gzip, not CSV"),
        (gzip.compress(b"PAR1rest", mtime=0), "is a Parquet file inside a gzip file"),
        (gzip.compress(HEADER + b"1,K\xf6ln\n", mtime=0), "is not UTF-8: byte 22 (line 2) is 0xf6"),
        (b"restaurant_id,city\x00\n", "is binary, not CSV"),
        (b"PAR1 and then nothing", "is a damaged Parquet file"),
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
    with pytest.raises(UsageError, match=r"The address ftp://host/orders\.csv isn't supported"):
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


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_folder_names_of_spark_become_columns(tmp_path: Path, file_format: str) -> None:
    for name, ids in {
        "date=2015-06-01/city=Stoke%20on%20Trent": ["1"],
        "date=2015-06-02/city=__HIVE_DEFAULT_PARTITION__": ["2"],
    }.items():
        folder = tmp_path / "orders" / name
        folder.mkdir(parents=True)
        part = pl.DataFrame({"id": ids, "date": ["own"]}) if file_format == "csv" else pl.DataFrame({"id": ids})
        path = folder / f"part-0.{file_format}"
        part.write_csv(path) if file_format == "csv" else part.write_parquet(path)
        (folder / f".part-0.{file_format}.crc").write_bytes(b"crc")
        (folder / f"part-1.{file_format}").touch()
    (tmp_path / "orders" / "_SUCCESS").touch()
    unfinished = tmp_path / "orders" / "_temporary" / "0"
    unfinished.mkdir(parents=True)
    (unfinished / f"part-2.{file_format}").write_bytes(b"unfinished")
    dates = ["own", "own"] if file_format == "csv" else ["2015-06-01", "2015-06-02"]
    for location in (tmp_path / "orders", tmp_path / "orders" / "date=*" / "**" / f"*.{file_format}"):
        source = open_source(location)
        assert {*source.columns} == {"id", "date", "city"}
        frame = source.frame()
        assert frame.select("id", "date", "city").rows() == [
            ("1", dates[0], "Stoke on Trent"),
            ("2", dates[1], None),
        ]
        assert pl.concat(source.batches(1)).equals(frame)
        assert [part.columns for part in source.partitions()] == [source.columns] * 2
        assert [part.frame()["city"].item() for part in source.partitions()] == ["Stoke on Trent", None]


def test_empty_part_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").touch()
    assert "part-0.csv is empty" in _read_error(tmp_path)
    assert "part-0.csv is empty" in _read_error(tmp_path / "part-0.csv")
    (tmp_path / "part-1.csv").write_bytes(HEADER + b"1,London\n")
    (tmp_path / "part-2.csv.gz").write_bytes(gzip.compress(HEADER + b"2,Leeds\n"))
    (tmp_path / "part-3.csv").write_bytes(b"city;restaurant_id\n")
    assert "in another order" in _read_error(tmp_path)
    (tmp_path / "part-3.csv").write_bytes(b"restaurant_id;city\n")
    source = open_source(tmp_path)
    assert source.frame()["city"].to_list() == ["London", "Leeds"]
    assert [batch["city"].item() for batch in source.batches(1)] == ["London", "Leeds"]
    (tmp_path / "part-0.csv").write_bytes(HEADER)
    with pytest.raises(OperationError, match=r"part-0\.csv changed while it was read: it had 0 bytes"):
        source.frame()


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
    assert frame[SURPLUS_COLUMN].to_list() == [None, "line 3: surplus,more", None]
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


BYTE_ORDER_MARKS = {
    "UTF-8": b"\xef\xbb\xbf",
    "UTF-16, little-endian": b"\xff\xfe",
    "UTF-16, big-endian": b"\xfe\xff",
    "UTF-32, little-endian": b"\xff\xfe\x00\x00",
    "UTF-32, big-endian": b"\x00\x00\xfe\xff",
}


@pytest.mark.parametrize("line_feed", [b"", b"\n", b"\r\n", b"\n\x00", b"\x00\n", b"\x00\x00\x00\n"])
@pytest.mark.parametrize("name", BYTE_ORDER_MARKS)
def test_open_source_only_byte_order_mark_raises(tmp_path: Path, name: str, line_feed: bytes) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(BYTE_ORDER_MARKS[name] + line_feed)
    assert f"{path} contains only a byte order mark. Use a file with a header and rows." in _read_error(path)


def test_open_source_utf_32_is_named(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes("restaurant_id,city\n1,London\n".encode("utf-32"))
    assert "is text in UTF-32, not CSV" in _read_error(path)


@pytest.mark.parametrize(
    "names",
    [
        [f"column_{number}" for number in range(9_000)],
        ["n" * 70_000, "city"],
        ['a "quoted" name', "city"],
        ["two\nlines", "city", "three\r\n\nlines"],
        ["comma, comma", "city"],
        ["replacement \N{REPLACEMENT CHARACTER}", "größe"],
        [f"{'long' * 500}{number}" for number in range(100)],
    ],
    ids=["9,000", "70,000 characters", "quotes", "line feeds", "comma", "unicode", "200 kB"],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_open_source_reads_every_header(tmp_path: Path, names: list[str], mark: bytes) -> None:
    path = tmp_path / "orders.csv"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([names, [f"a{index}" for index in range(len(names))], [], ["b"]])
    path.write_bytes(mark + text.getvalue().encode())
    source = open_source(path)
    assert source.columns == tuple(names)
    expected = {name: [f"a{index}", "b" if index == 0 else None] for index, name in enumerate(names)}
    for frame in (source.frame(), pl.concat(source.batches(1))):
        assert frame.select(names).to_dict(as_series=False) == expected
        assert frame[ROW_COLUMN].to_list() == [1, 3]


def test_open_source_stray_quote_in_header_is_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b'id,size 5",city\n1,2,London\n')
    source = open_source(path)
    assert source.columns == ("id", 'size 5"', "city")
    assert source.frame()["city"].to_list() == [batch["city"].item() for batch in source.batches(1)] == ["London"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'"' + b"x" * 200_000 + b",city\n1,2\n", "Check for a quotation mark without a closing one"),
        (b"x" * 200_000 + b",city\n1,2\n", "or use a shorter column name"),
        (b"city," * 20_000 + b"id\n1\n", "the column city more than once"),
        (
            b",".join(b"%d,%d" % (number, number) for number in range(20_000)) + b"\n1\n",
            "and 19,995 others more than once",
        ),
    ],
)
def test_open_source_invalid_long_header_raises(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    assert expected in _read_error(path)


def test_open_source_missing_column_message_is_short(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"n" * 70_000 + b",city\n1,2\n")
    with pytest.raises(DataError) as caught:
        require_columns(open_source(path).columns, ["restaurant_id"], "the orders")
    assert len(str(caught.value)) < 300


def test_open_source_surplus_cells_in_first_line_are_found(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(HEADER + b"1,London,x,y,z\n2,Leeds\n")
    source = open_source(path)
    for frame in (source.frame(), pl.concat(source.batches(10), how="diagonal")):
        assert frame[SURPLUS_COLUMN].to_list() == ["line 2: x,y,z", None]


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_open_source_name_that_is_not_utf8_is_read(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9." + file_format.encode())
    requires(sys.platform == "linux", "this system has no file names that aren't UTF-8")
    rows = pl.DataFrame({"restaurant_id": ["1", "2"], "city": ["London", "Leeds"]})
    path.write_bytes(rows.write_csv().encode())
    if file_format == "parquet":
        with path.open("wb") as file:
            rows.write_parquet(file)
    for location in (path, tmp_path):
        source = open_source(location)
        frame = source.frame()
        assert frame["city"].to_list() == ["London", "Leeds"]
        assert frame[FILE_COLUMN].cast(pl.String).unique().to_list() == [f"{tmp_path}/caf\\xe9.{file_format}"]
        assert pl.concat(source.batches(1)).equals(frame)
        assert 2 <= estimate_rows(source) <= 3
    assert open_source(path).name == f"{tmp_path}/caf\\xe9.{file_format}"
    path.write_bytes(b"PAR1")
    assert "caf\\xe9" in _read_error(path)


INSTANT = 1_435_706_640_000_000
"""2015-06-30 23:24:00 UTC, in microseconds."""


@pytest.mark.parametrize(
    "zone",
    [
        *("+05:30", "-03:30", "+05:30:15", "+0530", "+05", "+14:00", "-00:00", "+25:00"),
        *("UTC", "utc", "Z", "GMT+2", "UTC+3", "Etc/GMT+2", "Europe/London", "EST5EDT", "Not/AZone", "../etc", "a b"),
    ],
)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_open_source_parquet_time_zone_keeps_the_instant(tmp_path: Path, zone: str, unit: str) -> None:
    divisor = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[unit]
    number = INSTANT // divisor * (1_000 if unit == "ns" else 1)
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    times = pyarrow.array([number], pyarrow.timestamp(unit, tz=zone))
    parquet.write_table(pyarrow.table({"at": times, "nested": [[{"at": times[0]}]]}), tmp_path / "orders.parquet")
    source = open_source(tmp_path / "orders.parquet")
    for frame in (source.frame(), next(source.batches(1))):
        assert frame["at"].dt.convert_time_zone("UTC").dt.cast_time_unit("us").to_physical().to_list() == [INSTANT]
        assert frame["at"].dt.strftime("%Y").to_list() == ["2015"]
        nested = frame["nested"].explode().struct.field("at")
        assert nested.dt.convert_time_zone("UTC").dt.strftime("%H:%M").to_list() == ["23:24"]


def test_open_source_partitions_with_other_time_zones_raise(tmp_path: Path) -> None:
    for zone in ("UTC", "Asia/Tokyo"):
        times = pl.Series([INSTANT]).cast(pl.Datetime("us", zone))
        pl.DataFrame({"at": times}).write_parquet(tmp_path / f"{zone[:3]}.parquet")
    assert "have incompatible column types" in _read_error(tmp_path)


AT = pl.Series([dt.datetime(2015, 6, 1, 19, 0)])
EPOCH = pl.Series([INSTANT])
TEXT = pl.Series(["12"])
NUMBER = pl.Series([12])


def _write_two_types(folder: Path, column: str, *cells: pl.Series) -> None:
    for number, part in enumerate(cells, start=1):
        rows = make_orders(make_order()).with_columns(part.alias(column))
        rows.write_parquet(folder / f"{number}.parquet")


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("order_acknowledged_at", AT, EPOCH),
        ("order_ready_at", AT, AT.cast(pl.Date)),
        ("order_acknowledged_at", AT, AT.dt.replace_time_zone("UTC")),
        ("order_acknowledged_at", AT, AT.dt.strftime("%Y-%m-%d %H:%M:%S")),
        ("order_acknowledged_at", EPOCH, EPOCH.cast(pl.String)),
        ("order_value_gbp", NUMBER, TEXT),
        ("order_id", AT, TEXT),
        ("note", NUMBER > 1, NUMBER),
    ],
)
def test_parquet_types_of_other_kinds_raise(tmp_path: Path, column: str, first: pl.Series, second: pl.Series) -> None:
    _write_two_types(tmp_path, column, first, second)
    message = _read_error(tmp_path)
    assert f"incompatible column types ({column} is " in message
    assert f" in {tmp_path / '1.parquet'} and " in message
    assert f" in {tmp_path / '2.parquet'})" in message
    assert "Write each column with the same type in every partition." in message


@pytest.mark.parametrize(
    ("column", "first", "second", "expected"),
    [
        ("order_id", [10**18 + 1], [7.0], ["1000000000000000001", "7"]),
        ("order_id", [" A-1 "], [7.0], ["A-1", "7"]),
        ("restaurant_id", [10**18 + 1], [20.0], ["1000000000000000001", "20"]),
        ("restaurant_id", ["007"], [20], ["007", "20"]),
        ("order_value_gbp", [7], [7.5], [7.0, 7.5]),
        ("number_of_items", pl.Series([3], dtype=pl.Int32), [4], [3, 4]),
        ("order_value_gbp", pl.Series([None], dtype=pl.Null), [7.5], [None, 7.5]),
        ("order_acknowledged_at", AT.cast(pl.Datetime("ms")), AT, [AT[0], AT[0]]),
        ("note", [7], ["seven"], ["7", "seven"]),
    ],
)
def test_parquet_types_that_keep_the_meaning_are_read(
    tmp_path: Path, column: str, first: Sequence[object], second: Sequence[object], expected: list[object]
) -> None:
    _write_two_types(tmp_path, column, *(pl.Series(cells) for cells in (first, second)))
    source = open_source(tmp_path)
    frame = source.frame()
    assert frame[column].to_list() == expected
    audited = audit_orders(frame, make_restaurant_index(), need_label=False).frame
    parts = [audit_orders(rows, make_restaurant_index(), need_label=False).frame for rows in source.batches(1)]
    same = [name for name in audited.columns if name != "order_id"]
    assert audited.select(same).equals(pl.concat([part.select(same) for part in parts]))
    assert order_keys(audited).equals(pl.concat([order_keys(part) for part in parts]))


def test_parquet_file_without_rows_can_have_other_types(tmp_path: Path) -> None:
    """An empty data frame often has types of its own."""
    make_orders(make_order()).with_columns(AT.alias("order_acknowledged_at")).write_parquet(tmp_path / "1.parquet")
    make_orders(make_order()).clear().write_parquet(tmp_path / "2.parquet")
    assert open_source(tmp_path).frame()["order_acknowledged_at"].to_list() == AT.to_list()


def test_restaurants_of_files_with_other_widths_are_read(tmp_path: Path) -> None:
    _write_two_types(tmp_path, "restaurant_id", pl.Series([7], dtype=pl.Int32), pl.Series([8]))
    assert read_restaurant_columns(open_source(tmp_path))["restaurant_id"].to_list() == [7, 8]
    _write_two_types(tmp_path, "restaurant_id", pl.Series([7]), AT)
    with pytest.raises(DataError, match=r"restaurant_id is Int64 in .*1\.parquet and Datetime.* in .*2\.parquet"):
        read_restaurant_columns(open_source(tmp_path))


def test_open_source_unsupported_decimal_is_named(tmp_path: Path) -> None:
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    cells = pyarrow.array([Decimal("32.65")], pyarrow.decimal256(50, 2))
    parquet.write_table(pyarrow.table({"value": cells}), tmp_path / "orders.parquet")
    message = _read_error(tmp_path / "orders.parquet")
    assert "has a column whose type can't be read (precision must be between 1 and 38" in message
    assert "damaged" not in message


def test_panic_of_polars_is_an_error_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> pl.LazyFrame:
        raise pl.exceptions.PanicException("not yet implemented\nat file.rs")

    path = tmp_path / "orders.parquet"
    pl.DataFrame({"city": ["London"]}).write_parquet(path)
    source = open_source(path)
    monkeypatch.setattr("preptime.sources.files.scan_parquet", panic)
    with pytest.raises(DataError, match=r"orders\.parquet is a damaged Parquet file \(not yet implemented\)"):
        source.frame()
