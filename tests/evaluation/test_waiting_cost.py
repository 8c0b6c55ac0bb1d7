"""Waiting cost: exact values, its relation to the errors, and the best quantile where the truth is known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from preptime.domain.dispatch import dispatch_level, quantile_at
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.evaluation.documents import WaitingCost
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LOOKUP, build_backtest_document, waiting_costs
from preptime.evaluation.metrics import MAE, pinball
from preptime.evaluation.waiting_cost import (
    ARRIVALS,
    COST_RATIOS,
    LOOKUP_LEVELS,
    compute_waiting_costs,
    weighted_waiting,
)
from tests.evaluation.factories import evaluated_orders

READY = np.array([600.0, 1_000.0])
QUANTILES = np.array([[300.0, 500.0, 800.0, 1_000.0], [600.0, 900.0, 1_500.0, 2_000.0]])
LOOKUP_QUANTILES = np.array([[100.0, 400.0, 700.0, 1_000.0, 1_300.0], [200.0, 500.0, 800.0, 1_100.0, 1_400.0]])
GLOBAL_QUANTILES = np.tile([150.0, 450.0, 750.0, 1_050.0, 1_350.0], (2, 1))


def costs_by_ratio(costs: tuple[WaitingCost, ...]) -> dict[tuple[float, float], WaitingCost]:
    return {(cost.courier_cost, cost.food_cost): cost for cost in costs}


def test_waiting_costs_match_manual_computation() -> None:
    costs = costs_by_ratio(compute_waiting_costs(READY, QUANTILES, LOOKUP_QUANTILES, GLOBAL_QUANTILES))
    even, courier, food = costs[1, 1], costs[2, 1], costs[1, 2]
    assert [even.level, courier.level, food.level] == pytest.approx([1 / 2, 2 / 3, 1 / 3])
    assert {cost.n for cost in costs.values()} == {2}
    # At 1:1, every second has the weight 1. The couriers wait 100 s and 100 s.
    assert even.predicted_quantile == even.p50 == 100_000
    assert even.lookup_quantile == 150_000  # 700 s is 100 s late, 800 s is 200 s early
    assert even.constant == 200_000  # 750 s is 150 s late, and 250 s early
    # At 2:1, the weights are 4/3 and 2/3. The level 2/3 is 5/9 of the way from p50 to p80.
    assert courier.p50 == pytest.approx(4 / 3 * (100 + 100) / 2 * 1_000)
    # 500 + 5/9 · 300 is 66.7 s late, and 900 + 5/9 · 600 is 233.3 s late: the food waits in both cases.
    assert courier.predicted_quantile == pytest.approx(2 / 3 * (200 / 3 + 700 / 3) / 2 * 1_000)
    # 2/3 of the way from p50 to p75: 900 s is 300 s late, and 1,000 s is exact.
    assert courier.lookup_quantile == pytest.approx(2 / 3 * 300 / 2 * 1_000)
    # 950 s is 350 s late, and 50 s early.
    assert courier.constant == pytest.approx((2 / 3 * 350 + 4 / 3 * 50) / 2 * 1_000)
    # At 1:2, the weights are 2/3 and 4/3. The level 1/3 is 7/12 of the way from p10 to p50.
    assert food.p50 == pytest.approx(2 / 3 * (100 + 100) / 2 * 1_000)
    assert food.predicted_quantile == pytest.approx(2 / 3 * (600 - 300 - 7 / 12 * 200 + 1_000 - 775) / 2 * 1_000)
    # 1/3 of the way from p25 to p50: 500 s and 600 s are 100 s and 400 s early.
    assert food.lookup_quantile == pytest.approx(2 / 3 * (100 + 400) / 2 * 1_000)
    assert food.constant == pytest.approx(2 / 3 * (50 + 450) / 2 * 1_000)


def test_waiting_costs_without_orders_have_no_value() -> None:
    costs = compute_waiting_costs(np.empty(0), np.empty((0, 4)), np.empty((0, 5)), np.empty((0, 5)))
    assert [(cost.courier_cost, cost.food_cost) for cost in costs] == list(COST_RATIOS)
    assert all(getattr(cost, name) is None for cost in costs for name in ARRIVALS)
    assert {cost.n for cost in costs} == {0}


def test_waiting_cost_of_the_live_model_is_optional() -> None:
    arguments = READY, QUANTILES, LOOKUP_QUANTILES, GLOBAL_QUANTILES
    without, costs = compute_waiting_costs(*arguments), compute_waiting_costs(*arguments, QUANTILES + 60)
    assert costs_by_ratio(costs)[1, 1].live_quantile == 40_000  # both couriers wait 60 s less than without it
    assert [msgspec.structs.replace(cost, live_quantile=None) for cost in costs] == list(without)


@given(st.floats(0, 10_000), st.floats(0, 10_000), st.floats(0.1, 0.9))
def test_waiting_is_twice_the_pinball_loss(ready: float, arrival: float, level: float) -> None:
    waiting = weighted_waiting(np.array([ready]), np.array([arrival]), level)
    assert waiting[0] == pytest.approx(2 * (pinball(level)(np.array([ready]), np.array([arrival])) or 0.0))
    assert waiting[0] >= 0


def test_waiting_costs_at_equal_costs_are_mean_errors() -> None:
    orders = evaluated_orders(2_000)
    eligible = orders.take(orders.up_to_3h)
    cost = costs_by_ratio(waiting_costs(orders))[1, 1]
    assert cost.n == len(eligible) < len(orders)
    for value, predictions in (
        (cost.predicted_quantile, eligible.default_predictions),
        (cost.p50, eligible.default_predictions),
        (cost.lookup_quantile, eligible.baseline_predictions[LOOKUP]),
        (cost.constant, eligible.baseline_predictions[GLOBAL_MEDIAN]),
    ):
        assert value == pytest.approx(1_000 * (MAE(eligible.actual, predictions) or 0.0))


def true_quantiles(median: NDArray[np.float64], levels: tuple[float, ...]) -> NDArray[np.float64]:
    return median[:, None] * np.exp(0.5 * norm.ppf(levels))


def test_true_quantile_costs_least_where_truth_is_known() -> None:
    rng = np.random.default_rng(5)
    median = 800 * np.exp(rng.normal(0, 0.4, 200_000))
    ready = median * np.exp(rng.normal(0, 0.5, len(median)))
    levels = tuple(dispatch_level(*ratio) for ratio in COST_RATIOS)
    exact = true_quantiles(median, levels)
    for index, level in enumerate(levels):
        best = weighted_waiting(ready, exact[:, index], level).mean()
        for other in (0.15, 0.4, 0.5, 0.6, 0.85):
            arrival = true_quantiles(median, (other,))[:, 0]
            assert best <= weighted_waiting(ready, arrival, level).mean()
        # Linear interpolation between the four levels costs at most 1% more than the exact quantile.
        interpolated = quantile_at(true_quantiles(median, QUANTILE_LEVELS), level)
        assert weighted_waiting(ready, interpolated, level).mean() <= 1.01 * best
    overall = np.quantile(ready, LOOKUP_LEVELS)
    costs = costs_by_ratio(
        compute_waiting_costs(
            ready,
            true_quantiles(median, QUANTILE_LEVELS),
            true_quantiles(median * np.exp(rng.normal(0, 0.3, len(median))), LOOKUP_LEVELS),
            np.tile(overall, (len(median), 1)),
        )
    )
    for ratio, cost in costs.items():
        names = ("predicted_quantile", "p50", "lookup_quantile", "constant")
        quantile, p50, lookup, constant = (getattr(cost, name) for name in names)
        assert quantile <= p50
        assert (quantile < 0.98 * p50) == (ratio != (1, 1))
        assert quantile < lookup < constant


def test_backtest_document_contains_waiting_costs() -> None:
    orders = evaluated_orders(500)
    document = build_backtest_document(orders, "2015-06-17", "2015-06-23")
    assert document.waiting_costs == waiting_costs(orders)
    text = msgspec.json.encode(document)
    assert msgspec.json.decode(text, type=type(document)) == document
    assert list(msgspec.json.decode(text)["waiting_costs"][1]) == list(WaitingCost.__struct_fields__)
    # A bundle of an earlier release has no waiting costs.
    plain = {name: value for name, value in msgspec.json.decode(text).items() if name != "waiting_costs"}
    assert msgspec.convert(plain, type(document)) == msgspec.structs.replace(document, waiting_costs=())
