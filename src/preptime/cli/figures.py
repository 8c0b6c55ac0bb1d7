"""Tables for people: seconds as minutes where a person reads them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from preptime.bundle.manifest import Manifest
    from preptime.evaluation.documents import BacktestDocument, Score
    from preptime.training.promote import Comparison

METRIC_COLUMNS = ("MAE s", "median s", "RMSE s", "R²", "bias s", "in 5 min")


def format_count(count: int, noun: str) -> str:
    """`1 order`, `2,500 orders`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def score_table(document: BacktestDocument, labels: str = "up_to_3h") -> Table:
    """Every model, best MAE first, and below a line both baselines. It fits 80 columns."""
    rows = [row for row in document.scores if row.labels == labels]
    order_count = rows[0].n if rows else 0
    title = f"{document.first_day} to {document.last_day}, {format_count(order_count, 'order')}"
    table = Table(title=f"{title} (below the line: baselines)", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in METRIC_COLUMNS:
        table.add_column(name, justify="right")
    for kind in ("model", "baseline"):
        rows_of_kind = [row for row in rows if row.kind == kind]
        for row in sorted(rows_of_kind, key=lambda row: math.inf if row.mae is None else row.mae):
            name = f"{row.name} (default)" if row.name == document.default_model else row.name
            table.add_row(name, *_format_metrics(row))
        table.add_section()
    return table


def interval_summary(document: BacktestDocument) -> str:
    """What the interval promised and held."""
    interval = document.interval
    if interval.coverage is None or interval.median_width_seconds is None:
        return "There are no labels to check the interval on."
    return (
        f"p10 to p90 holds {interval.coverage:.1%} of the labels ({interval.level:.0%} is promised); half of the intervals "
        f"are narrower than {interval.median_width_seconds / 60:.0f} minutes."
    )


def comparison_table(comparison: Comparison) -> Table:
    """The conditions of a promotion, and which of them held."""
    versus = f"against {comparison.champion}" if comparison.champion else "(there is no champion to beat)"
    table = Table(title=f"{comparison.challenger} {versus}", title_justify="left")
    table.add_column("condition")
    table.add_column("found")
    table.add_column("held")
    for check in comparison.checks:
        table.add_row(check.rule, check.result, "yes" if check.passed else "no")
    return table


def manifest_table(manifest: Manifest) -> Table:
    """What a person asks of a bundle first; the rest is for programs."""
    window = manifest.window
    megabytes = sum(file.size_bytes for file in manifest.files.values()) / 1e6
    properties = {
        "bundle": manifest.id,
        "kind": f"refresh of {manifest.parent}" if manifest.parent else manifest.kind,
        "knows": f"what happened before the morning of {manifest.date}",
        "learned from": f"{window.first_day} to {window.last_day}, fitted to {window.fitted_through}",
        "models": ", ".join(manifest.models),
        "features": f"{len(manifest.features)}",
        "data": manifest.data_fingerprint,
        **({"dvc": manifest.dvc_revision} if manifest.dvc_revision else {}),
        **({"git": manifest.git_revision} if manifest.git_revision else {}),
        "size": f"{megabytes:.1f} MB in {format_count(len(manifest.files), 'file')}",
        "made with": ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items())),
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in properties.items():
        table.add_row(name, value)
    return table


def _format_metrics(row: Score) -> list[str]:
    values = [row.mae, row.median_ae, row.rmse, row.r2, row.bias, row.within_5_min]
    templates = ("{:.0f}", "{:.0f}", "{:.0f}", "{:.3f}", "{:+.0f}", "{:.1%}")
    return ["–" if value is None else template.format(value) for value, template in zip(values, templates, strict=True)]
