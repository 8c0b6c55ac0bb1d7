"""The file of rejected rows: targets that can't be written, before and after the load."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.errors import OperationError
from preptime.sources.database import NoStorableRowsError
from preptime.sources.ingest import RejectsWriter, prepare_chunk
from preptime.validation.audit import AuditedOrders
from tests.validation.factories import make_order, make_orders, make_restaurant_index


def rejected_rows() -> AuditedOrders:
    """Return a row that can't be stored."""
    rows = make_orders(make_order(order_acknowledged_at="tomorrow"))
    return prepare_chunk(rows, make_restaurant_index()).rejected


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
