"""Three weeks of orders, written once; an Airflow home for each session."""

from __future__ import annotations

import subprocess

import pytest

from preptime.synthetic import SynthesisPlan, synthesize_frames
from tests.dags.installation import Installation
from tests.requirements import airflow_python

PLAN = SynthesisPlan(orders=4_500, restaurants=40, days=21)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Orders of 1 to 21 June, an empty store; Airflow's database is not made yet."""
    python = airflow_python()
    folder = tmp_path_factory.mktemp("airflow")
    orders, restaurants, _ = synthesize_frames(PLAN)
    orders.write_csv(folder / "orders.csv")
    restaurants.write_csv(folder / "restaurants.csv")
    return Installation(python, folder, folder / "orders.csv", folder / "restaurants.csv")


@pytest.fixture(scope="session")
def migrated(installation: Installation) -> Installation:
    """With Airflow's database made."""
    command = [str(installation.python.parent / "airflow"), "db", "migrate"]
    ended = subprocess.run(command, env=installation.environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return installation
