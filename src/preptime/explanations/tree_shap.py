"""Exact path-dependent TreeSHAP values of tree ensembles, in NumPy (Lundberg, Erion, and Lee, 2018).

A leaf is reached if each feature f of its path is in an interval. Let o be 1 if a row's value is in it, otherwise 0,
and z the share of the training rows that stay on the path at the splits on f. If only the features in a set S are
known, the path-dependent expected value of the leaf is its value times the product of o over S and of z over the
others. The Shapley value of f in this game is an average over all sets. It equals an integral over s from 0 to 1:

    value · ∫ ∏_j a_j(s) · (o_f − z_f) / a_f(s) ds    with a_j(s) = z_j · (1 − s) + o_j · s

The integrand is a polynomial, because a_f cancels, so Gauss–Legendre quadrature with half as many points as features is
exact. (o_f − z_f) / a_f is −1 / (1 − s) if o is 0, also if z is 0. The sum over all leaves is the TreeSHAP value.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from preptime.errors import UsageError

LEAF = -1
"""The feature of a leaf."""
MAX_TABLE_SPLITS = 6
"""If each tree has at most this many different splits, the contributions of every outcome are tabulated."""
MAX_TABLE_ELEMENTS = 1 << 23
"""The largest table: 64 MB."""
MAX_LEAVES = 100_000
MAX_PATH_FEATURES = 16
MAX_DEPTH = 64
"""Larger ensembles are refused: one row takes more than 100 ms."""

_LOWEST = np.finfo(np.float32).min
_CHUNK_ELEMENTS = 1 << 18
"""Elements of the largest temporary array: 2 MB, which fits in a processor's cache."""


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """Binary trees whose values are summed, one after the other.

    The nodes of a tree are in preorder: a node, all nodes of its left side, and all nodes of its right side. A row goes
    left if its value is at most the threshold, as in CatBoost. Rows are float32 and finite. A constant, for example the
    bias, is a tree with only one leaf.

    Raises `ValueError` if the arrays don't describe complete trees.

    Example:
        >>> stump = TreeEnsemble(
        ...     feature=np.array([1, LEAF, LEAF], np.int16),
        ...     number=np.array([0.5, 10.0, 20.0], np.float32),
        ...     cover=np.array([30.0, 10.0], np.float32),
        ... )
        >>> base, contributions = explain(stump, np.array([[0.0, 1.0]], np.float32))
        >>> base, contributions.tolist()
        (12.5, [[0.0, 7.5]])
    """

    feature: NDArray[np.int16]
    """[M] the column of each node's split, or `LEAF`."""
    number: NDArray[np.float32]
    """[M] the threshold of each split, or the value of each leaf."""
    cover: NDArray[np.float32]
    """[L] the weight of the training rows in each leaf, in the order of the leaves. A leaf can have none."""

    def __post_init__(self) -> None:
        is_leaf = self.is_leaf
        if not (len(self.feature) == len(self.number) and int(is_leaf.sum()) == len(self.cover)):
            raise ValueError(f"{len(self.feature)} nodes, {len(self.number)} numbers, and {len(self.cover)} covers")
        if not len(self.feature):
            raise ValueError("no nodes")
        if self.feature.min() < LEAF:
            raise ValueError(f"the feature {self.feature.min()}")
        if not (np.isfinite(self.number).all() and np.isfinite(self.cover).all() and (self.cover >= 0).all()):
            raise ValueError("a number or a cover that isn't finite, or a negative cover")
        balance = np.cumsum(np.where(is_leaf, -1, 1))
        # A tree has one leaf more than splits, so each end of a tree is lower than everything before it.
        if balance[-1] >= balance[:-1].min(initial=0):
            raise ValueError("an incomplete tree")

    @cached_property
    def is_leaf(self) -> NDArray[np.bool_]:
        """[M] which nodes are leaves."""
        is_leaf: NDArray[np.bool_] = self.feature == LEAF
        return is_leaf

    @property
    def min_features(self) -> int:
        """The smallest number of columns that a row can have."""
        return int(self.feature.max()) + 1


