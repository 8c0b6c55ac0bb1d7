"""The Spark session of a command, and the settings on which results depend.

`open_session` returns the session of `spark-submit` or of a notebook if there is one. Otherwise, it starts Spark on
this machine, which needs Java. Objects of Spark have the type `Any`: PySpark isn't installed where types are checked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from preptime.errors import OperationError, UsageError, install_hint

DEFAULT_MASTER = "local[2]"
"""Spark on two threads of this machine."""
BATCH_ROWS = 50_000
"""Rows that a Python worker gets at a time, as many as a chunk of `preptime score`. It changes no value."""
TASK_ROWS = 500_000
"""Rows for each task. A task takes about 15 s then, so that a lost executor loses little."""
MIN_JAVA = 17

REQUIRED_SETTINGS = {
    # Times cross from Java to Python in this zone.
    "spark.sql.session.timeZone": "UTC",
    # The default, INT96, loses the zone and the unit of a time.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    # Old times are the same instants in all programs.
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # A damaged or deleted file is an error. Its rows aren't left out.
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    # Values in the names of folders are text, and the case of names matters, as in `preptime score`.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.execution.arrow.useLargeVarTypes": "false",
    # Of two attempts of a task, only one may count. An attempt that is only slow isn't started again.
    "spark.speculation": "false",
}
"""Settings that every command requires. It sets them, except in a session of `preptime.spark.score`."""
SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH_ROWS),
    "spark.sql.parquet.compression.codec": "zstd",
}
"""Other settings of a command's session."""
_JAVA_OPTIONS = (
    "-XX:+UseSerialGC -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
"""A task's Java only moves rows between Parquet and Python, so it shouldn't compile much itself. These options collect
garbage in one thread, and let the optimizing compiler start ten times later than by default. Scoring then takes 2.13
times the processor time of one machine instead of 2.47 times (`python -m benchmarks spark`, two runs). Without the
optimizing compiler (`-XX:TieredStopAtLevel=1`), short jobs take as long, and long ones take longer."""
STARTUP_SETTINGS = {
    "spark.driver.defaultJavaOptions": _JAVA_OPTIONS,
    "spark.executor.defaultJavaOptions": _JAVA_OPTIONS,
    "spark.ui.enabled": "false",
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    # A failure is one sentence (`preptime.spark.failures`). Spark's own log has the stacks of all attempts.
    "spark.log.level": "OFF",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings of a session that a command starts. In a session of `spark-submit`, the cluster has its own."""

_JAVA_VERSION = re.compile(r'version "(\d+)')
_JAVA_HINT = f"Install Java {MIN_JAVA} or later, and set JAVA_HOME to its folder if java isn't on the PATH."


def require_pyspark() -> None:
    """Raise `UsageError` if PySpark, or a package that it needs for Arrow, isn't installed."""
    try:
        import pandas as pd
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyspark
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"pandas", "pyarrow", "pyspark"}:
            raise
        raise UsageError(f"Spark needs the package {package}, which isn't installed.", install_hint("spark")) from error
    del pd, pa, pyspark


def open_session(master: str | None = None, *, settings: dict[str, str] | None = None) -> Any:
    """Return the current Spark session, or start one.

    A session of `spark-submit` is used as it is, with `REQUIRED_SETTINGS` and `SETTINGS`. The driver of such a session
    already runs, so `master` must be None.

    Args:
        master: Where Spark runs, such as `local[4]` or `spark://HOST:7077`. Default: `DEFAULT_MASTER`.
        settings: Further settings of a new session, such as `spark.executor.memory`.

    Returns:
        The `pyspark.sql.SparkSession`.

    Raises:
        UsageError: PySpark or Java isn't installed, or `master` contradicts the running session.
        OperationError: Spark can't be started, for example because no master is at the address.
    """
    require_pyspark()
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    if running is not None:
        _check_master(running, master)
        return with_settings(running, settings)
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # spark-submit has started Java
        if master is not None:
            raise UsageError(f"--master {master} can't be used inside spark-submit.", "Omit it, or omit spark-submit.")
        startup = settings or {}
    else:
        require_java()
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        master = master or DEFAULT_MASTER
        startup = STARTUP_SETTINGS | {"spark.master": master} | (settings or {})
    builder = SparkSession.builder.appName("preptime")
    for name, value in (REQUIRED_SETTINGS | SETTINGS | startup).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # errors of Spark, of Py4J, and of the start of Java have no common class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OperationError(
            f"Spark can't be started at {master or 'the master of spark-submit'}: {reason}.",
            "Check --master, and the memory of this machine.",
        ) from error
    return with_settings(session)


