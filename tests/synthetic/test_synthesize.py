"""The synthesizer: plans, files, reproducibility, and the contents of orders."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from preptime.errors import UsageError
from preptime.synthetic import Drift, SynthesisPlan, synthesize, synthesize_frames, write_integer_coded_orders

COLUMNS = [
    "order_id",
    "order_acknowledged_at",
    "order_ready_at",
    "order_value_gbp",
    "restaurant_id",
    "number_of_items",
    "prep_time_seconds",
]


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_synthesize_is_deterministic_per_plan_and_seed(tmp_path: Path, file_format: Literal["csv", "parquet"]) -> None:
    plan = SynthesisPlan(orders=3_000, seed=5)
    for folder in ("once", "again"):
        synthesize(plan, tmp_path / folder, file_format)
    synthesize(SynthesisPlan(orders=3_000, seed=6), tmp_path / "other", file_format)
    once = _digests(tmp_path / "once")
    assert set(once) == {f"{name}.{file_format}" for name in ("orders", "restaurants", "truth")}
    assert once == _digests(tmp_path / "again")
    assert all(digest != once[name] for name, digest in _digests(tmp_path / "other").items())


def test_synthesize_csv_and_parquet_are_equal(tmp_path: Path) -> None:
    plan = SynthesisPlan(orders=2_000)
    steps: list[tuple[str, float]] = []
    csv = synthesize(plan, tmp_path, "csv", lambda step, share: steps.append((step, share)))
    parquet = synthesize(plan, tmp_path, "parquet")
    text, instants = pl.read_csv(csv.orders), pl.read_parquet(parquet.orders)
    assert text.columns == instants.columns == COLUMNS
    assert (csv.order_rows, csv.restaurant_rows) == (text.height, pl.read_csv(csv.restaurants).height)
    assert steps[-1] == ("Writing files", 1.0)
    assert text["order_acknowledged_at"].str.contains(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+0[12]:00$").all()
    for name in ("order_acknowledged_at", "order_ready_at"):
        assert instants.schema[name] == pl.Datetime("us", "UTC")
        parsed = text[name].str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_zone="UTC", time_unit="us")
        assert parsed.equals(instants[name])
    others = [name for name in COLUMNS if not name.endswith("_at")]
    assert text.select(others).equals(instants.select(others))
    truth = pl.read_parquet(parquet.truth)
    assert truth["order_id"].equals(instants["order_id"])


def test_synthesize_frames_are_well_formed() -> None:
    orders, restaurants, truth = synthesize_frames(SynthesisPlan(orders=5_000))
    assert orders.columns == COLUMNS
    assert restaurants.columns == ["restaurant_id", "country", "city", "type_of_food"]
    assert orders["order_id"].n_unique() == orders.height == truth.height == 5_000
    assert orders["order_acknowledged_at"].is_sorted()
    taken = (orders["order_ready_at"] - orders["order_acknowledged_at"]).dt.total_microseconds() // 1_000_000
    assert taken.equals(orders["prep_time_seconds"])
    assert (orders["prep_time_seconds"] >= 0).all()
    assert (orders["order_value_gbp"] > 0).all()
    assert (orders["number_of_items"] >= 1).all()
    assert orders["restaurant_id"].is_in(restaurants["restaurant_id"].implode()).all()


@pytest.mark.parametrize(
    ("start", "days"), [(dt.date(2024, 10, 25), 4), (dt.date(2024, 3, 30), 2), (dt.date(2024, 2, 29), 1)]
)
def test_synthesize_local_days_match_period(tmp_path: Path, start: dt.date, days: int) -> None:
    report = synthesize(SynthesisPlan(orders=400, days=days, start=start), tmp_path)
    local = pl.read_csv(report.orders)["order_acknowledged_at"].str.slice(0, 10).str.to_date()
    assert local.min() == start
    assert local.max() == start + dt.timedelta(days=days - 1)


@pytest.mark.parametrize(
    "plan",
    [
        SynthesisPlan(orders=1),
        SynthesisPlan(orders=1, restaurants=1, days=1),
        SynthesisPlan(orders=3_000, restaurants=1, days=1),
        SynthesisPlan(orders=300, restaurants=1),
        SynthesisPlan(orders=300, days=1),
        SynthesisPlan(orders=7, restaurants=2_000),
        SynthesisPlan(orders=500, restaurants=30, days=400),
    ],
    ids=str,
)
def test_synthesize_works_for_small_and_unusual_plans(plan: SynthesisPlan, tmp_path: Path) -> None:
    report = synthesize(plan, tmp_path)
    orders = pl.read_csv(report.orders)
    assert orders.height == plan.orders == report.order_rows
    assert pl.read_csv(report.restaurants).height == plan.restaurant_count == report.restaurant_rows
    assert orders.null_count().sum_horizontal().item() == 0


def test_plan_restaurant_count_scales_with_orders_and_days() -> None:
    assert SynthesisPlan().restaurant_count == 1_697
    assert SynthesisPlan(orders=323_940).restaurant_count == 16_970
    assert SynthesisPlan(orders=323_940, days=300).restaurant_count == 1_697
    assert SynthesisPlan(orders=1).restaurant_count >= 24


@pytest.mark.parametrize(
    ("orders", "restaurants", "days", "seed"),
    [(0, None, 30, 1), (-5, None, 30, 1), (10, 0, 30, 1), (10, None, 0, 1), (10, None, 30, -1), (10, None, 40_000, 1)],
)
def test_plan_with_invalid_values_raises(orders: int, restaurants: int | None, days: int, seed: int) -> None:
    with pytest.raises(UsageError):
        SynthesisPlan(orders=orders, restaurants=restaurants, days=days, seed=seed)


def test_drift_parse_returns_drift() -> None:
    assert Drift.parse("London:20:+15%") == Drift("London", 20, 1.15)
    assert Drift.parse(" Paris : 3 : -10 % ") == Drift("Paris", 3, 0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("London:20", "not in the form"),
        ("London:20:15", "not in the form"),
        ("London:x:+15%", "not a number"),
        ("London:2:+a%", "not a number"),
        ("Rome:2:+15%", "Rome"),
        ("London:0:+15%", "day 0"),
        ("London:2:-100%", "factor"),
        ("London:2:nan%", "factor"),
    ],
)
def test_drift_parse_with_invalid_text_raises(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Drift.parse(text)


def test_plan_with_drift_after_period_raises() -> None:
    with pytest.raises(UsageError, match="31"):
        SynthesisPlan(drift=Drift("London", 31, 1.2))


def test_integer_coded_orders_use_sorted_vocabularies(tmp_path: Path) -> None:
    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=500))
    path = tmp_path / "coded.csv"
    assert write_integer_coded_orders(orders, restaurants, path, rows=120) == 120
    coded = pl.read_csv(path)
    known = ["order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items"]
    assert coded.columns == [*known, "country", "city", "type_of_food"]
    assert coded["restaurant_id"].equals(orders["restaurant_id"].head(120))
    named = orders.head(120).join(restaurants, on="restaurant_id", how="left", maintain_order="left")
    for name in ("country", "city", "type_of_food"):
        vocabulary = sorted(set(restaurants[name]))
        assert [vocabulary[code] for code in coded[name]] == named[name].to_list()


def test_write_table_failure_keeps_old_file(tmp_path: Path) -> None:
    report = synthesize(SynthesisPlan(orders=50), tmp_path)
    before = _digests(tmp_path)
    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=50, seed=2))
    nested = orders.with_columns(pl.concat_list("order_id").alias("csv_cannot_hold_this"))
    with pytest.raises(pl.exceptions.ComputeError):
        write_integer_coded_orders(
            nested.with_columns(order_value_gbp=pl.col("csv_cannot_hold_this")), restaurants, report.orders
        )
    assert _digests(tmp_path) == before
