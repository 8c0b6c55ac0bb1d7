"""Session: the settings on which results depend, and the sentences for what isn't installed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from preptime.errors import UsageError, install_hint
from preptime.spark import score, session
from preptime.spark.session import REQUIRED_SETTINGS, check_settings, open_session
from tests.cli.run_command import CommandResult, run_process

COMMAND = ("spark", "score", "--orders", "orders", "--out", "out", "--store")
NEW_PROCESS = "import sys; from preptime.cli import main; sys.exit(main())"
WITHOUT_PANDAS = f"import sys; sys.modules['pandas'] = None; {NEW_PROCESS}"


def test_session_has_the_required_settings(spark: Any) -> None:
    assert open_session() is spark
    found = {name: spark.conf.get(name).lower() for name in REQUIRED_SETTINGS if name != "spark.speculation"}
    assert found == {name: value.lower() for name, value in REQUIRED_SETTINGS.items() if name in found}
    with pytest.raises(UsageError, match=r"Spark already runs at local\[2\], and --master is local\[8\]"):
        open_session("local[8]")


def test_other_time_zone_is_refused(spark: Any) -> None:
    """Of a session of a user's own job, which `score` doesn't change."""
    try:
        spark.conf.set("spark.sql.session.timeZone", "Europe/London")
        with pytest.raises(UsageError, match=r"timeZone is Europe/London; expected UTC\. Set spark\.sql"):
            score(spark.range(1), store="none")
        open_session()  # a command sets it
        check_settings(spark)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def one_sentence(result: CommandResult) -> str:
    """Return the message of a failed command, without a line of Java or of Python."""
    assert result.status == 1
    (line,) = [line for line in result.err.splitlines() if line != "Starting Spark"]
    return line


def test_missing_packages_are_named(spark_environment: dict[str, str], tmp_path: Path) -> None:
    missing = one_sentence(run_process(*COMMAND, str(tmp_path), PYTHONPATH=""))
    expected = f"Error: Spark needs the package {{}}, which isn't installed. {install_hint('spark')}"
    assert missing == expected.format("pyspark")
    missing = one_sentence(run_process(*COMMAND, str(tmp_path), program=WITHOUT_PANDAS, **spark_environment))
    assert missing == expected.format("pandas")


def test_missing_and_old_java_are_named(
    spark_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(
        UsageError, match=r"Spark needs Java, which wasn't found: JAVA_HOME is .*none\. Install Java 17"
    ):
        session.require_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="java isn't on the PATH"):
        session.require_java()
    if os.name != "nt":
        java = tmp_path / "java"
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
        java.chmod(java.stat().st_mode | stat.S_IXUSR)
        with pytest.raises(UsageError, match="java has the version 11; Spark needs 17 or later"):
            session.require_java()


def test_core_imports_no_pyspark(spark_environment: dict[str, str]) -> None:
    """Neither does the list of commands, or the module of the workers."""
    modules = "preptime, preptime.cli.spark, preptime.spark, preptime.spark.scoring, preptime.spark.worker_bundles"
    program = f"import sys, {modules}; sys.exit('pyspark' in sys.modules)"
    assert run_process(program=program, **spark_environment).status == 0
