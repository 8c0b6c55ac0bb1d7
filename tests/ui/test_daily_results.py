"""The weeks behind the pictures of the page Monitoring are answered by models, not by what they are compared with."""

from __future__ import annotations

from pathlib import Path

from preptime.monitoring.document import read_monitoring_history
from preptime.sources.results import ResultsFolder
from preptime.synthetic import SynthesisPlan
from tests.ui.daily_results import TRAINED_DAYS, make_mornings, mornings

PLAN = SynthesisPlan(orders=6_000, restaurants=60, days=TRAINED_DAYS + 3)


def test_mornings_are_answered_by_a_trained_bundle_beside_a_lookup_that_says_otherwise(tmp_path: Path) -> None:
    root = make_mornings(tmp_path, PLAN, looked_at=1)
    (document,) = read_monitoring_history(ResultsFolder(root)).documents
    answered = [day for day in document.days if day.predictions]
    assert len(answered) == 3
    for day in answered:
        assert day.metrics.mae != day.metrics.lookup_mae
        assert day.metrics.lookup_n == day.metrics.n > 100
    assert document.backtest_baseline is not None
    assert len(document.bundles) == 3
    assert mornings(root, tmp_path / "none") == root
    assert not (tmp_path / "none").exists()
