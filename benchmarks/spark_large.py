"""Time, memory, and disk of 100 million orders on Spark, scored and counted on the cores of this machine.

    python -m benchmarks spark_large                        100,000,000 orders, about 45 minutes on two idle cores
    python -m benchmarks spark_large -- --orders 4000000    another number
    python -m benchmarks spark_large -- --folder /mnt/disk  a folder with enough space, else that of temporary files

Orders of a month are synthesized once, and repeated in the ten months before with other order IDs and times. Spark runs
on `local[2]`, in one Java process. The processor time and the peak memory of each process are those that Linux reports.
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

from benchmarks.processes import ProcessTimes, descendants
from tests.requirements import spark_packages

ORDERS, RESTAURANTS, MONTHS, DAYS = 100_000_000, 524_000, 10, 30
FILES_PER_MONTH = 10
DATE = "2015-07-02"
"""After the last month."""
_PROGRAM = "import sys; from preptime.cli import main; sys.exit(main())"
_STEPS = {"score": "`preptime spark score`", "state": "`preptime spark state`"}


def main() -> None:
    """Measure both commands, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=ORDERS, help="number of orders (default: %(default)s)")
    parser.add_argument("--folder", help="folder for orders and output (default: that of temporary files)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        write_inputs(arguments.step, arguments.orders)
        return
    result = measure(arguments.orders, arguments.folder)
    print(json.dumps(result) if arguments.json else table(result))


def measure(orders: int = ORDERS, folder: str | None = None) -> dict[str, Any]:
    """Return the measurements of both commands. Raises `RuntimeError` if a command lost orders."""
    os.environ |= {"PYTHONPATH": f"{Path.cwd()}:{spark_packages()}", "SPARK_LOCAL_IP": "127.0.0.1"}
    with tempfile.TemporaryDirectory(prefix="preptime-spark-large-", dir=folder) as name:
        place = Path(name)
        command = [sys.executable, "-m", "benchmarks.spark_large", "--step", name, "--orders", str(orders)]
        subprocess.run(command, check=True)
        result: dict[str, Any] = {"orders": orders, "input_mb": _size_mb(place / "orders")}
        result["score"] = _run(place, "score")
        result["state"] = _run(place, "state", "--restaurants", str(place / "restaurants.parquet"), "--date", DATE)
    if result["score"]["document"]["rows"] != orders:
        raise RuntimeError(f"{result['score']['document']['rows']:,} rows were scored.")
    return result


def table(result: dict[str, Any]) -> str:
    """Return the measurements as a Markdown table, with a sentence first."""
    score, state = result["score"]["document"], result["state"]["document"]
    sentence = (
        f"{result['orders']:,} orders of {state['restaurants']:,} restaurants, {result['input_mb']:,} MB of Parquet, "
        f"{os.cpu_count()} processors. {score['predicted']:,} were predicted, and {state['orders']:,} were counted."
    )
    lines = [
        sentence,
        "",
        "| | wall | Python | Java | peak memory of a worker | of the driver's Python | of Java | largest disk use |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for step, name in _STEPS.items():
        part = result[step]
        python = part["workers"]["seconds"] + part["driver"]["seconds"]
        lines.append(
            f"| {name} | {part['wall'] / 60:.1f} min | {python / 60:.1f} min | {part['java']['seconds'] / 60:.1f} min "
            f"| {part['workers']['peak_mb']:,} MB | {part['driver']['peak_mb']:,} MB | {part['java']['peak_mb']:,} MB "
            f"| {part['disk_mb'] / 1000:.1f} GB |"
        )
    return "\n".join(lines)


def write_inputs(folder: Path, orders: int) -> None:
    """Write `restaurants.parquet`, a folder of orders, and a store with a champion."""
    import polars as pl

    from benchmarks import score
    from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
    from preptime.bundle.store import Store

    month_rows = orders // MONTHS
    score.fit_graphs(folder)
    score.write_inputs(folder, month_rows, RESTAURANTS)
    store = Store.open(str(folder / "store"))
    (bundle,) = store.bundle_ids()
    manifest = store.read_manifest(bundle)
    draft = LogEntryDraft(
        action="promote", bundle=bundle, date=manifest.date, by="benchmark", at=f"{DATE}T05:00:00Z", reason="benchmark"
    )
    ChampionLog(store).append(draft, None)
    rows = pl.read_parquet(folder / "orders.parquet")
    (folder / "orders.parquet").unlink()
    (folder / "truth.parquet").unlink()
    (folder / "orders").mkdir()
    file_rows = -(-month_rows // FILES_PER_MONTH)
    for month in range(MONTHS):
        earlier = pl.duration(days=DAYS * (MONTHS - 1 - month))
        shifted = rows.with_columns(
            pl.col("order_id") + month * month_rows,
            pl.col("order_acknowledged_at", "order_ready_at") - earlier,
        )
        for number, part in enumerate(shifted.iter_slices(file_rows)):
            part.write_parquet(folder / "orders" / f"{month:02}-{number:02}.parquet", row_group_size=250_000)


def _run(folder: Path, step: str, *options: str) -> dict[str, Any]:
    """Return the document and the measurements of a command of Spark."""
    places = ("--orders", folder / "orders", "--out", folder / step, "--store", folder / "store")
    command = [sys.executable, "-c", _PROGRAM, "spark", step, *map(str, places), *options, "--json"]
    command += ["--conf", f"spark.local.dir={folder / 'local'}", "--conf", "spark.driver.memory=2g"]
    times, disk_mb = ProcessTimes(), [0]
    started, before_mb = time.perf_counter(), _size_mb(folder)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:

        def read() -> None:
            times.read("driver", process.pid)
            for pid in descendants(process.pid):
                times.read("java" if _is_java(pid) else "workers", pid)
            disk_mb[0] = max(disk_mb[0], _size_mb(folder) - before_mb)

        times.watch_while_running(process, read)
        output = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"preptime spark {step} exited with status {process.returncode}.")
    measured = {part: times.total(part) for part in ("workers", "driver", "java")}
    wall = round(time.perf_counter() - started, 1)
    return {"document": json.loads(output), "wall": wall, "disk_mb": disk_mb[0], **measured}


def _is_java(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "java"
    except OSError:  # the process has ended
        return False


def _size_mb(folder: Path) -> int:
    """Return the size of all files below a folder. Files that are removed meanwhile count as 0."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += Path(parent, name).lstat().st_size
            except FileNotFoundError:
                continue
    return round(size / 1e6)


if __name__ == "__main__":
    main()
