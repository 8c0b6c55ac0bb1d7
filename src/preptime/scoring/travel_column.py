"""The dispatch columns of scored orders, from a column with the travel time of couriers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.cells import NumberFormat
from preptime.domain.dispatch import MAX_TRAVEL_SECONDS, decide
from preptime.domain.validation_reasons import ValidationReason
from preptime.errors import DataError
from preptime.formatting import shorten
from preptime.sources.source import DataSource
from preptime.validation.parsing import parse_floats

DISPATCH_AT = "predicted_dispatch_at"
COURIER_WAIT = "predicted_courier_wait_seconds"
FOOD_WAIT = "predicted_food_wait_seconds"
DISPATCH_QUANTILE = "prediction_dispatch_quantile"
DISPATCH_REASON = "prediction_dispatch_reason"
DISPATCH_COLUMNS = (DISPATCH_AT, COURIER_WAIT, FOOD_WAIT, DISPATCH_QUANTILE, DISPATCH_REASON)
_MAX_LISTED_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class TravelColumn:
    """A column of travel times in seconds, and the quantile level at which couriers should arrive."""

    name: str
    level: float

    def check(self, orders: DataSource) -> None:
        """Raise `DataError` if orders don't have the column."""
        if self.name in orders.columns:
            return
        listed = ", ".join(shorten(column) for column in list(orders.columns)[:_MAX_LISTED_COLUMNS])
        raise DataError(
            f"{orders.name} has no column {shorten(self.name)!r}. Its columns are {listed}.",
            "Use --travel-column with the column that has the travel time in seconds.",
        )

    def dispatch_columns(
        self,
        cells: pl.Series,
        number_format: NumberFormat,
        quantiles: NDArray[np.float32],
        format_times: Callable[[NDArray[np.float64]], pl.Series],
    ) -> pl.DataFrame:
        """Return the dispatch columns of N predicted orders. A cell without a travel time gives only a reason.

        Args:
            cells: [N] travel times.
            number_format: The format of numbers in text.
            quantiles: [N, 4] predicted seconds.
            format_times: Returns times as text, from [N] seconds after acknowledgement.
        """
        travel_seconds, reasons = _read_cells(cells, number_format)
        decisions = decide(quantiles, travel_seconds, self.level)
        has_travel = reasons.is_null()
        columns = {
            DISPATCH_AT: format_times(decisions.dispatch_seconds),
            COURIER_WAIT: pl.Series(decisions.courier_wait_seconds, dtype=pl.Float32),
            FOOD_WAIT: pl.Series(decisions.food_wait_seconds, dtype=pl.Float32),
            DISPATCH_QUANTILE: pl.repeat(self.level, len(cells), dtype=pl.Float64, eager=True),
        }
        frame = pl.DataFrame(columns).select(pl.when(has_travel).then(pl.all()))
        return frame.with_columns(reasons.alias(DISPATCH_REASON))


def count_without_dispatch(columns: pl.DataFrame) -> dict[str, int]:
    """Return the number of rows without a dispatch time, by reason, from their dispatch columns."""
    return dict(columns[DISPATCH_REASON].drop_nulls().value_counts().iter_rows())


def _read_cells(cells: pl.Series, number_format: NumberFormat) -> tuple[NDArray[np.float64], pl.Series]:
    """Return the travel times, 0 for cells without one, and the reason why there is none."""
    parsed = parse_floats(cells, number_format)
    conditions = (
        (parsed.missing, ValidationReason.MISSING_VALUE),
        (parsed.invalid, ValidationReason.UNPARSABLE_NUMBER),
        (parsed.values < 0, ValidationReason.NEGATIVE_VALUE),
        (parsed.values > MAX_TRAVEL_SECONDS, ValidationReason.OUT_OF_RANGE),
    )
    codes = np.select([condition for condition, _ in conditions], range(len(conditions)), default=-1)
    names = pl.Series([str(reason) for _, reason in conditions], dtype=pl.String)
    indexes = pl.Series(codes).replace(-1, None)
    return np.where(codes == -1, parsed.values, 0.0), names.gather(indexes)
