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
from tests.daily.factories import FIRST, LAST, MONITORING_FILES, WEEK, Installation

LATER_AND_BAD = "soon"
"""A time that no one can read, in a row delivered after the week."""


def copy_of(week: Installation, folder: Path, orders: Path) -> Installation:
    """The same store and no results."""
    shutil.copytree(week.store, folder / "models")
    return Installation.in_folder(folder, orders, week.restaurants)


def grown(rows: pl.DataFrame, path: Path) -> Path:
    """The table some days later: with more days, and rows that nothing can be told of."""
    bad = rows.tail(3).with_columns(order_acknowledged_at=pl.lit(LATER_AND_BAD))
    pl.concat([rows, bad]).write_csv(path)
    return path


def test_week_contains_promotions_and_refreshes(week: Installation) -> None:
    """Otherwise the next tests would compare little with little."""
    outcomes = {msgspec.json.decode(week.results.joinpath(f"date={date}/training.json").read_bytes(),
                                    type=TrainDocument).outcome for date in WEEK}  # fmt: skip
    assert {"promoted", "refreshed"} <= outcomes
    assert set(week.all_files()) == {
        f"date={date}/{name}"
        for date in WEEK
        for name in ("predictions.parquet", "report.html", "score.json", "training.json", *MONITORING_FILES)
        if date > FIRST or name != "predictions.parquet" or (week.results / f"date={FIRST}" / name).exists()
    }


def test_backfill_into_empty_store_gives_same_files(week: Installation, rows: pl.DataFrame, tmp_path: Path) -> None:
    fresh = Installation.in_folder(tmp_path, grown(rows, tmp_path / "orders.csv"), week.restaurants)
    for date in WEEK:
        fresh.run_day(date)
    assert fresh.daily_files() == week.daily_files()


def test_backfill_with_later_champions_gives_same_files(week: Installation, rows: pl.DataFrame, tmp_path: Path) -> None:
    again = copy_of(week, tmp_path, grown(rows, tmp_path / "orders.csv"))
    log = ChampionLog(Store.open(str(again.store))).entries()
    for date in WEEK:
        again.run_day(date)
    assert again.daily_files() == week.daily_files()
    assert ChampionLog(Store.open(str(again.store))).entries() == log


def test_results_contain_no_time_user_or_path(week: Installation) -> None:
    told = b"".join(content for name, content in week.daily_files().items() if not name.endswith(".parquet")).decode()
    entry = ChampionLog(Store.open(str(week.store))).entries()[-1]
    for secret in (entry.at[:10], f'"{entry.by}"', str(week.results), str(week.orders), str(week.store)):
        assert secret not in told


def test_rerun_of_past_date_names_current_champion(week: Installation, tmp_path: Path) -> None:
    again = copy_of(week, tmp_path, week.orders)
    ran = again.run("train", FIRST).succeeded()
    serving = ChampionLog(Store.open(str(again.store))).current()
    assert serving is not None
    assert f"That is the morning of {FIRST}. By now {serving.bundle} is champion" in ran.out
    assert "By now" not in again.run("train", LAST).succeeded().out
    assert preptime("bundles", "list", "--store", again.store).succeeded().out.count("\n") > len(WEEK)
