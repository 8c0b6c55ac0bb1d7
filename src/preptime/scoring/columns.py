"""The columns that scoring appends, and how predictions become them."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.prediction import BASES, LEVELS, Predictions
from preptime.domain.timestamps import MICROSECONDS
from preptime.features.clock import DAY_SECONDS

SECONDS = "predicted_seconds"
"""The default answer: the p50."""
READY_AT = "predicted_ready_at"
BASIS = "prediction_basis"
REASON = "prediction_reason"
BUNDLE = "prediction_bundle"

_MINUTE = 60


def quantile_column(level: float) -> str:
    """The column of one quantile, such as `predicted_p10_seconds`."""
    return f"predicted_p{level * 100:.0f}_seconds"


def model_column(name: str) -> str:
    """The column of one point model, such as `predicted_rf_seconds`."""
    return f"predicted_{name}_seconds"


def answers(
    predictions: Predictions, local: NDArray[np.int64], utc: NDArray[np.int64], clock: Clock, bundle: str
) -> pl.DataFrame:
    """N predictions as columns; `local` and `utc` are the orders' acknowledgements, microseconds."""
    columns = {SECONDS: pl.Series(predictions.default)}
    columns |= {
        quantile_column(level): pl.Series(predictions.quantiles[:, place]) for place, level in enumerate(LEVELS)
    }
    columns[READY_AT] = clock.ready_at(predictions.default, local, utc)
    columns[BASIS] = pl.Series(BASES, dtype=pl.String).gather(predictions.basis.astype(np.uint32))
    columns |= {model_column(name): pl.Series(seconds) for name, seconds in predictions.points.items()}
    frame = pl.DataFrame(columns)
    return frame.with_columns(pl.lit(None, pl.String).alias(REASON), pl.lit(bundle).alias(BUNDLE))


class Clock:
    """Moments as text, `2015-06-01 12:28:28+01:00`, put together from parts: six times quicker than formatting each."""

    def __init__(self) -> None:
        seconds = pl.Series(np.arange(DAY_SECONDS) * MICROSECONDS).cast(pl.Datetime("us"))
        self._times = seconds.dt.strftime(" %H:%M:%S")

    def ready_at(self, seconds: NDArray[np.float32], local: NDArray[np.int64], utc: NDArray[np.int64]) -> pl.Series:
        """[N] acknowledgement plus `seconds`, to the second, on the wall clock of the acknowledgement.

        Where clocks are changed in between this is still the right moment, said with the offset from before the change.
        """
        ready = (
            local + np.rint(seconds * np.float64(MICROSECONDS)).astype(np.int64) + MICROSECONDS // 2
        ) // MICROSECONDS
        days, of_day = np.unique(ready // DAY_SECONDS, return_inverse=True)
        dates = pl.Series(days.astype(np.int32)).cast(pl.Date).dt.strftime("%Y-%m-%d")
        offsets, of_offset = np.unique((local - utc) // (_MINUTE * MICROSECONDS), return_inverse=True)
        written = pl.Series([_offset(int(minutes)) for minutes in offsets], dtype=pl.String)
        return dates.gather(of_day) + self._times.gather(ready % DAY_SECONDS) + written.gather(of_offset)


def _offset(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"
