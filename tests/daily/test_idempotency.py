"""Tests that a rerun or a backfill of a date gives byte-identical results."""

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

UNREADABLE_TIME = "soon"
"""The time of the rows that are appended after the week."""


def copy_store(week: Installation, folder: Path, orders: Path) -> Installation:
    """Return an installation with a copy of the store and no results."""
    shutil.copytree(week.store, folder / "models")
    return Installation.in_folder(folder, orders, week.restaurants)


def write_grown_table(rows: pl.DataFrame, path: Path) -> Path:
    """Write the table as of a later date: with more days, and rows with an unreadable time."""
    unreadable = rows.tail(3).with_columns(order_acknowledged_at=pl.lit(UNREADABLE_TIME))
    pl.concat([rows, unreadable]).write_csv(path)
    return path


def test_week_contains_promotions_and_refreshes(week: Installation) -> None:
    """Check that the week has the cases that the other tests compare."""
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
    fresh = Installation.in_folder(tmp_path, write_grown_table(rows, tmp_path / "orders.csv"), week.restaurants)
    for date in WEEK:
        fresh.run_day(date)
    assert fresh.daily_files() == week.daily_files()


def test_backfill_with_later_champions_gives_same_files(week: Installation, rows: pl.DataFrame, tmp_path: Path) -> None:
    rerun = copy_store(week, tmp_path, write_grown_table(rows, tmp_path / "orders.csv"))
    log = ChampionLog(Store.open(str(rerun.store))).entries()
    for date in WEEK:
        rerun.run_day(date)
    assert rerun.daily_files() == week.daily_files()
    assert ChampionLog(Store.open(str(rerun.store))).entries() == log


def test_results_contain_no_time_user_or_path(week: Installation) -> None:
    text = b"".join(content for name, content in week.daily_files().items() if not name.endswith(".parquet")).decode()
    entry = ChampionLog(Store.open(str(week.store))).entries()[-1]
    for secret in (entry.at[:10], f'"{entry.by}"', str(week.results), str(week.orders), str(week.store)):
        assert secret not in text


def test_rerun_of_past_date_names_current_champion(week: Installation, tmp_path: Path) -> None:
    rerun = copy_store(week, tmp_path, week.orders)
    ran = rerun.run("train", FIRST).succeeded()
    current = ChampionLog(Store.open(str(rerun.store))).current()
    assert current is not None
    assert f"This decision is as of {FIRST}. The current champion of {rerun.store} is {current.bundle}." in ran.out
    assert "The current champion" not in rerun.run("train", LAST).succeeded().out
    assert preptime("bundles", "list", "--store", rerun.store).succeeded().out.count("\n") > len(WEEK)
