"""Tests that every row is returned in order with a prediction or a reason, for any chunks (decision 4)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preptime.bundle.bundle import Bundle
from preptime.domain.orders import FALLBACK_LEVELS, QUANTILE_LEVELS
from preptime.errors import UsageError
from preptime.scoring.score_file import CHUNK_ROWS, score_file
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_SECONDS,
    PREDICTION_BUNDLE,
    PREDICTION_REASON,
    RESTAURANT_DIFFERS,
    model_column,
    quantile_column,
)
from preptime.synthetic import synthesize_frames
from preptime.validation.audit import audit_orders, to_order_columns
from preptime.validation.restaurants import read_restaurants
from tests.scoring.factories import MIXED_ROWS, PLAN, mixed_rows, order_cells, write_orders

FORMATS = ("csv", "parquet")


def score(
    folder: Path,
    rows: pl.DataFrame,
    bundle: Bundle,
    to: str = "parquet",
    *,
    chunk_rows: int = CHUNK_ROWS,
    workers: int | None = None,
) -> pl.DataFrame:
    """Write rows to a file, score it, and read the output. CSV is read as text."""
    source = write_orders(folder / f"orders.{to}", rows)
    score_file(source, folder / f"scored.{to}", bundle, chunk_rows=chunk_rows, workers=workers)
    return read(folder / f"scored.{to}")


def read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_parquet(path)


def appended(scored: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return only the prediction columns."""
    return scored.drop(rows.columns)


def synthetic() -> pl.DataFrame:
    return synthesize_frames(PLAN)[0]


@pytest.mark.parametrize("to", FORMATS)
def test_score_file_returns_prediction_or_reason_for_every_row(tmp_path: Path, bundle: Bundle, to: str) -> None:
    rows = mixed_rows()
    scored = score(tmp_path, rows, bundle, to)
    assert scored.select(rows.columns).equals(rows)
    assert scored.columns[: len(rows.columns)] == rows.columns
    assert scored[PREDICTION_REASON].to_list() == [reason for _, reason in MIXED_ROWS]
    predicted = scored[PREDICTION_REASON].is_null().to_list()
    for name in appended(scored, rows).drop(PREDICTION_REASON, PREDICTION_BUNDLE).columns:
        assert scored[name].is_not_null().to_list() == predicted, name
    assert set(scored[PREDICTION_BUNDLE]) == {bundle.manifest.id}


def test_score_document_matches_output(tmp_path: Path, bundle: Bundle) -> None:
    source = write_orders(tmp_path / "orders.csv", mixed_rows())
    out = tmp_path / "scored.csv"
    document = score_file(source, out, bundle, chunk_rows=3)
    scored = read(out)
    predicted_rows = scored.filter(pl.col(PREDICTION_REASON).is_null())
    assert (document.rows, document.predicted) == (len(MIXED_ROWS), len(predicted_rows))
    rejected = scored[PREDICTION_REASON].drop_nulls().value_counts()
    assert document.rejected == dict(rejected.rows())
    assert {name: count for name, count in document.fallback_level.items() if count} == dict(
        predicted_rows[FALLBACK_LEVEL].value_counts().rows()
    )
    p50 = predicted_rows[PREDICTED_SECONDS].cast(pl.Float64).round()
    assert document.median_predicted_seconds == p50.quantile(0.5, "lower")
    assert (document.source, document.out, document.bundle) == (source, str(out), bundle.manifest.id)


def test_score_file_values_equal_bundle_predictions(tmp_path: Path, bundle: Bundle) -> None:
    rows = synthetic()
    scored = score(tmp_path, rows, bundle, chunk_rows=400)
    audited = audit_orders(rows, bundle.history.restaurants, need_label=False)
    predictions = bundle.predict(to_order_columns(audited.frame, bundle.history.restaurants))
    np.testing.assert_array_equal(scored[PREDICTED_SECONDS].to_numpy(), predictions.default)
    for index, level in enumerate(QUANTILE_LEVELS):
        np.testing.assert_array_equal(scored[quantile_column(level)].to_numpy(), predictions.quantiles[:, index])
    assert predictions.points.keys() == {"rf", "xgb"}
    for name, seconds in predictions.points.items():
        np.testing.assert_array_equal(scored[model_column(name)].to_numpy(), seconds)
    assert scored[FALLBACK_LEVEL].to_list() == [FALLBACK_LEVELS[code] for code in predictions.fallback_level]


