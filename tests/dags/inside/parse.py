"""In Airflow's environment: read DAG files as the dag-processor does; what came of each, as JSON.

`parse.py FILE…`. The processor forks from a process that has Airflow loaded, so loading Airflow does not count.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import BundleDagBag

OURS = {"preptime", "polars", "numpy", "sklearn"}


def parsed(file: Path) -> dict[str, object]:
    """Processor time, since other work on the machine is not the file's."""
    before = time.process_time()
    bag = BundleDagBag(str(file), bundle_path=file.parent, bundle_name="dags")
    seconds = time.process_time() - before
    return {
        "seconds": seconds,
        "errors": list(bag.import_errors.values()),
        "dags": {name: described(dag) for name, dag in bag.dags.items()},
    }


def described(dag: Any) -> dict[str, object]:
    """What is particular to a DAG and its tasks."""
    return {
        "tasks": {one.task_id: sorted(one.downstream_task_ids) for one in dag.tasks},
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "schedule": str(dag.timetable.expression),
        "retries": [one.retries for one in dag.tasks],
        "times_longer": [one.retry_exponential_backoff for one in dag.tasks],
        "limits": [one.execution_timeout is not None for one in dag.tasks if one.task_type != "EmptyOperator"],
        "pods": {one.task_id: pod_of(one) for one in dag.tasks if hasattr(one, "build_pod_request_obj")},
    }


def pod_of(task: Any) -> dict[str, object]:
    """The pod that a task asks for. No cluster is asked; the operator only wants to know which one it would be."""
    pod = task.build_pod_request_obj(None).to_dict()
    (container,) = pod["spec"]["containers"]
    return {
        "name": pod["metadata"]["name"].rpartition("-")[0],
        "namespace": pod["metadata"]["namespace"],
        "image": container["image"],
        "words": container["args"],
        "settings": [source["config_map_ref"]["name"] for source in container["env_from"]],
        "read_only": container["security_context"]["read_only_root_filesystem"],
    }


def main(*files: str) -> None:
    """All of them in one process, since loading Airflow takes longest."""
    told = {Path(file).stem: parsed(Path(file)) for file in files}
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & OURS)
    sys.stdout.write(f"\n{json.dumps({'files': told, 'loaded': loaded})}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
