"""Tests of `score --date`: the orders of a day, the bundle that predicts, the results, and the messages."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import OUTCOME_COLUMNS
from preptime.scoring.score_day import DayScoreDocument, read_day_orders
from preptime.sources.registry import open_source
from preptime.validation.restaurants import read_restaurants
from tests.cli.run_command import error_document
from tests.daily.factories import FIRST, LAST, Installation, local_dates, orders_through

ONE_DAY = dt.timedelta(days=1)
NEXT = LAST + ONE_DAY


def copy_store(week: Installation, installation: Installation) -> Installation:
    """Copy the week's store to the installation."""
    shutil.copytree(week.store, installation.store)
    return installation


def read_document(installation: Installation, date: dt.date) -> DayScoreDocument:
    """Return the `score.json` of a day."""
    return msgspec.json.decode(
        (installation.results / f"date={date}" / "score.json").read_bytes(), type=DayScoreDocument
    )


def test_predictions_have_each_order_once_without_outcomes(week: Installation, rows: pl.DataFrame) -> None:
    predictions, expected = week.predictions(LAST), rows.filter(local_dates(rows, week.restaurants) == LAST)
    assert predictions["order_acknowledged_at"].to_list() == expected["order_acknowledged_at"].to_list()
    assert predictions.columns[0] == "order_key"
    assert predictions["order_key"].n_unique() == len(predictions)
    assert not set(OUTCOME_COLUMNS) & set(predictions.columns)
    assert predictions["predicted_seconds"].null_count() == 0
    document = read_document(week, LAST)
    assert (document.outcome, document.orders, document.predicted) == ("scored", len(predictions), len(predictions))
    assert document.bundle == predictions["prediction_bundle"][0]
    assert document.history_date == LAST


def test_score_day_is_independent_of_row_order_and_files(
    week: Installation, installation: Installation, rows: pl.DataFrame
) -> None:
    copy_store(week, installation)
    shuffled = orders_through(rows, LAST).sample(fraction=1.0, shuffle=True, seed=5)
    installation.orders.unlink()
    folder = installation.orders.parent / "parts"
    folder.mkdir()
    shuffled[:1_000].write_csv(folder / "a.csv")
    shuffled[1_000:].write_csv(folder / "b.csv")
    in_parts = Installation(folder, installation.restaurants, installation.store, installation.results)
    in_parts.run("score", LAST).succeeded()
    assert in_parts.predictions(LAST).equals(week.predictions(LAST))


def test_score_day_without_champion_succeeds(installation: Installation) -> None:
    ran = installation.run("score", FIRST).succeeded()
    assert f"had no champion as of {FIRST}. No predictions were made." in ran.out
    document = read_document(installation, FIRST)
    assert (document.outcome, document.bundle, document.history_date, document.predicted) == (
        "no_champion",
        None,
        None,
        0,
    )
    assert document.orders > 0
    assert [path.name for path in (installation.results / f"date={FIRST}").iterdir()] == ["score.json"]


def test_score_day_without_orders_deletes_old_predictions(week: Installation, installation: Installation) -> None:
    copy_store(week, installation)
    stale = installation.results / f"date={NEXT}" / "predictions.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of a run when the table still had them")
    ran = installation.run("score", NEXT).succeeded()
    assert f"There are no orders of {NEXT}. No predictions were made." in ran.out
    assert (read_document(installation, NEXT).outcome, read_document(installation, NEXT).orders) == ("no_orders", 0)
    assert not stale.exists()


def test_score_day_without_training_uses_previous_champion(
    week: Installation, installation: Installation, rows: pl.DataFrame
) -> None:
    copy_store(week, installation)
    orders_through(rows, NEXT).write_csv(installation.orders)
    ran = installation.run("score", NEXT).succeeded()
    assert f"No bundle was published for {NEXT}. The history is as of {LAST}." in ran.out
    document = read_document(installation, NEXT)
    assert (document.bundle, document.history_date) == (read_document(week, LAST).bundle, LAST)


def test_score_day_backfill_uses_champion_as_of_the_date(week: Installation, installation: Installation) -> None:
    copy_store(week, installation)
    installation.run("score", FIRST).succeeded()
    champion = ChampionLog(Store.open(str(installation.store))).as_of(FIRST)
    assert read_document(installation, FIRST).bundle == (champion.bundle if champion else None)
    day_before = FIRST - ONE_DAY
    installation.run("score", day_before).succeeded()
    assert read_document(installation, day_before).outcome == "no_champion"
    later = str(read_document(week, LAST).bundle)
    ran = installation.run("score", FIRST, "--bundle", later, "--json")
    assert (
        f"{later} has the date {LAST}, so it knows events after {FIRST}" in error_document(ran, 2, "UsageError").facts
    )


