"""PREPTIME_REQUIRE: which skipped tests fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import ROOT

TESTS = """
from tests.requirements import NOT_PACKAGED, real_data, requires

def test_program():
    requires(False, "no such program")

def test_data():
    real_data()

def test_program_without_package():
    requires(False, f"{NOT_PACKAGED} it")
"""


@pytest.mark.parametrize(
    ("required", "summary"), [("", "3 skipped"), ("parts", "1 failed, 2 skipped"), ("all", "2 failed, 1 skipped")]
)
def test_require_fails_skipped_tests(tmp_path: Path, required: str, summary: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PREPTIME_REQUIRE": required, "PREPTIME_REAL_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert summary in completed.stdout.splitlines()[-1]