_Links = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_], int]
"""The tree of each node, its parent (-1 for a root), whether it's the right child, and the largest depth."""


@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    """The path of each of L leaves: up to D different features, and the interval of each. Unused entries have z = 1."""

    tree: NDArray[np.intp]
    """[L]"""
    value: NDArray[np.float64]
    """[L]"""
    feature: NDArray[np.intp]
    """[L, D]"""
    low: NDArray[np.float32]
    """[L, D] a value is in the interval if it's above `low` and at most `high`."""
    high: NDArray[np.float32]
    """[L, D]"""
    share: NDArray[np.float64]
    """[L, D] z: the share of the training rows that stay on the path."""

    @classmethod
    def from_ensemble(cls, ensemble: TreeEnsemble, links: _Links) -> Self:
        tree, parent, is_right, _ = links
        share = _shares(ensemble, parent)
        leaves = np.flatnonzero(ensemble.is_leaf)
        steps = []
        node = leaves
        while (parent[node] >= 0).any():
            above = parent[node]
            is_step = above >= 0
            steps.append(
                (
                    np.where(is_step, ensemble.feature[above], np.iinfo(np.int16).max),
                    np.where(is_step & is_right[node], ensemble.number[above], np.float32(-np.inf)),
                    np.where(is_step & ~is_right[node], ensemble.number[above], np.float32(np.inf)),
                    np.where(is_step, share[node], 1.0),
                )
            )
            node = np.where(is_step, above, node)
        value = ensemble.number[leaves].astype(np.float64)
        if not steps:
            nothing = np.empty((len(leaves), 0), np.float32)
            return cls(tree[leaves], value, nothing.astype(np.intp), nothing, nothing, nothing.astype(np.float64))
        return cls(tree[leaves], value, *_merge_steps(*(np.stack(parts, axis=1) for parts in zip(*steps, strict=True))))

    @property
    def width(self) -> int:
        """D."""
        return int(self.feature.shape[1])

    def take(self, leaves: slice) -> _Paths:
        """Return the paths of some leaves."""
        return _Paths(*(getattr(self, field.name)[leaves] for field in fields(self)))

    def contributions(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the contribution of each feature of each path, [D, B, L], for its values [B, L, D]."""
        is_inside = ((values > self.low) & (values <= self.high)).transpose(2, 0, 1)
        share = self.share.T
        total = np.zeros(is_inside.shape)
        points, weights = np.polynomial.legendre.leggauss((self.width + 1) // 2)
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            outside = share * (1 - point)
            inside = outside + point
            gain, loss = (1 - share) / inside, -1 / (1 - point)
            product = np.broadcast_to(weight * self.value, is_inside.shape[1:])
            for entry in range(self.width):
                product = product * np.where(is_inside[entry], inside[entry], outside[entry])
            for entry in range(self.width):
                total[entry] += product * np.where(is_inside[entry], gain[entry], loss)
        return total


def _links(ensemble: TreeEnsemble) -> _Links:
    tree, parent, is_right = [], [], []
    waiting: list[tuple[int, bool]] = []
    """The places that the next nodes take, the next one last."""
    trees, depths = -1, [0] * len(ensemble.feature)
    for node, is_leaf in enumerate(ensemble.is_leaf.tolist()):
        if not waiting:
            trees += 1
            waiting.append((-1, False))
        above, right = waiting.pop()
        depths[node] = depths[above] + 1 if above >= 0 else 0
        tree.append(trees)
        parent.append(above)
        is_right.append(right)
        if not is_leaf:
            waiting += [(node, True), (node, False)]
    return np.array(tree, np.intp), np.array(parent, np.intp), np.array(is_right, np.bool_), max(depths)


def _shares(ensemble: TreeEnsemble, parent: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return each node's share of the training rows of its parent, 0.5 if the parent has none, and 1 for a root."""
    cover = np.zeros(len(parent))
    cover[ensemble.is_leaf] = ensemble.cover
    totals = cover.tolist()
    for node, above in zip(range(len(parent) - 1, -1, -1), parent[::-1].tolist(), strict=True):
        if above >= 0:  # a node follows its parent, so its own total is complete
            totals[above] += totals[node]
    cover = np.array(totals)
    above_cover = np.where(parent >= 0, cover[parent], cover)
    shares: NDArray[np.float64] = np.divide(cover, above_cover, out=np.full(len(cover), 0.5), where=above_cover > 0)
    return np.where(parent >= 0, shares, 1.0)


def _merge_steps(
    feature: NDArray[np.intp], low: NDArray[np.float32], high: NDArray[np.float32], share: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return paths [L, D] whose features are different, for steps [L, depth] that can repeat a feature."""
    unused = np.iinfo(np.int16).max
    order = np.argsort(feature, axis=1, kind="stable")
    feature, low = np.take_along_axis(feature, order, axis=1), np.take_along_axis(low, order, axis=1)
    high, share = np.take_along_axis(high, order, axis=1), np.take_along_axis(share, order, axis=1)
    is_new = np.diff(feature, axis=1, prepend=-1) != 0
    entry = np.cumsum(is_new, axis=1) - 1
    width = int(np.where(feature < unused, entry, -1).max()) + 1
    row, step = np.nonzero(feature < unused)
    target = row, entry[row, step]
    shape = len(feature), width
    merged_feature, merged_share = np.zeros(shape, np.intp), np.ones(shape)
    merged_low, merged_high = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    merged_feature[target] = feature[row, step]
    np.maximum.at(merged_low, target, low[row, step])
    np.minimum.at(merged_high, target, high[row, step])
    np.multiply.at(merged_share, target, share[row, step])
    return merged_feature, merged_low, merged_high, merged_share


@dataclass(frozen=True, slots=True, eq=False)
class _OutcomeTable:
    """The contributions of each tree for every outcome of its splits. Trees of CatBoost have few different splits."""

    feature: NDArray[np.intp]
    """[T, K] the column of each split."""
    threshold: NDArray[np.float32]
    """[T, K] +inf for a tree with fewer splits."""
    contributions: NDArray[np.float64]
    """[T, 2^K, F]. Bit k of an outcome is set if the value is above threshold k."""

    @classmethod
    def from_ensemble(
        cls, ensemble: TreeEnsemble, tree: NDArray[np.intp], paths: _Paths, n_features: int
    ) -> Self | None:
        """Return the table, or None if a tree has too many different splits. `tree` is the tree of each node."""
        is_split = ~ensemble.is_leaf
        keys = np.stack([tree[is_split], ensemble.feature[is_split], ensemble.number[is_split].astype(np.float64)])
        splits = np.unique(keys, axis=1)
        trees = splits[0].astype(np.intp)
        counts = np.bincount(trees, minlength=int(tree[-1]) + 1)
        width = int(counts.max())
        if width > MAX_TABLE_SPLITS or (len(counts) << width) * n_features > MAX_TABLE_ELEMENTS:
            return None
        position = trees, np.arange(len(trees)) - (np.cumsum(counts) - counts)[trees]
        feature = np.zeros((len(counts), width), np.intp)
        threshold = np.full((len(counts), width), np.inf, np.float32)
        feature[position], threshold[position] = splits[1].astype(np.intp), splits[2].astype(np.float32)
        table = np.zeros((len(counts), 1 << width, n_features))
        rows = _rows_by_outcome(feature, threshold, n_features)
        outcomes = np.arange(1 << width)[None, :, None]
        step = max(_CHUNK_ELEMENTS // (paths.width << width), 1)
        for start in range(0, len(paths.tree), step):
            part = paths.take(slice(start, start + step))
            values = rows[part.tree[:, None], :, part.feature].transpose(2, 0, 1)
            target = part.tree[None, None, :], outcomes, part.feature.T[:, None, :]
            np.add.at(table, target, part.contributions(values))
        return cls(feature, threshold, table)

    def explain(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return contributions [N, F]."""
        is_above = X[:, self.feature] > self.threshold
        outcome = is_above @ (1 << np.arange(self.feature.shape[1]))
        total: NDArray[np.float64] = self.contributions[np.arange(len(self.feature)), outcome].sum(axis=1)
        return total

    @property
    def elements_per_row(self) -> int:
        """The elements of the largest temporary array for each row."""
        return len(self.feature) * int(self.contributions.shape[2])


def _rows_by_outcome(feature: NDArray[np.intp], threshold: NDArray[np.float32], n_features: int) -> NDArray[np.float32]:
    """Return for each outcome of the splits [T, K] a row with this outcome, [T, 2^K, F].

    An outcome is impossible if a value is above a threshold and not above a smaller one. Its row has no meaning.
    """
    trees, width = feature.shape
    rows = np.full((trees, 1 << width, n_features), _LOWEST, np.float32)
    above = np.nextafter(threshold, np.float32(np.inf))
    for split in range(width):
        outcomes = np.flatnonzero(np.arange(1 << width) >> split & 1)
        target = np.arange(trees)[:, None], outcomes[None, :], feature[:, split, None]
        rows[target] = np.maximum(rows[target], above[:, split, None])
    return rows


def _check_size(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise UsageError(
            f"Trees with {count:,} {what} can't be explained: the limit is {limit:,}.",
            "Explain a model with smaller trees, for example, quantile.",
        )


class TreeExplainer:
    """An ensemble, prepared for many explanations. Threads can share it."""

    def __init__(self, ensemble: TreeEnsemble, n_features: int) -> None:
        """Prepare the explanation of rows with F = `n_features` columns.

        Raises `UsageError` for trees that are too deep to explain in an acceptable time, as those of a random forest.
        """
        if n_features < ensemble.min_features:
            raise ValueError(f"{n_features} features, but the trees use {ensemble.min_features}")
        self.n_features = n_features
        _check_size("leaves", len(ensemble.cover), MAX_LEAVES)
        links = _links(ensemble)
        _check_size("levels", links[3], MAX_DEPTH)
        self._paths = _Paths.from_ensemble(ensemble, links)
        width = self._paths.width
        _check_size("features on a path", width, MAX_PATH_FEATURES)
        self.base_value = float(self._paths.value @ self._paths.share.prod(axis=1))
        """The mean of the ensemble's values over its training rows, by their covers."""
        self._table = _OutcomeTable.from_ensemble(ensemble, links[0], self._paths, n_features) if width else None

    def contributions(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the contributions [N, F] for rows X [N, F]. Their sum is the ensemble's value minus the base value."""
        if not self._paths.width:
            return np.zeros(X.shape)
        per_row = self._table.elements_per_row if self._table else self._paths.feature.size
        step = max(_CHUNK_ELEMENTS // per_row, 1)
        explain_rows = self._table.explain if self._table else self._explain_directly
        parts = [explain_rows(X[start : start + step]) for start in range(0, len(X), step)]
        return np.concatenate(parts) if parts else np.zeros(X.shape)

    def _explain_directly(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        by_entry = self._paths.contributions(X[:, self._paths.feature]).transpose(1, 0, 2).reshape(len(X), -1)
        columns = self._paths.feature.T.ravel()
        order = np.argsort(columns, kind="stable")
        used, starts = np.unique(columns[order], return_index=True)
        total = np.zeros((len(X), self.n_features))
        total[:, used] = np.add.reduceat(by_entry[:, order], starts, axis=1)
        return total


def explain(ensemble: TreeEnsemble, X: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
    """Return the base value and the contributions [N, F] of finite rows X [N, F].

    The base value plus a row's contributions is the sum of its leaves' values. To explain rows repeatedly, keep a
    `TreeExplainer`.
    """
    explainer = TreeExplainer(ensemble, X.shape[1])
    return explainer.base_value, explainer.contributions(X)
