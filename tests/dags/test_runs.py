"""All three DAGs for one date, in a real Airflow, with a real store."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from scripts.airflow_demo import demo_settings
from tests.dags.installation import INSIDE, Installation

DATE = "2015-06-14"


class Run(msgspec.Struct):
    """The states of a DAG run and its tasks."""

    state: str
    tasks: dict[str, str]


@pytest.fixture(scope="session")
def demo(migrated: Installation) -> dict[str, str]:
    """The settings of `make airflow ARGS=--demo`, without any orders."""
    return demo_settings({}, migrated.home, demo=True, ask=pytest.fail)


@pytest.fixture(scope="session")
def runs(migrated: Installation, demo: dict[str, str]) -> dict[str, Run]:
    """Train, then score, then monitor, all on synthetic orders: the first click of a user without data."""
    dag_ids = ("daily_training_run", "daily_prediction_run", "daily_monitoring_run")
    return msgspec.convert(migrated.run_inside("run_dags", DATE, *dag_ids, **demo), dict[str, Run])


def test_training_run_promotes_and_prunes(runs: dict[str, Run], demo: dict[str, str]) -> None:
    run = runs["daily_training_run"]
    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    assert "synthesize" in run.tasks
    entry = ChampionLog(Store.open(demo["PREPTIME_STORE"])).as_of(dt.date.fromisoformat(DATE))
    assert entry is not None
    assert (partition(demo) / "training.json").is_file()


def test_prediction_run_writes_partition_of_date(runs: dict[str, Run], demo: dict[str, str]) -> None:
    assert runs["daily_prediction_run"].state == "success"
    assert (partition(demo) / "predictions.parquet").is_file()
    assert (partition(demo) / "score.json").is_file()


def test_monitoring_run_writes_document(runs: dict[str, Run], demo: dict[str, str]) -> None:
    assert runs["daily_monitoring_run"].state == "success"
    assert (partition(demo) / "monitoring.json").is_file()


def partition(settings: dict[str, str]) -> Path:
    """Return the folder of the results of `DATE`."""
    return Path(settings["PREPTIME_RESULTS"]) / f"date={DATE}"


def test_failed_training_and_alert_fail_run_not_later_tasks(migrated: Installation) -> None:
    """A fake command plays a training with a usage error, and monitoring with an alert."""
    fake_command = f"{sys.executable} {INSIDE / 'fake_command.py'} day"
    dag_ids = ("daily_training_run", "daily_monitoring_run")
    states = migrated.run_inside("run_dags", "2015-06-16", *dag_ids, PREPTIME_COMMAND=fake_command)
    runs = msgspec.convert(states, dict[str, Run])
    training, monitoring = (runs[dag_id] for dag_id in dag_ids)
    assert (training.state, monitoring.state) == ("failed", "failed")
    assert training.tasks == {
        "train": "failed",
        "trained": "upstream_failed",
        "prune_bundles": "success",
        "prune_results": "success",
    }
    assert monitoring.tasks == {"monitor": "failed", "no_alerts": "upstream_failed", "respond": "success"}
