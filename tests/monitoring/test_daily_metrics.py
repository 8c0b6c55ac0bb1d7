"""The figures of many groups at once are those of `preptime.evaluation`, group by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preptime.evaluation.metrics import BIAS, MAE, WITHIN_5_MIN, interval_coverage, quantile_scores
from preptime.evaluation.segments import score_segments as plain_segments
from preptime.monitoring.daily_metrics import OrderMetrics, segment_metrics
from preptime.monitoring.document import DateRange
from preptime.monitoring.joined_predictions import JoinedOrders, join
from preptime.monitoring.outcomes import read_outcomes
from preptime.monitoring.recorded_predictions import read_predictions
from preptime.synthetic import SynthesisPlan
from tests.monitoring.synthetic_months import ONE_DAY, make_month


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> JoinedOrders:
    """Six answered days of a small month."""
    root: Path = tmp_path_factory.mktemp("month")
    month = make_month(SynthesisPlan(orders=3_000, restaurants=60, days=12), root, trained_days=6)
    date = month.last + ONE_DAY
    known = read_outcomes(month.known(date), month.directory, date, month.first_answer)
    answers = read_predictions(
        month.results, None, month.directory, DateRange(first=month.first_answer, last=month.last)
    )
    return join(known.outcomes, answers, month.directory, month.mornings)


def test_a_groups_figures_are_those_of_its_orders(joined: JoinedOrders) -> None:
    tallied = OrderMetrics.from_joined(joined)
    day = joined.outcomes.day - joined.outcomes.day.min()
    grouped = tallied.group_by(day, int(day.max()) + 1)
    for group in np.unique(day):
        rows = joined.evaluated & (day == group)
        actual, quantiles = joined.actual[rows], joined.quantiles[rows]
        found = grouped.metrics(int(group))
        assert found.n == int(rows.sum()) > 50
        assert found.mae == pytest.approx(MAE(actual, quantiles[:, 1]))
        assert found.bias == pytest.approx(BIAS(actual, quantiles[:, 1]))
        assert found.within_5_min == pytest.approx(WITHIN_5_MIN(actual, quantiles[:, 1]))
        assert found.coverage == pytest.approx(interval_coverage(0.8)(actual, quantiles[:, 0], quantiles[:, -1]))
        assert found.lookup_mae == pytest.approx(MAE(actual, joined.lookup[rows]))
        for mine, theirs in zip(found.quantiles, quantile_scores(actual, quantiles), strict=True):
            assert mine.p == theirs.p
            assert mine.coverage == pytest.approx(theirs.coverage)
            assert mine.pinball == pytest.approx(theirs.pinball)


def test_segments_are_those_of_a_training_report(joined: JoinedOrders) -> None:
    rows = joined.evaluated
    mine = segment_metrics(joined, OrderMetrics.from_joined(joined), np.ones(len(joined), bool))
    theirs = plain_segments(
        joined.segment_columns.take(rows), joined.actual[rows], joined.quantiles[rows], joined.lookup[rows]
    )
    assert [(one.segment, one.value, one.n) for one in mine] == [(one.segment, one.value, one.n) for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one.mae == pytest.approx(other.mae)
        assert one.lookup_mae == pytest.approx(other.lookup_mae)
        assert one.coverage == pytest.approx(other.coverage)


def test_the_lookup_is_that_of_the_answering_mornings_history(joined: JoinedOrders) -> None:
    """The months answer with the lookup, so that it is the answer."""
    np.testing.assert_array_equal(joined.lookup[joined.has_prediction], joined.predicted[joined.has_prediction])


def test_a_figure_of_nothing_has_no_value(joined: JoinedOrders) -> None:
    found = OrderMetrics.from_joined(joined).total(np.zeros(len(joined), bool))
    assert found.n == 0
    assert found.mae is found.bias is found.coverage is found.lookup_mae is None