def test_score_day_with_bundle_id_gives_same_predictions(week: Installation, installation: Installation) -> None:
    copy_store(week, installation)
    installation.run("score", LAST, "--bundle", str(read_document(week, LAST).bundle)).succeeded()
    assert (
        installation.daily_files((LAST,))[f"date={LAST}/predictions.parquet"]
        == (week.daily_files((LAST,))[f"date={LAST}/predictions.parquet"])
    )


def test_score_day_rejects_file_output(week: Installation, installation: Installation) -> None:
    copy_store(week, installation)
    document = error_document(installation.run("score", LAST, "--out", "predictions.csv", "--json"), 2, "UsageError")
    assert "--out predictions.csv isn't a database URL." in document.facts
    assert f"date={LAST}" in document.hint


CLOCKS = (
    ("London", "2015-10-24T22:59:59Z", 24),
    ("London", "2015-10-24T23:00:00Z", 25),  # midnight, still summer time
    ("London", "2015-10-25T00:30:00Z", 25),  # 01:30
    ("London", "2015-10-25T01:30:00Z", 25),  # 01:30 again
    ("London", "2015-10-25T23:59:59Z", 25),
    ("London", "2015-10-26T00:00:00Z", 26),
    ("London", "2015-10-25 01:30:00", 25),  # ambiguous
    ("New York", "2015-10-26T03:59:59Z", 25),
    ("New York", "2015-10-26T04:00:00Z", 26),
    ("Sydney", "2015-10-24T12:59:59Z", 24),
    ("Sydney", "2015-10-24T13:00:00Z", 25),
)
SPRING = (
    ("London", "2015-03-28T23:59:59Z", 28),
    ("London", "2015-03-29T00:30:00Z", 29),
    ("London", "2015-03-29T01:30:00Z", 29),  # 02:30; there is no 01:30
    ("London", "2015-03-29 01:30:00", 29),  # doesn't exist
    ("London", "2015-03-29T22:59:59Z", 29),
    ("London", "2015-03-29T23:00:00Z", 30),
)
ZONES = {"London": "Europe/London", "New York": "America/New_York", "Sydney": "Australia/Sydney"}


@pytest.mark.parametrize(("month", "clocks"), [(10, CLOCKS), (3, SPRING)], ids=["autumn", "spring"])
def test_read_day_orders_uses_local_midnight_at_clock_changes(
    month: int, clocks: tuple[tuple[str, str, int], ...], tmp_path: Path
) -> None:
    """A day of 25 hours has 01:30 twice, and both are predicted. A day of 23 hours doesn't have it."""
    cities = list(ZONES)
    restaurants = read_restaurants(
        pl.DataFrame({"restaurant_id": range(len(cities)), "country": "UK", "city": cities, "type_of_food": "thai",
                      "time_zone": list(ZONES.values())})
    )  # fmt: skip
    orders = pl.DataFrame({
        "order_acknowledged_at": [timestamp for _, timestamp, _ in clocks],
        "restaurant_id": [cities.index(city) for city, _, _ in clocks],
        "order_value_gbp": 20.0,
        "number_of_items": range(1, len(clocks) + 1),
    })  # fmt: skip
    orders.write_csv(tmp_path / "orders.csv")
    day_by_items = {}
    for day in sorted({day for _, _, day in clocks}):
        day_orders = read_day_orders(open_source(tmp_path / "orders.csv"), dt.date(2015, month, day), restaurants)
        for items in day_orders.rows["number_of_items"]:
            day_by_items[int(items)] = day
    assert [day_by_items[items] for items in range(1, len(clocks) + 1)] == [day for _, _, day in clocks]


def test_read_day_orders_sorts_repeated_hour_by_instant(tmp_path: Path) -> None:
    restaurants = read_restaurants(
        pl.DataFrame({"restaurant_id": [1], "country": ["UK"], "city": ["London"], "type_of_food": ["thai"]})
    )
    timestamps = ["2015-10-25T01:30:00Z", "2015-10-25T00:30:00Z", "2015-10-25T00:30:00Z"]
    pl.DataFrame(
        {"order_acknowledged_at": timestamps, "restaurant_id": 1, "order_value_gbp": 20.0, "number_of_items": 2}
    ).write_csv(tmp_path / "orders.csv")
    day_orders = read_day_orders(open_source(tmp_path / "orders.csv"), dt.date(2015, 10, 25), restaurants)
    assert day_orders.rows["order_acknowledged_at"].to_list() == ["2015-10-25T00:30:00Z", "2015-10-25T01:30:00Z"]
    assert day_orders.duplicate_rows == 1
    assert day_orders.keys.n_unique() == 2
