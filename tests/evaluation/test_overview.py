"""Bundle summaries and comparisons of two bundles."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import build_backtest_document
from preptime.evaluation.overview import compare_evaluations, compare_segments, summarize_bundle
from tests.bundle.factories import put_bundle
from tests.evaluation.factories import HOSTILE, evaluated_orders


def make_document(seed: int, first: str = "2015-06-10", last: str = "2015-06-16") -> BacktestDocument:
    return build_backtest_document(evaluated_orders(2_000, seed), first, last)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    store = Store.open(str(tmp_path))
    return store.read_manifest(put_bundle(store))


def test_summarize_bundle_reports_default_and_lookup(manifest: Manifest) -> None:
    document = make_document(1)
    summary = summarize_bundle(msgspec.structs.replace(manifest, metrics=msgspec.to_builtins(document)))
    default = next(row for row in document.scores if row.name == "quantile" and row.labels == "up_to_3h")
    lookup = next(row for row in document.scores if row.name == "restaurant_lookup" and row.labels == "up_to_3h")
    assert (summary.mae, summary.orders, summary.lookup_mae) == (default.mae, default.n, lookup.mae)
    assert summary.coverage == document.interval.coverage
    assert summary.evaluated_days == "2015-06-10 to 2015-06-16"


def test_summarize_bundle_without_metrics_is_empty(manifest: Manifest) -> None:
    summary = summarize_bundle(manifest)
    assert (summary.mae, summary.orders, summary.coverage, summary.evaluated_days) == (None, None, None, "")
    assert summary.bundle == manifest.id


def test_compare_evaluations_knows_metric_direction() -> None:
    first = make_document(1)
    scores = tuple(
        msgspec.structs.replace(row, mae=(row.mae or 0) + 5, within_5_min=0.99, bias=-1.0) for row in first.scores
    )
    interval = msgspec.structs.replace(first.interval, coverage=0.95)
    costs = tuple(
        msgspec.structs.replace(cost, predicted_quantile=(cost.predicted_quantile or 0) + change)
        for cost, change in zip(first.waiting_costs, (0, -1, 1), strict=True)
    )
    second = msgspec.structs.replace(first, scores=scores, interval=interval, waiting_costs=costs)
    better = {comparison.metric.name: comparison.better for comparison in compare_evaluations(first, second).metrics}
    assert better == {
        "mae": "first",
        "median_ae": "neither",
        "rmse": "neither",
        "r2": "neither",
        "bias": "second",
        "within_5_min": "second",
        "coverage": "first",
        "waiting cost, 1:1": "neither",
        "waiting cost, 2:1": "second",
        "waiting cost, 1:2": "first",
    }
    # A bundle of an earlier release has no waiting costs to compare.
    earlier = msgspec.structs.replace(first, waiting_costs=())
    assert [item.metric.name for item in compare_evaluations(earlier, second).metrics][-1] == "coverage"


def test_compare_evaluations_same_days_needs_equal_days() -> None:
    assert compare_evaluations(make_document(1), make_document(2)).same_days
    assert not compare_evaluations(make_document(1), make_document(2, last="2015-06-17")).same_days


def test_compare_segments_pairs_common_largest_first() -> None:
    first, second = make_document(1), make_document(2)
    fewer = tuple(segment for segment in second.segments if segment.value != HOSTILE)
    pairs = compare_segments(first, msgspec.structs.replace(second, segments=fewer), "city")
    assert [pair.value for pair in pairs] == ["London", "Lyon", "Saint-Étienne"]
    london = next(segment for segment in first.segments if segment.value == "London")
    assert (pairs[0].first, pairs[0].orders[0]) == (london.mae, london.n)
