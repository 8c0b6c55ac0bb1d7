"""The command line with two small models and reports without charts: PREPTIME_COMMAND of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from preptime.cli import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        import pytest

        from tests.daily.fast_training import use_fast_training

        use_fast_training(pytest.MonkeyPatch())
    sys.exit(main())
