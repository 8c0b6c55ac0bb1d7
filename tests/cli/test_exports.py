"""The two commands of the README, from the nineteen exports of `tests/exports.py` to a champion and a scored day."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.training.fitting import FitPlan
from tests.exports import EXPORTS, run_two_commands
from tests.training.factories import quick_plan

CANNOT_TRAIN = {"three_days": "Training needs 5 days", "few_orders": "Calibration needs 100 orders"}
"""Exports with too few orders for any model, and what `demo` answers. docs/schema.md names the smallest data."""


@pytest.mark.parametrize("name", sorted(EXPORTS.keys() - CANNOT_TRAIN.keys()))
def test_two_commands_lead_from_export_to_champion(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FitPlan, "default", lambda threads: quick_plan(threads=threads))
    inferred, demo = run_two_commands(EXPORTS[name](), tmp_path)
    inferred.succeeded()
    document = msgspec.json.decode(demo.succeeded().out)
    champion = ChampionLog(Store.open(str(tmp_path / "models"))).current()
    assert champion is not None
    assert champion.bundle == document["bundle"]
    assert document["score"]["predicted"] == document["score"]["rows"] > 0


@pytest.mark.parametrize("name", sorted(CANNOT_TRAIN))
def test_export_with_too_few_orders_names_what_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inferred, demo = run_two_commands(EXPORTS[name](), tmp_path)
    inferred.succeeded()
    assert demo.status == 1
    assert CANNOT_TRAIN[name] in demo.err
