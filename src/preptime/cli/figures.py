"""Tables for people: seconds as minutes where a person reads them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from preptime.bundle.manifest import Manifest
    from preptime.evaluation.documents import BacktestDocument, Score
    from preptime.training.promote import Comparison

COLUMNS = ("MAE s", "median s", "RMSE s", "R²", "bias s", "in 5 min")


def counted(count: int, noun: str) -> str:
    """`1 order`, `2,500 orders`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def score_table(document: BacktestDocument, labels: str = "up_to_3h") -> Table:
    """Every model, best MAE first, and below a line both baselines. It fits 80 columns."""
    rows = [row for row in document.scores if row.labels == labels]
    orders = rows[0].n if rows else 0
    days = f"{document.first_day} to {document.last_day}, {counted(orders, 'order')}"
    table = Table(title=f"{days} (below the line: baselines)", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for kind in ("model", "baseline"):
        of_kind = [row for row in rows if row.kind == kind]
        for row in sorted(of_kind, key=lambda row: math.inf if row.mae is None else row.mae):
            name = f"{row.name} (default)" if row.name == document.default_model else row.name
            table.add_row(name, *_figures(row))
        table.add_section()
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
    against = f"against {comparison.champion}" if comparison.champion else "(there is no champion to beat)"
    table = Table(title=f"{comparison.challenger} {against}", title_justify="left")
    table.add_column("condition")
    table.add_column("found")
    table.add_column("held")
    for check in comparison.checks:
        table.add_row(check.rule, check.found, "yes" if check.passed else "no")
    return table


def manifest_table(manifest: Manifest) -> Table:
    """What a person asks of a bundle first; the rest is for programs."""
    window = manifest.window
    megabytes = sum(file.size_bytes for file in manifest.files.values()) / 1e6
    facts = {
        "bundle": manifest.id,
        "kind": f"refresh of {manifest.parent}" if manifest.parent else manifest.kind,
        "knows": f"what happened before the morning of {manifest.date}",
        "learned from": f"{window.first_day} to {window.last_day}, fitted to {window.fitted_through}",
        "models": ", ".join(manifest.models),
        "features": f"{len(manifest.features)}",
        "data": manifest.data_fingerprint,
        **({"dvc": manifest.dvc_revision} if manifest.dvc_revision else {}),
        **({"git": manifest.git_revision} if manifest.git_revision else {}),
        "size": f"{megabytes:.1f} MB in {counted(len(manifest.files), 'file')}",
        "made with": ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items())),
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, fact in facts.items():
        table.add_row(name, fact)
    return table


def _figures(row: Score) -> list[str]:
    numbers = [row.mae, row.median_ae, row.rmse, row.r2, row.bias, row.within_5_min]
    formats = ("{:.0f}", "{:.0f}", "{:.0f}", "{:.3f}", "{:+.0f}", "{:.1%}")
    return ["–" if number is None else form.format(number) for number, form in zip(numbers, formats, strict=True)]
