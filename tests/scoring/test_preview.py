"""The look at a file before it is scored says what scoring will do."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.domain.verdict import Reason, rule
from preptime.errors import DataError
from preptime.scoring import preview as module
from preptime.scoring.columns import REASON
from preptime.scoring.preview import FINE, HEAD_ROWS, MOST_REFUSED, preview
from preptime.scoring.score import score_file
from tests.scoring.making import MIXED, cells, mixed, orders_file


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_preview_refuses_what_scoring_refuses_for_the_same_reasons(tmp_path: Path, bundle: Bundle, kind: str) -> None:
    source = orders_file(tmp_path / f"orders.{kind}", mixed())
    seen = preview(source, bundle.history.directory)
    document = score_file(source, tmp_path / "out.parquet", bundle)
    assert {str(reason): count for reason, count in seen.refused.items()} == document.refused
    assert (seen.rows, seen.predictable) == (document.rows, document.predicted)
    assert seen.strangers == 1
    reasons = pl.read_parquet(tmp_path / "out.parquet")[REASON].to_list()
    told = [FINE if reason is None else rule(Reason(reason)).meaning for reason in reasons]
    assert seen.head["verdict"].to_list() == told


def test_each_faulty_cell_is_listed_with_its_row_and_what_was_expected(tmp_path: Path, bundle: Bundle) -> None:
    seen = preview(orders_file(tmp_path / "orders.csv", mixed()), bundle.history.directory)
    refused = [number for number, (_, reason) in enumerate(MIXED, 1) if reason is not None]
    assert sorted(set(seen.faults["row"])) == refused
    (line,) = seen.faults.filter(pl.col("row") == 5).to_dicts()
    assert line["column"] == "order_value_gbp"
    assert line["value"] == "a lot"
    assert "a number from 0" in line["expected"]
    both = seen.faults.filter(pl.col("row") == 14)["column"].to_list()
    assert sorted(both) == ["number_of_items", "order_acknowledged_at"]


def test_a_large_file_is_judged_in_chunks_and_listed_up_to_a_number(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 700)
    rows = pl.DataFrame([cells(), cells(number_of_items="none")] * 2500)
    told: list[float] = []
    seen = preview(
        orders_file(tmp_path / "orders.csv", rows),
        bundle.history.directory,
        progress=lambda _, share: told.append(share),
    )
    assert (seen.rows, seen.predictable) == (5000, 2500)
    assert len(seen.head) == HEAD_ROWS
    assert seen.faults["row"].to_list() == list(range(2, 2 * MOST_REFUSED + 1, 2))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0, abs=0.1)


def test_a_line_with_a_surplus_cell_and_columns_called_like_ours_are_shown(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "orders.csv"
    names = ["order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items", "row", "verdict"]
    line = "2015-06-20 19:00:00,21.4,1,3,mine,my own"
    path.write_text(f"{','.join(names)}\n{line}\n{line},more\n", encoding="utf-8")
    seen = preview(str(path), bundle.history.directory)
    assert seen.head.columns == ["row", "verdict", *names[:4], "row (file)", "verdict (file)"]
    assert seen.head["row (file)"].to_list() == ["mine", "mine"]
    assert seen.refused == {Reason.MALFORMED_LINE: 1}
    assert seen.faults.to_dicts()[0]["value"] == "more"


def test_a_column_that_is_missing_is_refused_at_once(tmp_path: Path, bundle: Bundle) -> None:
    source = orders_file(tmp_path / "orders.csv", mixed().rename({"number_of_items": "number_items"}))
    with pytest.raises(DataError, match="'number_items' is the closest to number_of_items"):
        preview(source, bundle.history.directory)
