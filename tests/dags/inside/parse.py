"""In Airflow's environment: read one DAG file as the dag-processor does; what came of it, as JSON.

`parse.py FILE`. The processor forks from a process that has Airflow loaded, so loading Airflow does not count.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from airflow.dag_processing.dagbag import BundleDagBag


def main(file: str) -> None:
    """Processor time, since other work on the machine is not the file's."""
    before = time.process_time()
    bag = BundleDagBag(file, bundle_path=Path(file).parent, bundle_name="dags")
    seconds = time.process_time() - before
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"preptime", "polars", "numpy", "sklearn"})
    dags = {
        name: {
            "tasks": {one.task_id: sorted(one.downstream_task_ids) for one in dag.tasks},
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "schedule": str(dag.timetable.expression),
            "retries": [one.retries for one in dag.tasks],
            "limits": [one.execution_timeout is not None for one in dag.tasks if one.task_type != "EmptyOperator"],
        }
        for name, dag in bag.dags.items()
    }
    told = {"seconds": seconds, "errors": bag.import_errors, "loaded": loaded, "dags": dags}
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
