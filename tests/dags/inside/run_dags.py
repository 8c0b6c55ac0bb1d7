"""Run DAGs for a date in Airflow's environment, and print the states of the runs and tasks as JSON.

`run_dags.py DATE DAG...`. One process runs all of them, because loading Airflow takes the longest.
"""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "dags"))


def main(date: str, *dag_ids: str) -> None:
    """Run each DAG with a logical date within `date`, as a user triggers it."""
    logical_date = datetime.fromisoformat(f"{date}T12:30:00").replace(tzinfo=UTC)
    states = {}
    for dag_id in dag_ids:
        run = importlib.import_module(dag_id).dag.test(logical_date=logical_date)
        states[dag_id] = {
            "state": str(run.state),
            "tasks": {task.task_id: str(task.state) for task in run.get_task_instances()},
        }
    sys.stdout.write(f"\n{json.dumps(states)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
