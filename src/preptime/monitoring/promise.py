"""Which training stands behind the answers, and what its backtest promised."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np

from preptime.bundle.manifest import Manifest
from preptime.errors import RefusedBundleError
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated import LABEL_SETS, LOOKUP
from preptime.evaluation.verdict import find_score
from preptime.monitoring.document import Days, Figures, Promise
from preptime.monitoring.joined import Joined
from preptime.monitoring.sources import Sources


def trained_behind(joined: Joined, sources: Sources, date: dt.date) -> Manifest | None:
    """The training behind most of the latest answers; without any, behind the champion."""
    bundle = sources.champion(date)
    answered = joined.answered
    if answered.any():
        latest = answered & (joined.outcomes.day == joined.outcomes.day[answered].max())
        bundle = joined.bundles[int(np.bincount(joined.bundle[latest]).argmax())]
    manifest = None if bundle is None else sources.manifest(bundle)
    if manifest is None or manifest.parent is None:
        return manifest
    # A refresh carries its parent's window and metrics: where the parent has been pruned, it speaks for it.
    return sources.manifest(manifest.parent) or manifest


def promised(trained: Manifest) -> Promise | None:
    """What the backtest of a training said; None when the bundle carries none. Raises `RefusedBundleError`."""
    if not trained.metrics:
        return None
    try:
        said = msgspec.convert(trained.metrics, BacktestDocument)
    except msgspec.ValidationError as error:
        raise RefusedBundleError(
            f"{trained.id}/manifest.json: its metrics are no backtest ({error}).",
            "Train or refresh with this preptime.",
        ) from error
    default, lookup = (find_score(said, name, LABEL_SETS[0]) for name in (said.default_model, LOOKUP))
    if default is None:
        return None
    return Promise(
        bundle=trained.id,
        days=Days(first=dt.date.fromisoformat(said.first_day), last=dt.date.fromisoformat(said.last_day)),
        figures=Figures(
            n=default.n,
            mae=default.mae,
            bias=default.bias,
            within_5_min=default.within_5_min,
            coverage=said.interval.coverage,
            lookup_mae=None if lookup is None else lookup.mae,
            lookup_n=0 if lookup is None else lookup.n,
            quantiles=said.quantiles,
        ),
    )
