"""`score --date`: which orders are of a day, who answers, what is written, and what is only said."""

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


def with_store(week: Installation, place: Installation) -> Installation:
    """One's own copy of the week's store."""
    shutil.copytree(week.store, place.store)
    return place


def document(place: Installation, date: dt.date) -> DayScoreDocument:
    """`score.json` of a day."""
    return msgspec.json.decode((place.results / f"date={date}" / "score.json").read_bytes(), type=DayScoreDocument)


def test_predictions_have_each_order_once_without_outcomes(week: Installation, rows: pl.DataFrame) -> None:
    found, expected = week.predictions(LAST), rows.filter(local_dates(rows, week.restaurants) == LAST)
    assert found["order_acknowledged_at"].to_list() == expected["order_acknowledged_at"].to_list()
    assert found.columns[0] == "order_key"
    assert found["order_key"].n_unique() == len(found)
    assert not set(OUTCOME_COLUMNS) & set(found.columns)
    assert found["predicted_seconds"].null_count() == 0
    told = document(week, LAST)
    assert (told.outcome, told.orders, told.predicted) == ("scored", len(found), len(found))
    assert told.bundle == found["prediction_bundle"][0]
    assert told.history_date == LAST


def test_score_day_is_independent_of_row_order_and_files(
    week: Installation, place: Installation, rows: pl.DataFrame
) -> None:
    with_store(week, place)
    mixed = orders_through(rows, LAST).sample(fraction=1.0, shuffle=True, seed=5)
    place.orders.unlink()
    folder = place.orders.parent / "parts"
    folder.mkdir()
    mixed[:1_000].write_csv(folder / "a.csv")
    mixed[1_000:].write_csv(folder / "b.csv")
    parts = Installation(folder, place.restaurants, place.store, place.results)
    parts.run("score", LAST).succeeded()
    assert parts.predictions(LAST).equals(week.predictions(LAST))


def test_score_day_without_champion_succeeds(place: Installation) -> None:
    ran = place.run("score", FIRST).succeeded()
    assert f"had no champion on the morning of {FIRST}, so nothing is predicted." in ran.out
    told = document(place, FIRST)
    assert (told.outcome, told.bundle, told.history_date, told.predicted) == ("no_champion", None, None, 0)
    assert told.orders > 0
    assert [path.name for path in (place.results / f"date={FIRST}").iterdir()] == ["score.json"]


def test_score_day_without_orders_deletes_old_predictions(week: Installation, place: Installation) -> None:
    with_store(week, place)
    stale = place.results / f"date={NEXT}" / "predictions.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of a run when the table still had them")
    ran = place.run("score", NEXT).succeeded()
    assert f"The table has no orders of {NEXT}, so nothing is predicted." in ran.out
    assert (document(place, NEXT).outcome, document(place, NEXT).orders) == ("no_orders", 0)
    assert not stale.exists()


def test_score_day_without_training_uses_previous_champion(
    week: Installation, place: Installation, rows: pl.DataFrame
) -> None:
    with_store(week, place)
    orders_through(rows, NEXT).write_csv(place.orders)
    ran = place.run("score", NEXT).succeeded()
    assert f"Nothing was published on the morning of {NEXT}: the history is of {LAST}." in ran.out
    told = document(place, NEXT)
    assert (told.bundle, told.history_date) == (document(week, LAST).bundle, LAST)


def test_score_day_backfill_uses_champion_as_of_the_date(week: Installation, place: Installation) -> None:
    with_store(week, place)
    place.run("score", FIRST).succeeded()
    champion = ChampionLog(Store.open(str(place.store))).as_of(FIRST)
    assert document(place, FIRST).bundle == (champion.bundle if champion else None)
    day_before = FIRST - ONE_DAY
    place.run("score", day_before).succeeded()
    assert document(place, day_before).outcome == "no_champion"
    later = str(document(week, LAST).bundle)
    ran = place.run("score", FIRST, "--bundle", later, "--json")
    assert f"{later} is of {LAST} and knows what happened" in error_document(ran, 2, "UsageError").facts


def test_score_day_with_bundle_id_gives_same_predictions(week: Installation, place: Installation) -> None:
    with_store(week, place)
    place.run("score", LAST, "--bundle", str(document(week, LAST).bundle)).succeeded()
    assert (
        place.daily_files((LAST,))[f"date={LAST}/predictions.parquet"]
        == (week.daily_files((LAST,))[f"date={LAST}/predictions.parquet"])
    )


