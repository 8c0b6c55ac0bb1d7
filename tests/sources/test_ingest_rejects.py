"""The file of rejected rows: targets that can't be written, before and after the load."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.errors import OperationError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.sources.database import NoStorableRowsError
from preptime.sources.ingest import RejectsWriter, prepare_chunk
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import render_text, summarize_audit
from tests.validation.factories import make_order, make_orders, make_restaurant_index


def rejected_rows() -> AuditedOrders:
    """Return a row that can't be stored."""
    rows = make_orders(make_order(order_acknowledged_at="tomorrow"))
    return prepare_chunk(rows, make_restaurant_index(), TAKE_HOME_SCHEMA).rejected


def write_to_new_folder(target: Path, failure: NoStorableRowsError | None) -> None:
    """Write a row and make the target a folder, so that the rename fails as for a file that is open on Windows."""
    with RejectsWriter(target) as writer:
        writer.add(rejected_rows())
        target.mkdir()
        if failure is not None:
            raise failure


def test_rejects_folder_is_an_error_before_the_load(tmp_path: Path) -> None:
    target = tmp_path / "rejects.csv"
    target.mkdir()
    with pytest.raises(OperationError, match=r"folder\. No orders were loaded"), RejectsWriter(target):
        pytest.fail("the load started")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("failure", "result"),
    [(None, "The other orders were loaded"), (NoStorableRowsError(), "No orders were loaded")],
)
def test_rejects_that_cant_be_renamed_are_kept(
    failure: NoStorableRowsError | None, result: str, tmp_path: Path
) -> None:
    target = tmp_path / "rejects.csv"
    with pytest.raises(OperationError) as raised:
        write_to_new_folder(target, failure)
    assert raised.value.facts.startswith(f"{result}, but the rejected rows couldn't be written to {target}: ")
    target.rmdir()
    RejectsWriter(target)  # the next run removes abandoned temporary files
    (kept,) = tmp_path.iterdir()
    assert str(kept) in raised.value.hint
    assert not kept.name.startswith(".")
    assert pl.read_csv(kept)["order_acknowledged_at"].to_list() == ["tomorrow"]


def test_rejects_are_kept_if_no_rename_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with (
        pytest.raises(OperationError, match="Permission denied") as raised,
        RejectsWriter(tmp_path / "r.csv") as writer,
    ):
        writer.add(rejected_rows())
    (kept,) = tmp_path.iterdir()
    assert str(kept) in raised.value.hint


def _load(path: Path, rejects: Path) -> pl.DataFrame:
    """Return the rows that can be stored, and write the others, one row for each chunk."""
    with RejectsWriter(rejects) as writer:
        chunks = [
            prepare_chunk(rows, make_restaurant_index(), TAKE_HOME_SCHEMA) for rows in open_source(path).batches(1)
        ]
        for chunk in chunks:
            writer.add(chunk.rejected)
    return pl.concat([chunk.storable for chunk in chunks])


def test_malformed_line_stays_rejected_until_it_is_corrected(tmp_path: Path) -> None:
    early = make_order(order_id="0", order_acknowledged_at="tomorrow")
    rows = make_orders(early, make_order(order_id="1"), make_order(order_id="2", city="London"))
    text = rows.select(pl.exclude("order_value_gbp"), "order_value_gbp").write_csv()
    # Without quotation marks, the value is 1.
    orders = tmp_path / "orders.csv"
    orders.write_text(text.removesuffix("21.40\n") + '1,250.50,"a, ""b""\nc",,\n', encoding="utf-8")
    assert _load(orders, tmp_path / "rejects.csv")["order_id"].to_list() == ["1"]
    surplus = 'line 4: 250.50,a, "b"\nc'
    source, target = tmp_path / "rejects.csv", tmp_path / "again.csv"
    for path in (source, target):
        rejects = open_source(path).frame()
        assert rejects["reject_surplus"].to_list() == [None, surplus]
        assert rejects["reject_reasons"].to_list() == ["unparsable_time", "malformed_line"]
        assert _load(path, target).is_empty(), "the unchanged file is rejected again"
    rejects = open_source(source).frame()
    report = render_text(summarize_audit(audit_orders(rejects, make_restaurant_index(), need_label=True), 4))
    assert "reject_surplus is 'line 4: 250.50" in report
    corrected = rejects.with_columns(order_value_gbp=pl.lit("1250.50"), reject_surplus=pl.lit(" "))
    corrected.drop(READER_COLUMNS, strict=False).write_csv(source)
    stored = _load(source, target)
    assert stored.select("order_id", "order_value").rows() == [("2", 1250.5)]
    assert "reject_surplus" not in stored.columns
    assert stored["extra"].to_list() == [None]


@pytest.mark.parametrize("kind", [pl.String(), pl.Categorical(), pl.Enum(["valid", "a\0b"])])
def test_text_with_nul_is_rejected_in_every_type(kind: pl.DataType) -> None:
    rows = make_orders(make_order(note="valid"), make_order(note="a\0b")).with_columns(pl.col("note").cast(kind))
    chunk = prepare_chunk(rows, make_restaurant_index(), TAKE_HOME_SCHEMA)
    assert chunk.storable["extra"].to_list() == ['{"note":"valid"}']
    assert [(finding.column, finding.expected) for finding in chunk.rejected.findings] == [
        ("note", "text without a NUL character")
    ]
