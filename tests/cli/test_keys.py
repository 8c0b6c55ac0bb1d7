"""`keys`."""

from __future__ import annotations

import json

import pytest

from preptime.cli import main
from preptime.keys import Keys


def test_keys_new_prints_key_and_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "dispatch", "--json"]) == 0
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert Keys.from_setting(document["setting"]).name_of(document["key"]) == "dispatch"
    assert f"PREPTIME_API_KEYS={document['setting']}" in output.err
    assert output.err.count(document["key"]) == 1


def test_keys_new_invalid_name_is_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "a:b"]) == 2
    assert "'a:b' isn't a valid key name" in capsys.readouterr().err
