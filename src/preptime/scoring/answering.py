"""Orders at hand, answered by a bundle: for a form, where `score_file` is for files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.domain.verdict import Purpose, mask, reasons
from preptime.scoring.columns import BUNDLE, REASON, Clock, answers
from preptime.tables.audit import audit, to_order_columns


@dataclass(frozen=True)
class BundleScorer:
    """A bundle on this machine."""

    bundle: Bundle

    def answers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """[N] the columns of `preptime.scoring.columns` for N orders as a table gives them."""
        audited = audit(rows, self.bundle.history.directory, need_label=False)
        frame = audited.frame
        local, utc = (
            frame[name].to_physical().fill_null(0).to_numpy() for name in ("acknowledged_local", "acknowledged_utc")
        )
        predictions = self.bundle.predict(to_order_columns(frame))
        found = answers(predictions, local, utc, Clock(), self.bundle.manifest.id)
        refused = pl.Series(~audited.kept(Purpose.SCORING))
        against = audited.reasons & np.uint32(mask(Purpose.SCORING))
        reason = [str(reasons(int(bits))[0]) if bits else None for bits in against]
        kept = [pl.when(refused).then(None).otherwise(pl.col(name)).alias(name) for name in found.columns]
        return found.select(kept).with_columns(pl.Series(REASON, reason, pl.String), found[BUNDLE])
