"""Labels: whole seconds from acknowledged to ready, from `prep_time_seconds`, from the timestamps, or from both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import TARGET, order_column
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import MAX_LABEL_SECONDS, SHORT_LABEL_SECONDS, ValidationReason
from preptime.tables.findings import FindingCollector
from preptime.tables.judge import check_column
from preptime.tables.numbers import ParsedIntegers, parse_integers
from preptime.tables.times import ParsedTimestamps, parse_timestamps

READY_COLUMN = "order_ready_at"
_TOLERANCE_SECONDS = 1
"""`prep_time_seconds` is a difference of microseconds cut to whole seconds, and some writers round instead."""
_MAX_LABEL_SECONDS = 2**32
"""Far beyond any label; keeps an absurd one from overflowing the clock."""


@dataclass(frozen=True, slots=True)
class ParsedLabels:
    """N labels; where `known` is false the values mean nothing."""

    seconds: NDArray[np.int64]
    ready_local: NDArray[np.int64]
    """Microseconds since 1970 on the restaurant's wall clock."""
    is_known: NDArray[np.bool_]


def parse_labels(
    findings: FindingCollector,
    orders: pl.DataFrame,
    acknowledged: ParsedTimestamps,
    zone_codes: NDArray[np.int32],
    zone_names: tuple[str, ...],
) -> ParsedLabels:
    """Read and judge the labels of orders; `prep_time_seconds` wins where both are there."""
    no_start = acknowledged.missing | acknowledged.invalid
    ready = (
        parse_timestamps(orders[READY_COLUMN], zone_codes, zone_names)
        if READY_COLUMN in orders.columns
        else _missing_timestamps(len(orders))
    )
    given_seconds = parse_integers(orders[TARGET]) if TARGET in orders.columns else _missing_integers(len(orders))
    has_times = ~(ready.missing | ready.invalid | no_start)
    has_given_label = ~(given_seconds.missing | given_seconds.invalid)
    elapsed = (ready.utc - acknowledged.utc) // MICROSECONDS
    seconds = np.where(has_given_label, given_seconds.values, elapsed)
    bounded_seconds = np.clip(seconds, -_MAX_LABEL_SECONDS, _MAX_LABEL_SECONDS)
    ready_local = np.where(
        ready.missing | ready.invalid, acknowledged.local + bounded_seconds * MICROSECONDS, ready.local
    )

    label_column = TARGET if TARGET in orders.columns else READY_COLUMN
    is_missing = ready.missing & given_seconds.missing
    findings.add(ValidationReason.MISSING_VALUE, label_column, is_missing, f"{READY_COLUMN} or {TARGET}")
    check_column(findings, READY_COLUMN, ready, optional=True)
    check_column(findings, TARGET, given_seconds, optional=True)
    is_before = has_times & (ready.utc < acknowledged.utc)
    findings.add(
        ValidationReason.READY_BEFORE_ACKNOWLEDGED, READY_COLUMN, is_before, "a time after order_acknowledged_at"
    )
    is_contradictory = has_times & has_given_label & (np.abs(given_seconds.values - elapsed) > _TOLERANCE_SECONDS)
    expected = f"{READY_COLUMN} minus order_acknowledged_at, {order_column(TARGET).unit}"
    findings.add(ValidationReason.LABEL_CONTRADICTS_TIMES, TARGET, is_contradictory, expected)
    is_known = has_times | has_given_label
    _check_label_range(findings, label_column, seconds, is_known)
    return ParsedLabels(seconds, ready_local, is_known)


def _check_label_range(
    findings: FindingCollector, column: str, seconds: NDArray[np.int64], is_known: NDArray[np.bool_]
) -> None:
    is_short = is_known & (seconds > 0) & (seconds < SHORT_LABEL_SECONDS)
    is_over_cap = is_known & (seconds > MAX_LABEL_SECONDS)
    findings.add(ValidationReason.LABEL_ZERO, column, is_known & (seconds == 0), "more than 0 seconds")
    findings.add(ValidationReason.LABEL_UNDER_A_MINUTE, column, is_short, f"{SHORT_LABEL_SECONDS} seconds or more")
    findings.add(ValidationReason.LABEL_OVER_CAP, column, is_over_cap, f"at most {MAX_LABEL_SECONDS:,} seconds")


def _missing_timestamps(row_count: int) -> ParsedTimestamps:
    zeros = np.zeros(row_count, np.int64)
    return ParsedTimestamps(zeros, zeros, np.ones(row_count, np.bool_), np.zeros(row_count, np.bool_))


def _missing_integers(row_count: int) -> ParsedIntegers:
    return ParsedIntegers(np.zeros(row_count, np.int64), np.ones(row_count, np.bool_), np.zeros(row_count, np.bool_))
