"""Bundles beside each other: what each says, which says better, and what is of the same orders."""

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


def told(seed: int, first: str = "2015-06-10", last: str = "2015-06-16") -> BacktestDocument:
    return build_backtest_document(evaluated_orders(2_000, seed), first, last)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    store = Store.open(str(tmp_path))
    return store.read_manifest(put_bundle(store))


def test_a_bundle_in_a_line_is_its_default_answer_beside_the_lookup(manifest: Manifest) -> None:
    document = told(1)
    one = summarize_bundle(msgspec.structs.replace(manifest, metrics=msgspec.to_builtins(document)))
    default = next(row for row in document.scores if row.name == "quantile" and row.labels == "up_to_3h")
    lookup = next(row for row in document.scores if row.name == "restaurant_lookup" and row.labels == "up_to_3h")
    assert (one.mae, one.orders, one.lookup_mae) == (default.mae, default.n, lookup.mae)
    assert one.coverage == document.interval.coverage
    assert one.evaluated_days == "2015-06-10 to 2015-06-16"


def test_a_manifest_without_scores_has_no_figures(manifest: Manifest) -> None:
    one = summarize_bundle(manifest)
    assert (one.mae, one.orders, one.coverage, one.evaluated_days) == (None, None, None, "")
    assert one.bundle == manifest.id


def test_the_better_of_two_knows_each_metrics_direction() -> None:
    first = told(1)
    scores = tuple(
        msgspec.structs.replace(row, mae=(row.mae or 0) + 5, within_5_min=0.99, bias=-1.0) for row in first.scores
    )
    interval = msgspec.structs.replace(first.interval, coverage=0.95)
    second = msgspec.structs.replace(first, scores=scores, interval=interval)
    better = {one.metric.name: one.better for one in compare_evaluations(first, second).metrics}
    assert better == {
        "mae": "first",
        "median_ae": "neither",
        "rmse": "neither",
        "r2": "neither",
        "bias": "second",
        "within_5_min": "second",
        "coverage": "first",
    }


def test_only_figures_of_the_same_days_are_of_the_same_orders() -> None:
    assert compare_evaluations(told(1), told(2)).same_days
    assert not compare_evaluations(told(1), told(2, last="2015-06-17")).same_days


def test_segments_that_both_have_are_paired_the_largest_first() -> None:
    first, second = told(1), told(2)
    fewer = tuple(one for one in second.segments if one.value != HOSTILE)
    pairs = compare_segments(first, msgspec.structs.replace(second, segments=fewer), "city")
    assert [one.value for one in pairs] == ["London", "Lyon", "Saint-Étienne"]
    london = next(one for one in first.segments if one.value == "London")
    assert (pairs[0].first, pairs[0].orders[0]) == (london.mae, london.n)
