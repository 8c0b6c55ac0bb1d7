"""Tests that the preview of a file matches the result of scoring it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.errors import DataError
from preptime.scoring import preview as preview_module
from preptime.scoring.preview import MAX_REJECTED_ROWS, PREDICTABLE, PREVIEW_ROWS, preview_file
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTION_REASON
from tests.scoring.factories import MIXED_ROWS, mixed_rows, order_cells, write_orders


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_preview_rejects_the_same_rows_as_scoring(tmp_path: Path, bundle: Bundle, kind: str) -> None:
    source = write_orders(tmp_path / f"orders.{kind}", mixed_rows())
    preview = preview_file(source, bundle.history.restaurants, bundle.schema)
    document = score_file(source, tmp_path / "out.parquet", bundle)
    assert {str(reason): count for reason, count in preview.rejected.items()} == document.rejected
    assert (preview.rows, preview.predictable) == (document.rows, document.predicted)
    assert preview.unknown_restaurant_rows == 2
    reasons = pl.read_parquet(tmp_path / "out.parquet")[PREDICTION_REASON].to_list()
    expected = [
        PREDICTABLE if reason is None else validation_rule(ValidationReason(reason)).description for reason in reasons
    ]
    assert preview.head["validation_result"].to_list() == expected


def test_preview_lists_invalid_cells_with_expected_values(tmp_path: Path, bundle: Bundle) -> None:
    preview = preview_file(
        write_orders(tmp_path / "orders.csv", mixed_rows()), bundle.history.restaurants, bundle.schema
    )
    rejected = [number for number, (_, reason) in enumerate(MIXED_ROWS, 1) if reason is not None]
    assert sorted(set(preview.rejected_cells["row"])) == rejected
    (line,) = preview.rejected_cells.filter(pl.col("row") == 5).to_dicts()
    assert line["column"] == "order_value_gbp"
    assert line["value"] == "a lot"
    assert "a number from 0" in line["expected"]
    both = preview.rejected_cells.filter(pl.col("row") == 14)["column"].to_list()
    assert sorted(both) == ["number_of_items", "order_acknowledged_at"]


def test_preview_of_large_file_limits_listed_rows(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_module, "CHUNK_ROWS", 700)
    rows = pl.DataFrame([order_cells(), order_cells(number_of_items="none")] * 2500)
    fractions: list[float] = []
    preview = preview_file(
        write_orders(tmp_path / "orders.csv", rows),
        bundle.history.restaurants,
        bundle.schema,
        progress=lambda _, fraction: fractions.append(fraction),
    )
    assert (preview.rows, preview.predictable) == (5000, 2500)
    assert len(preview.head) == PREVIEW_ROWS
    assert preview.rejected_cells["row"].to_list() == list(range(2, 2 * MAX_REJECTED_ROWS + 1, 2))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0, abs=0.1)


def test_preview_shows_extra_cells_and_renames_reserved_columns(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "orders.csv"
    names = ["order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items", "row", "validation_result"]
    line = "2015-06-20 19:00:00,21.4,1,3,mine,my own"
    path.write_text(f"{','.join(names)}\n{line}\n{line},more\n", encoding="utf-8")
    preview = preview_file(str(path), bundle.history.restaurants, bundle.schema)
    assert preview.head.columns == ["row", "validation_result", *names[:4], "row (file)", "validation_result (file)"]
    assert preview.head["row (file)"].to_list() == ["mine", "mine"]
    assert preview.rejected == {ValidationReason.MALFORMED_LINE: 1}
    assert preview.rejected_cells.to_dicts()[0]["value"] == "line 3: more"


def test_preview_keeps_renamed_columns_unique(tmp_path: Path, bundle: Bundle) -> None:
    names = ["row (file)", "row", "validation_result", "validation_result (file)"]
    rows = pl.DataFrame([order_cells()]).with_columns(pl.lit(name).alias(name) for name in names)
    preview = preview_file(write_orders(tmp_path / "orders.csv", rows), bundle.history.restaurants, bundle.schema)
    renamed = ["row (file)", "row (file) (file)", "validation_result (file) (file)", "validation_result (file)"]
    assert preview.head.columns[-4:] == renamed
    assert preview.head.row(0)[-4:] == tuple(names)


def test_preview_rejects_missing_column(tmp_path: Path, bundle: Bundle) -> None:
    source = write_orders(tmp_path / "orders.csv", mixed_rows().rename({"number_of_items": "number_items"}))
    with pytest.raises(DataError, match="'number_items' is the closest to number_of_items"):
        preview_file(source, bundle.history.restaurants, bundle.schema)
