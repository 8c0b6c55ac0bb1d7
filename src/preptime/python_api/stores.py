"""Stores of bundles in Python: the champion, the bundles, and the champion log."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from typing import Any

import msgspec
import polars as pl

from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.inventory import list_store
from preptime.bundle.isolated_check import load_checked
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import CheckLimits, Store
from preptime.errors import UsageError
from preptime.evaluation.overview import summarize_bundle
from preptime.python_api.bundles import LoadedBundle
from preptime.python_api.dataframes import FrameKind, from_polars, require_pandas
from preptime.python_api.defaults import check_location, check_type, default_setting, python_errors


class BundleStore:
    """Bundles and the log of champions.

    Example:
        >>> store = training.store
        >>> store.champion.id == training.champion
        True
        >>> store.bundles().height
        1
    """

    def __init__(self, store: Store, kind: FrameKind = "polars") -> None:
        self.core = store
        """The store that the commands use."""
        self.kind: FrameKind = kind
        """The library of its tables."""

    @property
    def address(self) -> str:
        """The folder or the URL."""
        return self.core.url

    @property
    def champion(self) -> LoadedBundle | None:
        """The bundle in use, or None before the first promotion.

        Raises `BundleVerificationError` if it's damaged, and `StoreError` if the store can't be read.
        """
        entry = ChampionLog(self.core).current()
        return None if entry is None else self.load(entry.bundle)

    def load(self, bundle_id: str) -> LoadedBundle:
        """Check and load a bundle.

        Args:
            bundle_id: The ID of the bundle.

        Returns:
            The bundle.

        Raises:
            UsageError: There is no such bundle, or the store's folder doesn't exist.
            BundleVerificationError: The bundle is damaged, or this release can't use it.
        """
        check_type("bundle_id", bundle_id, str, "the ID of a bundle")
        return LoadedBundle(load_checked(self.core.existing(), bundle_id), self.kind, self.core)

    def bundles(self) -> Any:
        """Return the bundles, oldest date first, as a frame with their dates, models, and mean errors in seconds."""
        listing = list_store(self.core)
        champion = None if listing.champion is None else listing.champion.bundle
        rows = [_bundle_row(manifest, manifest.id == champion) for manifest in listing.manifests]
        return from_polars(pl.DataFrame(rows, schema=_BUNDLE_COLUMNS), self.kind)

    def log(self) -> Any:
        """Return the champion log as a frame: each promotion with its date, action, reason, and actor."""
        rows = [msgspec.structs.asdict(entry) for entry in ChampionLog(self.core).entries()]
        return from_polars(
            pl.DataFrame(rows, schema=list(LogEntry.__struct_fields__), infer_schema_length=None), self.kind
        )

    def __repr__(self) -> str:
        return f"BundleStore({self.address!r})"


_BUNDLE_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "bundle": pl.String,
    "date": pl.Date,
    "kind": pl.String,
    "champion": pl.Boolean,
    "models": pl.List(pl.String),
    "first_day": pl.Date,
    "last_day": pl.Date,
    "mae_seconds": pl.Float64,
    "coverage": pl.Float64,
}


@python_errors()
def open_store(
    address: str | os.PathLike[str] | BundleStore | None = None, *, frame: FrameKind = "polars"
) -> BundleStore:
    """Open a store of bundles. Nothing is read or created yet.

    Args:
        address: A folder, or a URL that starts with `file://`, `gs://`, or `memory://`. Default: `PREPTIME_STORE`, or
            the folder `models`, as for the commands.
        frame: The library of its tables: "polars" or "pandas".

    Returns:
        The store.

    Raises:
        StoreError: The URL is invalid or contains credentials, or the package for it isn't installed.
        UsageError: The library isn't known or isn't installed.

    Example:
        >>> preptime.open_store("memory://documentation").champion is None
        True
    """
    check_frame_kind(frame)
    if isinstance(address, BundleStore):
        return address
    check_location("The address of the store", address)
    limits = CheckLimits(
        float(default_setting("bundle_load_timeout_seconds")), int(default_setting("bundle_load_memory_mb"))
    )
    return BundleStore(Store.open(os.fspath(address or default_setting("store")), check_limits=limits), frame)


def temporary_store(kind: FrameKind) -> BundleStore:
    """Return an empty store in a temporary folder, which is deleted when nothing uses the store any more."""
    folder = tempfile.mkdtemp(prefix="preptime-store-")
    store = Store.open(folder)
    weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
    return BundleStore(store, kind)


def check_frame_kind(kind: str) -> None:
    """Raise `UsageError` if a library of frames isn't known, or isn't installed."""
    if kind not in {"pandas", "polars"}:
        raise UsageError(f"frame is {kind!r}.", 'Use frame="polars" or frame="pandas".')
    if kind == "pandas":
        require_pandas()


def _bundle_row(manifest: Manifest, is_champion: bool) -> dict[str, object]:
    summary = summarize_bundle(manifest)
    return {
        "bundle": manifest.id,
        "date": manifest.date,
        "kind": manifest.kind,
        "champion": is_champion,
        "models": list(manifest.models),
        "first_day": manifest.window.first_day,
        "last_day": manifest.window.last_day,
        "mae_seconds": summary.mae,
        "coverage": summary.coverage,
    }
