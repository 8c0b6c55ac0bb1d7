"""`preptime keys`."""

from __future__ import annotations

import json

import pytest

from preptime.cli import main
from preptime.keys import Keys


def test_a_new_key_is_printed_once_with_what_the_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "dispatch", "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert Keys.from_setting(document["setting"]).name_of(document["key"]) == "dispatch"
    assert f"PREPTIME_API_KEYS={document['setting']}" in said.err
    assert said.err.count(document["key"]) == 1


def test_a_name_that_cannot_be_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "a:b"]) == 2
    assert "'a:b' is no name for a key" in capsys.readouterr().err
