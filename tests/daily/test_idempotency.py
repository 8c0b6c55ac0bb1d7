"""Every daily job is a function of its date: run again, or years later, it gives the bytes it gave."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import polars as pl

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.training.train import TrainDocument
from tests.cli.run_command import preptime
from tests.daily.factories import FIRST, LAST, WATCHED, WEEK, Place

LATER_AND_BAD = "soon"
"""A time that no one can read, in a row delivered after the week."""


def copy_of(week: Place, folder: Path, orders: Path) -> Place:
    """The same store and no results."""
    shutil.copytree(week.store, folder / "models")
    return Place.below(folder, orders, week.restaurants)


def grown(rows: pl.DataFrame, path: Path) -> Path:
    """The table some days later: with more days, and rows that nothing can be told of."""
    bad = rows.tail(3).with_columns(order_acknowledged_at=pl.lit(LATER_AND_BAD))
    pl.concat([rows, bad]).write_csv(path)
    return path


def test_a_week_holds_what_happened(week: Place) -> None:
    """Otherwise the next tests would compare little with little."""
    outcomes = {msgspec.json.decode(week.results.joinpath(f"date={date}/training.json").read_bytes(),
                                    type=TrainDocument).outcome for date in WEEK}  # fmt: skip
    assert {"promoted", "refreshed"} <= outcomes
    assert set(week.all_written()) == {
        f"date={date}/{name}"
        for date in WEEK
        for name in ("predictions.parquet", "report.html", "score.json", "training.json", *WATCHED)
        if date > FIRST or name != "predictions.parquet" or (week.results / f"date={FIRST}" / name).exists()
    }


def test_a_backfill_into_an_empty_store_gives_the_same_files(week: Place, rows: pl.DataFrame, tmp_path: Path) -> None:
    fresh = Place.below(tmp_path, grown(rows, tmp_path / "orders.csv"), week.restaurants)
    for date in WEEK:
        fresh.day(date)
    assert fresh.written() == week.written()


def test_a_backfill_over_a_store_with_later_champions_gives_the_same_files(
    week: Place, rows: pl.DataFrame, tmp_path: Path
) -> None:
    again = copy_of(week, tmp_path, grown(rows, tmp_path / "orders.csv"))
    log = ChampionLog(Store.open(str(again.store))).entries()
    for date in WEEK:
        again.day(date)
    assert again.written() == week.written()
    assert ChampionLog(Store.open(str(again.store))).entries() == log


def test_results_tell_no_clock_no_person_and_no_place(week: Place) -> None:
    told = b"".join(content for name, content in week.written().items() if not name.endswith(".parquet")).decode()
    entry = ChampionLog(Store.open(str(week.store))).entries()[-1]
    for secret in (entry.at[:10], f'"{entry.by}"', str(week.results), str(week.orders), str(week.store)):
        assert secret not in told


def test_a_rerun_that_is_behind_says_who_serves_by_now(week: Place, tmp_path: Path) -> None:
    again = copy_of(week, tmp_path, week.orders)
    ran = again.run("train", FIRST).fine()
    serving = ChampionLog(Store.open(str(again.store))).current()
    assert serving is not None
    assert f"That is the morning of {FIRST}. By now {serving.bundle} is champion" in ran.out
    assert "By now" not in again.run("train", LAST).fine().out
    assert preptime("bundles", "list", "--store", again.store).fine().out.count("\n") > len(WEEK)
