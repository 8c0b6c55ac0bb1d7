"""Labels: whole seconds from acknowledged to ready, from `prep_time_seconds`, from the timestamps, or from both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import TARGET, order_column
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import LABEL_CAP_SECONDS, SHORT_LABEL_SECONDS, Reason
from preptime.tables.findings import Findings
from preptime.tables.judge import judge
from preptime.tables.numbers import Integers, read_integers
from preptime.tables.times import Times, read_times

READY = "order_ready_at"
_TOLERANCE_SECONDS = 1
"""`prep_time_seconds` is a difference of microseconds cut to whole seconds, and some writers round instead."""
_LONGEST_SECONDS = 2**32
"""Far beyond any label; keeps an absurd one from overflowing the clock."""


@dataclass(frozen=True, slots=True)
class Labels:
    """N labels; where `known` is false the values mean nothing."""

    seconds: NDArray[np.int64]
    ready_local: NDArray[np.int64]
    """Microseconds since 1970 on the restaurant's wall clock."""
    known: NDArray[np.bool_]


def read_labels(
    findings: Findings, orders: pl.DataFrame, acknowledged: Times, zones: NDArray[np.int32], names: tuple[str, ...]
) -> Labels:
    """Read and judge the labels of orders; `prep_time_seconds` wins where both are there."""
    no_start = acknowledged.missing | acknowledged.bad
    ready = read_times(orders[READY], zones, names) if READY in orders.columns else _no_times(len(orders))
    given = read_integers(orders[TARGET]) if TARGET in orders.columns else _no_integers(len(orders))
    timed = ~(ready.missing | ready.bad | no_start)
    written = ~(given.missing | given.bad)
    elapsed = (ready.utc - acknowledged.utc) // MICROSECONDS
    seconds = np.where(written, given.value, elapsed)
    bounded = np.clip(seconds, -_LONGEST_SECONDS, _LONGEST_SECONDS)
    local = np.where(ready.missing | ready.bad, acknowledged.local + bounded * MICROSECONDS, ready.local)

    shown = TARGET if TARGET in orders.columns else READY
    absent = ready.missing & given.missing
    findings.add(Reason.MISSING_VALUE, shown, absent, f"{READY} or {TARGET}")
    judge(findings, READY, ready, optional=True)
    judge(findings, TARGET, given, optional=True)
    before = timed & (ready.utc < acknowledged.utc)
    findings.add(Reason.READY_BEFORE_ACKNOWLEDGED, READY, before, "a time after order_acknowledged_at")
    apart = timed & written & (np.abs(given.value - elapsed) > _TOLERANCE_SECONDS)
    expected = f"{READY} minus order_acknowledged_at, {order_column(TARGET).unit}"
    findings.add(Reason.LABEL_CONTRADICTS_TIMES, TARGET, apart, expected)
    known = timed | written
    _sizes(findings, shown, seconds, known)
    return Labels(seconds, local, known)


def _sizes(findings: Findings, shown: str, seconds: NDArray[np.int64], known: NDArray[np.bool_]) -> None:
    short = known & (seconds > 0) & (seconds < SHORT_LABEL_SECONDS)
    over = known & (seconds > LABEL_CAP_SECONDS)
    findings.add(Reason.LABEL_ZERO, shown, known & (seconds == 0), "more than 0 seconds")
    findings.add(Reason.LABEL_UNDER_A_MINUTE, shown, short, f"{SHORT_LABEL_SECONDS} seconds or more")
    findings.add(Reason.LABEL_OVER_CAP, shown, over, f"at most {LABEL_CAP_SECONDS:,} seconds")


def _no_times(rows: int) -> Times:
    nothing = np.zeros(rows, np.int64)
    return Times(nothing, nothing, np.ones(rows, np.bool_), np.zeros(rows, np.bool_))


def _no_integers(rows: int) -> Integers:
    return Integers(np.zeros(rows, np.int64), np.ones(rows, np.bool_), np.zeros(rows, np.bool_))