def with_settings(session: Any, settings: dict[str, str] | None = None) -> Any:
    """Return the session with `REQUIRED_SETTINGS`, `SETTINGS`, and others, as far as Spark can change them now.

    Raises `UsageError` if one of them can't be changed and has another value.
    """
    for name, value in (REQUIRED_SETTINGS | SETTINGS).items():
        if session.conf.isModifiable(name):
            session.conf.set(name, value)
    for name, value in (settings or {}).items():
        if session.conf.isModifiable(name):
            session.conf.set(name, value)
        elif session.conf.get(name, None) != value:
            raise UsageError(f"The Spark setting {name} can't be changed now.", "Set it where Spark is started.")
    check_settings(session)
    return session


def check_settings(session: Any, names: tuple[str, ...] = tuple(REQUIRED_SETTINGS)) -> None:
    """Raise `UsageError` if a setting of a session has another value than `REQUIRED_SETTINGS`."""
    for name in names:
        required = REQUIRED_SETTINGS[name]
        found = session.conf.get(name, required)
        if found.lower() != required.lower():
            raise UsageError(f"The Spark setting {name} is {found}; expected {required}.", f"Set {name}={required}.")


def java(session: Any) -> Any:
    """Return the packages of the driver's Java. PySpark has no public name for them."""
    return session.sparkContext._jvm  # noqa: SLF001


def hadoop_configuration(session: Any) -> Any:
    """Return the configuration of Hadoop's file systems in the driver's Java."""
    return session.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001


def list_accumulator(session: Any) -> Any:
    """Return an accumulator of lists. Spark adds what a task added once, when the task succeeds."""
    from pyspark import AccumulatorParam

    class _Lists(AccumulatorParam):  # type: ignore[misc]
        def zero(self, value: list[bytes]) -> list[bytes]:
            return value

        def addInPlace(self, value1: list[bytes], value2: list[bytes]) -> list[bytes]:  # noqa: N802
            value1 += value2
            return value1

    return session.sparkContext.accumulator([], _Lists())


def split_by_rows(session: Any, total_bytes: int, total_rows: int) -> None:
    """Let Spark split the files that it reads next at about `TASK_ROWS` rows, instead of at 128 MB.

    Compressed orders have about 16 bytes. A task of 128 MB would take minutes, and few tasks leave most cores idle.
    """
    row_bytes = total_bytes / max(total_rows, 1)
    split_bytes = min(max(int(row_bytes * TASK_ROWS), 1 << 20), 128 << 20)
    session.conf.set("spark.sql.files.maxPartitionBytes", str(split_bytes))


def _check_master(session: Any, master: str | None) -> None:
    running = session.sparkContext.master
    if master not in {None, running}:
        raise UsageError(f"Spark already runs at {running}, and --master is {master}.", "Omit --master.")


def require_java() -> None:
    """Raise `UsageError` if Java is missing or too old. PySpark alone only reports that its gateway ended."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java")
    try:
        if program is None:
            raise FileNotFoundError("java isn't on the PATH")
        run = subprocess.run([program, "-version"], capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    except OSError as error:
        place = f"JAVA_HOME is {home}" if home else "java isn't on the PATH"
        raise UsageError(f"Spark needs Java, which wasn't found: {place}.", _JAVA_HINT) from error
    found = _JAVA_VERSION.search(run.stderr + run.stdout)
    if found is None or int(found[1]) < MIN_JAVA:
        version = found[1] if found else "unknown"
        raise UsageError(f"{program} has the version {version}; Spark needs {MIN_JAVA} or later.", _JAVA_HINT)
