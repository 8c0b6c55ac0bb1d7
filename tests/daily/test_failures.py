"""What goes wrong in a morning: each time a clear message, nothing lost, and the rerun right.

Right means: the bytes of a week in which nothing went wrong.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.scoring.score_day import DayScoreDocument
from preptime.training.train import TrainDocument
from tests.cli.conftest import damage_file
from tests.cli.run_command import preptime, error_document
from tests.daily.factories import FIRST, WEEK, Installation, local_dates, orders_through
from tests.daily.processes import Processes, processes
from tests.requirements import small_disk

SECOND, THIRD = WEEK[1:3]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes of their own."""
    with processes(tmp_path_factory.mktemp("apart")) as started:
        yield started


def options(place: Installation) -> tuple[str | Path, ...]:
    """Everything but verb and date."""
    tables = ("--orders", place.orders, "--restaurants", place.restaurants)
    return (*tables, "--store", place.store, "--results", place.results)


def log_of(place: Installation) -> list[str]:
    """The bundles of the champion log, first to last."""
    return [entry.bundle for entry in ChampionLog(Store.open(str(place.store))).entries()]


@contextmanager
def room(bytes_: int) -> Iterator[None]:
    """A disk on which no file can grow beyond so much: the kernel says no in the middle of writing it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("where", ["/bundles/", "/champion/", "training.json"])
def test_killed_training_leaves_no_partial_files(
    where: str, week: Installation, place: Installation, apart: Processes
) -> None:
    """Before its bundle is written, before it is champion, before it is told."""
    place.run_day(FIRST)
    before = log_of(place)
    assert apart.run(("train", "--date", str(SECOND), *options(place)), before=where) == [-signal.SIGKILL], apart.said
    assert not (place.results / f"date={SECOND}" / "training.json").exists()
    assert len(log_of(place)) == len(before) + (where == "training.json")
    assert all("fine" in line for line in preptime("bundles", "verify", "--store", place.store).succeeded().out.splitlines())
    place.run_day(SECOND)
    assert place.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


def test_file_size_limit_fails_and_keeps_existing_files(week: Installation, place: Installation) -> None:
    place.run_day(FIRST)
    before = place.daily_files((FIRST,))
    with room(20_000):
        document = error_document(place.run("train", SECOND, "--json"), 3, "StoreError")
    assert "File too large" in document.facts
    assert log_of(place) == [log_of(place)[0]]
    with room(4_000):
        document = error_document(place.run("score", FIRST, "--json"), 3, "OperationError")
    assert document.facts.startswith(f"{place.results}/date={FIRST}/predictions.parquet could not be written: File too")
    assert place.daily_files((FIRST,)) == before
    place.run_day(SECOND)
    assert place.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


def test_full_disk_fails_and_keeps_existing_files(week: Installation, tmp_path: Path) -> None:
    """No limit of a process but a file system that is full: ENOSPC."""
    with small_disk(tmp_path, "1m") as disk:
        place = Installation(week.orders, week.restaurants, week.store, disk / "results")
        place.run("score", SECOND).succeeded()
        before = place.daily_files((SECOND,))
        taken = disk / "taken"
        with contextlib.suppress(OSError), taken.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        for date in (SECOND, THIRD):
            document = error_document(place.run("score", date, "--json"), 3, "OperationError")
            assert document.facts.startswith(f"{place.results}/date={date}/predictions.parquet could not be written")
            assert "No space left on device" in document.facts
        assert place.daily_files(WEEK[1:3]) == before
        assert not list(place.results.rglob(".*"))
        taken.unlink()
        for date in (SECOND, THIRD):
            place.run("score", date).succeeded()
        answers = week.daily_files(WEEK[1:3])
        assert place.daily_files(WEEK[1:3]) == {
            path: answers[path] for path in answers if path.endswith(("predictions.parquet", "score.json"))
        }


def test_concurrent_runs_of_one_date_both_succeed(week: Installation, place: Installation, apart: Processes) -> None:
    for verb in ("train", "score"):
        call = (verb, "--date", str(FIRST), *options(place))
        assert apart.run(call, call) == [0, 0], apart.said
    assert len(log_of(place)) == 1
    assert place.daily_files((FIRST,)) == week.daily_files((FIRST,))


def test_train_rejects_half_a_day_until_it_is_complete(
    week: Installation, place: Installation, rows: pl.DataFrame
) -> None:
    place.run_day(FIRST)
    cut = rows.filter(pl.col("order_acknowledged_at") < f"{FIRST}T13")
    cut.write_csv(place.orders)
    document = error_document(place.run("train", SECOND, "--json"), 1, "DataError")
    assert str(FIRST) in document.facts
    assert not (place.results / f"date={SECOND}").exists()
    orders_through(rows, SECOND).write_csv(place.orders)
    place.run_day(SECOND)
    assert place.daily_files(WEEK[:2]) == week.daily_files(WEEK[:2])


def test_late_day_fails_training_but_is_scored(week: Installation, place: Installation, rows: pl.DataFrame) -> None:
    place.run_day(FIRST)
    dates = local_dates(rows, place.restaurants)
    rows.filter((dates < FIRST) | (dates == SECOND)).write_csv(place.orders)
    document = error_document(place.run("train", SECOND, "--json"), 1, "DataError")
    assert str(FIRST) in document.facts
    place.run("score", SECOND).succeeded()
    told = msgspec.json.decode((place.results / f"date={SECOND}" / "score.json").read_bytes(), type=DayScoreDocument)
    assert (told.outcome, told.history_date) == ("scored", FIRST)
    late = pl.concat([rows.filter((dates < FIRST) | (dates == SECOND)), rows.filter(dates == FIRST)])
    late.write_csv(place.orders)
    place.run_day(SECOND)
    assert place.predictions(SECOND).equals(week.predictions(SECOND))


def test_day_delivered_twice_is_used_once(week: Installation, place: Installation, rows: pl.DataFrame) -> None:
    of_days = local_dates(rows, place.restaurants)
    again = rows.filter((of_days == FIRST) | (of_days == SECOND))
    pl.concat([orders_through(rows, SECOND), again]).write_csv(place.orders)
    for date in WEEK[:2]:
        place.run_day(date)
    for date, count in ((FIRST, (of_days == FIRST).sum()), (SECOND, (of_days == SECOND).sum())):
        told = msgspec.json.decode((place.results / f"date={date}" / "score.json").read_bytes(), type=DayScoreDocument)
        assert (told.orders, told.duplicate_rows) == (count, count)
        answers = place.predictions(date).drop("prediction_bundle")
        assert answers.equals(week.predictions(date).drop("prediction_bundle"))


def test_invalid_row_affects_only_itself(week: Installation, place: Installation, rows: pl.DataFrame) -> None:
    """One in three thousand, and all others as ever, to the byte; one in a million: test_million.py."""
    of_day = (local_dates(rows, place.restaurants) == SECOND).arg_true()
    bad = rows.with_row_index().with_columns(
        number_of_items=pl.when(pl.col("index") == of_day[7]).then(pl.lit("three")).otherwise("number_of_items")
    )
    orders_through(bad.drop("index"), SECOND).write_csv(place.orders)
    for date in WEEK[:2]:
        place.run_day(date)
    told = msgspec.json.decode((place.results / f"date={SECOND}" / "score.json").read_bytes(), type=DayScoreDocument)
    assert (told.orders, told.predicted, told.rejected) == (len(of_day), len(of_day) - 1, {"unparsable_number": 1})
    refused_row = place.predictions(SECOND).filter(pl.col("prediction_reason").is_not_null())
    assert refused_row["order_id"].to_list() == [rows["order_id"][of_day[7]]]
    good = place.predictions(SECOND).filter(pl.col("prediction_reason").is_null())
    assert good.equals(week.predictions(SECOND).filter(pl.col("order_id") != rows["order_id"][of_day[7]]))


def test_damaged_new_champion_is_skipped_and_rebuilt(week: Installation, place: Installation) -> None:
    place.run_day(FIRST)
    place.run("train", SECOND).succeeded()
    first, second = log_of(place)
    damage_file(place.store, second)
    ran = place.run("score", SECOND).succeeded()
    assert f"{second} was champion and is refused: {second}/model.onnx: expected SHA-256" in ran.out
    told = msgspec.json.decode((place.results / f"date={SECOND}" / "score.json").read_bytes(), type=DayScoreDocument)
    assert (told.bundle, told.skipped_bundles) == (first, (second,))
    document = error_document(place.run("train", THIRD, "--json"), 3, "BundleVerificationError")
    assert f"The champion {second} is refused" in document.facts
    assert "is kept" in document.facts
    place.run_day(SECOND)  # the same content has the same id: training that morning again mends its bundle
    place.run_day(THIRD)
    assert place.daily_files(WEEK[:3]) == week.daily_files(WEEK[:3])


def test_score_fails_if_all_champions_are_damaged(week: Installation, place: Installation) -> None:
    shutil.copytree(week.store, place.store)
    for bundle in Store.open(str(place.store)).bundle_ids():
        damage_file(place.store, bundle)
    document = error_document(place.run("score", WEEK[-1], "--json"), 3, "BundleVerificationError")
    assert document.facts.startswith(f"No champion up to {WEEK[-1]} opens.")
    assert not place.results.exists()


def test_failed_comparison_is_a_successful_run(week: Installation) -> None:
    told = [
        msgspec.json.decode((week.results / f"date={date}/training.json").read_bytes(), type=TrainDocument)
        for date in WEEK
    ]
    lost = [one for one in told if one.outcome == "refreshed"]
    assert lost
    assert all(one.reason.startswith("Lost on: ") and one.champion != one.bundle for one in lost)
