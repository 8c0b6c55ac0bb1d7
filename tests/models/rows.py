"""Synthetic training rows with columns that are difficult for trees, and rows on their thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEED = 7


def training_rows(n: int, n_features: int = 8, seed: int = SEED) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return X [n, n_features] and heavy-tailed y [n] seconds, with a column of few values and a constant one."""
    rng = np.random.default_rng(seed)
    X = rng.gamma(2.0, 1.0, (n, n_features)).astype(np.float32)
    X[:, 1] = np.round(X[:, 1] * 3)
    X[:, 2] = 4.0
    y = np.clip(600 * np.exp(0.4 * X[:, 0] - 0.2 * X[:, 1] + 0.6 * rng.normal(size=n)), 0, 10_800)
    return X, y


def edge_rows(X: NDArray[np.float32], splits: list[tuple[int, float]], n: int) -> NDArray[np.float32]:
    """Return rows [n, F] on the thresholds of `splits` (feature, threshold), or one float32 next to them."""
    rng = np.random.default_rng(SEED)
    rows = X[rng.integers(0, len(X), n)].copy()
    thresholds: dict[int, list[float]] = {}
    for feature, threshold in splits:
        thresholds.setdefault(feature, []).append(threshold)
    for feature, values in thresholds.items():
        at = rng.choice(np.array(values, dtype=np.float32), n)
        aside = np.array([-np.inf, 0.0, np.inf], dtype=np.float32)[rng.integers(0, 3, n)]
        rows[:, feature] = np.where(aside == 0, at, np.nextafter(at, aside))
    return rows
