"""The two commands of the README, from the nineteen exports of `tests/exports.py` to a champion and a scored day."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.training.fitting import FitPlan
from tests.exports import EXPORTS, run_two_commands
from tests.training.factories import quick_plan

REDUCED = {
    "three_days": "There are 3 days of orders, and all models need 5.",
    "few_orders": "Calibration needs 100 orders",
}
"""Exports with too few orders for all models, and the reason that `demo` states."""


@pytest.mark.parametrize("name", EXPORTS)
def test_two_commands_lead_from_export_to_champion(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FitPlan, "default", lambda threads: quick_plan(threads=threads))
    inferred, demo = run_two_commands(EXPORTS[name](), tmp_path)
    inferred.succeeded()
    document = msgspec.json.decode(demo.succeeded().out)
    store = Store.open(str(tmp_path / "models"))
    champion = ChampionLog(store).current()
    assert champion is not None, demo.err
    assert champion.bundle == document["bundle"]
    assert document["score"]["predicted"] == document["score"]["rows"] > 0
    assert store.read_manifest(champion.bundle).models == (
        ("lookup", "quantile") if name in REDUCED else ("rf", "quantile")
    )
    stated = f"Only the restaurant lookup and quantile were trained. {REDUCED.get(name, '')}"
    assert (stated in " ".join(demo.err.split())) is (name in REDUCED)


def test_two_days_are_too_few_and_one_error_names_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export = EXPORTS["three_days"]()
    rows = export.orders.filter(pl.col("order_acknowledged_at") < "2015-06-03").head(40)
    two_days = replace(export, orders=rows, demo_options=())
    inferred, demo = run_two_commands(two_days, tmp_path)
    inferred.succeeded()
    assert demo.status == 4
    for fact in ("the minimum is 7", "the minimum is 1,000", "Training needs 3 days"):
        assert fact in demo.err
    assert not (tmp_path / "models" / "bundles").exists()
