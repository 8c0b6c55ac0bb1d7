"""In Airflow's environment: run DAGs for a date; the state of each run and of its tasks, as JSON.

`run.py DATE DAG...`. One process for all, since loading Airflow takes longest.
"""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "dags"))


def main(date: str, *names: str) -> None:
    """At some hour of that date, as a person triggers it."""
    when = datetime.fromisoformat(f"{date}T12:30:00").replace(tzinfo=UTC)
    told = {}
    for name in names:
        run = importlib.import_module(name).dag.test(logical_date=when)
        told[name] = {
            "state": str(run.state),
            "tasks": {one.task_id: str(one.state) for one in run.get_task_instances()},
        }
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
