"""An Airflow of the tests' own, in its own environment, beside a preptime whose trainings are quick."""

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
QUICK = f"{sys.executable} {Path(__file__).parent / 'quick_preptime.py'}"
"""PREPTIME_COMMAND of these tests."""


@dataclass(frozen=True)
class Installation:
    """Airflow's home, and what the verbs read and write."""

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
        """One partition a date."""
        return self.folder / "results"

    def environment(self, **more: str) -> dict[str, str]:
        """The test session's environment, and what both sides are told."""
        return {
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PREPTIME_COMMAND": QUICK,
            "PREPTIME_ORDERS": str(self.orders),
            "PREPTIME_RESTAURANTS": str(self.restaurants),
            "PREPTIME_STORE": str(self.store),
            "PREPTIME_RESULTS": str(self.results),
            **more,
        }

    def inside(self, program: str, *arguments: str, **more: str) -> dict[str, object]:
        """What a program of `inside/` tells: the JSON on its last line."""
        ended = subprocess.run(
            [self.python, INSIDE / f"{program}.py", *arguments],
            env=self.environment(**more),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        found: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
        return found
