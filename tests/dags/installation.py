"""An Airflow installation for the tests, in its own environment, with a preptime that trains fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.requirements import ROOT

DAGS = ROOT / "dags"
INSIDE = Path(__file__).parent / "inside"
FAST_PREPTIME = f"{sys.executable} {Path(__file__).parent / 'fast_preptime.py'}"
"""PREPTIME_COMMAND of these tests."""


@dataclass(frozen=True)
class Installation:
    """Airflow's home, and the files that the commands read and write."""

    python: Path
    folder: Path
    orders: Path
    restaurants: Path

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.folder / "airflow"

    @property
    def store(self) -> Path:
        """Bundles and the champion log."""
        return self.folder / "models"

    @property
    def results(self) -> Path:
        """Results, one partition for each date."""
        return self.folder / "results"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the test session, with the settings of Airflow and preptime."""
        return {
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PREPTIME_COMMAND": FAST_PREPTIME,
            "PREPTIME_ORDERS": str(self.orders),
            "PREPTIME_RESTAURANTS": str(self.restaurants),
            "PREPTIME_STORE": str(self.store),
            "PREPTIME_RESULTS": str(self.results),
            **more,
        }

    def run_inside(self, program: str, *arguments: str, **more: str) -> dict[str, object]:
        """Run a program of `inside/` in Airflow's environment, and return the JSON on its last line."""
        completed = subprocess.run(
            [self.python, INSIDE / f"{program}.py", *arguments],
            env=self.environment(**more),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert completed.returncode == 0, completed.stdout[-3000:] + completed.stderr[-3000:]
        document: dict[str, object] = json.loads(completed.stdout.splitlines()[-1])
        return document
