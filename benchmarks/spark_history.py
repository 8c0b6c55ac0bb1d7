"""Processor time and memory of a history on Spark, compared with one machine in the same run.

    python -m benchmarks.spark_history                    10,000,000 orders
    python -m benchmarks.spark_history --orders 100000    another number
    python -m benchmarks.spark_history --json             one JSON document instead of the table

Orders are synthesized to a temporary folder, in daily Parquet partitions. One order in a thousand is repeated on the
next day. Spark runs on two threads of this machine, in a process of its own. The processor time and the peak memory of
Python workers are those that Linux reports. The two states must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peak_memory import peak_mb

# Only the standard library here, also in `peak_memory`: the peak memory of a process includes the memory of its parent
# when it starts.

ORDERS = 10_000_000
REPEATED = 1_000
"""One order in this many is repeated on the next day."""
MAX_PYTHON_SECONDS, MAX_WORKER_MB = 60, 500
"""Limits for 10 million orders."""
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STEPS = ("make", "one", "spark")


def main() -> None:
    """Measure both ways, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=ORDERS, help="number of orders (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_run(arguments.step, arguments.folder, arguments.orders)))
        return
    result = measure_history(arguments.orders)
    print(json.dumps(result) if arguments.json else history_table(result))


def measure_history(orders: int = ORDERS) -> dict[str, Any]:
    """Return the measurements of both ways for a number of orders. Raises `RuntimeError` if their states differ."""
    with tempfile.TemporaryDirectory(prefix="preptime-spark-history-") as folder:
        _, one, spark = (_start(step, folder, orders) for step in _STEPS)
    if one.pop("sha256") != spark.pop("sha256"):
        raise RuntimeError("The state of Spark differs from that of one machine.")
    return {"orders": orders, "one": one, "spark": spark}


def history_table(result: dict[str, Any]) -> str:
    """Return the measurements as a Markdown table."""
    one, spark = result["one"], result["spark"]
    subject = f"{one['orders']:,} orders of {one['restaurants']:,} restaurants"
    rows = (
        ("one machine", one["seconds"], one["python_seconds"], 0, one["peak_mb"]),
        ("Spark, workers", spark["seconds"], spark["worker_seconds"], 0, spark["worker_mb"]),
        ("Spark, driver", spark["seconds"], spark["python_seconds"], spark["java_seconds"], spark["peak_mb"]),
    )
    lines = [
        f"The state of {subject}, {os.cpu_count()} processors. The two states are equal.",
        "",
        "| | wall | Python | Java | peak memory of a Python process |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {name} | {wall} s | {python} s | {java} s | {peak:,} MB |" for name, wall, python, java, peak in rows]
    return "\n".join(lines)


def _start(step: str, folder: str, orders: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.spark_history", "--step", step, "--folder", folder]
    run = subprocess.run(
        [*command, "--orders", str(orders)], check=True, stdout=subprocess.PIPE, encoding="utf-8", env=_environment()
    )
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def _environment() -> dict[str, str]:
    """Return the variables with which PySpark is found, in the environment `.venv-spark` if it's not in this one."""
    packages = next(Path(".venv-spark").absolute().glob("lib/python3.*/site-packages"), None)
    paths = [os.environ.get("PYTHONPATH", ""), str(packages or "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "SPARK_LOCAL_IP": "127.0.0.1"}


def _run(step: str, folder: Path, orders: int) -> dict[str, Any]:
    if step == "make":
        return _write_inputs(folder, orders)
    return _count_on_one_machine(folder) if step == "one" else _count_on_spark(folder)


def _write_inputs(folder: Path, rows: int) -> dict[str, Any]:
    """Write `restaurants.parquet`, and a folder of partitions by day of acknowledgement (UTC)."""
    import polars as pl

    from preptime.synthetic import SynthesisPlan, synthesize_frames

    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=rows))
    restaurants.write_parquet(folder / "restaurants.parquet")
    days = orders.with_columns(day=pl.col("order_acknowledged_at").dt.date()).partition_by("day", include_key=False)
    (folder / "orders").mkdir()
    repeated = days[0].clear()
    for number, day in enumerate(days):
        path = folder / "orders" / f"{number:03}.parquet"
        pl.concat([repeated, day]).write_parquet(path, compression="zstd", row_group_size=100_000)
        repeated = day.gather_every(REPEATED)
    return {"days": len(days)}


def _count_on_one_machine(folder: Path) -> dict[str, Any]:
    from preptime.schema.schema import TAKE_HOME_SCHEMA
    from preptime.sources.registry import open_source
    from preptime.training.refresh import stream_history
    from preptime.training.saved_state import SavedState

    restaurants, as_of = _inputs(folder)
    wall, cpu = time.perf_counter(), time.process_time()
    history = stream_history(open_source(folder / "orders"), restaurants, as_of)
    counted = SavedState(as_of, TAKE_HOME_SCHEMA, restaurants, history.state, history.labels, history.orders)
    return _measured(counted, wall, cpu)


def _count_on_spark(folder: Path) -> dict[str, Any]:
    from preptime.schema.schema import TAKE_HOME_SCHEMA
    from preptime.spark.addresses import parse_address
    from preptime.spark.session import open_session
    from preptime.spark.state import count_state

    restaurants, as_of = _inputs(folder)
    session = open_session("local[2]", settings={"spark.driver.memory": "2g"})
    wall, cpu = time.perf_counter(), time.process_time()
    orders, staging = parse_address(str(folder / "orders")), str(folder / "staged")
    counted = count_state(session, orders, restaurants, as_of, schema=TAKE_HOME_SCHEMA, staging=staging)
    result = _measured(counted, wall, cpu)
    workers, java = _processes("pyspark.daemon"), _processes("org.apache.spark.deploy.SparkSubmit")
    session.stop()
    return result | {
        "worker_seconds": round(sum(seconds for seconds, _ in workers), 1),
        "worker_mb": max((mb for _, mb in workers), default=0),
        "java_seconds": round(sum(seconds for seconds, _ in java), 1),
    }


def _inputs(folder: Path) -> tuple[Any, Any]:
    import datetime as dt

    from preptime.sources.registry import open_source
    from preptime.synthetic import SynthesisPlan
    from preptime.validation.restaurants import read_restaurants

    as_of = SynthesisPlan().start + dt.timedelta(days=SynthesisPlan().days + 5)
    return read_restaurants(open_source(folder / "restaurants.parquet").frame()), as_of


def _measured(counted: Any, wall: float, cpu: float) -> dict[str, Any]:
    import hashlib

    seconds, python_seconds = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_mb()
    document, _ = counted.encode("")
    digest = hashlib.sha256(repr(sorted(document.files.items())).encode()).hexdigest()
    return {
        "orders": document.orders,
        "restaurants": document.restaurants,
        "seconds": round(seconds, 1),
        "python_seconds": round(python_seconds, 1),
        "peak_mb": peak,
        "sha256": digest,
    }


def _processes(text: str) -> list[tuple[float, int]]:
    """Return processor seconds, with those of ended children, and peak MB of this process's descendants with a text."""
    found = []
    for pid in _descendants(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if text in command:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text()
            peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            found.append((sum(map(int, fields[11:15])) / _TICKS, round(peak_kb * 1024 / 1e6)))
    return found


def _descendants(pid: int) -> list[int]:
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return [*children, *(below for child in children for below in _descendants(child))]


if __name__ == "__main__":
    main()
