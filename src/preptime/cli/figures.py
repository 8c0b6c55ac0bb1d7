"""Tables for people: seconds as minutes where a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from preptime.evaluation.documents import BacktestDocument, Score
    from preptime.training.promote import Comparison

COLUMNS = ("MAE s", "median s", "RMSE s", "R²", "bias s", "within 5 min")


def score_table(document: BacktestDocument, labels: str = "up_to_3h") -> Table:
    """Every model beside both baselines, best MAE first."""
    rows = [row for row in document.scores if row.labels == labels]
    orders = rows[0].n if rows else 0
    table = Table(title=f"{document.first_day} to {document.last_day}, {orders:,} orders", title_justify="left")
    table.add_column("model")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: (row.kind == "baseline", row.mae or 0.0)):
        name = f"{row.name} (default)" if row.name == document.default_model else row.name
        table.add_row(name if row.kind == "model" else f"{row.name} (baseline)", *_figures(row), end_section=False)
    return table


def interval_sentence(document: BacktestDocument) -> str:
    """What the interval promised and held."""
    found = document.interval
    if found.coverage is None or found.median_width_seconds is None:
        return "There are no labels to check the interval on."
    return (
        f"p10 to p90 holds {found.coverage:.1%} of the labels ({found.level:.0%} is promised); half of the intervals "
        f"are narrower than {found.median_width_seconds / 60:.0f} minutes."
    )


def comparison_table(comparison: Comparison) -> Table:
    """The conditions of a promotion, and which of them held."""
    champion = comparison.champion or "no champion"
    table = Table(title=f"{comparison.challenger} against {champion}", title_justify="left")
    table.add_column("condition")
    table.add_column("found")
    table.add_column("held")
    for check in comparison.checks:
        table.add_row(check.rule, check.found, "yes" if check.passed else "no")
    return table


def _figures(row: Score) -> list[str]:
    numbers = [row.mae, row.median_ae, row.rmse, row.r2, row.bias, row.within_5_min]
    formats = ("{:.0f}", "{:.0f}", "{:.0f}", "{:.3f}", "{:+.0f}", "{:.1%}")
    return ["–" if number is None else form.format(number) for number, form in zip(numbers, formats, strict=True)]
