"""Bundles of earlier releases, which never change: this code loads them, or rejects them by their format."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import BUNDLE_FORMAT, MANIFEST_FILE, FormatHeader
from preptime.errors import BundleVerificationError
from tests.requirements import requires

RELEASES = Path(__file__).parent / "releases"
MAX_BUNDLE_BYTES = 300_000


def test_release_bundles_load_or_raise_for_their_format() -> None:
    folders = sorted(path.parent for path in RELEASES.glob(f"*/*/{MANIFEST_FILE}"))
    requires(folders, f"no bundle of an earlier release in {RELEASES} yet (see docs/bundle-format.md)")
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < MAX_BUNDLE_BYTES
        format_ = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=FormatHeader).format
        if format_ == BUNDLE_FORMAT:
            assert Bundle.load(folder).manifest.id == folder.name
        else:
            assert format_ < BUNDLE_FORMAT
            with pytest.raises(
                BundleVerificationError, match=f"expected format {BUNDLE_FORMAT}, found format {format_}"
            ):
                Bundle.load(folder)
