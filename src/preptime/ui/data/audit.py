"""The label audit: orders by reason code, what each keeps them out of, and examples."""

from __future__ import annotations

import streamlit as st

from preptime.tables.looked import MOST_ROWS, Seen
from preptime.tables.looks import Row
from preptime.ui.data import charts
from preptime.ui.parts import lead, notice
from preptime.ui.show import Column, picture, table
from preptime.ui.words import counted

_REASONS = (
    Column("reason", "reason"),
    Column("rows", "orders", "count"),
    Column("share", "share", "percent"),
    Column("out", "kept out of"),
    Column("meaning", "meaning"),
    Column("why", "why", "long"),
)
_EXAMPLES = (
    Column("reason", "reason"),
    Column("row", "row"),
    Column("column", "column"),
    Column("value", "found"),
    Column("expected", "expected"),
)


def label_audit(seen: Seen) -> None:
    """Orders by reason code, what each keeps them out of, and examples."""
    report = seen.report
    usable = ", ".join(f"{rows:,} for {purpose}" for purpose, rows in report.usable.items())
    lead(
        f"{counted(report.orders, 'order')} were read and none is dropped; {report.clean:,} are clean. Usable are "
        f"{usable}. This is about all orders, whatever is chosen above."
    )
    if seen.more:
        notice(f"Only the first {MOST_ROWS:,} orders of this table were read.", "`preptime check` reads them all.")
    if not report.reasons:
        notice("Nothing is said against any order.")
        return
    rows: list[Row] = [
        {
            "reason": str(one.reason),
            "orders": one.rows,
            "effect": "keeps out of something" if one.keeps_out_of else "only a flag",
            "tip": f"{one.rows:,} orders ({one.share:.2%}): {one.meaning}",
        }
        for one in sorted(report.reasons, key=lambda one: -one.rows)
    ]
    picture(
        "Orders by reason code",
        "An order with three faults counts under all three. What each reason keeps an order out of is in the table.",
        lambda width, palette: charts.reasons(rows, width, palette),
    )
    table(
        [
            {"reason": str(one.reason), "rows": one.rows, "share": one.share, "out": ", ".join(one.keeps_out_of) or
             "nothing", "meaning": one.meaning, "why": one.why}
            for one in report.reasons
        ],
        _REASONS,
        key="reasons",
    )  # fmt: skip
    st.subheader("Examples")
    examples = [
        {"reason": str(one.reason), "row": one.row, "column": one.column, "value": one.value, "expected": one.expected}
        for one in report.examples
    ]
    table(examples, _EXAMPLES, key="examples")
