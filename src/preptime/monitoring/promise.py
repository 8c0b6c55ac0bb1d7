"""Which training stands behind the answers, and what its backtest promised."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np

from preptime.bundle.manifest import Manifest
from preptime.errors import BundleVerificationError
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated import LABEL_SETS, LOOKUP
from preptime.evaluation.verdict import find_score
from preptime.monitoring.document import BacktestBaseline, DateRange, PredictionMetrics
from preptime.monitoring.joined import JoinedOrders
from preptime.monitoring.sources import BundleSource


def training_behind_predictions(joined: JoinedOrders, bundle_source: BundleSource, date: dt.date) -> Manifest | None:
    """The training behind most of the latest answers; without any, behind the champion."""
    bundle = bundle_source.champion_as_of(date)
    answered = joined.has_prediction
    if answered.any():
        latest = answered & (joined.outcomes.day == joined.outcomes.day[answered].max())
        bundle = joined.bundle_ids[int(np.bincount(joined.bundle_code[latest]).argmax())]
    manifest = None if bundle is None else bundle_source.manifest(bundle)
    if manifest is None or manifest.parent is None:
        return manifest
    # A refresh carries its parent's window and metrics: where the parent has been pruned, it speaks for it.
    return bundle_source.manifest(manifest.parent) or manifest


def backtest_baseline(manifest: Manifest) -> BacktestBaseline | None:
    """What the backtest of a training said; None when the bundle carries none. Raises `BundleVerificationError`."""
    if not manifest.metrics:
        return None
    try:
        backtest = msgspec.convert(manifest.metrics, BacktestDocument)
    except msgspec.ValidationError as error:
        raise BundleVerificationError(
            f"{manifest.id}/manifest.json: its metrics are no backtest ({error}).",
            "Train or refresh with this preptime.",
        ) from error
    default, lookup = (find_score(backtest, name, LABEL_SETS[0]) for name in (backtest.default_model, LOOKUP))
    if default is None:
        return None
    return BacktestBaseline(
        bundle=manifest.id,
        days=DateRange(first=dt.date.fromisoformat(backtest.first_day), last=dt.date.fromisoformat(backtest.last_day)),
        metrics=PredictionMetrics(
            n=default.n,
            mae=default.mae,
            bias=default.bias,
            within_5_min=default.within_5_min,
            coverage=backtest.interval.coverage,
            lookup_mae=None if lookup is None else lookup.mae,
            lookup_n=0 if lookup is None else lookup.n,
            quantiles=backtest.quantiles,
        ),
    )
