"""The figures of many groups at once are those of `preptime.evaluation`, group by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preptime.evaluation.metrics import BIAS, MAE, WITHIN_5_MIN, interval_coverage
from preptime.evaluation.scores import quantile_scores
from preptime.evaluation.segments import segments as plain_segments
from preptime.monitoring.answers import read_answers
from preptime.monitoring.document import Days
from preptime.monitoring.figures import Tallied, segments
from preptime.monitoring.joined import Joined, join
from preptime.monitoring.outcomes import read_outcomes
from preptime.tables.synthetic import SynthesisPlan
from tests.monitoring.months import ONE_DAY, make_month


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Joined:
    """Six answered days of a small month."""
    root: Path = tmp_path_factory.mktemp("month")
    month = make_month(SynthesisPlan(orders=3_000, restaurants=60, days=12), root, trained_days=6)
    date = month.last + ONE_DAY
    known = read_outcomes(month.known(date), month.directory, date, month.first_answer)
    answers = read_answers(month.results, None, month.directory, Days(first=month.first_answer, last=month.last))
    return join(known.outcomes, answers, month.directory, month.mornings)


def test_a_groups_figures_are_those_of_its_orders(joined: Joined) -> None:
    tallied = Tallied.of(joined)
    day = joined.outcomes.day - joined.outcomes.day.min()
    grouped = tallied.by(day, int(day.max()) + 1)
    for group in np.unique(day):
        rows = joined.evaluated & (day == group)
        actual, quantiles = joined.actual[rows], joined.quantiles[rows]
        found = grouped.figures(int(group))
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


def test_segments_are_those_of_a_training_report(joined: Joined) -> None:
    rows = joined.evaluated
    mine = segments(joined, Tallied.of(joined), np.ones(len(joined), bool))
    theirs = plain_segments(joined.columns.take(rows), joined.actual[rows], joined.quantiles[rows], joined.lookup[rows])
    assert [(one.segment, one.value, one.n) for one in mine] == [(one.segment, one.value, one.n) for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one.mae == pytest.approx(other.mae)
        assert one.lookup_mae == pytest.approx(other.lookup_mae)
        assert one.coverage == pytest.approx(other.coverage)


def test_the_lookup_is_that_of_the_answering_mornings_history(joined: Joined) -> None:
    """The months answer with the lookup, so that it is the answer."""
    np.testing.assert_array_equal(joined.lookup[joined.answered], joined.predicted[joined.answered])


def test_a_figure_of_nothing_has_no_value(joined: Joined) -> None:
    found = Tallied.of(joined).whole(np.zeros(len(joined), bool))
    assert found.n == 0
    assert found.mae is found.bias is found.coverage is found.lookup_mae is None
