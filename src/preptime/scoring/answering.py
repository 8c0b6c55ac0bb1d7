"""Orders at hand, answered by a bundle: for a form, where `score_file` is for files."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.scoring.carried import Carried
from preptime.scoring.chunk import Scorer
from preptime.scoring.columns import Clock


@dataclass(frozen=True)
class BundleScorer:
    """A bundle on this machine."""

    bundle: Bundle

    def answers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """[N] the columns of `preptime.scoring.columns` for N orders, which have none of these columns themselves."""
        carried = Carried(rows.schema, to_csv=False)
        scored = Scorer(self.bundle, carried, Clock(), self.bundle.history.directory).score(rows)
        return scored.frame.drop(rows.columns)
