"""Bundles that earlier releases made: they stay here for ever, and this code reads them or says which release does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import FORMAT, MANIFEST, Head
from preptime.errors import RefusedBundleError
from tests.requirements import requires

RELEASES = Path(__file__).parent / "releases"
LARGEST_BYTES = 300_000


def test_bundles_of_earlier_releases_are_read_or_refused_by_their_format() -> None:
    folders = sorted(path.parent for path in RELEASES.glob(f"*/*/{MANIFEST}"))
    requires(folders, f"no bundle of an earlier release under {RELEASES} yet (docs/bundle-format.md says how)")
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LARGEST_BYTES
        format_ = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Head).format
        if format_ == FORMAT:
            assert Bundle.load(folder).manifest.id == folder.name
        else:
            assert format_ < FORMAT
            with pytest.raises(RefusedBundleError, match=f"expected format {FORMAT}, found format {format_}"):
                Bundle.load(folder)
