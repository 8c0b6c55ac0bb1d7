"""Three weeks of orders, and one Airflow home for each session."""

from __future__ import annotations

import subprocess

import pytest

from preptime.synthetic import SynthesisPlan, synthesize_frames
from tests.dags.installation import Installation
from tests.requirements import airflow_python

PLAN = SynthesisPlan(orders=4_500, restaurants=40, days=21)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation with orders from June 1 to 21 and an empty store. Airflow has no database yet."""
    python = airflow_python()
    folder = tmp_path_factory.mktemp("airflow")
    orders, restaurants, _ = synthesize_frames(PLAN)
    orders.write_csv(folder / "orders.csv")
    restaurants.write_csv(folder / "restaurants.csv")
    return Installation(python, folder, folder / "orders.csv", folder / "restaurants.csv")


@pytest.fixture(scope="session")
def migrated(installation: Installation) -> Installation:
    """The installation with Airflow's database."""
    command = [str(installation.python.parent / "airflow"), "db", "migrate"]
    completed = subprocess.run(command, env=installation.environment(), capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-3000:]
    return installation
