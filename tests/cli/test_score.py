"""`score`: CSV and Parquet, partitions, integer codes, and usage errors."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
import pytest

from preptime.cli.score import default_output
from preptime.scoring.score_document import ScoreDocument
from preptime.synthetic import write_integer_coded_orders
from tests.cli.conftest import Files
from tests.cli.run_command import error_document, preptime


def predictions(path: Path) -> pl.DataFrame:
    """Return the predictions of a file: four quantiles and five models."""
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    return frame.select(pl.col(r"^predicted_.*_seconds$")).cast(pl.Float64)


def score(source: str | Path, out: Path, store: Path, *options: str) -> ScoreDocument:
    """Run `score` and return its document."""
    return (
        preptime("score", source, "--out", out, "--store", store, *options, "--json")
        .succeeded()
        .document(ScoreDocument)
    )


def test_score_csv_equals_parquet(files: Files, orders: pl.DataFrame, store: Path) -> None:
    folder = store.parent
    orders.write_parquet(folder / "orders.parquet")
    frames = []
    for source, name in ((files.orders, "a.parquet"), (folder / "orders.parquet", "b.csv"), (files.orders, "c.csv")):
        document = score(source, folder / name, store)
        assert document.rows == document.predicted == len(orders)
        frames.append(predictions(folder / name))
    assert frames[0].width == 9
    assert frames[1].equals(frames[2])
    assert (frames[0] - frames[1]).select(pl.all().abs().max()).max_horizontal()[0] < 0.1


def test_score_glob_is_one_table(files: Files, orders: pl.DataFrame, store: Path) -> None:
    folder = store.parent
    for start in (0, 1_000, 2_000):
        orders[start : start + 1_000].write_csv(folder / f"part-{start}.csv")
    assert score(folder / "part-*.csv", folder / "parts.csv", store).rows == len(orders)
    score(files.orders, folder / "whole.csv", store)
    assert predictions(folder / "parts.csv").equals(predictions(folder / "whole.csv"))


def test_score_integer_codes_equal_names(files: Files, orders: pl.DataFrame, store: Path) -> None:
    """As in the file of the take-home API contract."""
    folder = store.parent
    last = orders.tail(200)
    last.write_csv(folder / "named.csv")
    read = pl.read_csv(files.orders, try_parse_dates=True).tail(200)
    write_integer_coded_orders(read, pl.read_csv(files.restaurants), folder / "coded.csv")
    for name in ("named", "coded"):
        assert score(folder / f"{name}.csv", folder / f"{name}.parquet", store).predicted == 200
    assert predictions(folder / "coded.parquet").equals(predictions(folder / "named.parquet"))


def test_score_invalid_row_has_a_reason(orders: pl.DataFrame, store: Path) -> None:
    bad, out = store.parent / "bad.csv", store.parent / "out.csv"
    rows = orders.head(3).with_columns(order_acknowledged_at=pl.Series(["soon", *orders["order_acknowledged_at"][1:3]]))
    rows.write_csv(bad)
    result = preptime("score", bad, "--out", out, "--store", store).succeeded()
    assert " predicted 2 of 3 orders." in result.out
    assert re.search(r"^The median prediction is \d+\.\d minutes\.$", result.out, re.MULTILINE)
    assert "1 order without a prediction. Reason: " in result.out
    assert len(pl.read_csv(out)) == 3


def test_score_counts_unknown_restaurants(orders: pl.DataFrame, store: Path) -> None:
    """A misspelled ID of a restaurant is counted, and not only part of the fallback levels."""
    source, out = store.parent / "unknown.csv", store.parent / "out.csv"
    is_unknown = pl.int_range(pl.len()) < 2
    restaurant_id = pl.when(is_unknown).then(pl.lit("999999")).otherwise(pl.col("restaurant_id").cast(pl.String))
    orders.head(5).with_columns(restaurant_id=restaurant_id).write_csv(source)
    result = preptime("score", source, "--out", out, "--store", store).succeeded()
    assert "2 orders of unknown restaurants, predicted by fallback level: global 2.\n" in result.out
    document = score(source, out, store)
    assert document.unknown_restaurants == {"global": 2}
    orders.tail(5).write_csv(source)
    assert score(source, out, store).unknown_restaurants == {}
    assert "unknown restaurants" not in preptime("score", source, "--out", out, "--store", store).succeeded().out


def test_score_flags_orders_of_another_city(orders: pl.DataFrame, files: Files, store: Path) -> None:
    """Orders of another market can have the identifiers of the bundle's restaurants."""
    source, out, other = store.parent / "other.csv", store.parent / "out.csv", store.parent / "restaurants.csv"
    sentence = "predicted with a country or city that isn't that of the restaurant in the bundle."
    is_other = pl.int_range(pl.len()) < 3
    orders.head(5).with_columns(city=pl.when(is_other).then(pl.lit("Auckland"))).write_csv(source)
    result = preptime("score", source, "--out", out, "--store", store).succeeded()
    assert f"3 orders {sentence}" in result.out
    assert pl.read_csv(out)["restaurant_differs"].to_list() == [True] * 3 + [False] * 2
    # The same orders without a city, and with the restaurants file of the other market.
    orders.head(5).write_csv(source)
    place = {"country": pl.lit("New Zealand"), "city": pl.lit("Auckland")}
    pl.read_csv(files.restaurants).with_columns(**place).write_csv(other)
    result = preptime("score", source, "--out", out, "--store", store, "--restaurants", other).succeeded()
    assert f"5 orders {sentence}" in result.out
    assert pl.read_csv(out)["restaurant_differs"].to_list() == [True] * 5
    result = preptime("score", source, "--out", out, "--store", store, "--restaurants", files.restaurants).succeeded()
    assert sentence not in result.out
    assert "restaurant_differs" not in pl.read_csv(out).columns