def test_score_day_rejects_file_output(week: Installation, place: Installation) -> None:
    with_store(week, place)
    document = error_document(place.run("score", LAST, "--out", "predictions.csv", "--json"), 2, "UsageError")
    assert "--out predictions.csv isn't a database." in document.facts
    assert f"date={LAST}" in document.hint


CLOCKS = (
    ("London", "2015-10-24T22:59:59Z", 24),
    ("London", "2015-10-24T23:00:00Z", 25),  # midnight, still summer time
    ("London", "2015-10-25T00:30:00Z", 25),  # 01:30
    ("London", "2015-10-25T01:30:00Z", 25),  # 01:30 again
    ("London", "2015-10-25T23:59:59Z", 25),
    ("London", "2015-10-26T00:00:00Z", 26),
    ("London", "2015-10-25 01:30:00", 25),  # nobody says which of the two
    ("New York", "2015-10-26T03:59:59Z", 25),
    ("New York", "2015-10-26T04:00:00Z", 26),
    ("Sydney", "2015-10-24T12:59:59Z", 24),
    ("Sydney", "2015-10-24T13:00:00Z", 25),
)
SPRING = (
    ("London", "2015-03-28T23:59:59Z", 28),
    ("London", "2015-03-29T00:30:00Z", 29),
    ("London", "2015-03-29T01:30:00Z", 29),  # 02:30; there is no 01:30
    ("London", "2015-03-29 01:30:00", 29),  # the clock that nobody put forward
    ("London", "2015-03-29T22:59:59Z", 29),
    ("London", "2015-03-29T23:00:00Z", 30),
)
ZONES = {"London": "Europe/London", "New York": "America/New_York", "Sydney": "Australia/Sydney"}


@pytest.mark.parametrize(("month", "clocks"), [(10, CLOCKS), (3, SPRING)], ids=["autumn", "spring"])
def test_read_day_orders_uses_local_midnight_at_clock_changes(
    month: int, clocks: tuple[tuple[str, str, int], ...], tmp_path: Path
) -> None:
    """A day of 25 hours has two 01:30s and both are answered; one of 23 has none."""
    cities = list(ZONES)
    directory = read_restaurants(
        pl.DataFrame({"restaurant_id": range(len(cities)), "country": "UK", "city": cities, "type_of_food": "thai",
                      "time_zone": list(ZONES.values())})
    )  # fmt: skip
    orders = pl.DataFrame({
        "order_acknowledged_at": [moment for _, moment, _ in clocks],
        "restaurant_id": [cities.index(city) for city, _, _ in clocks],
        "order_value_gbp": 20.0,
        "number_of_items": range(1, len(clocks) + 1),
    })  # fmt: skip
    orders.write_csv(tmp_path / "orders.csv")
    found = {}
    for day in sorted({day for _, _, day in clocks}):
        of_day = read_day_orders(open_source(tmp_path / "orders.csv"), dt.date(2015, month, day), directory)
        for items in of_day.rows["number_of_items"]:
            found[int(items)] = day
    assert [found[items] for items in range(1, len(clocks) + 1)] == [day for _, _, day in clocks]


def test_read_day_orders_sorts_repeated_hour_by_instant(tmp_path: Path) -> None:
    directory = read_restaurants(
        pl.DataFrame({"restaurant_id": [1], "country": ["UK"], "city": ["London"], "type_of_food": ["thai"]})
    )
    moments = ["2015-10-25T01:30:00Z", "2015-10-25T00:30:00Z", "2015-10-25T00:30:00Z"]
    pl.DataFrame(
        {"order_acknowledged_at": moments, "restaurant_id": 1, "order_value_gbp": 20.0, "number_of_items": 2}
    ).write_csv(tmp_path / "orders.csv")
    found = read_day_orders(open_source(tmp_path / "orders.csv"), dt.date(2015, 10, 25), directory)
    assert found.rows["order_acknowledged_at"].to_list() == ["2015-10-25T00:30:00Z", "2015-10-25T01:30:00Z"]
    assert found.duplicate_rows == 1
    assert found.keys.n_unique() == 2