@pytest.fixture(scope="module")
def alone(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """Return `MIXED_ROWS` scored one row at a time."""
    folder = tmp_path_factory.mktemp("alone")
    return {to: score(folder, mixed_rows(), bundle, to, chunk_rows=1, workers=1) for to in FORMATS}


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.lists(st.integers(0, len(MIXED_ROWS) - 1), min_size=1, max_size=30),
    chunk_rows=st.sampled_from([1, 2, 7, 1000]),
    workers=st.integers(1, 3),
    to=st.sampled_from(FORMATS),
)
def test_score_file_is_independent_of_chunks_and_order(
    *, bundle: Bundle, alone: dict[str, pl.DataFrame], chosen: list[int], chunk_rows: int, workers: int, to: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scored = score(Path(folder), mixed_rows()[chosen], bundle, to, chunk_rows=chunk_rows, workers=workers)
        assert scored.equals(alone[to][chosen])


def test_score_file_csv_and_parquet_give_equal_values(tmp_path: Path, bundle: Bundle) -> None:
    rows = synthetic().with_columns(pl.when(pl.col("order_id") % 9 > 0).then("order_value_gbp"))
    source = write_orders(tmp_path / "orders.parquet", rows)
    score_file(source, tmp_path / "typed.parquet", bundle)
    score_file(source, tmp_path / "once.csv", bundle)
    score_file(str(tmp_path / "once.csv"), tmp_path / "text.parquet", bundle)
    typed, text = read(tmp_path / "typed.parquet"), read(tmp_path / "text.parquet")
    assert appended(text, rows).equals(appended(typed, rows))


@pytest.mark.parametrize("to", FORMATS)
def test_score_file_twice_replaces_columns_in_place(tmp_path: Path, bundle: Bundle, to: str) -> None:
    source = write_orders(tmp_path / f"orders.{to}", synthetic().head(200))
    first, second = tmp_path / f"first.{to}", tmp_path / f"second.{to}"
    score_file(source, first, bundle)
    moved = (
        read(first)
        .select(PREDICTED_SECONDS, pl.exclude(PREDICTED_SECONDS))
        .with_columns(pl.lit("stale").alias(PREDICTION_BUNDLE))
    )
    score_file(write_orders(tmp_path / f"moved.{to}", moved), second, bundle)
    assert read(second).columns == moved.columns
    assert read(second).select(read(first).columns).equals(read(first))


def test_score_file_keeps_csv_cells_unchanged(tmp_path: Path, bundle: Bundle) -> None:
    lines = [
        "number_of_items,price,order_value_gbp,mine,order_acknowledged_at,restaurant_id",
        '3,007.50,21.40,"a, ""b""",2015-06-20 19:00:00+01:00,1',
        "3.0,1e5, 21.4,,2015-06-20T19:00:00+0100,1.0",
        ",,,x,,",
    ]
    (tmp_path / "orders.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    score_file(str(tmp_path / "orders.csv"), tmp_path / "scored.csv", bundle)
    output_lines = (tmp_path / "scored.csv").read_text(encoding="utf-8").splitlines()
    assert len(output_lines) == len(lines)
    assert all(output_line.startswith(f"{line},") for output_line, line in zip(output_lines, lines, strict=True))
    appended_cells = [
        output_line[len(line) :].split(",")[1:] for output_line, line in zip(output_lines[1:3], lines[1:3], strict=True)
    ]
    assert appended_cells[0] == appended_cells[1]
    assert appended_cells[0][0] != ""


def test_score_file_keeps_parquet_types(tmp_path: Path, bundle: Bundle) -> None:
    rows = (
        synthetic()
        .head(90)
        .with_columns(tags=pl.concat_list(pl.lit("a"), pl.lit("b")), price=pl.lit(7.5).cast(pl.Decimal(9, 2)))
    )
    scored = score(tmp_path, rows, bundle, chunk_rows=40)
    assert scored.select(rows.columns).equals(rows)
    assert scored.select(rows.columns).schema == rows.schema


def test_score_file_merges_partitions_of_different_widths(tmp_path: Path, bundle: Bundle) -> None:
    rows = synthetic().head(60)
    (tmp_path / "day").mkdir()
    rows[:30].with_columns(pl.col("number_of_items").cast(pl.Int16)).write_parquet(tmp_path / "day" / "1.parquet")
    gap = pl.when(pl.col("order_id") != 40).then(pl.col("number_of_items").cast(pl.Float64)).otherwise(float("nan"))
    rows[30:].with_columns(gap.alias("number_of_items")).write_parquet(tmp_path / "day" / "2.parquet")
    rows.clear().write_parquet(tmp_path / "day" / "3.parquet")
    document = score_file(str(tmp_path / "day"), tmp_path / "scored.parquet", bundle)
    scored = read(tmp_path / "scored.parquet")
    assert scored["order_id"].to_list() == rows["order_id"].to_list()
    assert document.rejected == {"missing_value": 1}
    whole = score(tmp_path, rows, bundle)
    assert scored.filter(pl.col("order_id") != 40)[PREDICTED_SECONDS].equals(
        whole.filter(pl.col("order_id") != 40)[PREDICTED_SECONDS]
    )


@pytest.mark.parametrize("as_text", [False, True])
def test_score_file_treats_integer_codes_as_names(tmp_path: Path, bundle: Bundle, as_text: bool) -> None:
    names = bundle.history.vocabularies
    categories = {
        "country": [names.country[k % len(names.country)] for k in range(40)],
        "city": [names.city[k % len(names.city)] for k in range(40)],
        "type_of_food": [names.type_of_food[k % len(names.type_of_food)] for k in range(40)],
    }
    rows = pl.DataFrame([order_cells(restaurant_id=str(900_000 + k)) for k in range(40)]).with_columns(
        pl.Series(name, values) for name, values in categories.items()
    )
    coded = rows.with_columns(
        pl.Series(name, [getattr(names, name).index(value) for value in values]) for name, values in categories.items()
    )
    if as_text:
        coded = coded.with_columns(pl.col(*categories).cast(pl.String))
    by_name = score(tmp_path, rows, bundle)
    assert by_name[PREDICTED_SECONDS].n_unique() > 5, "predictions differ by city and food"
    assert appended(score(tmp_path, coded, bundle), coded).equals(appended(by_name, rows))


def test_unknown_restaurant_uses_given_city_and_food(tmp_path: Path, bundle: Bundle) -> None:
    city, food = bundle.history.vocabularies.city, bundle.history.vocabularies.type_of_food
    known = bundle.history.restaurants
    london = [city[known.city[0]], food[known.type_of_food[0]]]
    rows = pl.DataFrame([order_cells(restaurant_id="900001"), order_cells(restaurant_id="1")])
    described = rows.with_columns(pl.Series("city", [london[0]] * 2), pl.Series("type_of_food", [london[1]] * 2))
    without_city, with_city_and_food = score(tmp_path, rows, bundle), score(tmp_path, described, bundle)
    assert without_city[FALLBACK_LEVEL].to_list() == ["global", "restaurant"]
    assert with_city_and_food[FALLBACK_LEVEL].to_list() == ["city_food", "restaurant"]
    listed = read_restaurants(
        pl.DataFrame({"restaurant_id": [900_001], "country": ["UK"], "city": [london[0]], "type_of_food": [london[1]]})
    )
    source = write_orders(tmp_path / "bare.csv", rows)
    score_file(source, tmp_path / "listed.parquet", bundle, restaurants=listed)
    assert with_city_and_food[RESTAURANT_DIFFERS].to_list() == [False, False]  # a column of orders with a city
    expected = appended(with_city_and_food, described).drop(RESTAURANT_DIFFERS)
    assert appended(read(tmp_path / "listed.parquet"), rows).equals(expected)


def test_predicted_ready_at_is_in_restaurant_time_zone(tmp_path: Path, bundle: Bundle) -> None:
    paris = bundle.history.vocabularies.time_zone.index("Europe/Paris")
    index = bundle.history.restaurants.time_zone.tolist().index(paris)
    restaurant = str(bundle.history.restaurants.restaurant_id[index])
    timestamps = ("2015-06-20T19:00:00Z", "2015-06-20 21:00:00", "2015-06-20 21:00:00+02:00", "1434826800")
    rows = pl.DataFrame([order_cells(restaurant_id=restaurant, order_acknowledged_at=text) for text in timestamps])
    ready = score(tmp_path, rows, bundle)["predicted_ready_at"]
    assert ready.n_unique() == 1
    assert ready[0].startswith("2015-06-20 21:")
    assert ready[0].endswith("+02:00")


def test_score_file_ignores_labels(tmp_path: Path, bundle: Bundle) -> None:
    rows = synthetic().head(50)
    without_labels = rows.drop("order_ready_at", "prep_time_seconds")
    invalid_labels = rows.with_columns(pl.lit("?").alias("prep_time_seconds"), pl.lit("?").alias("order_ready_at"))
    expected = appended(score(tmp_path, without_labels, bundle), without_labels)
    assert appended(score(tmp_path, invalid_labels, bundle), invalid_labels).equals(expected)


@pytest.mark.parametrize("to", FORMATS)
def test_score_file_progress_increases_to_one(tmp_path: Path, bundle: Bundle, to: str) -> None:
    fractions: list[float] = []
    source = write_orders(tmp_path / f"orders.{to}", synthetic())
    out = tmp_path / f"scored.{to}"
    score_file(source, out, bundle, chunk_rows=100, progress=lambda _, fraction: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len([fraction for fraction in fractions if 0 < fraction < 1]) > 10


def test_score_explain_needs_a_bundle_with_explanations(bundle: Bundle, tmp_path: Path) -> None:
    source, out = write_orders(tmp_path / "orders.csv", mixed_rows()), tmp_path / "out.csv"
    with pytest.raises(UsageError, match=r"has no explanations: its model quantile doesn't consist of trees of Cat"):
        score_file(source, out, bundle, explain=True)
    assert not out.exists()