def test_score_travel_column_adds_dispatch_times(
    orders: pl.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = store.parent / "trips.csv", store.parent / "out.csv"
    orders.head(3).with_columns(trip=pl.Series(["300", "", "6.5"])).write_csv(source)
    monkeypatch.setenv("PREPTIME_COURIER_COST", "3")
    result = preptime("score", source, "--out", out, "--store", store, "--travel-column", "trip").succeeded()
    assert "1 order without a dispatch time. Reason of the travel time: missing_value.\n" in result.out
    assert pl.read_csv(out)["prediction_dispatch_quantile"].to_list() == [0.75, None, 0.75]
    costs = ("--travel-column", "trip", "--courier-cost", "1", "--food-cost", "2.0")
    assert score(source, out, store, *costs).without_dispatch == {"missing_value": 1}
    scored = pl.read_csv(out)
    assert scored["prediction_dispatch_quantile"].to_list() == [1 / 3, None, 1 / 3]
    assert scored["predicted_dispatch_at"].is_null().to_list() == [False, True, False]


def test_score_explain_adds_up_to_the_prediction(orders: pl.DataFrame, store: Path) -> None:
    source, out = store.parent / "explained.csv", store.parent / "out.csv"
    rows = orders.head(20).with_columns(pl.col("number_of_items").cast(pl.String))
    rows.with_columns(number_of_items=pl.Series(["many", *rows["number_of_items"][1:]])).write_csv(source)
    assert score(source, out, store, "--explain").predicted == 19
    explained = pl.read_csv(out)
    parts = explained.select(pl.col("^explain_.*_seconds$"))
    names = ("base", "restaurant", "time", "basket", "place", "rounding")
    assert parts.columns == [f"explain_{name}_seconds" for name in names]
    assert parts.row(0) == (None,) * len(names)
    differences = (parts.sum_horizontal() - explained["predicted_seconds"])[1:].abs()
    assert differences.to_numpy().max() < 1e-3
    result = preptime("score", "--date", "2015-06-20", "--explain", "--store", store)
    assert (result.status, "Use --explain only with INPUT, not with --date." in result.err) == (2, True)


@pytest.mark.parametrize(
    ("status", "options", "message"),
    [
        (2, ("--courier-cost", "2"), "Use --courier-cost and --food-cost only with --travel-column."),
        (
            2,
            ("--travel-column", "trip", "--date", "2015-06-20"),
            "Use --travel-column only with INPUT, not with --date.",
        ),
        (2, ("--travel-column", "trip", "--food-cost", "10"), "so the ratio must be from 1:9 to 9:1."),
        (1, ("--travel-column", "trip"), "has no column 'trip'. Its columns are "),
    ],
)
def test_score_travel_options_are_checked(
    files: Files, store: Path, status: int, options: tuple[str, ...], message: str
) -> None:
    result = preptime("score", files.orders, "--store", store, "--out", store.parent / "out.csv", *options)
    assert (result.status, message in result.err) == (status, True), result.err


@pytest.mark.parametrize("name", ["orders.csv", "orders.parquet", "Orders.CSV", "my orders.v2.csv", "o.csv.gz"])
def test_score_default_output_is_next_to_input(name: str, orders: pl.DataFrame, store: Path) -> None:
    source = store.parent / "inputs" / name
    source.parent.mkdir()
    if name.endswith(".gz"):
        source.write_bytes(gzip.compress(orders.head(20).write_csv().encode()))
    else:
        (orders.head(20).write_parquet if name.endswith("parquet") else orders.head(20).write_csv)(source)
    before = source.read_bytes()
    plain_name = Path(name.removesuffix(".gz"))
    suffix = plain_name.suffix.lower()
    expected = source.with_name(f"{plain_name.stem}.predictions{suffix}")
    result = preptime("score", source, "--store", store).succeeded()
    assert f"The predictions are in {expected}." in result.out
    assert sorted(source.parent.iterdir()) == sorted([source, expected])
    assert source.read_bytes() == before
    assert len(predictions(expected)) == 20
    explicit = store.parent / f"explicit{suffix}"
    preptime("score", source, "--out", explicit, "--store", store).succeeded()
    assert expected.read_bytes() == explicit.read_bytes()
    preptime("score", source, "--store", store).succeeded()  # an existing output is replaced, as with --out
    assert expected.read_bytes() == explicit.read_bytes()


def test_score_default_output_of_a_folder_is_next_to_it(orders: pl.DataFrame, store: Path) -> None:
    folder = store.parent / "exports"
    folder.mkdir()
    orders.head(20).write_parquet(folder / "part-1.parquet")
    expected = store.parent / "exports.predictions.parquet"
    for _ in range(2):
        result = preptime("score", folder, "--store", store).succeeded()
        assert f"The predictions are in {expected}." in result.out
        assert len(predictions(expected)) == 20
    assert [path.name for path in folder.iterdir()] == ["part-1.parquet"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("city=London/a.parquet",), "part.predictions.parquet"),
        (("day=1/city=Rome/A.PARQUET", "_SUCCESS"), "part.predictions.parquet"),
        (("city=London/a.csv",), "part.predictions.csv"),
        (("a.csv.gz", "_temporary/0/a.parquet", ".old/a.parquet", "sub/.a.parquet"), "part.predictions.csv"),
    ],
)
def test_default_output_has_the_format_below_the_folder(names: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    """Scoring reads folders in folders, without names that start with a dot or an underscore."""
    for name in names:
        path = tmp_path / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    (tmp_path / "part" / "empty.parquet").touch()
    assert default_output(str(tmp_path / "part")) == tmp_path / expected


def test_score_glob_without_out_is_usage_error(orders: pl.DataFrame, store: Path) -> None:
    orders.head(20).write_csv(store.parent / "part-1.csv")
    result = preptime("score", store.parent / "part-*.csv", "--store", store, "--json")
    error = error_document(result, 2, "UsageError")
    assert "part-*.csv" in error.facts
    assert "--out predictions.parquet" in error.hint


def test_score_restaurants_option_adds_restaurants(orders: pl.DataFrame, files: Files, store: Path) -> None:
    folder = store.parent
    orders.head(20).with_columns(restaurant_id=pl.lit("999999")).write_csv(folder / "new.csv")
    known = pl.read_csv(files.restaurants).head(1).with_columns(restaurant_id=pl.lit(999_999))
    known.write_csv(folder / "more.csv")
    assert score(folder / "new.csv", folder / "without.csv", store).fallback_level["global"] == 20
    document = score(folder / "new.csv", folder / "with.csv", store, "--restaurants", str(folder / "more.csv"))
    assert document.predicted == 20
    assert document.fallback_level["global"] == 0


def test_score_uses_bundle_by_id(files: Files, two_bundle_store: Path, trained_bundle: str) -> None:
    assert (
        score(files.orders, two_bundle_store.parent / "o.csv", two_bundle_store, "--bundle", trained_bundle).bundle
        == trained_bundle
    )


@pytest.mark.parametrize("name", ["2015-06-12-000000000000", "latest", "../models"])
def test_score_unknown_bundle_is_usage_error(name: str, files: Files, store: Path) -> None:
    out = store.parent / "o.csv"
    result = preptime("score", files.orders, "--out", out, "--store", store, "--bundle", name, "--json")
    assert name in error_document(result, 2, "UsageError").facts
    assert not out.exists()


def test_score_without_champion_is_usage_error(files: Files, tmp_path: Path) -> None:
    store = tmp_path / "empty"
    store.mkdir()
    result = preptime("score", files.orders, "--out", tmp_path / "o.csv", "--store", store, "--json")
    assert "no champion" in error_document(result, 2, "UsageError").facts
    assert list(store.iterdir()) == []


def test_score_unsupported_output_is_usage_error(files: Files, store: Path) -> None:
    result = preptime("score", files.orders, "--out", store.parent / "o.xlsx", "--store", store, "--json")
    assert ".xlsx" in error_document(result, 2, "UsageError").facts


def test_score_input_as_output_is_usage_error(files: Files, store: Path) -> None:
    before = files.orders.read_bytes()
    assert preptime("score", files.orders, "--out", files.orders, "--store", store).status == 2
    assert files.orders.read_bytes() == before
