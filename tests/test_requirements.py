"""A part that is missing is never missed where it must be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import ROOT

TESTS = """
from tests.requirements import real_data, requires

def test_part():
    requires(False, "no such program")

def test_data():
    real_data()
"""


@pytest.mark.parametrize(
    ("required", "said"), [("", "2 skipped"), ("parts", "1 failed, 1 skipped"), ("all", "2 failed")]
)
def test_what_may_be_skipped(tmp_path: Path, required: str, said: str) -> None:
    """Nothing under `all`; under `parts`, where no part may be missing, the real data alone."""
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PREPTIME_REQUIRE": required, "PREPTIME_REAL_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in ran.stdout.splitlines()[-1]
