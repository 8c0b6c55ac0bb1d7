"""Bundles as monitoring uses them: champions, manifests, histories, and backtests."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

import msgspec

from preptime.bundle.bundle import load_history
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import LABEL_SETS, LOOKUP
from preptime.evaluation.summary_text import find_score
from preptime.features.history import History
from preptime.monitoring.document import BacktestBaseline, DateRange, PredictionMetrics


class BundleSource(Protocol):
    """A source of bundles. A pruned bundle isn't an error: both of its methods return None."""

    def champion_as_of(self, date: dt.date, /) -> str | None:
        """Return the champion as of `date`, or None."""
        ...

    def manifest(self, bundle: str, /) -> Manifest | None:
        """Return the manifest of a bundle, or None if it was pruned."""
        ...

    def history(self, bundle: str, /) -> History | None:
        """Return the history of a bundle, or None if it was pruned."""
        ...


class StoreBundleSource:
    """The bundles of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = frozenset(store.bundle_ids())

    def champion_as_of(self, date: dt.date) -> str | None:
        """Return the champion as of `date` from the champion log."""
        entry = ChampionLog(self._store).as_of(date)
        return None if entry is None else entry.bundle

    def manifest(self, bundle: str) -> Manifest | None:
        """Return the manifest. Raises `BundleVerificationError` if the bundle is damaged."""
        return self._store.read_manifest(bundle) if bundle in self._ids else None

    def history(self, bundle: str) -> History | None:
        """Return the history. Raises `BundleVerificationError` if the bundle is damaged.

        Doesn't check golden orders: `preptime bundles verify` does, and monitoring predicts nothing.
        """
        return load_history(self._store.fetch(bundle)) if bundle in self._ids else None


def backtest_baseline(manifest: Manifest) -> BacktestBaseline | None:
    """Return the backtest in a manifest, or None if it has none.

    Raises `BundleVerificationError` if its metrics aren't a backtest.
    """
    if not manifest.metrics:
        return None
    try:
        backtest = msgspec.convert(manifest.metrics, BacktestDocument)
    except msgspec.ValidationError as error:
        raise BundleVerificationError(
            f"{manifest.id}/manifest.json: its metrics aren't a backtest: {error}.",
            "Run `preptime train` or `preptime refresh` with this version of preptime.",
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
            coverage_inside=backtest.interval.coverage_inside,
            lookup_mae=None if lookup is None else lookup.mae,
            lookup_n=0 if lookup is None else lookup.n,
            quantiles=backtest.quantiles,
            waiting_costs=backtest.waiting_costs,
        ),
    )
