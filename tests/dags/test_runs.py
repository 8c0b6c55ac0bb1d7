"""All three DAGs for one date, in a real Airflow, on a real store."""

from __future__ import annotations

import datetime as dt
import sys

import msgspec
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from tests.dags.installation import INSIDE, Installation

DATE = "2015-06-14"


class Run(msgspec.Struct):
    """What became of a DAG's run."""

    state: str
    tasks: dict[str, str]


@pytest.fixture(scope="session")
def runs(migrated: Installation) -> dict[str, Run]:
    """Train, then score, then monitor."""
    names = ("daily_training_run", "daily_prediction_run", "daily_monitoring_run")
    return msgspec.convert(migrated.inside("run", DATE, *names), dict[str, Run])


def test_training_promotes_and_makes_room(runs: dict[str, Run], migrated: Installation) -> None:
    run = runs["daily_training_run"]
    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    entry = ChampionLog(Store.open(str(migrated.store))).as_of(dt.date.fromisoformat(DATE))
    assert entry is not None
    assert (migrated.results / f"date={DATE}" / "training.json").is_file()


def test_prediction_writes_the_partition_of_the_runs_date(runs: dict[str, Run], migrated: Installation) -> None:
    assert runs["daily_prediction_run"].state == "success"
    assert (migrated.results / f"date={DATE}" / "predictions.parquet").is_file()
    assert (migrated.results / f"date={DATE}" / "score.json").is_file()


def test_monitoring_looks_at_the_days_before(runs: dict[str, Run], migrated: Installation) -> None:
    assert runs["daily_monitoring_run"].state == "success"
    assert (migrated.results / f"date={DATE}" / "monitoring.json").is_file()


def test_a_failed_training_and_an_alert_are_red_and_what_comes_after_them_runs_all_the_same(
    migrated: Installation,
) -> None:
    """Played by a stand-in for the command line: training is wrong use, monitoring has an alert."""
    played = f"{sys.executable} {INSIDE / 'verb.py'} day"
    names = ("daily_training_run", "daily_monitoring_run")
    told = msgspec.convert(migrated.inside("run", "2015-06-16", *names, PREPTIME_COMMAND=played), dict[str, Run])
    training, monitoring = (told[name] for name in names)
    assert (training.state, monitoring.state) == ("failed", "failed")
    assert training.tasks == {
        "train": "failed",
        "trained": "upstream_failed",
        "prune_bundles": "success",
        "prune_results": "success",
    }
    assert monitoring.tasks == {"monitor": "failed", "quiet": "upstream_failed", "respond": "success"}
