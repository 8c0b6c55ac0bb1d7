"""Random trees, a brute-force explanation of them, and the trees of XGBoost."""

from __future__ import annotations

import json
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preptime.explanations.tree_shap import LEAF, TreeEnsemble

Nodes = list[tuple[int, float, float]]
"""The feature, the number, and the cover of each node in preorder. The cover of a split isn't used."""


def make_ensemble(nodes: Nodes) -> TreeEnsemble:
    return TreeEnsemble(
        np.array([feature for feature, _, _ in nodes], np.int16),
        np.array([number for _, number, _ in nodes], np.float32),
        np.array([cover for feature, _, cover in nodes if feature == LEAF], np.float32),
    )


def random_ensemble(rng: np.random.Generator, n_features: int, trees: int = 3, depth: int = 4) -> TreeEnsemble:
    """Return trees with repeated features and thresholds on a path, constants, and leaves without training rows."""

    def grow(level: int) -> Nodes:
        if level == 0 or rng.random() < 0.15:
            return [(LEAF, float(rng.normal() * 100), float(rng.integers(0, 4)))]
        split = (int(rng.integers(n_features)), float(rng.integers(-2, 3)), 0.0)
        return [split, *grow(level - 1), *grow(level - 1)]

    return make_ensemble([node for _ in range(trees) for node in grow(int(rng.integers(0, depth + 1)))])


def expected_value(ensemble: TreeEnsemble, row: NDArray[np.float32], known: frozenset[int]) -> float:
    """Return the path-dependent expected value if only some features are known, by following the definition."""
    covers = iter(ensemble.cover.tolist())
    nodes = iter(zip(ensemble.feature.tolist(), ensemble.number.tolist(), strict=True))

    def descend() -> tuple[float, float]:
        """Return the expected value and the cover of the next subtree."""
        feature, number = next(nodes)
        if feature == LEAF:
            return number, next(covers)
        (left, left_cover), (right, right_cover) = descend(), descend()
        total = left_cover + right_cover
        share = left_cover / total if total else 0.5
        if feature in known:
            share = float(row[feature] <= np.float32(number))
        return share * left + (1 - share) * right, total

    value, leaves = 0.0, 0
    while leaves < len(ensemble.feature):
        start = leaves
        value += descend()[0]
        leaves = _end(ensemble, start)
    return value


def _end(ensemble: TreeEnsemble, start: int) -> int:
    """Return the node after the tree that starts at `start`."""
    missing, node = 1, start
    while missing:
        missing += -1 if ensemble.feature[node] == LEAF else 1
        node += 1
    return node


def brute_force(ensemble: TreeEnsemble, row: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Shapley values [F], as the sum over all sets of features."""
    count = len(row)
    values = np.zeros(count)
    for feature in range(count):
        others = [other for other in range(count) if other != feature]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for chosen in map(frozenset, combinations(others, size)):
                gain = expected_value(ensemble, row, chosen | {feature}) - expected_value(ensemble, row, chosen)
                values[feature] += weight * gain
    return values


def xgboost_ensemble(booster: Any) -> TreeEnsemble:
    """Return the trees of an XGBoost booster. XGBoost goes left below a threshold, and this module at most at it."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    nodes: Nodes = [(LEAF, base, 1.0)]

    def add(tree: dict[str, list[Any]], node: int) -> None:
        number = np.float32(tree["split_conditions"][node])
        if tree["left_children"][node] < 0:
            nodes.append((LEAF, float(number), tree["sum_hessian"][node]))
            return
        nodes.append((tree["split_indices"][node], float(np.nextafter(number, np.float32(-np.inf))), 0.0))
        add(tree, tree["left_children"][node])
        add(tree, tree["right_children"][node])

    for tree in learner["gradient_booster"]["model"]["trees"]:
        add(tree, 0)
    return make_ensemble(nodes)
