"""Tests of the results behind the screenshots of the page Monitoring."""

from __future__ import annotations

from pathlib import Path

from preptime.monitoring.document import read_monitoring_history
from preptime.sources.results import ResultsFolder
from preptime.synthetic import SynthesisPlan
from tests.ui.daily_results import TRAINED_DAYS, find_or_make_results, make_results

PLAN = SynthesisPlan(orders=6_000, restaurants=60, days=TRAINED_DAYS + 3)


def test_make_results_predicts_with_models_not_the_lookup(tmp_path: Path) -> None:
    root = make_results(tmp_path, PLAN, monitored_dates=1)
    (document,) = read_monitoring_history(ResultsFolder(root)).documents
    predicted_days = [day for day in document.days if day.predictions]
    assert len(predicted_days) == 3
    for day in predicted_days:
        assert day.metrics.mae != day.metrics.lookup_mae
        assert day.metrics.lookup_n == day.metrics.n > 100
    assert document.backtest_baseline is not None
    assert len(document.bundles) == 3
    assert find_or_make_results(root, tmp_path / "none") == root
    assert not (tmp_path / "none").exists()
