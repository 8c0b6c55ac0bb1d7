"""Parse DAG files in Airflow's environment as the DAG processor does, and print the result as JSON.

`parse_dags.py FILE...`. The processor forks from a process with Airflow loaded, so that time doesn't count.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import BundleDagBag

FORBIDDEN_PACKAGES = {"preptime", "polars", "numpy", "sklearn"}


def parse_file(file: Path) -> dict[str, object]:
    """Return the DAGs of a file, its errors, and the processor time, which excludes other work on the machine."""
    start = time.process_time()
    bag = BundleDagBag(str(file), bundle_path=file.parent, bundle_name="dags")
    seconds = time.process_time() - start
    return {
        "seconds": seconds,
        "errors": list(bag.import_errors.values()),
        "dags": {name: describe_dag(dag) for name, dag in bag.dags.items()},
    }


def describe_dag(dag: Any) -> dict[str, object]:
    """Return the settings of a DAG and its tasks."""
    return {
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "schedule": str(dag.timetable.expression),
        "description": str(dag.description),
        "documentation": str(dag.doc_md),
        "retries": [task.retries for task in dag.tasks],
        "commands": {task.task_id: task.bash_command for task in dag.tasks if hasattr(task, "bash_command")},
        "types": {task.task_id: task.task_type for task in dag.tasks},
        "backoff_factors": [task.retry_exponential_backoff for task in dag.tasks],
        "has_timeout": [task.execution_timeout is not None for task in dag.tasks if task.task_type != "EmptyOperator"],
        "pods": {task.task_id: describe_pod(task) for task in dag.tasks if hasattr(task, "build_pod_request_obj")},
    }


def describe_pod(task: Any) -> dict[str, object]:
    """Return the pod that a task requests. The operator reads the cluster's address, but doesn't connect."""
    pod = task.build_pod_request_obj(None).to_dict()
    (container,) = pod["spec"]["containers"]
    return {
        "name": pod["metadata"]["name"].rpartition("-")[0],
        "namespace": pod["metadata"]["namespace"],
        "image": container["image"],
        "arguments": container["args"],
        "config_maps": [source["config_map_ref"]["name"] for source in container["env_from"]],
        "read_only": container["security_context"]["read_only_root_filesystem"],
    }


def main(*files: str) -> None:
    """Parse all files in one process, because loading Airflow takes the longest."""
    parsed_files = {Path(file).stem: parse_file(Path(file)) for file in files}
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & FORBIDDEN_PACKAGES)
    sys.stdout.write(f"\n{json.dumps({'files': parsed_files, 'loaded': loaded})}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
