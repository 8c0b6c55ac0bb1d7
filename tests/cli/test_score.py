"""`score`: csv and parquet in and out, partitions, integer codes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.scoring.score_document import ScoreDocument
from preptime.synthetic import write_integer_coded_orders
from tests.cli.conftest import Files
from tests.cli.run_command import preptime, error_document


def predictions(path: Path) -> pl.DataFrame:
    """Four quantiles and five models."""
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    return frame.select(pl.col(r"^predicted_.*_seconds$")).cast(pl.Float64)


def score(source: str | Path, out: Path, store: Path, *more: str) -> ScoreDocument:
    """Score and read the document."""
    return preptime("score", source, "--out", out, "--store", store, *more, "--json").succeeded().document(ScoreDocument)


def test_csv_and_parquet_in_and_out_give_the_same(files: Files, orders: pl.DataFrame, store: Path) -> None:
    folder = store.parent
    orders.write_parquet(folder / "orders.parquet")
    found = []
    for source, name in ((files.orders, "a.parquet"), (folder / "orders.parquet", "b.csv"), (files.orders, "c.csv")):
        document = score(source, folder / name, store)
        assert document.rows == document.predicted == len(orders)
        found.append(predictions(folder / name))
    assert found[0].width == 9
    assert found[1].equals(found[2])
    assert (found[0] - found[1]).select(pl.all().abs().max()).max_horizontal()[0] < 0.1


def test_a_glob_of_partitions_is_one_table(files: Files, orders: pl.DataFrame, store: Path) -> None:
    folder = store.parent
    for start in (0, 1_000, 2_000):
        orders[start : start + 1_000].write_csv(folder / f"part-{start}.csv")
    assert score(folder / "part-*.csv", folder / "parts.csv", store).rows == len(orders)
    score(files.orders, folder / "whole.csv", store)
    assert predictions(folder / "parts.csv").equals(predictions(folder / "whole.csv"))


def test_integer_codes_mean_the_same_as_names(files: Files, orders: pl.DataFrame, store: Path) -> None:
    """As in the file that the demo's page asked for."""
    folder = store.parent
    last = orders.tail(200)
    last.write_csv(folder / "named.csv")
    read = pl.read_csv(files.orders, try_parse_dates=True).tail(200)
    write_integer_coded_orders(read, pl.read_csv(files.restaurants), folder / "coded.csv")
    for name in ("named", "coded"):
        assert score(folder / f"{name}.csv", folder / f"{name}.parquet", store).predicted == 200
    assert predictions(folder / "coded.parquet").equals(predictions(folder / "named.parquet"))


def test_a_row_that_cannot_be_answered_comes_back_with_its_reason(orders: pl.DataFrame, store: Path) -> None:
    bad, out = store.parent / "bad.csv", store.parent / "out.csv"
    rows = orders.head(3).with_columns(order_acknowledged_at=pl.Series(["soon", *orders["order_acknowledged_at"][1:3]]))
    rows.write_csv(bad)
    ran = preptime("score", bad, "--out", out, "--store", store).succeeded()
    assert "2 of 3 orders are predicted by" in ran.out
    assert "1 order without a prediction, reason " in ran.out
    assert len(pl.read_csv(out)) == 3


def test_a_restaurant_that_the_bundle_does_not_know_is_described_by_a_file(
    orders: pl.DataFrame, files: Files, store: Path
) -> None:
    folder = store.parent
    orders.head(20).with_columns(restaurant_id=pl.lit("999999")).write_csv(folder / "new.csv")
    known = pl.read_csv(files.restaurants).head(1).with_columns(restaurant_id=pl.lit(999_999))
    known.write_csv(folder / "more.csv")
    assert score(folder / "new.csv", folder / "without.csv", store).fallback_level["global"] == 20
    document = score(folder / "new.csv", folder / "with.csv", store, "--restaurants", str(folder / "more.csv"))
    assert document.predicted == 20
    assert document.fallback_level["global"] == 0


def test_a_bundle_by_its_id(files: Files, two: Path, trained: str) -> None:
    assert score(files.orders, two.parent / "o.csv", two, "--bundle", trained).bundle == trained


@pytest.mark.parametrize("name", ["2015-06-12-000000000000", "latest", "../models"])
def test_an_unknown_bundle_is_wrong_use(name: str, files: Files, store: Path) -> None:
    out = store.parent / "o.csv"
    ran = preptime("score", files.orders, "--out", out, "--store", store, "--bundle", name, "--json")
    assert name in error_document(ran, 2, "UsageError").facts
    assert not out.exists()


def test_a_store_without_champion_is_wrong_use(files: Files, tmp_path: Path) -> None:
    ran = preptime("score", files.orders, "--out", tmp_path / "o.csv", "--store", tmp_path / "none", "--json")
    assert "no champion" in error_document(ran, 2, "UsageError").facts
    assert not (tmp_path / "none").exists()


def test_an_output_of_another_kind_is_wrong_use(files: Files, store: Path) -> None:
    ran = preptime("score", files.orders, "--out", store.parent / "o.xlsx", "--store", store, "--json")
    assert ".xlsx" in error_document(ran, 2, "UsageError").facts


def test_the_input_is_never_the_output(files: Files, store: Path) -> None:
    before = files.orders.read_bytes()
    assert preptime("score", files.orders, "--out", files.orders, "--store", store).status == 2
    assert files.orders.read_bytes() == before
