"""Bundles that earlier releases made: they stay here for ever, and this code reads them or says which release does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import BUNDLE_FORMAT, MANIFEST_FILE, FormatHeader
from preptime.errors import BundleVerificationError
from tests.requirements import requires

RELEASES = Path(__file__).parent / "releases"
LARGEST_BYTES = 300_000


def test_bundles_of_earlier_releases_are_read_or_refused_by_their_format() -> None:
    folders = sorted(path.parent for path in RELEASES.glob(f"*/*/{MANIFEST_FILE}"))
    requires(folders, f"no bundle of an earlier release under {RELEASES} yet (docs/bundle-format.md says how)")
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LARGEST_BYTES
        format_ = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=FormatHeader).format
        if format_ == BUNDLE_FORMAT:
            assert Bundle.load(folder).manifest.id == folder.name
        else:
            assert format_ < BUNDLE_FORMAT
            with pytest.raises(
                BundleVerificationError, match=f"expected format {BUNDLE_FORMAT}, found format {format_}"
            ):
                Bundle.load(folder)
