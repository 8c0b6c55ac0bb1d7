"""Orders at hand, answered by a bundle: for a form, where `score_file` is for files."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.scoring.carried import PassthroughColumns
from preptime.scoring.chunk import ChunkScorer
from preptime.scoring.columns import TimestampFormatter


@dataclass(frozen=True)
class BundleScorer:
    """A bundle on this machine."""

    bundle: Bundle

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """[N] the columns of `preptime.scoring.columns` for N orders, which have none of these columns themselves."""
        passthrough = PassthroughColumns(rows.schema, for_csv=False)
        scored_chunk = ChunkScorer(
            self.bundle, passthrough, TimestampFormatter(), self.bundle.history.restaurants
        ).score(rows)
        return scored_chunk.frame.drop(rows.columns)
