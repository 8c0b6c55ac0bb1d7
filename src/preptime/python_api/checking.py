"""Checks orders and restaurants: counts by validation reason, and the rejected rows with their reasons."""

from __future__ import annotations

import html
from typing import Any, Literal, get_args

import msgspec
import polars as pl

from preptime.domain.validation_reasons import Purpose
from preptime.progress import ProgressCallback, no_progress
from preptime.python_api.dataframes import FrameKind, from_polars, take_rows, with_columns
from preptime.python_api.datasets import Dataset, RowsInput, SchemaInput, is_location, kind_of
from preptime.python_api.defaults import check_choice, python_errors
from preptime.python_api.progress_bars import Progress, progress_bars
from preptime.validation.audit import AuditedOrders
from preptime.validation.audit_report import (
    REJECT_COLUMNS,
    ROWS_FROM_0,
    CheckReport,
    count_rows_from_0,
    describe_usable,
    iter_rejects,
    rejected_rows,
    render_text,
    summarize_audit,
)

UseCase = Literal["scoring", "training"]
_, _REJECT_ROW, *_REJECT_DETAILS, _ = REJECT_COLUMNS


def check_dataset(
    dataset: Dataset, use_case: UseCase | None = None, progress: ProgressCallback = no_progress
) -> tuple[AuditedOrders, CheckReport]:
    """Return the audited orders of a dataset, and the report about them, as `preptime check` shows it."""
    need_label = None if use_case is None else use_case == "training"
    audited, restaurants = dataset.audit(need_label=need_label, progress=progress)
    checked_for = {
        "training": (Purpose.FITTING,),
        "scoring": (Purpose.SCORING,),
        None: tuple(purpose for purpose in (Purpose.SCORING, Purpose.FITTING) if purpose in audited.purposes),
    }[use_case]
    report = summarize_audit(audited, len(restaurants.index), checked_for=checked_for, restaurants=restaurants)
    return audited, report


class CheckResult:
    """What was found in orders and restaurants. It shows itself as text and in a notebook.

    Example:
        >>> result = preptime.check(orders.with_columns(number_of_items=pl.lit(0)), restaurants)
        >>> result.passed, result.reasons["reason"][0], len(result.rejected)
        (False, 'out_of_range', 3000)
    """

    def __init__(
        self, report: CheckReport, text: str, audited: AuditedOrders, orders: RowsInput, kind: FrameKind
    ) -> None:
        self.report = report
        """All values, as in the output of `preptime check --json`. Rows of a data frame are positions, from 0."""
        self._text = text
        self._audited = audited
        self._orders = orders
        self._kind: FrameKind = kind

    @property
    def passed(self) -> bool:
        """Whether an order can be used for a purpose that the orders were checked for."""
        return self.report.passed

    @property
    def usable(self) -> dict[str, int]:
        """The number of orders that can be used, by purpose: scoring, history, fitting, and evaluation."""
        return self.report.usable

    @property
    def reasons(self) -> Any:
        """The validation reasons that occur, as a frame: rows, share, what they exclude an order from, and why."""
        columns = {"reason": pl.String, "rows": pl.Int64, "share": pl.Float64, "excluded_from": pl.String}
        rows = [
            {
                "reason": str(count.reason),
                "rows": count.rows,
                "share": count.share,
                "excluded_from": ", ".join(count.excluded_from),
                "meaning": count.meaning,
                "why": count.why,
            }
            for count in self.report.reasons
        ]
        return from_polars(pl.DataFrame(rows, schema=columns | {"meaning": pl.String, "why": pl.String}), self._kind)

    @property
    def examples(self) -> Any:
        """Some cells with a reason, as a frame: row, column, value, and expected content.

        In a frame, a row is the position, from 0. Rows of a location count from 1.
        """
        fields = ("reason", "file", "row", "column", "value", "expected")
        rows = [msgspec.structs.asdict(example) | {"reason": str(example.reason)} for example in self.report.examples]
        return from_polars(pl.DataFrame(rows, schema=list(fields), infer_schema_length=None), self._kind)

    @property
    def rejected(self) -> Any:
        """The orders that are excluded from at least one purpose, as a frame with their reasons.

        Rows of a frame have their own index and the column `reject_row`, the position from 0. Rows of a location have
        `reject_file`, and `reject_row` counts from 1.
        """
        rows = rejected_rows(self._audited)
        rejects = pl.concat(iter_rejects(self._audited, rows))
        if is_location(self._orders):
            return from_polars(rejects, self._kind)
        frame = self._orders.collect() if isinstance(self._orders, pl.LazyFrame) else self._orders
        details = rejects.select(pl.col(_REJECT_ROW) - 1, *_REJECT_DETAILS)
        return with_columns(take_rows(frame, rows), details)

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self._text)}</pre>"


@python_errors()
def check(
    orders: RowsInput,
    restaurants: RowsInput | None = None,
    *,
    schema: SchemaInput = None,
    use_case: UseCase | None = None,
    progress: Progress = None,
) -> CheckResult:
    """Validate orders and restaurants without changing them, as `preptime check` does.

    Args:
        orders: As for `train`.
        restaurants: As for `train`.
        schema: As for `train`.
        use_case: "scoring" ignores labels, and "training" requires them. Default: both if the orders have labels,
            otherwise scoring.
        progress: As for `train`.

    Returns:
        The result, which a notebook shows as text.

    Raises:
        DataError: The orders can't be read, or lack a column.
        UsageError: An argument is invalid.

    Example:
        >>> preptime.check(orders, restaurants).usable["scoring"] == len(orders)
        True
    """
    check_choice("use_case", use_case, get_args(UseCase))
    dataset = Dataset.from_inputs(orders, restaurants, schema)
    with progress_bars(progress) as report_progress:
        audited, found = check_dataset(dataset, use_case, report_progress)
    has_rows = restaurants is not None and not is_location(restaurants)
    report = count_rows_from_0(found, orders=not is_location(orders), restaurants=has_rows)
    note = [] if report == found else [ROWS_FROM_0]
    text = "\n".join([render_text(report), "", *note, *describe_usable(report, use_case, audited.schema)])
    return CheckResult(report, text, audited, orders, kind_of(orders))
