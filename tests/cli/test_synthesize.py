"""`synthesize`: its options and its drift."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from preptime.cli.synthesize import SynthesizeDocument
from tests.cli.run_command import error_document, preptime


def test_synthesize_applies_every_option(tmp_path: Path) -> None:
    options = ("--restaurants", "50", "--days", "5", "--start", "2016-03-01", "--seed", "7", "--format", "parquet")
    result = preptime("synthesize", "--out", tmp_path, "--orders", "400", *options, "--json").succeeded()
    document = result.document(SynthesizeDocument)
    orders = pl.read_parquet(document.orders)
    assert len(orders) == document.order_rows == 400
    assert len(pl.read_parquet(document.restaurants)) == document.restaurant_rows == 50
    assert pl.read_parquet(document.truth)["order_id"].equals(orders["order_id"])
    days = orders["order_acknowledged_at"].dt.date()
    assert str(days.min()) == "2016-03-01"
    assert str(days.max()) <= "2016-03-06"


def test_synthesize_drift_changes_preparation_times(tmp_path: Path) -> None:
    plan = ("--orders", "2000", "--days", "6")
    preptime("synthesize", "--out", tmp_path / "calm", *plan).succeeded()
    preptime("synthesize", "--out", tmp_path / "drift", *plan, "--drift", "London:4:+50%").succeeded()
    truths = [pl.read_csv(tmp_path / name / "truth.csv") for name in ("calm", "drift")]
    orders = pl.read_csv(tmp_path / "calm" / "orders.csv")
    late = orders["order_acknowledged_at"].str.slice(0, 10) >= "2015-06-05"
    calm, drift = (truth.filter(late).select(pl.selectors.numeric().exclude("order_id")).mean() for truth in truths)
    assert all(after > before for before, after in zip(calm.row(0), drift.row(0), strict=True) if before)


def test_synthesize_invalid_drift_is_usage_error(tmp_path: Path) -> None:
    result = preptime("synthesize", "--out", tmp_path / "out", "--drift", "Atlantis:4:+50%", "--json")
    assert "Atlantis" in error_document(result, 2, "UsageError").facts
    assert not (tmp_path / "out").exists()
