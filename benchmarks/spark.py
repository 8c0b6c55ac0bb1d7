"""Processor time and memory of scoring on Spark, compared with `preptime score` in the same run.

    python -m benchmarks.spark                    1,600,000 orders, and a bundle of 524,000 restaurants
    python -m benchmarks.spark --orders 20000     another number of orders
    python -m benchmarks.spark --json             one JSON document instead of the table

Orders are synthesized to a temporary folder. The models are the whole catalogue, fitted on 8,000 orders. Spark runs as
a standalone cluster on this machine: a master, and two workers of one core. The processor time and the peak memory of
each process are those that Linux reports, read five times a second. Java needs `java` on the PATH, and PySpark is that
of `.venv-spark`. The two documents must be equal, so both score the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import ProcessTimes, descendants
from tests.requirements import spark_packages
from tests.spark.cluster import Cluster, run_cluster

ORDERS, RESTAURANTS = 1_600_000, 524_000
_PROGRAM = "import sys; from preptime.cli import main; sys.exit(main())"
_MAKE = "from pathlib import Path; from benchmarks import score; score.fit_graphs(Path({0!r})); "
_MAKE += "score.write_inputs(Path({0!r}), {1}, {2})"


def main() -> None:
    """Measure both ways, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=ORDERS, help="number of orders (default: %(default)s)")
    parser.add_argument("--restaurants", type=int, default=RESTAURANTS, help="of the bundle (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    result = measure_scoring(arguments.orders, arguments.restaurants)
    print(json.dumps(result) if arguments.json else scoring_table(result))


def measure_scoring(orders: int = ORDERS, restaurants: int = RESTAURANTS) -> dict[str, Any]:
    """Return the measurements of both ways. Raises `RuntimeError` if their documents differ."""
    packages = spark_packages()
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory(prefix="preptime-spark-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", _MAKE.format(name, orders, restaurants)], check=True)
        one, expected = _score_on_one_machine(folder)
        os.environ["PYTHONPATH"] = str(packages)
        with run_cluster(packages, folder) as cluster:
            spark, found = _score_on_spark(folder, cluster)
    if {**found, "source": "", "out": ""} != {**expected, "source": "", "out": ""}:
        raise RuntimeError("The document of Spark differs from that of one machine.")
    return {"orders": orders, "restaurants": restaurants, "one": one, "spark": spark}


def scoring_table(result: dict[str, Any]) -> str:
    """Return the measurements as a Markdown table, with a sentence first."""
    one, spark = result["one"], result["spark"]
    seconds = one["seconds"]
    workers, executors = spark["workers"]["seconds"], spark["executors"]["seconds"]
    total = workers + executors + spark["driver"]["seconds"]
    parts = {
        "`preptime score`": one,
        "Spark: Python workers": spark["workers"],
        "Spark: executors (Java)": spark["executors"],
        "Spark: driver (Python and Java)": spark["driver"],
    }
    sentence = (
        f"For {result['orders']:,} orders, Python in Spark takes {workers / seconds:.2f} times the processor time of "
        f"`preptime score`, {(workers + executors) / seconds:.2f} times with the Java of the executors, and "
        f"{total / seconds:.2f} times with the driver."
    )
    conditions = f"{result['restaurants']:,} restaurants, {os.cpu_count()} processors"
    lines = [
        f"| {name} | {part['seconds']:.1f} s | {part['seconds'] / result['orders'] * 1e6:.1f} µs "
        f"| {part['peak_mb']:,} MB |"
        for name, part in parts.items()
    ]
    header = f"| {conditions} | processor time | per order | peak memory of a process |"
    return "\n".join([sentence, "", header, "|---|---:|---:|---:|", *lines])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", _PROGRAM, *arguments, "--json"]


def _score_on_one_machine(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the measurements and the document of `preptime score`, with the check of the bundle in another process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out, bundle = str(folder / "scored.parquet"), _bundle(folder)
    watched = ProcessTimes()
    command = _command("score", str(folder / "orders.parquet"), "--out", out, "--store", str(folder / "store"), *bundle)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        watched.watch_while_running(process, lambda: watched.read("one", process.pid))
        document = json.loads(process.communicate()[0])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "peak_mb": watched.total("one")["peak_mb"]}, document


def _score_on_spark(folder: Path, cluster: Cluster) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Return the measurements of each part and the document of `preptime spark score`."""
    options = ("--out", str(folder / "spark"), "--store", str(folder / "store"), "--master", cluster.master)
    command = _command("spark", "score", "--orders", str(folder / "orders.parquet"), *options, *_bundle(folder))
    watched = ProcessTimes()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:

        def read() -> None:
            executors = cluster.executors()
            watched.read("executors", *executors)
            watched.read("workers", *descendants(*executors))
            watched.read("driver", process.pid, *descendants(process.pid))

        watched.watch_while_running(process, read)
        document = json.loads(process.communicate()[0])
    return {part: watched.total(part) for part in ("workers", "executors", "driver")}, document


def _bundle(folder: Path) -> tuple[str, str]:
    return "--bundle", next((folder / "store" / "bundles").iterdir()).name


if __name__ == "__main__":
    main()
