"""The command `preptime check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from preptime.cli import inputs, options
from preptime.cli.output import REFUSED_OR_ALERT, Output, with_output
from preptime.formatting import format_count

if TYPE_CHECKING:
    from preptime.schema.schema import Schema
    from preptime.validation.audit_report import CheckReport

UseCase = Literal["scoring", "training"]


@click.command()
@options.orders
@options.restaurants
@options.schema
@click.option(
    "--for",
    "use_case",
    type=click.Choice(["scoring", "training"]),
    help="scoring: check whether the orders can be predicted, and ignore labels. training: require labels.  "
    "[default: both if the orders have labels, otherwise scoring]",
)
@click.option("--rejects", type=options.LocalPath(), help="CSV or Parquet file for rejected rows with their reasons.")
@with_output
def check(
    output: Output,
    *,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    use_case: UseCase | None,
    rejects: Path | None,
) -> None:
    """Validate orders and restaurants without changing them.

    Prints counts by validation reason, examples with row numbers, and what each reason excludes an order from. The
    exit status is 1 if the orders can't be read, or if no order can be used for what they are checked for.
    """
    from preptime.domain.validation_reasons import Purpose
    from preptime.sources.ingest import write_rejects
    from preptime.validation.audit_report import render_text, summarize_audit

    audited, restaurant_audit = inputs.read_audited_orders(
        output,
        inputs.Dataset.from_options(orders, restaurants, schema),
        need_label=None if use_case is None else use_case == "training",
    )
    checked_for = {
        "training": (Purpose.FITTING,),
        "scoring": (Purpose.SCORING,),
        None: tuple(purpose for purpose in (Purpose.SCORING, Purpose.FITTING) if purpose in audited.purposes),
    }[use_case]
    report = summarize_audit(
        audited, len(restaurant_audit.index), checked_for=checked_for, restaurants=restaurant_audit
    )
    lines = [*render_text(report).split("\n"), "", *_conclusion(report, use_case, _label_columns(audited.schema))]
    if rejects is not None:
        lines.append(f"Wrote {format_count(write_rejects(audited, rejects), 'rejected row')} to {rejects}.")
    output.finish(report, *lines)
    if not report.passed:
        # Not an exception: it would print a second JSON document.
        click.get_current_context().exit(REFUSED_OR_ALERT)


def _label_columns(schema: Schema) -> list[str]:
    """Return the company's columns of the outcome."""
    mapped = [schema.orders[name].column for name in ("prep_time_seconds", "order_ready_at") if schema.has(name)]
    return mapped or ["order_ready_at or prep_time to the schema"]


def _conclusion(report: CheckReport, use_case: UseCase | None, label_columns: list[str]) -> list[str]:
    """Return what the orders were checked for, and how many can be used for it."""
    lines = []
    if use_case is None and len(report.checked_for) == 1:
        lines.append(
            "The orders have no labels, so they are checked for scoring only. To check them for training, add "
            f"{' or '.join(label_columns)}."
        )
    elif use_case is None:
        lines.append("The orders have labels, so they are checked for scoring and training.")
    verbs = {"scoring": "scored", "fitting": "used for training"}
    counts = [f"{report.usable[purpose]:,} can be {verbs[purpose]}" for purpose in report.checked_for]
    return [*lines, f"Of {format_count(report.orders, 'order')}, {' and '.join(counts)}."]
