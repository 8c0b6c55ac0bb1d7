"""The file of a bundle with the trees of the p50, from which explanations are computed.

The graphs also have these trees, but not how many training rows reached each leaf, which explanations need.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from preptime.bundle.golden import ABSOLUTE_TOLERANCE_SECONDS, RELATIVE_TOLERANCE, golden_live_features
from preptime.bundle.manifest import EXPLANATIONS_FILE, damage_reported, refused_bundle_error
from preptime.domain.orders import MEDIAN_INDEX, OrderColumns
from preptime.errors import UsageError
from preptime.explanations.p50_trees import P50Trees
from preptime.explanations.tree_shap import TreeEnsemble
from preptime.features.history import History
from preptime.features.kitchen import LIVE_FEATURES


class TreesDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The trees of one p50. Arrays are little-endian bytes; see `TreeEnsemble`."""

    feature: bytes
    """int16, one per node."""
    number: bytes
    """float32, one per node."""
    cover: bytes
    """float32, one per leaf."""
    scale: float
    label_values: tuple[float, ...]


class _ExplanationsDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `explanations.msgpack`, in MessagePack."""

    quantile: TreesDocument
    live: TreesDocument | None


@dataclass(frozen=True, slots=True)
class ExplanationTrees:
    """The trees of a bundle's p50."""

    quantile: P50Trees
    live: P50Trees | None
    """Those of the live model, if the bundle has one."""


def encode_explanations(trees: ExplanationTrees) -> bytes:
    """Return the content of the file."""
    live = None if trees.live is None else _to_document(trees.live)
    return msgspec.msgpack.encode(_ExplanationsDocument(quantile=_to_document(trees.quantile), live=live))


def decode_explanations(raw: bytes, feature_count: int, *, has_live_model: bool) -> ExplanationTrees:
    """Return the trees of a bundle with `feature_count` features, without the live features.

    Raises `BundleVerificationError` unless the file has complete trees of these features, and exactly the bytes that
    preptime writes for them.
    """
    with damage_reported(EXPLANATIONS_FILE, "trees of the p50"):
        document = msgspec.msgpack.decode(raw, type=_ExplanationsDocument)
        live = None if document.live is None else _to_trees(document.live, feature_count + len(LIVE_FEATURES))
        trees = ExplanationTrees(_to_trees(document.quantile, feature_count), live)
        written = encode_explanations(trees)
    if written != raw:
        raise refused_bundle_error(EXPLANATIONS_FILE, "the bytes that preptime writes", "other bytes")
    if (live is not None) != has_live_model:
        raise refused_bundle_error(
            EXPLANATIONS_FILE, *(("trees", "no trees") if has_live_model else ("no trees", "trees of a live model"))
        )
    return trees


def check_explanations(
    trees: ExplanationTrees,
    history: History,
    orders: OrderColumns,
    features: NDArray[np.float32],
    quantiles: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Raise `BundleVerificationError` unless the trees give the p50 of each golden order.

    `features` [N, F] and `quantiles`, those of `quantile` and of the live model, are those of the golden orders.
    """
    _check_p50("p50", trees.quantile, features, quantiles[0][:, MEDIAN_INDEX])
    if trees.live is not None:
        _check_p50(
            "live p50", trees.live, golden_live_features(history, orders, features), quantiles[1][:, MEDIAN_INDEX]
        )


def _check_p50(kind: str, trees: P50Trees, X: NDArray[np.float32], p50: NDArray[np.float32]) -> None:
    try:
        distance = trees.distance(X, p50)
    except UsageError as error:
        raise refused_bundle_error(EXPLANATIONS_FILE, "trees that can be explained", error.facts) from error
    # The negation makes NaN a difference.
    differs = ~(distance <= ABSOLUTE_TOLERANCE_SECONDS + RELATIVE_TOLERANCE * np.abs(p50))
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise refused_bundle_error(
            EXPLANATIONS_FILE,
            f"trees that give the {kind} of {float(p50[row])} s of golden order {row}",
            f"a difference of {float(distance[row])} s",
        )


def _to_document(trees: P50Trees) -> TreesDocument:
    ensemble = trees.ensemble
    return TreesDocument(
        feature=ensemble.feature.astype("<i2").tobytes(),
        number=ensemble.number.astype("<f4").tobytes(),
        cover=ensemble.cover.astype("<f4").tobytes(),
        scale=trees.scale,
        label_values=trees.label_values,
    )


def _to_trees(document: TreesDocument, feature_count: int) -> P50Trees:
    ensemble = TreeEnsemble(
        np.frombuffer(document.feature, "<i2"),
        np.frombuffer(document.number, "<f4"),
        np.frombuffer(document.cover, "<f4"),
    )
    return P50Trees(ensemble, feature_count, document.scale, document.label_values)
