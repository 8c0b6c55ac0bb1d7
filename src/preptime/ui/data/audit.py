"""The label audit: orders by reason code, what each keeps them out of, and examples."""

from __future__ import annotations

import streamlit as st

from preptime.tables.looked import MAX_ROWS, ExplorationData
from preptime.tables.looks import Row
from preptime.ui.data import charts
from preptime.ui.parts import caption, show_info
from preptime.ui.show import Column, chart_card, data_table
from preptime.ui.words import format_count

_REASON_COLUMNS = (
    Column("reason", "reason"),
    Column("rows", "orders", "count"),
    Column("share", "share", "percent"),
    Column("out", "kept out of"),
    Column("meaning", "meaning"),
    Column("why", "why", "long"),
)
_EXAMPLE_COLUMNS = (
    Column("reason", "reason"),
    Column("row", "row"),
    Column("column", "column"),
    Column("value", "found"),
    Column("expected", "expected"),
)


def label_audit(data: ExplorationData) -> None:
    """Orders by reason code, what each keeps them out of, and examples."""
    report = data.report
    usable_text = ", ".join(f"{rows:,} for {purpose}" for purpose, rows in report.usable.items())
    caption(
        f"{format_count(report.orders, 'order')} were read and none is dropped; {report.clean:,} are clean. Usable are "
        f"{usable_text}. This is about all orders, whatever is chosen above."
    )
    if data.is_truncated:
        show_info(f"Only the first {MAX_ROWS:,} orders of this table were read.", "`preptime check` reads them all.")
    if not report.reasons:
        show_info("Nothing is said against any order.")
        return
    rows: list[Row] = [
        {
            "reason": str(item.reason),
            "orders": item.rows,
            "effect": "keeps out of something" if item.excluded_from else "only a flag",
            "tip": f"{item.rows:,} orders ({item.share:.2%}): {item.meaning}",
        }
        for item in sorted(report.reasons, key=lambda item: -item.rows)
    ]
    chart_card(
        "Orders by reason code",
        "An order with three faults counts under all three. What each reason keeps an order out of is in the table.",
        lambda width, palette: charts.reason_counts(rows, width, palette),
    )
    data_table(
        [
            {"reason": str(item.reason), "rows": item.rows, "share": item.share, "out": ", ".join(item.excluded_from) or
             "nothing", "meaning": item.meaning, "why": item.why}
            for item in report.reasons
        ],
        _REASON_COLUMNS,
        key="reasons",
    )  # fmt: skip
    st.subheader("Examples")
    examples = [
        {
            "reason": str(item.reason),
            "row": item.row,
            "column": item.column,
            "value": item.value,
            "expected": item.expected,
        }
        for item in report.examples
    ]
    data_table(examples, _EXAMPLE_COLUMNS, key="examples")
