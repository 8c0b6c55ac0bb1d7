"""Metrics of many groups match those of `preptime.evaluation`, group by group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from preptime.evaluation.aggregates import segment_rows, wilson_interval
from preptime.evaluation.metrics import (
    BIAS,
    COVERAGE_INSIDE,
    MAE,
    WITHIN_5_MIN,
    interval_coverage,
    quantile_scores,
)
from preptime.evaluation.segments import score_segments
from preptime.evaluation.waiting_cost import compute_waiting_costs
from preptime.monitoring.daily_metrics import OrderMetrics, segment_metrics
from preptime.monitoring.document import DateRange
from preptime.monitoring.joined_predictions import JoinedOrders, join
from preptime.monitoring.outcomes import read_outcomes
from preptime.monitoring.recorded_predictions import read_predictions
from preptime.monitoring.report_rows import coverage_rows
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.synthetic import SynthesisPlan
from tests.monitoring.example import quiet
from tests.monitoring.synthetic_months import ONE_DAY, make_month


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> JoinedOrders:
    """Six days with predictions of a small month."""
    root: Path = tmp_path_factory.mktemp("month")
    month = make_month(SynthesisPlan(orders=3_000, restaurants=60, days=12), root, trained_days=6)
    date = month.last + ONE_DAY
    audited = read_outcomes(month.known_orders(date), month.restaurants, date, month.first_predicted)
    predictions = read_predictions(
        month.results,
        None,
        month.restaurants,
        DateRange(first=month.first_predicted, last=month.last),
        schema_of=lambda _: TAKE_HOME_SCHEMA,
    )
    return join(audited.outcomes, predictions, month.restaurants, month.bundles)


def test_group_metrics_match_evaluation_metrics(joined: JoinedOrders) -> None:
    order_metrics = OrderMetrics.from_joined(joined)
    day = joined.outcomes.day - joined.outcomes.day.min()
    grouped = order_metrics.group_by(day, int(day.max()) + 1)
    for group in np.unique(day):
        rows = joined.evaluated & (day == group)
        actual, quantiles = joined.actual[rows], joined.quantiles[rows]
        metrics = grouped.metrics(int(group))
        assert metrics.n == int(rows.sum()) > 50
        assert metrics.mae == pytest.approx(MAE(actual, quantiles[:, 1]))
        assert metrics.bias == pytest.approx(BIAS(actual, quantiles[:, 1]))
        assert metrics.within_5_min == pytest.approx(WITHIN_5_MIN(actual, quantiles[:, 1]))
        assert metrics.coverage == pytest.approx(interval_coverage(0.8)(actual, quantiles[:, 0], quantiles[:, -1]))
        assert metrics.coverage_inside == pytest.approx(COVERAGE_INSIDE(actual, quantiles[:, 0], quantiles[:, -1]))
        assert metrics.lookup_mae == pytest.approx(MAE(actual, joined.lookup[rows]))
        costs = compute_waiting_costs(
            actual, quantiles, joined.lookup_quantiles[rows], joined.global_quantiles(np.flatnonzero(rows))
        )
        assert [cost.n for cost in metrics.waiting_costs] == [metrics.n] * 3
        for cost, expected_cost in zip(metrics.waiting_costs, costs, strict=True):
            values, expected_values = (msgspec.structs.astuple(item)[:-1] for item in (cost, expected_cost))
            assert values == pytest.approx(expected_values, rel=1e-6)
            assert cost.live_quantile is None  # monitoring doesn't know what another model would have predicted
        for actual_score, expected_score in zip(metrics.quantiles, quantile_scores(actual, quantiles), strict=True):
            assert actual_score.p == expected_score.p
            assert actual_score.coverage == pytest.approx(expected_score.coverage)
            assert actual_score.pinball == pytest.approx(expected_score.pinball)


def test_segment_metrics_match_score_segments(joined: JoinedOrders) -> None:
    rows = joined.evaluated
    segments = segment_metrics(joined, OrderMetrics.from_joined(joined), np.ones(len(joined), bool))
    expected = score_segments(
        joined.segment_columns.take(rows), joined.actual[rows], joined.quantiles[rows], joined.lookup[rows]
    )
    assert [(segment.segment, segment.value, segment.n) for segment in segments] == [
        (segment.segment, segment.value, segment.n) for segment in expected
    ]
    for segment, expected_segment in zip(segments, expected, strict=True):
        assert segment.mae == pytest.approx(expected_segment.mae)
        assert segment.lookup_mae == pytest.approx(expected_segment.lookup_mae)
        assert segment.coverage == pytest.approx(expected_segment.coverage)
        assert segment.coverage_inside == pytest.approx(expected_segment.coverage_inside)


def test_outcomes_at_the_ends_count_as_covered_but_not_inside(joined: JoinedOrders) -> None:
    rows = np.flatnonzero(joined.evaluated)
    quantiles = joined.quantiles.copy()
    quantiles[rows[::2], 0] = joined.actual[rows[::2]]
    quantiles[rows, 1:] = joined.actual[rows, None] + 60
    quantiles[rows[1::2], 0] = joined.actual[rows[1::2]] - 60
    metrics = OrderMetrics.from_joined(replace(joined, quantiles=quantiles)).total(np.ones(len(joined), bool))
    assert metrics.coverage == 1
    assert metrics.coverage_inside == pytest.approx(0.5, abs=0.01)


def test_coverage_counts_only_orders_with_an_interval(joined: JoinedOrders) -> None:
    """Predictions of the take-home route have p50 only."""
    rows, everything = np.flatnonzero(joined.evaluated), np.ones(len(joined), bool)
    quantiles = joined.quantiles.copy()
    quantiles[rows[40:, None], np.array([0, 2, 3])] = np.nan
    quantiles[rows[:40], 0] = joined.actual[rows[:40]] + 60 * (np.arange(40) < 8)
    quantiles[rows[:40], 3] = joined.actual[rows[:40]] + 120
    mixed = replace(joined, quantiles=quantiles)
    order_metrics = OrderMetrics.from_joined(mixed)
    metrics = order_metrics.total(everything)
    assert (metrics.n, metrics.interval_n, metrics.coverage) == (len(rows), 40, 0.8)
    (segment,) = (item for item in segment_metrics(mixed, order_metrics, everything) if item.segment == "overall")
    assert (segment.n, segment.interval_n, segment.coverage) == (len(rows), 40, 0.8)
    day = msgspec.structs.replace(quiet().days[0], metrics=metrics)
    (row,) = coverage_rows(msgspec.structs.replace(quiet(), days=(day,)))
    (segment_row,) = segment_rows([segment], ("overall",))
    for chart_row in (row, segment_row):
        assert (chart_row["coverage_low"], chart_row["coverage_high"]) == wilson_interval(0.8, 40)
    assert row["tip"] == f"{day.date}: 80.0% of 40 orders, 95% interval 65%–90%"
    assert str(segment_row["coverage_tip"]).endswith("80.0% of the 40 with an interval, 95% interval 65%–90%")


def test_join_takes_lookup_from_predicting_bundle(joined: JoinedOrders) -> None:
    """Synthetic months predict with the lookup, so both are equal."""
    np.testing.assert_array_equal(joined.lookup[joined.has_prediction], joined.predicted[joined.has_prediction])


def test_waiting_cost_of_a_pruned_bundle_lacks_the_lookup(joined: JoinedOrders) -> None:
    """The lookup and the constant come from the bundle's history, and the predictions are recorded."""
    pruned = replace(joined, lookup_quantiles=np.full_like(joined.lookup_quantiles, np.nan), histories={})
    metrics = OrderMetrics.from_joined(pruned).total(np.ones(len(joined), bool))
    kept = OrderMetrics.from_joined(joined).total(np.ones(len(joined), bool))
    assert metrics.n == kept.n
    for cost, complete in zip(metrics.waiting_costs, kept.waiting_costs, strict=True):
        assert cost == msgspec.structs.replace(complete, lookup_quantile=None, constant=None)


def test_order_metrics_total_without_orders_is_none(joined: JoinedOrders) -> None:
    metrics = OrderMetrics.from_joined(joined).total(np.zeros(len(joined), bool))
    assert metrics.n == 0
    assert metrics.mae is metrics.bias is metrics.coverage is metrics.lookup_mae is None
    assert {cost.predicted_quantile for cost in metrics.waiting_costs} == {None}
